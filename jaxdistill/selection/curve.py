"""What a search for the window found: how well networks do on each of several windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Curve", "Judged", "Searched"]


class Judged(NamedTuple):
    """A window, and how well fresh networks do on held-out images that were trained on it."""

    start: float
    """Share of each class, its hardest images, that the window leaves out."""
    accuracies: tuple[float, ...]
    """Of each network, a fraction."""

    @property
    def mean(self) -> float:
        """Mean over networks."""
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        """Population standard deviation over networks."""
        return float(np.std(self.accuracies))


class Curve(NamedTuple):
    """Windows of one size, from the hardest to the easiest."""

    ipc: int
    """Images of each class in a window."""
    ratio: float
    """As a share of the smallest class."""
    windows: tuple[Judged, ...]

    @property
    def best(self) -> Judged:
        """The window of the largest mean; the easier one of two that tie."""
        return max(reversed(self.windows), key=lambda window: window.mean)

    def near(self, count: int) -> int:
        """How many other windows `count` held-out images cannot tell from the best: within a standard error of it."""
        error = (self.best.mean * (1 - self.best.mean) / count) ** 0.5
        return sum(one is not self.best and self.best.mean - one.mean <= error for one in self.windows)


class Searched(NamedTuple):
    """A start that was chosen, and what it was chosen by."""

    beta: float
    """Share of the hardest images of each class that is left out."""
    said: str
    """What chose it, in a sentence."""
    curves: tuple[Curve, ...] = ()
    """Of the images per class that were asked for, then of other sizes; none where none could be tried."""
    how: Mapping[str, Any] = MappingProxyType({})
    """How windows were judged, as plain data."""

    @property
    def rows(self) -> Iterator[dict[str, Any]]:
        """A line for each window, as plain data; the `best` of each size is marked."""
        for curve in self.curves:
            for one in curve.windows:
                row = {"ipc": curve.ipc, "ratio": curve.ratio, "start": one.start, "accuracies": [*one.accuracies]}
                yield {**row, "mean": one.mean, "std": one.std, "best": one is curve.best}

    @property
    def plain(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {"beta": self.beta, "said": self.said, **self.how, "rows": list(self.rows)}
