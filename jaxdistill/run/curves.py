"""Curves of a run's scalars as SVG paths, without a plotting library: a few kilobytes each, coloured by the page."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["BOX", "Curve", "Tick", "draw"]

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


def draw(name: str, steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> Curve | None:
    """The curve of a scalar; values that are not finite leave a gap. None if there is no line to draw."""
    finite = np.isfinite(values)
    if finite.sum() < 2:
        return None
    bottom, top = np.percentile(values[finite], [1, 99])
    log = bool(values[finite].min() > 0 and top >= LOG_FROM * bottom)
    heights = np.full(values.shape, np.nan)
    heights[finite] = np.log10(values[finite]) if log else values[finite]
    smooth = _moving_average(heights, finite)
    # The average is always in view; single outliers of the raw values must not flatten it.
    bottom, top = np.percentile(heights[finite], [1, 99])
    bottom, top = min(bottom, np.nanmin(smooth)), max(top, np.nanmax(smooth))
    margin = 0.05 * (top - bottom) or 0.05 * abs(top) or 1.0
    bottom, top = float(bottom - margin), float(top + margin)
    first, last = float(steps[0]), float(steps[-1])
    across = BOX * (steps - first) / max(last - first, 1.0)

    def down(height: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
        return BOX * (1 - (np.clip(height, bottom, top) - bottom) / (top - bottom))

    end = float(smooth[np.flatnonzero(np.isfinite(smooth))[-1]])
    sample = np.unique(np.linspace(0, len(steps) - 1, BINS).astype(int))
    return Curve(
        name=name,
        raw=_path(*_extremes(across, down(heights))),
        smooth=_path(across[sample], down(smooth[sample])),
        x=[Tick(100 * (v - first) / max(last - first, 1.0), f"{v:,.0f}") for v in _ticks(first, last, 5)],
        y=[
            Tick(100 * (1 - (v - bottom) / (top - bottom)), f"{10**v if log else v:.6g}")
            for v in (_log_ticks(bottom, top) if log else _ticks(bottom, top, 4))
        ],
        log=log,
        last=f"{10**end if log else end:.4g}",
    )


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
