"""Showing a page to whoever is in front of the machine."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from jaxdistill.engine.drive import say

__all__ = ["show"]


def show(path: Path, console: Console) -> None:
    """Open a page in the browser; where there is none, say where the page lies.

    Args:
        path: the file.
        console: told where that fails.
    """
    import webbrowser

    if not webbrowser.open(Path(path).resolve().as_uri()):
        say(console, f"no browser was found here; open {path} elsewhere")
