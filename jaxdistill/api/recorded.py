"""What a run has recorded, kept in memory and drawn by notebooks: scalars, looks, pictures of the set on its way."""

from __future__ import annotations

import html
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from jaxtyping import Float

from jaxdistill.engine import callbacks as sinks
from jaxdistill.engine.loop import Chunk
from jaxdistill.report import curves
from jaxdistill.report.tables import import_pandas

__all__ = ["Curves", "History", "Looks", "Pictures", "Windows"]


class Curves(dict[str, Float[np.ndarray, " steps"]]):
    """Every scalar of a run by name, one number a step: ``loss`` and whatever else the method says."""

    def to_pandas(self) -> Any:
        """A pandas ``DataFrame`` with a line for each step.

        Raises:
            UsageError: if pandas is not installed.
        """
        pandas = import_pandas()
        return pandas.DataFrame(dict(self), index=pandas.RangeIndex(1, 1 + self.steps, name="step"))

    @property
    def steps(self) -> int:
        """How many there are numbers of."""
        return len(next(iter(self.values()), ()))

    def __repr__(self) -> str:
        return f"<curves of {self.steps} steps: {', '.join(self)}>"

    def _repr_html_(self) -> str:
        return "".join(
            _figure(name, np.arange(1.0, 1 + len(values)), values.astype(float)) for name, values in self.items()
        )


class Looks(list[dict[str, Any]]):
    """Looks at held-out training images along a run: a dictionary each, with ``step accuracies mean std``."""

    def to_pandas(self) -> Any:
        """A pandas ``DataFrame`` with a line for each look.

        Raises:
            UsageError: if pandas is not installed.
        """
        pandas = import_pandas()
        return pandas.DataFrame(list(self))

    def __repr__(self) -> str:
        seen = (f"step {row['step']}: {_percent(row)}" for row in self if "mean" in row)
        return f"<accuracy on held-out training images in %: {'; '.join(seen) or 'none'}>"

    def _repr_html_(self) -> str:
        having = [row for row in self if "mean" in row]
        steps, means = (np.array([row[name] for row in having], float) for name in ("step", "mean"))
        cells = "".join(f"<tr><td>{row['step']}</td><td>{_percent(row)}</td></tr>" for row in having)
        head = "<thead><tr><th>step</th><th>held out, %</th></tr></thead>"
        return f"{_figure('held out, %', steps, 100 * means)}<table>{head}<tbody>{cells}</tbody></table>"


class Windows(list[dict[str, Any]]):
    """Windows that were tried for one: a dictionary each, with ``ipc ratio start accuracies mean std best``.

    Args:
        found: what ``search.json`` holds; empty where nothing was searched for.
    """

    def __init__(self, found: Mapping[str, Any] = MappingProxyType({})):
        super().__init__(found.get("rows", []))
        self.said: str = found.get("said", "no window was searched for")

    def to_pandas(self) -> Any:
        """A pandas ``DataFrame`` with a line for each window.

        Raises:
            UsageError: if pandas is not installed.
        """
        pandas = import_pandas()
        return pandas.DataFrame(list(self))

    def __repr__(self) -> str:
        return f"<{self.said}>"

    def _repr_html_(self) -> str:
        shown = f"<p>{html.escape(self.said)}</p>"
        for ipc in dict.fromkeys(row["ipc"] for row in self):
            rows = [row for row in self if row["ipc"] == ipc]
            starts, means = (100 * np.array([row[name] for row in rows], float) for name in ("start", "mean"))
            cells = "".join(f"<tr><td>{100 * row['start']:.1f}</td><td>{_percent(row)}</td></tr>" for row in rows)
            head = f"<thead><tr><th>left out, %</th><th>{ipc} per class, %</th></tr></thead>"
            shown += f"{_figure(f'{ipc} per class, %', starts, means)}<table>{head}<tbody>{cells}</tbody></table>"
        return shown


def _percent(row: Mapping[str, Any]) -> str:
    return f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}" if "std" in row else f"{100 * row['mean']:.1f}"


def _figure(name: str, steps: Float[np.ndarray, " n"], values: Float[np.ndarray, " n"]) -> str:
    """A curve with the numbers of its axes, as SVG; nothing where there is no line to draw."""
    drawn = curves.draw(name, steps, values)
    if drawn is None:
        return ""
    left, top, width, height = 48, 18, 300, 140
    marks = [
        f'<text x="{left - 5}" y="{top + tick.at / 100 * height + 4:.1f}" text-anchor="end">{tick.label}</text>'
        for tick in drawn.y
    ]
    marks += [
        f'<text x="{left + tick.at / 100 * width:.1f}" y="{top + height + 15}" text-anchor="middle">{tick.label}</text>'
        for tick in drawn.x
    ]
    path = '<path fill="none" stroke="currentColor" vector-effect="non-scaling-stroke"'
    return (
        f'<svg width="{left + width + 24}" height="{top + height + 22}" style="max-width:100%" font-size="11" '
        f'font-family="sans-serif" fill="currentColor"><text x="{left}" y="12">{html.escape(name)}: {drawn.last}</text>'
        f'{"".join(marks)}<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="#8881"/>'
        f'<svg x="{left}" y="{top}" width="{width}" height="{height}" viewBox="0 0 {curves.BOX} {curves.BOX}" '
        f'preserveAspectRatio="none">{path} opacity=".3" d="{drawn.raw}"/>{path} stroke-width="2" d="{drawn.smooth}"/>'
        "</svg></svg>"
    )


class History(AbstractContextManager["History"]):
    """A sink that keeps every scalar."""

    def __init__(self, columns: Mapping[str, np.ndarray] = MappingProxyType({})):
        self.columns: dict[str, list[np.ndarray]] = {name: [values] for name, values in columns.items()}

    def __call__(self, chunk: Chunk) -> None:
        """Keep the chunk's scalars."""
        for name, values in {} if chunk.infos is None else chunk.infos._asdict().items():
            self.columns.setdefault(name, []).append(np.asarray(values))

    def __exit__(self, *_: object) -> None: ...

    @property
    def curves(self) -> Curves:
        """All of them."""
        return Curves({name: np.concatenate(parts) for name, parts in self.columns.items()})


class Pictures(sinks.Previews):
    """Previews that stay in memory, by step."""

    def __init__(self, *args: Any):
        super().__init__(Path(), *args)
        self.found: dict[int, bytes] = {}

    def _keep(self, step: int, picture: bytes) -> None:
        self.found[step] = picture

    def _kept(self) -> list[int]:
        return sorted(self.found)

    def _drop(self, step: int) -> None:
        del self.found[step]
