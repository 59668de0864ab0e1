"""What a selection goes by: features of the training images, how hard they are, or experts."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.commands.train_experts import trained
from jaxdistill.commands.workspace import Bench, at_once, augmentation
from jaxdistill.engine.devices import replicate
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import KernelRidge, Protocol, evaluate
from jaxdistill.io.expert_bank import StoredBank
from jaxdistill.io.scores import read_scores
from jaxdistill.kernels import make as make_kernel
from jaxdistill.kernels.regression import LINEAR
from jaxdistill.selection import (  # fmt: skip
    ASKED,
    NEEDS,
    SCORES,
    TYPICAL,
    Difficulty,
    Outputs,
    Teachers,
    Trials,
    Witness,
    outputs,
)
from jaxdistill.settings.config import BasisConfig
from jaxdistill.training.inference import embedding, predict
from jaxdistill.training.proxy import RECIPE, pixels, train_proxy
from jaxdistill.training.sgd import Seen
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = ["Means", "basis", "described", "for_file", "scores", "stand_in", "uses_experts"]

TRIED = 5_000
SILENT = Variables({}, {})
"""For scores that ask no network."""


class Means(NamedTuple):
    """What a selection's basis can be made of."""

    config: BasisConfig
    """How to come by it."""
    bench: Bench
    """Data and devices."""
    network: Network
    """What is trained for features or scores."""
    kernel: str | None
    """For label solve."""
    stored: StoredBank | None
    """Experts, if there are any: scores then come from what they recorded, features from the first of them."""
    key: Key
    """Of networks that are trained for it."""


def basis(strategy: str, means: Means) -> Any:
    """What the strategy (its name, or ``real``) goes by; see `jaxdistill.selection.NEEDS`.

    Raises:
        UsageError: if there is no such strategy, or what it needs cannot be had.
    """
    config, bench, network, kernel, stored, key = means
    strategy = "random" if strategy == "real" else strategy
    if strategy not in NEEDS:
        raise UsageError(
            f"unknown selection '{strategy}'; choose one of {', '.join(NEEDS)}, or give a finished set or run"
        )
    need = NEEDS[strategy]
    if need == "nothing":
        return jnp.zeros((bench.train.count, 0))
    if need == "experts":
        if stored is None:
            raise UsageError(f"{strategy} asks experts; make some with 'jaxdistill experts' and give --experts")
        return Teachers(network, lambda number: stored.variables(network, number), len(stored.params))
    if need == "trials":
        return Trials(partial(_tried, config, bench, network), config.trials)
    of_file = need == "scores" and (config.scores is not None or (stored is not None and strategy not in ASKED))
    if bench.on_host and not of_file:
        free = sorted(name for name, needed in NEEDS.items() if needed == "nothing")
        raise UsageError(
            f"{strategy} looks at all training images, which stay on the host at this --device-gib; raise it, or take "
            f"one of {', '.join(free)}"
        )
    if need == "scores":
        return Difficulty(scores(strategy, config, bench, network, stored, key), config.beta, config.window_start)
    if need == "kernel":
        return make_kernel(kernel or KernelRidge.kernel, bench.image_shape)
    if need == "features" and config.features == "pixels":
        return pixels(bench.train)
    if stored is None:
        variables = train_proxy(key, network, bench.train, config.feature_epochs)
    else:
        variables = stored.variables(network, 0)
    if need == "features":
        return predict(network, variables, bench.train, embedding)
    return outputs(network, variables, bench.train)


def described(strategy: str, config: BasisConfig, experts: bool) -> str:
    """Whose features the strategy goes by, in words for the set's card; nothing where it goes by something else."""
    need = NEEDS.get(strategy)
    if need in ("outputs", "features") and (need == "outputs" or config.features == "embedding"):
        whose = "the first expert at its end" if experts else f"a network after {config.feature_epochs} epochs"
        return f"embedding of {whose}"
    return "pixels" if need == "features" else ""


