"""What a selection goes by: features of the training images, how hard they are, or experts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.inner import Seen
from jaxdistill.run.bank import StoredBank
from jaxdistill.run.config import BasisConfig
from jaxdistill.run.experts import RECIPE, trained
from jaxdistill.run.files import load_arrays
from jaxdistill.run.resolve import Bench, at_once, augmentation
from jaxdistill.selection import ASKED, NEEDS, SCORES, TYPICAL, Difficulty, Teachers, Witness, features
from jaxdistill.types import Key, Network, Variables

__all__ = ["basis", "for_file", "scores"]


def basis(
    strategy: str, config: BasisConfig, bench: Bench, network: Network, stored: StoredBank | None, key: Key
) -> Any:
    """What the strategy goes by (`jaxdistill.selection.NEEDS`).

    Args:
        strategy: its name, or ``real``.
        config: how to come by it.
        bench: data and devices.
        network: what is trained for features or scores.
        stored: experts, if there are any; scores then come from what they recorded.
        key: of networks that are trained here.

    Raises:
        ValueError: if there is no such strategy, or what it needs cannot be had.
    """
    strategy = "random" if strategy == "real" else strategy
    if strategy not in NEEDS:
        raise ValueError(
            f"unknown selection '{strategy}'; choose one of {', '.join(NEEDS)}, or give a finished set or run"
        )
    need = NEEDS[strategy]
    if need == "nothing":
        return jnp.zeros((bench.train.count, 0))
    if need == "experts":
        if stored is None:
            raise ValueError(f"{strategy} asks experts; make some with 'jaxdistill experts' and give --experts")
        return Teachers(network, lambda number: stored.variables(network, number), len(stored.params))
    if bench.on_host and (need == "features" or (config.scores is None and (stored is None or strategy in ASKED))):
        free = sorted(name for name, needed in NEEDS.items() if needed == "nothing")
        raise ValueError(
            f"{strategy} looks at all training images, which stay on the host at this --device-gib; raise it, or take "
            f"one of {', '.join(free)}"
        )
    if need == "scores":
        return Difficulty(scores(strategy, config, bench, network, stored, key), config.beta, config.window_start)
    if config.features == "pixels":
        return features.pixels(bench.train)
    plain = augmentation("none", bench)
    return features.embed(features.fit(key, network, bench.train, plain, config.feature_epochs), bench.train)


def scores(
    strategy: str, config: BasisConfig, bench: Bench, network: Network, stored: StoredBank | None, key: Key
) -> np.ndarray:
    """How hard each training image is by a score, larger is harder, averaged over networks; sorted by class."""
    if config.scores is not None:
        found = _read(config.scores, len(bench.source.train_labels))
        return (-found if strategy in TYPICAL else found)[_order(bench)]
    if stored is not None:
        histories = (stored.history(number) for number in range(len(stored.params)))
        early = min(config.score_epochs, stored.epochs)
        networks = (stored.variables(network, number, early) for number in range(len(stored.params)))
        found = [
            SCORES[strategy](Witness(seen, early - 1, network, variables, bench.train))
            for seen, variables in zip(histories, networks, strict=True)
        ]
    else:
        size = at_once(None, config.score_networks, bench.image_shape, 128, bench.mesh)
        found = []
        for begin in range(0, config.score_networks, size * bench.mesh.size):
            numbers = np.arange(begin, min(begin + size * bench.mesh.size, config.score_networks))
            found += _trained(strategy, config, numbers, size, bench, network, key)
    return np.mean(found, axis=0)


def for_file(strategy: str, found: np.ndarray, bench: Bench) -> np.ndarray:
    """Scores as --scores reads them again: in the data set's own order, and the way round that the score has."""
    back = np.empty_like(found)
    back[_order(bench)] = -found if strategy in TYPICAL else found
    return back


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
        found.append(SCORES[strategy](Witness(seen, config.score_epochs - 1, network, variables, bench.train)))
    return found


def _order(bench: Bench) -> np.ndarray:
    """The order that `RealData` keeps images in."""
    return np.argsort(bench.source.train_labels, kind="stable")


def _read(path: Path, count: int) -> np.ndarray:
    try:
        arrays = load_arrays(path)
        found = np.asarray(arrays.get("scores", next(iter(arrays.values()), np.empty(0))), np.float64)
    except ValueError as error:
        raise ValueError(f"the scores in {path} cannot be read ({error}); give an .npy or .npz") from None
    if found.shape != (count,) or not np.isfinite(found).all():
        raise ValueError(
            f"{path} does not hold {count} finite numbers, one for each training image in the data set's own order "
            f"(its shape is {found.shape}); give other scores"
        )
    return found
