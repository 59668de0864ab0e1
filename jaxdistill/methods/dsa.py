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
        >>> import jax
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = dsa(DSA(real_batch=8, image_lr=0.01), toy_task(augment="crop_flip"))
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Zhao & Bilen, Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021.
    """
    return dc(config, task)
