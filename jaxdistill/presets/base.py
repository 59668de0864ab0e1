"""What a paper ran and reported for one cell of its table (data set, images per class)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from jaxdistill.diffusion import Architecture
from jaxdistill.presets.experts import ExpertPreset

__all__ = ["Paper", "Preset", "Published", "printed"]


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
    beta: float | None = None
    """Share of the hardest images of each class that a start by difficulty leaves out; None where none was set."""
    eval_network: str | None = None
    """The network that the paper evaluates on, where it is not the one that distils."""
    eval_size: int | None = None
    """Side that the paper brings images to before networks are trained on them; None where it is that of the data."""
    network: Mapping[str, Any] = MappingProxyType({})
    """The paper's network where it is not the plain ConvNet: fields of `jaxdistill.settings.config.NetworkConfig`."""
    experts: ExpertPreset | None = None
    """The paper's experts, of a method that matches trajectories."""
    generator: Architecture | None = None
    """The generator that the paper fine-tunes; None where it is trained from the start, or there is none."""
    best_on_test: bool = False
    """Whether numbers are published of the set that did best on the test images, out of many looks at them during a
    run; here one set is judged, once."""
    note: str = ""
    """What a run is told of its settings beside whether they are published."""


class Paper(NamedTuple):
    """What was published of a method: ``PAPER`` of the file that is called as the method is.

    A reading is one of several that one paper allows where they differ (the table's and the released code's, say).
    """

    cells: Mapping[str, Mapping[str, Collection[int]]]
    """Reading, the usual one first -> data set -> images per class, of the cells whose settings or numbers were
    published; their presets are `listed`, and no others."""
    settings: Callable[[str, int, str], Preset]
    """From a data set, images per class and a reading: what was set there, or for the nearest cell."""
    published: Mapping[str, Mapping[str, Mapping[int, Published]]] = MappingProxyType({})
    """Reading -> data set -> images per class -> the number that was printed."""
    by_networks: Callable[[Preset, str, str], Preset] | None = None
    """From a preset and the networks that distil and that judge, with ``-bn`` after the name of one that normalises
    batches: what was set for these; None where settings are the same for all."""


def printed(
    tables: Mapping[str, Mapping[str, Mapping[int, float | tuple[float, float]]]],
) -> dict[str, dict[int, Published]]:
    """Numbers by data set and images per class.

    Args:
        tables: where they were printed -> data set -> images per class -> the mean, and the deviation if there is one.
    """
    found: dict[str, dict[int, Published]] = {}
    for source, table in tables.items():
        for dataset, numbers in table.items():
            for ipc, number in numbers.items():
                mean, std = number if isinstance(number, tuple) else (number, None)
                found.setdefault(dataset, {})[ipc] = Published(mean, std, source)
    return found
