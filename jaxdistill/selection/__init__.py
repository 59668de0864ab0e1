"""Core-sets and other sets that no method has touched, all built by ``strategy(key, data, features, ipc)``."""

from __future__ import annotations

from jaxdistill.selection.herding import herding
from jaxdistill.selection.kcenter import kcenter
from jaxdistill.selection.kmeans import kmeans
from jaxdistill.selection.strategies import Select, Strategy, average, centroids, noise, picked
from jaxdistill.selection.uniform import uniform

__all__ = ["FEATURELESS", "SELECTIONS", "Select", "Strategy", "herding", "kcenter", "kmeans", "uniform"]

SELECTIONS: dict[str, Strategy] = {
    "random": picked(uniform),
    "herding": picked(herding),
    "kcenter": picked(kcenter),
    "kmeans": picked(kmeans),
    "centroids": centroids,
    "average": average,
    "noise": noise,
}
"""Strategies by name."""
FEATURELESS: frozenset[str] = frozenset({"random", "average", "noise"})
"""Strategies for which rows of features of length 0 will do."""
