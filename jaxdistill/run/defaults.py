"""Defaults of a command that follow from what else is given: experts, and a data set's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxdistill.methods.preset import Preset
from jaxdistill.run.arguments import MISSING, peek
from jaxdistill.run.config import DataConfig, GeneratorConfig, NetworkConfig
from jaxdistill.run.experts import fields_of
from jaxdistill.run.generators import load_generator

__all__ = ["like_experts", "like_generator", "named", "unlike"]


def like_experts(arguments: list[str]) -> dict[str, Any]:
    """Network and preprocessing of the experts that are given, as defaults: a run has to have the same."""
    experts = peek(arguments, "--experts")
    if experts is None:
        return {}
    fields = fields_of(Path(experts))
    return {"network": fields["network"], "data": DataConfig(MISSING, zca=fields["data"].zca)}


def like_generator(arguments: list[str]) -> GeneratorConfig:
    """The architecture of the generator that is given, as default: it cannot have another."""
    given = peek(arguments, "--generator")
    if given is None:
        return GeneratorConfig()
    return GeneratorConfig(architecture=load_generator(Path(given)).architecture)


def unlike(like: dict[str, Any], preset: Preset) -> list[str]:
    """In what the experts that are given differ from the paper's."""
    if not like:
        return []
    differ = ["whitening"] if like["data"].zca != preset.zca else []
    return [*differ, "network"] if like["network"] != NetworkConfig(**preset.network) else differ


def named(dataset: str | None) -> str:
    """The data set's name, by which presets are found; a folder or file may have one."""
    return Path(dataset).stem if dataset and Path(dataset).exists() else dataset or ""
