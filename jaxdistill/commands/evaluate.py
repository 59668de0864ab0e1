"""Judging finished sets side by side."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rich.console import Console

from jaxdistill.commands.cover import Cover, check_cover
from jaxdistill.commands.given_experts import check_bank
from jaxdistill.commands.judge import budget_by, check_networks, check_size, judge
from jaxdistill.commands.pools import check_enough, stacked, unseen
from jaxdistill.commands.train_experts import fields_of_card
from jaxdistill.commands.workspace import Bench, keys, networks, only_network, open_bench
from jaxdistill.common.attack import Attack
from jaxdistill.common.names import choose
from jaxdistill.data.check import Source
from jaxdistill.data.digest import TESTED, WORDS, differing, mismatch, stored_digests
from jaxdistill.engine.devices import replicate
from jaxdistill.engine.drive import say
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS, Recipe, taught
from jaxdistill.io import artifact
from jaxdistill.io.artifact import Stored
from jaxdistill.io.expert_bank import StoredBank, load_bank
from jaxdistill.networks import Options, members
from jaxdistill.report.outcome import runs_in
from jaxdistill.settings.config import OF_RECIPE, DataConfig, EvaluationConfig, NetworkConfig
from jaxdistill.settings.options import Evaluate
from jaxdistill.settings.paths import place
from jaxdistill.settings.unread import check_data_read, check_evaluation_read, given
from jaxdistill.types import Network, SyntheticSet, Variables

__all__ = ["evaluate_sets", "evaluate_stored", "label"]


def evaluate_sets(config: Evaluate, console: Console) -> dict[str, Any]:
    """Judge finished sets of one data set on the data set they were made from, random beside them.

    Raises:
        UsageError: if a set cannot be read, or the sets do not belong together.
    """
    paths = [path for folder in config.sets for path in runs_in(folder)]
    short = [label(path) if path in config.sets else f"{label(path.parent)}/{path.name}" for path in paths]
    labels = [str(path) if short.count(label) > 1 else label for path, label in zip(paths, short, strict=True)]
    sets = {label: artifact.load_set(path) for label, path in zip(labels, paths, strict=True)}
    return evaluate_stored(sets, config, console)


def evaluate_stored(
    stored: Mapping[str, Stored],
    config: Evaluate,
    console: Console,
    *,
    source: Source | None = None,
    named: Recipe | None = None,
    custom: Mapping[str, Network] = MappingProxyType({}),
    bank: StoredBank | None = None,
    pool: StoredBank | None = None,
) -> dict[str, Any]:
    """Judge sets of one data set, each in the space that it was made in, random images of its size beside it.

    Args:
        stored: sets by name.
        config: how; its `sets` are not read.
        console: where it is told how far this is.
        source: the data, where they have been read.
        named: the recipe, where `config` does not name it.
        custom: networks by name, in the place of those that `config` names.
        bank: the teacher, in the place of one that `config` names.
        pool: the experts as which networks begin, in the place of those that `config` names.

    Returns:
        The content of evaluation.json; see `jaxdistill.commands.judge.judge`.

    Raises:
        UsageError: if the sets do not belong together, or not to the data.
    """
    spaces = _spaces(stored)
    if config.equal_compute and all(one.synthetic.formation == 1 for one in stored.values()):
        raise UsageError("no image of these sets holds tiles; leave --equal-compute out")
    labels, first = list(stored), next(iter(stored.values()))
    _check_own(config, named, custom)
    recipe = config.protocol or (type(named).__name__ if named else _first_judged_by(stored))
    for label, other in stored.items():
        if not _of_one_kind(other.card, first.card):
            raise UsageError(
                f"{label} is of {other.card['dataset']} and {labels[0]} of {first.card['dataset']}; evaluate sets of "
                "one data set together"
            )
    where = place(config.dataset or first.card["dataset"])
    data = DataConfig(where, config.data_dir, **(_taken(first.card) if Path(where).is_dir() else {}))
    check_data_read(data, given(config, {}))
    benches: dict[str, Bench] = {}
    for name, group in spaces.items():
        member = next(iter(group.values()))
        data = dataclasses.replace(data, hold_out=_held_out(member.card))
        bench = open_bench(data, member.preprocess, *(() if source is None else (source,)))
        benches[name], source = bench, source if data.hold_out else bench.source
        made_for = (tuple(member.card["image_shape"]), member.card["num_classes"])
        if made_for != (bench.image_shape, bench.num_classes):
            raise UsageError(
                f"{next(iter(group))} was made for {made_for[1]} classes of images {made_for[0]}, but "
                f"{bench.source.name} has {bench.num_classes} of {bench.image_shape}; name the data set it was made "
                "from with --dataset"
            )
        for label, other in group.items():
            problem = mismatch(other.card, bench.digests, bench.source.class_names, test=True)
            if problem and not config.other_data:
                raise UsageError(
                    f"{label} was not made for these data ({problem}); name the data set it was made from with "
                    "--dataset, or add --other-data if it is to be judged on these"
                )
    bench = next(iter(benches.values()))
    if config.coverage:
        check_cover(bench)
        if len(spaces) > 1:
            raise UsageError(
                "--coverage is measured in one space, and these sets were preprocessed differently; leave it out"
            )
    options = {field.name for field in dataclasses.fields(NetworkConfig)} - {"network", "kernel"}
    said = {name: value for name in options if (value := getattr(config, name)) is not None}
    made_with = {dataclasses.replace(_made_with(other.card), **said) for other in stored.values()}
    judges = {other.card.get("eval_network") for other in stored.values()}
    kernels = {made.kernel for made in made_with} if config.kernel is None else {config.kernel}
    protocol = named
    if protocol is None:
        size = config.eval_size or _size(stored)
        named_so = ("seeds", "labels", "epochs", "combined", "equal_compute", *OF_RECIPE.values())
        settings: dict[str, Any] = {f"eval_{name}": getattr(config, name) for name in named_so}
        asked = EvaluationConfig(recipe, eval_size=size, **settings)
        protocol = asked.resolve(next(iter(kernels)), None if config.ridge is not None else _penalty(stored, recipe))
    check_size(protocol, bench, coverage=config.coverage)
    seen = protocol.shape(bench.image_shape)
    protocol.check(seen)
    by = "network" if protocol.learner == "network" else "kernel"
    chosen = config.network or custom
    alike = len(made_with) == len(judges) == 1 or chosen if by == "network" else len(kernels) == 1
    if not alike:
        raise UsageError(f"these sets were made with different {by}s; choose with --{by} by which to judge them all")
    usual = next(iter(made_with)) if len(made_with) == 1 else NetworkConfig()
    differ = [name for name in sorted(options) if len({getattr(made, name) for made in made_with}) > 1]
    if by == "network" and differ and not custom:
        words = " ".join(f"--{name.replace('_', '-')} {getattr(usual, name)}" for name in differ)
        say(console, f"note: these sets were made with networks that differ; all are judged by those of {words}")
    judged = custom or _judged(config, usual, next(iter(judges)) if len(judges) == 1 else None, bench, seen)
    check_networks(judged, protocol)
    if not custom:
        check_evaluation_read(config, ",".join(judged), protocol)
    if bank is None and config.teacher is not None:
        bank = load_bank(config.teacher, 1)
    teachers = {
        name: _teacher(bank, recipe, protocol, one, other_data=config.other_data) for name, one in benches.items()
    }
    if pool is None and config.experts is not None:
        pool = load_bank(config.experts)
    starts, begun = None, ""
    if pool is not None:
        judged, starts, begun = _experts_as_judges(pool, stored, benches, config, own=bool(custom))
    if pool is None and protocol.learner == "network" and any(_pool(other.card) for other in stored.values()):
        say(console, "note: a set was made for networks that begin as experts; judge it so with --experts")
    attacks = {tuple(other.card.get("attack", ())) for other in stored.values()}
    attack = Attack(*next(iter(attacks))) if len(attacks) == 1 and attacks != {()} else None
    key, cover = replicate(keys(config.seed)["evaluation"], bench.mesh), None
    if config.coverage:
        cover = Cover(
            key, judged, bench, config.coverage_features or "embedding", same_class=config.coverage_same_class,
            make=lambda name: _judged(dataclasses.replace(config, network=name), usual, None, bench, seen),
        )  # fmt: skip
    say(console, bench.source.summary())
    results: dict[str, Any] = {}
    for name, group in spaces.items():
        found = judge(
            key, {label: other.synthetic for label, other in group.items()}, judged, benches[name], protocol, recipe,
            config.seeds, ipc={label: budget_by(other.card, other.synthetic) for label, other in group.items()},
            space=name if len(spaces) > 1 else "", parallel_networks=config.parallel_networks, cover=cover,
            teach=teachers[name], starts=starts, attack=attack, tell=partial(say, console),
        )  # fmt: skip
        results = {**found, "rows": [*results.get("rows", []), *found["rows"]]}
    return results | ({"starts": begun} if begun else {})


def _pool(card: dict[str, Any]) -> dict[str, Any]:
    """Count, digest and epoch of the experts as which a set's networks began; empty where they began afresh."""
    said = card.get("experts", {})
    return said if "epoch" in said else {}


