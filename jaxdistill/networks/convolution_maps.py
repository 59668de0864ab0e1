"""The two maps of `jaxdistill.networks.convolution` for one network: XLA's own, and what is fast on a CPU.

``convolve(x, kernel, padding)`` is the stride-1 convolution with a square kernel and ``correlate(x, dy, padding)`` its
gradient by the kernel for the cotangent `dy`; the ``fast_`` ones are matrix products over chunks of images that stay in
the cache.
"""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

__all__ = ["LAYOUT", "fast_convolve", "fast_correlate", "flip", "pad", "stock_convolve", "stock_correlate"]

LAYOUT = ("NHWC", "HWIO", "NHWC")

# What one pass of a CPU loop reads and writes. Less starves the matrix products; more falls out of the cache, and the
# patches of a whole batch are hundreds of megabytes.
_CHUNK_BYTES = 4 * 2**20


def pad(x: Float[Array, "n h w c"], by: int) -> Float[Array, "n _h _w c"]:
    """Zeros around each image."""
    return jnp.pad(x, ((0, 0), (by, by), (by, by), (0, 0)))


def flip(kernel: Float[Array, "*g k k c o"]) -> Float[Array, "*g k k o c"]:
    """The kernel of the transposed convolution."""
    return jnp.flip(kernel, (-4, -3)).swapaxes(-1, -2)


def stock_convolve(x: Float[Array, "n h w c"], kernel: Float[Array, "k k c o"], padding: int) -> jax.Array:
    """XLA's convolution, what an accelerator runs.

    Args:
        x: the images.
        kernel: square.
        padding: zeros on each side.
    """
    return lax.conv_general_dilated(x, kernel, (1, 1), [(padding, padding)] * 2, dimension_numbers=LAYOUT)


def stock_correlate(x: Float[Array, "n h w c"], dy: Float[Array, "n _h _w o"], padding: int) -> jax.Array:
    """XLA's gradient of the kernel, what an accelerator runs.

    Args:
        x: the images.
        dy: gradient of the output.
        padding: zeros on each side of the images.
    """
    k = x.shape[1] + 2 * padding - dy.shape[1] + 1
    kernel = jax.ShapeDtypeStruct((k, k, x.shape[3], dy.shape[3]), x.dtype)
    return jax.linear_transpose(lambda kernel: stock_convolve(x, kernel, padding), kernel)(dy)[0]


def fast_convolve(x: Float[Array, "n h w c"], kernel: Float[Array, "k k c o"], padding: int) -> jax.Array:
    """XLA's own on a cache-sized chunk of images at a time, but for few output channels.

    Args:
        x: the images.
        kernel: square.
        padding: zeros on each side.
    """
    k, _, c, o = kernel.shape
    few = k * k * o <= c
    one = _convolve_to_few if few else stock_convolve
    images = _chunk(x, c + (k * k * o if few else o))
    if images >= x.shape[0]:
        return one(x, kernel, padding)
    return lax.map(lambda image: one(image[None], kernel, padding)[0], x, batch_size=images)


def _convolve_to_few(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    """With few output channels (the gradient of an image) multiply first, then shift and add the small products."""
    k, _, c, o = kernel.shape
    products = pad(x @ kernel.transpose(2, 0, 1, 3).reshape(c, k * k * o), padding)
    height, width = (size - k + 1 for size in products.shape[1:3])
    products = products.reshape(*products.shape[:3], k * k, o)
    shifted = [products[:, i : i + height, j : j + width, i * k + j] for i in range(k) for j in range(k)]
    return functools.reduce(jnp.add, shifted)


def fast_correlate(x: Float[Array, "n h w c"], dy: Float[Array, "n _h _w o"], padding: int) -> jax.Array:
    """Products of the transposed patches of one operand with the other.

    Args:
        x: the images.
        dy: gradient of the output.
        padding: zeros on each side of the images.
    """
    k = x.shape[1] + 2 * padding - dy.shape[1] + 1
    if dy.shape[3] <= x.shape[3]:  # take patches of the narrower side; F exchanges the two
        return flip(_correlate_chunks(dy, x, k, k - 1 - padding))
    return _correlate_chunks(x, dy, k, padding)


def _correlate_chunks(x: jax.Array, dy: jax.Array, k: int, padding: int) -> jax.Array:
    """Patches^T @ dy; whole patches where channels are few, else the rows of the window are k views of one copy."""
    n, c, o = x.shape[0], x.shape[3], dy.shape[3]
    rows = k if k * k * c <= o else 1
    images = _chunk(dy, rows * k * c + o)
    loops = (n - 1) // images
    head = n - loops * images

    def product(x, dy):
        patches, height, dy = _patches(x, rows, k, padding), dy.shape[1], dy.reshape(-1, o)
        if rows == k:
            return patches.reshape(-1, k * k * c).T @ dy
        return jnp.stack([dy.T @ patches[:, i : i + height].reshape(-1, k * c) for i in range(k)])

    def add(i, total):
        start = head + i * images
        return total + product(*(lax.dynamic_slice_in_dim(a, start, images) for a in (x, dy)))

    total = lax.fori_loop(0, loops, add, product(x[:head], dy[:head]))
    # The smaller factor comes first, a third faster than the product that needs no transposing here.
    return total.reshape(k, k, c, o) if rows == k else total.reshape(k, o, k, c).transpose(0, 2, 3, 1)


def _patches(x: Float[Array, "n h w c"], rows: int, columns: int, padding: int) -> jax.Array:
    """Every rows x columns window of the padded images as one vector, along the last axis."""
    x = pad(x, padding)
    height, width = x.shape[1] - rows + 1, x.shape[2] - columns + 1
    windows = [x[:, i : i + height, j : j + width] for i in range(rows) for j in range(columns)]
    return jnp.concatenate(windows, axis=-1)


def _chunk(x: Float[Array, "n h w _c"], width: int) -> int:
    """How many images at a time, where each pixel of each takes `width` numbers."""
    n, h, w, _ = x.shape
    images = max(1, _CHUNK_BYTES // (h * w * width * x.dtype.itemsize))
    return math.ceil(n / math.ceil(n / images))
