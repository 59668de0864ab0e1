"""Presets by a method's name; of a method without a file here, its own defaults."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from jaxdistill.common.names import base, canonical
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import dsa_recipe
from jaxdistill.methods import METHODS, method_config
from jaxdistill.presets.base import Paper, Preset

__all__ = ["cells", "find", "for_networks", "reading_of", "readings", "unpublished"]


def find(method: type | str, dataset: str, ipc: int, reading: str | None = None) -> Preset:
    """A method's settings for a cell: those that were published, or what is taken where none were.

    Args:
        method: its configuration's class, or its name.
        dataset: in any spelling (``CIFAR10``, ``cifar-10``).
        ipc: images per class.
        reading: one of `readings`; by default the first.

    Raises:
        UsageError: for a reading that there is not.

    Example:
        >>> find("dm", "cifar10", 10).published
        Published(mean=48.9, std=0.6, source="two later papers' tables agree")
    """
    name, reading, dataset = _name(method), reading_of(method, reading), base(dataset)
    paper = _paper(name)
    if paper is None or reading is None:
        return unpublished(method_config(name)(), dataset)
    return paper.settings(dataset, ipc, reading)._replace(
        listed=ipc in paper.cells[reading].get(dataset, ()),
        published=paper.published.get(reading, {}).get(dataset, {}).get(ipc),
    )


def for_networks(method: type | str, preset: Preset, network: str, judge: str) -> Preset:
    """A method's preset with what its paper has for some networks.

    Args:
        method: its configuration's class, or its name.
        preset: from `find`.
        network: the one that distils, with ``-bn`` after its name where it normalises batches.
        judge: likewise the one that judges.

    Example:
        >>> for_networks("dc", find("dc", "cifar10", 1), "mlp", "mlp").config.image_lr
        0.01
    """
    paper = _paper(_name(method))
    return preset if paper is None or paper.by_networks is None else paper.by_networks(preset, network, judge)


def unpublished(config: Any, dataset: str) -> Preset:
    """What stands for the preset of a method of which nothing was published."""
    return Preset(config, steps=None, init="real", protocol=dsa_recipe(dataset))


def readings(method: type | str) -> tuple[str, ...]:
    """The names of a method's presets, the usual one first: readings of its paper that differ. Often there is one."""
    return tuple(cells(method))


def cells(method: type | str) -> dict[str, list[tuple[str, int]]]:
    """The cells (data set, images per class) of each reading whose settings or numbers were published."""
    paper = _paper(_name(method))
    return {
        reading: [(dataset, ipc) for dataset, sizes in found.items() for ipc in sizes]
        for reading, found in ({} if paper is None else paper.cells).items()
    }


def reading_of(method: type | str, reading: str | None) -> str | None:
    """The one of a method's `readings` that is meant, the first by default; None where there are none.

    Raises:
        UsageError: for one that there is not.
    """
    known = readings(method)
    if reading is None:
        return next(iter(known), None)
    if not known:
        raise UsageError(f"{_name(method)} has no `preset`; leave it out")
    found = canonical(reading, known)
    if found not in known:
        raise UsageError(f"unknown preset '{found}' of {_name(method)}; choose one of {', '.join(known)}")
    return found


def _name(method: type | str) -> str:
    return METHODS[method_config(method) if isinstance(method, str) else method].__name__


@cache
def _paper(name: str) -> Paper | None:
    where = f"{__package__}.{name}"
    return None if find_spec(where) is None else getattr(import_module(where), "PAPER", None)
