"""Dataclasses from plain dictionaries, as JSON holds them, their types checked."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

__all__ = ["build", "fits"]


def build(kind: Any, plain: dict[str, Any]) -> Any:
    """A dataclass of plain fields, dataclasses, paths and tuples among them.

    Raises:
        TypeError: for fields that it does not have, or values of another type.
    """
    if not isinstance(plain, dict):
        raise TypeError(f"{plain!s:.40} is not an object")
    hints, former = typing.get_type_hints(kind), getattr(kind, "FORMER_NAMES", {})  # what is stored is nobody's fault
    fields = {name: _of(hints.get(name), value) for name, value in ((former.get(n, n), v) for n, v in plain.items())}
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


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
