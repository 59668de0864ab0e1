"""Names of networks, recipes, starts and kernels, as they are known here, from any spelling of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from pathlib import Path

from jaxdistill.common import names
from jaxdistill.data.imagenet import SUBSETS
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.kernels import KERNELS
from jaxdistill.networks import NETWORKS, POOLS
from jaxdistill.settings.starts import STARTS

__all__ = ["known_name"]


def known_name(field: str, value: str) -> str:
    """A value of an option that takes names, as the name is known here.

    Raises:
        UsageError: for a name that is unknown, but near one that is not.
    """
    flag = f"--{field.replace('_', '-')}"
    return LOOKED_UP[flag](value) if flag in LOOKED_UP else value


def _one_of(known: Collection[str], what: str) -> Callable[[str], str]:
    def find(name: str) -> str:
        found = names.canonical(name, known)
        if found not in known and (hint := names.meant(name, known)):
            raise UsageError(f"unknown {what} '{name}'; {hint}")
        return found

    return find


def _start(name: str) -> str:
    return name if Path(name).expanduser().exists() or os.sep in name else _one_of(STARTS, "start")(name)


def _networks(value: str) -> str:
    return ",".join(_network(name.strip()) for name in value.split(","))


_network = _one_of([*NETWORKS, *(f"{name}-bn" for name in NETWORKS), *POOLS], "network")


def _classes(value: str) -> str:
    return _one_of(SUBSETS, "list of classes")(names.dataset(value))


LOOKED_UP: dict[str, Callable[[str], str]] = {
    "--network": _networks,
    "--eval-network": _networks,
    "--protocol": _one_of(PROTOCOLS, "protocol"),
    "--init": _start,
    "--classes": _classes,
    "--kernel": lambda name: names.canonical(name, KERNELS),
}
"""What looks a value up, for each option that takes names."""
