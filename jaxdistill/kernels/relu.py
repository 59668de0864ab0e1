"""What a ReLU layer of infinite width does to a covariance, with derivatives that survive equal images.

neural-tangents has the same formulas; their derivatives divide by the sine of the angle between two images. Where the
images are equal, and on the diagonal of every Gram matrix, that is rounding error: in float32 the gradient of a
convolutional NTK came out wrong with JAX 0.12. Here that angle is 0, and the slope of the NTK, which
has a kink there, is the mean of both sides.

Source: Cho & Saul, NeurIPS 2009, eq. 6, for degrees 1 and 0.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["slopes", "values"]

PARALLEL = 64
"""Times the machine epsilon: the squared sine below which two inputs count as parallel. Deep kernels have rounding
errors of tens of epsilons."""


def _angle(cov: Array, var1: Array, var2: Array) -> tuple[Array, Array]:
    """``sqrt(var1 var2) sin(angle)``, and the angle, of two Gaussian inputs."""
    product = var1 * var2
    square = product - cov**2
    parallel = square <= PARALLEL * jnp.finfo(cov.dtype).eps * product
    height = jnp.where(parallel, 0, jnp.sqrt(jnp.where(parallel, 1, square)))
    return height, jnp.arctan2(height, cov)


@jax.custom_jvp
def values(cov: Float[Array, "*s"], var1: Float[Array, "*s"], var2: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """``E[relu(u) relu(v)]`` of Gaussian u and v with these variances, which are not 0, and this covariance.

    Args:
        cov: covariance of u and v.
        var1: variance of u.
        var2: variance of v.
    """
    height, angle = _angle(cov, var1, var2)
    return (height + (math.pi - angle) * cov) / (2 * math.pi)


@values.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (cov, var1, var2), (d_cov, d_var1, d_var2) = primals, tangents
    height, angle = _angle(cov, var1, var2)
    by_variance = height / 2 * (d_var1 / var1 + d_var2 / var2)
    return values(*primals), ((math.pi - angle) * d_cov + by_variance) / (2 * math.pi)


@jax.custom_jvp
def slopes(cov: Float[Array, "*s"], var1: Float[Array, "*s"], var2: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """``E[relu'(u) relu'(v)]`` of the same.

    Args:
        cov: covariance of u and v.
        var1: variance of u.
        var2: variance of v.
    """
    return (math.pi - _angle(cov, var1, var2)[1]) / (2 * math.pi)


@slopes.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (cov, var1, var2), (d_cov, d_var1, d_var2) = primals, tangents
    height, _ = _angle(cov, var1, var2)
    apart = height > 0
    inverse = jnp.where(apart, 1 / jnp.where(apart, height, 1), 0)
    return slopes(*primals), inverse * (d_cov - cov / 2 * (d_var1 / var1 + d_var2 / var2)) / (2 * math.pi)
