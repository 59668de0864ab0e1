"""Attention of a transformer and of an autoencoder."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

__all__ = ["attend"]


def attend(
    query: Float[Array, "n t heads d"], key: Float[Array, "n s heads d"], value: Float[Array, "n s heads d"]
) -> Float[Array, "n t heads d"]:
    """Softmax of the scaled products of queries and keys, times the values (Vaswani et al., NeurIPS 2017, eq. 1).

    All in the arrays' own type, but the softmax of bfloat16, which has too few digits for sums of many;
    `jax.nn.dot_product_attention` takes the softmax of float64 in float32 too.

    Args:
        query: one row for each output.
        key: one row for each value, to compare queries with.
        value: what is averaged.
    """
    scores = jnp.einsum("nthd,nshd->nhts", query, key) * jnp.asarray(query.shape[-1] ** -0.5, query.dtype)
    shares = jax.nn.softmax(scores.astype(jnp.promote_types(scores.dtype, jnp.float32)))
    return jnp.einsum("nhts,nshd->nthd", shares.astype(value.dtype), value)
