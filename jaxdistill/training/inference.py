"""What a network says of many images, a batch at a time."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.training.gradients import each_image
from jaxdistill.types import Network, PyTree, Variables

__all__ = ["BATCH", "Answer", "each_batch", "embedding", "logits", "predict", "predict_on_host"]

BATCH = 500
Answer: TypeAlias = Callable[[Network, Variables, Float[Array, "n h w c"]], PyTree]
"""``answer(network, variables, images)``, whose leaves have a leading axis of images."""


def logits(network: Network, variables: Variables, images: Float[Array, "n h w c"]) -> Float[Array, "n classes"]:
    """What the network gives; batch normalisation uses its running averages.

    Args:
        network: any.
        variables: its own.
        images: in preprocessed space.
    """
    return network.apply(variables, images)[0]


def embedding(network: Network, variables: Variables, images: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
    """Input of the network's classifier.

    Args:
        network: any.
        variables: its own.
        images: in preprocessed space.
    """
    return network.features(variables, images).embedding


@standard
@partial(jax.jit, static_argnames=("network", "answer"))
def predict(
    network: Network, variables: Variables, images: RealData | Float[Array, "n h w c"], answer: Answer = logits
) -> PyTree:
    """What a network says of every image, without augmentation; pure, and not for differentiation.

    Args:
        network: which.
        variables: where it stands.
        images: a split, or preprocessed images.
        answer: what is asked; `logits`, `embedding`, or another one.
    """
    return each_batch(lambda images, *_: answer(network, variables, images), images)


def predict_on_host(
    network: Network,
    variables: Variables,
    read: Callable[[Int[np.ndarray, " b"]], Float[Array, "n h w c"]],
    count: int,
    size: int,
    answer: Answer = logits,
) -> Float[np.ndarray, "total _d"]:
    """`predict` of images that are on the device a block at a time only; runs on the host.

    Args:
        network: which.
        variables: where it stands.
        read: the preprocessed images at some indices, as many for each index.
        count: how many indices there are.
        size: indices at a time; the last block is filled up with repeats, of which nothing is kept.
        answer: an array for each image.
    """
    blocks = np.resize(np.arange(count), (-(-count // size), size))
    found = np.concatenate([np.asarray(predict(network, variables, read(block), answer)) for block in blocks])
    return found[: len(found) * count // blocks.size]


def each_batch(
    f: Callable[..., PyTree], data: RealData | Float[Array, "n h w c"], size: int = BATCH, *, whole: bool = False
) -> PyTree:
    """``f(images, labels)``, whose leaves have a leading axis of images, for every image of a split in its order.

    Pure, and a scan: the memory is that of a batch and of the results. Not for differentiation (`each_image`).

    Args:
        f: treats each image on its own; batch normalisation in training does not.
        data: the split; or images alone, and then there are no labels for `f`.
        size: images at a time, preprocessed for `f`; the last batch is filled up with repeats that are dropped.
        whole: give `f` a whole batch on a CPU, too, because it sees to its memory itself.
    """
    total = data.count if isinstance(data, RealData) else data.shape[0]
    size = min(size, total)

    def of_batch(start: Int[Array, ""]) -> PyTree:
        indices = jnp.minimum(start + jnp.arange(size), total - 1)
        batch = data.read(indices) if isinstance(data, RealData) else (data[indices],)
        return f(*batch) if whole else each_image(f, *batch)

    found = jax.lax.map(of_batch, jnp.arange(-(-total // size)) * size)
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[:total], found)
