"""The augmentation of real images in KIP (Nguyen, Chen & Lee, ICLR 2021, arXiv:2011.00050; the authors' notebook): of
pixels, before they are normalised or whitened.

The notebook names the operations, those of Keras' ImageDataGenerator, and not how far they go; that is ours.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.augment import operations
from jaxdistill.augment.dsa import Images, parse
from jaxdistill.augment.operations import over_batch
from jaxdistill.common import draws
from jaxdistill.common.promotion import standard
from jaxdistill.data.preprocess import Preprocess
from jaxdistill.types import Key

__all__ = ["Pixels"]

_OPERATIONS = ("rotate", "shift", "channel", "flip")


@dataclasses.dataclass(frozen=True, eq=False)
class Pixels:
    """Apply every operation, each with parameters drawn for each image; a `jaxdistill.types.Augment`.

    rotate and shift move the image in one bilinear interpolation, and what comes from beyond the border is the border's
    pixel; channel adds one number to all channels, cut off at the least and the largest value of the image; flip
    mirrors every second image, left to right. They come in this order. With `siamese` one draw serves the batch.

    Raises:
        UsageError: if `strategy` names an unknown operation.
    """

    strategy: str = "rotate_shift_channel_flip"
    """Operations, joined by ``_``."""
    rotate: float = 10.0
    """Largest angle, in degrees."""
    shift: float = 0.1
    """Largest shift, as a fraction of the side."""
    channel: float = 0.1
    """Largest number that is added, where black is 0 and white is 1."""
    preprocess: Preprocess | None = None
    """What the images went through, which is undone before and done again afterwards; None takes them as they are."""

    def __post_init__(self) -> None:
        parse(self.strategy, _OPERATIONS)

    @standard
    def __call__(self, key: Key, images: Images, siamese: bool) -> Images:
        """Move, shift channels and flip, those of the strategy, between two changes of space."""
        names = parse(self.strategy, _OPERATIONS)
        if not names:
            return images
        count = 1 if siamese else images.shape[0]
        key_move, key_channel, key_flip = jax.random.split(key, 3)
        between = self.preprocess or Preprocess(np.zeros(1, np.float32), np.ones(1, np.float32))
        with jax.default_matmul_precision("highest"):
            pixels = between.to_unit(images)
        if {"rotate", "shift"} & {*names}:
            u = draws.uniform(key_move, (3, count), images.dtype, -1.0, 1.0)
            degrees = u[0] * self.rotate * ("rotate" in names)
            shifts = u[1:] * self.shift * ("shift" in names) * jnp.array(images.shape[1:3])[:, None]
            pixels = over_batch(operations.moved, pixels, jax.vmap(operations.rotation)(degrees), shifts.T)
        if "channel" in names:
            offsets = draws.uniform(key_channel, (count,), images.dtype, -self.channel, self.channel)
            pixels = over_batch(operations.channel_shift, pixels, offsets)
        if "flip" in names:
            pixels = over_batch(operations.flip, pixels, jax.random.bernoulli(key_flip, 0.5, (count,)))
        with jax.default_matmul_precision("highest"):
            return between.of_unit(pixels)
