"""Defaults of a command that follow from what else is given: experts, and a data set's name."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from jaxdistill import presets
from jaxdistill.evaluation import dsa_recipe
from jaxdistill.io.generators import StoredGenerator
from jaxdistill.presets.base import Preset
from jaxdistill.presets.experts import expert_preset
from jaxdistill.selection import SELECTIONS
from jaxdistill.settings import cell
from jaxdistill.settings.config import DataConfig, EvaluationConfig, GeneratorConfig, NetworkConfig
from jaxdistill.settings.spelling import known_name

__all__ = ["OF_NETWORKS", "like_experts", "like_generator", "of_distill", "of_experts", "of_select"]

OF_NETWORKS = ("network", "norm", "eval_network")
"""Options that say which networks distil and judge, and how they normalise."""


def like_experts(fields: Mapping[str, Any] | None, dataset: Any) -> dict[str, Any]:
    """Network and preprocessing of the experts that are given, as defaults: a run has to have the same.

    Args:
        fields: those of the experts (`jaxdistill.commands.train_experts.fields_of`); None for none.
        dataset: the run's data set as it is given, or what stands for one that is not.
    """
    if fields is None:
        return {}
    return {"network": fields["network"], "data": dataclasses.replace(fields["data"], dataset=dataset)}


def like_generator(card: StoredGenerator | None, preset: Preset) -> tuple[GeneratorConfig, Preset]:
    """The architecture of the generator that is given, as default: it cannot have another; and the preset, but with the
    way in which sets were drawn from it and judged, where its card says so."""
    if card is None:
        return GeneratorConfig(), preset
    if card.drawn is not None and hasattr(preset.config, "sampling"):
        config = dataclasses.replace(preset.config, sampling=card.drawn.sampling)
        judged = {name: getattr(card.drawn, name) for name in ("protocol", "eval_network", "eval_size")}
        preset = preset._replace(config=config, **judged)
    return GeneratorConfig(architecture=card.architecture), preset


def of_distill(
    method: Any,
    reading: str | None,
    dataset: Any,
    name: str,
    ipc: int,
    *,
    experts: Mapping[str, Any] | None = None,
    generator: StoredGenerator | None = None,
    asked: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """The fields of `Distill` that follow from a method, a cell, and what else is given; no steps where none are known.

    Args:
        method: its configuration's class.
        reading: of its paper; the first by default.
        dataset: as it is given, or what stands for one that is not.
        name: by which its cells are known.
        ipc: images per class.
        experts: fields of those that are given.
        generator: the one that is given.
        asked: what is given of `OF_NETWORKS`, by which a paper's settings may go.

    Raises:
        UsageError: for a reading that there is not.
    """
    reading = presets.reading_of(method, reading)
    drawn, preset = like_generator(generator, presets.find(method, name, ipc, reading))
    alike = like_experts(experts, dataset)
    said = {field: known_name(field, value) for field, value in asked.items() if isinstance(value, str)}
    judge = said.pop("eval_network", preset.eval_network)
    network = dataclasses.replace(alike.get("network", NetworkConfig(**preset.network)), **said)
    preset = cell.for_networks(method, preset, network, judge)
    return {**cell.fields(preset, dataset), "seed": 0, "preset": reading, "generator": drawn, **alike}


def of_select(strategy: str, dataset: Any, name: str, experts: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The fields of `Select` that follow from a strategy, a data set and what else is given.

    Args:
        strategy: its name.
        dataset: as it is given, or what stands for one that is not.
        name: by which it is known.
        experts: fields of those that are given.
    """
    protocol = "krr" if SELECTIONS[strategy].needs.by_kernel else dsa_recipe(name)
    data = {"data": DataConfig(dataset), **like_experts(experts, dataset)}
    return {"strategy": strategy, **data, "evaluation": EvaluationConfig(protocol=protocol)}


def of_experts(preset: str, dataset: Any, name: str, ipc: int | None) -> dict[str, Any]:
    """The fields of `Experts` that follow from whose they are, and for which cell.

    Args:
        preset: the papers' name.
        dataset: as it is given, or what stands for one that is not.
        name: by which it is known.
        ipc: images per class of the set that is to be distilled, if that is known.
    """
    papers = expert_preset(preset, name, ipc)
    data = DataConfig(dataset, zca=papers.zca, statistics=papers.statistics)
    network = NetworkConfig(**papers.network)
    fields = {"data": data, "epochs": papers.epochs, "recipe": papers.recipe, "network": network}
    return {**fields, "preset": preset}
