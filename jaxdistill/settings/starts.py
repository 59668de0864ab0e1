"""Selections by the names that starts have: their own, and ``real``, the papers' word for random images."""

from jaxdistill.selection import SELECTIONS, Selection
from jaxdistill.selection.base import Need, Nothing

__all__ = ["STARTS", "needs_of"]

STARTS: dict[str, Selection] = {"real": SELECTIONS["random"], **SELECTIONS}
"""Name -> selection, of all that ``--init`` can be beside a finished set."""


def needs_of(start: str) -> Need:
    """What a start goes by: nothing where it is a finished set."""
    return STARTS[start].needs if start in STARTS else Nothing()
