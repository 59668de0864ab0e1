"""Where a network looks: spatial attention."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["attention"]

_FLOOR = 1e-12


def attention(maps: Float[Array, "n h w c"], power: int) -> Float[Array, "n h*w"]:
    """The energy ``sum_c |F_c|^power`` of each position, as a unit vector for each image (DataDAM, Sajedi et al. 2023).

    A higher power, which acts before the norm is taken, lets the peaks dominate. The norm is floored at 1e-12; a map of
    zeros has attention zero, and gradient zero. Computed in at least float32.
    """
    wide = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    # Not `jnp.abs`, whose derivative at zero is 1: divided by the floor of the norm, that is enormous.
    energy = jnp.sum((wide * jnp.sign(wide)) ** power, axis=-1).reshape(maps.shape[0], -1)
    # The floor is under the root, which has no derivative at zero.
    squares = jnp.maximum(jnp.sum(energy**2, axis=1, keepdims=True), _FLOOR**2)
    return energy / jnp.sqrt(squares)
