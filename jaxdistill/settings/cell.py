"""A run beside the published setting of its cell (method, data set, images per class), field by field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxdistill import presets
from jaxdistill.augment import for_dataset
from jaxdistill.common.names import base
from jaxdistill.data.preprocess import constants
from jaxdistill.diffusion import Architecture
from jaxdistill.networks import default_depth
from jaxdistill.presets import find, unpublished
from jaxdistill.presets.base import Preset
from jaxdistill.settings.as_json import name_of
from jaxdistill.settings.config import (
    BasisConfig,
    DataConfig,
    Distill,
    EvaluationConfig,
    GeneratorConfig,
    NetworkConfig,
    OwnMethod,
)
from jaxdistill.settings.starts import needs_of
from jaxdistill.training.experts import ExpertRecipe

__all__ = ["APART", "differences", "fields", "named", "preset_of", "said"]

APART = frozenset(
    {
        "bank",  # compared by the card of what is in it
        "data.classes",
        "data.data_dir",
        "data.digests",
        "data.dataset",
        "data.size",
        "data.max_device_gib",
        "data.phase",
        "evaluation.coverage",
        "evaluation.coverage_features",
        "evaluation.coverage_same_class",
        "evaluation.eval_every",
        "evaluation.eval_every_seeds",
        "evaluation.eval_seeds",
        "evaluation.legacy_best",
        "generator.class_ids",
        "generator.generator",
        "generator.generator_digest",
        "ipc",
        "method.microbatches",
        "method.sampling.draw_batch",
        "preset",
        "run",
        "seed",
    }
)
"""Fields of `Distill` in which a run of a cell may differ: where things are, how much memory they take, which cell it
is, and how often something random is repeated."""
_STORED = "float32"


def named(dataset: str | None, classes: str | None = None) -> str:
    """The data set's name, by which presets are found; a list of `classes` is one, a folder or file may have one."""
    if classes is not None:
        return base(classes)
    path = Path(dataset or "").expanduser()
    return base(path.stem if dataset and path.exists() else dataset or "")


def preset_of(config: Distill) -> Preset:
    """The preset of a run's cell, by the reading that it names."""
    dataset = named(config.data.dataset, config.data.classes)
    if isinstance(config.method, OwnMethod):
        return unpublished(config.method, dataset)
    method = type(config.method)
    preset = find(method, dataset, config.ipc, config.preset)
    return for_networks(method, preset, config.network, config.evaluation.eval_network)


def for_networks(method: type, preset: Preset, network: NetworkConfig, judge: str | None) -> Preset:
    """A preset with what the method's paper has for a run's networks.

    Args:
        method: its configuration's class.
        preset: of the cell.
        network: what distils.
        judge: the name of what judges, where that is another.
    """
    named = (network.network, judge or network.network)
    batch = (f"{name.removesuffix('-bn')}-bn" if network.norm == "batch" else name for name in named)
    return presets.for_networks(method, preset, *batch)


def fields(preset: Preset, dataset: Any) -> dict[str, Any]:
    """A preset as fields of `Distill`, where it has a say: a run that changes none of them is the cell's.

    Args:
        preset: of the cell.
        dataset: as it is given, or what stands for one that is not.
    """
    return {
        "method": preset.config,
        "data": DataConfig(dataset, zca=preset.zca, statistics=preset.statistics),
        "steps": preset.steps,
        "init": preset.init,
        "augment": preset.augment,
        "network": NetworkConfig(**preset.network),
        "basis": BasisConfig(beta=preset.beta),
        "generator": GeneratorConfig(architecture=preset.generator or Architecture()),
        "evaluation": EvaluationConfig(
            protocol=preset.protocol, eval_network=preset.eval_network, eval_size=preset.eval_size
        ),
    }


