"""Textures: canvases larger than a network's input, of which windows are trained on.

Source: the code of MTT (Cazenavette et al., CVPR 2022, arXiv:2203.11932), ``--texture``, both while a set is distilled
and where it is judged. A canvas goes on at its opposite border, so that a window may lie across it.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.types import Key, SyntheticSet

__all__ = ["as_canvases", "cut", "random_windows", "seen", "windows"]


def windows(
    images: Float[Array, "n _h _w c"], tops: Int[Array, " n"], lefts: Int[Array, " n"], shape: tuple[int, int]
) -> Float[Array, "n h w c"]:
    """A window of each canvas.

    Args:
        images: canvases.
        tops: first row of each window.
        lefts: first column of each window.
        shape: height and width of the windows.
    """
    height, width = shape
    beyond = jnp.pad(images, ((0, 0), (0, height - 1), (0, width - 1), (0, 0)), mode="wrap")
    size = (height, width, images.shape[-1])
    return jax.vmap(lambda image, top, left: jax.lax.dynamic_slice(image, (top, left, 0), size))(beyond, tops, lefts)


def random_windows(key: Key, images: Float[Array, "n _h _w c"], shape: tuple[int, int]) -> Float[Array, "n h w c"]:
    """A window of each canvas, anywhere; as the code's circular roll by a random offset and crop of the first corner.

    Args:
        key: consumed.
        images: canvases.
        shape: height and width of the windows.
    """
    n, height, width, _ = images.shape
    key_top, key_left = jax.random.split(key)
    tops, lefts = jax.random.randint(key_top, (n,), 0, height), jax.random.randint(key_left, (n,), 0, width)
    return windows(images, tops, lefts, shape)


def seen(key: Key, batch: SyntheticSet) -> SyntheticSet:
    """What a network is trained on of a batch of canvases: random windows of all, then others of all, and so on.

    Args:
        key: consumed.
        batch: canvases, with `SyntheticSet.windows` of each.
    """
    repeated = batch.each(lambda leaf: jnp.concatenate([leaf] * batch.windows))
    height, width = (side // batch.canvas for side in batch.images.shape[1:3])
    images = random_windows(key, jnp.asarray(repeated.images), (height, width))
    return dataclasses.replace(repeated, images=images, canvas=1, windows=1)


def cut(images: Float[Array, "n _h _w c"], canvas: int) -> Float[Array, "m h w c"]:
    """The windows that tile each canvas, row by row: ``canvas**2`` of each, one canvas after the other."""
    n, height, width, c = images.shape
    h, w = height // canvas, width // canvas
    return images.reshape(n, canvas, h, canvas, w, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, h, w, c)


def as_canvases(images: Float[Array, "m h w c"], canvas: int) -> Float[Array, "n _h _w c"]:
    """Each ``canvas**2`` images in a row as one canvas, which `cut` makes them of again."""
    _, h, w, c = images.shape
    tiles = images.reshape(-1, canvas, canvas, h, w, c).transpose(0, 1, 3, 2, 4, 5)
    return tiles.reshape(-1, canvas * h, canvas * w, c)
