"""Gradient matching under differentiable siamese augmentation, DSA (Zhao & Bilen, ICML 2021, arXiv:2102.08259), eq. 4.

DC with one draw of an augmentation for the real and the synthetic images of each class, and a network that is trained
on augmented images. Differs from the code: as DC does, and in explicit keys instead of the clock.
"""

from __future__ import annotations

import dataclasses

from jaxdistill.common.renamed import former_names, renamed
from jaxdistill.methods.dc import DC, dc
from jaxdistill.types import Method, Task

__all__ = ["DSA", "dsa"]


@renamed(**former_names(DC))
@dataclasses.dataclass(frozen=True)
class DSA(DC):
    """Match the gradients of real and synthetic images that were augmented alike."""


def dsa(config: DSA, task: Task) -> Method:
    """Build DSA: DC on a task that has an augmentation.

    Args:
        config: as DC's.
        task: network, augmentation (with none, this is DC) and shapes.

    Example:
        >>> from jaxdistill.networks import make
        >>> from jaxdistill.augment import make as augmentation
        >>> task = Task(network=make("convnet", (8, 8, 1), 2, width=8), augment=augmentation("crop_flip"),
        ...             image_shape=(8, 8, 1), num_classes=2)
        >>> dsa(DSA(per_class=4), task).feed
        ClassBalanced(per_class=4)

    References:
        Zhao & Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021.
    """
    return dc(config, task)