def _experts_as_judges(
    bank: StoredBank, stored: Mapping[str, Stored], benches: Mapping[str, Bench], config: Evaluate, *, own: bool
) -> tuple[dict[str, Network], Variables, str]:
    """The network of experts that none of the sets was made with, those experts, and which they are, in words."""
    named = given(config, {}) & {field.name for field in dataclasses.fields(NetworkConfig)} - {"kernel"}
    if named or own:
        raise UsageError("with --experts these are what is trained; leave --network and the options of networks out")
    options = fields_of_card(bank.card, bank.folder)["network"]
    network = only_network(options, next(iter(benches.values())))
    for bench in benches.values():
        check_bank(bank, network, dataclasses.asdict(options), bench, other=config.other_data)
    pools = [_pool(other.card) for other in stored.values()]
    free, said = min((unseen(bank, pool) for pool in pools), key=lambda found: len(found[0]))
    check_enough(free, said, config.seeds, "--seeds")
    epochs = {pool.get("epoch", -1) for pool in pools} if config.expert_epoch is None else {config.expert_epoch}
    if len(epochs) > 1:
        raise UsageError("these sets were made for experts after different epochs; choose one with --expert-epoch")
    return {options.network: network}, stacked(bank, network, free[: config.seeds], epochs.pop()), said


