"""Core-sets and other sets that no method has touched, one file and one line each."""

from jaxdistill.selection import (
    craig,
    difficulty,
    glister,
    gradmatch,
    herding,
    kcenter,
    kmeans,
    made,
    optimised,
    solved,
    taught,
    uncertainty,
    uniform,
)
from jaxdistill.selection.base import Selection

__all__ = ["SELECTIONS", "Selection"]

SELECTIONS: dict[str, Selection] = {
    selection.name: selection
    for selection in (
        uniform.RANDOM, herding.HERDING, kcenter.KCENTER, kmeans.KMEANS, kmeans.CENTROIDS, made.AVERAGE, made.NOISE,
        difficulty.FORGETTING, difficulty.EL2N, difficulty.GRAND, difficulty.CSCORE,
        uncertainty.ENTROPY, uncertainty.MARGIN, uncertainty.LEAST_CONFIDENCE,
        craig.CRAIG, gradmatch.GRADMATCH, glister.GLISTER,
        optimised.OPTIMISED, taught.CORRECT, taught.LABELLED, solved.LABEL_SOLVE,
    )
}  # fmt: skip
"""Name -> selection, which is called ``selection(key, data, ipc, inputs)``."""