def differences(
    config: Distill, preset: Preset, experts: Mapping[str, Any] | None = None, size: int | None = None
) -> list[str]:
    """In what a run differs from a preset, each as ``name given (published value)``.

    All fields are compared but those `APART`, so that a new field is compared too. The same thing written in another
    way (an augmentation's operations for ``default``, the default depth as a number) is no difference.

    Args:
        config: of the run, its experts pinned.
        preset: of the cell.
        experts: the card of the run's experts.
        size: pixels of a side, by which the default depth goes; without it only an equal depth is the same.
    """
    published = dataclasses.replace(config, **fields(preset, config.data.dataset))
    ours, theirs = (_same(one, preset, size) for one in (config, published))
    skipped = APART if needs_of(config.init).options else APART | {"basis"}
    skipped |= {"basis.scores"} if preset.init == "cscore" else set()
    found = list(_compare(ours, theirs, skipped))
    if config.init == preset.init == "cscore" and config.basis.scores is None:
        found.append("scores of our stand-in (published the C-scores of their authors)")
    if preset.generator is not None and not config.generator.given:
        found.append("generator untrained (published one that was trained before)")
    return found + list(_of_experts(config, preset, experts))


def said(config: Distill, experts: Mapping[str, Any] | None = None, size: int | None = None) -> str:
    """What a run is told before it begins: whether it is the published setting of its cell, and what differs.

    Args:
        config: of the run, its experts pinned.
        experts: the card of the run's experts.
        size: pixels of a side.
    """
    preset = preset_of(config)
    cell = f"{name_of(config)} for {named(config.data.dataset, config.data.classes)} at ipc {config.ipc}"
    more = f"; {preset.note}" if preset.note and config.evaluation.protocol == preset.protocol else ""
    if not preset.listed:
        return f"no published setting of {cell}; running {config.method} for {config.steps} steps{more}"
    found = differences(config, preset, experts, size)
    which = f"not the published setting of {cell}: {', '.join(found)}" if found else f"the published setting of {cell}"
    return f"{which}{more}"


def _same(config: Distill, preset: Preset, size: int | None) -> Distill:
    """A run with one spelling of what can be written in several ways."""
    dataset = named(config.data.dataset, config.data.classes)
    network, evaluation = config.network, config.evaluation
    if network.depth is None and size is not None:
        network = dataclasses.replace(network, depth=default_depth(size))
    fixed = preset.network.get("network_seed")
    if None not in (fixed, network.network_seed):  # one network of many, whichever
        network = dataclasses.replace(network, network_seed=fixed)
    if evaluation.eval_network == network.network:
        evaluation = dataclasses.replace(evaluation, eval_network=None)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, statistics=_statistics(config.data.statistics, dataset)),
        augment=for_dataset(config.augment, dataset),
        network=network,
        evaluation=evaluation,
    )


def _statistics(name: str, dataset: str) -> str:
    """A name for statistics that is the same where they are."""
    values = constants(name, dataset)
    if values is None:
        return "fitted"
    return "default" if values == constants("default", dataset) else name


def _compare(ours: Any, theirs: Any, skipped: frozenset[str], path: str = "") -> Iterator[str]:
    for field in dataclasses.fields(theirs):
        one, other = getattr(ours, field.name), getattr(theirs, field.name)
        where = f"{path}{field.name}"
        if where in skipped or one == other:
            continue
        if dataclasses.is_dataclass(other) and type(one) is type(other):
            yield from _compare(one, other, skipped, f"{where}.")
        else:
            yield _difference(field.name, one, other)


def _of_experts(config: Distill, preset: Preset, card: Mapping[str, Any] | None) -> Iterator[str]:
    if preset.experts is None:
        return
    if card is None:
        yield "experts none (published some)"
        return
    dataset, published = named(config.data.dataset, config.data.classes), preset.experts
    theirs = dataclasses.asdict(published.recipe)
    theirs |= {"epochs": published.epochs, "count": published.count, "dtype": _STORED}
    ours = {**dataclasses.asdict(ExpertRecipe()), **card["recipe"]}  # of the first banks, which lack some
    ours |= {"epochs": card["epochs"], "count": config.bank.expert_count, "dtype": card.get("dtype", _STORED)}
    for one in (ours, theirs):
        one["augment"] = for_dataset(one["augment"], dataset)
        if not one["rho"]:  # of which alpha is a part
            one["alpha"] = None
    for name, value in theirs.items():
        if ours.get(name) != value:
            yield f"experts' {_difference(name, ours.get(name), value)}"


def _difference(name: str, ours: Any, theirs: Any) -> str:
    return f"{name.replace('_', '-')} {_word(ours)} (published {_word(theirs)})"


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
