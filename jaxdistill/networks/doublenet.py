"""FRePo's ConvNet (Zhou, Nezhadarya & Ba, NeurIPS 2022, arXiv:2206.00719): channels double from block to block."""

from __future__ import annotations

import flax.linen as nn
from jaxtyping import Array, Float

from jaxdistill.networks.layers import ACTIVATIONS, POOLINGS, Conv, Norm, first_padding, flatten
from jaxdistill.types import Features

__all__ = ["DoubleNet"]


class DoubleNet(nn.Module):
    """`depth` blocks of `width`, twice that, four times that ... channels; each but the first normalises its input.

    Its running averages are nine tenths the last batch, as in the released code, where 0.1 is the share that stays.
    """

    width: int = 128
    depth: int = 3
    norm: str = "none"
    activation: str = "relu"
    pooling: str = "avg"
    momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding and one map per block."""
        maps = []
        for block in range(self.depth):
            x = Norm(self.norm, self.momentum)(x, train) if block else x
            x = Conv(self.width * 2**block, padding=1 if block else first_padding(x, 1))(x)
            x = ACTIVATIONS[self.activation](x)
            maps.append(x)
            x = POOLINGS[self.pooling](x)
        return Features(flatten(x), tuple(maps))
