"""Evaluate sets on networks, the random baseline always beside them, and keep it as evaluation.json has it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.commands.cover import Cover
from jaxdistill.commands.workspace import Bench, at_once, augmentation
from jaxdistill.common import draws
from jaxdistill.common.attack import Attack
from jaxdistill.data.feeds import RealData
from jaxdistill.engine.callbacks import clock
from jaxdistill.engine.devices import spread
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import Evaluation, Recipe, evaluate
from jaxdistill.evaluation.train import BASELINE
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.budgets import Budget, select_within
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = ["accuracy", "budget_by", "check_baseline", "check_budgets", "check_networks", "check_size", "judge"]


def judge(
    key: Key,
    sets: Mapping[str, SyntheticSet],
    networks: Mapping[str, Network],
    bench: Bench,
    protocol: Recipe,
    protocol_name: str,
    seeds: int,
    *,
    ipc: int | Budget | Mapping[str, Budget],
    space: str = "",
    parallel_networks: int | None = None,
    cover: Cover | None = None,
    teach: Callable[[SyntheticSet], SyntheticSet] | None = None,
    starts: Variables | None = None,
    attack: Attack | None = None,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Test accuracy of each set, and of random real images, on each network.

    Args:
        key: consumed; the networks of seed i and the i-th random subset are the same whatever else is evaluated.
        sets: sets by name; ``random`` is added (a fresh subset of as many images of each class for each seed, or, of a
            set that was selected of all classes together, of as many of all), of sets of several sizes once for each.
        networks: networks by name; several of them give a transfer matrix.
        bench: data and devices.
        protocol: the recipe.
        protocol_name: what it is called.
        seeds: independent networks of each kind.
        ipc: images per class, or another budget, of all sets or of each by its name.
        space: what the baselines' names say of the images' preprocessing, where there are several.
        parallel_networks: networks side by side on a device; by default 1 on a CPU, what fits on an accelerator.
        cover: add how much of the test images each set covers, and the accuracies on their easy and hard half.
        teach: gives sets, random ones too, a teacher's labels.
        starts: where networks begin; see `jaxdistill.evaluation.evaluate`.
        attack: which class the sets are to have taken for which: how often that is, and how the others do, is said of
            each row, in ``attack``; random images have the labels of the attack.
        tell: told one line a row.

    Returns:
        The content of evaluation.json: the protocol, and a row for each set and network with every accuracy, the images
        per class, and the name of the baseline that it is compared with (None of a baseline); with `cover`, in
        ``halves`` the accuracies on each half of the test images too.
    """
    key_train, key_random = jax.random.split(key)
    of_all = Budget(ipc) if isinstance(ipc, int) else ipc
    sizes = {name: of_all if isinstance(of_all, Budget) else of_all[name] for name in sets}
    check_budgets(sizes.values(), protocol)
    several = len({*sizes.values()}) > 1
    called = {
        size: BASELINE + (_apart(size, sizes) if several else "") + (f" ({space})" if space else "")
        for size in dict.fromkeys(sizes.values())
    }
    baselines = {
        name: [_baseline(jax.random.fold_in(key_random, i), bench, size) for i in range(seeds)]
        for size, name in called.items()
    }
    balanced = [size.ipc for size in called if size == Budget(size.ipc)]
    if seeds and max(balanced, default=0) > (fewest := int(np.asarray(bench.train.counts).min())):
        tell(f"note: the smallest class has {fewest} training images, so random has no more of it")
    rows = []
    judged = networks if protocol.learner == "network" else {protocol.learner: next(iter(networks.values()))}
    per_set = seeds if protocol.stochastic else 1  # a recipe that draws nothing says all of a set at once
    # A set that is itself called random is not its own baseline.
    apart = {name: f"{name} set" if name in baselines else name for name in sets}
    named = {apart[name]: chosen for name, chosen in sets.items()}
    of = {apart[name]: called[size] for name, size in sizes.items()} | dict.fromkeys(baselines)
    sizes = {apart[name]: size for name, size in sizes.items()} | {name: size for size, name in called.items()}
    if protocol.tells_selected and seeds and all(one.selected is None for one in named.values()):
        tell("note: no image of these sets stands as it was selected, so that only random has the other augmentation")
    # What makes no difference is left out, so that sets that are alike share a compilation.
    unread: dict[str, None] = dict.fromkeys(("indices", *(() if protocol.tells_selected else ("selected",))))
    named = {name: dataclasses.replace(chosen, **unread) for name, chosen in named.items()}
    baselines = {name: [dataclasses.replace(one, **unread) for one in drawn] for name, drawn in baselines.items()}
    if teach is not None:
        named = {name: teach(chosen) for name, chosen in named.items()}
        baselines = {name: [teach(one) for one in drawn] for name, drawn in baselines.items()}
    if attack is not None:
        baselines = {name: [attack.of_set(one) for one in drawn] for name, drawn in baselines.items()}
    halves = {} if cover is None else cover.halves
    attacked = {} if attack is None else attack.parts(np.asarray(bench.test.labels))
    left = len(judged) * (len(named) * per_set + len(baselines) * seeds)
    for network_name, network in judged.items():
        for name, chosen in {**named, **baselines}.items():
            began = time.perf_counter()
            count = seeds if name in baselines else per_set  # of random images there are always several sets

            said = _Progress(f"{name} on {network_name}", count, left - count, tell)

            result = accuracy(
                key_train, chosen, network, bench.test, bench, protocol, count,
                parallel_networks=parallel_networks, parts={**halves, **attacked}, starts=starts, tell=said,
            )  # fmt: skip
            left -= count
            row = {"set": name, "network": network_name, "accuracies": result.accuracies.tolist()}
            row |= {"mean": result.mean, "std": result.std, "seconds": time.perf_counter() - began}
            row |= {"ipc": sizes[name].ipc, "baseline": of[name]}
            for key_of, names in (("halves", halves), ("attack", attacked)):
                if names:
                    row[key_of] = {part: _said(result.parts[part]) for part in names}
            rows.append(row)
    settings = {name: repr(value) if callable(value) else value for name, value in vars(protocol).items()}
    described = {"name": protocol_name, **settings, "summary": protocol.summary}
    results = {"protocol": described, "test_images": bench.test.count, "rows": rows}
    if cover is not None:
        results["coverage"] = cover.results({**named, **{name: drawn[0] for name, drawn in baselines.items() if drawn}})
    return results


