"""Difficulty-aligned trajectory matching, DATM (Guo et al., ICLR 2024, arXiv:2310.05773), section 3.

MTT with starts out of a range of the experts' epochs that fits the size of the set and may grow, labels that are
learned as logits, and images to begin with that experts classify correctly. Experts are FTD's, trained for longer
(``jaxdistill experts --preset datm``).

Differs from the code: as MTT does; and labels of a start whose images have hard ones begin at a probability of 0.9.
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

__all__ = ["DATM", "datm"]

_TABLE = "authors' repository"
_PAPER = {
    ("cifar10", 1): Published(46.9, 0.5, _TABLE),
    ("cifar10", 10): Published(66.8, 0.2, _TABLE),
    ("cifar10", 50): Published(76.1, 0.3, _TABLE),
    ("cifar10", 500): Published(83.5, 0.2, _TABLE),
    ("cifar10", 1000): Published(85.5, 0.4, _TABLE),
    ("cifar100", 1): Published(27.9, 0.2, _TABLE),
    ("cifar100", 10): Published(47.2, 0.4, _TABLE),
    ("cifar100", 50): Published(55.0, 0.2, _TABLE),
    ("cifar100", 100): Published(57.5, 0.2, _TABLE),
    ("tiny_imagenet", 1): Published(17.1, 0.3, _TABLE),
    ("tiny_imagenet", 10): Published(31.1, 0.3, _TABLE),
    ("tiny_imagenet", 50): Published(39.7, 0.3, _TABLE),
}
# Student steps, expert epochs, first start, first and last bound of the start, steps in which it grows, batch, step
# sizes of pixels, of the step size and of labels.
_CELLS = {
    ("cifar10", 1): (80, 2, 0, 4, 4, 0, 10, 100.0, 1e-7, 5.0),
    ("cifar10", 10): (80, 2, 0, 10, 20, 1000, 100, 100.0, 1e-5, 2.0),
    ("cifar10", 50): (80, 2, 0, 20, 40, 2000, 500, 1000.0, 1e-5, 2.0),
    ("cifar10", 500): (40, 2, 40, 60, 60, 0, 1000, 50.0, 1e-5, 10.0),
    ("cifar10", 1000): (100, 2, 40, 60, 60, 0, 1000, 50.0, 1e-5, 10.0),
    ("cifar100", 1): (40, 3, 0, 10, 20, 1000, None, 1000.0, 1e-5, 10.0),
    ("cifar100", 10): (80, 2, 0, 30, 50, 2000, 1000, 1000.0, 1e-5, 10.0),
    ("cifar100", 50): (80, 2, 20, 70, 70, 0, 1000, 1000.0, 1e-5, 10.0),
    ("cifar100", 100): (80, 2, 30, 70, 70, 0, 1000, 50.0, 1e-5, 10.0),
    ("tiny_imagenet", 1): (40, 2, 0, 15, 20, 2000, None, 1e4, 1e-4, 10.0),
    ("tiny_imagenet", 10): (40, 2, 10, 50, 50, 0, 500, 100.0, 1e-4, 10.0),
    ("tiny_imagenet", 50): (20, 2, 40, 70, 70, 0, 1000, 100.0, 1e-4, 10.0),
}


@dataclasses.dataclass(frozen=True)
class DATM(MTT):
    """MTT with starts of a difficulty that fits the size of the set, and learned soft labels."""

    max_start: int = 40
    """The student starts after fewer epochs of the expert than this in the last steps (T+)."""
    skip_above: float | None = 1.0
    """Leave everything as it is after a step whose loss is above this: the student ended farther than it began."""
    min_start: int = 0
    """The student starts after at least so many epochs of the expert (T-)."""
    first_bound: int = 20
    """The student starts after fewer epochs of the expert than this in the first step (T)."""
    grow_steps: int = 2000
    """Steps in which --first-bound grows to --max-start; with 0 it is that at once."""
    label_lr: float = 2.0
    """Step size on label logits."""
    label_momentum: float = 0.9
    """Momentum of the SGD on label logits."""

    CELLS: ClassVar[Cells] = {"paper": tuple(_CELLS)}

    @classmethod
    @by_cell
    def preset(cls, dataset: str, ipc: int, name: str = "paper") -> Preset:
        """The released configurations; other cells take CIFAR-10's with as many images. Digits is ours."""
        nearest = min((1, 10, 50, 500, 1000), key=lambda known: abs(known - ipc))
        cell = _CELLS.get((dataset, ipc)) or _CELLS["cifar10", nearest]
        steps, epochs, low, begin, end, grow, batch, image_lr, rate_lr, label_lr = cell
        config = cls(
            steps, epochs, end, batch, image_lr, rate_lr, skip_above=1.1 if (dataset, ipc) == ("cifar10", 1) else 1.0,
            min_start=low, first_bound=begin, grow_steps=grow, label_lr=label_lr,
        )  # fmt: skip
        if dataset == "digits":
            config = cls(
                10, 2, 16, image_lr=300.0, rate_lr=1e-3, rate=0.06, first_bound=8, grow_steps=150, label_lr=2.0
            )
        experts = expert_preset("datm", dataset, ipc)
        return Preset(
            config=config,
            steps=300 if dataset == "digits" else 10_000,
            init="labelled" if (dataset, ipc) == ("cifar100", 50) else "correct",
            protocol="datm1000",
            listed=(dataset, ipc) in cls.CELLS[name],
            published=_PAPER.get((dataset, ipc)),
            zca=experts.zca,
            statistics=experts.statistics,
            experts=experts,
            best_on_test=True,
        )


def datm(config: DATM, task: Task) -> Method:
    """Build DATM: MTT whose feed draws starts of the wanted difficulty, and whose labels are learned too.

    Args:
        config: as MTT's, with the range of starts and the labels; `DATM.preset` has the code's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> from jaxdistill.networks import make
        >>> from jaxdistill.augment import make as augmentation
        >>> task = Task(make("convnet", (8, 8, 1), 2, width=8), augmentation("none"), (8, 8, 1), 2)
        >>> datm(DATM(min_start=5, max_start=9, grow_steps=0), task).feed.bound(0).item()
        9

    References:
        Guo et al., Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, ICLR 2024.
    """
    check_student(config)
    check(
        config,
        positive=("label_lr",),
        momenta=("label_momentum",),
        counts=("first_bound",) if config.grow_steps else (),
        not_negative=("min_start", "grow_steps"),
    )
    feed = Segments(
        config.expert_epochs, config.max_start, config.min_start, config.first_bound, config.grow_steps, config.segments
    )
    return match_trajectories(config, task, feed, label_lr=config.label_lr, label_momentum=config.label_momentum)
