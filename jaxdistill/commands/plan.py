"""Everything about a run that can be refused, before anything of it is computed or written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.commands.cover import Cover, check_cover
from jaxdistill.commands.given_experts import check_bank, check_whitening
from jaxdistill.commands.images import DrawnImages, LearnedImages, images_of
from jaxdistill.commands.judge import check_baseline, check_budgets, check_networks, check_size
from jaxdistill.commands.own_method import check_own
from jaxdistill.commands.pools import Starts, first_of, judging_bank, pool_epoch, starts_of
from jaxdistill.commands.workspace import Bench, generator_of, keys, networks, only_network, open_bench, task
from jaxdistill.data.preprocess import Preprocess
from jaxdistill.data.source import Source
from jaxdistill.data.trajectories import RealAndExperts
from jaxdistill.engine.drive import Feeding
from jaxdistill.engine.host_batches import require_grain
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import Recipe
from jaxdistill.io.expert_bank import StoredBank, load_bank, open_bank
from jaxdistill.io.generators import StoredGenerator, load_generator
from jaxdistill.methods import METHODS
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.adaptive import Passes, selections_at
from jaxdistill.selection.budgets import Budget, budget_of, check_budget
from jaxdistill.settings import cell
from jaxdistill.settings.as_json import name_of
from jaxdistill.settings.config import Distill, Select
from jaxdistill.settings.starts import needs_of
from jaxdistill.settings.unread import check_method_read, check_read
from jaxdistill.types import AnyMethod, Feed, Key, Method, Network, SyntheticSet, Task

__all__ = [
    "Bound",
    "Given",
    "Plan",
    "note_of",
    "penalty_of",
    "pinned",
    "prepare",
    "prepare_evaluation",
    "prepare_selection",
]

HELD_OUT = 0.1
"""Of the training images, where a look needs some and no share is said."""


Run = TypeVar("Run", bound=Distill | Select)


class Given(NamedTuple):
    """What a caller has in memory, in the place of what a configuration names."""

    source: Source | None = None
    """The data."""
    experts: StoredBank | None = None
    """Those that a run takes."""
    generator: StoredGenerator | None = None
    start: SyntheticSet | None = None
    """What a method starts from, in the run's preprocessed space."""
    method: Callable[[Task], Method] | None = None
    bank: StoredBank | None = None
    """The experts with those beyond the ones that a run takes; None of a bank in a folder."""


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
    budget: Budget | None = None
    """How many images are selected; None of a distillation, which makes as many of each class."""
    cover: Cover | None = None
    """How much of the test images a set covers, where that is asked for."""
    starts: Starts | None = None
    """Where networks that judge begin, if not afresh."""


class Plan(NamedTuple):
    """A distillation of which everything is known and nothing has begun."""

    bound: Bound
    method: AnyMethod
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
    def images(self) -> LearnedImages | DrawnImages:
        """Where those of the set come from."""
        return images_of(self.method, self.bound.keys["method"], self.config.ipc, self.bound.bench.mesh)

    @property
    def name(self) -> str:
        """The method's."""
        return name_of(self.config)


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
        asking = [needs_of(config.init), *([] if config.keeps_by is None else [config.keeps_by])]
        if method.feed.source == "real" and not any(need.uses_experts(config.basis) for need in asking):
            raise UsageError(f"neither {name} nor a start by {config.init} uses experts; leave --experts out")
        check_bank(experts, known.network, dataclasses.asdict(config.network), bench, other=config.run.other_data)
    bound = _started(bound, given.bank, other=config.run.other_data)
    source, on_host = _source(method.feed, config, bench, experts)
    outline = source.outline()  # trajectories that are too short are found here
    jax.eval_shape(lambda key: method.feed.plan(key, jnp.asarray(0), outline), bound.keys["loop"])
    return Plan(bound, method, Feeding(source, on_host), given.generator, given.start, note_of(bound))


def note_of(bound: Bound) -> str:
    """Whether a distillation is the published setting of its cell, in words."""
    card = None if bound.experts is None else bound.experts.card
    return cell.said(bound.config, card, min(bound.bench.image_shape[:2]))


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
    needs = SELECTIONS[config.strategy].needs
    if config.network.kernel is not None and not needs.by_kernel and not hasattr(protocol, "kernel"):
        raise UsageError(f"neither {config.strategy} nor its evaluation goes by a kernel; leave --kernel out")
    sizes = np.asarray(bench.train.counts).tolist()
    budget = budget_of(sizes, config.ipc, config.share, together=config.unbalanced)
    check_budget(SELECTIONS[config.strategy], sizes, budget)
    if config.evaluation.eval_seeds:
        check_budgets([budget], protocol)
    bound = bound._replace(config=dataclasses.replace(config, ipc=budget.ipc), budget=budget)
    if config.evaluation.eval_seeds and budget == Budget(budget.ipc):
        check_baseline(bench, budget.ipc)
    if config.reselect_every is not None:
        if not isinstance(protocol, Passes):
            raise UsageError(
                f"by {config.evaluation.protocol} nothing is trained between whose epochs images could be selected "
                "again; choose another --protocol, say deepcore200, or leave --reselect-every out"
            )
        if protocol.size is not None:
            raise UsageError(
                "--reselect-every asks the networks that are judged, at the images' size; leave --eval-size out"
            )
        if budget != Budget(budget.ipc):
            raise UsageError("--reselect-every takes as many images of each class; give --ipc alone")
        total = protocol.passes(budget.ipc * bench.num_classes, bench.num_classes)
        selections_at(total, config.reselect_every, config.reselect_after)
    if bound.experts is not None:
        if not needs.uses_experts(config.basis):
            raise UsageError(f"{config.strategy} uses no experts with these options; leave --experts out")
        check_bank(bound.experts, bound.network, dataclasses.asdict(config.network), bench, other=config.run.other_data)
    return bound


