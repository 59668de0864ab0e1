"""The layers that the networks share, with PyTorch's initial distribution and numerics.

Parameters are float32. Every layer computes in the wider of the types of its input and its parameters, so that
bfloat16 images with bfloat16 parameters run in bfloat16 (statistics and sums stay float32) and float64 in float64.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.common import draws
from jaxdistill.errors import UsageError
from jaxdistill.networks.convolution import convolution
from jaxdistill.types import Features, Key, PyTree

__all__ = [
    "ACTIVATIONS",
    "INITIALS",
    "MOMENTUM",
    "NORMS",
    "POOLINGS",
    "Classifier",
    "Conv",
    "Dense",
    "FanOutConv",
    "Norm",
    "first_padding",
    "flatten",
    "overlapping_max",
]

NORMS = ("instance", "batch", "layer", "group", "none")
"""Kinds of normalisation, see `Norm`."""

_GROUPS = 4
MOMENTUM = 0.1
_CUT_OFF = 0.87962566103423978
"""Standard deviation of a normal distribution cut off at two of its own."""


def torch_uniform(fan_in: int) -> Callable[..., jax.Array]:
    """PyTorch's default for the weight *and* the bias of a layer: uniform within 1/sqrt(fan_in) of zero."""
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jnp.float32: draws.uniform(key, shape, dtype, -bound, bound)


