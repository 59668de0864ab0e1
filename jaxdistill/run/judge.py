"""Evaluate sets on networks, the random baseline always beside them, and keep it as evaluation.json has it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill import draws
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import Recipe, evaluate
from jaxdistill.run.cover import cover
from jaxdistill.run.resolve import Bench, at_once, augmentation, select
from jaxdistill.run.sharding import spread
from jaxdistill.run.sinks import clock
from jaxdistill.types import Key, Network, SyntheticSet

__all__ = ["BASELINE", "check_baseline", "check_networks", "judge"]

BASELINE = "random"
"""Name of the row that every other one is compared with."""


def judge(
    key: Key,
    sets: Mapping[str, SyntheticSet],
    networks: Mapping[str, Network],
    bench: Bench,
    protocol: Recipe,
    protocol_name: str,
    seeds: int,
    *,
    ipc: int,
    networks_at_once: int | None = None,
    coverage: bool = False,
    teach: Callable[[SyntheticSet], SyntheticSet] | None = None,
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
        networks_at_once: networks side by side on a device; by default 1 on a CPU, what fits on an accelerator.
        coverage: add how much of the test images each set covers, in the features of the first network.
        teach: gives sets, random ones too, a teacher's labels.
        tell: told one line a row.

    Returns:
        The content of evaluation.json: the protocol, and a row for each set and network with every accuracy.
    """
    key_train, key_random = jax.random.split(key)
    baselines = [_baseline(jax.random.fold_in(key_random, i), bench, ipc) for i in range(seeds)]
    if seeds and ipc > (fewest := int(np.asarray(bench.train.counts).min())):
        tell(f"note: the smallest class has {fewest} training images, so random has no more of it")
    share = -(-seeds // bench.mesh.size)
    side_by_side = at_once(networks_at_once, share, bench.image_shape, 128, bench.mesh)
    rows, apart = [], protocol.selected_augment
    first = next(iter(networks.items()))
    judged = networks if protocol.instead is None else {protocol.instead: first[1]}
    per_set = seeds if protocol.random else 1  # a recipe that draws nothing says all of a set at once
    # A set that is itself called random is not its own baseline.
    named = {f"{name} set" if name == BASELINE else name: chosen for name, chosen in sets.items()}
    if apart is None:  # which images are real makes no difference, and sets that are alike share a compilation
        plain = partial(dataclasses.replace, selected=None)
        named, baselines = {name: plain(chosen) for name, chosen in named.items()}, [plain(one) for one in baselines]
    if teach is not None:
        named, baselines = {name: teach(chosen) for name, chosen in named.items()}, [teach(one) for one in baselines]
    left = len(judged) * (len(named) * per_set + seeds)
    for network_name, network in judged.items():
        for name, chosen in {**named, BASELINE: baselines}.items():
            began = time.perf_counter()
            count = seeds if name == BASELINE else per_set  # of random images there are always several sets
            size = min(side_by_side, -(-count // bench.mesh.size))

            said = _Progress(f"{name} on {network_name}", count, left - count, tell)

            result = evaluate(
                key_train,
                chosen,
                network,
                bench.test,
                protocol,
                augment=augmentation(protocol.augment, bench),
                selected_augment=None if apart is None else augmentation(apart, bench),
                seeds=count,
                seeds_per_call=size * bench.mesh.size,
                map_seeds=spread(bench.mesh, size, gather=True),
                tell=said,
            )
            left -= count
            row = {"set": name, "network": network_name, "accuracies": result.accuracies.tolist()}
            row |= {"mean": result.mean, "std": result.std, "seconds": time.perf_counter() - began}
            rows.append(row)
    described = {"name": protocol_name, **dataclasses.asdict(protocol), "summary": _said(protocol)}
    results = {"protocol": described, "test_images": bench.test.count, "rows": rows}
    if coverage:
        name, network = first
        shown = {**named, BASELINE: baselines[0]} if baselines else named
        results["coverage"] = cover(jax.random.fold_in(key, 2), shown, network, name, bench)
    return results


class _Progress:
    """Tells the accuracy of the networks done so far, and how long all those to come may take, by the last ones.

    Args:
        label: which set is judged on what.
        count: networks of this set.
        later: networks of the sets that come after it.
        tell: told one line a call.
    """

    def __init__(self, label: str, count: int, later: int, tell: Callable[[str], None]):
        self._label, self._count, self._later, self._tell = label, count, later, tell
        self._done, self._began = 0, time.perf_counter()

    def __call__(self, accuracies: Sequence[float]) -> None:
        """Tell of the networks that were added."""
        now, done = time.perf_counter(), len(accuracies)
        left = self._count - done + self._later
        seconds = left * (now - self._began) / max(done - self._done, 1)
        # The first networks of a set may have waited for a compilation, which the others do not need.
        time_left = f", {'' if self._done else 'at most '}{clock(seconds)} left" if left else ""
        self._done, self._began = done, now
        self._tell(f"{self._label}: {done} of {self._count} networks, last {accuracies[-1]:.1%}{time_left}")


def _said(protocol: Recipe) -> str:
    return protocol.summary + (", the most likely class of each label" if protocol.labels == "hard" else "")


def check_networks(networks: Mapping[str, Network], protocol: Recipe) -> None:
    """Raise a UsageError where several networks are to judge, but something else learns."""
    if protocol.instead is not None and len(networks) > 1:
        raise UsageError(f"by this protocol {protocol.instead} learns, no network; name one network at the most")


def _baseline(key: Key, bench: Bench, ipc: int) -> SyntheticSet:
    """Random real images, `ipc` of each class or, where it has fewer, all."""
    offsets, counts = (np.asarray(each) for each in (bench.train.offsets, bench.train.counts))
    if ipc <= counts.min():
        return select(key, "random", bench, ipc)
    order = np.asarray(draws.uniform(key, (bench.train.count,)))
    blocks = [i + np.argsort(order[i : i + n])[:ipc] for i, n in zip(offsets, counts, strict=True)]
    found = bench.train.take(jnp.asarray(np.concatenate(blocks)))
    return dataclasses.replace(found, selected=jnp.ones(found.count, bool))


def check_baseline(bench: Bench, ipc: int) -> None:
    """See that there are as many images as a selection takes from each class.

    Raises:
        UsageError: if a class has fewer.
    """
    smallest = int(np.asarray(bench.train.counts).argmin())
    count = int(np.asarray(bench.train.counts)[smallest])
    if ipc > count:
        name = bench.source.class_names[smallest]
        raise UsageError(f"class {name} has {count} training images, fewer than --ipc {ipc}; lower it to {count}")
