"""Names among the words of a command, as they are known here, before anything is loaded or computed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from jaxdistill.cli.parsing import options, peek
from jaxdistill.common import names
from jaxdistill.common.renamed import former_names
from jaxdistill.data.prepared import check_dataset
from jaxdistill.settings.spelling import LOOKED_UP

__all__ = ["evaluation_spelled", "newly_named", "spelled"]


def spelled(arguments: list[str]) -> list[str]:
    """The words with names as they are known here in place of other spellings, and with ``~`` expanded.

    Raises:
        UsageError: for a name that is unknown, but near one that is not.
    """
    found, flag = [], ""
    for word in arguments:
        name, equals, value = word.partition("=")
        if word.startswith("--") and equals:
            found.append(f"{name}={_known(name, value, arguments)}")
        else:
            found.append(word if word.startswith("-") else _known(flag, word, arguments))
        flag = word
    return found


def evaluation_spelled(arguments: list[str], *forms: type) -> list[str]:
    """The words with options of the evaluation as this command calls them: ``--eval-seeds``, or in `evaluate`, which
    has no others, ``--seeds``.

    Args:
        arguments: the words after the command.
        forms: whose fields are its options; what one of them is called keeps its name.
    """
    known = {name for form in forms for name in (*dict(options(form)), *former_names(form))}
    found = []
    for word in arguments:
        flag, equals, value = word.partition("=")
        field = flag.removeprefix("--").replace("-", "_")
        other = field.removeprefix("eval_") if field.startswith("eval_") else f"eval_{field}"
        ours = flag.startswith("--") and field not in known and other in known
        found.append(f"--{other.replace('_', '-')}{equals}{value}" if ours else word)
    return found


def newly_named(arguments: list[str], tell: Callable[[str], None], *forms: type) -> list[str]:
    """The words with options by their present names in place of former ones, which are taken for one version.

    Args:
        arguments: the words after the command.
        tell: told what an option is called now.
        forms: whose fields are its options.
    """
    former = {old: new for form in forms for old, new in former_names(form).items()}
    for old in {name for form in forms for name, _ in options(form)} & former.keys():
        del former[old]  # the name of another option now
    found = []
    for word in arguments:
        flag, equals, value = word.partition("=")
        field = flag.removeprefix("--").replace("-", "_")
        new = former.get(field) if flag.startswith("--") else None
        if new is not None:
            name = f"--{new.replace('_', '-')}"
            tell(f"note: {flag} is called {name}; the former name goes with the next version")
            word = f"{name}{equals}{value}"
        found.append(word)
    return found


def _known(flag: str, value: str, arguments: list[str]) -> str:
    flag, value = flag.replace("_", "-"), os.path.expanduser(value)  # which a shell leaves alone after a =
    if flag == "--dataset":
        return _dataset(value, arguments)
    return LOOKED_UP[flag](value) if flag in LOOKED_UP else value


def _dataset(value: str, arguments: list[str]) -> str:
    if Path(value).expanduser().exists() or value.endswith(".npz"):
        return value
    check_dataset(value, peek(arguments, "--data-dir"))
    return names.dataset(value)
