"""Public names that are imported when they are asked for, so that ``import jaxdistill`` loads the pure core alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["DOOR", "lazily"]

DOOR: Mapping[str, str] = {
    **dict.fromkeys(
        ("Experts", "distill", "evaluate", "join", "open", "select", "train_experts"), "jaxdistill.api.door"
    ),
    **dict.fromkeys(("Dataset", "load"), "jaxdistill.api.dataset"),
    "Run": "jaxdistill.api.runs",
    "Stored": "jaxdistill.io.artifact",
    "Table": "jaxdistill.report.tables",
}
"""The module of each name of the door, which reads and writes files, shows progress and draws pages."""


def lazily(
    package: str, places: Mapping[str, str], known: Iterable[str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's ``__getattr__`` and ``__dir__``.

    Args:
        package: its name, for messages.
        places: the module of each name that is imported late.
        known: its other names.
    """

    def find(name: str) -> Any:
        if name in places:
            return getattr(import_module(places[name]), name)
        raise AttributeError(f"module '{package}' has no attribute '{name}'")

    return find, lambda: sorted({*known, *places})
