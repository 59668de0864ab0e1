"""Core-sets and other sets that no method has touched, all built by ``strategy(key, data, basis, ipc)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Array, Float

from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.selection import difficulty, uncertainty
from jaxdistill.selection.craig import craig
from jaxdistill.selection.glister import glister
from jaxdistill.selection.gradmatch import gradmatch
from jaxdistill.selection.herding import herding
from jaxdistill.selection.kcenter import kcenter
from jaxdistill.selection.kmeans import kmeans
from jaxdistill.selection.optimised import Trials, optimised
from jaxdistill.selection.outputs import Outputs, outputs, weighed
from jaxdistill.selection.solved import label_solve
from jaxdistill.selection.strategies import (
    Difficulty,
    Select,
    Strategy,
    average,
    by_difficulty,
    centroids,
    noise,
    picked,
)
from jaxdistill.selection.taught import Teachers, correct, labelled
from jaxdistill.selection.uniform import uniform
from jaxdistill.training.inference import predict
from jaxdistill.training.sgd import Seen
from jaxdistill.types import Network, Variables

__all__ = [
    "ASKED", "NEEDS", "SCORES", "SELECTIONS", "TYPICAL", "Difficulty", "Outputs", "Select", "Strategy", "Teachers",
    "Trials", "Witness", "herding", "kcenter", "kmeans", "outputs", "uniform",
]  # fmt: skip


class Witness(NamedTuple):
    """A network that was trained on the whole training set, and what it said on the way."""

    seen: Seen
    """Of all images in each epoch: arrays ``[epochs, n]``."""
    epoch: int
    """The one that counts as early training, from 0."""
    network: Network
    variables: Variables
    """After that epoch."""
    data: RealData


_SCORES: dict[str, Callable[[Witness], Float[Array, " n"]]] = {
    "forgetting": lambda witness: difficulty.forgetting(witness.seen.correct),
    "el2n": lambda witness: difficulty.el2n(witness.seen.error, witness.epoch),
    "grand": lambda witness: difficulty.grand(witness.network, witness.variables, witness.data),
    "cscore": lambda witness: difficulty.cscore(witness.seen.confidence),
    "entropy": lambda witness: uncertainty.entropy(predict(witness.network, witness.variables, witness.data)),
    "margin": lambda witness: uncertainty.margin(predict(witness.network, witness.variables, witness.data)),
    "least_confidence": lambda witness: uncertainty.least_confidence(
        predict(witness.network, witness.variables, witness.data)
    ),
}
SCORES: dict[str, Callable[[Witness], Float[Array, " n"]]] = {name: standard(score) for name, score in _SCORES.items()}
"""How hard each image is, by name; larger is harder."""
ASKED: frozenset[str] = frozenset({"grand", "entropy", "margin", "least_confidence"})
"""Those that need the images as well."""
TYPICAL: frozenset[str] = frozenset({"cscore"})
"""Those whose files have them the other way round: larger is more typical."""
_STRATEGIES: dict[str, Strategy] = {
    "random": picked(uniform),
    "herding": picked(herding),
    "kcenter": picked(kcenter),
    "kmeans": picked(kmeans),
    "centroids": centroids,
    "average": average,
    "noise": noise,
    **dict.fromkeys(SCORES, by_difficulty),
    "craig": weighed(craig),
    "gradmatch": weighed(gradmatch),
    "glister": weighed(glister),
    "optimised": optimised,
    "correct": correct,
    "labelled": labelled,
    "label_solve": label_solve,
}
SELECTIONS: dict[str, Strategy] = {name: standard(strategy) for name, strategy in _STRATEGIES.items()}
"""Strategies by name."""
NEEDS: dict[str, str] = {
    **dict.fromkeys(("random", "average", "noise"), "nothing"),
    **dict.fromkeys(("herding", "kcenter", "kmeans", "centroids"), "features"),
    **dict.fromkeys(SCORES, "scores"),
    **dict.fromkeys(("craig", "gradmatch", "glister"), "outputs"),
    "optimised": "trials",
    "label_solve": "kernel",
    **dict.fromkeys(("correct", "labelled"), "experts"),
}
"""What a strategy's `basis` is: rows of any length, a row of features for each image, a `Difficulty`, `Outputs` of one
trained network, `Trials`, a `jaxdistill.types.Kernel`, or `Teachers`."""
