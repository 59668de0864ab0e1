"""Examples grouped by class and padded to one size, so that one compiled loop serves every class."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.errors import UsageError
from jaxdistill.types import PyTree

__all__ = ["Groups", "check_ipc", "group", "pick_per_class"]


class Groups(NamedTuple):
    """Which examples belong to which class."""

    members: Int[Array, "classes size"]
    """Indices of each class's examples in their order, then padding (any valid index)."""
    counts: Int[Array, " classes"]
    """Members of each class."""


def check_ipc(ipc: int) -> None:
    """Raise a UsageError unless at least one image per class is wanted."""
    if ipc < 1:
        raise UsageError(f"`ipc` is the number of images per class and must be at least 1, not {ipc}")


def group(features: Float[Array, "rows d"] | None, labels: Int[Array, " n"], ipc: int, num_classes: int) -> Groups:
    """Group examples by class. Runs on the host, because the padded size depends on the labels.

    Args:
        features: what the examples will be picked by, if anything; only its length is looked at.
        labels: the class of each example, in any order.
        ipc: how many examples of each class will be picked.
        num_classes: number of classes.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, or features and labels differ in length.
    """
    check_ipc(ipc)
    if features is not None and len(features) != len(labels):
        raise UsageError(
            f"there are {len(features)} rows of features for {len(labels)} images; give one row for each image"
        )
    classes = np.asarray(labels)
    counts = np.bincount(classes, minlength=num_classes)
    smallest = int(counts.argmin())
    if counts[smallest] < ipc:
        raise UsageError(
            f"class {smallest} has {counts[smallest]} images, too few to select {ipc}; "
            f"lower `ipc` to {counts[smallest]}"
        )
    order = np.argsort(classes, kind="stable")
    slots = np.cumsum(counts)[:, None] - counts[:, None] + np.arange(counts.max())
    return Groups(jnp.asarray(order[np.minimum(slots, len(order) - 1)]), jnp.asarray(counts))


def pick_per_class(
    pick: Callable[[PyTree, Bool[Array, " size"]], Int[Array, " ipc"]], features: PyTree, groups: Groups
) -> Int[Array, "classes ipc"]:
    """Indices of what `pick` takes from each class, one class at a time to bound the memory.

    ``pick(features, valid)`` sees the rows of one class, padding included, and returns positions among them.

    Args:
        pick: positions among the rows of one class.
        features: of all examples; arrays with a row for each.
        groups: which rows belong to each class.
    """

    def pick_one(one: Groups) -> Int[Array, " ipc"]:
        valid = jnp.arange(one.members.shape[0]) < one.counts
        return one.members[pick(jax.tree.map(lambda rows: rows[one.members], features), valid)]

    return jax.lax.map(pick_one, groups)
