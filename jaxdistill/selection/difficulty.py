"""How hard each real example is, and the windows of examples that SelMatch starts from.

A larger score is a harder example, whatever the score. Scores of several networks are averaged by their mean. Scores
and examples are in the order of the split they were recorded on.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.groups import group
from jaxdistill.training.gradients import training_gradient
from jaxdistill.types import Network, Variables

__all__ = ["cscore", "el2n", "forgetting", "grand", "window"]


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


def window(
    scores: Float[Array | np.ndarray, " rows"],
    labels: Int[Array | np.ndarray, " n"],
    ipc: int,
    num_classes: int,
    beta: float = 0.0,
    start: Literal["class_fraction", "ipc_fraction"] = "class_fraction",
) -> Int[np.ndarray, "classes ipc"]:
    """Pick neighbours in the order of difficulty of each class, the hardest `ipc` of what `beta` leaves; hardest first.

    Examples that tie keep their order. 0 picks the hardest ones of a class of n, and ``1 - ipc / n`` the easiest.
    Runs on the host.

    Args:
        scores: difficulty of each example, larger for harder ones.
        labels: the class of each example, in any order.
        ipc: how many examples of each class are picked.
        num_classes: number of classes.
        beta: share of the hardest examples that is left out.
        start: share of what: of the class (the paper), or of `ipc` (the released code, whose windows lie among the
            hardest examples). Which of them made the published numbers is not known.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, scores and labels differ in length, a score is not
            a number, `beta` is outside [0, 1], or the window ends beyond the end of a class.

    Source: SelMatch, Lee & Chung, ICML 2024; the released code for ``"ipc_fraction"``.
    """
    hardness = np.asarray(scores)
    if len(hardness) != len(labels):
        raise UsageError(f"there are {len(hardness)} scores for {len(labels)} images; give one score for each image")
    if np.isnan(hardness).any():
        raise UsageError(f"the score of image {int(np.isnan(hardness).argmax())} is not a number; compute it again")
    if not 0 <= beta <= 1:
        raise UsageError(f"`beta` is a share of the images and must be between 0 and 1, not {beta}")
    groups = group(jnp.asarray(hardness)[:, None], jnp.asarray(labels), ipc, num_classes)
    counts = np.asarray(groups.counts)
    whole = {"class_fraction": counts, "ipc_fraction": np.full_like(counts, ipc)}[start]
    # What should be whole may come out just below it: 0.29 * 100 is 28.999999999999996.
    starts = np.floor(beta * whole + 1e-9).astype(int)
    smallest = int(counts.argmin())
    if (starts + ipc > counts).any():
        largest = float((counts - ipc)[smallest] / whole[smallest])
        raise UsageError(
            f"class {smallest} has {counts[smallest]} images, too few for {ipc} after a share of {beta}; "
            f"the largest `beta` that fits is {largest}"
        )

    picked = []
    for padded, count, begin in zip(np.asarray(groups.members), counts, starts, strict=True):
        hardest_first = padded[np.argsort(-hardness[padded[:count]], kind="stable")]
        picked.append(hardest_first[begin : begin + ipc])
    return np.stack(picked)
