"""EfficientNet-B0 (Tan & Le, ICML 2019, arXiv:1905.11946), as IDC's code judges ImageNet by it (Kim et al., ICML 2022,
arXiv:2205.14959), through the package efficientnet_pytorch.

Differs from that: nothing is dropped in training (there a fifth of the embedding, and up to a fifth of the residual
branches), since networks here draw nothing but their initial weights; windows lie as TensorFlow's ``SAME`` has them for
the image at hand, there for one of 224 pixels, which is the same wherever sizes are even.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from jaxdistill.networks.convolution_maps import LAYOUT
from jaxdistill.networks.layers import Conv, Norm, torch_uniform
from jaxdistill.types import Features

__all__ = ["EfficientNet"]

_STEM, _LAST, _SQUEEZE = 32, 1280, 4
_EPSILON = 1e-3
_STAGES = ((1, 3, 1, 16), (6, 3, 2, 24), (6, 5, 2, 40), (6, 3, 2, 80), (6, 5, 1, 112), (6, 5, 2, 192), (6, 3, 1, 320))
"""Expansion, window, stride of the first block, and channels."""


class EfficientNet(nn.Module):
    """Seven stages of inverted residual blocks, then the mean over the image.

    `width` is that of the stem, by which all others go; `blocks` says how many each stage has.
    """

    width: int = _STEM
    norm: str = "instance"
    blocks: tuple[int, ...] = (1, 2, 2, 3, 3, 4, 1)
    momentum: float = 0.01

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding and the output of each stage."""
        norm = functools.partial(Norm, self.norm, self.momentum, _EPSILON)
        x = Conv(self.width, padding=0, stride=2, use_bias=False)(_same(x, 3, 2))
        x = jax.nn.swish(norm()(x, train))
        maps = []
        for count, (expansion, size, stride, channels) in zip(self.blocks, _STAGES, strict=True):
            for block in range(count):
                features = channels * self.width // _STEM
                x = Inverted(features, expansion, size, 1 if block else stride, norm)(x, train)
            maps.append(x)
        x = Conv(_LAST * self.width // _STEM, size=1, padding=0, use_bias=False)(x)
        return Features(jax.nn.swish(norm()(x, train)).mean((1, 2)), tuple(maps))


class Inverted(nn.Module):
    """More channels, a convolution of each on its own, a gate for each, fewer channels; beside it the input, if it
    fits."""

    features: int
    expansion: int
    size: int
    stride: int
    norm: Callable[[], nn.Module]

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n _h _w _features"]:
        """The block's map."""
        y, inputs = x, x.shape[-1]
        if self.expansion > 1:
            y = Conv(self.expansion * inputs, size=1, padding=0, use_bias=False)(y)
            y = jax.nn.swish(self.norm()(y, train))
        y = jax.nn.swish(self.norm()(Depthwise(self.size, self.stride)(y), train))
        gate = Conv(max(1, inputs // _SQUEEZE), size=1, padding=0)(y.mean((1, 2), keepdims=True))
        y = y * jax.nn.sigmoid(Conv(y.shape[-1], size=1, padding=0)(jax.nn.swish(gate)))
        y = self.norm()(Conv(self.features, size=1, padding=0, use_bias=False)(y), train)
        return x + y if self.stride == 1 and inputs == self.features else y


class Depthwise(nn.Module):
    """Square convolution of each channel on its own, without a bias."""

    size: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n _h _w c"]:
        """The convolution, in the wider of the two types."""
        channels = x.shape[-1]
        kernel = self.param("kernel", torch_uniform(self.size**2), (self.size, self.size, 1, channels))
        dtype = jnp.result_type(x, kernel)
        x = _same(x, self.size, self.stride).astype(dtype)
        return lax.conv_general_dilated(
            x, kernel.astype(dtype), (self.stride,) * 2, "VALID", dimension_numbers=LAYOUT, feature_group_count=channels
        )


def _same(x: Float[Array, "n h w c"], size: int, stride: int) -> Float[Array, "n _h _w c"]:
    """An image with so many zeros around it that ``ceil(side / stride)`` windows fit, one more after than before it."""
    total = [max((-(-side // stride) - 1) * stride + size - side, 0) for side in x.shape[1:3]]
    return jnp.pad(x, ((0, 0), *((more // 2, more - more // 2) for more in total), (0, 0)))
