"""What the commands do: one flow for a distilled and a selected set, from data to report."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxdistill.data.source import Source
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import Recipe
from jaxdistill.methods import METHODS
from jaxdistill.run import artifact, cell, checkpoint, files, report, sinks
from jaxdistill.run.bank import StoredBank, check_bank, check_whitening, load_bank, open_bank
from jaxdistill.run.basis import Means, basis, described, for_file, stand_in, uses_experts
from jaxdistill.run.config import Distill, Select
from jaxdistill.run.cover import check_cover
from jaxdistill.run.drive import Driven, Feeding, RunFailedError, drive, read_out, say, set_of
from jaxdistill.run.feeding import require_grain
from jaxdistill.run.folder import check_data, check_folder, check_more, extend, hold, open_folder
from jaxdistill.run.generators import (
    Drawn,
    StoredGenerator,
    generator_in_memory,
    generator_of,
    load_generator,
    write_generator,
)
from jaxdistill.run.judge import check_baseline, check_networks, judge
from jaxdistill.run.looks import Best, HeldOut, Look, best_of, read_looks
from jaxdistill.run.loop import NonFiniteError
from jaxdistill.run.machine import machine
from jaxdistill.run.own import check_own
from jaxdistill.run.paths import absolute
from jaxdistill.run.plain import name_of
from jaxdistill.run.resolve import Bench, keys, networks, only_network, open_bench, select, start, task
from jaxdistill.run.scores import save_scores
from jaxdistill.run.sharding import from_first, replicate
from jaxdistill.run.unread import check_method_read, check_read
from jaxdistill.selection import NEEDS, Difficulty
from jaxdistill.types import Feed, Key, Method, Network, PyTree, SyntheticSet, Task

__all__ = [
    "IN_MEMORY", "UNSPENT", "Bound", "Given", "Plan", "base_card", "begin", "choose_set", "distill", "first_state",
    "generator_made", "judged", "kept_look", "note_of", "of_looks", "pinned", "prepare", "prepare_selection",
    "read_best", "select_set", "train", "write_looks",
]  # fmt: skip

PREVIEWS = 6
IN_MEMORY = "memory"
"""What the start of a run is called that a caller had in memory."""
LOOKS = 3
"""Of the evaluation's key: 0 and 1 are what it is split into, 2 is that of coverage."""
HELD_OUT = 0.1
"""Of the training images, where a look needs some and no share is said."""
UNSPENT = {"seconds": 0.0, "compile_seconds": 0.0}
Run = TypeVar("Run", Distill, Select)


class Given(NamedTuple):
    """What a caller has in memory, in the place of what a configuration names."""

    source: Source | None = None
    """The data."""
    experts: StoredBank | None = None
    generator: StoredGenerator | None = None
    start: SyntheticSet | None = None
    """What a method starts from, in the run's preprocessed space."""
    method: Callable[[Task], Method] | None = None


class Bound(NamedTuple):
    """What a distilled and a selected set have in common: arguments and data that were found good."""

    config: Any
    """A `Distill` or `Select`, its data, experts and generator named by digests."""
    bench: Bench
    network: Network
    judges: dict[str, Network]
    """Networks that evaluate the set, by name."""
    protocol: Recipe
    """How."""
    keys: dict[str, Key]
    experts: StoredBank | None


class Plan(NamedTuple):
    """A distillation of which everything is known and nothing has begun."""

    bound: Bound
    method: Method
    feeding: Feeding
    generator: StoredGenerator | None
    start: SyntheticSet | None
    note: str
    """Whether this is the published setting of its cell, in words."""

    @property
    def config(self) -> Distill:
        """Its configuration."""
        return self.bound.config

    @property
    def name(self) -> str:
        """The method's."""
        return name_of(self.config)


