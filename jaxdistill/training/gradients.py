"""Work on many images, a cache's worth at a time where that is faster.

On a CPU the temporaries of a whole batch are hundreds of megabytes that leave the cache and come back for every layer;
a few images at a time are faster and need a fraction of the memory. On an accelerator the whole batch at once is
right. The choice is made when a program is lowered for its platform, and changes nothing but rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.losses.classification import sample_losses
from jaxdistill.types import LabelKind, Network, PyTree, Variables

__all__ = ["Slope", "Training", "each_image", "training_gradient", "training_slope"]

CHUNK_PIXELS = 8 * 32 * 32
"""Pixels at a time on a CPU: 4 to 8 images were fastest for a ConvNet of width 128 on 32x32 images."""


class Training(NamedTuple):
    """What one batch says about a network's parameters."""

    gradient: PyTree
    """Of the mean training loss, in the parameters."""
    statistics: PyTree
    """Running averages of batch normalisation, updated."""
    logits: Float[Array, "n classes"]


class Slope(NamedTuple):
    """How the training loss changes in a direction of the parameters, and what that depends on."""

    value: Float[Array, ""]
    by_params: PyTree
    """The direction times the loss's Hessian; None unless asked for."""
    by_images: Float[Array, "n h w c"]
    by_labels: Float[Array, "n classes"]


def each_image(f: Callable[..., PyTree], *examples: Array) -> PyTree:
    """``f(*examples)``, whose leaves have a leading axis of images, as all of `examples` have.

    Not for differentiation: use it for what is constant (real images, test images), or inside of which the gradient is.

    Args:
        f: treats each image on its own; batch normalisation in training does not.
        examples: arrays ``[n ...]``.
    """
    size = _at_once(examples[0])
    if examples[0].shape[0] <= size:
        return f(*examples)

    def chunked(*examples: Array) -> PyTree:
        one = lambda example: jax.tree.map(lambda leaf: leaf[0], f(*(leaf[None] for leaf in example)))  # noqa: E731
        return jax.lax.map(one, examples, batch_size=size)

    return jax.lax.platform_dependent(*examples, cpu=chunked, default=f)


def training_gradient(
    network: Network,
    variables: Variables,
    images: Float[Array, "n h w c"],
    labels: Float[Array, "n classes"],
    kind: LabelKind,
    weights: Float[Array, " n"] | None = None,
    *,
    train: bool = True,
) -> Training:
    """Gradient of the mean training loss with respect to the parameters, with what else one pass has to say.

    A weighted sample contributes in proportion to its weight; the sum is divided by the number of samples, so that
    weights of mean 1 leave the step size what it was. Without `train` batch normalisation uses its running averages.
    Not for differentiation: `jaxdistill.training.unroll.unroll` is.

    Args:
        network: what is trained.
        variables: where it stands.
        images: a batch.
        labels: of the batch.
        kind: what the labels are.
        weights: of each image in the loss; None is 1.
        train: batch normalisation by the batch.
    """
    n = images.shape[0]
    weights = jnp.ones(n, images.dtype) if weights is None else weights

    def total(params: PyTree, images, labels, weights) -> tuple[Float[Array, ""], tuple[PyTree, Array]]:
        logits, statistics = network.apply(Variables(params, variables.statistics), images, train=train)
        return jnp.sum(weights * sample_losses(logits, labels, kind)) / n, (statistics, logits)

    gradient = jax.grad(total, has_aux=True)
    if (train and network.couples_batch) or n <= _at_once(images):
        found, (statistics, logits) = gradient(variables.params, images, labels, weights)
        return Training(found, statistics, logits)

    def of_part(params: PyTree, images, labels, weights) -> tuple[PyTree, Array]:
        found, (_, logits) = gradient(params, images, labels, weights)
        return found, logits

    found, logits = _summed(of_part, variables.params, images, labels, weights)
    return Training(found, variables.statistics, logits)


def training_slope(
    network: Network,
    variables: Variables,
    images: Float[Array, "n h w c"],
    labels: Float[Array, "n classes"],
    kind: LabelKind,
    direction: PyTree,
    *,
    train: bool = True,
    params: bool = True,
) -> Slope:
    """``<direction, g>`` for the training gradient g of `training_gradient`, and its gradients.

    Instead of differentiating through g: that product is the slope of the training loss in the direction. A
    forward-mode slope, differentiated in reverse, treats each image on its own.

    Args:
        network: what is trained.
        variables: where the slope is taken.
        images: a batch.
        labels: what `kind` says.
        kind: the label kind.
        direction: a tree like ``variables.params``.
        train: as in `training_gradient`.
        params: whether the gradient in the parameters is wanted too.
    """
    n = images.shape[0]

    def slope(params: PyTree, images, labels, weights, direction: PyTree) -> Float[Array, ""]:
        def loss(params: PyTree) -> Float[Array, ""]:
            logits, _ = network.apply(Variables(params, variables.statistics), images, train=train)
            return jnp.sum(weights * sample_losses(logits, labels, kind)) / n

        return jax.jvp(loss, (params,), (direction,))[1]

    differentiate = jax.value_and_grad(slope, argnums=(0, 1, 2) if params else (1, 2))

    def of_part(shared: tuple[PyTree, PyTree], images, labels, weights):
        value, (*by_params, by_images, by_labels) = differentiate(shared[0], images, labels, weights, shared[1])
        return (value, *by_params), (by_images, by_labels)

    weights = jnp.ones(n, images.dtype)
    shared = variables.params, direction
    if (train and network.couples_batch) or n <= _at_once(images):
        sums, each = of_part(shared, images, labels, weights)
    else:
        sums, each = _summed(of_part, shared, images, labels, weights)
    return Slope(sums[0], sums[1] if params else None, *each)


def _at_once(images: Float[Array, "n h w c"]) -> int:
    """How many images of this size are worked on at a time on a CPU."""
    return max(1, CHUNK_PIXELS // math.prod(images.shape[1:3]))


def _summed(f: Callable[..., tuple[PyTree, PyTree]], shared: PyTree, *examples: Array) -> tuple[PyTree, PyTree]:
    """``f(shared, *examples)`` gives what is to be summed over images and what each image has; both, in chunks.

    The last of `examples` are weights that `f` heeds: repeats of the last image fill the last chunk, with weight 0.
    """
    n = examples[0].shape[0]

    def chunked(shared: PyTree, *examples: Array) -> tuple[PyTree, PyTree]:
        count = max(1, round(n / _at_once(examples[0])))
        size = -(-n // count)
        indices = jnp.minimum(jnp.arange(count * size), n - 1).reshape(count, size)
        real = (jnp.arange(count * size) < n).reshape(count, size)

        def add(summed: PyTree, chosen: tuple[Array, Array]) -> tuple[PyTree, PyTree]:
            indices, real = chosen
            *parts, weights = (leaf[indices] for leaf in examples)
            part, each = f(shared, *parts, weights * real)
            return jax.tree.map(jnp.add, summed, part), each

        sums = jax.eval_shape(f, shared, *(leaf[:size] for leaf in examples))[0]
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), sums)
        sums, each = jax.lax.scan(add, zeros, (indices, real))
        return sums, jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:n], each)

    return jax.lax.platform_dependent(shared, *examples, cpu=chunked, default=f)
