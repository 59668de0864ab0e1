"""Residual networks (He et al., CVPR 2016, arXiv:1512.03385) for small images, and for ImageNet.

For small images the stem is 3x3 and nothing is pooled after it, as in the code of DC (Zhao, Mopuri & Bilen, ICLR 2021,
arXiv:2006.05929), whose ResNet18AP has average pooling in the place of strides; a stem of stride 2 is SelMatch's for
Tiny-ImageNet (Lee & Chung, ICML 2024, arXiv:2406.18561). ResNet-10 is that of IDC's code for CIFAR (Kim et al., ICML
2022, arXiv:2205.14959): 32 channels at first, weights by fan-out. ImageNet's are those of torchvision, and of the codes
of IDC and Minimax Diffusion (Gu et al., CVPR 2024, arXiv:2311.15529) above 128 pixels; below, these have other stems.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from jaxdistill.networks.layers import POOLINGS, Conv, FanOutConv, Norm, flatten, overlapping_max
from jaxdistill.types import Features

__all__ = ["ResNet", "ResNet18"]

_PLAIN = functools.partial(Conv, use_bias=False)
_EXPANSION = 4


class ResNet(nn.Module):
    """Four stages of residual blocks, then the mean over the image; the default is ResNet-18.

    Attributes:
        width: channels of the stem.
        norm: see `jaxdistill.networks.layers.Norm`.
        average_pool: halve the image by stride-1 convolutions and 2x2 average pooling rather than by strides, which
            gives distilled images a gradient at every pixel; the embedding is then the whole last map, 4x4 of a 32x32
            image. Of plain blocks alone.
        stride: of the stem for small images.
        blocks: of each stage.
        bottleneck: blocks of three convolutions, the last with four times as many channels (ResNet-50).
        fan_out: initial weights as `jaxdistill.networks.layers.FanOutConv` has them, which PyTorch's layers have not.
        imagenet: ImageNet's stem: 7x7 with stride 2, then 3x3 maxima with stride 2.
    """

    width: int = 64
    norm: str = "instance"
    average_pool: bool = False
    stride: int = 1
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    bottleneck: bool = False
    fan_out: bool = False
    imagenet: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding and the output of each stage."""
        conv = FanOutConv if self.fan_out else _PLAIN
        size, stride = (7, 2) if self.imagenet else (3, self.stride)
        stem = conv(self.width, size=size, padding=size // 2, stride=stride)
        x = jax.nn.relu(Norm(self.norm)(stem(x), train))
        x = overlapping_max(x) if self.imagenet else x
        maps = []
        for stage, count in enumerate(self.blocks):
            for block in range(count):
                features, halve = self.width * 2**stage, stage > 0 and block == 0
                if self.bottleneck:
                    x = Bottleneck(features, halve, self.norm, conv)(x, train)
                else:
                    x = Block(features, halve, self.norm, self.average_pool, conv)(x, train)
            maps.append(x)
        return Features(flatten(x) if self.average_pool else x.mean((1, 2)), tuple(maps))


ResNet18 = ResNet
"""The name of what a `ResNet` is by default."""


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; `conv` is called as `Conv` is, and has no bias."""

    features: int
    halve: bool
    norm: str
    average_pool: bool
    conv: Callable[..., nn.Module] = _PLAIN

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


class Bottleneck(nn.Module):
    """A 1x1, a 3x3 and a 1x1 convolution beside a shortcut, the last with four times as many channels.

    The stride is that of the 3x3 one, as in PyTorch's networks.
    """

    features: int
    halve: bool
    norm: str
    conv: Callable[..., nn.Module] = _PLAIN

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n _h _w _features"]:
        """The block's map, half as large if `halve`."""
        stride, wide = 2 if self.halve else 1, _EXPANSION * self.features
        y = jax.nn.relu(Norm(self.norm)(self.conv(self.features, size=1, padding=0)(x), train))
        y = jax.nn.relu(Norm(self.norm)(self.conv(self.features, stride=stride)(y), train))
        y = Norm(self.norm)(self.conv(wide, size=1, padding=0)(y), train)
        if self.halve or x.shape[-1] != wide:
            x = Norm(self.norm)(self.conv(wide, size=1, padding=0, stride=stride)(x), train)
        return jax.nn.relu(x + y)
