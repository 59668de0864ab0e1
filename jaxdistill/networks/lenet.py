"""LeNet-5 with ReLU and max pooling (after LeCun et al., Proceedings of the IEEE 1998)."""

from __future__ import annotations

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxdistill.networks.layers import POOLINGS, Conv, Dense, first_padding, flatten
from jaxdistill.types import Features

__all__ = ["LeNet"]


class LeNet(nn.Module):
    """Two 5x5 convolutions and two hidden layers; images from 16 x 16."""

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """The 84 units below the classifier, and two maps."""
        maps = []
        for features, padding in ((6, first_padding(x, 0)), (16, 0)):
            x = jax.nn.relu(Conv(features, size=5, padding=padding)(x))
            maps.append(x)
            x = POOLINGS["max"](x)
        x = flatten(x)
        for features in (120, 84):
            x = jax.nn.relu(Dense(features)(x))
        return Features(x, tuple(maps))
