"""The papers' experts, whose trajectories MTT and its family match."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxdistill.errors import UsageError
from jaxdistill.training.experts import ExpertRecipe

__all__ = ["EXPERTS", "IMAGENET_SUBSETS", "ExpertPreset", "expert_preset"]


class ExpertPreset(NamedTuple):
    """A paper's experts."""

    recipe: ExpertRecipe
    network: Mapping[str, Any] = MappingProxyType({})
    """Fields of `jaxdistill.settings.config.NetworkConfig` where it is not the plain ConvNet."""
    epochs: int = 50
    count: int = 100
    zca: bool = False
    """Whether the images are whitened."""
    statistics: str = "default"
    """What channels are normalised by: a name for `jaxdistill.data.preprocess.constants`."""


IMAGENET_SUBSETS = tuple(f"image{subset}" for subset in ("nette", "woof", "fruit", "meow", "squawk", "yellow"))
"""Of ImageNet, those that MTT and FTD distil."""
_FLAT = ExpertRecipe(rho=0.01, alpha=0.3)
EXPERTS: dict[str, ExpertPreset] = {
    "mtt": ExpertPreset(ExpertRecipe()),
    "ftd": ExpertPreset(_FLAT),
    "datm": ExpertPreset(_FLAT, epochs=100),
    "selmatch": ExpertPreset(ExpertRecipe(augment="none"), {"norm": "batch"}, epochs=100),
}
"""MTT's and TESLA's; FTD's; DATM's; those of SelMatch's code. What depends on the cell is in `expert_preset`."""
_Cells = dict[str, dict[str, tuple[int, ...] | None]]  # preset -> data set -> images per class, None for any number
_WHITENED: _Cells = {
    "mtt": {"cifar10": (1, 10), "cifar100": (1, 50)},
    "ftd": {"cifar10": None, "cifar100": None},
    "datm": {"cifar10": None, "cifar100": None, "tiny_imagenet": None},
}
_FLATTER: _Cells = {  # alpha 1
    "ftd": {"cifar10": (50,), "cifar100": None, "tiny_imagenet": None, **dict.fromkeys(IMAGENET_SUBSETS)}
}
_STATISTICS = {  # MTT's code normalises CIFAR-100 as CIFAR-10, and SelMatch's took that over
    ("mtt", "cifar100"): "cifar10",
    ("selmatch", "cifar100"): "cifar10",
    ("selmatch", "tiny_imagenet"): "tiny_imagenet-selmatch",
}


def expert_preset(name: str, dataset: str, ipc: int | None = None) -> ExpertPreset:
    """A paper's experts for a cell of its table.

    FTD's alpha is 1, but 0.3 for CIFAR-10 at one and ten images per class; and MTT whitens some cells of a data set and
    not others. Digits is ours: its epochs of 1,442 images would be 6 steps, so that batches are smaller and the step
    size is larger.

    Args:
        name: whose.
        dataset: its name.
        ipc: images per class of the set that is to be distilled; without it what goes for most cells, MTT's unwhitened.

    Raises:
        UsageError: if there is no such preset.
    """
    if name not in EXPERTS:
        raise UsageError(f"unknown preset '{name}' of experts; choose one of {', '.join(EXPERTS)}")
    preset = EXPERTS[name]
    recipe = preset.recipe
    if dataset == "digits":
        recipe = dataclasses.replace(recipe, batch=64, learning_rate=0.03)
    if _among(_FLATTER, name, dataset, ipc):
        recipe = dataclasses.replace(recipe, alpha=1.0)
    return preset._replace(
        recipe=recipe,
        zca=_among(_WHITENED, name, dataset, ipc),
        statistics=_STATISTICS.get((name, dataset), "default"),
    )


def _among(cells: _Cells, name: str, dataset: str, ipc: int | None) -> bool:
    sizes = cells.get(name, {}).get(dataset, ())
    return sizes is None or ipc in sizes
