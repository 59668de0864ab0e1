"""Options of a run as a caller in Python gives them: flat, under the names that the command line has."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Collection, Mapping
from functools import cache, wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from jaxdistill.common.names import meant
from jaxdistill.common.renamed import former_names, warn_former
from jaxdistill.data.digest import Digests
from jaxdistill.errors import RunFailedError, UsageError
from jaxdistill.io.records import fits
from jaxdistill.settings.spelling import known_name

__all__ = ["PLACES", "in_python", "replaced", "typed", "with_options"]

P = ParamSpec("P")
R = TypeVar("R")
_FLAG = re.compile(r"(?<![\w-])--(?:no-)?([a-z][a-z0-9-]*)")
_COMMAND = re.compile(r"'jaxdistill (\w+)[^']*'")
FUNCTIONS = {
    "experts": "jaxdistill.train_experts",
    "distill": "jaxdistill.distill",
    "select": "jaxdistill.select",
    "evaluate": "jaxdistill.evaluate",
}
"""What does in Python what each command does."""
_REST = inspect.Parameter.VAR_KEYWORD
_ARGUMENTS = {"dataset": "data", "out": "save"}
ELSEWHERE = {
    "out": "the result stays in memory until its `save(folder)`",
    "resume": "open the run with jaxdistill.open, and go on with its `more`",
    "quiet": "with `progress=False` it is silent",
    "sets": "call it once for each `seed`, and give all the runs to jaxdistill.evaluate",
    "dataset": "give the data as `data`",
    **dict.fromkeys(("classes", "phase", "size"), "give it to jaxdistill.load"),
}
"""What does in Python what options do that only the command line has."""
PLACES = frozenset(
    {"dataset", "data_dir", "out", "resume", "quiet", "checkpoint_seconds", "tensorboard", "wandb", "distributed",
     "classes", "phase", "size", "sets", "experts", "digest", "generator", "generator_digest",
     "json", "longer", "name", "strategy", "teacher"}
    | {field.name for field in dataclasses.fields(Digests)}
)  # fmt: skip
"""Fields that say where something lies or is written, or which data they are: arguments of their own in Python, if
anything."""


def with_options(
    config: Any, options: Mapping[str, Any], what: str, *, apart: Collection[str] = ()
) -> tuple[Any, frozenset[str]]:
    """A configuration with some of its fields, and of those of its parts, replaced.

    Args:
        config: a dataclass whose fields may be dataclasses; all fields of all of them have names of their own.
        options: values by name; names of networks, recipes and the like in any spelling.
        what: what the configuration is of, for messages.
        apart: fields that are no options, beside those that say where something lies, which is the caller's matter.

    Returns:
        The configuration, and the names of what is not as it was.

    Raises:
        UsageError: for a name that no field has, or a value of another type than its field's.
    """
    names = set(_names(config)) - {*apart} - PLACES
    former = former_names(type(config)) | former_names(type(getattr(config, "method", None)))
    for old in (options.keys() & former.keys()) - names:
        warn_former(old, former[old])
    options = {former.get(name, name) if name not in names else name: value for name, value in options.items()}
    for name in options:
        if name not in names:
            parts = [known for known in sorted(names) if name in known.split("_")]
            advice = ELSEWHERE.get(name) or (f"did you mean {' or '.join(parts)}?" if parts else "")
            advice = advice or meant(name, {*names, *apart})
            advice = advice or f"it has {', '.join(sorted(names))}"
            raise UsageError(f"{what} has no option '{name}'; {advice}")
    return replaced(config, options), frozenset(name for name in options if options[name] != _value(config, name))


def typed(name: str, value: Any, hint: Any) -> Any:
    """A value as an option of a type has it: paths of texts, texts of lists of names, numbers of arrays' numbers.

    Args:
        name: the option's.
        value: what was given.
        hint: the type.

    Raises:
        UsageError: for a value of another type.
    """
    texts = str in (hint, *typing.get_args(hint))
    if texts and isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        value = ",".join(value)
    if isinstance(value, str):
        value = known_name(name, value)
    if isinstance(value, str) and Path in (hint, *typing.get_args(hint)):
        value = Path(value)
    if isinstance(value, list):
        value = tuple(value)
    number = getattr(value, "item", None)
    if number is not None and getattr(value, "ndim", None) == 0:  # a number of NumPy or JAX
        value = number()
    if not fits(value, hint):
        raise UsageError(f"`{name}` is {_wanted(hint)}, not {' '.join(repr(value).split()):.60}")
    return value


def in_python(f: Callable[P, R]) -> Callable[P, R]:
    """`f` as a caller in Python meets it: arguments of another type than they are annotated with are told in a
    sentence, and its complaints name options as Python has them, ``eval_seeds`` and not ``--eval-seeds``.

    Types are looked at where they are plain: generic ones (mappings, sequences) are the function's own matter.
    """
    signature = inspect.signature(f)

    @cache
    def plain() -> dict[str, Any]:
        hints = {name: hint for name, hint in typing.get_type_hints(f).items() if name in signature.parameters}
        named = {name: hint for name, hint in hints.items() if signature.parameters[name].kind is not _REST}
        return {name: hint for name, hint in named.items() if _is_plain(hint)}

    @wraps(f)
    def said(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            try:
                bound = signature.bind(*args, **kwargs)
            except TypeError as error:
                takes = ", ".join(name for name in signature.parameters if name != "self")
                raise TypeError(f"{f.__qualname__}: {error}; it takes {takes}") from None
            for name, hint in plain().items():
                if name in bound.arguments:
                    bound.arguments[name] = typed(name, bound.arguments[name], hint)
            return f(*bound.args, **bound.kwargs)
        except (UsageError, RunFailedError) as error:
            text = _COMMAND.sub(lambda words: FUNCTIONS.get(words[1], words[0]), str(error))
            text = _FLAG.sub(lambda flag: f"`{_ARGUMENTS.get(flag[1], flag[1].replace('-', '_'))}`", text)
            raise type(error)(text) from None

    return said


def _is_plain(hint: Any) -> bool:
    parts = typing.get_args(hint) or (hint,)
    return all(isinstance(part, type) and typing.get_origin(part) is None for part in parts)


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


def replaced(config: Any, options: Mapping[str, Any]) -> Any:
    """A configuration with the fields that have these names, and of its parts, replaced; see `with_options`."""
    hints = typing.get_type_hints(type(config))
    changes = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            changes[field.name] = replaced(value, options)
        elif field.name in options:
            changes[field.name] = typed(field.name, options[field.name], hints[field.name])
    return dataclasses.replace(config, **changes)


def _wanted(hint: Any) -> str:
    """A type in words."""
    words = {int: "a whole number", float: "a number", str: "a text", bool: "True or False", type(None): "None"}
    if typing.get_origin(hint) is typing.Literal:
        return f"one of {', '.join(map(repr, typing.get_args(hint)))}"
    if typing.get_origin(hint) is tuple:
        return f"a sequence, each {_wanted(typing.get_args(hint)[0])}"
    if parts := typing.get_args(hint):
        return " or ".join(_wanted(part) for part in parts)
    return words.get(hint, f"a {getattr(hint, '__name__', hint)}")
