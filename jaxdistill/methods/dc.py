"""Gradient matching, DC (Zhao, Mopuri & Bilen, ICLR 2021, arXiv:2006.05929), eq. 9 and 10.

Differs from the code: K networks are used, not K + 1; the images that refresh running averages are those of the step's
batch, not drawn anew; each class's gradient is taken on its own, which is the same gradient in less memory.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.augment.transform import Augmented
from jaxdistill.common.promotion import standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.common.sets import by_class, class_set
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import ClassBalanced
from jaxdistill.losses import gradients
from jaxdistill.methods.matching import match_gradients, refresh
from jaxdistill.methods.partial_update import PartialUpdate, marked, only_learned
from jaxdistill.training.sgd import epoch, sgd
from jaxdistill.types import Batch, Key, Method, PyTree, SyntheticSet, Task, Variables

__all__ = ["DC", "DCInfo", "DCState", "dc"]


DISTANCES = {
    "output": lambda real, synthetic: gradients.output_cosine(gradients.weights(real), gradients.weights(synthetic)),
    "mse": gradients.squared,
    "cos": gradients.cosine,
}


@renamed(
    per_class="real_batch",
    matches="matches_per_network",
    epochs="inner_epochs",
    network_lr="inner_lr",
    batch="inner_batch",
    averages="bn_statistics",
)
@dataclasses.dataclass(frozen=True)
class DC(PartialUpdate):
    """Match the gradients that real and synthetic images give a network that is trained on the synthetic ones."""

    image_lr: float = 0.1
    """Step size on pixels; the code has 0.01 for an MLP."""
    momentum: float = 0.5
    """Momentum of the pixels' SGD; it persists from network to network."""
    real_batch: int = 256
    """Real images per class and step."""
    matches_per_network: int = 1
    """Steps of the set with one network, T of the paper; the network is trained between them."""
    inner_epochs: int = 1
    """Epochs that the network is trained on the set between two matches."""
    inner_lr: float = 0.01
    """Step size with which the network is trained on the set."""
    inner_batch: int = 256
    """Images in a step of the network on the set."""
    distance: Literal["output", "mse", "cos"] = "output"
    """Distance of the gradients: cosines for each output of each layer (eq. 10), or one of the two that the paper
    compares it with."""
    bn_statistics: Literal["faithful", "sensible"] = "faithful"
    """Statistics with which batch normalisation matches: running averages that a pass of 16 images per class moved a
    tenth of the way, as in the code (faithful), or the statistics of the pass (sensible)."""


class DCState(NamedTuple):
    """The images, and the network whose gradients are matched."""

    images: Float[Array, "classes ipc h w c"]
    opt_state: optax.OptState
    variables: Variables
    """The network in training."""
    matched: Int[Array, ""]
    """Matches it has been used for; a fresh one is drawn at 0."""


class DCInfo(NamedTuple):
    """How far the gradients of real and synthetic images are apart."""

    loss: Float[Array, ""]
    """Summed over classes, as optimised (the code prints it divided by classes and matches)."""
    grad_norm: Float[Array, ""]


def dc(config: DC, task: Task) -> Method:
    """Build DC: each step matches gradients once, then trains the network on the set for the next match.

    Args:
        config: step sizes and loops; `jaxdistill.presets.dc` has the paper's.
        task: network, augmentation (the paper has none; with one, this is DSA) and shapes.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = dc(DC(real_batch=8), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Zhao, Mopuri & Bilen, Dataset Condensation with Gradient Matching, ICLR 2021.
    """
    check(
        config,
        positive=("image_lr", "inner_lr"),
        momenta=("momentum",),
        counts=("real_batch", "matches_per_network", "inner_epochs", "inner_batch"),
        choices={"distance": DISTANCES, "bn_statistics": ("faithful", "sensible")},
    )
    optimiser = optax.sgd(config.image_lr, momentum=config.momentum)
    inner = sgd(jnp.float32(config.inner_lr))

    def train(key: Key, variables: Variables, images: Float[Array, "classes ipc h w c"]) -> Variables:
        def once(carry: tuple[Variables, PyTree], key: Key) -> tuple[tuple[Variables, PyTree], None]:
            variables, velocity, _ = epoch(
                key, task.network, *carry, class_set(images), optimizer=inner, batch=config.inner_batch,
                transform=Augmented(task.augment),
            )  # fmt: skip
            return (variables, velocity), None

        start = variables, inner.init(variables.params)
        return jax.lax.scan(once, start, jax.random.split(key, config.inner_epochs))[0][0]

    def init(key: Key, initial: SyntheticSet) -> DCState:
        images = by_class(initial, task.num_classes)
        return DCState(images, optimiser.init(images), task.network.init(key), jnp.zeros((), int))

    def step(key: Key, state: DCState, batch: Batch) -> tuple[DCState, DCInfo]:
        key_network, key_match, key_train = jax.random.split(key, 3)
        variables = jax.lax.cond(state.matched == 0, task.network.init, lambda _: state.variables, key_network)
        variables, frozen = refresh(task.network, variables, batch.images, config.bn_statistics)
        distances, gradient = match_gradients(
            key_match, task, frozen, state.images, batch.images, DISTANCES[config.distance]
        )
        gradient = only_learned(gradient, config.update_share, task.num_classes)
        updates, opt_state = optimiser.update(gradient, state.opt_state)
        images = optax.apply_updates(state.images, updates)
        matched = (state.matched + 1) % config.matches_per_network
        if config.matches_per_network > 1:  # after its last match a network is thrown away
            variables = jax.lax.cond(
                matched == 0, lambda key, variables, images: variables, train, key_train, variables, images
            )
        info = DCInfo(jnp.sum(distances), optax.global_norm(gradient))
        return DCState(images, opt_state, variables, matched), info  # pyright: ignore[reportArgumentType]

    def synthetic(state: DCState) -> SyntheticSet:
        return marked(class_set(state.images), config.update_share)

    return standardised(Method(init, step, synthetic, ClassBalanced(config.real_batch)))
