"""What a paper ran and reported for one cell of its table (data set, images per class)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from jaxdistill.common.names import base, choose
from jaxdistill.diffusion import Architecture
from jaxdistill.training.experts import ExpertPreset

__all__ = ["Cells", "Preset", "Published", "by_cell"]

Cells: TypeAlias = Mapping[str, tuple[tuple[str, int], ...]]
"""The cells (data set, images per class) of each reading whose settings or numbers were published: a configuration's
``CELLS``. Their presets, and no others, are `listed`."""


class Published(NamedTuple):
    """A test accuracy in percent, as printed, and where."""

    mean: float
    std: float | None
    source: str


class Preset(NamedTuple):
    """A method's settings for one cell, from its configuration's ``preset(dataset, ipc, name)``.

    ``name`` is one of the configuration's ``PRESETS``, its first by default: readings of one paper that differ (the
    table's and the released code's, say).
    """

    config: Any
    steps: int
    init: str
    """The selection that the set starts from (`jaxdistill.selection.SELECTIONS`)."""
    protocol: str
    """How the paper evaluates (`jaxdistill.evaluation.PROTOCOLS`)."""
    listed: bool
    """Whether a setting or a number of this very cell was published, and this is that setting; False for a fallback to
    the nearest settings."""
    augment: str = "default"
    """Augmentation while distilling: ``"default"`` is the data set's DSA strategy, ``"none"`` is none."""
    published: Published | None = None
    """None where no number exists or none could be verified."""
    zca: bool = False
    """Whether the images are whitened."""
    statistics: str = "default"
    """What channels are normalised by: a name for `jaxdistill.data.preprocess.constants`."""
    beta: float = 0.0
    """Share of the hardest images of each class that a start by difficulty leaves out."""
    eval_network: str | None = None
    """The network that the paper evaluates on, where it is not the one that distils."""
    network: Mapping[str, Any] = MappingProxyType({})
    """The paper's network where it is not the plain ConvNet: fields of `jaxdistill.settings.config.NetworkConfig`."""
    experts: ExpertPreset | None = None
    """The paper's experts, of a method that matches trajectories."""
    generator: Architecture | None = None
    """The generator that the paper fine-tunes; None where it is trained from the start, or there is none."""
    best_on_test: bool = False
    """Whether numbers are published of the set that did best on the test images, out of many looks at them during a
    run; here one set is judged, once."""


def by_cell(preset: Callable[..., Preset]) -> Callable[..., Preset]:
    """A configuration's ``preset(dataset, ipc, name)`` for names in any spelling (``CIFAR10``, ``cifar-10``).

    Raises:
        UsageError: for a reading that there is not.
    """

    @wraps(preset)
    def found(cls: Any, dataset: str, ipc: int, name: str | None = None) -> Preset:
        reading = cls.PRESETS[0] if name is None else choose(name, cls.PRESETS, f"preset of {cls.__name__}")
        return preset(cls, base(dataset), ipc, reading)

    return found
