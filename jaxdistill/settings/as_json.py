"""Configurations as plain dictionaries, and back: what config.json holds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from jaxdistill.errors import UsageError
from jaxdistill.io.records import build
from jaxdistill.methods import METHODS, method_config
from jaxdistill.settings.config import Distill, OwnMethod, RunConfig, Select

__all__ = ["from_json", "name_of", "to_json"]


def name_of(config: Distill | Select) -> str:
    """What a run's method or strategy is called."""
    if isinstance(config, Select):
        return config.strategy
    method = config.method
    return method.name if isinstance(method, OwnMethod) else METHODS[type(method)].__name__


def to_json(config: Distill | Select) -> dict[str, Any]:
    """A plain nested dictionary; how the run behaves is left out, since it does not change the result."""
    plain = _plain(dataclasses.asdict(config))
    del plain["run"]
    plain["command"] = type(config).__name__.lower()
    if isinstance(config, Distill):
        own = {"own": True} if isinstance(config.method, OwnMethod) else {}
        plain["method"] = {"name": name_of(config), **plain["method"], **own}
    return plain


def from_json(plain: dict[str, Any], run: RunConfig) -> Distill | Select:
    """The configuration that `to_json` wrote.

    Raises:
        UsageError: if it is not one.
    """
    try:
        fields = {name: value for name, value in plain.items() if name != "command"}
        if plain["command"] == "select":
            return build(Select, {**fields, "run": run})
        method = dict(fields["method"])
        name, own = method.pop("name"), method.pop("own", False)
        fields["method"] = OwnMethod(name) if own else build(method_config(name), method)
        return build(Distill, {**fields, "run": run})
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            f"config.json was not written by this version of jaxdistill ({reason}); go on with the one that wrote it"
        ) from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
