"""VGG-11 for small images (Simonyan & Zisserman, ICLR 2015, arXiv:1409.1556), normalised, with one dense layer."""

from __future__ import annotations

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxdistill.networks.layers import POOLINGS, Conv, Norm, first_padding, flatten
from jaxdistill.types import Features

__all__ = ["VGG11"]


class VGG11(nn.Module):
    """Eight convolutions, five poolings; images from 32 x 32, or 28 x 28 x 1. `width` is that of the first layer."""

    width: int = 64
    norm: str = "instance"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding and eight maps."""
        maps = []
        for multiple, pooling in zip((1, 2, 4, 4, 8, 8, 8, 8), ("max", "max", *("none", "max") * 3), strict=True):
            x = Conv(self.width * multiple, padding=1 if maps else first_padding(x, 1))(x)
            x = jax.nn.relu(Norm(self.norm)(x, train))
            maps.append(x)
            x = POOLINGS[pooling](x)
        return Features(flatten(x), tuple(maps))
