"""Regression with a set as the support: how its error depends on the set, and the labels that are best for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.common.promotion import standard
from jaxdistill.common.sets import targets_of
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.kernels.gram import gram
from jaxdistill.losses.ridge import coefficients, precise, precisely, solve_labels
from jaxdistill.types import Kernel, Key, PyTree, map_one_by_one

__all__ = ["LINEAR", "SupportGradient", "label_solve", "predict", "support_gradient"]

BLOCK = 1_000
LINEAR = Kernel(
    lambda key, images: images.reshape(images.shape[0], -1), lambda a, b: jnp.matmul(a, b.T, precision="highest")
)
"""Inner products: of pixels, or of whatever rows it is given."""


class SupportGradient(NamedTuple):
    """The error on real images, and its gradient."""

    loss: Float[Array, ""]
    predictions: Float[Array, "m classes"]
    by_support: PyTree
    by_labels: Float[Array, "n classes"]


@precisely
def support_gradient(
    kernel: Kernel,
    support: PyTree,
    labels: Float[Array, "n classes"],
    real: PyTree,
    targets: Float[Array, "m classes"],
    *,
    ridge: float,
    loss: Callable[[Float[Array, "m classes"], Float[Array, "m classes"]], Float[Array, ""]],
    map_rows: Callable[..., PyTree] = map_one_by_one,
) -> SupportGradient:
    """The loss of predictions for real images, and its gradient in the support's rows and labels; float64 inside.

    Args:
        kernel: whose Gram matrices are taken.
        support: the set's images as the kernel prepared them; the gradient takes both places that they have in the
            support's own matrix.
        labels: of the support.
        real: the real images as the kernel prepared them; constant.
        targets: what is to be predicted for them.
        ridge: relative penalty.
        loss: of predictions and targets.
        map_rows: how to go over blocks of real images; see `jaxdistill.types.map_one_by_one`.
    """

    def error(support: PyTree, labels: Array) -> tuple[Array, Array]:
        weights = coefficients(gram(kernel, support, support), labels, ridge)
        predictions = gram(kernel, real, support, map_rows=map_rows) @ weights
        return loss(predictions, targets), predictions

    (value, predictions), found = jax.value_and_grad(error, (0, 1), has_aux=True)(support, labels)
    return SupportGradient(value, predictions, *found)


@precisely
def predict(
    kernel: Kernel, support: PyTree, weights: Float[Array, "n classes"], rows: PyTree
) -> Float[Array, "m classes"]:
    """Predictions for prepared images; `weights` are `jaxdistill.losses.ridge.coefficients`.

    Args:
        kernel: the regression's.
        support: the set, prepared.
        weights: its coefficients.
        rows: the images, prepared.
    """
    return gram(kernel, rows, support) @ weights


@standard
@partial(jax.jit, static_argnames=("kernel", "ridge"))
def label_solve(
    key: Key, kernel: Kernel, images: Float[Array, "n h w c"], data: RealData, *, ridge: float = 1e-6
) -> Float[Array, "n classes"]:
    """The labels with which a set of images predicts the whole training set best, in closed form.

    Goes over the training images a block at a time, and keeps one matrix of all pairs of the set. Deviation: the
    penalty is relative in both places, where the authors' notebook has ``ridge / n`` in both.

    Args:
        key: of a kernel that draws networks.
        kernel: by which is predicted.
        images: the set's.
        data: the training set, on the device; at least as many images.
        ridge: relative penalty.

    Raises:
        UsageError: if there are more images in the set than in the data.

    Source: Nguyen, Chen & Lee, ICLR 2021, arXiv:2011.00050.
    """
    n, classes = images.shape[0], data.counts.shape[0]
    if n > data.count:
        raise UsageError(
            f"label solve needs at least as many real images as the set's {n}, not {data.count}; lower `ipc`"
        )
    size = min(BLOCK, data.count)

    def wide(rows: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: leaf.astype(jnp.float64), rows)

    with precise():  # the sums, too: they are as ill-conditioned as the kernel
        support = wide(kernel.prepare(key, images))

        def add(sums: tuple[Array, Array], start: Array) -> tuple[tuple[Array, Array], None]:
            indices = start + jnp.arange(size)
            batch = data.read(jnp.minimum(indices, data.count - 1))
            k_ts = gram(kernel, wide(kernel.prepare(key, batch.images)), support) * (indices < data.count)[:, None]
            targets = targets_of(batch.labels, classes, k_ts.dtype)
            inner, outer = sums
            return (inner + k_ts.T @ k_ts, outer + k_ts.T @ targets), None

        nothing = jnp.zeros((n, n)), jnp.zeros((n, classes))
        (inner, outer), _ = jax.lax.scan(add, nothing, jnp.arange(-(-data.count // size)) * size)
        return solve_labels(gram(kernel, support, support), inner, outer, ridge).astype(jnp.float32)
