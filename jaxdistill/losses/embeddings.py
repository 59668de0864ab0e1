"""Distances between feature distributions."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["mean_embedding_distance"]


def mean_embedding_distance(
    real: Float[Array, "*classes b d"], synthetic: Float[Array, "*classes ipc d"]
) -> Float[Array, "*classes"]:
    """Squared distance of the two mean embeddings, summed over the features (DM, Zhao & Bilen 2023, eq. 4 and 6).

    The sum, not the mean: DM's step size of 1 presupposes it.
    """
    return jnp.sum((jnp.mean(real, axis=-2) - jnp.mean(synthetic, axis=-2)) ** 2, axis=-1)
