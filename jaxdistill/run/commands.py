"""What the commands do: one flow for a distilled and a selected set, from data to report."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxdistill.errors import UsageError
from jaxdistill.evaluation import Recipe
from jaxdistill.methods import METHODS
from jaxdistill.run import artifact, cell, checkpoint, files, report, sinks
from jaxdistill.run.bank import StoredBank, check_bank, check_whitening, load_bank, open_bank
from jaxdistill.run.basis import Means, basis, described, for_file, stand_in, uses_experts
from jaxdistill.run.config import Distill, Select
from jaxdistill.run.cover import check_cover
from jaxdistill.run.drive import Feeding, drive, last_set, say
from jaxdistill.run.feeding import require_grain
from jaxdistill.run.folder import check_data, check_folder, check_more, extend, hold, open_folder
from jaxdistill.run.generators import Drawn, generator_of, load_generator, save_generator
from jaxdistill.run.judge import check_baseline, check_networks, judge
from jaxdistill.run.machine import machine
from jaxdistill.run.paths import absolute
from jaxdistill.run.resolve import Bench, keys, networks, only_network, open_bench, select, start, task
from jaxdistill.run.scores import save_scores
from jaxdistill.run.sharding import from_first, replicate
from jaxdistill.run.unread import check_method_read, check_read
from jaxdistill.selection import NEEDS, Difficulty
from jaxdistill.types import Feed, Key, Network, SyntheticSet

__all__ = ["distill", "select_set"]

Run = TypeVar("Run", Distill, Select)


def distill(config: Distill, console: Console, options: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Run a method from data to report, or go on with a run that was cut; returns the content of evaluation.json.

    Whatever is wrong with the arguments or the data is found before anything is written or said; then comes whether
    this is the published setting of its cell. What nothing reads is refused if it is among the `options` given
    (`jaxdistill.run.unread`).

    Raises:
        UsageError: for arguments or data that cannot be used.
        RunFailedError: if the loss does not stay finite.
    """
    config, experts = _pinned(absolute(config))
    given = None if config.generator.generator is None else load_generator(config.generator.generator)
    if given is not None:
        named = dataclasses.replace(config.generator, generator_digest=given.digest)
        config = dataclasses.replace(config, generator=named)
    check_folder(config)
    config, bench, judged, protocol, key = _prepare(config, experts, options)
    drawn = partial(generator_of, config.generator, given, bench, other_data=config.run.other_data)
    known = task(config.network, config.augment, bench, config.run, config.steps, drawn)
    method = METHODS[type(config.method)](config.method, known)
    check_method_read(config, options, protocol, method, known)
    check_more(config, METHODS[type(config.method)].__name__, paced=method.paced)
    if experts is not None:
        if method.feed.source != "experts" and not uses_experts(config.init, config.basis):
            name = METHODS[type(config.method)].__name__
            raise UsageError(f"neither {name} nor a start by {config.init} uses experts; leave --experts out")
        check_bank(experts, known.network, dataclasses.asdict(config.network), bench, other=config.run.other_data)
    source, on_host = _source(method.feed, config, bench, experts)
    outline = source.outline()  # trajectories that are too short are found here
    jax.eval_shape(lambda key: method.feed.plan(key, jnp.asarray(0), outline), key["loop"])
    network_key = jax.random.fold_in(key["start"], 1)
    means = Means(config.basis, bench, known.network, config.network.kernel, experts, network_key)

    def begin(by: Callable[[str, Means], Any]) -> SyntheticSet:
        by = partial(by, means=means)
        return start(
            key["start"], config.init, bench, config.ipc, method.formation, by, other_data=config.run.other_data
        )

    # A run that is resumed has begun: networks are not trained again for the shapes of its start.
    begun = bool(from_first(np.int32(any((config.run.out / "checkpoints").glob("[0-9]*")))))
    initial = begin(stand_in if begun else basis)
    shapes = jax.eval_shape(method.init, key["method"], initial)
    # A generator's parameters would become constants of a program.
    prepare = method.init if method.learned else jax.jit(method.init)
    sinks.elsewhere(config, config.run.out)  # says so now if one is not installed
    note = cell.said(config, None if experts is None else experts.card, min(bench.image_shape[:2]))
    extend(config)
    with open_folder(config) as folder, hold(folder):
        for line in (bench.source.summary(), f"note: {note}"):
            say(console, line)
        warn = partial(say, Console(stderr=True))  # also where all else is quiet
        found = checkpoint.restore(folder / "checkpoints", shapes, warn) if jax.process_index() == 0 else None
        done = int(from_first(np.int32(found[0] if found else 0)))
        if done:
            nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
            state = from_first(found[1] if found else nothing)
            say(console, f"resuming after step {done} of {config.steps}")
        else:
            state = prepare(key["method"], begin(basis) if begun else initial)
        del initial
        state = replicate(jax.tree.map(np.asarray, state), bench.mesh)
        spent = found[2] if found else {"seconds": 0.0, "compile_seconds": 0.0}
        feeding = Feeding(source if on_host else replicate(source, bench.mesh), on_host)
        state, cost = drive(config, method, bench, feeding, state, done, spent, key["loop"], folder, console)
        synthetic = last_set(method, state, folder, bench.mesh)
        if method.learned and jax.process_index() == 0:
            params = jax.tree.map(np.asarray, method.learned(jax.tree.map(np.asarray, state)))
            classes = bench.num_classes if given is None else given.classes
            said = {"dataset": config.data.dataset, "class_names": list(bench.source.class_names), "cost": cost}
            said |= {"digests": dataclasses.asdict(bench.digests)} if not config.generator.class_ids else {}
            said |= {"method": dataclasses.asdict(config.method), "from": config.generator.generator_digest}
            drawn = Drawn(config.method.sampling, config.evaluation.protocol, config.evaluation.eval_network)
            architecture = config.generator.architecture
            save_generator(folder / "generator", params, architecture, bench.image_shape, classes, said, drawn)
        name = METHODS[type(config.method)].__name__
        judge_key = key["evaluation"]
        return _finish(config, folder, name, synthetic, cost, bench, judged, protocol, judge_key, console, note)


