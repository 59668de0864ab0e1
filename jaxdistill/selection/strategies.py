"""From selected examples, or images made from them, to a set that methods start from and evaluations read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.common import draws
from jaxdistill.common.sets import class_set
from jaxdistill.data.feeds import RealData
from jaxdistill.selection.difficulty import window
from jaxdistill.selection.groups import check_ipc
from jaxdistill.selection.kmeans import centroid_images
from jaxdistill.types import Key, SyntheticSet

__all__ = ["Difficulty", "Select", "Strategy", "average", "by_difficulty", "centroids", "noise", "picked", "real_set"]

Rows: TypeAlias = Float[Array, "n d"]
Select: TypeAlias = Callable[[Key, Rows, Int[Array, " n"], int, int], Int[Array, "classes ipc"]]
"""``select(key, features, labels, ipc, num_classes)`` gives indices of examples, whose order does not matter."""
Strategy: TypeAlias = Callable[[Key, RealData, Any, int], SyntheticSet]
"""``strategy(key, data, basis, ipc)`` gives a set of `ipc` images per class; `jaxdistill.selection.NEEDS` says what it
goes by, for most a row of features for each image. Raises UsageError if `ipc` is below 1 or, where it is real images
that are picked, above the size of a class."""


def picked(select: Select) -> Strategy:
    """The strategy that takes the real images which `select` names."""

    def strategy(key: Key, data: RealData, features: Rows, ipc: int) -> SyntheticSet:
        indices = select(key, features, jnp.asarray(data.labels), ipc, len(data.counts))
        return real_set(data, indices)

    return strategy


class Difficulty(NamedTuple):
    """How hard each example is, and which part of its class is wanted."""

    scores: Float[np.ndarray, " n"]
    """Larger is harder."""
    beta: float = 0.0
    """Share of the hardest that is left out."""
    start: Literal["class_fraction", "ipc_fraction"] = "class_fraction"
    """Of what that is a share; see `jaxdistill.selection.difficulty.window`."""


def by_difficulty(key: Key, data: RealData, basis: Difficulty, ipc: int) -> SyntheticSet:
    """A window of each class's images from the hardest on, in that order; see `jaxdistill.selection.difficulty`.

    Raises:
        UsageError: if `ipc` is below 1, or the window does not lie within a class.
    """
    del key
    labels = np.asarray(data.labels)
    return real_set(data, jnp.asarray(window(basis.scores, labels, ipc, len(data.counts), basis.beta, basis.start)))


def real_set(data: RealData, indices: Int[Array, "classes ipc"]) -> SyntheticSet:
    """The set of these real images, marked as selected ones."""
    found = class_set(data.read(indices).images)
    return dataclasses.replace(found, selected=jnp.ones(found.count, bool))


def centroids(key: Key, data: RealData, features: Rows, ipc: int) -> SyntheticSet:
    """Mean images of k-means clusters; see `jaxdistill.selection.kmeans.centroid_images`."""
    return class_set(centroid_images(key, data, features, ipc))


def average(key: Key, data: RealData, features: Rows, ipc: int) -> SyntheticSet:
    """The mean image of each class, `ipc` times over (Wang et al., Dataset Distillation, 2018, arXiv:1811.10959)."""
    del key, features
    check_ipc(ipc)
    blocks = zip(np.asarray(data.offsets), np.asarray(data.counts), strict=True)
    members = (np.arange(offset, offset + count) for offset, count in blocks)
    means = [np.asarray(data.read(jnp.asarray(indices)).images).mean(axis=0, dtype=np.float64) for indices in members]
    return class_set(jnp.asarray(np.stack(means), jnp.float32)[:, None].repeat(ipc, axis=1))


def noise(key: Key, data: RealData, features: Rows, ipc: int) -> SyntheticSet:
    """Standard normal pixels; of the data only shapes are used."""
    del features
    check_ipc(ipc)
    return class_set(draws.normal(key, (len(data.counts), ipc, *data.images.shape[1:])))
