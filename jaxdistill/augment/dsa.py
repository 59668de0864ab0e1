"""Differentiable siamese augmentation, DSA (Zhao & Bilen, ICML 2021, arXiv:2102.08259).

Differs from the released code: keys instead of the clock, and parameters of a siamese call are drawn once rather than
once per image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.augment import operations
from jaxdistill.augment.operations import over_batch
from jaxdistill.common import draws
from jaxdistill.common.promotion import standard
from jaxdistill.errors import UsageError
from jaxdistill.types import Key

__all__ = ["DSA", "OPERATIONS", "Images", "parse"]

Images: TypeAlias = Float[Array, "n h w c"]


@dataclasses.dataclass(frozen=True)
class DSA:
    """Each call draws one operation, then its parameters, and applies it; a `jaxdistill.types.Augment`.

    The operation is the same for the whole batch in any case; `siamese` decides whether its parameters are, too. The
    same key gives siamese batches of any size the same transform.

    Raises:
        UsageError: if `strategy` names an unknown operation.

    Example:
        >>> import jax
        >>> images = jax.numpy.ones((4, 8, 8, 3))
        >>> DSA("crop_flip")(jax.random.key(0), images, siamese=True).shape
        (4, 8, 8, 3)
    """

    strategy: str = "color_crop_cutout_flip_scale_rotate"
    """Operations to draw from, joined by ``_``; ``none`` (or nothing) leaves images as they are."""
    brightness: float = 1.0
    """Length of the interval, centred at 0, of what is added."""
    saturation: float = 2.0
    """Upper end of the interval of the factor; the lower is 0."""
    contrast: float = 0.5
    """Lower end of the interval of the factor, whose length is 1."""
    crop: float = 0.125
    """Largest shift, as a fraction of the side."""
    cutout: float = 0.5
    """Side of the box, as a fraction of the image's."""
    flip: float = 0.5
    """Probability."""
    scale: float = 1.2
    """Largest factor; its inverse is the smallest."""
    rotate: float = 15.0
    """Largest angle, in degrees."""
    align_corners: bool = False
    """Coordinates of `rotate`; see `jaxdistill.augment.operations.affine`."""

    def __post_init__(self) -> None:
        parse(self.strategy, tuple(OPERATIONS))

    @standard
    def __call__(self, key: Key, images: Images, siamese: bool) -> Images:
        """One operation for the batch, of those of the strategy."""
        names = parse(self.strategy, tuple(OPERATIONS))
        if not names:
            return images
        count = 1 if siamese else images.shape[0]
        key_operation, key_parameters = jax.random.split(key)
        drawn = jax.random.randint(key_operation, (), 0, len(names))
        branches = [partial(self.operation(name), self, count) for name in names]
        return jax.lax.switch(drawn, branches, key_parameters, images)

    def operation(self, name: str) -> Callable[[DSA, int, Key, Images], Images]:
        """``operation(config, count, key, images)``; see `OPERATIONS`."""
        return OPERATIONS[name]


def parse(strategy: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """Split a strategy into the names of its operations; none for ``none`` and the empty string.

    Raises:
        UsageError: if a name is not one of `known`.
    """
    names = () if strategy in ("", "none") else tuple(strategy.split("_"))
    for name in names:
        if name not in known:
            where = f" in {strategy!r}" if name != strategy else ""
            raise UsageError(
                f"unknown augmentation {name!r}{where}: join any of {', '.join(known)} by '_', or say 'none'"
            )
    return names


def _color(config: DSA, count: int, key: Key, images: Images) -> Images:
    u_brightness, u_saturation, u_contrast = draws.uniform(key, (3, count), images.dtype)
    images = over_batch(operations.brightness, images, (u_brightness - 0.5) * config.brightness)
    images = over_batch(operations.saturation, images, u_saturation * config.saturation)
    return over_batch(operations.contrast, images, u_contrast + config.contrast)


def _crop(config: DSA, count: int, key: Key, images: Images) -> Images:
    reach = _portion(images, config.crop)
    bound = jnp.array(reach)[:, None]
    dy, dx = jax.random.randint(key, (2, count), -bound, bound + 1)
    return over_batch(partial(operations.shift, reach=reach), images, dy, dx)


def _cutout(config: DSA, count: int, key: Key, images: Images) -> Images:
    size = _portion(images, config.cutout)
    # The centre of an even box lies between pixels and so has one more position.
    positions = jnp.array([length + 1 - side % 2 for length, side in zip(images.shape[1:3], size, strict=True)])
    y, x = jax.random.randint(key, (2, count), 0, positions[:, None])
    return over_batch(partial(operations.cutout, size=size), images, y, x)


def _flip(config: DSA, count: int, key: Key, images: Images) -> Images:
    return over_batch(operations.flip, images, jax.random.bernoulli(key, config.flip, (count,)))


def _scale(config: DSA, count: int, key: Key, images: Images) -> Images:
    sy, sx = draws.uniform(key, (2, count), images.dtype, 1 / config.scale, config.scale)
    return over_batch(operations.scale, images, sy, sx)


def _rotate(config: DSA, count: int, key: Key, images: Images) -> Images:
    degrees = jax.random.uniform(key, (count,), images.dtype, -config.rotate, config.rotate)
    affine = partial(operations.affine, align_corners=config.align_corners)
    return over_batch(affine, images, jax.vmap(operations.rotation)(degrees))


def _portion(images: Images, fraction: float) -> tuple[int, int]:
    """A fraction of height and width in whole pixels, half rounded up."""
    height, width = (int(fraction * length + 0.5) for length in images.shape[1:3])
    return height, width


OPERATIONS: dict[str, Callable[[DSA, int, Key, Images], Images]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}
"""``operation(config, count, key, images)`` draws `count` parameters, 1 or one per image, and applies them."""