def select_set(config: Select, console: Console, options: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Select a core-set, judge it and write the same artifact as `distill`; returns the content of evaluation.json.

    Raises:
        UsageError: for arguments or data that cannot be used.
    """
    config, experts = _pinned(absolute(config))
    check_folder(config)
    config, bench, judged, protocol, key = _prepare(config, experts, options)
    if config.network.kernel is not None and NEEDS[config.strategy] != "kernel" and not hasattr(protocol, "kernel"):
        raise UsageError(f"neither {config.strategy} nor its evaluation goes by a kernel; leave --kernel out")
    if config.evaluation.eval_seeds:
        check_baseline(bench, config.ipc)
    network = only_network(config.network, bench)
    if experts is not None:
        if not uses_experts(config.strategy, config.basis):
            raise UsageError(f"{config.strategy} uses no experts with these options; leave --experts out")
        check_bank(experts, network, dataclasses.asdict(config.network), bench, other=config.run.other_data)
    began = time.perf_counter()
    by = basis(config.strategy, Means(config.basis, bench, network, config.network.kernel, experts, key["method"]))
    synthetic = jax.tree.map(np.asarray, select(key["start"], config.strategy, bench, config.ipc, by))
    cost = {"steps": 0, "seconds": time.perf_counter() - began, **machine()}
    with open_folder(config) as folder, hold(folder):
        say(console, bench.source.summary())
        if isinstance(by, Difficulty) and jax.process_index() == 0:
            save_scores(folder / "scores.npz", for_file(config.strategy, by.scores, bench), bench.source)
        return _finish(
            config, folder, config.strategy, synthetic, cost, bench, judged, protocol, key["evaluation"], console
        )


def _pinned(config: Run) -> tuple[Run, StoredBank | None]:
    """The configuration with its experts named, so that a resumed run has the same even where some were added."""
    if config.bank.experts is None:
        return config, None
    experts = load_bank(config.bank.experts, config.bank.expert_count)
    named = dataclasses.replace(config.bank, expert_count=len(experts.params), digest=experts.digest())
    return dataclasses.replace(config, bank=named), experts


def _source(feed: Feed, config: Distill, bench: Bench, experts: StoredBank | None) -> tuple[Any, bool]:
    """What the feed draws from, and whether it stays where it is."""
    if feed.source == "real":
        return bench.train, bench.on_host
    name = METHODS[type(config.method)].__name__
    if experts is None:
        raise UsageError(f"{name} matches experts; make some with 'jaxdistill experts' and give them with --experts")
    source, on_host = open_bank(experts, config.data.device_gib * 2**30)
    if on_host:
        require_grain()
    return source, on_host


def _prepare(
    config: Run, experts: StoredBank | None, options: frozenset[str]
) -> tuple[Run, Bench, dict[str, Network], Recipe, dict[str, Key]]:
    protocol = config.evaluation.resolve(config.network.kernel)
    check_read(config, options, protocol)
    if experts is not None:
        check_whitening(experts, config.data.zca, config.data.statistics)
    # Not fitted anew: on another machine whitening would differ in its last digits.
    bench = open_bench(config.data, None if experts is None else experts.preprocess)
    config = check_data(config, bench.digests)
    if config.evaluation.coverage:
        check_cover(bench)
    if protocol.taught and config.evaluation.eval_seeds:
        raise UsageError(
            f"{config.evaluation.protocol} asks a teacher; give --eval-seeds 0, and judge the set with 'jaxdistill "
            f"evaluate SET --protocol {config.evaluation.protocol} --teacher E'"
        )
    protocol.check(bench.image_shape)
    judged = networks(config.evaluation.eval_network or config.network.network, config.network, bench)
    check_networks(judged, protocol)
    return config, bench, judged, protocol, keys(config.seed)


def _finish(
    config: Distill | Select,
    folder: Path,
    name: str,
    synthetic: SyntheticSet,
    cost: dict[str, Any],
    bench: Bench,
    judged: dict[str, Network],
    protocol: Recipe,
    key: Key,
    console: Console,
    note: str | None = None,
) -> dict[str, Any]:
    """Save the set, judge it, and write the report; the set is safe before the first network is trained."""
    writes = jax.process_index() == 0
    card = {
        "method": name,
        "dataset": config.data.dataset,
        "class_names": list(bench.source.class_names),
        "digests": dataclasses.asdict(bench.digests),
        "ipc": config.ipc,
        "seed": config.seed,
        "network": dataclasses.asdict(config.network),
        "eval_network": config.evaluation.eval_network,
        "protocol": config.evaluation.protocol,
        "cost": cost,
    }
    if note is not None:
        card["setting"] = note
    if config.bank.digest is not None:
        card["experts"] = {"count": config.bank.expert_count, "digest": config.bank.digest}
    if (folder / "generator" / "card.json").is_file():
        card["generator"] = json.loads((folder / "generator" / "card.json").read_text(encoding="utf-8"))["sha256"]
    strategy = config.strategy if isinstance(config, Select) else config.init
    if features := described(strategy, config.basis, config.bank.experts is not None):
        card["features"] = features
    results: dict[str, Any] = {}
    path = folder / "evaluation.json"
    if writes:
        artifact.save_set(folder / "set", synthetic, bench.preprocess, card)
    # A finished evaluation is of this very set: a resumed run ends in the same bits.
    complete = bool(from_first(np.int32(writes and path.exists())))
    if config.evaluation.eval_seeds and not complete:
        results = judge(
            replicate(key, bench.mesh), {name: synthetic}, judged, bench, protocol, config.evaluation.protocol,
            config.evaluation.eval_seeds, ipc=config.ipc, networks_at_once=config.run.networks_at_once,
            coverage=config.evaluation.coverage, tell=partial(say, console),
        )  # fmt: skip
    if writes:
        if complete:
            results = json.loads(path.read_text(encoding="utf-8"))
        elif results:
            files.write_text(path, json.dumps(results, indent=1))
        artifact.save_set(folder / "set", synthetic, bench.preprocess, {**card, "evaluation": results})
        report.write(folder)
    return results
