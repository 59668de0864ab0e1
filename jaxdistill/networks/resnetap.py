"""ResNetAP-10: a residual network for large images that halves them by average pooling alone.

Source: IDC (Kim et al., ICML 2022, arXiv:2205.14959) and Minimax Diffusion (Gu et al., CVPR 2024, arXiv:2311.15529), by
their code for ImageNet.
"""

from __future__ import annotations

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.common import draws
from jaxdistill.networks.convolution import convolution
from jaxdistill.networks.layers import POOLINGS, Norm
from jaxdistill.networks.resnet import Block
from jaxdistill.types import Features, Key

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


class FanOutConv(nn.Module):
    """Square convolution without a bias, whose weights have a variance of 2 / fan_out at first (He et al., ICCV 2015).

    With a normalisation after it the size of the weights does not change what a network says, but how fast it learns.
    """

    features: int
    size: int = 3
    padding: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n _h _w _features"]:
        """The convolution, in the wider of the two types."""
        kernel = self.param("kernel", _fan_out_normal, (self.size, self.size, x.shape[-1], self.features))
        dtype = jnp.result_type(x, kernel)
        return convolution(x.astype(dtype), kernel.astype(dtype), padding=self.padding, stride=self.stride)


def _fan_out_normal(key: Key, shape: tuple[int, int, int, int]) -> Float[Array, "kh kw c o"]:
    kh, kw, _, features = shape
    return math.sqrt(2 / (kh * kw * features)) * draws.normal(key, shape, jnp.float32)
