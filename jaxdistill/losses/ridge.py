"""Kernel ridge regression with a set as its support.

The penalty is relative everywhere: ``ridge`` times the mean of the kernel's diagonal. `precisely` says why these are
used in float64, whatever the rest of a program has. Products of matrices are of JAX's highest precision here, as in
kernels, selections and coverage; networks take the default of the accelerator (`jax.default_matmul_precision`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float

from jaxdistill.types import PyTree

__all__ = [
    "coefficients",
    "cross_entropy",
    "label_margin",
    "penalised",
    "precise",
    "precisely",
    "solve_labels",
    "squared_error",
]

_NARROW, _BROAD = jnp.dtype("float32"), jnp.dtype("float64")


@contextlib.contextmanager
def precise() -> Iterator[None]:
    """Inside, float64 is allowed, and matrices are multiplied in all the digits of their type, which accelerators do
    not do by themselves (bfloat16 or TF32 products of float32 numbers)."""
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        yield


def precisely(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`f` in float64, between float32 arguments and results (float64 ones stay as they are), under any trace.

    With the penalty of 1e-6 that the papers have, float32 is not enough to factorise a kernel of 100 images, and the
    angle between two like images has lost its digits before that. Only what happens inside is wider: nothing else has
    to be computed, or stored, in float64. Not to be differentiated from outside. Inside, keep to arithmetic and linear
    algebra: what JAX spells out only when it lowers a program (argmax, random numbers) has the other types by then.
    """

    @wraps(f)
    def wide(*args: Any, **kwargs: Any) -> PyTree:
        leaves, structure = jax.tree.flatten((args, kwargs))
        arrays = {i: leaf for i, leaf in enumerate(leaves) if hasattr(leaf, "dtype")}
        results = _BROAD if any(leaf.dtype == _BROAD for leaf in arrays.values()) else _NARROW

        def inside(*values: Array) -> PyTree:
            given = dict(zip(arrays, values, strict=True))
            filled = [_cast(given[i], _BROAD) if i in given else leaf for i, leaf in enumerate(leaves)]
            args, kwargs = jax.tree.unflatten(structure, filled)
            return jax.tree.map(lambda leaf: _cast(leaf, results), f(*args, **kwargs))

        return _in_float64(inside)(*arrays.values())

    return wide


def _cast(leaf: Array, dtype: jnp.dtype) -> Array:
    return leaf.astype(dtype) if leaf.dtype in (_NARROW, _BROAD) else leaf


def _in_float64(f: Callable[..., PyTree]) -> Callable[..., PyTree]:
    """`f` where float64 is allowed. That holds while it is traced; a `vmap` that comes later has to trace it again."""

    @jax.custom_batching.custom_vmap
    def wide(*arrays: Array) -> PyTree:
        with precise():
            return f(*arrays)

    @wide.def_vmap
    def batched(size: int, axes: list[bool], *arrays: Array) -> tuple[PyTree, PyTree]:
        full = [x if b else jnp.broadcast_to(x, (size, *x.shape)) for x, b in zip(arrays, axes, strict=True)]
        found = _in_float64(jax.vmap(f))(*full)
        return found, jax.tree.map(lambda _: True, found)

    return wide


def penalised(k_ss: Float[Array, "n n"], ridge: float) -> Float[Array, "n n"]:
    """The support's kernel with the penalty on its diagonal: ``K + ridge tr(K)/n I``."""
    n = k_ss.shape[0]
    return k_ss + ridge * jnp.trace(k_ss) / n * jnp.eye(n, dtype=k_ss.dtype)


def coefficients(
    k_ss: Float[Array, "n n"], labels: Float[Array, "n classes"], ridge: float
) -> Float[Array, "n classes"]:
    """What the support's labels become: predictions are ``K_ts @ coefficients``.

    Source: Nguyen, Chen & Lee, ICLR 2021, arXiv:2011.00050.

    Args:
        k_ss: kernel of the support with itself.
        labels: the support's, as regression targets.
        ridge: penalty, relative to the mean of the diagonal.
    """
    return cho_solve(cho_factor(penalised(k_ss, ridge)), labels)


def solve_labels(
    k_ss: Float[Array, "n n"],
    inner: Float[Array, "n n"],
    outer: Float[Array, "n classes"],
    ridge: float,
) -> Float[Array, "n classes"]:
    """The support labels whose predictions are closest to the targets in the least squares: label solve.

    Args:
        k_ss: kernel of the support.
        inner: ``K_st K_ts``, summed over all real images; at least as many as the support has.
        outer: ``K_st Y_t``, likewise.
        ridge: relative penalty, in both places.

    Source: Nguyen, Chen & Lee, ICLR 2021, arXiv:2011.00050.
    """
    solved = cho_solve(cho_factor(penalised(inner, ridge)), outer)
    return jnp.matmul(penalised(k_ss, ridge), solved, precision="highest")


def squared_error(predictions: Float[Array, "m classes"], targets: Float[Array, "m classes"]) -> Float[Array, ""]:
    """Half the squared distance of a prediction from its target, in the mean over images (FRePo's; KIP's is the mean
    over classes too)."""
    return 0.5 * jnp.mean(jnp.sum((predictions - targets) ** 2, axis=-1))


def cross_entropy(predictions: Float[Array, "m classes"], targets: Float[Array, "m classes"]) -> Float[Array, ""]:
    """Cross-entropy of predictions as logits, in the mean over images: of RFAD, once they have their factor.

    Source: Loo et al., NeurIPS 2022, arXiv:2210.12067, after Platt's scaling.

    Args:
        predictions: of the regression, times the factor.
        targets: one-hot, less ``1 / classes`` or not.
    """
    # Without the 1 / classes: what is taken off all targets of an image is what they lack to a sum of 1.
    whole = targets + (1 - jnp.sum(targets, -1, keepdims=True)) / targets.shape[1]
    return -jnp.mean(jnp.sum(whole * jax.nn.log_softmax(predictions), axis=-1))


def label_margin(labels: Float[Array, "n classes"]) -> Float[Array, ""]:
    """How much the largest label lacks in the mean: minus its distance from the second, at most ``1 / classes``.

    Source: Zhou, Nezhadarya & Ba, NeurIPS 2022, arXiv:2206.00719; the released code.
    """
    largest = jax.lax.top_k(labels, 2)[0]
    return -jnp.mean(jnp.minimum(largest[:, 0] - largest[:, 1], 1 / labels.shape[1]))
