"""The ConvNet of the dataset-distillation literature (Gidaris & Komodakis, CVPR 2018, arXiv:1804.09458; Zhao et al.,
ICLR 2021, arXiv:2006.05929): blocks of 3x3 convolution, normalisation, activation and 2x2 pooling."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from jaxdistill.networks.layers import ACTIVATIONS, POOLINGS, Conv, Norm, first_padding, flatten
from jaxdistill.types import Features

__all__ = ["ConvNet"]


class ConvNet(nn.Module):
    """`depth` blocks of `width` channels."""

    width: int = 128
    depth: int = 3
    norm: str = "instance"
    activation: str = "relu"
    pooling: str = "avg"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding and one map per block."""
        maps = []
        for block in range(self.depth):
            x = Conv(self.width, padding=1 if block else first_padding(x, 1))(x)
            x = ACTIVATIONS[self.activation](Norm(self.norm)(x, train))
            maps.append(x)
            x = POOLINGS[self.pooling](x)
        return Features(flatten(x), tuple(maps))
