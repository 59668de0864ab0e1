"""Which part of a class is taken, by how hard its images are: the windows that SelMatch starts from."""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.curve import Searched
from jaxdistill.selection.groups import group
from jaxdistill.selection.strategies import real_set
from jaxdistill.types import Key, SyntheticSet

__all__ = ["Difficulty", "by_difficulty", "hardest_first", "window"]


class Difficulty(NamedTuple):
    """How hard each example is, and which part of its class is wanted."""

    scores: Float[np.ndarray, " n"]
    """Larger is harder."""
    beta: float = 0.0
    """Share of the hardest that is left out."""
    start: Literal["class_fraction", "ipc_fraction"] = "class_fraction"
    """Of what that is a share; see `window`."""
    search: Searched | None = None
    """What chose `beta`, if it was not given."""


def by_difficulty(key: Key, data: RealData, ipc: int, difficulty: Difficulty) -> SyntheticSet:
    """A window of each class's images from the hardest on, in that order; see `window`.

    Args:
        key: not used.
        data: the training split.
        ipc: images per class.
        difficulty: scores, and where the window lies.

    Raises:
        UsageError: if `ipc` is below 1, or the window does not lie within a class.
    """
    del key
    labels = np.asarray(data.labels)
    return real_set(
        data, jnp.asarray(window(difficulty.scores, labels, ipc, len(data.counts), difficulty.beta, difficulty.start))
    )


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
    remaining = hardest_first(scores, labels, ipc, num_classes, beta, start)
    return np.stack([images[:ipc] for images in remaining])


def hardest_first(
    scores: Float[Array | np.ndarray, " rows"],
    labels: Int[Array | np.ndarray, " n"],
    ipc: int,
    num_classes: int,
    beta: float = 0.0,
    start: Literal["class_fraction", "ipc_fraction"] = "class_fraction",
) -> list[Int[np.ndarray, " left"]]:
    """The examples of each class in the order of difficulty, hardest first, without the hardest; see `window`.

    Args:
        scores: difficulty of each example, larger for harder ones.
        labels: the class of each example, in any order.
        ipc: how many examples of each class have to be left.
        num_classes: number of classes.
        beta: share of the hardest examples that is left out.
        start: share of what.

    Raises:
        UsageError: as `window`.
    """
    hardness = np.asarray(scores)
    if len(hardness) != len(labels):
        raise UsageError(f"there are {len(hardness)} scores for {len(labels)} images; give one score for each image")
    if np.isnan(hardness).any():
        raise UsageError(f"the score of image {int(np.isnan(hardness).argmax())} is not a number; compute it again")
    if not 0 <= beta <= 1:
        raise UsageError(f"`beta` is a share of the images and must be between 0 and 1, not {beta}")
    groups = group(None, jnp.asarray(labels), ipc, num_classes)
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

    return [
        padded[np.argsort(-hardness[padded[:count]], kind="stable")][begin:]
        for padded, count, begin in zip(np.asarray(groups.members), counts, starts, strict=True)
    ]
