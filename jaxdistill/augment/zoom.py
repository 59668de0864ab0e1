"""FRePo's augmentation in evaluation (Zhou, Nezhadarya & Ba, NeurIPS 2022, arXiv:2206.00719; the released code)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.augment import operations
from jaxdistill.augment.dsa import DSA, OPERATIONS, Images
from jaxdistill.augment.operations import Image, over_batch
from jaxdistill.common import draws
from jaxdistill.types import Key

__all__ = ["Zoom"]


@dataclasses.dataclass(frozen=True)
class Zoom(DSA):
    """A `DSA` with weaker colours and cut-outs, and windows at random places instead of scaling about the centre.

    Factors of ``color`` and ``scale`` are uniform in their logarithm. What the released code calls crop and translate
    is ``scale`` and ``crop`` here. Shifts are of parts of pixels too; a box that is cut out lies inside the image; what
    a window, a shift or a rotation shows beyond the image is the nearest pixel of its border.
    """

    brightness: float = 0.5
    saturation: float = 0.25
    """Largest logarithm of the factor."""
    contrast: float = 0.25
    """Largest logarithm of the factor."""
    cutout: float = 0.25
    scale: float = 1.25

    def operation(self, name: str) -> Callable[[Zoom, int, Key, Images], Images]:
        """``operation(config, count, key, images)``."""
        return _OWN.get(name, OPERATIONS[name])


def _color(config: DSA, count: int, key: Key, images: Images) -> Images:
    u_brightness, u_contrast, u_saturation = draws.uniform(key, (3, count), images.dtype, -1.0, 1.0)
    images = over_batch(operations.brightness, images, u_brightness * config.brightness / 2)
    images = over_batch(operations.contrast, images, jnp.exp(u_contrast * config.contrast))
    return over_batch(operations.saturation, images, jnp.exp(u_saturation * config.saturation))


def _window(config: Zoom, count: int, key: Key, images: Images) -> Images:
    reach = jnp.log(config.scale)
    u_zoom, u_y, u_x = draws.uniform(key, (3, count), images.dtype, -1.0, 1.0)

    def sampled(image: Image, zoom: Float[Array, ""], u_y: Float[Array, ""], u_x: Float[Array, ""]) -> Image:
        positions = []
        for length, u in zip(image.shape[:2], (u_y, u_x), strict=True):
            centre = u * jnp.abs(length * zoom - length) / 2
            positions.append((jnp.arange(length) - (length - 1) / 2 + centre) / zoom + (length - 1) / 2)
        return _bordered(image, *positions)

    return over_batch(sampled, images, jnp.exp(u_zoom * reach), u_y, u_x)


def _shift(config: DSA, count: int, key: Key, images: Images) -> Images:
    u_y, u_x = draws.uniform(key, (2, count), images.dtype, -1.0, 1.0) * config.crop

    def shifted(image: Image, u_y: Float[Array, ""], u_x: Float[Array, ""]) -> Image:
        height, width = image.shape[:2]
        return _bordered(image, jnp.arange(height) + u_y * height, jnp.arange(width) + u_x * width)

    return over_batch(shifted, images, u_y, u_x)


def _cutout(config: DSA, count: int, key: Key, images: Images) -> Images:
    height, width = images.shape[1:3]
    size = int(config.cutout * height), int(config.cutout * width)
    room = jnp.array([height - size[0] + 1, width - size[1] + 1])
    y, x = jax.random.randint(key, (2, count), 0, room[:, None])
    return over_batch(partial(operations.cutout, size=size), images, y + size[0] // 2, x + size[1] // 2)


def _rotate(config: DSA, count: int, key: Key, images: Images) -> Images:
    degrees = jax.random.uniform(key, (count,), images.dtype, -config.rotate, config.rotate)
    turned = partial(operations.affine, border=True)
    return over_batch(turned, images, jax.vmap(operations.rotation)(degrees))


def _bordered(image: Image, rows: Float[Array, " h"], columns: Float[Array, " w"]) -> Image:
    return operations.sample_grid(
        image, *(jnp.clip(at, 0, length - 1) for at, length in zip((rows, columns), image.shape[:2], strict=True))
    )


_OWN = {"color": _color, "scale": _window, "crop": _shift, "cutout": _cutout, "rotate": _rotate}
