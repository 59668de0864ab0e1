"""The autoencoder whose latents are diffused (Rombach et al., CVPR 2022, arXiv:2112.10752, section 3.1 and appendix G).

Encoder and decoder are laid out as Stable Diffusion's, so that the released weights can be read in
(`jaxdistill.diffusion.convert`). Deviation: trained from scratch here it has neither a perceptual nor an adversarial
loss, which need networks of their own.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from jaxdistill.common import draws
from jaxdistill.diffusion.attention import attend
from jaxdistill.errors import UsageError
from jaxdistill.networks.layers import Conv
from jaxdistill.types import Key, PyTree

__all__ = ["STABLE_DIFFUSION_FACTOR", "Autoencoder", "Posterior", "Rebuilt", "loss", "sample", "unit_factor"]

STABLE_DIFFUSION_FACTOR = 0.18215
"""What the latents of Stable Diffusion's autoencoder are multiplied by before they are diffused."""


class Posterior(NamedTuple):
    """A normal distribution of latents for each image."""

    mean: Float[Array, "n h w c"]
    log_variance: Float[Array, "n h w c"]


@dataclasses.dataclass(frozen=True)
class Autoencoder:
    """Images to latents, smaller by `factor` on each side, and back. Parameters are ``{"encoder", "decoder"}``."""

    channels: int = 3
    """Channels of the images."""
    widths: tuple[int, ...] = (128, 256, 512, 512)
    """Features per level; each level but the last halves the sides."""
    blocks: int = 2
    """Residual blocks per level of the encoder; the decoder has one more."""
    groups: int = 32
    """Groups of channels that are normalised together."""
    latent_channels: int = 4
    """Channels of the latents."""

    def __post_init__(self) -> None:
        """See that the sizes fit together."""
        if not self.widths or min(self.channels, self.blocks, self.groups, self.latent_channels, *self.widths) < 1:
            raise UsageError("an autoencoder has at least one level, channel, residual block, group and latent channel")
        if any(width % self.groups for width in self.widths):
            raise UsageError(f"give widths that are multiples of the {self.groups} groups, not {self.widths}")

    @property
    def factor(self) -> int:
        """How much smaller a side of the latents is."""
        return 2 ** (len(self.widths) - 1)

    def init(self, key: Key) -> PyTree:
        """Fresh parameters, distributed as PyTorch's defaults."""
        f, inputs = self.factor, {"encoder": self.channels, "decoder": self.latent_channels}
        halves = {"encoder": self._encoder(), "decoder": self._decoder()}
        shapes = {
            half: jax.eval_shape(module.init, key, jax.ShapeDtypeStruct((1, f, f, inputs[half]), jnp.float32))["params"]
            for half, module in halves.items()
        }
        flat: dict[Any, Any] = flatten_dict(shapes)
        # All numbers are one draw: a draw for each array takes four times as long to compile.
        sizes = [leaf.size for leaf in flat.values()]
        numbers = jnp.split(draws.uniform(key, (sum(sizes),), jnp.float32, -1.0, 1.0), np.cumsum(sizes)[:-1])
        return unflatten_dict({path: _initial(flat, path, n) for path, n in zip(flat, numbers, strict=True)})

    def encode(self, params: PyTree, images: Float[Array, "n h w c"]) -> Posterior:
        """The latents of images in [-1, 1].

        Raises:
            UsageError: for images that cannot be halved so often, or have other channels.
        """
        _, h, w, c = images.shape
        if h % self.factor or w % self.factor or c != self.channels:
            raise UsageError(
                f"this autoencoder takes {self.channels} channels and sides that are multiples of {self.factor}, "
                f"not images of {h}x{w}x{c}; resize them, or give other channels or fewer widths"
            )
        moments: Any = self._encoder().apply({"params": params["encoder"]}, images)
        mean, log_variance = jnp.split(moments, 2, axis=3)
        return Posterior(mean, jnp.clip(log_variance, -30.0, 20.0))

    def decode(self, params: PyTree, latents: Float[Array, "n h w c"]) -> Float[Array, "n _h _w _c"]:
        """The images of latents, about in [-1, 1] but not cut off there."""
        return self._decoder().apply({"params": params["decoder"]}, latents)  # pyright: ignore[reportReturnType]

    def _encoder(self) -> nn.Module:
        return _Encoder(self.widths, self.blocks, self.groups, 2 * self.latent_channels)

    def _decoder(self) -> nn.Module:
        return _Decoder(self.widths[::-1], self.blocks + 1, self.groups, self.channels)


def sample(key: Key, posterior: Posterior) -> Float[Array, "n h w c"]:
    """Draw latents."""
    noise = draws.normal(key, posterior.mean.shape, posterior.mean.dtype)
    return posterior.mean + jnp.exp(posterior.log_variance / 2) * noise


def unit_factor(latents: Float[Array, "n h w c"]) -> Float[Array, ""]:
    """What latents are multiplied by to have unit variance, over all of their numbers (appendix G of the paper)."""
    return 1 / jnp.std(latents)


