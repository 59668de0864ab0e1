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
from jaxdistill.selection.window import by_difficulty
from jaxdistill.training.gradients import training_gradient
from jaxdistill.types import Network, Variables

__all__ = ["CSCORE", "EL2N", "FORGETTING", "GRAND", "cscore", "el2n", "forgetting", "grand"]


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


@partial(jax.jit, static_argnames="network")
def grand(network: Network, variables: Variables, data: RealData) -> Float[Array, " n"]:
    """Length of the gradient of each example's loss in all parameters: GraNd of one network.

    The paper averages over networks, and trains each for some epochs: at initialisation the score says little. Batch
    normalisation uses its running averages. One example at a time, so that only one gradient is ever stored.

    Args:
        network: what was trained.
        variables: where it stands.
        data: the split; a score for each of its examples, in its order.

    Source: Paul, Ganguli & Dziugaite, NeurIPS 2021, arXiv:2107.07075.
    """

    def length(index: Int[Array, ""]) -> Float[Array, ""]:
        example = data.take(index[None])
        found = training_gradient(network, variables, example.images, example.labels, "class", train=False)
        return optax.global_norm(found.gradient)

    return jax.lax.map(length, jnp.arange(data.count))


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
CSCORE = Selection(
    "cscore", Scores(lambda model: cscore(model.seen.confidence), high_is_easy=True), by_difficulty,
    "Jiang et al., ICML 2021",
)  # fmt: skip
