"""Training a network on a set as nested scans. Methods with an inner network, experts and evaluation all use it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.augment.mix import cutmix as mix
from jaxdistill.chunks import training_gradient
from jaxdistill.losses.classification import sample_losses
from jaxdistill.types import Augment, Key, LabelKind, Network, PyTree, SyntheticSet, Variables

__all__ = ["epoch", "sgd_update", "unroll"]

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
    cutmix: float = 0.0,
    momentum: float = 0.0,
    decay: float = 0.0,
) -> tuple[Variables, Moments]:
    """One shuffled pass over a set; the last, smaller batch is kept.

    Args:
        key: consumed; shuffles, then augments each batch with a draw for each image.
        network: what is trained.
        variables: where it stands.
        velocity: momentum buffers, a tree like ``variables.params``.
        synthetic: the set, of whole images.
        rate: step size.
        batch: batch size; the whole set where it is smaller.
        augment: of the images.
        cutmix: probability of mixing a batch after that (`jaxdistill.augment.mix`).
        momentum: of SGD.
        decay: coupled weight decay.
    """
    key_shuffle, key_batches = jax.random.split(key)
    total = synthetic.images.shape[0]
    batch = min(batch, total)
    order = jax.random.permutation(key_shuffle, total)
    full = total // batch
    labels, kind = synthetic.labels, synthetic.label_kind
    if kind == "logit":  # which cannot be mixed
        labels, kind = jax.nn.softmax(labels), "probability"

    def update(carry: tuple[Variables, Moments], chosen: tuple[Key, Int[Array, " b"]]):
        variables, velocity = carry
        key, indices = chosen
        key_augment, key_mix = jax.random.split(key)
        images = augment(key_augment, synthetic.images[indices], siamese=False)
        images, mixed = mix(key_mix, images, labels[indices], cutmix)
        weights = None if synthetic.weights is None else synthetic.weights[indices]
        gradients, statistics = training_gradient(network, variables, images, mixed, kind, weights)
        params, velocity = sgd_update(gradients, variables.params, velocity, rate=rate, momentum=momentum, decay=decay)
        return (Variables(params, statistics), velocity), None

    keys = jax.random.split(key_batches, full + 1)
    carry, _ = jax.lax.scan(update, (variables, velocity), (keys[:full], order[: full * batch].reshape(full, batch)))
    if total % batch:
        carry, _ = update(carry, (keys[full], order[full * batch :]))
    return carry


def unroll(
    network: Network,
    variables: Variables,
    images: Float[Array, "steps b h w c"],
    labels: Float[Array, "steps b classes"],
    kind: LabelKind,
    rates: Float[Array, "epochs steps"],
) -> Variables:
    """Plain gradient steps on given batches in order, each with a step size of its own; made to be differentiated.

    The body of the scan is rematerialised: differentiation keeps the parameters at each step, and the graph of one.

    Args:
        network: what is trained, in training mode.
        variables: where it starts.
        images: a batch for each step of an epoch; augmentation is the caller's.
        labels: what `kind` says.
        kind: the label kind.
        rates: step sizes.
    """

    def loss(params: PyTree, statistics: PyTree, images: Array, labels: Array) -> tuple[Float[Array, ""], PyTree]:
        logits, statistics = network.apply(Variables(params, statistics), images, train=True)
        return jnp.mean(sample_losses(logits, labels, kind)), statistics

    @jax.checkpoint
    def update(variables: Variables, step: tuple[Int[Array, ""], Float[Array, ""]]) -> tuple[Variables, None]:
        number, rate = step
        gradients, statistics = jax.grad(loss, has_aux=True)(
            variables.params, variables.statistics, images[number], labels[number]
        )
        params = jax.tree.map(lambda p, g: p - (rate * g).astype(p.dtype), variables.params, gradients)
        return Variables(params, statistics), None

    # One scan with an index: one of epochs over one of steps would keep another copy of an epoch's parameters.
    numbers = jnp.arange(rates.size) % rates.shape[1]
    return jax.lax.scan(update, variables, (numbers, rates.reshape(-1)))[0]
