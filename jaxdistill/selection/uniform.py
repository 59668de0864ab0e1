"""Random selection: the baseline that every other set must beat."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxdistill.common import draws
from jaxdistill.common.promotion import standard
from jaxdistill.selection.base import Nothing, Selection
from jaxdistill.selection.groups import group
from jaxdistill.selection.strategies import picked
from jaxdistill.types import Key

__all__ = ["RANDOM", "uniform"]


@standard
def uniform(key: Key, labels: Int[Array, " n"], ipc: int, num_classes: int) -> Int[Array, "classes ipc"]:
    """Draw `ipc` examples of each class without replacement.

    Args:
        key: of the draw.
        labels: class numbers.
        ipc: images per class.
        num_classes: how many there are.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class.
    """
    members, counts = group(None, labels, ipc, num_classes)
    scores = draws.uniform(key, members.shape)
    scores = jnp.where(jnp.arange(members.shape[1]) < counts[:, None], scores, jnp.inf)
    return jnp.take_along_axis(members, jnp.argsort(scores, axis=1)[:, :ipc], axis=1)


RANDOM = Selection("random", Nothing(), picked(uniform))
