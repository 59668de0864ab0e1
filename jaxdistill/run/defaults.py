"""Defaults of a command that follow from what else is given: experts, and a data set's name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jaxdistill.methods.preset import Preset
from jaxdistill.run.arguments import MISSING, peek
from jaxdistill.run.config import DataConfig, NetworkConfig
from jaxdistill.run.experts import fields_of

__all__ = ["like_experts", "named", "unlike"]


def like_experts(arguments: list[str]) -> dict[str, Any]:
    """Network and preprocessing of the experts that are given, as defaults: a run has to have the same."""
    experts = peek(arguments, "--experts")
    if experts is None:
        return {}
    fields = fields_of(Path(experts))
    return {"network": fields["network"], "data": DataConfig(MISSING, zca=fields["data"].zca)}


def unlike(like: dict[str, Any], preset: Preset) -> list[str]:
    """In what the experts that are given differ from the paper's."""
    if not like:
        return []
    differ = ["whitening"] if like["data"].zca != preset.zca else []
    return [*differ, "network"] if like["network"] != NetworkConfig(**preset.network) else differ


def named(dataset: str | None) -> str:
    """The data set's name, by which presets are found; a folder or file may have one."""
    return Path(dataset).stem if dataset and Path(dataset).exists() else dataset or ""
