"""CCS: images of all difficulties but the highest (Zheng et al., Coverage-centric Coreset Selection, ICLR 2023,
arXiv:2210.15809, algorithm 1), by any score of how hard images are.

Deviations: class by class, so that each has as many images, where the paper's strata are of all classes together; and
the last stratum ends with the largest score, where the released code ends it just above.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.common import draws
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.base import OF_WINDOW, ByScore, Context, Selection
from jaxdistill.selection.strategies import real_set
from jaxdistill.selection.window import Difficulty, hardest_first
from jaxdistill.types import Key, SyntheticSet

__all__ = ["CCS", "Strata", "Stratified", "ccs", "share_out", "stratified"]


class Strata(NamedTuple):
    """How hard each example is, and how finely that is cut."""

    scores: Float[np.ndarray, " n"]
    """Larger is harder."""
    beta: float = 0.0
    """Share of the hardest of each class that is left out. The paper searches for it; its code has 0.3 for a tenth of
    CIFAR-10."""
    count: int = 50
    """Number of strata."""
    stored: Float[np.ndarray, " n"] | None = None
    """The scores as files have them, if that is otherwise."""


class Stratified(ByScore):
    """How hard images are by the score that is named, and the strata of that."""

    kind = Strata
    options = (ByScore.options | {"strata"}) - (OF_WINDOW - {"beta"})

    def build(self, context: Context) -> Strata:
        """Scores, made as for the selection that goes by them."""
        options = context.options
        scores = options.scored.hardness(context)
        stored = options.scored.scores_of(Difficulty(scores))
        return Strata(scores, options.beta or 0.0, options.strata, stored)

    def stand_in(self, context: Context) -> Strata:
        """All alike."""
        return Strata(np.zeros(context.data.count), context.options.beta or 0.0, context.options.strata)

    def reads(self, options: Any, experts: bool) -> frozenset[str]:
        """The share that is left out is always one of the class, and is not searched for."""
        return (super().reads(options, experts) | {"strata"}) & self.options

    def scores_of(self, inputs: Strata) -> np.ndarray:
        """As the selection that goes by them leaves them."""
        return inputs.scores if inputs.stored is None else inputs.stored


def stratified(key: Key, data: RealData, ipc: int, strata: Strata) -> SyntheticSet:
    """Random images of each stratum of each class; see `ccs`.

    Args:
        key: of the draw.
        data: the training split.
        ipc: images per class.
        strata: scores, and how they are cut.

    Raises:
        UsageError: as `ccs`.
    """
    labels = jnp.asarray(data.labels)
    return real_set(data, ccs(key, strata.scores, labels, ipc, len(data.counts), strata.beta, strata.count))


def ccs(
    key: Key,
    scores: Float[Array | np.ndarray, " rows"],
    labels: Int[Array | np.ndarray, " n"],
    ipc: int,
    num_classes: int,
    beta: float = 0.0,
    strata: int = 50,
) -> Int[Array, "classes ipc"]:
    """Leave the hardest out, cut the range of the other scores into equal parts, and draw from each part.

    Runs on the host. A score on the border of two strata is in the harder one. Strata that tie in size come from easy
    to hard when the budget is shared out, so that what does not divide evenly is drawn from the harder ones.

    Args:
        key: of the draw.
        scores: difficulty of each example, larger for harder ones.
        labels: the class of each example, in any order.
        ipc: how many examples of each class are picked.
        num_classes: number of classes.
        beta: share of the hardest examples of each class that is left out; of those that tie the first.
        strata: number of parts of equal width.

    Returns:
        Indices, those of each class from the easiest stratum on.

    Raises:
        UsageError: if `ipc` is below 1 or above what is left of a class, scores and labels differ in length, a score
            is not a finite number, `beta` is outside [0, 1] or `strata` below 1.
    """
    if strata < 1:
        raise UsageError(f"`strata` is the number of parts of the range of scores and must be at least 1, not {strata}")
    left, hardness = hardest_first(scores, labels, ipc, num_classes, beta), np.asarray(scores, np.float64)
    if np.isinf(hardness).any():
        raise UsageError(
            f"the score of image {int(np.isinf(hardness).argmax())} is infinite; strata need finite scores"
        )
    drawn = np.asarray(draws.uniform(key, (len(hardness),)))
    picked = []
    for images in left:
        stratum = _strata(hardness[images], strata)
        order = np.lexsort((images, drawn[images], stratum))
        images, stratum = images[order], stratum[order]
        sizes = np.bincount(stratum, minlength=strata)
        place = np.arange(len(images)) - (np.cumsum(sizes) - sizes)[stratum]
        picked.append(images[place < share_out(ipc, sizes)[stratum]])
    return jnp.asarray(np.stack(picked))


def share_out(budget: int, sizes: Int[np.ndarray, " strata"]) -> Int[np.ndarray, " strata"]:
    """How many are drawn from each stratum: from the smallest on, an even share of what is left, or all there are.

    Args:
        budget: in all; no more than there are.
        sizes: of the strata. Empty ones are asked too.
    """
    shares = np.zeros_like(sizes)
    for asked, stratum in enumerate(np.argsort(sizes, kind="stable")):
        shares[stratum] = min(sizes[stratum], (budget - shares.sum()) // (len(sizes) - asked))
    return shares


def _strata(scores: Float[np.ndarray, " n"], count: int) -> Int[np.ndarray, " n"]:
    """The stratum of each score, from the easiest on; all are in the last where all are alike."""
    return np.searchsorted(np.linspace(scores.min(), scores.max(), count + 1)[1:-1], scores, side="right")


CCS = Selection("ccs", Stratified(), stratified, "Zheng et al., ICLR 2023")
