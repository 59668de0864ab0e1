"""AlexCifarNet, the CIFAR-10 network of Dataset Distillation (Wang et al., 2018, arXiv:1811.10959; after cuda-convnet):
overlapping max pooling and local response normalisation (Krizhevsky et al., NeurIPS 2012, section 3.3)."""

from __future__ import annotations

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.networks.layers import Conv, Dense, first_padding, flatten, overlapping_max
from jaxdistill.types import Features

__all__ = ["AlexCifarNet"]

_WINDOW = 4
_ALPHA = 0.001 / 9


class AlexCifarNet(nn.Module):
    """Two 5x5 convolutions of `width` channels, two hidden layers of six and three times as many units."""

    width: int = 64

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """The units below the classifier, and two maps."""
        first = jax.nn.relu(Conv(self.width, size=5, padding=first_padding(x, 2))(x))
        x = local_response(overlapping_max(first))
        second = jax.nn.relu(Conv(self.width, size=5, padding=2)(x))
        x = flatten(overlapping_max(local_response(second)))
        for features in (6 * self.width, 3 * self.width):
            x = jax.nn.relu(Dense(features)(x))
        return Features(x, (first, second))


def local_response(x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """``x / (1 + alpha m) ** 0.75``, m the mean of squares over channels c - 2 to c + 1, zeros beyond the ends.

    PyTorch's LocalResponseNorm with size 4, alpha 0.001 / 9, beta 0.75 and k 1.
    """
    channels = x.shape[-1]
    before = _WINDOW // 2
    squares = jnp.pad(x * x, ((0, 0), (0, 0), (0, 0), (before, _WINDOW - 1 - before)))
    total = functools.reduce(jnp.add, [squares[..., i : i + channels] for i in range(_WINDOW)])
    root = jax.lax.rsqrt(1 + _ALPHA / _WINDOW * total)
    return x * root * jnp.sqrt(root)  # 0.75 is a half and a quarter; a general power is many times slower