def pinned(config: Run, given: Given = Given()) -> tuple[Run, Given]:  # noqa: B008 (immutable)
    """The configuration with its experts and generator named, so that a resumed run has the same even where some were
    added; and what it names, read.

    Args:
        config: what is to be done.
        given: what is in memory already.
    """
    experts, generator, bank = given.experts, given.generator, given.experts
    if experts is not None:
        experts = first_of(experts, config.bank.expert_count)
    elif config.bank.experts is not None:
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
    return config, given._replace(experts=experts, generator=generator, bank=bank)


def _source(feed: Feed, config: Distill, bench: Bench, experts: StoredBank | None) -> tuple[Any, bool]:
    """What the feed draws from, and whether it stays where it is."""
    if bench.on_host and getattr(feed, "on_device", False):
        raise UsageError(
            f"{name_of(config)} goes through all training images in one step here, so that they have to be on the "
            "device; raise --max-device-gib"
        )
    if feed.source == "real":
        return bench.train, bench.on_host
    if experts is None:
        does = getattr(feed, "does", "is fed by experts")
        raise UsageError(f"{name_of(config)} {does}; make some with 'jaxdistill experts' and give them with --experts")
    bank, on_host = open_bank(experts, config.data.max_device_gib * 2**30)
    if on_host:
        require_grain()
    if feed.source == "experts":
        return bank, on_host
    if on_host and getattr(feed, "on_device", False):
        raise UsageError("these experts have to be on the device beside the data; raise --max-device-gib")
    real = bench.train
    if on_host and not bench.on_host:  # what one of them is too large for, both are fed by
        real = jax.tree.map(np.asarray, real)
    return RealAndExperts(real, bank), on_host or bench.on_host


def prepare_evaluation(config: Distill | Select, given: Given, preprocess: Preprocess) -> Bound:
    """See that everything is there that judging a finished set needs, whatever made it; see `prepare`.

    Args:
        config: of the run that made the set.
        given: see `Given`.
        preprocess: what the set's images went through.

    Raises:
        UsageError: for data that cannot be used.
    """
    bank = given.experts if given.bank is None else given.bank
    bound = _prepare(config, given._replace(experts=None), frozenset(), preprocess)
    return _started(bound, bank, other=True)  # of which data they are was seen when the run began


def penalty_of(config: Distill | Select) -> float | None:
    """The penalty that a run's set is learned with, and judged by where a recipe has one."""
    return getattr(config.method, "ridge", None) if isinstance(config, Distill) else None


def _prepare(
    config: Distill | Select, given: Given, options: frozenset[str], fitted: Preprocess | None = None
) -> Bound:
    protocol = config.evaluation.resolve(config.network.kernel, penalty_of(config))
    experts = given.experts
    check_read(config, options, protocol)
    if experts is not None:
        check_whitening(experts, config.data.zca, config.data.statistics)
    looked = config.evaluation.eval_every is not None
    needed = config.evaluation.keep == "best" or not config.evaluation.legacy_best
    if looked and needed and not config.data.hold_out:
        config = dataclasses.replace(config, data=dataclasses.replace(config.data, hold_out=HELD_OUT))
    # Not fitted anew: on another machine whitening would differ in its last digits.
    fitted = fitted if experts is None else experts.preprocess
    bench = open_bench(config.data, fitted, *(() if given.source is None else (given.source,)))
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, digests=bench.digests))
    if protocol.needs_teacher and (config.evaluation.eval_seeds or looked):
        raise UsageError(
            f"{config.evaluation.protocol} asks a teacher; give --eval-seeds 0, and judge the set with 'jaxdistill "
            f"evaluate SET --protocol {config.evaluation.protocol} --teacher E'"
        )
    check_size(protocol, bench, coverage=config.evaluation.coverage)
    seen = protocol.shape(bench.image_shape)
    protocol.check(seen)
    judged = networks(config.evaluation.eval_network or config.network.network, config.network, bench, seen)
    check_networks(judged, protocol)
    network = only_network(config.network, bench)
    cover, evaluation, purposes = None, config.evaluation, keys(config.seed)
    if evaluation.coverage:
        check_cover(bench)
        cover = Cover(
            purposes["evaluation"], judged, bench, evaluation.coverage_features,
            same_class=evaluation.coverage_same_class, make=partial(networks, config=config.network, bench=bench),
        )  # fmt: skip
    return Bound(config, bench, network, judged, protocol, purposes, experts, cover=cover)


def _started(bound: Bound, bank: StoredBank | None, *, other: bool) -> Bound:
    """With where its networks begin, if not afresh.

    Args:
        bound: what is judged.
        bank: the experts that are in memory.
        other: take experts of other data, too.
    """
    epoch = pool_epoch(bound.config)
    found = None if epoch is None else judging_bank(bound.config, bank, bound.protocol)
    if epoch is None or found is None:
        return bound
    options = dataclasses.asdict(bound.config.network)
    check_bank(found, bound.network, options, bound.bench, other=other)
    return bound._replace(starts=starts_of(bound.config, epoch, found, bound.network))
