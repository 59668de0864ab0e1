"""Minimax Diffusion's two terms and their memories (Gu et al., CVPR 2024, arXiv:2311.15529, eq. 4 and 6)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

__all__ = ["Memory", "diversity", "empty_memory", "mean_of", "push", "representativeness"]

_TINY = 1e-12


class Memory(NamedTuple):
    """The last images of each class, first in, first out."""

    rows: Float[Array, "classes size d"]
    """Flattened; those not yet written are zero."""
    written: Int[Array, " classes"]
    """How many of a class were ever put in; the next goes to this number modulo the size."""

    @property
    def held(self) -> Bool[Array, "classes size"]:
        """Which rows hold an image."""
        return jnp.arange(self.rows.shape[1]) < self.written[:, None]


def empty_memory(classes: int, size: int, d: int) -> Memory:
    """An empty memory.

    Args:
        classes: how many there are.
        size: rows that are remembered of each.
        d: numbers in a row.
    """
    return Memory(jnp.zeros((classes, size, d)), jnp.zeros(classes, jnp.int32))


def push(memory: Memory, rows: Float[Array, "b d"], labels: Int[Array, " b"]) -> Memory:
    """Put a batch in, in its order; where a class has more than there is room for, its last ones stay.

    Args:
        memory: as it is.
        rows: flattened images.
        labels: their classes.
    """
    classes, size = memory.rows.shape[:2]
    mine = jax.nn.one_hot(labels, classes, dtype=jnp.int32)
    counts = jnp.sum(mine, axis=0, dtype=jnp.int32)
    rank = jnp.sum(jnp.cumsum(mine, axis=0) * mine, axis=1) - 1
    stays = rank >= counts[labels] - size
    # A row of a class that does not exist is dropped, so that no two are written to one place.
    target = (jnp.where(stays, labels, classes), (memory.written[labels] + rank) % max(size, 1))
    return Memory(memory.rows.at[target].set(rows, mode="drop"), memory.written + counts)


def mean_of(memory: Memory) -> Float[Array, " d"]:
    """The mean of all rows that are held; zero where none is."""
    held = memory.held[..., None]
    return jnp.sum(jnp.where(held, memory.rows, 0.0), axis=(0, 1)) / jnp.maximum(jnp.sum(held), 1)


def representativeness(
    predicted: Float[Array, "b d"], labels: Int[Array, " b"], memory: Memory, centre: Float[Array, " d"] | float = 0.0
) -> Float[Array, ""]:
    """One less the cosine of the least similar pair of prediction and remembered real image, over the batch's classes.

    A class that has nothing in the memory counts as 0 in the mean. Only one pair of each class has a gradient.

    Args:
        predicted: flattened images that the model sees in noisy ones.
        labels: their classes.
        memory: real images; constant.
        centre: what is subtracted from all before they are compared.
    """
    cosines, mine = _cosines(predicted, labels, memory, centre)
    worst = jnp.min(jnp.where(mine, cosines, jnp.inf), axis=1)
    classes = _of_classes(labels, memory)
    least = jnp.min(jnp.where(classes, worst, jnp.inf), axis=1)
    return _mean_over(1 - least, classes, memory)


def diversity(
    predicted: Float[Array, "b d"], labels: Int[Array, " b"], memory: Memory, centre: Float[Array, " d"] | float = 0.0
) -> Float[Array, ""]:
    """The cosine of the most similar pair of prediction and remembered prediction, over the batch's classes.

    Args:
        predicted: flattened images that the model sees in noisy ones.
        labels: their classes.
        memory: earlier predictions; constant.
        centre: what is subtracted from all before they are compared.
    """
    cosines, mine = _cosines(predicted, labels, memory, centre)
    closest = jnp.max(jnp.where(mine, cosines, -jnp.inf), axis=1)
    classes = _of_classes(labels, memory)
    most = jnp.max(jnp.where(classes, closest, -jnp.inf), axis=1)
    return _mean_over(most, classes, memory)


def _cosines(
    predicted: Float[Array, "b d"], labels: Int[Array, " b"], memory: Memory, centre: Float[Array, " d"] | float
) -> tuple[Float[Array, "b rows"], Bool[Array, "b rows"]]:
    """Of each prediction with all rows of all classes, and which of them are held and of its class."""
    classes, size, d = memory.rows.shape
    rows = _unit(jax.lax.stop_gradient(memory.rows.reshape(-1, d) - centre))
    mine = memory.held[None] & (labels[:, None] == jnp.arange(classes))[:, :, None]
    cosines = jnp.matmul(_unit(predicted - centre), rows.T, precision="highest")
    return cosines, mine.reshape(-1, classes * size)


def _unit(rows: Float[Array, "n d"]) -> Float[Array, "n d"]:
    return rows * jax.lax.rsqrt(jnp.sum(rows**2, axis=1, keepdims=True) + _TINY)


def _of_classes(labels: Int[Array, " b"], memory: Memory) -> Bool[Array, "classes b"]:
    return jnp.arange(memory.rows.shape[0])[:, None] == labels


def _mean_over(terms: Float[Array, " classes"], classes: Bool[Array, "classes b"], memory: Memory) -> Float[Array, ""]:
    """Over the classes in the batch; those without a memory have no term."""
    there = jnp.any(classes, axis=1)
    return jnp.sum(jnp.where(there & (memory.written > 0), terms, 0.0)) / jnp.sum(there)
