"""ResNetAP-10: a residual network for large images that halves them by average pooling alone.

Source: IDC (Kim et al., ICML 2022, arXiv:2205.14959) and Minimax Diffusion (Gu et al., CVPR 2024, arXiv:2311.15529), by
their code for ImageNet.
"""

from __future__ import annotations

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxdistill.networks.layers import POOLINGS, FanOutConv, Norm
from jaxdistill.networks.resnet import Block
from jaxdistill.types import Features

__all__ = ["FanOutConv", "ResNetAP10"]


class ResNetAP10(nn.Module):
    """Four stages of one residual block, then the mean over the image. `width` is that of the first stage.

    The stem goes by the smaller side of the image: 7x7 and 4x4 pooling above 128 pixels, 3x3 and 2x2 pooling above 64,
    otherwise 3x3 alone. Images from 8 x 8. Differs from the code: convolutions have no bias without normalisation
    either.
    """

    width: int = 64
    norm: str = "instance"

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding and the output of each stage."""
        side = min(x.shape[1:3])
        size = 7 if side > 128 else 3
        x = FanOutConv(self.width, size=size, padding=size // 2)(x)
        x = jax.nn.relu(Norm(self.norm)(x, train))
        for _ in range((side > 64) + (side > 128)):
            x = POOLINGS["avg"](x)
        maps = []
        for stage in range(4):
            x = Block(self.width * 2**stage, stage > 0, self.norm, average_pool=True, conv=FanOutConv)(x, train)
            maps.append(x)
        return Features(x.mean((1, 2)), tuple(maps))
