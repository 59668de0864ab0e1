"""What a paper ran and reported for one cell of its table (data set, images per class)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from jaxdistill.diffusion import Architecture
from jaxdistill.presets.experts import ExpertPreset

__all__ = ["Cell", "Paper", "Preset", "Published"]

Cell: TypeAlias = tuple[str, int]
"""A data set, and images per class."""


class Published(NamedTuple):
    """A test accuracy in percent, as printed, and where."""

    mean: float
    std: float | None
    source: str


class Preset(NamedTuple):
    """A method's settings for one cell."""

    config: Any
    steps: int | None
    """None where nothing says how many."""
    init: str
    """The selection that the set starts from (`jaxdistill.selection.SELECTIONS`)."""
    protocol: str
    """How the paper evaluates (`jaxdistill.evaluation.PROTOCOLS`)."""
    listed: bool = False
    """Whether a setting or a number of this very cell was published, and this is that setting; False for a fallback to
    the nearest settings. From the paper's cells."""
    augment: str = "default"
    """Augmentation while distilling: ``"default"`` is the data set's DSA strategy, ``"none"`` is none."""
    published: Published | None = None
    """None where no number exists or none could be verified. From the paper's numbers."""
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


class Paper(NamedTuple):
    """What was published of a method: ``PAPER`` of the file that is called as the method is.

    A reading is one of several that one paper allows where they differ (the table's and the released code's, say).
    """

    cells: Mapping[str, tuple[Cell, ...]]
    """Reading, the usual one first -> the cells whose settings or numbers were published; their presets are `listed`,
    and no others."""
    settings: Callable[[str, int, str], Preset]
    """From a data set, images per class and a reading: what was set there, or for the nearest cell."""
    published: Mapping[str, Mapping[Cell, Published]] = MappingProxyType({})
    """Reading -> cell -> the number that was printed."""