def _check_own(config: Evaluate, named: Recipe | None, custom: Mapping[str, Network]) -> None:
    """Refuse what a recipe or networks of a caller's own say themselves."""
    options = given(config, {})
    own = {"combined", "epochs", "equal_compute", "eval_size", "labels", "kernel", *OF_RECIPE.values()}
    if named is not None and (both := options & own):
        raise UsageError(
            f"a recipe of one's own says its {min(both)} itself; leave --{min(both).replace('_', '-')} out"
        )
    if custom and (both := options & {*Options._fields, "initial", "network_seed"}):
        raise UsageError(f"networks of one's own are made already; leave --{min(both).replace('_', '-')} out")


def _spaces(stored: Mapping[str, Stored]) -> dict[str, dict[str, Stored]]:
    """The sets by how their images were preprocessed, and by what was held out, under names for it."""
    found: list[dict[str, Stored]] = []
    for label, one in stored.items():
        for group in found:
            other = next(iter(group.values()))
            if one.preprocess.equals(other.preprocess) and _held_out(one.card) == _held_out(other.card):
                group[label] = one
                break
        else:
            found.append({label: one})
    members = [next(iter(group.items())) for group in found]
    words = ["normalised" if one.preprocess.whiten is None else "whitened" for _, one in members]
    names = [
        f"{word} as {label}" if words.count(word) > 1 else word for word, (label, _) in zip(words, members, strict=True)
    ]
    return dict(zip(names, found, strict=True))


def _held_out(card: dict[str, Any]) -> float:
    """Which share of the training images a set's making left aside, by its card."""
    share = card.get("hold_out", 0.0)
    if type(share) not in (int, float) or not 0 <= share < 1:
        raise UsageError(f"the set's card says that {share!r:.40} of the images were held out; copy the set again")
    return float(share)


def _taken(card: dict[str, Any]) -> dict[str, Any]:
    """Which classes of a folder a set is of, and the side that its images were brought to, by its card."""
    kinds = {"classes": str, "phase": int, "size": int}
    said = {name: card[name] for name in kinds if card.get(name) is not None}
    if wrong := next((name for name, value in said.items() if type(value) is not kinds[name]), None):
        raise UsageError(f"the set's card says {said[wrong]!r:.40} of `{wrong}`; copy the set again")
    return said


