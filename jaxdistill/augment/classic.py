"""DC's own augmentation, used when its sets are evaluated (Zhao, Mopuri & Bilen, ICLR 2021, arXiv:2006.05929).

Deviation: rotation is bilinear, where the original interpolates by cubic splines on the host.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.augment import operations
from jaxdistill.augment.dsa import Images, parse
from jaxdistill.augment.operations import over_batch
from jaxdistill.common import draws
from jaxdistill.common.promotion import standard
from jaxdistill.types import Key

__all__ = ["Classic", "resize_nearest"]

_PADDING = 4


@dataclasses.dataclass(frozen=True)
class Classic:
    """Apply one operation, drawn for each image, of crop, scale, rotate and noise; a `jaxdistill.types.Augment`.

    crop shifts by -4 to 3 pixels; scale resizes by independent factors of 0.8 to 1.2; rotate turns by -45 to 44 whole
    degrees; noise has a standard deviation of 0.001. Crop and rotate fill with the mean colour of the batch, scale with
    zero. With `siamese` one draw, of the operation too, serves the batch.

    Raises:
        UsageError: if `strategy` names an unknown operation.
    """

    strategy: str = "crop_scale_rotate"
    """Operations to draw from, joined by ``_``; DC's choice for MNIST, and ``crop_noise`` for batch normalisation."""

    def __post_init__(self) -> None:
        parse(self.strategy, tuple(_OPERATIONS))

    @standard
    def __call__(self, key: Key, images: Images, siamese: bool) -> Images:
        """One operation for each image; with `siamese`, one for all."""
        names = parse(self.strategy, tuple(_OPERATIONS))
        if not names:
            return images
        count = 1 if siamese else images.shape[0]
        key_choice, *keys = jax.random.split(key, 1 + len(names))
        candidates = [_OPERATIONS[name](count, key, images) for key, name in zip(keys, names, strict=True)]
        choice = jax.random.randint(key_choice, (count, 1, 1, 1), 0, len(names))
        return jnp.select([choice == number for number in range(len(names))], candidates)


def resize_nearest(image: Float[Array, "h w c"], fy: Float[Array, ""], fx: Float[Array, ""]) -> Float[Array, "h w c"]:
    """Resize by `fy` and `fx` to the nearest pixel, then cut or zero-pad about the centre to the old size.

    Args:
        image: one.
        fy: factor of its height.
        fx: factor of its width.
    """
    sizes = image.shape[:2]
    resized = [jnp.floor(factor * size) for factor, size in zip((fy, fx), sizes, strict=True)]
    canvas = jnp.maximum(jnp.maximum(*resized), max(sizes))

    def source(size: int, new_size: Float[Array, ""]) -> Float[Array, " _size"]:
        # The resized image and the old size are both centred, rounded down, on a canvas that holds either.
        position = jnp.arange(size) + (canvas - size) // 2 - (canvas - new_size) // 2
        inside = (position >= 0) & (position < new_size)
        return jnp.where(inside, jnp.floor(position * size / new_size), -1)

    rows, columns = (source(size, new_size) for size, new_size in zip(sizes, resized, strict=True))
    return operations.sample_grid(image, rows, columns)


def _around_mean(transform: Callable[[Images], Images], images: Images) -> Images:
    """Let a transform that fills with zero fill with the mean colour of the batch."""
    mean = images.mean(axis=(0, 1, 2))
    return transform(images - mean) + mean


def _crop(count: int, key: Key, images: Images) -> Images:
    dy, dx = jax.random.randint(key, (2, count), -_PADDING, _PADDING)
    shift = partial(operations.shift, reach=(_PADDING, _PADDING))
    return _around_mean(lambda images: over_batch(shift, images, dy, dx), images)


def _scale(count: int, key: Key, images: Images) -> Images:
    fy, fx = draws.uniform(key, (2, count), images.dtype, 0.8, 1.2)
    return over_batch(resize_nearest, images, fy, fx)


def _rotate(count: int, key: Key, images: Images) -> Images:
    degrees = jax.random.randint(key, (count,), -45, 45).astype(images.dtype)
    matrices = jax.vmap(operations.rotation)(degrees)
    return _around_mean(lambda images: over_batch(operations.affine, images, matrices), images)


def _noise(count: int, key: Key, images: Images) -> Images:
    return images + 0.001 * draws.normal(key, (count, *images.shape[1:]), images.dtype)


_OPERATIONS: dict[str, Callable[[int, Key, Images], Images]] = {
    "crop": _crop,
    "scale": _scale,
    "rotate": _rotate,
    "noise": _noise,
}
