"""Coverage: which share of the real test examples has an example of the set nearby.

Source: SelMatch (Lee & Chung, ICML 2024), section 3. The paper's radius, and its easy and hard halves of the test
split. Ours, because they could not be verified against the paper: the feature map is the caller's (a network trained on
the whole training set is meant, its embedding), neighbours of any class count unless labels are given, and the split
into halves is by rank, ties in the order of the examples.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.common.promotion import standard
from jaxdistill.errors import UsageError

__all__ = ["Coverage", "coverage", "halves", "nearest", "radius"]

CHUNK = 512
"""Rows whose distances to all others are in memory at a time."""


class Coverage(NamedTuple):
    """Shares in [0, 1] of the test examples that are covered."""

    all: float
    """Of all of them."""
    easy: float
    """Of the easier half."""
    hard: float
    """Of the harder half, which has the middle one of an odd number."""


@standard
@partial(jax.jit, static_argnames="skip_self")
def nearest(
    points: Float[Array, "n d"],
    others: Float[Array, "m d"],
    *,
    skip_self: bool = False,
    labels: tuple[Int[Array, " n"], Int[Array, " m"]] | None = None,
) -> Float[Array, " n"]:
    """Distance from each point to the nearest other row; infinite where there is none.

    Args:
        points: rows to measure from.
        others: rows to measure to.
        skip_self: the two arrays are the same, and a row is not its own neighbour; a copy of it is, at distance 0.
        labels: classes of the points and of the others, for neighbours of the same class only.
    """
    # The nearest row is found by |y|^2 - 2 x.y, which loses fewer digits near the origin; its distance is then that of
    # the difference, so that copies are at distance 0 whatever was lost.
    centre = others.mean(axis=0)
    others = others - centre
    squares = jnp.sum(others**2, axis=1)
    rows = jnp.arange(others.shape[0])

    def of_row(row: tuple[Array, Array, Array | None]) -> Float[Array, ""]:
        index, point, label = row
        point = point - centre  # here, and not a copy of all of them
        allowed = jnp.ones_like(rows, bool)
        if skip_self:
            allowed &= rows != index
        if labels is not None:
            allowed &= labels[1] == label
        distances = squares - 2 * jnp.matmul(others, point, precision="highest")
        closest = others[jnp.argmin(jnp.where(allowed, distances, jnp.inf))]
        return jnp.where(allowed.any(), jnp.linalg.norm(point - closest), jnp.inf)

    own = None if labels is None else labels[0]
    return jax.lax.map(of_row, (jnp.arange(points.shape[0]), points, own), batch_size=CHUNK)


@standard
def radius(train: Float[Array, "n d"], labels: Int[Array, " n"] | None = None) -> Float[Array, ""]:
    """Mean distance from a real training example to the nearest other one.

    Args:
        train: features of the training split.
        labels: its classes, for neighbours of the same class only; an example alone in its class does not count then.
    """
    found = nearest(train, train, skip_self=True, labels=None if labels is None else (labels, labels))
    return jnp.mean(found, where=found != jnp.inf)


@standard
def coverage(
    test: Float[Array, "n d"],
    synthetic: Float[Array | np.ndarray, "m d"],
    radius: float | Float[Array, ""],
    difficulty: Float[Array | np.ndarray, " _n"],
    test_labels: Int[Array, " n"] | None = None,
    synthetic_labels: Int[Array, " m"] | None = None,
) -> Coverage:
    """Share of the test examples with an example of the set strictly within the radius. Runs on the host.

    Args:
        test: features of the real test split.
        synthetic: features of the set (its images as they are trained on).
        radius: of the training split, in the same features.
        difficulty: of each test example, larger for harder ones (`jaxdistill.selection.difficulty`).
        test_labels: classes of the test examples, for neighbours of the same class only.
        synthetic_labels: classes of the set; given together with `test_labels`.

    Raises:
        UsageError: if only one of the two kinds of labels is given, or the difficulty is that of other examples.
    """
    if (test_labels is None) != (synthetic_labels is None):
        raise UsageError("neighbours of the same class need the labels of the test split and of the set; give both")
    if len(difficulty) != len(test):
        raise UsageError(f"there are {len(difficulty)} difficulties for {len(test)} test images; give one for each")
    labels = None if test_labels is None else (test_labels, synthetic_labels)
    covered = np.asarray(nearest(test, synthetic, labels=labels) < radius)
    easy = halves(difficulty)
    return Coverage(*(float(part.mean()) for part in (covered, covered[easy], covered[~easy])))


def halves(difficulty: Float[Array | np.ndarray, " n"]) -> Bool[np.ndarray, " n"]:
    """Which examples are the easier half: the first by rank, ties in their order; of an odd number, the smaller one."""
    easy = np.zeros(len(difficulty), bool)
    easy[np.argsort(np.asarray(difficulty), kind="stable")[: len(easy) // 2]] = True
    return easy
