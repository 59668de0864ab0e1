"""Multi-formation: several small images stored in one (IDC, Kim et al., ICML 2022, arXiv:2205.14959, section 4).

By `DecodeType`, of a factor f: ``"single"`` cuts each image into ``f**2`` tiles; ``"multi"`` makes all of it by the
factors 1 to f, the whole image among them; ``"bound"`` takes f for as many images as it can and smaller factors for the
others, so that no more come out than a class may have in a match (only there: such sets are trained on by f alone).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from jaxdistill.augment.canvas import cut
from jaxdistill.common.promotion import standard
from jaxdistill.errors import UsageError
from jaxdistill.types import Key, SyntheticSet

__all__ = ["DecodeType", "decode", "decode_images", "encode_images", "some_tiles", "tile_shape"]

DecodeType: TypeAlias = Literal["single", "multi", "bound"]


def decode_images(
    images: Float[Array, "n h w c"],
    factor: int,
    fill: Float[ArrayLike, "#c"] | float = 0.0,
    decode_type: Literal["single", "multi"] = "single",
) -> Float[Array, "m h w c"]:
    """Cut each image into ``factor x factor`` patches and upsample each to full size (bilinear, half-pixel centres).

    Class-major order is kept: the ``factor**2`` tiles of an image follow one another, row by row. Sides that `factor`
    does not divide are padded below and to the right with `fill` first; the original's is mid-grey.

    Args:
        images: of tiles.
        factor: tiles on a side.
        fill: value of the padding, one for all channels or one for each.
        decode_type: with ``"multi"`` the tiles of an image by all factors follow one another, the whole image first.
    """
    n, h, w, c = images.shape
    if decode_type == "multi":
        parts = [decode_images(images, f, fill).reshape(n, f**2, h, w, c) for f in range(1, factor + 1)]
        return jnp.concatenate(parts, axis=1).reshape(-1, h, w, c)
    if factor == 1:
        return images
    ph, pw = tile_shape(h, w, factor)
    padded = jnp.broadcast_to(jnp.asarray(fill, images.dtype), (n, ph * factor, pw * factor, c))
    padded = jax.lax.dynamic_update_slice(padded, images, (0, 0, 0, 0))
    patches = padded.reshape(n, factor, ph, factor, pw, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, ph, pw, c)
    return jax.image.resize(patches, (patches.shape[0], h, w, c), "bilinear")


def some_tiles(
    key: Key,
    images: Float[Array, "n h w c"],
    factor: int,
    most: int,
    fill: Float[ArrayLike, "#c"] | float = 0.0,
    *,
    decode_type: DecodeType = "single",
) -> Float[Array, "m h w c"]:
    """The tiles of some images, a random `most` of them where there are more.

    Args:
        key: consumed.
        images: stored ones.
        factor: tiles along a side.
        most: how many are enough.
        fill: where `factor` does not divide a side.
        decode_type: which tiles.
    """
    if decode_type == "bound":
        parts, first = [], 0
        for f, count in _bounded(images.shape[0], factor, most):
            parts.append(decode_images(images[first : first + count], f, fill))
            first += count
        whole = jnp.concatenate(parts)
    else:
        whole = decode_images(images, factor, fill, decode_type)
    return whole if whole.shape[0] <= most else jax.random.choice(key, whole, (most,), replace=False)


def _bounded(count: int, factor: int, most: int) -> list[tuple[int, int]]:
    """Factors, the largest first, and how many images each has, so that `most` tiles come out at most if `count` is not
    larger than that.

    As in the code, room for one tile is kept for each image that has its turn later, and not given back in its own.
    """
    found, made = [], 0
    for f in range(factor, 0, -1):
        n = count if f == 1 else min(max(most - made - count, 0) // f**2, count)
        found += [(f, n)] if n else []
        made, count = made + n * f**2, count - n
    return found


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
    factor, kind, tiles = synthetic.formation, synthetic.decode_type, synthetic.tiles
    if tiles == 1:
        return synthetic

    def images_of(stored: Float[Array, "n _h _w c"]) -> Float[Array, "m h w c"]:
        return decode_images(cut(stored, synthetic.canvas), factor, fill, kind)

    whole = synthetic.each(lambda leaf: images_of(leaf) if leaf.ndim == 4 else jnp.repeat(leaf, tiles, axis=0))
    return dataclasses.replace(whole, formation=1, decode_type="single", canvas=1, windows=1)
