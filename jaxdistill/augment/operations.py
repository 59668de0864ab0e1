"""Image operations with explicit parameters, differentiable in the pixels.

Each is a pure function of one image; `over_batch` maps it. All but the colour operations are linear in the pixels, and
what enters from outside the image is zero, which in normalised space is the mean colour. Positions and sizes are in
pixels, ``y`` before ``x`` wherever they come as a pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

__all__ = [
    "affine",
    "brightness",
    "channel_shift",
    "contrast",
    "cutout",
    "flip",
    "moved",
    "over_batch",
    "rotation",
    "sample_grid",
    "saturation",
    "scale",
    "shift",
]

Image: TypeAlias = Float[Array, "h w c"]


def over_batch(
    operation: Callable[..., Image], images: Float[Array, "n h w c"], *parameters: Shaped[Array, "k ..."]
) -> Float[Array, "n h w c"]:
    """Apply ``operation(image, *parameters)`` to each image.

    The leading dimension of the parameters is `n`, or 1 for parameters that all images share; what depends on shared
    parameters only (indices, weights) is then computed once.

    Args:
        operation: of one image, differentiable.
        images: the batch.
        parameters: of the operation, drawn before.
    """
    if parameters[0].shape[0] == 1:
        return jax.vmap(lambda image: operation(image, *(parameter[0] for parameter in parameters)))(images)
    return jax.vmap(operation)(images, *parameters)


def brightness(image: Image, offset: Float[Array, ""]) -> Image:
    """Add `offset` to every pixel."""
    return image + offset


def channel_shift(image: Image, offset: Float[Array, ""]) -> Image:
    """Add `offset` to every channel, and cut off at the least and the largest value that the image had."""
    return jnp.clip(image + offset, image.min(), image.max())


def saturation(image: Image, factor: Float[Array, ""]) -> Image:
    """Multiply each pixel's distance from its grey, the mean over channels, by `factor`."""
    grey = image.mean(axis=2, keepdims=True)
    return (image - grey) * factor + grey


def contrast(image: Image, factor: Float[Array, ""]) -> Image:
    """Multiply each pixel's distance from the mean of the image by `factor`."""
    mean = image.mean()
    return (image - mean) * factor + mean


def shift(image: Image, dy: Int[Array, ""], dx: Int[Array, ""], reach: tuple[int, int]) -> Image:
    """Show at ``(y, x)`` what was at ``(y + dy, x + dx)``; `reach` (static) bounds their absolute values.

    Args:
        image: one.
        dy: rows, downwards, from which it is taken.
        dx: columns, to the right, from which it is taken.
        reach: the largest size of each.
    """
    padded = jnp.pad(image, ((reach[0], reach[0]), (reach[1], reach[1]), (0, 0)))
    return jax.lax.dynamic_slice(padded, (reach[0] + dy, reach[1] + dx, 0), image.shape)


def cutout(image: Image, y: Int[Array, ""], x: Int[Array, ""], size: tuple[int, int]) -> Image:
    """Zero a box of `size` centred at ``(y, x)``; what lies beyond the border is cut off.

    Args:
        image: one.
        y: centre of the box.
        x: centre of the box.
        size: height and width of the box, static.
    """
    rows, columns = (
        (jnp.arange(length) >= centre - side // 2) & (jnp.arange(length) < centre - side // 2 + side)
        for length, centre, side in zip(image.shape, (y, x), size, strict=False)
    )
    return jnp.where((rows[:, None] & columns)[..., None], 0, image)


def flip(image: Image, flipped: Bool[Array, ""]) -> Image:
    """Mirror left and right if `flipped`."""
    return jnp.where(flipped, image[:, ::-1], image)


def scale(image: Image, sy: Float[Array, ""], sx: Float[Array, ""]) -> Image:
    """Sample at distances from the centre multiplied by `sy` and `sx` (below 1 magnifies), bilinearly.

    It equals `affine` with a diagonal matrix, at the price of two small matrix products.

    Args:
        image: one.
        sy: factor of the rows' distances from the centre.
        sx: factor of the columns'.
    """
    height, width, _ = image.shape
    return sample_grid(image, sy * _centred(height) + (height - 1) / 2, sx * _centred(width) + (width - 1) / 2)


def sample_grid(image: Image, rows: Float[Array, " h"], columns: Float[Array, " w"]) -> Image:
    """Bilinear samples at the pixel positions ``rows x columns``, zero outside the image.

    Args:
        image: one.
        rows: where to sample, in pixels from the first row.
        columns: where to sample, in pixels from the first column.
    """
    # The interpolation weight of a pixel is the hat function of its distance.
    weights_y, weights_x = (
        jnp.maximum(0, 1 - jnp.abs(positions[:, None] - jnp.arange(len(positions)))).astype(image.dtype)
        for positions in (rows, columns)
    )
    return jnp.einsum("yh,xw,hwc->yxc", weights_y, weights_x, image, precision="highest")


def rotation(degrees: Float[Array, ""]) -> Float[Array, "2 2"]:
    """The matrix that makes `affine` turn by `degrees`."""
    angle = jnp.deg2rad(degrees)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin]), jnp.stack([sin, cos])])


