"""Training a network as scans. Methods with an inner network, experts and evaluation all use it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.augment.canvas import seen as windows_of
from jaxdistill.augment.transform import Transform
from jaxdistill.common.sets import as_probabilities
from jaxdistill.training.gradients import Training, training_gradient
from jaxdistill.types import Examples, Key, Network, PyTree, SyntheticSet, Variables

__all__ = ["Seen", "by_step", "epoch", "fit", "sgd", "train_step"]


class Seen(NamedTuple):
    """What the network said of each example when its turn came, before the step on it."""

    correct: Bool[Array, " n"]
    """Whether the most likely class was the label's."""
    confidence: Float[Array, " n"]
    """Probability of the label's most likely class."""
    error: Float[Array, " n"]
    """Length of probabilities minus label: EL2N (Paul, Ganguli & Dziugaite, NeurIPS 2021)."""
    margin: Float[Array, " n"] | None = None
    """The label's logit minus the largest other one (Pleiss et al., NeurIPS 2020); None where it was not recorded."""


def sgd(
    rate: float | Float[Array, ""], *, momentum: float = 0.0, decay: float = 0.0, nesterov: bool = False
) -> optax.GradientTransformation:
    """SGD with coupled weight decay and heavy-ball momentum; the step size scales the momentum buffers.

    optax keeps a schedule's count in the state; here the step size is that of the moment and the state is a tree like
    the parameters, so that a caller may change the one or empty the other, as the papers' evaluation does.

    Args:
        rate: step size.
        momentum: of the buffers.
        decay: weight decay.
        nesterov: step along the gradient and `momentum` times the new buffers, as PyTorch has it, not along these.
    """

    def update(gradients: PyTree, velocity: PyTree, params: PyTree | None = None) -> tuple[PyTree, PyTree]:
        gradients = jax.tree.map(lambda g, p: g + decay * p, gradients, params)
        velocity = jax.tree.map(lambda v, g: momentum * v + g, velocity, gradients)
        ahead = jax.tree.map(lambda v, g: momentum * v + g, velocity, gradients) if nesterov else velocity
        return jax.tree.map(lambda v: -rate * v, ahead), velocity

    init = partial(jax.tree.map, jnp.zeros_like)
    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def by_step(
    optimizer: Callable[[Float[Array, ""]], optax.GradientTransformation],
    rate: Callable[[Int[Array, ""]], Float[Array, ""]],
) -> optax.GradientTransformation:
    """An optimizer whose step size changes from step to step; its state has the number of the step beside it.

    Args:
        optimizer: by step size, which its state does not depend on.
        rate: of step number i, from 0.
    """

    def init(params: PyTree) -> tuple[PyTree, Int[Array, ""]]:
        return optimizer(jnp.float32(0)).init(params), jnp.asarray(0)

    def update(gradients: PyTree, state: tuple[PyTree, Int[Array, ""]], params: PyTree | None = None):
        inner, step = state
        updates, inner = optimizer(rate(step)).update(gradients, inner, params)
        return updates, (inner, step + 1)

    return optax.GradientTransformation(init, update)  # pyright: ignore[reportArgumentType]


def train_step(
    key: Key,
    network: Network,
    variables: Variables,
    opt_state: PyTree,
    batch: SyntheticSet,
    *,
    optimizer: optax.GradientTransformation,
    transform: Transform,
    gradient: Callable[..., Training] = training_gradient,
) -> tuple[Variables, PyTree, Float[Array, "n classes"]]:
    """One step on a batch.

    Args:
        key: consumed by `transform`.
        network: what is trained.
        variables: where it stands.
        opt_state: of the optimizer.
        batch: some of the examples.
        optimizer: turns gradients into a step.
        transform: of the batch.
        gradient: takes the place of `jaxdistill.training.gradients.training_gradient`.

    Returns:
        The network, the optimizer's state, and what the network said before the step.
    """
    batch = transform(key, batch)
    found = gradient(network, variables, batch.images, batch.labels, batch.label_kind, batch.weights)
    updates, opt_state = optimizer.update(found.gradient, opt_state, variables.params)
    return Variables(optax.apply_updates(variables.params, updates), found.statistics), opt_state, found.logits


def epoch(
    key: Key,
    network: Network,
    variables: Variables,
    opt_state: PyTree,
    examples: Examples,
    *,
    optimizer: optax.GradientTransformation,
    batch: int,
    transform: Transform,
    gradient: Callable[..., Training] = training_gradient,
) -> tuple[Variables, PyTree, Seen]:
    """One shuffled pass over examples; the last, smaller batch is kept.

    Args:
        key: consumed; shuffles, then gives each batch a key.
        network: what is trained.
        variables: where it stands.
        opt_state: of the optimizer.
        examples: a set of whole images or canvases, or real data; logits are soft-maxed.
        optimizer: `sgd`, or another one.
        batch: batch size; everything at once where there are fewer.
        transform: of each batch.
        gradient: see `train_step`.
    """
    key_shuffle, key_batches = jax.random.split(key)
    total = examples.count
    batch = min(batch, total)
    order = jax.random.permutation(key_shuffle, total)
    full = total // batch

    def update(carry: tuple[Variables, PyTree], chosen: tuple[Key, Int[Array, " b"]]):
        key, indices = chosen
        drawn = shown = as_probabilities(examples.take(indices))
        if drawn.canvas > 1:
            key, key_windows = jax.random.split(key)
            shown = windows_of(key_windows, drawn)
        variables, state, logits = train_step(
            key, network, *carry, shown, optimizer=optimizer, transform=transform, gradient=gradient
        )
        return (variables, state), _seen(logits[: drawn.count], drawn.labels)

    keys = jax.random.split(key_batches, full + 1)
    chosen = order[: full * batch].reshape(full, batch)
    carry, seen = jax.lax.scan(update, (variables, opt_state), (keys[:full], chosen))
    seen = jax.tree.map(lambda leaf: leaf.reshape(-1), seen)
    if total % batch:
        carry, rest = update(carry, (keys[full], order[full * batch :]))
        seen = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), seen, rest)
    return carry[0], carry[1], jax.tree.map(lambda leaf: jnp.zeros_like(leaf).at[order].set(leaf), seen)


def fit(
    key: Key,
    network: Network,
    optimizer: optax.GradientTransformation,
    count: int,
    advance: Callable[[Int[Array, ""], Variables, PyTree], tuple[Variables, PyTree]],
) -> Variables:
    """Train a fresh network; pure, one scan.

    Args:
        key: consumed; of the network's first weights.
        network: what is trained.
        optimizer: whose state `advance` takes along.
        count: how often `advance` is called.
        advance: number i, the network and the optimizer's state before and after a `train_step`, or an `epoch`.
    """
    variables = network.init(key)
    carry = variables, optimizer.init(variables.params)
    return jax.lax.scan(lambda carry, i: (advance(i, *carry), None), carry, jnp.arange(count))[0][0]


def _seen(logits: Float[Array, "b classes"], labels: Float[Array, "b classes"]) -> Seen:
    label = jnp.argmax(labels, -1)
    probabilities = jax.nn.softmax(logits)
    confidence = jnp.take_along_axis(probabilities, label[:, None], axis=-1)[:, 0]
    error = jnp.sqrt(jnp.sum((probabilities - labels) ** 2, axis=-1))
    own = jnp.take_along_axis(logits, label[:, None], axis=-1)[:, 0]
    others = jnp.where(jax.nn.one_hot(label, logits.shape[-1], dtype=bool), -jnp.inf, logits)
    return Seen(jnp.argmax(logits, -1) == label, confidence, error, own - others.max(-1))
