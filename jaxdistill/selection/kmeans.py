"""K-means in each class: the real images nearest the centres (DC-BENCH, arXiv:2207.09639), or the centres themselves.

The second is a baseline of Wang et al., Dataset Distillation (2018, arXiv:1811.10959).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.common.promotion import standard
from jaxdistill.common.sets import class_set
from jaxdistill.data.feeds import RealData
from jaxdistill.selection.base import Features, Selection
from jaxdistill.selection.groups import group
from jaxdistill.selection.strategies import picked
from jaxdistill.types import Key, SyntheticSet

__all__ = ["CENTROIDS", "KMEANS", "centroids", "kmeans"]


class _Clusters(NamedTuple):
    """One class in `ipc` clusters."""

    members: Int[np.ndarray, " size"]
    """Indices of the class's examples."""
    assignment: Int[np.ndarray, " size"]
    """The cluster of each."""
    medoids: Int[np.ndarray, " ipc"]
    """Index of the example that stands for each cluster."""


@standard
def kmeans(
    key: Key, features: Float[Array, "n d"], labels: Int[Array, " n"], ipc: int, num_classes: int
) -> Int[Array, "classes ipc"]:
    """Pick the example nearest each of `ipc` k-means centres of its class.

    No example is picked twice: where two centres share a nearest one, the sum of distances decides. Runs on the host.

    Args:
        key: of the first centres.
        features: what distances are measured in.
        labels: class numbers.
        ipc: images per class.
        num_classes: how many there are.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, or features and labels differ in length.
    """
    return jnp.asarray(np.stack([one.medoids for one in _cluster(key, features, labels, ipc, num_classes)]))


def centroids(key: Key, data: RealData, ipc: int, features: Float[Array, "n d"]) -> SyntheticSet:
    """The mean image of each of `ipc` k-means clusters of each class: with pixels as features, the centres.

    A cluster without members, which occurs when a class has fewer than `ipc` distinct examples, is one example.

    Args:
        key: of the first centres.
        data: the training split.
        ipc: images per class.
        features: of the split's images.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, or features and images differ in number.
    """

    def mean(one: _Clusters, number: int) -> Float[np.ndarray, "h w c"]:
        inside = one.members[one.assignment == number]
        images = data.read(jnp.asarray(inside if inside.size else one.medoids[number : number + 1])).images
        return np.asarray(images).mean(axis=0, dtype=np.float64)

    clusters = _cluster(key, features, jnp.asarray(data.labels), ipc, len(data.counts))
    means = np.stack([[mean(one, number) for number in range(ipc)] for one in clusters])
    return class_set(means.astype(np.float32))


def _cluster(
    key: Key, features: Float[Array, "n d"], labels: Int[Array, " n"], ipc: int, num_classes: int
) -> Iterator[_Clusters]:
    # Imported here because scikit-learn takes a second to load, which nothing else in the package has to wait for.
    from scipy.optimize import linear_sum_assignment
    from sklearn.cluster import KMeans

    groups = group(features, labels, ipc, num_classes)
    seeds = np.asarray(jax.random.bits(key, (num_classes,), "uint32"))
    for padded, count, seed in zip(np.asarray(groups.members), np.asarray(groups.counts), seeds, strict=True):
        members = padded[:count]
        rows = np.asarray(features[members])
        fitted = KMeans(ipc, n_init=10, random_state=int(seed)).fit(rows)  # pyright: ignore[reportArgumentType]
        _, medoids = linear_sum_assignment(fitted.transform(rows).T)
        yield _Clusters(members, np.asarray(fitted.labels_), members[medoids])


KMEANS = Selection("kmeans", Features(), picked(kmeans), "Cui et al., NeurIPS 2022")
CENTROIDS = Selection("centroids", Features(), centroids, "Wang et al., 2018", budgets="ipc", real=False)
