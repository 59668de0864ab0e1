"""Gram matrices in tiles, so that memory is a matter of the tile and not of how many images there are."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.types import Kernel, PyTree, map_one_by_one

__all__ = ["LIMIT", "gram"]

LIMIT = 2**25
"""Numbers at once: 256 MiB in float64."""
COPIES = 8
"""Arrays of one number per pair (or pair of pixels) that the value of a kernel takes at once: 1 to 8 were measured."""


def gram(
    kernel: Kernel,
    a: PyTree,
    b: PyTree,
    *,
    map_rows: Callable[..., PyTree] = map_one_by_one,
    limit: int = LIMIT,
) -> Float[Array, "n m"]:
    """The kernel of each row of `a` with each row of `b`, tile by tile; at one go where everything fits.

    When differentiated, each tile is computed again instead of being kept. Its gradient needs what the value of every
    layer left behind, about 5 arrays for each ReLU: ``fc1`` stays within `limit`, ``convnet`` takes two to four times
    as much.

    Args:
        kernel: from `jaxdistill.kernels.make`.
        a: n prepared rows.
        b: m prepared rows.
        map_rows: how to go over blocks of rows of `a`, with the signature of `map_one_by_one`. One that takes several
            blocks at once, on one device, takes that many times `limit` there.
        limit: about how many numbers are live at once, beside `a`, `b` and the result.
    """
    n, m = (jax.tree.leaves(rows)[0].shape[0] for rows in (a, b))
    pairs = max(1, limit // (COPIES * kernel.pair_size))
    if n * m <= pairs:
        return kernel.gram(a, b)
    rows = min(n, max(math.isqrt(pairs), pairs // m))  # near a square, by which the least is read (or made) per pair
    tile = jax.checkpoint(kernel.gram, prevent_cse=False)  # it is inside a loop

    def row_block(block: PyTree, columns: PyTree) -> Float[Array, "rows columns"]:
        tiles = jax.lax.map(lambda column: tile(block, column), columns)
        return jnp.moveaxis(tiles, 0, 1).reshape(tiles.shape[1], -1)

    blocks = map_rows(row_block, _blocks(a, n, rows), _blocks(b, m, pairs // rows))
    return blocks.reshape(-1, blocks.shape[-1])[:n, :m]


def _blocks(rows: PyTree, count: int, size: int) -> PyTree:
    """The rows as ``[blocks, at most size, ...]``, of equal blocks; repeats of the last row fill the last block."""
    blocks = -(-count // size)
    size = -(-count // blocks)
    indices = jnp.minimum(jnp.arange(blocks * size), count - 1).reshape(blocks, size)
    return jax.tree.map(lambda leaf: leaf[indices], rows)
