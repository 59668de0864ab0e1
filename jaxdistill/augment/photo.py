"""Augmentation of photographs, as networks are trained on ImageNet: resized crop, flip, colour jitter, lighting.

Source: the evaluation of IDC (Kim et al., ICML 2022, arXiv:2205.14959) and of Minimax Diffusion (Gu et al., CVPR 2024,
arXiv:2311.15529) on ImageNet, by their code; lighting is Krizhevsky et al., NeurIPS 2012, section 4.1.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.augment import operations
from jaxdistill.augment.dsa import Images, parse
from jaxdistill.augment.operations import Image, over_batch
from jaxdistill.common import draws
from jaxdistill.common.promotion import standard
from jaxdistill.types import Key

__all__ = ["IMAGENET", "Photo", "jitter", "resized_crop"]

_TRIES = 10
_GREY = (0.299, 0.587, 0.114)
_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
_EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
"""The principal axes of ImageNet's colours in [0, 1], in columns, and what the code has as their eigenvalues."""
_MEAN, _STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
IMAGENET: tuple[tuple[float, ...], tuple[float, ...]] = (
    tuple((-_MEAN / _STD).tolist()),
    tuple(((1 - _MEAN) / _STD).tolist()),
)
"""Black and white of images that are normalised as ImageNet is."""


@dataclasses.dataclass(frozen=True)
class Photo:
    """Apply every operation, each with parameters drawn for each image; a `jaxdistill.types.Augment`.

    crop shows a window of random area, aspect ratio and place, resized to the whole image; flip mirrors every second
    image, left to right; color changes brightness, contrast and saturation (`jitter`), then adds one colour to all
    pixels, normal along the principal axes of ImageNet's colours (lighting). Pixels are not clipped, as in the
    original. With `siamese` one draw serves the batch.

    Colours are changed between black and white, which an augmentation is not told: by default they are where ImageNet's
    mean and deviation put them, the mean over channels for images that have not three; these have no lighting either.

    Raises:
        UsageError: if `strategy` names an unknown operation.
    """

    strategy: str = "color_crop_flip"
    """``color``, ``crop`` and ``flip``, or some of them, joined by ``_``."""
    area: tuple[float, float] = (0.5, 1.0)
    """Smallest and largest share of the image in the window."""
    aspect: float = 4 / 3
    """Largest width of the window by its height; its inverse is the smallest."""
    jitter: float = 0.4
    """Largest change of a factor of brightness, contrast and saturation."""
    lighting: float = 0.1
    """Deviation of what the eigenvalues of ImageNet's colours are multiplied by."""
    pixel_range: tuple[tuple[float, ...], tuple[float, ...]] = IMAGENET
    """What the pixels 0 and 1 are in preprocessed space, by channel."""

    def __post_init__(self) -> None:
        parse(self.strategy, ("color", "crop", "flip"))

    @standard
    def __call__(self, key: Key, images: Images, siamese: bool) -> Images:
        """Crop, flip and colours, those of the strategy, in this order."""
        names = parse(self.strategy, ("color", "crop", "flip"))
        count = 1 if siamese else images.shape[0]
        key_crop, key_flip, key_color = jax.random.split(key, 3)
        if "crop" in names:
            images = over_batch(resized_crop, images, *_windows(self, count, key_crop, images))
        if "flip" in names:
            images = over_batch(operations.flip, images, jax.random.bernoulli(key_flip, 0.5, (count,)))
        return _color(self, count, key_color, images) if "color" in names else images


def resized_crop(
    image: Image, top: Int[Array, ""], left: Int[Array, ""], height: Int[Array, ""], width: Int[Array, ""]
) -> Image:
    """The window of `height` and `width` pixels at ``(top, left)``, enlarged to the whole image, bilinearly.

    What lies between pixels of the window's border and its edge is the border's.

    Args:
        image: one.
        top: first row of the window.
        left: first column of the window.
        height: rows of the window.
        width: columns of the window.
    """

    def positions(length: int, start: Int[Array, ""], part: Int[Array, ""]) -> Float[Array, " _length"]:
        return start + jnp.clip((jnp.arange(length) + 0.5) * part / length - 0.5, 0, part - 1)

    rows, columns = positions(image.shape[0], top, height), positions(image.shape[1], left, width)
    return operations.sample_grid(image, rows, columns)


def jitter(
    pixels: Image, brightness: Float[Array, ""], contrast: Float[Array, ""], saturation: Float[Array, ""]
) -> Image:
    """Multiply the distance from black, that from the mean grey of the image, and that of each pixel from its grey.

    The original takes the three in random order. That makes no difference without clipping: they commute, because the
    grey of a grey, the mean grey of a grey image, and the grey of the mean grey are what they were.

    Args:
        pixels: black is 0.
        brightness: factor.
        contrast: factor.
        saturation: factor; it changes nothing in images of one channel.
    """
    channels = pixels.shape[2]
    weights = jnp.asarray(_GREY if channels == 3 else (1 / channels,) * channels, pixels.dtype)
    grey = jnp.sum(pixels * weights, axis=2, keepdims=True)
    return brightness * (contrast * (saturation * pixels + (1 - saturation) * grey) + (1 - contrast) * grey.mean())


def _windows(config: Photo, count: int, key: Key, images: Images) -> Int[Array, "4 k"]:
    """Top, left, height and width: the first of ten draws that fits, else the largest window of an allowed ratio."""
    height, width = images.shape[1:3]
    key_size, key_top, key_left = jax.random.split(key, 3)
    u_area, u_aspect = draws.uniform(key_size, (2, count, _TRIES), images.dtype)
    area = height * width * (config.area[0] + (config.area[1] - config.area[0]) * u_area)
    ratio = config.aspect ** (2 * u_aspect - 1)
    heights, widths = (jnp.round(jnp.sqrt(squared)).astype(int) for squared in (area / ratio, area * ratio))
    fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
    allowed = min(max(width / height, 1 / config.aspect), config.aspect)
    largest = min(height, round(width / allowed)), min(width, round(height * allowed))
    first = jnp.argmax(fits, axis=1, keepdims=True)
    h, w = (
        jnp.where(fits.any(axis=1), jnp.take_along_axis(drawn, first, axis=1)[:, 0], otherwise)
        for drawn, otherwise in zip((heights, widths), largest, strict=True)
    )
    top = jax.random.randint(key_top, (count,), 0, height - h + 1)
    left = jax.random.randint(key_left, (count,), 0, width - w + 1)
    return jnp.stack([top, left, h, w])


def _color(config: Photo, count: int, key: Key, images: Images) -> Images:
    channels = images.shape[3]
    ends = [np.asarray(end) if len(end) == channels else np.full(channels, np.mean(end)) for end in config.pixel_range]
    black, scale = (jnp.asarray(values, images.dtype) for values in (ends[0], ends[1] - ends[0]))
    key_jitter, key_lighting = jax.random.split(key)
    factors = draws.uniform(key_jitter, (3, count), images.dtype, 1 - config.jitter, 1 + config.jitter)
    pixels = over_batch(jitter, (images - black) / scale, *factors)
    if channels == 3:
        along = config.lighting * draws.normal(key_lighting, (count, 3), images.dtype)
        axes = jnp.asarray(_EIGENVALUES[:, None] * _EIGENVECTORS.T, images.dtype)
        colours = jnp.matmul(along, axes, precision="highest")
        pixels = pixels + colours[:, None, None, :]
    return pixels * scale + black
