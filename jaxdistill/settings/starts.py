"""Selections by the names that starts have: their own, and ``real``, the papers' word for random images; and scores by
the names of the selections that go by them."""

from jaxdistill.common.names import choose
from jaxdistill.selection import SELECTIONS, Selection
from jaxdistill.selection.base import Need, Nothing, Scores

__all__ = ["SCORES", "STARTS", "needs_of", "score_of"]

STARTS: dict[str, Selection] = {"real": SELECTIONS["random"], **SELECTIONS}
"""Name -> selection, of all that ``--init`` can be beside a finished set."""

SCORES: dict[str, Scores] = {
    name: selection.needs for name, selection in SELECTIONS.items() if isinstance(selection.needs, Scores)
}
"""Name of a selection by a score -> that score."""


def score_of(name: str) -> Scores:
    """The score that a selection goes by.

    Raises:
        UsageError: if there is no selection of that name that goes by a score.
    """
    return SCORES[choose(name, SCORES, "score")]


def needs_of(start: str) -> Need:
    """What a start goes by: nothing where it is a finished set."""
    return STARTS[start].needs if start in STARTS else Nothing()
