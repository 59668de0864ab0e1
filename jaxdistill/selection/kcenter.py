"""Greedy k-center (Sener & Savarese, ICLR 2018, arXiv:1708.00489, algorithm 1), class by class.

Deviation: the first centre is the example nearest the class mean rather than a random one, so nothing is random.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.common.promotion import standard
from jaxdistill.selection.base import Features, Selection
from jaxdistill.selection.groups import group, pick_per_class
from jaxdistill.selection.strategies import picked
from jaxdistill.types import Key

__all__ = ["KCENTER", "cover", "k_center", "kcenter"]


@standard
def kcenter(
    key: Key, features: Float[Array, "n d"], labels: Int[Array, " n"], ipc: int, num_classes: int
) -> Int[Array, "classes ipc"]:
    """Pick examples that leave none of their class far from a pick.

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
    return pick_per_class(partial(k_center, ipc=ipc), jnp.asarray(features), groups)


def k_center(features: Float[Array, "size d"], valid: Bool[Array, " size"], ipc: int) -> Int[Array, " ipc"]:
    """Start nearest the mean of the valid rows, then pick the row farthest from all picks, `ipc` in all.

    Args:
        features: of one class, padded.
        valid: which rows are examples.
        ipc: images per class.
    """
    mean = jnp.where(valid[:, None], features, 0).sum(0) / valid.sum()

    def to(point: Float[Array, " d"]) -> Float[Array, " size"]:
        return ((features - point) ** 2).sum(1)

    first = jnp.argmin(jnp.where(valid, to(mean), jnp.inf))
    return cover(lambda chosen: to(features[chosen]), first, valid, ipc)


def cover(
    to: Callable[[Int[Array, ""]], Float[Array, " size"]], first: Int[Array, ""], valid: Bool[Array, " size"], ipc: int
) -> Int[Array, " ipc"]:
    """Start with one row, then pick the row farthest from all picks, `ipc` in all.

    Args:
        to: distances of all rows to one of them; nowhere negative.
        first: where to start.
        valid: which rows are examples.
        ipc: images per class.
    """

    def pick(
        carry: tuple[Float[Array, " size"], Int[Array, ""]], _: None
    ) -> tuple[tuple[Float[Array, " size"], Int[Array, ""]], Int[Array, ""]]:
        nearest, chosen = carry
        # A pick is marked by -1, below any distance, so that copies of it are taken before it is taken twice.
        nearest = jnp.minimum(nearest, to(chosen)).at[chosen].set(-1)
        return (nearest, jnp.argmax(nearest)), chosen

    start = jnp.where(valid, jnp.inf, -1).astype(to(first).dtype)
    _, chosen = jax.lax.scan(pick, (start, first), length=ipc)
    return chosen


KCENTER = Selection("kcenter", Features(), picked(kcenter), "Sener & Savarese, ICLR 2018")
