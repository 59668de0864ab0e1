"""Gradient matching under differentiable siamese augmentation, DSA (Zhao & Bilen, ICML 2021, arXiv:2102.08259), eq. 4.

DC with one draw of an augmentation for the real and the synthetic images of each class, and a network that is trained
on augmented images. Differs from the code: as DC does, and in explicit keys instead of the clock.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar

from jaxdistill.evaluation import dsa_recipe
from jaxdistill.methods.dc import DC, dc
from jaxdistill.presets.base import Cells, Preset, Published, by_cell
from jaxdistill.types import Method, Task

__all__ = ["DSA", "dsa"]

_TABLE = "authors' repository; deviations from a later paper's table"
_LATER = "a later paper's table"
_LARGEST = 100  # beyond, numbers are of other authors, whose loops are not known
_PAPER = {
    ("mnist", 1): Published(88.7, 0.6, _TABLE),
    ("mnist", 10): Published(97.8, 0.1, _TABLE),
    ("mnist", 50): Published(99.2, 0.1, _TABLE),
    ("fashion_mnist", 1): Published(70.6, 0.6, _TABLE),
    ("fashion_mnist", 10): Published(84.6, 0.3, _TABLE),
    ("fashion_mnist", 50): Published(88.7, 0.2, _TABLE),
    ("svhn_cropped", 1): Published(27.5, 1.4, _TABLE),
    ("svhn_cropped", 10): Published(79.2, 0.5, _TABLE),
    ("svhn_cropped", 50): Published(84.4, 0.4, _TABLE),
    ("cifar10", 1): Published(28.8, 0.7, _TABLE),
    ("cifar10", 10): Published(52.1, 0.5, _TABLE),
    ("cifar10", 50): Published(60.6, 0.5, _TABLE),
    ("cifar10", 100): Published(66.7, None, "the author, in the repository's issue 2"),
    ("cifar10", 500): Published(73.6, 0.3, _LATER),
    ("cifar10", 1000): Published(78.7, 0.3, _LATER),
    ("cifar100", 1): Published(13.9, 0.3, _TABLE),
    ("cifar100", 10): Published(32.3, 0.3, _TABLE),
    ("cifar100", 50): Published(42.8, 0.4, _LATER),
}


@dataclasses.dataclass(frozen=True)
class DSA(DC):
    """Match the gradients of real and synthetic images that were augmented alike."""

    CELLS: ClassVar[Cells] = {"paper": tuple(cell for cell in _PAPER if cell[1] <= _LARGEST)}

    @classmethod
    @by_cell
    def preset(cls, dataset: str, ipc: int, name: str = "paper") -> Preset:
        """DC's loops, a start from real images, the data set's augmentation and an augmented evaluation."""
        plain = super().preset(dataset, ipc, name)
        return plain._replace(
            init="real",
            augment="default",
            protocol=dsa_recipe(dataset),
            listed=(dataset, ipc) in cls.CELLS[name],
            published=_PAPER.get((dataset, ipc)),
        )


def dsa(config: DSA, task: Task) -> Method:
    """Build DSA: DC on a task that has an augmentation.

    Args:
        config: as DC's.
        task: network, augmentation (with none, this is DC) and shapes.

    Example:
        >>> from jaxdistill.networks import make
        >>> from jaxdistill.augment import make as augmentation
        >>> task = Task(make("convnet", (8, 8, 1), 2, width=8), augmentation("crop_flip"), (8, 8, 1), 2)
        >>> dsa(DSA(per_class=4), task).feed
        ClassBalanced(per_class=4)

    References:
        Zhao & Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021.
    """
    return dc(config, task)