def _of_one_kind(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two sets are of one data set, which may lie elsewhere for each of them."""
    said, theirs = stored_digests(one), stored_digests(other)
    if not (said.test_images and theirs.test_images):
        return one["dataset"] == other["dataset"]
    apart = _held_out(one) != _held_out(other)  # then other images were left for training
    return not differing(said, theirs, TESTED if apart else tuple(WORDS))


def _teacher(
    bank: StoredBank | None, recipe: str, protocol: Recipe, bench: Bench, *, other_data: bool
) -> Callable[[SyntheticSet], SyntheticSet] | None:
    """What labels the sets, where the recipe asks a teacher: the first expert of a bank."""
    if protocol.needs_teacher != (bank is not None):
        said = (
            "asks a teacher; give an expert bank with --teacher"
            if protocol.needs_teacher
            else "asks none; leave --teacher out"
        )
        raise UsageError(f"{recipe} {said}")
    if bank is None:
        return None
    options = fields_of_card(bank.card, bank.folder)["network"]
    network = only_network(options, bench)
    check_bank(bank, network, dataclasses.asdict(options), bench, other=other_data)
    return partial(taught, network=network, variables=bank.variables(network, 0))


def _first_judged_by(stored: Mapping[str, Stored]) -> str:
    """The name of the recipe that the cards say; DSA's if they say none."""
    names = sorted({str(other.card["protocol"]) for other in stored.values() if "protocol" in other.card})
    if len(names) > 1:
        raise UsageError(f"these sets were made for the recipes {', '.join(names)}; choose one with --protocol")
    return names[0] if names else EvaluationConfig.protocol


def _penalty(stored: Mapping[str, Stored], recipe: str) -> float | None:
    """The penalty that the sets were learned with, where the recipe has one and the cards say some."""
    found = {other.card["ridge"] for other in stored.values() if "ridge" in other.card}
    if not found or not hasattr(PROTOCOLS[choose(recipe, PROTOCOLS, "protocol")], "ridge"):
        return None
    if not all(type(ridge) in (int, float) and 0 < ridge < math.inf for ridge in found):
        raise UsageError("a set's card says a penalty that is no positive number; copy the set again")
    if len(found) > 1:
        said = ", ".join(map(str, sorted(found)))
        raise UsageError(f"these sets were learned with the penalties {said}; choose with --ridge by which to judge")
    return found.pop()


def _size(stored: Mapping[str, Stored]) -> int | None:
    """The side that the sets were first judged at, by their cards; None where that is their own."""
    sizes = {other.card.get("eval_size") for other in stored.values()}
    if len(sizes) > 1 or not isinstance(size := sizes.pop(), int | None):
        raise UsageError("these sets were not judged at one size; choose it with --eval-size")
    return size


def _judged(
    config: Evaluate,
    made_with: NetworkConfig,
    judge: str | None,
    bench: Bench,
    seen: tuple[int, int, int] | None = None,
) -> dict[str, Network]:
    """Networks by name: what is not given is as the set was made for the network it was made with, else as usual."""
    fields = {field.name for field in dataclasses.fields(NetworkConfig)} - {"network"}
    given = {name: value for name in fields if (value := getattr(config, name)) is not None}
    judged = {}
    for name in members(config.network or judge or made_with.network) or [""]:
        same = name.removesuffix("-bn") == made_with.network.removesuffix("-bn")
        base = made_with if same else NetworkConfig()
        judged |= networks(name, dataclasses.replace(base, **given), bench, seen)
    return judged


def _made_with(card: dict[str, Any]) -> NetworkConfig:
    """The network that a set was made with, as far as its card says."""
    said = card.get("network", {})
    kinds = typing.get_type_hints(NetworkConfig)
    if not isinstance(said, dict) or any(not isinstance(said[name], kinds.get(name, ())) for name in said):
        raise UsageError("the set's card names a network that this version does not know; copy the set again")
    return NetworkConfig(**said)


def label(path: Path) -> str:
    """A set's name in a table: its run's."""
    path = path.resolve()
    return path.parent.name if path.name == "set" else path.name
