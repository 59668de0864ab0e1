"""Trajectory matching in constant memory, TESLA (Cui et al., ICML 2023, arXiv:2211.10586), algorithm 1.

MTT with an approximate gradient: each of the student's training gradients is differentiated as if its parameters did
not depend on the images of earlier steps. The paper calls that exact; what is dropped is the transport of the end's
distance back through the Hessians, so that images come out nearly right while the student's step size is small, and
the step size itself less so (`tests/test_trajectories.py` has figures). Prefer `MTT` unless the student's parameters
at each step do not fit the memory.

Differs from the code: as MTT does; and its factor of 2, which repeats a tuple there, doubles the gradient here, so that
the code's pixels move half as far at the same step size.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jaxdistill.data.trajectories import Segments
from jaxdistill.methods.mtt import MTT, check_student
from jaxdistill.methods.trajectory_matching import match_trajectories
from jaxdistill.presets.base import Cells, Preset, Published, by_cell
from jaxdistill.types import Method, Task

__all__ = ["TESLA", "tesla"]

_TABLE = "two later papers' tables"
_QUOTED = "a later paper's table"
_PAPER = {
    ("cifar10", 1): Published(48.5, 0.8, _TABLE),
    ("cifar10", 10): Published(66.4, 0.8, _TABLE),
    ("cifar10", 50): Published(72.6, 0.7, _TABLE),
    ("cifar100", 1): Published(24.8, 0.4, _TABLE),
    ("cifar100", 10): Published(41.7, 0.3, _TABLE),
    ("cifar100", 50): Published(47.9, 0.3, _TABLE),
    ("cifar100", 100): Published(49.2, 0.4, _TABLE),
    ("imagenet_resized/64x64", 1): Published(7.7, 0.2, _QUOTED),
    ("imagenet_resized/64x64", 10): Published(17.8, 1.3, _QUOTED),
    ("imagenet_resized/64x64", 50): Published(27.9, 1.2, _QUOTED),
}
_HALF = 0.5  # the code's gradient is half as long


@dataclasses.dataclass(frozen=True)
class TESLA(MTT):
    """MTT with parameters held constant between the student's steps when the gradient is taken."""

    teacher_labels: bool = False
    """Label the images anew in each step, by the expert at the segment's end: for many classes."""

    CELLS: ClassVar[Cells] = {"paper": (("cifar10", 1), ("cifar100", 50), ("imagenet_resized/64x64", 1))}

    @classmethod
    @by_cell
    def preset(cls, dataset: str, ipc: int, name: str = "paper") -> Preset:
        """The code's settings for its three cells; others follow MTT's. All have half the step size on pixels.

        CIFAR-10 at one image is whitened as its experts are; the code's command for the set does not say.
        """
        plain = MTT.preset(dataset, ipc, name)
        config, experts = cls(**vars(plain.config)), plain.experts
        cell = (dataset, ipc)
        if cell == ("cifar10", 1):
            config = cls(50, 2, 5, image_lr=1000.0, rate_lr=1e-7, rate=0.01)
        elif dataset == "imagenet_resized/64x64":
            config = cls(10, 3, 10, 100, image_lr=1e4, rate_lr=1e-4, rate=0.01, teacher_labels=True)
            experts = experts and experts._replace(count=50)
        if dataset != "digits":  # whose step size is ours
            config = dataclasses.replace(config, image_lr=config.image_lr * _HALF)
        return plain._replace(
            config=config,
            steps=plain.steps if dataset == "digits" else 10_000,
            listed=cell in cls.CELLS[name],
            published=_PAPER.get(cell),
            experts=experts,
        )


def tesla(config: TESLA, task: Task) -> Method:
    """Build TESLA: MTT whose memory does not grow with the student's steps, and whose gradient is approximate.

    Args:
        config: as MTT's, and who labels the images; `TESLA.preset` has the code's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> from jaxdistill.networks import make
        >>> from jaxdistill.augment import make as augmentation
        >>> task = Task(make("convnet", (8, 8, 1), 2, width=8), augmentation("none"), (8, 8, 1), 2)
        >>> tesla(TESLA(expert_epochs=3, max_start=5), task).feed.length
        3

    References:
        Cui, Wang, Si & Hsieh, Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023.
    """
    check_student(config)
    feed = Segments(config.expert_epochs, config.max_start, count=config.segments)
    return match_trajectories(config, task, feed, transport=False, teacher_labels=config.teacher_labels)
