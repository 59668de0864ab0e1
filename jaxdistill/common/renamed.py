"""Fields that went by other names: the old ones are taken for one version more."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import typing
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["former_names", "renamed", "warn_former"]

T = TypeVar("T", bound=type)
_OURS = ("jaxdistill", "dataclasses", "jaxtyping", "beartype")
"""Where a caller is not to be looked for."""


def renamed(**names: str) -> Callable[[T], T]:
    """A dataclass that takes fields by their former names too, with a DeprecationWarning.

    Args:
        names: what each field that was renamed is called now, by its former name.
    """

    def decorate(kind: T) -> T:
        init = kind.__init__

        @functools.wraps(init)
        def __init__(self: Any, *args: Any, **given: Any) -> None:  # noqa: N807
            for old in names.keys() & given.keys():
                warn_former(old, names[old])
                given[names[old]] = given.pop(old)
            init(self, *args, **given)

        kind.__init__ = __init__
        for old, new in names.items():
            setattr(kind, old, _reader(old, new))
        kind.FORMER_NAMES = names
        return kind

    return decorate


def _reader(old: str, new: str) -> property:
    def read(self: Any) -> Any:
        warn_former(old, new)
        return getattr(self, new)

    return property(read)


def warn_former(old: str, new: str) -> None:
    """A DeprecationWarning where a caller outside of this package used a former name."""
    frame, level = inspect.currentframe(), 1
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    said = f"{old} is called {new}; the former name goes with the next version"
    warnings.warn(said, DeprecationWarning, stacklevel=level)


def former_names(form: Any) -> dict[str, str]:
    """What fields of a dataclass, and of dataclasses in it, are called now, by their former names."""
    found = dict(getattr(form, "FORMER_NAMES", {}))
    for hint in typing.get_type_hints(form).values():
        if dataclasses.is_dataclass(hint):
            found |= former_names(hint)
    return found
