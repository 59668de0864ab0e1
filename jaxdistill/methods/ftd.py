"""Flat trajectory distillation, FTD (Du et al., CVPR 2023, arXiv:2211.11004), section 3.

MTT with experts that were trained towards flat minima (``jaxdistill experts --preset ftd``), and with a moving average
of the images as the result.

Differs from the code: as MTT does; and the average is judged by fresh networks, not by ones that were first trained on
the images themselves.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jaxdistill.common.validate import check
from jaxdistill.data.trajectories import Segments
from jaxdistill.methods.mtt import MTT, check_student
from jaxdistill.methods.trajectory_matching import match_trajectories
from jaxdistill.presets.base import Cells, Preset, Published, by_cell
from jaxdistill.training.experts import expert_preset
from jaxdistill.types import Method, Task

__all__ = ["FTD", "ftd"]

_TABLE = "authors' repository"
_PAPER = {
    ("cifar10", 1): Published(46.8, 0.3, _TABLE),
    ("cifar10", 10): Published(66.6, 0.3, _TABLE),
    ("cifar10", 50): Published(73.8, 0.2, _TABLE),
    ("cifar100", 1): Published(25.2, 0.2, _TABLE),
    ("cifar100", 10): Published(43.4, 0.3, _TABLE),
    ("cifar100", 50): Published(50.7, 0.3, _TABLE),
    ("tiny_imagenet", 1): Published(10.4, 0.3, _TABLE),
    ("tiny_imagenet", 10): Published(24.5, 0.2, _TABLE),
}
# Student steps, expert epochs, bound of the start, batch, step sizes of pixels and of the step size, first step size,
# decay of the average.
_CELLS = {
    ("cifar10", 1): (50, 2, 2, None, 100.0, 1e-7, 0.01, 0.9999),
    ("cifar10", 10): (30, 2, 20, None, 100.0, 1e-5, 0.001, 0.9995),
    ("cifar10", 50): (30, 2, 40, None, 1000.0, 1e-5, 0.01, 0.999),
    ("cifar100", 1): (40, 3, 20, None, 1000.0, 1e-5, 0.01, 0.9995),
    ("cifar100", 10): (20, 2, 40, None, 1000.0, 1e-5, 0.01, 0.9995),
    ("cifar100", 50): (80, 2, 40, 1000, 1000.0, 1e-5, 0.01, 0.999),
    ("tiny_imagenet", 1): (30, 2, 10, None, 1e4, 1e-4, 0.01, 0.999),
    ("tiny_imagenet", 10): (20, 2, 40, 500, 1e4, 1e-4, 0.01, 0.999),
}
_CELLS |= {
    (f"image{subset}", ipc): (20, 2, 10, 64, 1e4, 1e-4, 0.01, 0.999)
    for subset in ("nette", "woof", "fruit", "meow", "squawk", "yellow")
    for ipc in (1, 10)
}


@dataclasses.dataclass(frozen=True)
class FTD(MTT):
    """MTT for flat experts, whose result is a moving average of the images."""

    average: float | None = 0.9995
    """Decay of the moving average of the images, which starts at the first ones and is not corrected for that; None
    takes the images."""

    CELLS: ClassVar[Cells] = {"paper": tuple(_CELLS)}

    @classmethod
    @by_cell
    def preset(cls, dataset: str, ipc: int, name: str = "paper") -> Preset:
        """The paper's table 7, and the author's for ImageNet subsets; Tiny-ImageNet's whitening is not known.

        Digits is MTT's with an average over the last tenth of its steps.
        """
        plain = MTT.preset(dataset, ipc, name)
        cell = _CELLS.get((dataset, ipc)) or _CELLS["cifar10", 1 if ipc < 5 else 10 if ipc < 30 else 50]
        config, experts = cls(*cell[:7], average=cell[7]), expert_preset("ftd", dataset, ipc)
        if dataset == "digits":
            config = cls(**vars(plain.config), average=0.98)
        return plain._replace(
            config=config,
            listed=(dataset, ipc) in cls.CELLS[name],
            published=_PAPER.get((dataset, ipc)),
            zca=experts.zca,
            statistics=experts.statistics,
            experts=experts,
        )


def ftd(config: FTD, task: Task) -> Method:
    """Build FTD: MTT with an average; the flatness is the experts'.

    Args:
        config: as MTT's, and the average; `FTD.preset` has the paper's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> from jaxdistill.networks import make
        >>> from jaxdistill.augment import make as augmentation
        >>> task = Task(make("convnet", (8, 8, 1), 2, width=8), augmentation("none"), (8, 8, 1), 2)
        >>> ftd(FTD(expert_epochs=3, max_start=5), task).feed.length
        3

    References:
        Du, Jiang, Tan, Zhou & Li, Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation, CVPR
        2023.
    """
    check_student(config)
    check(config, shares=("average",) if config.average is not None else ())
    feed = Segments(config.expert_epochs, config.max_start, count=config.segments)
    return match_trajectories(config, task, feed, average=config.average)
