"""A whole split through a function, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxdistill.data.feeds import RealData
from jaxdistill.training.gradients import each_image
from jaxdistill.types import PyTree

__all__ = ["BATCH", "each_batch"]

BATCH = 500


def each_batch(f: Callable[..., PyTree], data: RealData, size: int = BATCH, *, whole: bool = False) -> PyTree:
    """``f(images, labels)``, whose leaves have a leading axis of images, for every image of a split in its order.

    Pure, and a scan: the memory is that of a batch and of the results. Not for differentiation (`each_image`).

    Args:
        f: treats each image on its own; batch normalisation in training does not.
        data: the split.
        size: images at a time, preprocessed for `f`; the last batch is filled up with repeats that are dropped.
        whole: give `f` a whole batch on a CPU, too, because it sees to its memory itself.
    """
    total = data.count
    size = min(size, total)

    def of_batch(start: Int[Array, ""]) -> PyTree:
        batch = data.read(jnp.minimum(start + jnp.arange(size), total - 1))
        return f(*batch) if whole else each_image(f, batch.images, batch.labels)

    found = jax.lax.map(of_batch, jnp.arange(-(-total // size)) * size)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:total], found)