def _tried(config: BasisConfig, bench: Bench, network: Network, key: Key, synthetic: SyntheticSet) -> float:
    """Accuracy on training images, at most `TRIED` of them, of a network that was trained on the set."""
    key_images, key_fit = jax.random.split(key)
    count = bench.train.count
    indices = np.asarray(jax.random.permutation(key_images, count))[:TRIED]
    some = dataclasses.replace(bench.train, images=bench.train.images[indices], labels=bench.train.labels[indices])
    recipe = Protocol(config.trial_epochs, augment="none")
    return evaluate(key_fit, synthetic, network, replicate(some, bench.mesh), recipe, seeds=1).mean


def stand_in(strategy: str, means: Means) -> Any:
    """Stands for `basis` where only the shapes of what is selected matter: no network is trained for it."""
    need, config, count = NEEDS.get(strategy), means.config, means.bench.train.count
    rows = jax.random.normal(means.key, (count, 1))
    if need == "features":
        return rows
    if need == "scores":
        return Difficulty(np.zeros(count), config.beta, config.window_start)
    if need == "outputs":
        return Outputs(rows, jnp.zeros((count, means.bench.num_classes)))
    if need == "trials":
        return Trials(lambda *_: 0.0, config.trials)
    if need == "kernel":
        return LINEAR
    return basis(strategy, means)


def uses_experts(strategy: str, config: BasisConfig) -> bool:
    """Whether a strategy, or a start by it, goes by experts where there are some."""
    need = NEEDS.get(strategy)
    asked = {"scores": config.scores is None, "features": config.features == "embedding"}
    return asked.get(need or "", need in ("experts", "outputs"))


def scores(
    strategy: str, config: BasisConfig, bench: Bench, network: Network, stored: StoredBank | None, key: Key | None
) -> np.ndarray:
    """How hard each training image is by a score, larger is harder, averaged over networks; sorted by class.

    Without a file or experts networks are trained for it, with the key.
    """
    if config.scores is not None:
        return _turned(strategy, read_scores(config.scores, bench.source))[_order(bench)]
    if stored is not None:
        early, found = min(config.score_epochs, stored.epochs), []
        for number in range(len(stored.params)):
            variables = stored.variables(network, number, early) if strategy in ASKED else SILENT
            found.append(SCORES[strategy](Witness(stored.history(number), early - 1, network, variables, bench.train)))
    else:
        size = at_once(None, config.score_networks, bench.image_shape, 128, bench.mesh)
        found = []
        for begin in range(0, config.score_networks, size * bench.mesh.size):
            numbers = np.arange(begin, min(begin + size * bench.mesh.size, config.score_networks))
            found += _trained(strategy, config, numbers, size, bench, network, key)
    return np.mean(found, axis=0)


def for_file(strategy: str, found: np.ndarray, bench: Bench) -> np.ndarray:
    """Scores as --scores reads them again: in the data set's own order, and the way round that the score has.

    So C-scores are in [0, 1] and low for what is hard. They are float64, in which 1 minus a score loses nothing.
    """
    found = _turned(strategy, found)
    back = np.empty_like(found)
    back[_order(bench)] = found
    return back


def _turned(strategy: str, found: np.ndarray) -> np.ndarray:
    """Hardness of what a file says, and the other way round."""
    return 1 - np.asarray(found, np.float64) if strategy in TYPICAL else found


def _trained(
    strategy: str, config: BasisConfig, numbers: np.ndarray, size: int, bench: Bench, network: Network, key: Key
) -> list[np.ndarray]:
    heard: list[Seen] = []

    def tell(epoch: int, variables: Variables, seen: Seen | None) -> None:
        if seen is not None:
            heard.append(jax.tree.map(np.asarray, seen))

    plain = augmentation("none", bench)
    ends = trained(key, numbers, config.score_epochs, network, RECIPE, plain, bench.train, bench.mesh, size, tell)
    found = []
    for i in range(len(numbers)):
        seen = jax.tree.map(lambda *epochs, i=i: np.stack([epoch[i] for epoch in epochs]), *heard)
        variables = jax.tree.map(lambda leaf, i=i: leaf[i], ends)
        witness = Witness(seen, config.score_epochs - 1, network, variables, bench.train)
        found.append(np.asarray(SCORES[strategy](witness)))
    return found


def _order(bench: Bench) -> np.ndarray:
    """The order that `RealData` keeps images in."""
    return np.argsort(bench.source.train_labels, kind="stable")
