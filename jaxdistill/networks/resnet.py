"""ResNet-18 for small images (He et al., CVPR 2016, arXiv:1512.03385): 3x3 stem, no first pooling.

With average pooling it is the ResNet18AP of the code of DC (Zhao, Mopuri & Bilen, ICLR 2021, arXiv:2006.05929), with a
stem of stride 2 SelMatch's for Tiny-ImageNet (Lee & Chung, ICML 2024, arXiv:2406.18561).
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxdistill.networks.layers import POOLINGS, Conv, Norm, flatten
from jaxdistill.types import Features

__all__ = ["ResNet18"]


class ResNet18(nn.Module):
    """Four stages of two residual blocks, then the mean over the image. `width` is that of the first stage.

    `average_pool` halves the image by stride-1 convolutions and 2x2 average pooling rather than by strides, which
    gives distilled images a gradient at every pixel; the embedding is then the whole last map, 4x4 of a 32x32 image.
    `stride` is the stem's.
    """

    width: int = 64
    norm: str = "instance"
    average_pool: bool = False
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding and the output of each stage."""
        x = jax.nn.relu(Norm(self.norm)(Conv(self.width, stride=self.stride, use_bias=False)(x), train))
        maps = []
        for stage in range(4):
            for block in range(2):
                halve = stage > 0 and block == 0
                x = Block(self.width * 2**stage, halve, self.norm, self.average_pool)(x, train)
            maps.append(x)
        return Features(flatten(x) if self.average_pool else x.mean((1, 2)), tuple(maps))


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; `conv` is called as `Conv` is, and has no bias."""

    features: int
    halve: bool
    norm: str
    average_pool: bool
    conv: Callable[..., nn.Module] = functools.partial(Conv, use_bias=False)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n _h _w _features"]:
        """The block's map, half as large if `halve`."""
        stride = 2 if self.halve and not self.average_pool else 1
        pool = POOLINGS["avg" if self.halve and self.average_pool else "none"]
        y = self.conv(self.features, stride=stride)(x)
        y = pool(jax.nn.relu(Norm(self.norm)(y, train)))
        y = Norm(self.norm)(self.conv(self.features)(y), train)
        if self.halve:
            # A 1x1 convolution commutes with average pooling and is four times cheaper after it.
            x = self.conv(self.features, size=1, padding=0, stride=stride)(pool(x))
            x = Norm(self.norm)(x, train)
        return jax.nn.relu(x + y)
