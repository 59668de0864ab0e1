"""The convolution of every network here, closed under differentiation of any order.

A convolution is bilinear, so ``<convolution(x, w), dy>`` is a trilinear form and every derivative of any order is again
one of its three partial maps. With ``F`` = flip the window and swap input and output channels, two maps suffice:

    ``convolve(x, w)``    transposed in x at ct: ``convolve(ct, F(w))``; in w at ct: ``correlate(x, ct)``
    ``correlate(x, dy)``  transposed in x at G: ``convolve(dy, F(G))``; in dy at G: ``convolve(x, G)``

(padding p of a k x k window becomes k - 1 - p wherever F appears). `jax.lax.conv_general_dilated`, differentiated,
reaches window shapes for which XLA's CPU backend has only a naive loop, up to a hundred times slower. Both maps are
primitives with a leading axis of independent networks, where `jax.vmap` puts a batched kernel; the CPU loops over it,
every other platform has its grouped convolution. On GPU and TPU all of it is the stock convolution.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from jaxdistill.errors import UsageError
from jaxdistill.networks.convolution_maps import (
    LAYOUT,
    fast_convolve,
    fast_correlate,
    flip,
    pad,
    stock_convolve,
    stock_correlate,
)

__all__ = ["convolution"]


def convolution(
    x: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c o"], *, padding: int, stride: int = 1
) -> Float[Array, "n _h _w o"]:
    """Cross-correlate `x` with `kernel` under symmetric zero padding, as deep-learning libraries mean "convolution".

    Differentiable to any order in forward and reverse mode, under jit, vmap, scan, checkpoint and in `jax.shard_map`.
    Strided or oblong kernels, and arrays on explicit mesh axes, are left to `jax.lax.conv_general_dilated`. bfloat16
    accumulates in float32.

    Args:
        x: Images.
        kernel: Windows, of the dtype of `x`.
        padding: Rows and columns of zeros on each side, at least 0.
        stride: Step between windows, at least 1.

    Raises:
        UsageError: If shapes, dtypes, padding or stride do not fit together.
    """
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[3] != kernel.shape[2]:
        raise UsageError(f"Give images [n h w c] and a kernel [kh kw c o], not shapes {x.shape} and {kernel.shape}.")
    if x.dtype != kernel.dtype:
        raise UsageError(f"Cast images and kernel to one dtype; they are {x.dtype} and {kernel.dtype}.")
    if padding < 0 or stride < 1:
        raise UsageError(f"Use padding >= 0 and stride >= 1, not {padding} and {stride}.")
    kh, kw = kernel.shape[:2]
    if x.shape[1] + 2 * padding < kh or x.shape[2] + 2 * padding < kw:
        raise UsageError(
            f"A {kh}x{kw} kernel does not fit images {x.shape[1]}x{x.shape[2]} padded by {padding}; use larger images."
        )

    if stride > 1 or kh != kw or _placed_by_type(x) or _placed_by_type(kernel):
        window = (stride, stride), [(padding, padding)] * 2
        return lax.conv_general_dilated(x, kernel, *window, dimension_numbers=LAYOUT)
    if padding > kh - 1:  # the flipped window would need negative padding
        x, padding = pad(x, padding - kh // 2), kh // 2
    x, kernel = _same_variance(x, kernel)
    return _convolve(x[None], kernel[None], padding=padding)[0]


def _placed_by_type(x: jax.Array) -> bool:
    """Whether an explicit mesh axis is part of the array's type; only stock operations know how to propagate those."""
    return any(axis is not None for axis in jax.typeof(x).sharding.spec)


def _same_variance(*arrays: jax.Array) -> list[jax.Array]:
    """Inside `jax.shard_map`, let all arrays vary over the same mesh axes, so that transposing sums over the others."""
    axes = frozenset().union(*(jax.typeof(a).manual_axis_type.varying for a in arrays))
    missing = [tuple(axes - jax.typeof(a).manual_axis_type.varying) for a in arrays]
    return [lax.pcast(a, add, to="varying") if add else a for a, add in zip(arrays, missing, strict=True)]


# The primitives: both maps with a leading axis of networks, and everything that JAX wants to know about them.


