"""From words to frozen dataclasses, and from a parser's complaint to one sentence."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from jaxdistill.commands.run_folder import stored_config
from jaxdistill.common.names import canonical, choose, meant
from jaxdistill.errors import UsageError
from jaxdistill.settings.as_json import from_json
from jaxdistill.settings.config import RunConfig

__all__ = ["MISSING", "flagged", "hinted", "leading", "options", "parse", "peek", "refuse_empty", "stored"]

MISSING: Any = tyro.MISSING
"""Default of an option that must be given."""
LARGEST = 2**31 - 1
WANTED = {
    r"invalid literal for int\(\) with base \d+: '?(.*?)'?": "a whole number",
    r"could not convert string to float: '?(.*?)'?": "a number",
    r"no type matching .*INT.* could be instantiated from \[ ?'(.*?)' ?\].*": "a whole number",
    r"no type matching .*FLOAT.* could be instantiated from \[ ?'(.*?)' ?\].*": "a number",
    r"Could not find valid parse for arguments: \['?(.*?)'? ?\]": "one or more whole numbers",
    r"(Exceeds the limit) .*": "a smaller number",
}
"""How the parser says what a word is not, and what it should have been."""
_NO_OPTION = (tyro.conf.Suppress, tyro.conf.Positional, Any, typing.ClassVar)


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
    names = [name for name, _ in options(form)]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two fields of {command} are called {twice}, which is one option; rename that of the method")
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
        raise UsageError(f"{_condense(complaint.getvalue()).rstrip('. ')}; see 'jaxdistill {command} --help'") from None
    _check_numbers(parsed)
    return kind(**{field.name: getattr(parsed, field.name) for field in dataclasses.fields(kind)})


def _check_numbers(config: Any) -> None:
    """Refuse what no option takes, whatever else it asks for; seeds have a rule of their own."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        flag = f"--{field.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            _check_numbers(value)
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and math.isnan(number):
                raise UsageError(f"{flag} is a number, not {number}")
            if isinstance(number, int) and abs(number) > LARGEST and not field.name.endswith("seed"):
                raise UsageError(f"{flag} is a number of at most {LARGEST}, not {number:.3g}")


def options(form: Any) -> list[tuple[str, Any]]:
    """Name and type of each field that is an option of a form, those of its parts among them."""
    found = []
    for name, hint in typing.get_type_hints(form, include_extras=True).items():
        if dataclasses.is_dataclass(hint):
            found += options(hint)
        elif not any(mark in _NO_OPTION for mark in (hint, typing.get_origin(hint), *_marks(hint))):
            found.append((name, hint))
    return found


def _marks(hint: Any) -> tuple[Any, ...]:
    return getattr(hint, "__metadata__", ())


def flagged(said: str, *forms: Any) -> str:
    """What the core says of fields, which it writes `` `field_name` ``, in the words of the command line.

    Args:
        said: the sentence.
        forms: whose fields are options; other words stay as they are.
    """
    known = {name for form in forms for name, _ in options(form)}
    return re.sub(r"`(\w+)`", lambda word: f"--{word[1].replace('_', '-')}" if word[1] in known else word[0], said)


def hinted(said: str, *forms: Any, others: Mapping[str, Sequence[Any]]) -> str:
    """A complaint of an unknown option with whose it is, or one that may be meant, and without the words after it.

    Args:
        said: the sentence.
        forms: whose fields are options.
        others: the forms of other commands.
    """
    found = re.match(r"unknown option (--[\w-]+)[^;]*(;.*)", said)
    if found is None:
        return said
    own = [command for command, of in others.items() if found[1] in _flags(of)]
    if own:
        return f"unknown option {found[1]}; it is one of {', '.join(own[:-1]) + ' and ' if own[1:] else ''}{own[-1]}"
    advice = meant(found[1], _flags(forms))
    return f"unknown option {found[1]}{f'; {advice}' if advice else found[2]}"


def _flags(forms: Sequence[Any]) -> list[str]:
    return [f"--{name.replace('_', '-')}" for form in forms for name, _ in options(form)]


def _condense(boxed: str) -> str:
    """The first thing that a box of tyro's says, in one line."""
    flat = " ".join(re.sub(r"\x1b\[[0-9;]*m|[│╭╮╰╯|+]", " ", boxed).split())
    for section in re.split(r"[─-]{3,}", flat):
        said = section.strip(" ─")
        if said.startswith("Missing from"):
            return f"missing {', '.join(re.findall(r'--[a-z-]+(?= [A-Z{])', said)) or 'an argument'}"
        if said.startswith("Unrecognized options:"):
            return said.replace("Unrecognized options:", "unknown option")
        if said.startswith("Error parsing"):
            said = re.sub(r"^Error parsing ", "", said)
            for saying, wanted in WANTED.items():
                if found := re.fullmatch(rf"(--[\w-]+): {saying}", said):
                    return f"{found[1]} is {wanted}, not '{found[2]:.40}'"
            return re.sub(r"^[\w.]+: ", "", said).rstrip(".")
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


def refuse_empty(arguments: Sequence[str]) -> None:
    """Raise a UsageError for the first word that is empty, as an unset variable of a shell is."""
    for before, word in zip(("", *arguments), arguments, strict=False):
        if not word or re.fullmatch(r"--[\w-]+=", word):
            what = word[:-1] or (before if before.startswith("--") else "an argument")
            raise UsageError(f"{what} is empty; give it a value, or leave it out")


def leading(
    arguments: list[str], what: str, known: Sequence[str], other: Mapping[str, Sequence[str]]
) -> tuple[str, list[str]]:
    """The method or strategy, and the words after it.

    Args:
        arguments: the words of the command.
        what: what comes first.
        known: its names.
        other: what other commands take first, by command.
    """
    if not arguments or arguments[0].startswith("-"):
        raise UsageError(f"name the {what} first: one of {', '.join(known)}")
    for command, names in other.items():
        if canonical(arguments[0], names) in names and canonical(arguments[0], known) not in known:
            raise UsageError(f"{arguments[0]} is no {what}; run 'jaxdistill {command} {arguments[0]}'")
    return choose(arguments[0], known, what), arguments[1:]


def stored(arguments: list[str], matches: Callable[[Any], bool]) -> dict[str, Any] | None:
    """The fields of the run that is resumed, as defaults: what is not given again is taken from there."""
    out = peek(arguments, "--out")
    if out is None and "--resume" in arguments:
        raise UsageError("--resume goes on with the run in --out; give that too")
    resumed = Path(out) if out is not None and "--resume" in arguments else None
    plain, sets = None if resumed is None else stored_config(resumed), 1
    if resumed is not None and plain is None:  # several sets have a folder each
        plain, sets = stored_config(resumed / "01"), max(1, sum(1 for _ in resumed.glob("[0-9][0-9]")))
    if plain is None:
        if "--resume" in arguments and peek(arguments, "--dataset") is None:
            raise UsageError(f"there is no run in {out} to resume; give all arguments, or another --out")
        return None
    found = from_json(plain, RunConfig(MISSING, sets=sets))
    if not matches(found):
        raise UsageError(f"{out} is a run of another command; resume it with that one, or choose another --out")
    return vars(found)
