"""Distribution matching, DM (Zhao & Bilen, WACV 2023, arXiv:2110.04181), eq. 6.

Differs from the paper: nothing. Differs from its code: the gradient of each class is taken on its own where the network
lets classes be separated (the same gradient at a fraction of the memory), and every draw comes from an explicit key.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.common.promotion import standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.common.sets import by_class, class_set
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import ClassBalanced
from jaxdistill.methods.matching import match_distributions
from jaxdistill.methods.partial_update import PartialUpdate, marked, only_learned
from jaxdistill.types import Batch, Key, Method, SyntheticSet, Task

__all__ = ["DM", "DMInfo", "DMState", "dm"]


@renamed(per_class="real_batch")
@dataclasses.dataclass(frozen=True)
class DM(PartialUpdate):
    """Match the mean embedding of real and synthetic images under random networks."""

    image_lr: float = 1.0
    """Step size on pixels."""
    momentum: float = 0.5
    """Momentum of the pixels' SGD."""
    real_batch: int = 256
    """Real images per class and step."""


class DMState(NamedTuple):
    """The images, and what their optimiser remembers."""

    images: Float[Array, "classes ipc h w c"]
    opt_state: optax.OptState


class DMInfo(NamedTuple):
    """How far the mean embeddings are apart."""

    loss: Float[Array, ""]
    """Summed over classes, as optimised (the original prints it divided by their number)."""
    grad_norm: Float[Array, ""]


def dm(config: DM, task: Task) -> Method:
    """Build DM: each step draws a fresh random network and moves the images along the summed distances' gradient.

    Args:
        config: step sizes and batch size.
        task: network, augmentation and shapes; a network with batch normalisation couples the classes (one pass for
            all of them), any other is taken class by class.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = dm(DM(real_batch=8), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Zhao & Bilen, Dataset Condensation with Distribution Matching, WACV 2023.
    """
    check(config, positive=("image_lr",), momenta=("momentum",), counts=("real_batch",))
    optimiser = optax.sgd(config.image_lr, momentum=config.momentum)

    def init(key: Key, initial: SyntheticSet) -> DMState:
        del key
        images = by_class(initial, task.num_classes)
        return DMState(images, optimiser.init(images))

    def step(key: Key, state: DMState, batch: Batch) -> tuple[DMState, DMInfo]:
        key_network, key_classes = jax.random.split(key)
        variables = task.network.init(key_network)
        distances, gradient = match_distributions(key_classes, task, variables, state.images, batch.images)
        gradient = only_learned(gradient, config.update_share, task.num_classes)
        updates, opt_state = optimiser.update(gradient, state.opt_state)
        images = optax.apply_updates(state.images, updates)
        info = DMInfo(jnp.sum(distances), optax.global_norm(gradient))
        return DMState(images, opt_state), info  # pyright: ignore[reportArgumentType]

    def synthetic(state: DMState) -> SyntheticSet:
        return marked(class_set(state.images), config.update_share)

    return standardised(Method(init, step, synthetic, ClassBalanced(config.real_batch)))
