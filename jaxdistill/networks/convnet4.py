"""The ConvNet of the KIP of convolutional kernels (Nguyen, Novak, Xiao & Lee, NeurIPS 2021, arXiv:2107.13034): one more
convolution before the blocks, and no normalisation."""

from __future__ import annotations

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxdistill.networks.layers import POOLINGS, Conv, flatten
from jaxdistill.types import Features

__all__ = ["ConvNet4"]


class ConvNet4(nn.Module):
    """A 3x3 convolution and a ReLU, then `depth` blocks of these and 2x2 average pooling, all of `width` channels.

    Images of 28 pixels are not padded to 32 as in `ConvNet`: 28, 14, 7 and 3 pixels. With 3 blocks it is the network
    whose kernel is called ``convnet`` (`jaxdistill.kernels.ARCHITECTURES`), of finite width.
    """

    width: int = 1024
    depth: int = 3

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding, and a map of the first convolution and of each block."""
        maps = [jax.nn.relu(Conv(self.width)(x))]
        x = maps[0]
        for _ in range(self.depth):
            maps.append(jax.nn.relu(Conv(self.width)(x)))
            x = POOLINGS["avg"](maps[-1])
        return Features(flatten(x), tuple(maps))
