"""How far a run is, in a notebook: one line with a bar that is drawn over itself."""

from __future__ import annotations

import html
import sys
import time
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jaxdistill.engine.loop import Chunk

__all__ = ["NotebookProgress", "in_notebook"]

REFRESH = 0.2
"""Seconds between two drawings."""


def in_notebook() -> bool:
    """Whether this is a kernel of Jupyter, which shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return shell is not None and hasattr(shell, "kernel")


class NotebookProgress(AbstractContextManager["NotebookProgress"]):
    """A sink that shows steps, speed and loss.

    Args:
        total: steps of the whole run.
        start: steps done already.
        description: what is running, in a word or two.
    """

    def __init__(self, total: int, start: int, description: str):
        self._total, self._start, self._description = total, start, description
        self._handle: Any = None
        self._drawn, self._began = 0.0, time.monotonic()

    def __enter__(self) -> NotebookProgress:
        from IPython.display import HTML, display

        self._html = HTML
        self._began = time.monotonic()
        self._handle = display(HTML(self._line(self._start, "compiling")), display_id=True)
        return self

    def __call__(self, chunk: Chunk) -> None:
        """Draw again, unless that was just done."""
        if chunk.infos is None:
            return
        now = time.monotonic()
        if chunk.step < self._total and now - self._drawn < REFRESH and chunk.looked is None:
            return
        self._drawn = now
        rate = (chunk.step - self._start) / max(now - self._began, 1e-9)
        note = f"{rate:.3g} steps/s, {(self._total - chunk.step) / rate:.0f} s left, "
        note += f"loss {float(np.asarray(chunk.infos[0])[-1]):.4g}"
        if chunk.looked is not None and chunk.looked[0].accuracies:
            note += f", {np.mean(chunk.looked[0].accuracies):.1%} on held-out images"
        self._handle.update(self._html(self._line(chunk.step, note)))

    def __exit__(self, *_: object) -> None: ...

    def _line(self, step: int, note: str) -> str:
        bar = f'<progress value="{step}" max="{self._total}"></progress>'
        return f"{html.escape(self._description)} {bar} {step}/{self._total}, {html.escape(note)}"
