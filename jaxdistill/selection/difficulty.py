"""How hard each real example is, by one network.

A larger score is a harder example, whatever the score. Scores of several networks are averaged by their mean. Scores
and examples are in the order of the split they were recorded on.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.base import Scores, Selection
from jaxdistill.selection.outputs import Outputs, gradients, squares
from jaxdistill.selection.window import by_difficulty
from jaxdistill.training.gradients import training_gradient
from jaxdistill.training.inference import BATCH, each_batch, embedding, logits
from jaxdistill.types import Network, Variables

__all__ = [
    "AUM", "CSCORE", "EL2N", "FORGETTING", "GRAND", "GRAND_LAST", "aum", "cscore", "el2n", "forgetting", "grand",
    "grand_last",
]  # fmt: skip

GRADIENTS = 2**31
"""Bytes of the gradients of single examples that are there at a time; a CPU has those of a few images."""


def forgetting(correct: Bool[Array | np.ndarray, "epochs n"]) -> Float[Array, " n"]:
    """How often each example was forgotten: classified correctly in one epoch and wrongly in the next.

    The paper's infinity for examples that were never learned is the number of epochs here, which no count reaches (it
    takes two epochs to forget) and which stays finite in a mean: what no network ever learned is the hardest. An
    example that only some of the networks never learned lies between that and the others, wherever its mean is.

    Args:
        correct: whether each epoch classified the example correctly (`jaxdistill.training.sgd.Seen`).

    Source: Toneva et al., ICLR 2019, arXiv:1812.05159.
    """
    correct = jnp.asarray(correct)
    events = jnp.sum(correct[:-1] & ~correct[1:], axis=0)
    return jnp.where(correct.any(axis=0), events, correct.shape[0]).astype(float)


def el2n(error: Float[Array | np.ndarray, "epochs n"], epoch: int) -> Float[Array, " n"]:
    """Length of the error vector, probabilities minus label, in one epoch: EL2N. An early epoch is what is meant.

    Args:
        error: of each epoch (`jaxdistill.training.sgd.Seen`).
        epoch: which one, from 0.

    Raises:
        UsageError: if that epoch was not recorded.

    Source: Paul, Ganguli & Dziugaite, NeurIPS 2021, arXiv:2107.07075.
    """
    if not 0 <= epoch < len(error):
        raise UsageError(f"there is no epoch {epoch} among the {len(error)} recorded; epochs count from 0")
    return jnp.asarray(error[epoch])


def cscore(confidence: Float[Array | np.ndarray, "epochs n"]) -> Float[Array, " n"]:
    """One minus the mean over epochs of the probability of the label: a cheap stand-in for one minus the C-score.

    The C-score itself is high for typical examples and takes many networks that did not see the example; how soon one
    network learns the example is the paper's proxy for it.

    Args:
        confidence: of each epoch (`jaxdistill.training.sgd.Seen`).

    Source: Jiang et al., ICML 2021, arXiv:2002.03206.
    """
    return 1 - jnp.mean(jnp.asarray(confidence), axis=0)


def aum(margin: Float[Array | np.ndarray, "epochs n"] | None) -> Float[Array, " n"]:
    """The negative of the area under the margin: of the mean over epochs of the label's logit minus the largest other.

    Mislabelled images have the smallest areas, below zero as a rule: another class's logit stays above the label's.

    Args:
        margin: of each epoch (`jaxdistill.training.sgd.Seen`); None where it was not recorded.

    Raises:
        UsageError: if there is none.

    Source: Pleiss et al., NeurIPS 2020, arXiv:2001.10528.
    """
    if margin is None:
        raise UsageError(
            "these experts were trained before margins were recorded, which aum goes by; train experts anew with "
            "'jaxdistill experts', or give none"
        )
    return -jnp.mean(jnp.asarray(margin), axis=0)


@partial(jax.jit, static_argnames="network")
def grand(network: Network, variables: Variables, data: RealData) -> Float[Array, " n"]:
    """Length of the gradient of each example's loss in all parameters: GraNd of one network.

    The paper averages over networks, and trains each for some epochs: at initialisation the score says little. Batch
    normalisation uses its running averages. As many examples at a time as have gradients of `GRADIENTS` bytes.

    Args:
        network: what was trained.
        variables: where it stands.
        data: the split; a score for each of its examples, in its order.

    Source: Paul, Ganguli & Dziugaite, NeurIPS 2021, arXiv:2107.07075.
    """

    def length(image: Float[Array, "h w c"], label: Int[Array, ""]) -> Float[Array, ""]:
        labels = jax.nn.one_hot(label[None], data.counts.shape[0])
        return optax.global_norm(training_gradient(network, variables, image[None], labels, "class", train=False)[0])

    taken = sum(leaf.nbytes for leaf in jax.tree.leaves(variables.params))
    return each_batch(jax.vmap(length), data, max(1, min(BATCH, GRADIENTS // max(taken, 1))))


@partial(jax.jit, static_argnames="network")
def grand_last(network: Network, variables: Variables, data: RealData) -> Float[Array, " n"]:
    """GraNd in the parameters of the last layer alone, in closed form: one pass forward, and no gradient.

    With h the layer's input, p the probabilities and y the one-hot label it is ``|p - y| sqrt(1 + |h|^2)``, exactly.

    Args:
        network: whose embedding is the input of its last layer, which has biases.
        variables: where it stands.
        data: the split; a score for each of its examples, in its order.

    Source: Paul, Ganguli & Dziugaite, NeurIPS 2021, arXiv:2107.07075; see `jaxdistill.selection.outputs`.
    """

    def lengths(images: Float[Array, "b h w c"], labels: Int[Array, " b"]) -> Float[Array, " b"]:
        said = Outputs(embedding(network, variables, images), logits(network, variables, images))
        return jnp.sqrt(squares(gradients(said, labels)))

    return each_batch(lengths, data)


FORGETTING = Selection(
    "forgetting", Scores(lambda model: forgetting(model.seen.correct)), by_difficulty, "Toneva et al., ICLR 2019"
)
EL2N = Selection(
    "el2n", Scores(lambda model: el2n(model.seen.error, model.epoch)), by_difficulty, "Paul et al., NeurIPS 2021"
)
GRAND = Selection(
    "grand", Scores(lambda model: grand(model.network, model.variables, model.data), asks_network=True), by_difficulty,
    "Paul et al., NeurIPS 2021",
)  # fmt: skip
GRAND_LAST = Selection(
    "grand_last", Scores(lambda model: grand_last(model.network, model.variables, model.data), asks_network=True),
    by_difficulty, "Paul et al., NeurIPS 2021, of the last layer alone",
)  # fmt: skip
AUM = Selection("aum", Scores(lambda model: aum(model.seen.margin)), by_difficulty, "Pleiss et al., NeurIPS 2020")
CSCORE = Selection(
    "cscore", Scores(lambda model: cscore(model.seen.confidence), high_is_easy=True), by_difficulty,
    "Jiang et al., ICML 2021, a proxy",
)  # fmt: skip