def _primitive(name: str, shape: Callable, stock: Callable, fast: Callable) -> Primitive:
    primitive = Primitive(name)
    compiled = jax.jit(primitive.bind, static_argnames="padding")

    def evaluate(x, y, *, padding):
        with jax.disable_jit(False):  # a primitive has nothing inside that could run without being compiled
            return compiled(x, y, padding=padding)

    primitive.def_impl(evaluate)
    primitive.def_abstract_eval(lambda x, y, *, padding: x.update(shape=shape(x, y, padding), weak_type=False))

    def everywhere(x, y, *, padding):
        if x.shape[0] == 1:
            return stock(x[0], y[0], padding)[None]
        return jax.vmap(functools.partial(stock, padding=padding))(x, y)

    def on_cpu(x, y, *, padding):
        wide = jnp.promote_types(x.dtype, jnp.float32)

        def one(pair):
            return fast(*(a.astype(wide) for a in pair), padding).astype(x.dtype)

        return one((x[0], y[0]))[None] if x.shape[0] == 1 else lax.map(one, (x, y))

    mlir.register_lowering(primitive, mlir.lower_fun(everywhere, multiple_results=False))
    mlir.register_lowering(primitive, mlir.lower_fun(on_cpu, multiple_results=False), platform="cpu")
    return primitive


def _convolve_shape(x, kernel, padding):
    (g, n, h, w, _), (_, k, _, _, o) = x.shape, kernel.shape
    return g, n, h + 2 * padding - k + 1, w + 2 * padding - k + 1, o


def _correlate_shape(x, dy, padding):
    (g, _, h, _, c), o = x.shape, dy.shape[-1]
    k = h + 2 * padding - dy.shape[2] + 1
    return g, k, k, c, o


_convolve_p = _primitive("convolve", _convolve_shape, stock_convolve, fast_convolve)
_correlate_p = _primitive("correlate", _correlate_shape, stock_correlate, fast_correlate)


def _convolve(x: Float[Array, "g n h w c"], kernel: Float[Array, "g k k c o"], *, padding: int) -> jax.Array:
    return _convolve_p.bind(x, kernel, padding=padding)


def _correlate(x: Float[Array, "g n h w c"], dy: Float[Array, "g n _h _w o"], *, padding: int) -> jax.Array:
    """Gradient of the kernel."""
    return _correlate_p.bind(x, dy, padding=padding)


def _convolve_flipped(x: jax.Array, kernel: jax.Array, padding: int) -> jax.Array:
    return _convolve(x, flip(kernel), padding=kernel.shape[1] - 1 - padding)


ad.defbilinear(
    _convolve_p,
    lambda ct, x, kernel, *, padding: _convolve_flipped(ct, kernel, padding),
    lambda ct, x, kernel, *, padding: _correlate(x, ct, padding=padding),
)
ad.defbilinear(
    _correlate_p,
    lambda ct, x, dy, *, padding: _convolve_flipped(dy, ct, padding),
    lambda ct, x, dy, *, padding: _convolve(x, ct, padding=padding),
)


def _batcher(bind: Callable, left: tuple[int, int], right: tuple[int, int]) -> Callable:
    """Batching rule: one batched operand joins an axis of its own that reappears in the result, two become networks.

    `left` and `right` are (axis of the operand, axis of the result) for the first and the second operand.
    """

    def fold(x, at, axis):
        x = jnp.moveaxis(x, at, axis)
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    def unfold(y, size, axis):
        return y.reshape(*y.shape[:axis], size, -1, *y.shape[axis + 1 :]), axis

    def rule(operands, at, *, padding):
        (x, y), (at_x, at_y) = operands, at
        if at_y is None:
            return unfold(bind(fold(x, at_x, left[0]), y, padding=padding), x.shape[at_x], left[1])
        if at_x is None:
            return unfold(bind(x, fold(y, at_y, right[0]), padding=padding), y.shape[at_y], right[1])
        return unfold(bind(fold(x, at_x, 0), fold(y, at_y, 0), padding=padding), x.shape[at_x], 0)

    return rule


# Images [g n h w c] join n, kernels [g k k c o] join o; in a correlation images join c and cotangents join o.
batching.primitive_batchers[_convolve_p] = _batcher(_convolve, (1, 1), (4, 4))
batching.primitive_batchers[_correlate_p] = _batcher(_correlate, (4, 3), (4, 4))
