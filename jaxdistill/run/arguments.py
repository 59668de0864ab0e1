"""From words to frozen dataclasses, and from a parser's complaint to one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import typing
from collections.abc import Sequence
from typing import Any

import tyro

from jaxdistill.errors import UsageError
from jaxdistill.names import choose

__all__ = ["MISSING", "leading", "parse", "peek"]

MISSING: Any = tyro.MISSING
"""Default of an option that must be given."""


def parse(kind: Any, arguments: list[str], command: str, example: str, defaults: dict[str, Any] | None = None) -> Any:
    """Parse into a frozen dataclass with tyro: nested fields become plain flags, a boxed complaint one sentence.

    Args:
        kind: the dataclass.
        arguments: the words after the command.
        command: the command, for the help.
        example: shown in the help.
        defaults: values for fields, whose types may be narrower than the dataclass has them.
    """
    form, defaults = kind, defaults or {}
    if defaults:
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = [
            (name, type(value) if hints[name] is Any else hints[name], dataclasses.field(default=value))
            for name, value in defaults.items()
        ]
        form = dataclasses.make_dataclass(kind.__name__, fields, bases=(kind,), frozen=True)
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            parsed = tyro.cli(
                form,
                args=arguments,
                prog=f"jaxdistill {command}",
                description=f"{(kind.__doc__ or '').strip()} For example: jaxdistill {command} {example}",
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise UsageError(f"{_condense(complaint.getvalue())}; see 'jaxdistill {command} --help'") from None
    return kind(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(kind)})


def _condense(boxed: str) -> str:
    """The first thing that a box of tyro's says, in one line."""
    flat = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯|+]", " ", boxed).split())
    for section in re.split(r"[─-]{3,}", flat):
        said = section.strip(" ─")
        if said.startswith("Missing from"):
            return f"missing {', '.join(re.findall(r'--[a-z-]+', said)) or 'an argument'}"
        if said.startswith("Unrecognized options:"):
            return said.replace("Unrecognized options:", "unknown option")
        if said.startswith("Error parsing"):
            return re.sub(r"^Error parsing (?=[A-Z])\w+: ", "", said)
    said = [section.strip(" ─") for section in re.split(r"[─-]{3,}", flat) if section.strip(" ─")]
    return said[1] if len(said) > 1 else "unusable arguments"


def peek(arguments: list[str], flag: str) -> str | None:
    """The value of one flag, before the rest is parsed: presets follow from the data set and ipc."""
    for i, word in enumerate(arguments):
        if word == flag and i + 1 < len(arguments):
            return arguments[i + 1]
        if word.startswith(f"{flag}="):
            return word.split("=", 1)[1]
    return None


def leading(arguments: list[str], what: str, known: Sequence[str]) -> tuple[str, list[str]]:
    """The method or strategy, and the words after it."""
    if arguments and arguments[0] in ("-h", "--help"):
        arguments = [known[0], *arguments]
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(f"name the {what} first: one of {', '.join(known)}")
    return choose(arguments[0], known, what), arguments[1:]
