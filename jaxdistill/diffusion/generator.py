"""A generator as pure functions: a diffusion transformer on pixels, or on an autoencoder's latents."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int

from jaxdistill.common.promotion import standard, standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.diffusion import autoencoder as autoencoders
from jaxdistill.diffusion import schedule
from jaxdistill.diffusion.autoencoder import Autoencoder
from jaxdistill.diffusion.dit import Transformer
from jaxdistill.errors import UsageError
from jaxdistill.types import Generator, Key, PyTree

__all__ = ["Architecture", "make"]

_HOLD = 0.99
"""How much the factor of latents holds on to while the autoencoder learns."""


@renamed(patch="patch_size", hidden="hidden_size", heads="num_heads", layers="num_layers")
@dataclasses.dataclass(frozen=True)
class Architecture:
    """A diffusion transformer and its diffusion."""

    patch_size: int = 2
    """Side of the square patches that the transformer sees, in pixels (or latents)."""
    hidden_size: int = 128
    """Width of the transformer: numbers that stand for a patch."""
    num_layers: int = 4
    """Blocks of the transformer, one after the other."""
    num_heads: int = 4
    """Attention heads in each block of the transformer; a divisor of --hidden-size."""
    schedule: str = "cosine"
    """Noise schedule of the diffusion: cosine, or linear as DiT's."""
    diffusion_steps: int = 1000
    """Noise levels, from image to noise, that the generator is trained on."""
    prediction: Literal["noise", "velocity"] = "velocity"
    """What the generator predicts of a noisy image: its noise, or the velocity between image and noise."""
    learned_variance: bool = False
    """Learn the variances of the reverse steps as well, as DiT does; only with --prediction noise."""
    latents: tuple[int, ...] = ()
    """Features of the autoencoder at each level, a side is halved between two: for images of 64 pixels and above; by
    default there is no autoencoder, and pixels are diffused."""
    latent_channels: int = 4
    """Channels of the autoencoder's latents."""
    latent_blocks: int = 1
    """Residual blocks of the autoencoder at each level."""
    latent_groups: int = 8
    """Groups in which the autoencoder's channels are normalised; has to divide all of --latents."""

    def __post_init__(self) -> None:
        if self.prediction not in ("noise", "velocity"):
            raise UsageError(f"what is predicted is noise or velocity, not {self.prediction!r}")
        if self.learned_variance and self.prediction != "noise":
            raise UsageError("variances are learned where `prediction` is noise only; leave `learned_variance` out")
        sizes = {name: getattr(self, name) for name in ("latent_channels", "latent_blocks", "latent_groups")}
        if not self.latents and sizes != {"latent_channels": 4, "latent_blocks": 1, "latent_groups": 8}:
            raise UsageError("there are no latents without an autoencoder; give its `latents`, or leave the others out")

    def autoencoder(self, channels: int) -> Autoencoder | None:
        """What makes latents of images with so many channels, if anything does."""
        if not self.latents:
            return None
        return Autoencoder(channels, self.latents, self.latent_blocks, self.latent_groups, self.latent_channels)


