"""A perceptron with two hidden layers, the simplest network of the cross-architecture comparisons."""

from __future__ import annotations

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxdistill.networks.layers import Dense, flatten
from jaxdistill.types import Features

__all__ = ["MLP"]


class MLP(nn.Module):
    """Two hidden layers of `width` units."""

    width: int = 128

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """The second hidden layer, and no maps."""
        x = flatten(x)
        for _ in range(2):
            x = jax.nn.relu(Dense(self.width)(x))
        return Features(x, ())
