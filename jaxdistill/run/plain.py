"""Configurations as plain dictionaries, and back: what config.json holds."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

from jaxdistill.errors import UsageError
from jaxdistill.methods import METHODS, method_config
from jaxdistill.run.config import Distill, OwnMethod, RunConfig, Select

__all__ = ["build", "fits", "from_json", "name_of", "to_json"]


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
        plain["method"] = {"name": name_of(config), **plain["method"]}
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
        fields["method"] = build(method_config(method.pop("name")), method)
        return build(Distill, {**fields, "run": run})
    except (KeyError, TypeError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            f"config.json was not written by this version of jaxdistill ({reason}); go on with the one that wrote it"
        ) from None


def build(kind: Any, plain: dict[str, Any]) -> Any:
    """A dataclass of plain fields, dataclasses, paths and tuples among them.

    Raises:
        TypeError: for fields that it does not have, or values of another type.
    """
    if not isinstance(plain, dict):
        raise TypeError(f"{plain!s:.40} is not an object")
    hints = typing.get_type_hints(kind)
    fields = {name: _of(hints.get(name), value) for name, value in plain.items()}
    for name, value in fields.items():
        if name in hints and not fits(value, hints[name]):
            raise TypeError(f"{name} is {value!s:.40}")
    return kind(**fields)


def _of(hint: Any, value: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return build(hint, value)
    if isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
        return Path(value)
    return _tuples(value)


def fits(value: Any, hint: Any) -> bool:
    """Whether a value is of a field's type; whole numbers are also floats.

    Args:
        value: what is given.
        hint: the type as `typing.get_type_hints` has it.
    """
    parts = typing.get_args(hint)
    if hint is Any:
        return True
    if typing.get_origin(hint) is typing.Literal:
        return value in parts
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(fits(part, parts[0]) for part in value)
    if parts:  # one of several
        return any(fits(value, part) for part in parts)
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return isinstance(value, hint)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
