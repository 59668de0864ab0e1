"""Options of a run as a caller in Python gives them: flat, under the names that the command line has."""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from jaxdistill.errors import UsageError
from jaxdistill.names import meant
from jaxdistill.run.plain import fits
from jaxdistill.run.spelling import known_name

__all__ = ["in_python", "with_options"]

P, R = ParamSpec("P"), TypeVar("R")
_FLAG = re.compile(r"(?<![\w-])--(?:no-)?([a-z][a-z0-9-]*)")


def with_options(config: Any, options: Mapping[str, Any], what: str) -> tuple[Any, frozenset[str]]:
    """A configuration with some of its fields, and of those of its parts, replaced.

    Args:
        config: a dataclass whose fields may be dataclasses; all fields of all of them have names of their own.
        options: values by name; names of networks, recipes and the like in any spelling.
        what: what the configuration is of, for messages.

    Returns:
        The configuration, and the names of what is not as it was.

    Raises:
        UsageError: for a name that no field has, or a value of another type than its field's.
    """
    names = set(_names(config))
    for name in options:
        if name not in names:
            advice = meant(name, names) or f"it has {', '.join(sorted(names))}"
            raise UsageError(f"{what} has no option '{name}'; {advice}")
    return _replaced(config, options), frozenset(name for name in options if options[name] != _value(config, name))


def in_python(f: Callable[P, R]) -> Callable[P, R]:
    """`f`, with options named in its complaints as Python has them: ``eval_seeds`` and not ``--eval-seeds``."""

    @wraps(f)
    def said(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return f(*args, **kwargs)
        except UsageError as error:
            text = _FLAG.sub(lambda flag: f"`{flag[1].replace('-', '_')}`", str(error))
            raise type(error)(text) from None

    return said


def _names(config: Any) -> list[str]:
    names = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        names += _names(value) if dataclasses.is_dataclass(value) else [field.name]
    return names


def _value(config: Any, name: str) -> Any:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            if name in _names(value):
                return _value(value, name)
        elif field.name == name:
            return value
    raise KeyError(name)


def _replaced(config: Any, options: Mapping[str, Any]) -> Any:
    hints = typing.get_type_hints(type(config))
    changes = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = _replaced(value, options)
        elif field.name in options:
            changes[field.name] = _of(field.name, options[field.name], hints[field.name])
    return dataclasses.replace(config, **changes)


def _of(name: str, value: Any, hint: Any) -> Any:
    """A value as its field has it."""
    if isinstance(value, str):
        value = known_name(name, value)
    if isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
        value = Path(value)
    if isinstance(value, list):
        value = tuple(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:  # a number of NumPy or JAX
        value = value.item()
    if not fits(value, hint):
        wanted = getattr(hint, "__name__", str(hint)) if not typing.get_args(hint) else str(hint).replace("typing.", "")
        raise UsageError(f"`{name}` is of type {wanted}, not {value!r:.60}")
    return value
