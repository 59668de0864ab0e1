"""From selected examples to a set that methods start from and evaluations read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.data.feeds import RealData
from jaxdistill.types import Key, SyntheticSet

__all__ = ["Rows", "Strategy", "picked", "real_set"]

Rows: TypeAlias = Float[Array, "n d"]
Strategy: TypeAlias = Callable[..., SyntheticSet]
"""``strategy(key, data, ipc, inputs)`` gives a set of `ipc` images per class; without `inputs` where nothing is needed.
Raises UsageError if `ipc` is below 1 or, where it is real images that are picked, above the size of a class."""


def picked(select: Callable[..., Int[Array, "classes ipc"]]) -> Strategy:
    """The strategy that takes the real images which ``select(key, inputs, labels, ipc, num_classes)`` names; their
    order does not matter. Without inputs in what it is given, `select` is given none."""

    def strategy(key: Key, data: RealData, ipc: int, *inputs: Any) -> SyntheticSet:
        return real_set(data, select(key, *inputs, jnp.asarray(data.labels), ipc, len(data.counts)))

    return strategy


def real_set(data: RealData, indices: Int[Array, "classes ipc"]) -> SyntheticSet:
    """The set of these real images, marked as selected ones."""
    indices = jnp.asarray(indices).reshape(-1)
    found = jax.tree.map(jnp.asarray, data.take(indices))  # of a split on the host, too
    return dataclasses.replace(found, selected=jnp.ones(found.count, bool), indices=indices)