def distill(config: Distill, console: Console, options: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Run a method from data to report, or go on with a run that was cut; returns the content of evaluation.json.

    Whatever is wrong with the arguments or the data is found before anything is written or said; then comes whether
    this is the published setting of its cell. What nothing reads is refused if it is among the `options` given
    (`jaxdistill.run.unread`).

    Raises:
        UsageError: for arguments or data that cannot be used.
        RunFailedError: if the loss does not stay finite.
    """
    config, given = pinned(absolute(config))
    check_folder(config)
    plan = prepare(config, given, options)
    config, bench, method = check_data(plan.config, plan.bound.bench.digests), plan.bound.bench, plan.method
    check_more(config, plan.name, paced=method.paced)
    # A run that is resumed has begun: networks are not trained again for the shapes of its start.
    begun = bool(from_first(np.int32(any((config.run.out / "checkpoints").glob("[0-9]*")))))
    initial = begin(plan, stand_in if begun else basis)
    shapes = jax.eval_shape(method.init, plan.bound.keys["method"], initial)
    sinks.elsewhere(config, config.run.out)  # says so now if one is not installed
    extend(config)
    with open_folder(config) as folder, hold(folder):
        for line in (bench.source.summary(), f"note: {plan.note}"):
            say(console, line)
        warn = partial(say, Console(stderr=True))  # also where all else is quiet
        found = checkpoint.restore(folder / "checkpoints", shapes, warn) if jax.process_index() == 0 else None
        done = int(from_first(np.int32(found[0] if found else 0)))
        if done:
            nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
            state = from_first(found[1] if found else nothing)
            say(console, f"resuming after step {done} of {config.steps}")
        else:
            state = first_state(plan, begin(plan, basis) if begun else initial)
        del initial
        start = Driven(replicate(state, bench.mesh), done, found[2] if found else dict(UNSPENT))
        held_out = HeldOut(
            read_looks(folder / "held_out.jsonl", done), read_best(folder / "best"), partial(write_looks, plan, folder)
        )
        driven = _driven(plan, start, folder, held_out, console)
        synthetic = _last_set(plan, driven.state, folder, held_out)
        if method.learned and jax.process_index() == 0:
            write_generator(folder / "generator", generator_made(plan, driven))
        return _finish(plan.bound, folder, synthetic, driven.cost(), console, plan.note)


def prepare(config: Distill, given: Given, options: frozenset[str] = frozenset()) -> Plan:
    """See that everything a distillation needs is there and fits; nothing is computed or written.

    Args:
        config: what is to be done.
        given: see `Given`.
        options: what was asked for in so many words; what nothing reads is refused.

    Raises:
        UsageError: for arguments or data that cannot be used.
    """
    bound = _prepare(config, given, options)
    config, bench, experts, name = bound.config, bound.bench, bound.experts, name_of(config)
    drawn = partial(generator_of, config.generator, given.generator, bench, other_data=config.run.other_data)
    known = task(config.network, config.augment, bench, config.run, config.steps, drawn)
    build = given.method or partial(METHODS[type(config.method)], config.method)
    method = build(known)
    if given.method is not None:
        check_own(name, method)
    check_method_read(config, options, bound.protocol, method, known, build)
    if experts is not None:
        if method.feed.source != "experts" and not uses_experts(config.init, config.basis):
            raise UsageError(f"neither {name} nor a start by {config.init} uses experts; leave --experts out")
        check_bank(experts, known.network, dataclasses.asdict(config.network), bench, other=config.run.other_data)
    source, on_host = _source(method.feed, config, bench, experts)
    outline = source.outline()  # trajectories that are too short are found here
    jax.eval_shape(lambda key: method.feed.plan(key, jnp.asarray(0), outline), bound.keys["loop"])
    return Plan(bound, method, Feeding(source, on_host), given.generator, given.start, note_of(bound))


def note_of(bound: Bound) -> str:
    """Whether a distillation is the published setting of its cell, in words."""
    card = None if bound.experts is None else bound.experts.card
    return cell.said(bound.config, card, min(bound.bench.image_shape[:2]))


def begin(plan: Plan, by: Callable[[str, Means], Any]) -> SyntheticSet:
    """What the method starts from.

    Args:
        plan: of the run.
        by: `basis`, or for the shapes alone `stand_in`.
    """
    config, bound = plan.config, plan.bound
    if plan.start is not None:
        return plan.start
    if config.init == IN_MEMORY:
        if by is basis:
            raise UsageError("this run's start was in memory and is gone; begin another, with its `init`")
        config = dataclasses.replace(config, init="random")  # for shapes alone
    network_key = jax.random.fold_in(bound.keys["start"], 1)
    means = Means(config.basis, bound.bench, bound.network, config.network.kernel, bound.experts, network_key)
    return start(
        bound.keys["start"], config.init, bound.bench, config.ipc, plan.method.formation, partial(by, means=means),
        other_data=config.run.other_data,
    )  # fmt: skip


def first_state(plan: Plan, initial: SyntheticSet) -> PyTree:
    """The state before the first step, on the host."""
    # A generator's parameters would become constants of a program.
    init = plan.method.init if plan.method.learned else jax.jit(plan.method.init)
    return jax.tree.map(np.asarray, init(plan.bound.keys["method"], initial))


def train(
    plan: Plan,
    begun: Driven,
    watching: Sequence[AbstractContextManager[Any]],
    save: Callable[[Driven, bool], None] = lambda driven, last: None,
    *,
    grace: bool = True,
) -> Driven:
    """Run a plan to its last step; see `jaxdistill.run.drive.drive`.

    Args:
        plan: of the run.
        begun: where it stands.
        watching: sinks of this process.
        save: told how far the run is.
        grace: whether a second signal ends the process.

    Raises:
        RunFailedError: if the loss does not stay finite.
    """
    config, bound, evaluation = plan.config, plan.bound, plan.config.evaluation
    mesh, feeding = bound.bench.mesh, plan.feeding
    if not feeding.on_host:
        feeding = feeding._replace(source=replicate(feeding.source, mesh))
    look = None
    if evaluation.eval_every is not None:
        look = Look(
            bound.bench, next(iter(bound.judges.values())), bound.protocol,
            replicate(jax.random.fold_in(bound.keys["evaluation"], LOOKS), mesh), evaluation.eval_every_seeds,
            test=evaluation.legacy_best, networks_at_once=config.run.networks_at_once,
        )  # fmt: skip
    try:
        return drive(
            begun, config.steps, plan.method, feeding, replicate(bound.keys["loop"], mesh), mesh,
            every=config.run.chunk, sinks=watching, save=save, look=look, look_every=evaluation.eval_every or 1,
            grace=grace,
        )  # fmt: skip
    except NonFiniteError as error:
        raise RunFailedError(f"{error} of {config.method}; start again with a smaller step size") from None


def _driven(plan: Plan, begun: Driven, folder: Path, held_out: HeldOut, console: Console) -> Driven:
    """Run a plan in its folder: with all sinks, saving checkpoints."""
    config, method, writes = plan.config, plan.method, jax.process_index() == 0
    name = f"{plan.name} on {Path(config.data.dataset).name}"
    watching: list[Any] = []
    if writes:
        watching += [sinks.Metrics(folder / "metrics.jsonl", begun.done), held_out]
    if writes and method.learned is None:  # to draw a set from a generator takes as long as many steps
        every = max(1, config.steps // PREVIEWS)
        bench = plan.bound.bench
        show = partial(read_out, method), bench.preprocess.invert, bench.num_classes, every
        watching.append(sinks.Previews(folder / "previews", *show))
    if writes and not config.run.quiet:
        then = "the evaluation" if config.evaluation.eval_seeds else ""
        watching.append(sinks.Progress(config.steps, begun.done, name, console, then))
    if writes:
        watching += sinks.elsewhere(config, folder)
    saved = time.monotonic()

    def save(driven: Driven, last: bool) -> None:
        nonlocal saved
        if writes and (last or time.monotonic() - saved >= config.run.checkpoint_seconds):
            checkpoint.save(folder / "checkpoints", driven.done, driven.state, driven.spent)
            saved = time.monotonic()

    return train(plan, begun, watching, save)


def _last_set(plan: Plan, state: PyTree, folder: Path, held_out: HeldOut) -> SyntheticSet:
    """The set of the last state, or of the best look. One that is drawn is drawn once."""
    method, mesh = plan.method, plan.bound.bench.mesh
    if plan.config.evaluation.keep == "best":
        nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(method.synthetic, state))
        return from_first(nothing if held_out.best is None else held_out.best.synthetic)
    if method.learned is not None and bool(from_first(np.int32((folder / "evaluation.json").exists()))):
        shapes = jax.eval_shape(method.synthetic, state)
        there = artifact.load_set(folder).synthetic if jax.process_index() == 0 else None
        return from_first(there or jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    return set_of(method, state, mesh)


def write_looks(plan: Plan, folder: Path, rows: list[dict[str, Any]], best: Best | None) -> None:
    """Keep what the looks of a run saw, and the set of the best one.

    Args:
        plan: of the run.
        folder: the run's.
        rows: of all looks so far.
        best: the best look's set, if it is to be written.
    """
    if best is not None:  # before the rows: a look that is known has its set
        bench = plan.bound.bench
        card = {**base_card(plan.bound, plan.note), "step": best.step, "held_out_accuracy": best.mean}
        artifact.save_set(folder / "best", best.synthetic, bench.preprocess, card)
    files.write_text(folder / "held_out.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))


def read_best(folder: Path) -> Best | None:
    """The set that `write_looks` kept; None where there is none."""
    if not folder.is_dir():
        return None
    stored = artifact.load_set(folder)
    return Best(stored.card["step"], stored.card["held_out_accuracy"], stored.synthetic)


def generator_made(plan: Plan, driven: Driven) -> StoredGenerator:
    """The generator that a run has trained."""
    config, bench, given = plan.config, plan.bound.bench, plan.generator
    assert plan.method.learned is not None
    params = jax.tree.map(np.asarray, plan.method.learned(jax.tree.map(np.asarray, driven.state)))
    classes = bench.num_classes if given is None else given.classes
    said = {"dataset": config.data.dataset, "class_names": list(bench.source.class_names), "cost": driven.cost()}
    said |= {"digests": dataclasses.asdict(bench.digests)} if not config.generator.class_ids else {}
    said |= {"method": dataclasses.asdict(config.method), "from": config.generator.generator_digest}
    drawn = Drawn(config.method.sampling, config.evaluation.protocol, config.evaluation.eval_network)
    return generator_in_memory(params, config.generator.architecture, bench.image_shape, classes, said, drawn)


def select_set(config: Select, console: Console, options: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Select a core-set, judge it and write the same artifact as `distill`; returns the content of evaluation.json.

    Raises:
        UsageError: for arguments or data that cannot be used.
    """
    config, given = pinned(absolute(config))
    check_folder(config)
    bound = prepare_selection(config, given, options)
    check_data(bound.config, bound.bench.digests)
    synthetic, scored, cost = choose_set(bound)
    with open_folder(bound.config) as folder, hold(folder):
        say(console, bound.bench.source.summary())
        if scored is not None and jax.process_index() == 0:
            save_scores(folder / "scores.npz", scored, bound.bench.source)
        return _finish(bound, folder, synthetic, cost, console)


def prepare_selection(config: Select, given: Given, options: frozenset[str] = frozenset()) -> Bound:
    """See that everything a selection needs is there and fits; see `prepare`.

    Args:
        config: what is to be done.
        given: see `Given`.
        options: what was asked for in so many words.

    Raises:
        UsageError: for arguments or data that cannot be used.
    """
    bound = _prepare(config, given, options)
    config, bench, protocol = bound.config, bound.bench, bound.protocol
    if config.network.kernel is not None and NEEDS[config.strategy] != "kernel" and not hasattr(protocol, "kernel"):
        raise UsageError(f"neither {config.strategy} nor its evaluation goes by a kernel; leave --kernel out")
    if config.evaluation.eval_seeds:
        check_baseline(bench, config.ipc)
    if bound.experts is not None:
        if not uses_experts(config.strategy, config.basis):
            raise UsageError(f"{config.strategy} uses no experts with these options; leave --experts out")
        check_bank(bound.experts, bound.network, dataclasses.asdict(config.network), bench, other=config.run.other_data)
    return bound


def choose_set(bound: Bound) -> tuple[SyntheticSet, np.ndarray | None, dict[str, Any]]:
    """Select: the set, the scores it goes by as a file has them, if it does, and what it cost."""
    config, bench = bound.config, bound.bench
    began = time.perf_counter()
    means = Means(config.basis, bench, bound.network, config.network.kernel, bound.experts, bound.keys["method"])
    by = basis(config.strategy, means)
    synthetic = jax.tree.map(np.asarray, select(bound.keys["start"], config.strategy, bench, config.ipc, by))
    cost = {"steps": 0, "seconds": time.perf_counter() - began, **machine()}
    return synthetic, for_file(config.strategy, by.scores, bench) if isinstance(by, Difficulty) else None, cost


def pinned(config: Run, given: Given = Given()) -> tuple[Run, Given]:  # noqa: B008 (immutable)
    """The configuration with its experts and generator named, so that a resumed run has the same even where some were
    added; and what it names, read.

    Args:
        config: what is to be done.
        given: what is in memory already.
    """
    experts, generator = given.experts, given.generator
    if experts is None and config.bank.experts is not None:
        experts = load_bank(config.bank.experts, config.bank.expert_count)
    if experts is not None:
        named = dataclasses.replace(config.bank, expert_count=len(experts.params), digest=experts.digest())
        config = dataclasses.replace(config, bank=named)
    if isinstance(config, Distill):
        if generator is None and config.generator.generator is not None:
            generator = load_generator(config.generator.generator)
        if generator is not None:
            drawn = dataclasses.replace(config.generator, generator_digest=generator.digest)
            config = dataclasses.replace(config, generator=drawn)
    return config, given._replace(experts=experts, generator=generator)


def _source(feed: Feed, config: Distill, bench: Bench, experts: StoredBank | None) -> tuple[Any, bool]:
    """What the feed draws from, and whether it stays where it is."""
    if feed.source == "real":
        return bench.train, bench.on_host
    if experts is None:
        raise UsageError(
            f"{name_of(config)} matches experts; make some with 'jaxdistill experts' and give them with --experts"
        )
    source, on_host = open_bank(experts, config.data.device_gib * 2**30)
    if on_host:
        require_grain()
    return source, on_host


def _prepare(config: Run, given: Given, options: frozenset[str]) -> Bound:
    protocol = config.evaluation.resolve(config.network.kernel)
    experts = given.experts
    check_read(config, options, protocol)
    if experts is not None:
        check_whitening(experts, config.data.zca, config.data.statistics)
    looked = config.evaluation.eval_every is not None
    needed = config.evaluation.keep == "best" or not config.evaluation.legacy_best
    if looked and needed and not config.data.hold_out:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, hold_out=HELD_OUT))
    # Not fitted anew: on another machine whitening would differ in its last digits.
    fitted = None if experts is None else experts.preprocess
    bench = open_bench(config.data, fitted, *(() if given.source is None else (given.source,)))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, digests=bench.digests))
    if config.evaluation.coverage:
        check_cover(bench)
    if protocol.taught and (config.evaluation.eval_seeds or looked):
        raise UsageError(
            f"{config.evaluation.protocol} asks a teacher; give --eval-seeds 0, and judge the set with 'jaxdistill "
            f"evaluate SET --protocol {config.evaluation.protocol} --teacher E'"
        )
    protocol.check(bench.image_shape)
    judged = networks(config.evaluation.eval_network or config.network.network, config.network, bench)
    check_networks(judged, protocol)
    network = only_network(config.network, bench)
    return Bound(config, bench, network, judged, protocol, keys(config.seed), experts)


