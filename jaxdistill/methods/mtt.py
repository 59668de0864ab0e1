"""Matching training trajectories, MTT (Cazenavette et al., CVPR 2022, arXiv:2203.11932), algorithm 1.

Differs from the code: the step size cannot become negative (`raw_rate` is the code's form); experts are drawn anew each
step, not file by file; the rest of a pass over the set that does not fill a batch is filled from the next one, not a
small batch. Textures on a larger canvas are left out.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jaxdistill.common.validate import check
from jaxdistill.data.trajectories import Segments
from jaxdistill.methods.trajectory_matching import match_trajectories
from jaxdistill.presets.base import Cells, Preset, Published, by_cell
from jaxdistill.training.experts import expert_preset
from jaxdistill.types import Method, Task

__all__ = ["MTT", "check_student", "mtt"]

_TABLE = "three later papers' tables"
_QUOTED = "a later paper's table"
_PAPER = {
    ("cifar10", 1): Published(46.2, 0.8, _TABLE),
    ("cifar10", 10): Published(65.4, 0.7, _TABLE),
    ("cifar10", 50): Published(71.6, 0.2, _TABLE),
    ("cifar100", 1): Published(24.3, 0.3, _TABLE),
    ("cifar100", 10): Published(39.7, 0.4, _TABLE),
    ("cifar100", 50): Published(47.7, 0.2, _TABLE),
    ("tiny_imagenet", 1): Published(8.8, 0.3, _TABLE),
    ("tiny_imagenet", 10): Published(23.2, 0.2, _TABLE),
    ("tiny_imagenet", 50): Published(28.0, 0.3, _TABLE),
    ("imagenette", 1): Published(47.7, 0.9, _QUOTED),
    ("imagenette", 10): Published(63.0, 1.3, _QUOTED),
    ("imagewoof", 1): Published(28.6, 0.8, _QUOTED),
    ("imagewoof", 10): Published(35.8, 1.8, _QUOTED),
    ("imagefruit", 10): Published(40.3, 1.3, _QUOTED),
    ("imagemeow", 10): Published(40.4, 2.2, _QUOTED),
    ("imagesquawk", 10): Published(52.3, 1.0, _QUOTED),
    ("imageyellow", 10): Published(60.0, 1.5, _QUOTED),
}
# Student steps, expert epochs, bound of the start, batch, step sizes of pixels and of the step size, first step size.
_CELLS = {
    ("cifar10", 1): (50, 2, 2, None, 100.0, 1e-7, 0.01),
    ("cifar10", 10): (30, 2, 20, None, 100.0, 1e-5, 0.001),
    ("cifar10", 50): (30, 2, 40, None, 1000.0, 1e-5, 0.001),
    ("cifar100", 1): (20, 3, 20, None, 1000.0, 1e-5, 0.01),
    ("cifar100", 10): (20, 2, 20, None, 1000.0, 1e-5, 0.01),
    ("cifar100", 50): (80, 2, 40, 125, 1000.0, 1e-5, 0.01),
    ("tiny_imagenet", 1): (10, 2, 10, None, 1e4, 1e-4, 0.01),
    ("tiny_imagenet", 10): (20, 2, 40, 200, 1e4, 1e-4, 0.01),
    ("tiny_imagenet", 50): (20, 2, 40, 300, 1e4, 1e-4, 0.01),
}
_CELLS |= {
    (f"image{subset}", ipc): (20, 2, 10, batch, 1e5, 1e-6, 0.01)
    for subset in ("nette", "woof", "fruit", "meow", "squawk", "yellow")
    for ipc, batch in ((1, None), (10, 20))
}


@dataclasses.dataclass(frozen=True)
class MTT:
    """Train a student on the set from where an expert stood, and move the set so that it ends where the expert did."""

    student_steps: int = 30
    """Steps of the student on the set in each step of the set (N)."""
    expert_epochs: int = 2
    """Epochs of the expert that the student's steps stand for (M)."""
    max_start: int = 20
    """The student starts after fewer epochs of the expert than this (T)."""
    batch: int | None = None
    """Images in a step of the student; None takes all of the set."""
    image_lr: float = 100.0
    """Step size on pixels; the loss is relative, so that its gradients are small."""
    rate_lr: float = 1e-5
    """Step size on the student's step size."""
    rate: float = 0.01
    """Step size of the student, to begin with; a set to start from that has learned one brings its own."""
    momentum: float = 0.5
    """Momentum of the SGD on pixels and on the student's step size."""
    raw_rate: bool = False
    """Let the student's step size become negative, as in the code. By default a step that would take it to zero or
    below ends at a millionth of the first step size; all others are the code's."""
    skip_above: float | None = None
    """Leave everything as it is after a step whose loss is above this; None never does."""
    segments: int = 1
    """Pieces of experts' trajectories in a step, whose gradients are averaged; several devices take them side by
    side."""
    PRESETS: ClassVar[tuple[str, ...]] = ("paper",)
    CELLS: ClassVar[Cells] = {"paper": tuple(_CELLS)}

    @classmethod
    @by_cell
    def preset(cls, dataset: str, ipc: int, name: str = "paper") -> Preset:
        """The code's settings; other cells take those of CIFAR-10 with as many images. Digits is ours.

        The step size on pixels of CIFAR-10 at ten images is that of republished commands, of ImageNet's subsets the
        author's in the repository's issues.
        """
        cell = _CELLS.get((dataset, ipc)) or _CELLS["cifar10", 1 if ipc < 5 else 10 if ipc < 30 else 50]
        config, experts = cls(*cell), expert_preset("mtt", dataset, ipc)
        if dataset == "digits":
            config = cls(10, 2, 10, image_lr=300.0, rate_lr=1e-3, rate=0.06)
        return Preset(
            config=config,
            steps=300 if dataset == "digits" else 5_000,
            init="real",
            protocol="mtt1000",
            listed=(dataset, ipc) in cls.CELLS[name],
            published=_PAPER.get((dataset, ipc)),
            zca=experts.zca,
            statistics=experts.statistics,
            experts=experts,
            best_on_test=True,
        )


def check_student(config: MTT) -> None:
    """Look through the fields that the whole family has.

    Raises:
        UsageError: for the first one that is not what it should be.
    """
    positive = ("image_lr", "rate_lr", "rate")
    check(
        config,
        positive=(*positive, "skip_above") if config.skip_above is not None else positive,
        momenta=("momentum",),
        counts=(
            "student_steps",
            "expert_epochs",
            "max_start",
            "segments",
            *(("batch",) if config.batch is not None else ()),
        ),
    )


def mtt(config: MTT, task: Task) -> Method:
    """Build MTT: the gradient goes through all of the student's steps, exactly, keeping its parameters at each.

    Args:
        config: how the student is trained and the set learns; `MTT.preset` has the code's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> from jaxdistill.networks import make
        >>> from jaxdistill.augment import make as augmentation
        >>> task = Task(make("convnet", (8, 8, 1), 2, width=8), augmentation("none"), (8, 8, 1), 2)
        >>> mtt(MTT(expert_epochs=2, max_start=5), task).feed.length
        2

    References:
        Cazenavette, Wang, Torralba, Efros & Zhu, Dataset Distillation by Matching Training Trajectories, CVPR 2022.
    """
    check_student(config)
    return match_trajectories(config, task, Segments(config.expert_epochs, config.max_start, count=config.segments))