class Rebuilt(NamedTuple):
    """What came of a batch."""

    error: Float[Array, ""]
    """Mean error of a pixel's channel."""
    divergence: Float[Array, ""]
    """Of an image's latents from the standard normal distribution, in nats."""
    latents: Float[Array, "n h w c"]
    """As they were drawn."""


def loss(
    key: Key,
    autoencoder: Autoencoder,
    params: PyTree,
    images: Float[Array, "n h w c"],
    *,
    weight: float = 1e-6,
    squared: bool = False,
) -> tuple[Float[Array, ""], Rebuilt]:
    """How badly images are rebuilt from latents, plus `weight` times the latents' divergence from noise.

    Both are sums over an image, and averaged over images, as in the paper; both are divided by the numbers that an
    image has (h * w * c), which changes nothing between them: the error can be read as that of a number.

    Args:
        key: for the latents that are drawn.
        autoencoder: its sizes.
        params: its parameters.
        images: in [-1, 1].
        weight: of the divergence; the paper's is 1e-6.
        squared: squared differences in place of absolute ones.
    """
    posterior = autoencoder.encode(params, images)
    latents = sample(key, posterior)
    difference = images - autoencoder.decode(params, latents)
    error = jnp.mean(difference**2 if squared else jnp.abs(difference))
    mean, log_variance = posterior
    divergence = jnp.sum(mean**2 + jnp.exp(log_variance) - 1 - log_variance) / 2 / len(images)
    total = error + weight * divergence / math.prod(images.shape[1:])
    return total, Rebuilt(error, divergence, latents)


def _initial(shapes: dict, path: tuple[str, ...], numbers: Float[Array, " size"]) -> Float[Array, ...]:
    """A layer's weights and biases within 1 / sqrt(fan_in), normalisation that does nothing more."""
    kernel, shape = shapes.get((*path[:-1], "kernel")), shapes[path].shape
    if kernel is None:
        return jnp.full(shape, float(path[-1] == "scale"))
    return numbers.reshape(shape) / math.sqrt(math.prod(kernel.shape[:-1]))


def _norm(groups: int, name: str) -> nn.GroupNorm:
    # Features are far from zero in the released weights, where the fast formula for variances loses digits.
    return nn.GroupNorm(groups, epsilon=1e-6, use_fast_variance=False, name=name)


class _Residual(nn.Module):
    width: int
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w _width"]:
        y = Conv(self.width, name="conv1")(nn.silu(_norm(self.groups, "norm1")(x)))
        y = Conv(self.width, name="conv2")(nn.silu(_norm(self.groups, "norm2")(y)))
        return y + (x if x.shape[3] == self.width else Conv(self.width, size=1, padding=0, name="shortcut")(x))


class _Attention(nn.Module):
    groups: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        n, h, w, c = x.shape
        tokens = _norm(self.groups, "norm")(x).reshape(n, h * w, 1, c)
        query, key, value = (nn.Dense(c, name=name)(tokens) for name in ("query", "key", "value"))
        attended = attend(query, key, value).reshape(n, h, w, c)
        return x + nn.Dense(c, name="projection")(attended)


def _middle(x: Float[Array, "n h w c"], groups: int) -> Float[Array, "n h w c"]:
    x = _Residual(x.shape[3], groups, name="middle_0")(x)
    return _Residual(x.shape[3], groups, name="middle_1")(_Attention(groups, name="attention")(x))


class _Encoder(nn.Module):
    widths: tuple[int, ...]
    blocks: int
    groups: int
    outputs: int

    @nn.compact
    def __call__(self, images: Float[Array, "n h w c"]) -> Float[Array, "n _h _w _outputs"]:
        x = Conv(self.widths[0], name="conv_in")(images)
        for level, width in enumerate(self.widths):
            for block in range(self.blocks):
                x = _Residual(width, self.groups, name=f"level_{level}_block_{block}")(x)
            if level + 1 < len(self.widths):
                below_and_right = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
                x = Conv(width, padding=0, stride=2, name=f"level_{level}_resized")(below_and_right)
        x = nn.silu(_norm(self.groups, "norm_out")(_middle(x, self.groups)))
        return Conv(self.outputs, size=1, padding=0, name="latent")(Conv(self.outputs, name="conv_out")(x))


class _Decoder(nn.Module):
    widths: tuple[int, ...]
    blocks: int
    groups: int
    outputs: int

    @nn.compact
    def __call__(self, latents: Float[Array, "n h w c"]) -> Float[Array, "n _h _w _outputs"]:
        x = Conv(latents.shape[3], size=1, padding=0, name="latent")(latents)
        x = _middle(Conv(self.widths[0], name="conv_in")(x), self.groups)
        for level, width in enumerate(self.widths):
            for block in range(self.blocks):
                x = _Residual(width, self.groups, name=f"level_{level}_block_{block}")(x)
            if level + 1 < len(self.widths):
                x = Conv(width, name=f"level_{level}_resized")(x.repeat(2, axis=1).repeat(2, axis=2))
        return Conv(self.outputs, name="conv_out")(nn.silu(_norm(self.groups, "norm_out")(x)))
