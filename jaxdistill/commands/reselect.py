"""Judge networks that trained on core-sets selected anew as they went: a row for each of the networks that judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxdistill.commands.plan import Bound
from jaxdistill.commands.workspace import augmentation
from jaxdistill.data.feeds import RealData
from jaxdistill.evaluation import Evaluation, Recipe
from jaxdistill.evaluation.train import BASELINE, correct
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.adaptive import train_adaptively
from jaxdistill.types import Key, Network, Variables

__all__ = ["beside", "reselected"]


def reselected(key: Key, bound: Bound, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Rows of evaluation.json, as `jaxdistill.commands.judge.judge` has them; none where nothing is selected again.

    Networks go one after the other, on all devices together: each has selections of its own.

    Args:
        key: that of `judge`: the network of seed i starts as that of the sets it stands beside.
        bound: of the selection.
        tell: told one line a network.
    """
    config, bench, seeds = bound.config, bound.bench, bound.config.evaluation.eval_seeds
    every, rows = getattr(config, "reselect_every", None), []
    if every is None:
        return rows
    key_train, _ = jax.random.split(key)
    protocol: Any = bound.protocol.bound(partial(augmentation, bench=bench))
    selection = SELECTIONS[config.strategy]
    name = f"{selection.name}, reselected every {f'{every} epochs' if every > 1 else 'epoch'}"
    for network_name, network in bound.judges.items():
        began, accuracies = time.perf_counter(), []
        for seed in range(seeds):
            variables, _ = train_adaptively(
                jax.random.fold_in(key_train, seed), bench.train, config.ipc, selection, network, protocol, every,
                config.reselect_after, config.basis, bench.held_out,
            )  # fmt: skip
            accuracies.append(float(_right(variables, bench.test, network, protocol)) / bench.test.count)
            tell(f"{name} on {network_name}: {seed + 1} of {seeds} networks, last {accuracies[-1]:.1%}")
        found = Evaluation(np.asarray(accuracies))
        row = {"set": name, "network": network_name, "accuracies": accuracies, "mean": found.mean, "std": found.std}
        rows.append(row | {"seconds": time.perf_counter() - began, "ipc": config.ipc, "baseline": BASELINE})
    return rows


def beside(rows: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rows, each of the latter after the first one of its network, which is the set's."""
    later = {row["network"]: row for row in more}
    return [each for row in rows for each in (row, later.pop(row["network"], None)) if each is not None]


@partial(jax.jit, static_argnames=("network", "protocol"))
def _right(variables: Variables, data: RealData, network: Network, protocol: Recipe) -> Int[Array, ""]:
    return correct(partial(protocol.predict, network, variables), data)
