"""The usual augmentation of CIFAR-10 when networks are trained on it, which DD uses for real images (Wang et al., 2018,
arXiv:1811.10959)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxdistill.augment import operations
from jaxdistill.augment.dsa import Images, parse
from jaxdistill.augment.operations import Image, over_batch
from jaxdistill.common.promotion import standard
from jaxdistill.types import Key

__all__ = ["Reflect"]

_PADDING = 4


@dataclasses.dataclass(frozen=True)
class Reflect:
    """Apply every operation, each with parameters drawn for each image; a `jaxdistill.types.Augment`.

    crop pads by 4 pixels, mirrored about the border pixels, and cuts out a window of the old size; flip mirrors every
    second image, left to right. With `siamese` one draw serves the batch.

    Raises:
        UsageError: if `strategy` names an unknown operation.
    """

    strategy: str = "crop_flip"
    """``crop``, ``flip`` or both, joined by ``_``."""

    def __post_init__(self) -> None:
        parse(self.strategy, ("crop", "flip"))

    @standard
    def __call__(self, key: Key, images: Images, siamese: bool) -> Images:
        """Crop, then flip, those of the strategy."""
        names = parse(self.strategy, ("crop", "flip"))
        count = 1 if siamese else images.shape[0]
        key_crop, key_flip = jax.random.split(key)
        if "crop" in names:
            starts = jax.random.randint(key_crop, (2, count), 0, 2 * _PADDING + 1)
            images = over_batch(_window, images, *starts)
        if "flip" in names:
            images = over_batch(operations.flip, images, jax.random.bernoulli(key_flip, 0.5, (count,)))
        return images


def _window(image: Image, y: Int[Array, ""], x: Int[Array, ""]) -> Image:
    padded = jnp.pad(image, ((_PADDING, _PADDING), (_PADDING, _PADDING), (0, 0)), mode="reflect")
    return jax.lax.dynamic_slice(padded, (y, x, 0), image.shape)
