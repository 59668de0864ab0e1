"""Training a network on a set as nested scans. Methods with an inner network, experts and evaluation all use it."""

from __future__ import annotations

import jax
from jaxtyping import Array, Float, Int

from jaxdistill.chunks import training_gradient
from jaxdistill.types import Augment, Key, Network, PyTree, SyntheticSet, Variables

__all__ = ["epoch", "sgd_update"]

Moments = PyTree


def sgd_update(
    gradients: PyTree, params: PyTree, velocity: Moments, *, rate: Float[Array, ""], momentum: float, decay: float
) -> tuple[PyTree, Moments]:
    """One step of SGD with coupled weight decay and heavy-ball momentum; the step size scales the velocity.

    optax keeps the step size in the chain and the count in its state; here the schedule belongs to the caller, who may
    also reset the velocity, as the papers' evaluation does.
    """
    gradients = jax.tree.map(lambda g, p: g + decay * p, gradients, params)
    velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, gradients)
    return jax.tree.map(lambda p, v: p - rate * v, params, velocity), velocity


def epoch(
    key: Key,
    network: Network,
    variables: Variables,
    velocity: Moments,
    synthetic: SyntheticSet,
    *,
    rate: Float[Array, ""],
    batch: int,
    augment: Augment,
    momentum: float = 0.0,
    decay: float = 0.0,
) -> tuple[Variables, Moments]:
    """One shuffled pass over a set; the last, smaller batch is kept.

    Args:
        key: consumed; shuffles, then augments each batch with a draw for each image.
        velocity: momentum buffers, a tree like ``variables.params``.
        rate: step size.
        batch: batch size; the whole set where it is smaller.
    """
    key_shuffle, key_augment = jax.random.split(key)
    total = synthetic.images.shape[0]
    batch = min(batch, total)
    order = jax.random.permutation(key_shuffle, total)
    full = total // batch

    def update(carry: tuple[Variables, Moments], chosen: tuple[Key, Int[Array, " b"]]):
        variables, velocity = carry
        key, indices = chosen

        images = augment(key, synthetic.images[indices], siamese=False)
        weights = None if synthetic.weights is None else synthetic.weights[indices]
        gradients, statistics = training_gradient(
            network, variables, images, synthetic.labels[indices], synthetic.label_kind, weights
        )
        params, velocity = sgd_update(gradients, variables.params, velocity, rate=rate, momentum=momentum, decay=decay)
        return (Variables(params, statistics), velocity), None

    keys = jax.random.split(key_augment, full + 1)
    carry, _ = jax.lax.scan(update, (variables, velocity), (keys[:full], order[: full * batch].reshape(full, batch)))
    if total % batch:
        carry, _ = update(carry, (keys[full], order[full * batch :]))
    return carry