@standard
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
        pixel_range: what the pixels 0 and 1 are in preprocessed space, by channel (`RealData.pixel_range`).
        classes: how many its label table has.
        params: as learned before; by default `Generator.init` makes new ones. Those learned before get DiffFit's
            scales in the first half of the blocks, which are 1 unless they have been learned too.
        labels: which of them the data set's classes are; by default all in their order.

    Raises:
        UsageError: for sizes that do not fit together, or whitened images.
    """
    if pixel_range is None:
        raise UsageError("a generator draws pixels between black and white, which whitening leaves; leave `zca` out")
    black, white = (np.asarray(end, np.float32) for end in pixel_range)
    space = _Space(black, white, architecture.autoencoder(image_shape[2]))
    shape = space.shape(image_shape)
    scaled = 0 if params is None else _scaled(params["model"]) or architecture.num_layers // 2
    module = Transformer(
        classes, architecture.patch_size, architecture.hidden_size, architecture.num_layers, architecture.num_heads,
        architecture.learned_variance, scaled,
    )  # fmt: skip
    module.check(shape)
    template = jnp.zeros((1, *shape)), jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32)
    fresh = jax.jit(lambda key: module.init(key, *template)["params"])
    if params is not None:
        params = {**params, "model": _with_scales(jax.eval_shape(fresh, jax.random.key(0)), params["model"])}
        if space.autoencoder is not None:
            _same(jax.eval_shape(space.init, jax.random.key(0)), params["autoencoder"])

    def init(key: Key) -> PyTree:
        if params is not None:
            return jax.tree.map(jnp.array, params)  # copies, since a state may be donated
        key_model, key_autoencoder = jax.random.split(key)
        return {"model": fresh(key_model), "autoencoder": space.init(key_autoencoder)}

    def apply(
        params: PyTree, noisy: Float[Array, "n h w c"], times: Int[Array, " n"], labels: Int[Array, " n"]
    ) -> Float[Array, "n h w _outputs"]:
        return module.apply({"params": params["model"]}, noisy, times, labels)  # pyright: ignore[reportReturnType]

    return standardised(Generator(
        init=init, apply=apply, encode=space.encode, decode=space.decode, latent_shape=shape,
        compress=None if space.autoencoder is None else space.compress,
        labels=tuple(range(classes)) if labels is None else labels, null=classes,
        schedule=schedule.make(architecture.schedule, architecture.diffusion_steps), prediction=architecture.prediction,
        learned_variance=architecture.learned_variance, bounded=space.autoencoder is None, trained=params is not None,
    ))  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)
class _Space:
    """From preprocessed images to what is diffused, and back; `params` are the generator's."""

    black: Float[np.ndarray, " c"]
    white: Float[np.ndarray, " c"]
    autoencoder: Autoencoder | None

    def shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Of what is diffused.

        Raises:
            UsageError: if the images have no latents.
        """
        if self.autoencoder is None:
            return image_shape
        (h, w, _), factor = image_shape, self.autoencoder.factor
        if h % factor or w % factor:
            raise UsageError(
                f"{len(self.autoencoder.widths)} levels of `latents` take sides that are multiples of {factor}, and "
                f"the images have {h}x{w}; give fewer levels"
            )
        return h // factor, w // factor, self.autoencoder.latent_channels

    def init(self, key: Key) -> PyTree:
        return {} if self.autoencoder is None else {**self.autoencoder.init(key), "factor": jnp.ones(())}

    def unit(self, images: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
        return 2 * (images - self.black) / (self.white - self.black) - 1

    def encode(self, params: PyTree, key: Key, images: Float[Array, "n h w c"]) -> Float[Array, "n _h _w _c"]:
        if self.autoencoder is None:
            return self.unit(images)
        latents = autoencoders.sample(key, self.autoencoder.encode(params["autoencoder"], self.unit(images)))
        return params["autoencoder"]["factor"] * latents

    def decode(self, params: PyTree, latents: Float[Array, "n _h _w _c"]) -> Float[Array, "n h w c"]:
        drawn = latents
        if self.autoencoder is not None:
            drawn = self.autoencoder.decode(params["autoencoder"], latents / params["autoencoder"]["factor"])
        shades = jnp.round((jnp.clip(drawn, -1, 1) + 1) * 127.5) / 255  # of 8 bits, as the original's files
        return jnp.asarray(self.black + shades * (self.white - self.black))

    def compress(
        self, params: PyTree, key: Key, images: Float[Array, "n h w c"], step: Int[Array, ""]
    ) -> tuple[Float[Array, ""], PyTree]:
        assert self.autoencoder is not None
        value, (_, _, latents) = autoencoders.loss(key, self.autoencoder, params, self.unit(images))
        now = jax.lax.stop_gradient(autoencoders.unit_factor(latents))
        hold = jnp.minimum(_HOLD, step / (step + 2))  # what it was before there were latents is forgotten at once
        return value, {**params, "factor": hold * params["factor"] + (1 - hold) * now}


def _scaled(model: dict[str, Any]) -> int:
    """How many blocks have scales."""
    return sum("gamma_qkv" in part for part in model.values() if isinstance(part, dict))


def _with_scales(shapes: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Parameters with the scales that they lack: ones.

    Raises:
        UsageError: if they are not those of the architecture otherwise.
    """
    flat: dict[str, Any] = flatten_dict(params, sep="/")
    wanted: dict[str, Any] = flatten_dict(shapes, sep="/")
    new = {name: jnp.ones(leaf.shape) for name, leaf in wanted.items() if "/gamma_" in name and name not in flat}
    _same(shapes, found := unflatten_dict({**flat, **new}, sep="/"))
    return found


def _same(shapes: Any, params: Any) -> None:
    """See that parameters have the names and shapes that they should.

    Raises:
        UsageError: if not.
    """
    flat: Any = (flatten_dict(tree, sep="/") for tree in (shapes, params))
    ours, theirs = ({name: np.shape(leaf) for name, leaf in tree.items()} for tree in flat)
    if differ := sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name)):
        raise UsageError(f"these parameters are of another architecture: {', '.join(differ[:3])} differ")
