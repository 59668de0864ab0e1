"""What one trained network says of each image, and the gradients of its last layer that follow from it.

With h the input of the last layer (its embedding), p the probabilities and y the one-hot label, the gradient of an
image's cross-entropy in the last layer's weights and biases is the outer product ``g = (p - y) [1, h]``. It is never
stored: inner products of two of them are ``<p - y, p' - y'> (1 + <h, h'>)``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.data.feeds import RealData
from jaxdistill.selection.groups import Groups
from jaxdistill.selection.strategies import Strategy, real_set
from jaxdistill.training.inference import embedding, logits, predict
from jaxdistill.types import AnyArray, Key, Network, SyntheticSet, Variables

__all__ = [
    "Gradients", "Outputs", "Tuned", "Weighed", "along", "gradients", "gram", "mean", "outputs", "squares",
    "weigh_per_class", "weighed",
]  # fmt: skip


class Outputs(NamedTuple):
    """What a network says of each image of a split, in its order."""

    embedding: Float[Array, "n d"]
    """Input of the last layer."""
    logits: Float[Array, "n classes"]
    classes: Int[AnyArray, " n"] | None = None
    """Of the images, where what they are labelled with is something else: see `jaxdistill.selection.budgets`."""


class Tuned(NamedTuple):
    """Outputs, and how a selection goes by them."""

    outputs: Outputs
    options: dict[str, Any]
    """Of its function, by name: a step size, what a network says of validation images ..."""


class Gradients(NamedTuple):
    """Last-layer gradients of some images, as the two factors of each."""

    error: Float[Array, "n classes"]
    """Probabilities minus one-hot label."""
    embedding: Float[Array, "n d"]


class Weighed(NamedTuple):
    """Picked images and how much each of them counts."""

    indices: Int[Array, "classes ipc"]
    weights: Float[Array, "classes ipc"]
    """Of mean 1 in each class, so that they leave the step size of training what it was."""


Pick: TypeAlias = Callable[..., tuple[Int[Array, " ipc"], Float[Array, " ipc"]]]
"""``pick(gradients, valid)`` sees the images of one class, padding included, and gives positions among them and their
weights, of any scale. With held-out images it is called as ``pick(gradients, valid, held_out, valid_held_out)``."""


def outputs(network: Network, variables: Variables, data: RealData) -> Outputs:
    """What a network says of every image of a split, without augmentation.

    Args:
        network: whose embedding is the input of its last layer, which has biases.
        variables: where it stands; batch normalisation uses its running averages.
        data: the split.
    """

    return predict(network, variables, data, _both)


def _both(network: Network, variables: Variables, images: Float[Array, "b h w c"]) -> Outputs:
    return Outputs(embedding(network, variables, images), logits(network, variables, images))


def gradients(outputs: Outputs, labels: Int[Array, " n"]) -> Gradients:
    """Last-layer gradients of the cross-entropy of each image."""
    said = outputs.logits
    labels = labels if outputs.classes is None else outputs.classes
    return Gradients(jax.nn.softmax(said) - jax.nn.one_hot(labels, said.shape[-1], dtype=said.dtype), outputs.embedding)


def gram(some: Gradients, others: Gradients) -> Float[Array, "n m"]:
    """Inner product of each of some gradients with each of others."""
    by_error = jnp.matmul(some.error, others.error.T, precision="highest")
    return by_error * (1 + jnp.matmul(some.embedding, others.embedding.T, precision="highest"))


def squares(gradients: Gradients) -> Float[Array, " n"]:
    """Squared length of each gradient."""
    return (gradients.error**2).sum(1) * (1 + (gradients.embedding**2).sum(1))


def mean(gradients: Gradients, valid: Bool[Array, " n"]) -> tuple[Float[Array, " classes"], Float[Array, "classes d"]]:
    """Mean of the valid gradients: its part in the biases, and its part in the weights."""
    share = jnp.where(valid[:, None], gradients.error, 0) / valid.sum()
    return share.sum(0), jnp.matmul(share.T, gradients.embedding, precision="highest")


def along(
    gradients: Gradients, direction: tuple[Float[Array, " classes"], Float[Array, "classes d"]]
) -> Float[Array, " n"]:
    """Inner product of each gradient with one in the form that `mean` gives."""
    biases, weights = direction
    projected = biases + jnp.matmul(gradients.embedding, weights.T, precision="highest")
    return (gradients.error * projected).sum(1)


def weigh_per_class(
    pick: Pick, gradients: Gradients, groups: Groups, held_out: tuple[Gradients, Groups] | None = None
) -> Weighed:
    """What `pick` takes from each class, one class at a time to bound the memory; a class without weights gets ones.

    Args:
        pick: positions and weights among the rows of one class.
        gradients: of all examples.
        groups: which rows belong to each class.
        held_out: gradients of other images, and which of those belong to each class.
    """

    def rows(gradients: Gradients, one: Groups) -> tuple[Gradients, Bool[Array, " size"]]:
        valid = jnp.arange(one.members.shape[0]) < one.counts
        return jax.tree.map(lambda leaf: leaf[one.members], gradients), valid

    def pick_one(both: tuple[Groups, Groups | None]) -> Weighed:
        one, other = both
        beside = () if held_out is None or other is None else rows(held_out[0], other)
        chosen, weights = pick(*rows(gradients, one), *beside)
        total = weights.sum()
        weights = jnp.where(total > 0, weights * (len(weights) / jnp.where(total > 0, total, 1)), 1)
        return Weighed(one.members[chosen], weights)

    return jax.lax.map(pick_one, (groups, None if held_out is None else held_out[1]))


def weighed(select: Callable[..., Weighed]) -> Strategy:
    """The strategy that takes the real images which ``select(key, outputs, labels, ipc, num_classes)`` weighs, with the
    options that come with `Tuned` outputs."""

    def strategy(key: Key, data: RealData, ipc: int, inputs: Outputs | Tuned) -> SyntheticSet:
        outputs, options = inputs if isinstance(inputs, Tuned) else (inputs, {})
        found = select(key, outputs, jnp.asarray(data.labels), ipc, len(data.counts), **options)
        return dataclasses.replace(real_set(data, found.indices), weights=found.weights.reshape(-1))

    return strategy