def affine(image: Image, matrix: Float[Array, "2 2"], align_corners: bool = False, border: bool = False) -> Image:
    """Bilinear samples at linearly mapped positions, zero outside the image.

    Args:
        image: what to sample.
        matrix: takes ``(x, y)`` of the output to ``(x, y)`` of the input; both run from -1 to 1 across the image.
        align_corners: whether -1 and 1 are the centres of the border pixels rather than their outer edges. As the map
            keeps the centre, this only matters to images that are not square: their aspect ratio depends on it.
        border: whether the nearest pixel is shown outside the image, and not zero.
    """
    height, width, channels = image.shape
    y, x = jnp.meshgrid(_centred(height), _centred(width), indexing="ij")
    aspect = (width - 1) / (height - 1) if align_corners else width / height
    source_x = matrix[0, 0] * x + matrix[0, 1] * aspect * y + (width - 1) / 2
    source_y = matrix[1, 0] / aspect * x + matrix[1, 1] * y + (height - 1) / 2
    if border:
        source_x, source_y = jnp.clip(source_x, 0, width - 1), jnp.clip(source_y, 0, height - 1)

    flat = image.reshape(height * width, channels)
    total = jnp.zeros_like(image)
    for tap_y in (jnp.floor(source_y), jnp.floor(source_y) + 1):
        for tap_x in (jnp.floor(source_x), jnp.floor(source_x) + 1):
            inside = (tap_x >= 0) & (tap_x < width) & (tap_y >= 0) & (tap_y < height)
            weight = inside * (1 - jnp.abs(source_x - tap_x)) * (1 - jnp.abs(source_y - tap_y))
            pixel = jnp.clip(tap_y, 0, height - 1) * width + jnp.clip(tap_x, 0, width - 1)
            total += weight[..., None].astype(image.dtype) * flat[pixel.astype(int)]
    return total


def moved(image: Image, matrix: Float[Array, "2 2"], shift: Float[Array, 2]) -> Image:
    """Bilinear samples at moved positions; what lies beyond the border is the nearest pixel of the border.

    Args:
        image: what to sample.
        matrix: takes ``(x, y)`` of the output, in pixels from the centre, to those of the input.
        shift: added to these positions, ``(y, x)``.
    """
    height, width, channels = image.shape
    y, x = jnp.meshgrid(_centred(height), _centred(width), indexing="ij")
    source_y = jnp.clip(matrix[1, 0] * x + matrix[1, 1] * y + shift[0] + (height - 1) / 2, 0, height - 1)
    source_x = jnp.clip(matrix[0, 0] * x + matrix[0, 1] * y + shift[1] + (width - 1) / 2, 0, width - 1)
    flat = image.reshape(height * width, channels)
    total = jnp.zeros_like(image)
    for tap_y in (jnp.floor(source_y), jnp.floor(source_y) + 1):
        for tap_x in (jnp.floor(source_x), jnp.floor(source_x) + 1):
            weight = (1 - jnp.abs(source_x - tap_x)) * (1 - jnp.abs(source_y - tap_y))
            pixel = jnp.minimum(tap_y, height - 1) * width + jnp.minimum(tap_x, width - 1)
            total += weight[..., None].astype(image.dtype) * flat[pixel.astype(int)]
    return total


def _centred(size: int) -> Float[Array, " size"]:
    """Pixel positions relative to the centre."""
    return jnp.arange(size) - (size - 1) / 2
