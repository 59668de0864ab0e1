"""Evaluate sets on networks, the random baseline always beside them, and keep it as evaluation.json has it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from jaxdistill.evaluate import Protocol, evaluate
from jaxdistill.run.resolve import Bench, augmentation, mapper, on_cpu, select
from jaxdistill.types import Key, Network, SyntheticSet

__all__ = ["judge"]


def judge(
    key: Key,
    sets: Mapping[str, SyntheticSet],
    networks: Mapping[str, Network],
    bench: Bench,
    protocol: Protocol,
    protocol_name: str,
    seeds: int,
    *,
    ipc: int,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Test accuracy of each set, and of random real images, on each network.

    Args:
        key: consumed; the networks of seed i and the i-th random subset are the same whatever else is evaluated.
        sets: sets by name; ``random`` is added (a fresh subset of `ipc` images per class for each seed).
        networks: networks by name; several of them give a transfer matrix.
        bench: data and devices.
        protocol: the recipe.
        protocol_name: what it is called.
        seeds: independent networks of each kind.
        ipc: size of the random baseline.
        tell: told one line a row.

    Returns:
        The content of evaluation.json: the protocol, and a row for each set and network with every accuracy.
    """
    key_train, key_random = jax.random.split(key)
    baselines = [select(jax.random.fold_in(key_random, i), "random", bench, ipc) for i in range(seeds)]
    at_once = 1 if on_cpu(bench.mesh) else -(-seeds // bench.mesh.size)
    rows = []
    for network_name, network in networks.items():
        for name, chosen in {**sets, "random": baselines}.items():
            began = time.perf_counter()

            def progress(accuracies, label=f"{name} on {network_name}"):
                tell(f"{label}: {len(accuracies)} of {seeds} networks, last {accuracies[-1]:.1%}")

            result = evaluate(
                key_train,
                chosen,
                network,
                bench.test,
                protocol,
                augment=augmentation(protocol.augment, bench),
                seeds=seeds,
                seeds_per_call=at_once * bench.mesh.size,
                map_seeds=mapper(bench.mesh, at_once, gather=True),
                tell=progress,
            )
            row = {"set": name, "network": network_name, "accuracies": result.accuracies.tolist()}
            row |= {"mean": result.mean, "std": result.std, "seconds": time.perf_counter() - began}
            rows.append(row)
    described = {"name": protocol_name, **dataclasses.asdict(protocol)}
    return {"protocol": described, "test_images": int(bench.test.labels.shape[0]), "rows": rows}
