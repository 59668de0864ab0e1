"""Training a network as scans. Methods with an inner network, experts and evaluation all use it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.augment.mix import cutmix as mix
from jaxdistill.training.gradients import Training, training_gradient
from jaxdistill.types import Augment, Examples, Key, Network, PyTree, Variables

__all__ = ["Seen", "epoch", "sgd_update"]

Moments = PyTree


class Seen(NamedTuple):
    """What the network said of each example when its turn came, before the step on it."""

    correct: Bool[Array, " n"]
    """Whether the most likely class was the label's."""
    confidence: Float[Array, " n"]
    """Probability of the label's most likely class."""
    error: Float[Array, " n"]
    """Length of probabilities minus label: EL2N (Paul, Ganguli & Dziugaite, NeurIPS 2021)."""


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
    examples: Examples,
    *,
    rate: Float[Array, ""],
    batch: int,
    augment: Augment,
    selected_augment: Augment | None = None,
    cutmix: float = 0.0,
    momentum: float = 0.0,
    decay: float = 0.0,
    gradient: Callable[..., Training] = training_gradient,
) -> tuple[Variables, Moments, Seen]:
    """One shuffled pass over examples; the last, smaller batch is kept.

    Args:
        key: consumed; shuffles, then augments each batch with a draw for each image.
        network: what is trained.
        variables: where it stands.
        velocity: momentum buffers, a tree like ``variables.params``.
        examples: a set of whole images, or real data.
        rate: step size.
        batch: batch size; everything at once where there are fewer.
        augment: of the images.
        selected_augment: of those that the set says are selected real ones; by default `augment` as well.
        cutmix: probability of mixing a batch after that (`jaxdistill.augment.mix`).
        momentum: of SGD.
        decay: coupled weight decay.
        gradient: takes the place of `jaxdistill.training.gradients.training_gradient`.
    """
    key_shuffle, key_batches = jax.random.split(key)
    total = examples.count
    batch = min(batch, total)
    order = jax.random.permutation(key_shuffle, total)
    full = total // batch

    def update(carry: tuple[Variables, Moments], chosen: tuple[Key, Int[Array, " b"]]):
        variables, velocity = carry
        key, indices = chosen
        key_augment, key_mix = jax.random.split(key)
        drawn = examples.take(indices)
        labels, kind = drawn.labels, drawn.label_kind
        if kind == "logit":  # which cannot be mixed
            labels, kind = jax.nn.softmax(labels), "probability"
        images = augment(key_augment, drawn.images, siamese=False)
        if selected_augment is not None and drawn.selected is not None:
            apart = selected_augment(key_augment, drawn.images, siamese=False)
            images = jnp.where(drawn.selected[:, None, None, None], apart, images)
        images, mixed = mix(key_mix, images, labels, cutmix)
        found = gradient(network, variables, images, mixed, kind, drawn.weights)
        params, velocity = sgd_update(
            found.gradient, variables.params, velocity, rate=rate, momentum=momentum, decay=decay
        )
        return (Variables(params, found.statistics), velocity), _seen(found.logits, labels)

    keys = jax.random.split(key_batches, full + 1)
    chosen = order[: full * batch].reshape(full, batch)
    carry, seen = jax.lax.scan(update, (variables, velocity), (keys[:full], chosen))
    seen = jax.tree.map(lambda leaf: leaf.reshape(-1), seen)
    if total % batch:
        carry, rest = update(carry, (keys[full], order[full * batch :]))
        seen = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), seen, rest)
    return *carry, jax.tree.map(lambda leaf: jnp.zeros_like(leaf).at[order].set(leaf), seen)


def _seen(logits: Float[Array, "b classes"], labels: Float[Array, "b classes"]) -> Seen:
    label = jnp.argmax(labels, -1)
    probabilities = jax.nn.softmax(logits)
    confidence = jnp.take_along_axis(probabilities, label[:, None], axis=-1)[:, 0]
    error = jnp.sqrt(jnp.sum((probabilities - labels) ** 2, axis=-1))
    return Seen(jnp.argmax(logits, -1) == label, confidence, error)