def accuracy(
    key: Key,
    sets: SyntheticSet | Sequence[SyntheticSet],
    network: Network,
    split: RealData,
    bench: Bench,
    protocol: Recipe,
    seeds: int,
    *,
    parallel_networks: int | None = None,
    parts: Mapping[str, np.ndarray] = MappingProxyType({}),
    starts: Variables | None = None,
    tell: Callable[[Sequence[float]], None] = lambda accuracies: None,
) -> Evaluation:
    """`jaxdistill.evaluation.evaluate` with the devices and the data set of a bench.

    Args:
        key: consumed; on all devices.
        sets: one set, or one for each network.
        network: what is trained.
        split: what it is tested on.
        bench: data and devices.
        protocol: the recipe; what images it looks at beside the set's are held out, or else of the training split.
        seeds: independent networks.
        parallel_networks: of them side by side on a device; see `judge`.
        parts: of the split, whose accuracies are wanted apart too.
        starts: where networks begin; by default each afresh.
        tell: told the accuracies so far.
    """
    share = -(-seeds // bench.mesh.size)
    real = bench.held_out or bench.train
    spread_out = np.linspace(0, real.count - 1, min(protocol.probes, real.count)).astype(int)
    size = min(at_once(parallel_networks, share, bench.image_shape, 128, bench.mesh), share)
    return evaluate(
        key,
        sets,
        network,
        split,
        protocol.bound(partial(augmentation, bench=bench)),
        seeds=seeds,
        seeds_per_call=size * bench.mesh.size,
        map_seeds=spread(bench.mesh, size, gather=True),
        parts=parts,
        aside=np.asarray(real.read(spread_out).images) if protocol.probes else None,
        starts=starts,
        tell=tell,
    )


def _said(accuracies: np.ndarray) -> dict[str, Any]:
    return {"accuracies": accuracies.tolist(), "mean": float(accuracies.mean()), "std": float(accuracies.std())}


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


def check_size(protocol: Recipe, bench: Bench, *, coverage: bool) -> None:
    """See that images can be judged at the recipe's size.

    Args:
        protocol: the recipe.
        bench: data.
        coverage: whether that is asked for.

    Raises:
        UsageError: if not.
    """
    if protocol.size is None:
        return
    if protocol.learner != "network":
        raise UsageError(f"by this protocol {protocol.learner} learns, of images as they are; leave --eval-size out")
    if bench.pixel_range is None:
        raise UsageError("whitened images have one size; leave --eval-size or --zca out")
    if coverage:
        raise UsageError("--coverage is measured at the images' own size; leave it or --eval-size out")


def check_budgets(budgets: Iterable[Budget], protocol: Recipe) -> None:
    """Raise a UsageError where a step takes as many images of each class, and there are not as many."""
    if protocol.by_class and any(budget != Budget(budget.ipc) for budget in budgets):
        raise UsageError(
            "by this protocol a step takes as many images of each class, and not all classes have as many; choose "
            "another --protocol, or a set that was made with --ipc alone"
        )


def check_networks(networks: Mapping[str, Network], protocol: Recipe) -> None:
    """Raise a UsageError where several networks are to judge, but something else learns."""
    if protocol.learner != "network" and len(networks) > 1:
        raise UsageError(f"by this protocol {protocol.learner} learns, no network; name one network at the most")


def budget_by(card: Mapping[str, Any], synthetic: SyntheticSet) -> Budget:
    """What random images beside a set are to be as many as, by its card.

    Args:
        card: the set's.
        synthetic: the set.
    """
    if card.get("unbalanced"):
        return Budget(card["ipc"], total=synthetic.count)
    return Budget(card["ipc"], tuple(card.get("counts", ())))


def _apart(size: Budget, sizes: Mapping[str, Budget]) -> str:
    """What tells the random images of a size from those of others."""
    plain = size == Budget(size.ipc)
    return f", ipc {size.ipc}" if plain else f" beside {next(name for name in sizes if sizes[name] == size)}"


def _baseline(key: Key, bench: Bench, budget: Budget) -> SyntheticSet:
    """Random real images: as many of each class, or all where it has fewer, or as many of all classes together."""
    offsets, counts = (np.asarray(each) for each in (bench.train.offsets, bench.train.counts))
    if budget.total is not None:
        return select_within(key, SELECTIONS["random"], bench.train, budget)
    if not budget.counts and budget.ipc <= counts.min():
        return SELECTIONS["random"](key, bench.train, budget.ipc)
    wanted = budget.counts or (budget.ipc,) * len(counts)
    order = np.asarray(draws.uniform(key, (bench.train.count,)))
    blocks = [i + np.argsort(order[i : i + n])[:k] for i, n, k in zip(offsets, counts, wanted, strict=True)]
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
