"""Work on many images, a cache's worth at a time where that is faster.

On a CPU the temporaries of a whole batch are hundreds of megabytes that leave the cache and come back for every layer;
a few images at a time are faster and need a fraction of the memory. On an accelerator the whole batch at once is
right. The choice is made when a program is lowered for its platform, and changes nothing but rounding.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.losses.classification import sample_losses
from jaxdistill.types import LabelKind, Network, PyTree, Variables

__all__ = ["each_image", "training_gradient"]

CHUNK = 8
"""Images at a time on a CPU: 4 to 8 were fastest for a ConvNet of width 128 on 32x32 images."""


def each_image(f: Callable[..., PyTree], *examples: Array) -> PyTree:
    """``f(*examples)``, whose leaves have a leading axis of images, as all of `examples` have.

    Not for differentiation: use it for what is constant (real images, test images), or inside of which the gradient is.

    Args:
        f: treats each image on its own; batch normalisation in training does not.
        examples: arrays ``[n ...]``.
    """
    if examples[0].shape[0] <= CHUNK:
        return f(*examples)

    def chunked(*examples: Array) -> PyTree:
        one = lambda example: jax.tree.map(lambda leaf: leaf[0], f(*(leaf[None] for leaf in example)))  # noqa: E731
        return jax.lax.map(one, examples, batch_size=CHUNK)

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
) -> tuple[PyTree, PyTree]:
    """Gradient of the mean training loss with respect to the parameters, and the updated statistics.

    A weighted sample contributes in proportion to its weight; the sum is divided by the number of samples, so that
    weights of mean 1 leave the step size what it was. Without `train` batch normalisation uses its running averages.
    Not for differentiation: `jaxdistill.inner.unroll` takes the plain gradient.
    """
    n = images.shape[0]
    weights = jnp.ones(n, images.dtype) if weights is None else weights

    def total(params: PyTree, images, labels, weights) -> tuple[Float[Array, ""], PyTree]:
        logits, statistics = network.apply(Variables(params, variables.statistics), images, train=train)
        return jnp.sum(weights * sample_losses(logits, labels, kind)) / n, statistics

    gradient = jax.grad(total, has_aux=True)
    if (train and network.couples_batch) or n <= CHUNK:
        return gradient(variables.params, images, labels, weights)

    def whole(params: PyTree, *examples: Array) -> PyTree:
        return gradient(params, *examples)[0]

    def chunked(params: PyTree, *examples: Array) -> PyTree:
        # Repeats of the last image fill the last chunk, with weight 0: without batch normalisation they touch nothing.
        count = -(-n // CHUNK)
        indices = jnp.minimum(jnp.arange(count * CHUNK), n - 1).reshape(count, CHUNK)
        real = (jnp.arange(count * CHUNK) < n).reshape(count, CHUNK)

        def add(summed: PyTree, chosen: tuple[Array, Array]) -> tuple[PyTree, None]:
            indices, real = chosen
            images, labels, weights = (leaf[indices] for leaf in examples)
            part = whole(params, images, labels, weights * real)
            return jax.tree.map(jnp.add, summed, part), None

        return jax.lax.scan(add, jax.tree.map(jnp.zeros_like, params), (indices, real))[0]

    return jax.lax.platform_dependent(
        variables.params, images, labels, weights, cpu=chunked, default=whole
    ), variables.statistics
