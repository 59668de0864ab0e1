"""Configurations as plain dictionaries, and back: what config.json holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from jaxdistill.methods import METHODS, method_config
from jaxdistill.run.config import (
    BankConfig,
    BasisConfig,
    DataConfig,
    Distill,
    EvaluationConfig,
    NetworkConfig,
    RunConfig,
    Select,
)

__all__ = ["from_json", "to_json"]

PARTS: dict[str, type] = {
    "data": DataConfig,
    "network": NetworkConfig,
    "bank": BankConfig,
    "basis": BasisConfig,
    "evaluation": EvaluationConfig,
}
"""Parts that a distillation and a selection both have."""


def to_json(config: Distill | Select) -> dict[str, Any]:
    """A plain nested dictionary; how the run behaves is left out, since it does not change the result."""
    plain = _plain(dataclasses.asdict(config))
    del plain["run"]
    plain["command"] = type(config).__name__.lower()
    if isinstance(config, Distill):
        plain["method"] = {"name": METHODS[type(config.method)].__name__, **plain["method"]}
    return plain


def from_json(plain: dict[str, Any], run: RunConfig) -> Distill | Select:
    """The configuration that `to_json` wrote.

    Raises:
        ValueError: if it is not one.
    """
    try:
        fields = {name: value for name, value in plain.items() if name != "command"}
        for name, kind in PARTS.items():
            fields[name] = kind(**fields[name])
        for name, path in (("bank", "experts"), ("basis", "scores")):
            if given := getattr(fields[name], path):
                fields[name] = dataclasses.replace(fields[name], **{path: Path(given)})
        if plain["command"] == "select":
            return Select(run=run, **fields)
        method = dict(fields["method"])
        fields["method"] = method_config(method.pop("name"))(**{k: _tuples(v) for k, v in method.items()})
        return Distill(run=run, **fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"config.json was not written by this version of jaxdistill ({error})") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return str(value) if isinstance(value, Path) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
