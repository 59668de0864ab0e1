"""What a selection measures distances in: pixels, or the embedding of one trained network that is shared by all."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.training.inference import each_batch
from jaxdistill.training.sgd import epoch
from jaxdistill.types import Augment, Key, Network, Variables

__all__ = ["Embedding", "embed", "fit", "pixels"]


class Embedding(NamedTuple):
    """A trained network whose embedding is used, without augmentation."""

    network: Network
    variables: Variables


@standard
def pixels(data: RealData) -> Float[Array, "n d"]:
    """Flattened preprocessed images."""
    images = data.read(jnp.arange(data.labels.shape[0])).images
    return images.reshape(images.shape[0], -1)


@partial(jax.jit, static_argnames=("network", "augment", "epochs", "batch"))
def _fit(key: Key, network: Network, data: RealData, augment: Augment, epochs: int, batch: int) -> Variables:
    key_init, key_epochs = jax.random.split(key)
    variables = network.init(key_init)

    def body(i, carry):
        variables, velocity = carry
        variables, velocity, _ = epoch(
            jax.random.fold_in(key_epochs, i), network, variables, velocity, data,
            rate=jnp.float32(0.01), batch=batch, augment=augment, momentum=0.9, decay=5e-4,
        )  # fmt: skip
        return variables, velocity

    variables, _ = jax.lax.fori_loop(0, epochs, body, (variables, jax.tree.map(jnp.zeros_like, variables.params)))
    return variables


def fit(key: Key, network: Network, data: RealData, augment: Augment, epochs: int, batch: int = 256) -> Embedding:
    """Train a network on the whole training set (SGD 0.01, momentum 0.9, weight decay 5e-4) for its embedding."""
    return Embedding(network, _fit(key, network, data, augment, epochs, batch))


@partial(jax.jit, static_argnames="network")
def _embed(network: Network, variables: Variables, data: RealData) -> Float[Array, "n d"]:
    return each_batch(lambda images, _: network.features(variables, images).embedding, data)


def embed(embedding: Embedding, data: RealData) -> Float[Array, "n d"]:
    """The embedding of every image of a split, in its order."""
    return _embed(embedding.network, embedding.variables, data)
