"""Distances between two gradients of a network's parameters.

A gradient is a tree of arrays whose last axis is the output; its 1-D leaves are biases and the scales and shifts of
normalisation. `weights` and `kernels` say which leaves take part.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.types import PyTree

__all__ = ["absolute", "absolute_mean", "cosine", "kernels", "output_cosine", "squared", "weights"]

_EPSILON = 1e-6


def weights(gradient: PyTree) -> list[Array]:
    """Every leaf but the 1-D ones: what DC matches."""
    return [leaf for leaf in jax.tree.leaves(gradient) if leaf.ndim >= 2]


def kernels(gradient: PyTree) -> list[Array]:
    """The kernels of convolutions: what IDC matches."""
    return [leaf for leaf in jax.tree.leaves(gradient) if leaf.ndim == 4]


def output_cosine(real: PyTree, synthetic: PyTree) -> Float[Array, ""]:
    """1 - cosine for each output of each layer, summed (DC, Zhao et al. 2021, eq. 10; 1e-6 as in the code)."""
    return _sum(_one_minus_cosine, real, synthetic)


def cosine(real: PyTree, synthetic: PyTree) -> Float[Array, ""]:
    """1 - cosine of the two gradients as one vector each (an ablation of DC)."""
    real, synthetic = (
        jnp.concatenate([leaf.reshape(-1, 1) for leaf in jax.tree.leaves(side)]) for side in (real, synthetic)
    )
    return _one_minus_cosine(real, synthetic)


def squared(real: PyTree, synthetic: PyTree) -> Float[Array, ""]:
    """Squared differences, summed (IDC's ``mse``)."""
    return _sum(lambda a, b: jnp.sum((a - b) ** 2), real, synthetic)


def absolute(real: PyTree, synthetic: PyTree) -> Float[Array, ""]:
    """Absolute differences, summed (IDC's ``l1``)."""
    return _sum(lambda a, b: jnp.sum(_magnitude(a - b)), real, synthetic)


def absolute_mean(real: PyTree, synthetic: PyTree) -> Float[Array, ""]:
    """Absolute differences, averaged for each output and summed over outputs (IDC's ``l1_mean``)."""
    return _sum(lambda a, b: jnp.sum(jnp.mean(_magnitude(a - b), axis=tuple(range(a.ndim - 1)))), real, synthetic)


def _sum(distance, real: PyTree, synthetic: PyTree) -> Float[Array, ""]:
    return sum(jax.tree.leaves(jax.tree.map(distance, real, synthetic)), jnp.zeros(()))


def _one_minus_cosine(a: Float[Array, "*rest o"], b: Float[Array, "*rest o"]) -> Float[Array, ""]:
    axes = tuple(range(a.ndim - 1))
    norms = [_norm(jnp.sum(side**2, axis=axes)) for side in (a, b)]
    return jnp.sum(1 - jnp.sum(a * b, axis=axes) / (norms[0] * norms[1] + _EPSILON))


def _magnitude(difference: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    # The slope of jnp.abs at 0 is 1; PyTorch's, and this one's, is 0.
    return difference * jnp.sign(difference)


def _norm(squares: Float[Array, " o"]) -> Float[Array, " o"]:
    # A dead output has gradient zero, where the root has no derivative; PyTorch takes 0 for it.
    zero = squares == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, squares)))
