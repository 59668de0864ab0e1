"""Diffusion models that draw images of a class: architecture, noise schedule, training and sampling."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.diffusion import autoencoder as autoencoders
from jaxdistill.diffusion import schedule
from jaxdistill.diffusion.autoencoder import Autoencoder
from jaxdistill.diffusion.dit import Transformer
from jaxdistill.types import Generator, Key, PyTree

__all__ = ["Architecture", "make"]

_HOLD = 0.99
"""How much the factor of latents holds on to while the autoencoder learns."""


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A diffusion transformer and its diffusion."""

    patch: int = 2
    """Pixels (or latents) in a row of a patch."""
    hidden: int = 128
    """Numbers that stand for a patch."""
    layers: int = 4
    """Blocks of attention."""
    heads: int = 4
    """Of attention."""
    schedule: str = "cosine"
    """Noise schedule: cosine, or linear as DiT's."""
    diffusion_steps: int = 1000
    """Steps that it has in training."""
    prediction: Literal["noise", "velocity"] = "velocity"
    """What is predicted."""
    learned_variance: bool = False
    """Learn the variances of the reverse steps as well, as DiT does; only with --prediction noise."""
    latents: tuple[int, ...] = ()
    """Features of an autoencoder at each level, a side is halved between two: for images of 64 pixels and above; by
    default there is none, and pixels are diffused."""
    latent_channels: int = 4
    """Channels of its latents."""
    latent_blocks: int = 1
    """Its residual blocks at each level."""
    latent_groups: int = 8
    """Channels of it that are normalised together; has to divide all of --latents."""

    def __post_init__(self) -> None:
        if self.learned_variance and self.prediction != "noise":
            raise ValueError("variances are learned with --prediction noise only; leave --learned-variance out")

    def autoencoder(self, channels: int) -> Autoencoder | None:
        """What makes latents of images with so many channels, if anything does."""
        if not self.latents:
            return None
        return Autoencoder(channels, self.latents, self.latent_blocks, self.latent_groups, self.latent_channels)


def make(
    architecture: Architecture,
    image_shape: tuple[int, int, int],
    pixel_range: tuple[tuple[float, ...], tuple[float, ...]] | None,
    classes: int,
    *,
    params: PyTree | None = None,
    labels: tuple[int, ...] | None = None,
) -> Generator:
    """A generator.

    Args:
        architecture: its sizes.
        image_shape: ``(h, w, c)``.
        pixel_range: what the pixels 0 and 1 are in preprocessed space, by channel.
        classes: how many its label table has.
        params: as learned before; by default `Generator.init` makes new ones. Those learned before get DiffFit's
            scales in the first half of the blocks, which are 1 unless they have been learned too.
        labels: which of them the data set's classes are; by default all in their order.

    Raises:
        ValueError: for sizes that do not fit together, or whitened images.
    """
    if pixel_range is None:
        raise ValueError("a generator draws pixels between black and white, which whitening leaves; leave --zca out")
    black, white = (np.asarray(end, np.float32) for end in pixel_range)
    scaled = 0 if params is None else architecture.layers // 2
    module = Transformer(
        classes, architecture.patch, architecture.hidden, architecture.layers, architecture.heads,
        architecture.learned_variance, scaled,
    )  # fmt: skip
    autoencoder = architecture.autoencoder(image_shape[2])
    shape = tuple(image_shape)
    if autoencoder is not None:
        h, w = (side // autoencoder.factor for side in shape[:2])
        shape = h, w, autoencoder.latent_channels
    module.check(shape)
    template = jnp.zeros((1, *shape)), jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32)
    fresh = jax.jit(lambda key: module.init(key, *template)["params"])

    def init(key: Key) -> PyTree:
        if params is not None:
            return {**params, "model": _filled(jax.eval_shape(fresh, key), params["model"])}
        key_model, key_autoencoder = jax.random.split(key)
        compressing = {} if autoencoder is None else {**autoencoder.init(key_autoencoder), "factor": jnp.ones(())}
        return {"model": fresh(key_model), "autoencoder": compressing}

    def apply(
        params: PyTree, noisy: Float[Array, "n h w c"], times: Int[Array, " n"], labels: Int[Array, " n"]
    ) -> Float[Array, "n h w _outputs"]:
        return module.apply({"params": params["model"]}, noisy, times, labels)  # pyright: ignore[reportReturnType]

    def unit(images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        return 2 * (images - black) / (white - black) - 1

    def encode(params: PyTree, key: Key, images: Float[Array, "n h w c"]) -> Float[Array, "n _h _w _c"]:
        if autoencoder is None:
            return unit(images)
        latents = autoencoders.sample(key, autoencoder.encode(params["autoencoder"], unit(images)))
        return params["autoencoder"]["factor"] * latents

    def decode(params: PyTree, latents: Float[Array, "n _h _w _c"]) -> Float[Array, "n h w c"]:
        drawn = latents
        if autoencoder is not None:
            drawn = autoencoder.decode(params["autoencoder"], latents / params["autoencoder"]["factor"])
        shades = jnp.round((jnp.clip(drawn, -1, 1) + 1) * 127.5) / 255  # of 8 bits, as the original's files
        return black + shades * (white - black)

    def compress(params: PyTree, key: Key, images: Float[Array, "n h w c"]) -> tuple[Float[Array, ""], PyTree]:
        assert autoencoder is not None
        value, (_, _, latents) = autoencoders.loss(key, autoencoder, params, unit(images))
        now = jax.lax.stop_gradient(autoencoders.unit_factor(latents))
        return value, {**params, "factor": _HOLD * params["factor"] + (1 - _HOLD) * now}

    return Generator(
        init, apply, encode, decode, shape, tuple(range(classes)) if labels is None else labels, classes,
        schedule.make(architecture.schedule, architecture.diffusion_steps), architecture.prediction,
        architecture.learned_variance, autoencoder is None, params is not None,
        None if autoencoder is None else compress,
    )  # fmt: skip


def _filled(shapes: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Parameters of these shapes: those there are, and ones where scales are not."""
    return {
        name: _filled(part, params.get(name, {}))
        if isinstance(part, dict)
        else jnp.asarray(params[name])
        if name in params
        else jnp.ones(part.shape, part.dtype)
        for name, part in shapes.items()
    }
