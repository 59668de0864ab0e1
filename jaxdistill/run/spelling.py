"""Names among the words of a command, as they are known here, before anything is loaded or computed."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from jaxdistill import names
from jaxdistill.data.prepared import check_dataset
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.kernels import KERNELS
from jaxdistill.networks import NETWORKS
from jaxdistill.run.arguments import options, peek
from jaxdistill.selection import SELECTIONS

__all__ = ["evaluation_spelled", "known_name", "spelled"]


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
    known = {name for form in forms for name, _ in options(form)}
    found = []
    for word in arguments:
        flag, equals, value = word.partition("=")
        field = flag.removeprefix("--").replace("-", "_")
        other = field.removeprefix("eval_") if field.startswith("eval_") else f"eval_{field}"
        ours = flag.startswith("--") and field not in known and other in known
        found.append(f"--{other.replace('_', '-')}{equals}{value}" if ours else word)
    return found


def known_name(field: str, value: str) -> str:
    """A value of an option that takes names, as the name is known here.

    Raises:
        UsageError: for a name that is unknown, but near one that is not.
    """
    flag = f"--{field.replace('_', '-')}"
    return LOOKED_UP[flag](value) if flag in LOOKED_UP else value


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


def _one_of(known: Collection[str], what: str) -> Callable[[str], str]:
    def find(name: str) -> str:
        found = names.canonical(name, known)
        if found not in known and (hint := names.meant(name, known)):
            raise UsageError(f"unknown {what} '{name}'; {hint}")
        return found

    return find


def _start(name: str) -> str:
    known = ("real", *SELECTIONS)
    return name if Path(name).expanduser().exists() or os.sep in name else _one_of(known, "start")(name)


def _networks(value: str) -> str:
    return ",".join(_network(name.strip()) for name in value.split(","))


_network = _one_of([*NETWORKS, *(f"{name}-bn" for name in NETWORKS)], "network")
LOOKED_UP: dict[str, Callable[[str], str]] = {
    "--network": _networks,
    "--eval-network": _networks,
    "--protocol": _one_of(PROTOCOLS, "protocol"),
    "--init": _start,
    "--kernel": lambda name: names.canonical(name, KERNELS),
}
"""What looks a value up, for each option that takes names."""