def base_card(bound: Bound, note: str | None = None) -> dict[str, Any]:
    """What the card of a run's set says, but for what it cost and how well it does.

    Args:
        bound: of the run.
        note: whether this is the published setting of its cell.
    """
    config, bench = bound.config, bound.bench
    card = {
        "method": name_of(config),
        "dataset": config.data.dataset,
        "class_names": list(bench.source.class_names),
        "digests": dataclasses.asdict(bench.digests),
        "ipc": config.ipc,
        "seed": config.seed,
        "network": dataclasses.asdict(config.network),
        "eval_network": config.evaluation.eval_network,
        "protocol": config.evaluation.protocol,
    }
    if config.data.hold_out:
        card["hold_out"] = config.data.hold_out
    if note is not None:
        card["setting"] = note
    if config.bank.digest is not None:
        card["experts"] = {"count": config.bank.expert_count, "digest": config.bank.digest}
    strategy = config.strategy if isinstance(config, Select) else config.init
    if features := described(strategy, config.basis, config.bank.given):
        card["features"] = features
    return card


def judged(bound: Bound, synthetic: SyntheticSet, tell: Callable[[str], None]) -> dict[str, Any]:
    """The content of evaluation.json: the set on its networks, random beside it.

    Args:
        bound: of the run.
        synthetic: the set.
        tell: told one line a row.
    """
    config, bench = bound.config, bound.bench
    return judge(
        replicate(bound.keys["evaluation"], bench.mesh), {name_of(config): synthetic}, bound.judges, bench,
        bound.protocol, config.evaluation.protocol, config.evaluation.eval_seeds, ipc=config.ipc,
        networks_at_once=config.run.networks_at_once, coverage=config.evaluation.coverage, tell=tell,
    )  # fmt: skip


