"""Judging finished sets side by side."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxdistill.data.digest import differing, mismatch, stored_digests
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import Recipe, taught
from jaxdistill.run import artifact
from jaxdistill.run.bank import check_bank, load_bank
from jaxdistill.run.config import DataConfig, EvaluationConfig, NetworkConfig
from jaxdistill.run.cover import check_cover
from jaxdistill.run.drive import say
from jaxdistill.run.experts import fields_of
from jaxdistill.run.forms import Evaluate
from jaxdistill.run.judge import check_networks, judge
from jaxdistill.run.paths import place
from jaxdistill.run.resolve import Bench, keys, networks, only_network, open_bench
from jaxdistill.run.sharding import replicate
from jaxdistill.run.unread import check_data_read, check_evaluation_read, given
from jaxdistill.types import Network, SyntheticSet

__all__ = ["evaluate_sets"]


def evaluate_sets(config: Evaluate, console: Console) -> dict[str, Any]:
    """Judge finished sets (of one data set and size) on the data set they were made from, random beside them.

    Raises:
        UsageError: if a set cannot be read, or the sets do not belong together.
    """
    short = [_label(path) for path in config.sets]
    labels = [str(path) if short.count(label) > 1 else label for path, label in zip(config.sets, short, strict=True)]
    stored = {label: artifact.load_set(path) for label, path in zip(labels, config.sets, strict=True)}
    first = stored[labels[0]]
    recipe = config.protocol or _first_judged_by(stored)
    for label, other in stored.items():
        if not _of_one_kind(other.card, first.card):
            raise UsageError(
                f"{label} is of {other.card['dataset']} at ipc {other.card['ipc']} and {labels[0]} of "
                f"{first.card['dataset']} at ipc {first.card['ipc']}; evaluate sets of one data set and ipc together"
            )
        if not first.preprocess.equals(other.preprocess):
            raise UsageError(f"{label} was preprocessed otherwise than {labels[0]}; evaluate them one by one")
    data = DataConfig(place(config.dataset or first.card["dataset"]), config.data_dir)
    check_data_read(data, given(config, {}))
    bench = open_bench(data, first.preprocess)
    made_for = (tuple(first.card["image_shape"]), first.card["num_classes"])
    if made_for != (bench.image_shape, bench.num_classes):
        raise UsageError(
            f"{labels[0]} was made for {made_for[1]} classes of images {made_for[0]}, but {bench.source.name} has "
            f"{bench.num_classes} of {bench.image_shape}; name the data set it was made from with --dataset"
        )
    for label, other in stored.items():
        problem = mismatch(other.card, bench.digests, bench.source.class_names, test=True)
        if problem and not config.other_data:
            raise UsageError(
                f"{label} was not made for these data ({problem}); name the data set it was made from with --dataset, "
                "or add --other-data if it is to be judged on these"
            )
    if config.coverage:
        check_cover(bench)
    made_with = {_made_with(other.card) for other in stored.values()}
    judges = {other.card.get("eval_network") for other in stored.values()}
    kernels = {made.kernel for made in made_with} if config.kernel is None else {config.kernel}
    protocol = EvaluationConfig(recipe, None, config.seeds, config.labels, config.epochs).resolve(next(iter(kernels)))
    protocol.check(bench.image_shape)
    by = "network" if protocol.instead is None else "kernel"
    alike = len(made_with) == len(judges) == 1 or config.network if by == "network" else len(kernels) == 1
    if not alike:
        raise UsageError(f"these sets were made with different {by}s; choose with --{by} by which to judge them all")
    usual = next(iter(made_with)) if len(made_with) == 1 else NetworkConfig()
    judged = _judged(config, usual, next(iter(judges)) if len(judges) == 1 else None, bench)
    check_networks(judged, protocol)
    check_evaluation_read(config, ",".join(judged), protocol)
    sets = {label: other.synthetic for label, other in stored.items()}
    teach = _teacher(config, recipe, protocol, bench)
    key = replicate(keys(config.seed)["evaluation"], bench.mesh)
    say(console, bench.source.summary())
    return judge(
        key, sets, judged, bench, protocol, recipe, config.seeds,
        ipc=first.card["ipc"], networks_at_once=config.networks_at_once, coverage=config.coverage, teach=teach,
        tell=partial(say, console),
    )  # fmt: skip


def _of_one_kind(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two sets have one size and are of one data set, which may lie elsewhere for each of them."""
    said, theirs = stored_digests(one), stored_digests(other)
    known = said.train_images and theirs.train_images
    alike = not differing(said, theirs) if known else one["dataset"] == other["dataset"]
    return alike and one["ipc"] == other["ipc"]


def _teacher(
    config: Evaluate, recipe: str, protocol: Recipe, bench: Bench
) -> Callable[[SyntheticSet], SyntheticSet] | None:
    """What labels the sets, where the recipe asks a teacher."""
    if protocol.taught != (config.teacher is not None):
        said = (
            "asks a teacher; give an expert bank with --teacher"
            if protocol.taught
            else "asks none; leave --teacher out"
        )
        raise UsageError(f"{recipe} {said}")
    if config.teacher is None:
        return None
    stored, options = load_bank(config.teacher, 1), fields_of(config.teacher)["network"]
    network = only_network(options, bench)
    check_bank(stored, network, dataclasses.asdict(options), bench, other=config.other_data)
    return partial(taught, network=network, variables=stored.variables(network, 0))


def _first_judged_by(stored: dict[str, artifact.Stored]) -> str:
    """The name of the recipe that the cards say; DSA's if they say none."""
    names = sorted({str(other.card["protocol"]) for other in stored.values() if "protocol" in other.card})
    if len(names) > 1:
        raise UsageError(f"these sets were made for the recipes {', '.join(names)}; choose one with --protocol")
    return names[0] if names else EvaluationConfig.protocol


def _judged(config: Evaluate, made_with: NetworkConfig, judge: str | None, bench: Bench) -> dict[str, Network]:
    """Networks by name: what is not given is as the set was made for the network it was made with, else as usual."""
    fields = {field.name for field in dataclasses.fields(NetworkConfig)} - {"network"}
    given = {name: value for name in fields if (value := getattr(config, name)) is not None}
    judged = {}
    for name in (config.network or judge or made_with.network).split(","):
        same = name.strip().removesuffix("-bn") == made_with.network.removesuffix("-bn")
        base = made_with if same else NetworkConfig()
        judged |= networks(name, dataclasses.replace(base, **given), bench)
    return judged


def _made_with(card: dict[str, Any]) -> NetworkConfig:
    """The network that a set was made with, as far as its card says."""
    said = card.get("network", {})
    kinds = typing.get_type_hints(NetworkConfig)
    if not isinstance(said, dict) or any(not isinstance(said[name], kinds.get(name, ())) for name in said):
        raise UsageError("the set's card names a network that this version does not know; copy the set again")
    return NetworkConfig(**said)


def _label(path: Path) -> str:
    """A set's name in a table: its run's."""
    path = path.resolve()
    return path.parent.name if path.name == "set" else path.name