def _xavier_normal(key: Key, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    *window, fan_in, fan_out = shape
    return draws.normal(key, shape, dtype) * math.sqrt(2 / (math.prod(window) * (fan_in + fan_out)))


def _lecun_normal(key: Key, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return draws.truncated_normal(key, shape, dtype) * math.sqrt(1 / math.prod(shape[:-1])) / _CUT_OFF


def _he_normal(key: Key, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return draws.normal(key, shape, dtype) * math.sqrt(2 / math.prod(shape[:-1]))


def _redraw(initializer: Callable[..., jax.Array], key: Key, params: PyTree, bias: float = 0.0) -> PyTree:
    leaves, structure = jax.tree.flatten_with_path(params)

    def redrawn(path: tuple[Any, ...], leaf: Array, key: Key) -> Array:
        kind = path[-1].key
        if kind == "kernel":
            return initializer(key, leaf.shape, leaf.dtype)
        return bias * draws.normal(key, leaf.shape, leaf.dtype) if kind == "bias" else leaf

    keys = jax.random.split(key, len(leaves))
    return jax.tree.unflatten(structure, [redrawn(*leaf, key) for leaf, key in zip(leaves, keys, strict=True)])


INITIALS: dict[str, Callable[[Key, PyTree], PyTree]] = {
    "torch": lambda key, params: params,
    "xavier": functools.partial(_redraw, _xavier_normal),
    "lecun": functools.partial(_redraw, _lecun_normal),
    "kernel": functools.partial(_redraw, _he_normal, bias=0.1),
}
"""What becomes of freshly drawn parameters, by the name of the initial distribution: ``torch`` leaves them as they are,
PyTorch's default; the next two have biases of zero. ``xavier`` has normal kernels of variance 2 / (fan_in + fan_out)
(Glorot & Bengio, AISTATS 2010), ``lecun``, flax's default, of 1 / fan_in, cut off at two standard deviations.
``kernel`` is that of the kernels of infinitely wide networks: kernels of variance 2 / fan_in, biases of 0.01."""


class Dense(nn.Module):
    """Affine map of the last axis."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*n d"]) -> Float[Array, "*n _features"]:
        """``x @ kernel + bias``."""
        initial = torch_uniform(x.shape[-1])
        kernel = self.param("kernel", initial, (x.shape[-1], self.features))
        return x @ kernel + self.param("bias", initial, (self.features,)) if self.use_bias else x @ kernel


class Conv(nn.Module):
    """Square convolution."""

    features: int
    size: int = 3
    padding: int = 1
    stride: int = 1
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n _h _w _features"]:
        """The convolution, in the wider of the two types, and its bias."""
        initial = torch_uniform(self.size**2 * x.shape[-1])
        kernel = self.param("kernel", initial, (self.size, self.size, x.shape[-1], self.features))
        dtype = jnp.result_type(x, kernel)
        x = convolution(x.astype(dtype), kernel.astype(dtype), padding=self.padding, stride=self.stride)
        return x + self.param("bias", initial, (self.features,)) if self.use_bias else x


class FanOutConv(nn.Module):
    """Square convolution without a bias, whose weights have a variance of 2 / fan_out at first (He et al., ICCV 2015).

    With a normalisation after it the size of the weights does not change what a network says, but how fast it learns.
    """

    features: int
    size: int = 3
    padding: int = 1
    stride: int = 1

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n _h _w _features"]:
        """The convolution, in the wider of the two types."""
        kernel = self.param("kernel", _fan_out_normal, (self.size, self.size, x.shape[-1], self.features))
        dtype = jnp.result_type(x, kernel)
        return convolution(x.astype(dtype), kernel.astype(dtype), padding=self.padding, stride=self.stride)


def _fan_out_normal(key: Key, shape: tuple[int, int, int, int]) -> Float[Array, "kh kw c o"]:
    kh, kw, _, features = shape
    return math.sqrt(2 / (kh * kw * features)) * draws.normal(key, shape, jnp.float32)


class Norm(nn.Module):
    """Normalisation with a learned scale and shift, as PyTorch's layers of that kind (eps 1e-5, biased variance).

    ``instance``: over each channel of each image, the default of the gradient-matching family, where it is written as
    group normalisation with one channel per group; ``group``: over 4 groups of channels; ``layer``: over the whole
    image, with a scale and a shift per element; ``batch``: over each channel of the batch in training, which moves
    running averages (by the share `momentum`, unbiased variance) that are used otherwise; ``none``: the identity.
    """

    kind: str = "instance"
    momentum: float = MOMENTUM
    epsilon: float = 1e-5

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"], train: bool) -> Float[Array, "n h w c"]:
        """Normalise; `train` only matters to ``batch``."""
        if self.kind == "none":
            return x
        n, *spatial, c = x.shape
        shape = (*spatial, c) if self.kind == "layer" else (c,)
        scale, bias = self.param("scale", nn.initializers.ones, shape), self.param("bias", nn.initializers.zeros, shape)
        wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        if self.kind == "batch":
            mean, variance = self._batch_moments(wide, train)
        elif self.kind == "group":
            if c % _GROUPS:
                raise UsageError(f"Group normalisation needs a width divisible by {_GROUPS}, not {c}.")
            moments = _moments(wide.reshape(n, *spatial, _GROUPS, c // _GROUPS), (1, 2, 4))
            mean, variance = (jnp.repeat(m.reshape(n, 1, 1, _GROUPS), c // _GROUPS, axis=3) for m in moments)
        else:
            mean, variance = _moments(wide, (1, 2, 3) if self.kind == "layer" else (1, 2))
        # One multiplication and one addition per element: the backward pass then keeps no third image-sized array.
        factor = jax.lax.rsqrt(variance + self.epsilon) * scale
        return (wide * factor + (bias - mean * factor)).astype(x.dtype)

    def _batch_moments(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        mean = self.variable("batch_stats", "mean", jnp.zeros, x.shape[-1:])
        variance = self.variable("batch_stats", "var", jnp.ones, x.shape[-1:])
        if not train:
            return mean.value, variance.value
        moments = _moments(x, (0, 1, 2))
        if not self.is_initializing():
            count = math.prod(x.shape[:-1])
            unbiased = moments[1] * (count / max(count - 1, 1))
            for average, new in ((mean, moments[0]), (variance, unbiased)):
                mixed = (1 - self.momentum) * average.value + self.momentum * jax.lax.stop_gradient(new).reshape(-1)
                average.value = mixed.astype(average.value.dtype)
        return moments


def _moments(x: jax.Array, axes: tuple[int, ...]) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance, in one pass over memory; rounding must not make the difference of squares negative.

    Of what is left after one of the values is taken off: a deviation far smaller than the mean would else be lost.
    """
    first = jax.lax.stop_gradient(x[tuple(slice(1) if axis in axes else slice(None) for axis in range(x.ndim))])
    rest = x - first
    mean = rest.mean(axes, keepdims=True)
    return mean + first, jnp.maximum((rest * rest).mean(axes, keepdims=True) - mean * mean, 0)


def _corners(x: Float[Array, "n h w c"]) -> list[Float[Array, "n _h _w c"]]:
    """The four corners of 2x2 windows without overlap; an odd last row or column is dropped.

    Element-wise functions of these fuse with their neighbours in both directions, unlike a reduction over two axes.
    """
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    if min(h, w) < 2:
        raise UsageError("The images are too small for this network; use larger images or a smaller depth.")
    return [x[:, i:h:2, j:w:2] for i in (0, 1) for j in (0, 1)]


POOLINGS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "avg": lambda x: functools.reduce(jnp.add, _corners(x)) / 4,
    "max": lambda x: functools.reduce(jnp.maximum, _corners(x)),
    "none": lambda x: x,
}

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
    "leakyrelu": jax.nn.leaky_relu,
    "swish": jax.nn.swish,
}


def overlapping_max(x: Float[Array, "n h w c"]) -> Float[Array, "n _h _w c"]:
    """Maxima of 3x3 windows two pixels apart, the first one centred on the corner.

    Rows, then columns, each as element-wise maxima of strided slices: these differentiate to any order, as XLA's own
    pooling does not everywhere.
    """
    for axis in (1, 2):
        length = x.shape[axis]
        padded = jnp.pad(x, [(1, 1) if a == axis else (0, 0) for a in range(4)], constant_values=-jnp.inf)
        taps = (jax.lax.slice_in_dim(padded, i, i + length, 2, axis) for i in range(3))
        x = functools.reduce(jnp.maximum, taps)
    return x


def flatten(x: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
    """One vector per image, in (h, w, c) order; PyTorch's is (c, h, w)."""
    return x.reshape(x.shape[0], -1)


def first_padding(x: Float[Array, "n h w c"], usual: int) -> int:
    """Padding of the first convolution: two more on MNIST-like images, which makes 28 x 28 x 1 into 32 x 32.

    The reference pads every one-channel image so. Only at 28 pixels does that lead to the sizes of a 32-pixel image,
    so other one-channel images (8 x 8 digits, say) keep the usual padding.
    """
    return usual + 2 if x.shape[1:] == (28, 28, 1) else usual


class Classifier(nn.Module):
    """A body that computes `Features`, and one dense layer on its embedding."""

    body: nn.Module
    num_classes: int

    def setup(self):
        """Name the layer."""
        self.classifier = Dense(self.num_classes)

    def features(self, images: Float[Array, "n h w c"], train: bool) -> Features:
        """Everything below the classifier."""
        return self.body(images, train)

    def __call__(self, images: Float[Array, "n h w c"], train: bool) -> Float[Array, "n classes"]:
        """Logits."""
        return self.classifier(self.features(images, train).embedding)
