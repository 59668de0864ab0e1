"""AlexNet for small images (after Krizhevsky et al., NeurIPS 2012), without dropout.

It has no normalisation, or that of batches after each convolution: AlexNet and AlexNetBN of the code of DC and DM.
"""

from __future__ import annotations

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxdistill.networks.layers import POOLINGS, Conv, Norm, first_padding, flatten
from jaxdistill.types import Features

__all__ = ["AlexNet"]


class AlexNet(nn.Module):
    """Five convolutions, three poolings; images from 8 x 8. `width` is that of the first layer."""

    width: int = 128
    norm: str = "none"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding and five maps."""
        middle, wide = self.width * 3 // 2, self.width * 2
        maps = []
        layers = (
            (self.width, 5, first_padding(x, 2), "max"),
            (middle, 5, 2, "max"),
            (wide, 3, 1, "none"),
            (middle, 3, 1, "none"),
            (middle, 3, 1, "max"),
        )
        for features, size, padding, pooling in layers:
            x = jax.nn.relu(Norm(self.norm)(Conv(features, size=size, padding=padding)(x), train))
            maps.append(x)
            x = POOLINGS[pooling](x)
        return Features(flatten(x), tuple(maps))
