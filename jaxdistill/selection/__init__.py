"""Core-sets and other sets that no method has touched: one file each, and one line in `selection/catalogue.py`."""

from jaxdistill.selection import catalogue
from jaxdistill.selection.base import Selection

__all__ = ["SELECTIONS", "Selection"]

SELECTIONS: dict[str, Selection] = {
    selection.name: selection for selection in vars(catalogue).values() if isinstance(selection, Selection)
}
"""Name -> selection, which is called ``selection(key, data, ipc, inputs)``."""
