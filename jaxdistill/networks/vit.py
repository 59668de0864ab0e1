"""A small vision transformer (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929), as DC-BENCH judges sets by it (Cui et
al., NeurIPS 2022, arXiv:2207.09639).

Differs from its code: nothing is dropped in training (there a tenth of the units), since networks here draw nothing but
their initial weights.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.common import draws
from jaxdistill.errors import UsageError
from jaxdistill.networks.layers import Dense
from jaxdistill.types import Features

__all__ = ["ViT"]


class ViT(nn.Module):
    """`depth` blocks of attention and a hidden layer on patches of 4 x 4 pixels; a token beside them is the embedding.

    `width` is that of a token and of the hidden layer, of `heads` of 64 numbers each the attention.
    """

    width: int = 512
    depth: int = 6
    heads: int = 8
    head_width: int = 64
    patch: int = 4

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """The first token, normalised, and no maps."""
        n, h, w, c = x.shape
        if h % self.patch or w % self.patch:
            raise UsageError(f"It divides images into patches of {self.patch}x{self.patch}; use a multiple of that.")
        rows, columns = h // self.patch, w // self.patch
        x = x.reshape(n, rows, self.patch, columns, self.patch, c).transpose(0, 1, 3, 2, 4, 5)
        x = Dense(self.width)(x.reshape(n, rows * columns, -1))
        first = self.param("token", draws.normal, (1, self.width))
        places = self.param("places", draws.normal, (rows * columns + 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(first, (n, 1, self.width)).astype(x.dtype), x], axis=1) + places
        for _ in range(self.depth):
            x = x + Attention(self.heads, self.head_width)(_normalised()(x))
            hidden = jax.nn.gelu(Dense(self.width)(_normalised()(x)), approximate=False)
            x = x + Dense(self.width)(hidden)
        return Features(_normalised()(x[:, 0]), ())


class Attention(nn.Module):
    """Each token's mean of all tokens' values, weighed by how alike queries and keys are, in each of `heads`."""

    heads: int
    width: int
    """Of a head."""

    @nn.compact
    def __call__(self, x: Float[Array, "n tokens d"]) -> Float[Array, "n tokens d"]:
        """What is added to the tokens."""
        n, tokens, d = x.shape
        joint = Dense(3 * self.heads * self.width, use_bias=False)(x)
        queries, keys, values = jnp.moveaxis(joint.reshape(n, tokens, 3, self.heads, self.width), 2, 0)
        alike = jnp.einsum("nqhd,nkhd->nhqk", queries, keys) / math.sqrt(self.width)
        found = jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(alike), values)
        return Dense(d)(found.reshape(n, tokens, -1))


def _normalised() -> nn.Module:
    return nn.LayerNorm(epsilon=1e-5, use_fast_variance=False)
