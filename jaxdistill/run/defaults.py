"""Defaults of a command that follow from what else is given: experts, and a data set's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxdistill.methods.preset import Preset
from jaxdistill.names import base
from jaxdistill.run.arguments import MISSING, UsageError, peek
from jaxdistill.run.config import DataConfig, GeneratorConfig, NetworkConfig, RunConfig
from jaxdistill.run.experts import fields_of
from jaxdistill.run.folder import stored_config
from jaxdistill.run.generators import architecture_of
from jaxdistill.run.plain import from_json

__all__ = ["like_experts", "like_generator", "named", "stored", "unlike"]


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
    return GeneratorConfig(architecture=architecture_of(Path(given)))


def unlike(like: dict[str, Any], preset: Preset) -> list[str]:
    """In what the experts that are given differ from the paper's."""
    if not like:
        return []
    differ = ["whitening"] if like["data"].zca != preset.zca else []
    return [*differ, "network"] if like["network"] != NetworkConfig(**preset.network) else differ


def named(dataset: str | None) -> str:
    """The data set's name, by which presets are found; a folder or file may have one."""
    path = Path(dataset or "").expanduser()
    return base(path.stem if dataset and path.exists() else dataset or "")


def stored(arguments: list[str], matches: Callable[[Any], bool]) -> dict[str, Any] | None:
    """The fields of the run that is resumed, as defaults: what is not given again is taken from there."""
    out = peek(arguments, "--out")
    plain = stored_config(Path(out)) if out is not None and "--resume" in arguments else None
    if plain is None:
        if "--resume" in arguments and peek(arguments, "--dataset") is None:
            raise UsageError(f"there is no run in {out} to resume; give all arguments, or another --out")
        return None
    found = from_json(plain, RunConfig(MISSING))
    if not matches(found):
        raise UsageError(f"{out} is a run of another command; resume it with that one, or choose another --out")
    return vars(found)
