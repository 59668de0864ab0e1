"""Curves of a run's scalars as SVG paths, without a plotting library: a few kilobytes each, coloured by the page."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["BOX", "Curve", "Lines", "Tick", "draw", "overlay"]

BOX = 1000
"""Paths live in a square of this size, y downwards, which the page stretches; ticks are in percent of it."""
BINS = 300
"""Horizontal resolution: of more points than twice this, raw curves keep the extremes of each bin."""
LOG_FROM = 20.0
"""Positive values that span this factor are drawn on a logarithmic scale."""


class Tick(NamedTuple):
    """A labelled position on an axis, in percent from the left or from the top."""

    at: float
    label: str


class Curve(NamedTuple):
    """One scalar over the steps."""

    name: str
    raw: str
    """SVG path of every value; what lies beyond the 1st and 99th percentile is clipped at the edge."""
    smooth: str
    """SVG path of the moving average (of logarithms, on a logarithmic scale)."""
    x: list[Tick]
    y: list[Tick]
    log: bool
    last: str
    """The last value of the moving average."""


class Lines(NamedTuple):
    """Moving averages of one scalar in several runs, on one pair of axes."""

    name: str
    paths: dict[str, str]
    """SVG path of each run, by its name."""
    x: list[Tick]
    y: list[Tick]
    log: bool
    last: dict[str, str]
    """The last value of each."""


class _Axes(NamedTuple):
    """What is shown: steps from `first` to `last`, and heights (logarithms, on a logarithmic scale)."""

    first: float
    last: float
    bottom: float
    top: float
    log: bool

    def across(self, steps: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return BOX * (steps - self.first) / max(self.last - self.first, 1.0)

    def down(self, heights: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        return BOX * (1 - (np.clip(heights, self.bottom, self.top) - self.bottom) / (self.top - self.bottom))

    def label(self, height: float, digits: int) -> str:
        return f"{10**height if self.log else height:.{digits}g}"

    def ticks(self) -> tuple[list[Tick], list[Tick]]:
        width, height = max(self.last - self.first, 1.0), self.top - self.bottom
        heights = _log_ticks(self.bottom, self.top) if self.log else _ticks(self.bottom, self.top, 4)
        x = [Tick(100 * (v - self.first) / width, f"{v:,.0f}") for v in _ticks(self.first, self.last, 5)]
        return x, [Tick(100 * (1 - (v - self.bottom) / height), self.label(v, 6)) for v in heights]


def draw(name: str, steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> Curve | None:
    """The curve of a scalar; values that are not finite leave a gap. None if there is no line to draw.

    Args:
        name: the scalar's.
        steps: when it was looked at.
        values: what it was.
    """
    finite = np.isfinite(values)
    if finite.sum() < 2:
        return None
    log = _spans(values[finite])
    heights = _heights(values, log)
    smooth = _moving_average(heights, finite)
    # The average is always in view; single outliers of the raw values must not flatten it.
    bottom, top = np.percentile(heights[finite], [1, 99])
    axes = _axes(steps, min(bottom, np.nanmin(smooth)), max(top, np.nanmax(smooth)), log)
    across, sample = axes.across(steps), _sample(len(steps))
    x, y = axes.ticks()
    return Curve(
        name=name,
        raw=_path(*_extremes(across, axes.down(heights))),
        smooth=_path(across[sample], axes.down(smooth[sample])),
        x=x,
        y=y,
        log=log,
        last=axes.label(_last(smooth), 4),
    )


def overlay(name: str, runs: Mapping[str, tuple[np.ndarray, np.ndarray]], *, linear: bool = False) -> Lines | None:
    """The moving averages of a scalar in several runs; None if there is no line to draw.

    Args:
        name: the scalar's.
        runs: steps and values of each by its name; one with fewer than two finite values is left out.
        linear: never on a logarithmic scale.
    """
    known = {run: pair for run, pair in runs.items() if np.isfinite(pair[1]).sum() > 1}
    if not known:
        return None
    log = not linear and _spans(np.concatenate([values[np.isfinite(values)] for _, values in known.values()]))
    smooth = {run: _moving_average(_heights(values, log), np.isfinite(values)) for run, (_, values) in known.items()}
    lowest, highest = min(map(np.nanmin, smooth.values())), max(map(np.nanmax, smooth.values()))
    axes = _axes(np.sort(np.concatenate([steps for steps, _ in known.values()])), lowest, highest, log)
    paths = {}
    for run, (steps, _) in known.items():
        sample = _sample(len(steps))
        paths[run] = _path(axes.across(steps[sample]), axes.down(smooth[run][sample]))
    x, y = axes.ticks()
    return Lines(name, paths, x, y, log, {run: axes.label(_last(line), 4) for run, line in smooth.items()})


def _spans(values: Float[np.ndarray, " n"]) -> bool:
    """Whether values ask for a logarithmic scale."""
    bottom, top = np.percentile(values, [1, 99])
    return bool(values.min() > 0 and top >= LOG_FROM * bottom)


def _heights(values: Float[np.ndarray, " n"], log: bool) -> Float[np.ndarray, " n"]:
    finite = np.isfinite(values)
    heights = np.full(values.shape, np.nan)
    heights[finite] = np.log10(values[finite]) if log else values[finite]
    return heights


def _axes(steps: Float[np.ndarray, " n"], bottom: float, top: float, log: bool) -> _Axes:
    margin = 0.05 * (top - bottom) or 0.05 * abs(top) or 1.0
    return _Axes(float(steps[0]), float(steps[-1]), float(bottom - margin), float(top + margin), log)


def _sample(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, BINS).astype(int))


def _last(smooth: Float[np.ndarray, " n"]) -> float:
    return float(smooth[np.flatnonzero(np.isfinite(smooth))[-1]])


def _moving_average(heights: Float[np.ndarray, " n"], finite: np.ndarray) -> Float[np.ndarray, " n"]:
    """Average over about a twentieth of the run, twice (a triangular window); gaps and ends do not count."""
    window = np.ones(2 * (len(heights) // 80) + 1)
    kernel = np.convolve(window, window)
    weight = np.convolve(finite.astype(float), kernel)
    total = np.convolve(np.where(finite, heights, 0.0), kernel)
    middle = slice(len(kernel) // 2, len(kernel) // 2 + len(heights))
    average = np.full(heights.shape, np.nan)
    np.divide(total[middle], weight[middle], out=average, where=weight[middle] > 0.5)
    return average


def _extremes(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> tuple[np.ndarray, np.ndarray]:
    if len(x) <= 2 * BINS:
        return x, y
    columns, heights = [], []
    for indices in np.array_split(np.arange(len(x)), BINS):
        inside = y[indices][np.isfinite(y[indices])]
        columns += [x[indices].mean()] * 2
        heights += [inside.max(), inside.min()] if inside.size else [np.nan, np.nan]
    return np.array(columns), np.array(heights)


def _path(x: np.ndarray, y: np.ndarray) -> str:
    parts, pen = [], "M"
    for a, b in zip(x, y, strict=True):
        if np.isfinite(b):
            parts.append(f"{pen}{a:.1f} {b:.1f}")
        pen = "L" if np.isfinite(b) else "M"
    return "".join(parts)


def _ticks(low: float, high: float, count: int) -> list[float]:
    """About `count` round numbers in a range."""
    rough = max(high - low, 1e-30) / count
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= rough * (1 - 1e-9))
    return [step * i for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Logarithms of round numbers in a range of logarithms: powers of ten, or 1, 2 and 5 times them where few fit."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    powers = [float(d) for d in decades if low <= d <= high]
    if len(powers) >= 3:
        return powers[:: math.ceil(len(powers) / 5)]
    ticks = [d + math.log10(m) for d in decades for m in (1, 2, 5)]
    return [t for t in ticks if low <= t <= high]
