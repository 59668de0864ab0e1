"""Multi-formation: several small images stored in one (IDC, Kim et al., ICML 2022, arXiv:2205.14959, section 4)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from jaxdistill.augment.canvas import cut
from jaxdistill.common.promotion import standard
from jaxdistill.errors import UsageError
from jaxdistill.types import Key, SyntheticSet

__all__ = ["decode", "decode_images", "encode_images", "some_tiles", "tile_shape"]


def decode_images(
    images: Float[Array, "n h w c"], factor: int, fill: Float[ArrayLike, "#c"] | float = 0.0
) -> Float[Array, "m h w c"]:
    """Cut each image into ``factor x factor`` patches and upsample each to full size (bilinear, half-pixel centres).

    Class-major order is kept: the ``factor**2`` tiles of an image follow one another, row by row. Sides that `factor`
    does not divide are padded below and to the right with `fill` first; the original's is mid-grey.

    Args:
        images: of tiles.
        factor: tiles on a side.
        fill: value of the padding, one for all channels or one for each.
    """
    if factor == 1:
        return images
    n, h, w, c = images.shape
    ph, pw = tile_shape(h, w, factor)
    padded = jnp.broadcast_to(jnp.asarray(fill, images.dtype), (n, ph * factor, pw * factor, c))
    padded = jax.lax.dynamic_update_slice(padded, images, (0, 0, 0, 0))
    patches = padded.reshape(n, factor, ph, factor, pw, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, ph, pw, c)
    return jax.image.resize(patches, (patches.shape[0], h, w, c), "bilinear")


def some_tiles(
    key: Key, images: Float[Array, "n h w c"], factor: int, most: int, fill: Float[ArrayLike, "#c"] | float = 0.0
) -> Float[Array, "m h w c"]:
    """The tiles of `decode_images`, a random `most` of them where there are more.

    Args:
        key: consumed.
        images: stored ones.
        factor: tiles along a side.
        most: how many are enough.
        fill: where `factor` does not divide a side.
    """
    whole = decode_images(images, factor, fill)
    return whole if whole.shape[0] <= most else jax.random.choice(key, whole, (most,), replace=False)


def encode_images(images: Float[Array, "m h w c"], factor: int) -> Float[Array, "n h w c"]:
    """Shrink each ``factor**2`` images in a row to the nearest pixels, and store them as the tiles of one.

    The way to a start from real images (IDC's ``mix``). Where `factor` does not divide a side, the last tile of it is
    shorter. Deviation: where two or more pixels are missing, the original makes the first tiles longer instead, and
    these reach into what `decode_images` cuts out as the next.
    """
    if factor == 1:
        return images
    _, h, w, _ = images.shape
    ph, pw = tile_shape(h, w, factor)
    tiles = images.reshape(-1, factor, factor, *images.shape[1:])
    rows = []
    for i in range(factor):
        chosen = tiles[:, i][:, :, _nearest(h, min(ph, h - i * ph))]
        patches = [chosen[:, j][:, :, _nearest(w, min(pw, w - j * pw))] for j in range(factor)]
        rows.append(jnp.concatenate(patches, axis=2))
    return jnp.concatenate(rows, axis=1)


def tile_shape(height: int, width: int, factor: int) -> tuple[int, int]:
    """Height and width of a tile as stored; the last ones of a side that `factor` does not divide are shorter.

    Args:
        height: of a whole image.
        width: of a whole image.
        factor: tiles on a side.

    Raises:
        UsageError: if nothing would be left for the last tile.
    """
    ph, pw = -(-height // factor), -(-width // factor)
    if (factor - 1) * ph >= height or (factor - 1) * pw >= width:
        raise UsageError(f"images of {height}x{width} pixels are too small for {factor}x{factor} tiles; use fewer")
    return ph, pw


def _nearest(length: int, shorter: int) -> Int[np.ndarray, " _shorter"]:
    return np.arange(shorter) * length // shorter


@standard
def decode(synthetic: SyntheticSet, fill: Float[ArrayLike, "#c"] | float = 0.0) -> SyntheticSet:
    """The set that a network trains on: tiles cut out and upsampled, labels repeated. The same set for whole images.

    Of canvases, the windows that tile them, for what does not draw windows at random.
    """
    tiles = synthetic.tiles
    if tiles == 1:
        return synthetic

    def images_of(stored: Float[Array, "n _h _w c"]) -> Float[Array, "m h w c"]:
        return decode_images(cut(stored, synthetic.canvas), synthetic.formation, fill)

    whole = synthetic.each(lambda leaf: images_of(leaf) if leaf.ndim == 4 else jnp.repeat(leaf, tiles, axis=0))
    return dataclasses.replace(whole, formation=1, canvas=1, windows=1)
