"""Selection and trajectory matching, SelMatch (Lee & Chung, ICML 2024, arXiv:2406.18561), section 4.

MTT of which only a share of the images moves: the set starts as a window of real images, neither the hardest nor the
easiest of their class (``--init cscore --beta 0.3``); its harder part is kept as it is and its easier part is learned.
Experts have batch normalisation and no augmentation (``jaxdistill experts --preset selmatch``).

Differs from the code: as MTT does; and the window starts at a share of the class, as in the paper, not at a share of
the images per class (``--window-start ipc_fraction``); crops of Tiny-ImageNet's selected images go up to an eighth of
the side, as for CIFAR, not 4 pixels.
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

__all__ = ["SelMatch", "selmatch"]

_QUOTED = "a later paper's table"
_PAPER = {
    ("cifar10", 250): Published(82.8, 0.2, _QUOTED),
    ("cifar10", 500): Published(85.9, 0.2, _QUOTED),
    ("cifar10", 1000): Published(90.4, 0.2, _QUOTED),
    ("cifar10", 1500): Published(91.3, 0.2, _QUOTED),
    ("cifar100", 25): Published(50.9, 0.3, _QUOTED),
    ("cifar100", 50): Published(54.5, 0.6, _QUOTED),
    ("cifar100", 100): Published(62.4, 0.5, _QUOTED),
    ("cifar100", 150): Published(67.4, 0.2, _QUOTED),
    ("tiny_imagenet", 50): Published(44.7, 0.2, _QUOTED),
    ("tiny_imagenet", 100): Published(50.4, 0.2, _QUOTED),
}
_CELLS = {  # share that is learned, share of the hardest that is left out, epochs of the evaluation
    ("cifar10", 250): (0.6, 0.5, 1000),
    ("cifar10", 500): (0.2, 0.3, 500),
    ("cifar10", 1000): (0.1, 0.2, 250),
    ("cifar10", 1500): (0.1, 0.2, 167),
    ("cifar100", 25): (0.8, 0.8, 1000),
    ("cifar100", 50): (0.6, 0.7, 500),
    ("cifar100", 100): (0.3, 0.6, 250),
    ("cifar100", 150): (0.2, 0.4, 167),
    ("tiny_imagenet", 50): (0.6, 0.8, 500),
    ("tiny_imagenet", 100): (0.5, 0.7, 250),
}


@dataclasses.dataclass(frozen=True)
class SelMatch(MTT):
    """MTT that learns some images of each class and keeps the others, real ones, as they are."""

    alpha: float = 0.5
    """Share of the images of each class that is learned: the last ones of the start, rounded down, at least one."""

    CELLS: ClassVar[Cells] = {"paper": tuple(_CELLS)}

    @classmethod
    @by_cell
    def preset(cls, dataset: str, ipc: int, name: str = "paper") -> Preset:
        """The paper's settings; other cells take those of the nearest size. Digits is ours.

        C-scores, which the paper takes from their authors (``--scores``), are otherwise our stand-in for them.
        """
        cells = {size: cell for (data, size), cell in _CELLS.items() if data == dataset}
        cells = cells or {size: cell for (data, size), cell in _CELLS.items() if data == "cifar10"}
        alpha, beta, epochs = cells[min(cells, key=lambda size: abs(size - ipc))]
        large = (dataset, ipc) in {("cifar10", 1000), ("cifar10", 1500)}
        config = cls(
            20 if dataset == "tiny_imagenet" else 55, 2, 80, 125, 1e4 if large else 1e3, 1e-5, 0.001, alpha=alpha
        )
        steps, protocol, network, eval_network = 10_000, f"selmatch{epochs}", {"norm": "batch"}, "resnet18-bn"
        if dataset == "tiny_imagenet":
            eval_network = "resnet18-s2-bn"  # the code's for 64 pixels
        if dataset == "digits":
            config = cls(10, 2, 16, 50, 300.0, 1e-3, 0.06, alpha=0.4)
            steps, protocol, network, eval_network, beta = 300, "mtt1000", {}, None, 0.5
        experts = expert_preset("selmatch", dataset, ipc)
        return Preset(
            config=config,
            steps=steps,
            init="forgetting" if dataset in ("tiny_imagenet", "digits") else "cscore",
            protocol=protocol,
            listed=(dataset, ipc) in cls.CELLS[name],
            published=_PAPER.get((dataset, ipc)),
            beta=beta,
            network=network,
            eval_network=eval_network,
            statistics=experts.statistics,
            experts=experts,
            best_on_test=True,
        )


def selmatch(config: SelMatch, task: Task) -> Method:
    """Build SelMatch: MTT on the last images of each class, all of which the student is trained on.

    Args:
        config: as MTT's, and the share that is learned; `SelMatch.preset` has the paper's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> from jaxdistill.networks import make
        >>> from jaxdistill.augment import make as augmentation
        >>> task = Task(make("convnet", (8, 8, 1), 2, width=8), augmentation("none"), (8, 8, 1), 2)
        >>> selmatch(SelMatch(alpha=0.2, max_start=5), task).feed.length
        2

    References:
        Lee & Chung, SelMatch: Effectively Scaling Up Dataset Distillation via Selection-Based Initialization and
        Partial Updates by Trajectory Matching, ICML 2024.
    """
    check_student(config)
    check(config, positive=("alpha",), shares=("alpha",))

    feed = Segments(config.expert_epochs, config.max_start, count=config.segments)
    return match_trajectories(config, task, feed, learned_share=config.alpha)
