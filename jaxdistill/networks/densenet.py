"""DenseNet-121 for small images (Huang et al., CVPR 2017, arXiv:1608.06993), as IDC's code judges CIFAR by it (Kim et
al., ICML 2022, arXiv:2205.14959): 12 channels a layer, where ImageNet's has 32, and a 3x3 stem."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.networks.layers import POOLINGS, Conv, Norm
from jaxdistill.types import Features

__all__ = ["DenseNet"]

_EXPANSION = 4


class DenseNet(nn.Module):
    """Four blocks of layers that see all maps before them, then the mean over the image; images from 8 x 8.

    `growth` is what each layer adds, `layers` how many each block has.
    """

    growth: int = 12
    norm: str = "instance"
    layers: tuple[int, ...] = (6, 12, 24, 16)

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Features:
        """Embedding and the output of each block."""
        x = Conv(2 * self.growth, use_bias=False)(x)
        maps = []
        for block, count in enumerate(self.layers):
            if block:
                x = jax.nn.relu(Norm(self.norm)(x, train))
                x = POOLINGS["avg"](Conv(x.shape[-1] // 2, size=1, padding=0, use_bias=False)(x))
            for _ in range(count):
                x = DenseLayer(self.growth, self.norm)(x, train)
            maps.append(x)
        return Features(jax.nn.relu(Norm(self.norm)(x, train)).mean((1, 2)), tuple(maps))


class DenseLayer(nn.Module):
    """A 1x1 and a 3x3 convolution, each of what is normalised before it; the result goes before its input."""

    growth: int
    norm: str

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n h w _wider"]:
        """The layer's `growth` channels, and those of `x`."""
        y = jax.nn.relu(Norm(self.norm)(x, train))
        y = Conv(_EXPANSION * self.growth, size=1, padding=0, use_bias=False)(y)
        y = Conv(self.growth, use_bias=False)(jax.nn.relu(Norm(self.norm)(y, train)))
        return jnp.concatenate([y, x], axis=-1)
