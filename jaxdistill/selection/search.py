"""The search for the window: where in the order of difficulty a set should begin (SelMatch, Lee & Chung, ICML 2024);
and the selection that searches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxdistill.data.check import evenly
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.base import ByScore, Context, Selection
from jaxdistill.selection.curve import Curve, Judged, Searched
from jaxdistill.selection.groups import check_ipc
from jaxdistill.selection.strategies import real_set
from jaxdistill.selection.window import Difficulty, by_difficulty, window
from jaxdistill.types import Key, SyntheticSet

__all__ = ["WINDOW", "Ranked", "Windows", "grid", "ranked", "room", "search", "set_aside"]


class Ranked(NamedTuple):
    """How hard each example is by a score that was named, and which part of its class is wanted."""

    difficulty: Difficulty
    stored: Float[np.ndarray, " n"]
    """The scores as files have them."""


class Windows(ByScore):
    """How hard images are by the score that is named, and the window that many networks find best."""

    kind, ordered = Ranked, True

    def build(self, context: Context) -> Ranked:
        """As the selection that goes by the score has it, but for a thorough search."""
        scored = context.options.scored
        found = dataclasses.replace(scored, thorough=True).build(context)
        return Ranked(found, scored.scores_of(found))

    def stand_in(self, context: Context) -> Ranked:
        """All alike."""
        found = context.options.scored.stand_in(context)
        return Ranked(found, found.scores)

    def scores_of(self, inputs: Ranked) -> np.ndarray:
        """As the selection that goes by them leaves them."""
        return inputs.stored

    def search_of(self, inputs: Ranked) -> Searched | None:
        """What chose the window."""
        return inputs.difficulty.search


def ranked(key: Key, data: RealData, ipc: int, inputs: Ranked) -> SyntheticSet:
    """The window of each class's images; see `jaxdistill.selection.window.by_difficulty`.

    Args:
        key: not used.
        data: the training split.
        ipc: images per class.
        inputs: scores, and where the window lies.
    """
    return by_difficulty(key, data, ipc, inputs.difficulty)


def search(
    key: Key,
    data: RealData,
    ipc: int,
    scores: Float[Array | np.ndarray, " n"],
    judge: Callable[[Key, SyntheticSet], Sequence[float]],
    aside: Bool[np.ndarray, " n"],
    *,
    starts: int = 11,
    tell: Callable[[int, Judged], None] = lambda ipc, judged: None,
) -> Curve:
    """Accuracy against where the window begins: the article's figure of windows, but on images that are held out.

    Windows lie among the images that are not set aside, and begin after the same shares of each class's own. The best
    share is then meant for all of them: a window of the whole split.

    Args:
        key: of the networks, handed to every call of `judge` as it is, so that the same ones judge all windows.
        data: the split.
        ipc: images per class.
        scores: how hard each image is, larger is harder.
        judge: accuracies on images that are set aside of fresh networks that were trained on a set.
        aside: which images are never in a window.
        starts: how many windows are tried, at least 2: evenly spread from the hardest to the easiest, both among them.
        tell: told the images per class and what came out, window after window.

    Raises:
        UsageError: if `ipc` is below 1 or above what is left of a class, or an accuracy is not a number.

    Source: SelMatch, Lee & Chung, ICML 2024, section 4; there the test images choose.
    """
    check_ipc(ipc)
    left = room(data, ipc, aside)
    (rows,) = np.nonzero(~aside)
    labels, classes, size = np.asarray(data.labels)[rows], len(data.counts), int(np.asarray(data.counts).min())
    found = []
    for start in grid(ipc, left, starts):
        chosen = rows[window(np.asarray(scores)[rows], labels, ipc, classes, start)]
        accuracies = tuple(map(float, judge(key, real_set(data, jnp.asarray(chosen)))))
        if not np.isfinite(accuracies).all():
            raise UsageError(f"the window from {start:.3g} on was judged to be worth nan; judge windows by numbers")
        found.append(Judged(start, accuracies))
        tell(ipc, found[-1])
    return Curve(ipc, ipc / size, tuple(found))


def room(data: RealData, ipc: int, aside: Bool[np.ndarray, " n"]) -> int:
    """How many images are left of the class with the fewest.

    Args:
        data: the split.
        ipc: images per class of a window.
        aside: which images are never in one.

    Raises:
        UsageError: if these are fewer.
    """
    counts = np.bincount(np.asarray(data.labels)[~aside], minlength=len(data.counts))
    smallest = int(counts.argmin())
    if ipc > counts[smallest]:
        raise UsageError(
            f"class {smallest} has {counts[smallest]} images beside those held out, too few for a window of {ipc}; "
            "lower `ipc` (or `search_ratios`), or say with `beta` where it begins"
        )
    return int(counts[smallest])


def grid(ipc: int, size: int, count: int) -> list[float]:
    """Where windows of a class begin: as shares of it, from 0 to ``1 - ipc / size``, both among them.

    Args:
        ipc: images in a window.
        size: images of the class, at least as many.
        count: how many windows, as far as there are so many.
    """
    return (np.linspace(0, size - ipc, min(count, size - ipc + 1)) / size).tolist()


def set_aside(data: RealData, share: float) -> Bool[np.ndarray, " n"]:
    """Which images are held out: a share of each class, at least one, evenly spread in its order.

    Args:
        data: the split.
        share: of each class, from 0 to 1.
    """
    aside = np.zeros(data.count, bool)
    for offset, size in zip(np.asarray(data.offsets), np.asarray(data.counts), strict=True):
        aside[offset + evenly(max(1, round(share * int(size))), int(size))] = True
    return aside


WINDOW = Selection("window", Windows(), ranked, "Lee & Chung, ICML 2024")