def _finish(
    bound: Bound,
    folder: Path,
    synthetic: SyntheticSet,
    cost: dict[str, Any],
    console: Console,
    note: str | None = None,
) -> dict[str, Any]:
    """Save the set, judge it, and write the report; the set is safe before the first network is trained."""
    writes = jax.process_index() == 0
    card = {**base_card(bound, note), "cost": cost}
    if (folder / "generator" / "card.json").is_file():
        card["generator"] = json.loads((folder / "generator" / "card.json").read_text(encoding="utf-8"))["sha256"]
    card |= kept_look(bound, read_looks(folder / "held_out.jsonl"))
    results: dict[str, Any] = {}
    path = folder / "evaluation.json"
    if writes:
        artifact.save_set(folder / "set", synthetic, bound.bench.preprocess, card)
    # A finished evaluation is of this very set: a resumed run ends in the same bits.
    complete = bool(from_first(np.int32(writes and path.exists())))
    if bound.config.evaluation.eval_seeds and not complete:
        results = judged(bound, synthetic, partial(say, console))
    if writes:
        if complete:
            results = json.loads(path.read_text(encoding="utf-8"))
        elif results:
            results |= of_looks(bound, read_looks(folder / "held_out.jsonl"))
            files.write_text(path, json.dumps(results, indent=1))
        artifact.save_set(folder / "set", synthetic, bound.bench.preprocess, {**card, "evaluation": results})
        report.write(folder)
    return results


def of_looks(bound: Bound, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What evaluation.json says of the looks along a run, whose rows these are."""
    return kept_look(bound, rows) | _legacy(bound, rows)


def kept_look(bound: Bound, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Which look's set is the result, where it is the best one's."""
    found = best_of(rows) if bound.config.evaluation.keep == "best" else None
    return {} if found is None else {"kept_step": found["step"], "held_out_accuracy": found["mean"]}


def _legacy(bound: Bound, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The best of all looks at the test images, as some papers report it."""
    found = best_of(rows, "test_mean") if bound.config.evaluation.legacy_best else None
    if found is None:
        return {}
    said = f"the best of {sum('test_mean' in row for row in rows)} looks at the test images: chosen by them"
    best = {"step": found["step"], "accuracies": found["test"], "mean": found["test_mean"], "std": found["test_std"]}
    return {"legacy_best": {"said": said, **best}}
