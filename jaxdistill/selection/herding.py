"""Herding (Welling, ICML 2009), in the form of iCaRL (Rebuffi et al., CVPR 2017, arXiv:1611.07725, algorithm 4)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.common.promotion import standard
from jaxdistill.selection.base import Features, Selection
from jaxdistill.selection.groups import group, pick_per_class
from jaxdistill.selection.strategies import picked
from jaxdistill.types import Key

__all__ = ["HERDING", "herd", "herding"]


@standard
def herding(
    key: Key, features: Float[Array, "n d"], labels: Int[Array, " n"], ipc: int, num_classes: int
) -> Int[Array, "classes ipc"]:
    """Pick examples whose running mean stays closest to the mean of their class; the first pick is the best one.

    Deterministic: `key` is there for the common signature only.

    Args:
        key: not used.
        features: what distances are measured in.
        labels: class numbers.
        ipc: images per class.
        num_classes: how many there are.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, or features and labels differ in length.
    """
    del key
    groups = group(features, labels, ipc, num_classes)
    return pick_per_class(partial(herd, ipc=ipc), jnp.asarray(features), groups)


def herd(features: Float[Array, "size d"], valid: Bool[Array, " size"], ipc: int) -> Int[Array, " ipc"]:
    """Herding in one class.

    With s the sum of the picks so far and mu the mean of the valid rows, pick number j minimises ``|j mu - s - x|``
    over the rows x not yet picked.

    Args:
        features: of one class, padded.
        valid: which rows are examples.
        ipc: images per class.
    """
    mean = jnp.where(valid[:, None], features, 0).sum(0) / valid.sum()
    # Relative to the mean the target is 0: the norm is that of the sum with x added, and no digits cancel as j grows.
    centred = features - mean
    squares = (centred**2).sum(1)

    def pick(
        carry: tuple[Float[Array, " d"], Bool[Array, " size"]], _: None
    ) -> tuple[tuple[Float[Array, " d"], Bool[Array, " size"]], Int[Array, ""]]:
        total, free = carry
        distances = squares + 2 * jnp.matmul(centred, total, precision="highest")
        chosen = jnp.argmin(jnp.where(free, distances, jnp.inf))
        return (total + centred[chosen], free.at[chosen].set(False)), chosen

    _, chosen = jax.lax.scan(pick, (jnp.zeros_like(mean), valid), length=ipc)
    return chosen


HERDING = Selection("herding", Features(), picked(herding), "Welling, ICML 2009")
