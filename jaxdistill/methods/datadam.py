"""Attention matching, DataDAM (Sajedi, Khaki et al., ICCV 2023).

The paper's table and the released code are two methods: they differ in the power, the weights, the normalisation of the
network and the number of steps. Both are presets. Differs from the code: gradients are taken class by class where the
network lets classes be separated, every draw comes from an explicit key, and no checkpoint is chosen by test accuracy.
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
from jaxdistill.errors import UsageError
from jaxdistill.losses.attention import attention
from jaxdistill.methods.matching import match_distributions
from jaxdistill.methods.partial_update import PartialUpdate, marked, only_learned
from jaxdistill.types import Batch, Features, Key, Method, SyntheticSet, Task

__all__ = ["DataDAM", "DataDAMInfo", "DataDAMState", "datadam"]


@renamed(per_class="real_batch", scale="loss_scale", attention="attention_weight", balance="mmd_weight")
@dataclasses.dataclass(frozen=True)
class DataDAM(PartialUpdate):
    """Match the mean attention and the mean embedding of real and synthetic images under random networks."""

    image_lr: float = 1.0
    """Step size on pixels."""
    momentum: float = 0.5
    """Momentum of the pixels' SGD."""
    real_batch: int = 64
    """Real images per class and step."""
    power: int = 1
    """Exponent of activations in the attention; the paper's table has 4."""
    loss_scale: float = 100.0
    """Factor of the whole loss; the paper has none."""
    attention_weight: float = 1.0
    """Weight of the attention terms; with 0 what is left is DM at the step size ``image_lr * loss_scale *
    mmd_weight``."""
    mmd_weight: float = 0.01
    """Weight of the embedding term, the paper's lambda."""
    include_last: bool = False
    """Match the attention of the last block as well."""


class DataDAMState(NamedTuple):
    """The images, and what their optimiser remembers."""

    images: Float[Array, "classes ipc h w c"]
    opt_state: optax.OptState


class DataDAMInfo(NamedTuple):
    """How far attention and mean embeddings are apart."""

    loss: Float[Array, ""]
    """Summed over classes, as optimised (the original prints it divided by their number)."""
    attention: Float[Array, ""]
    """The part of the loss that is attention."""
    embedding: Float[Array, ""]
    """The rest of it."""
    grad_norm: Float[Array, ""]


def datadam(config: DataDAM, task: Task) -> Method:
    """Build DataDAM: DM with a further term for the attention of every convolutional block but the last.

    Args:
        config: step sizes, batch size and weights; `jaxdistill.presets.datadam` has the code's and the paper's.
        task: network, augmentation and shapes; a network with batch normalisation (the code's) couples the classes (one
            pass for all of them), any other is taken class by class.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = datadam(DataDAM(real_batch=8, image_lr=0.1), toy_task("convnet"))
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Sajedi, Khaki, Amjadian, Liu, Lawryshyn & Plataniotis, DataDAM: Efficient Dataset Distillation with Attention
        Matching, ICCV 2023.
    """
    check(
        config,
        positive=("image_lr", "loss_scale"),
        momenta=("momentum",),
        counts=("real_batch", "power"),
        not_negative=("attention_weight", "mmd_weight"),
    )
    if config.attention_weight == config.mmd_weight == 0:
        raise UsageError(
            "`attention_weight` and `mmd_weight` of DataDAM are both 0, which matches nothing; raise one of them"
        )
    blocks = _count_maps(task) - (not config.include_last) if config.attention_weight else 0
    if config.attention_weight and blocks < 1:
        raise UsageError("this network has no map to match; take one with more convolutional blocks, or use DM")
    optimiser = optax.sgd(config.image_lr, momentum=config.momentum)
    weights = (*[config.loss_scale * config.attention_weight] * blocks, config.loss_scale * config.mmd_weight)

    def described(features: Features) -> tuple[Float[Array, "n _d"], ...]:
        return (*(attention(block, config.power) for block in features.maps[:blocks]), features.embedding)

    def init(key: Key, initial: SyntheticSet) -> DataDAMState:
        del key
        images = by_class(initial, task.num_classes)
        return DataDAMState(images, optimiser.init(images))

    def step(key: Key, state: DataDAMState, batch: Batch) -> tuple[DataDAMState, DataDAMInfo]:
        key_network, key_classes = jax.random.split(key)
        variables = task.network.init(key_network)
        distances, gradient = match_distributions(
            key_classes, task, variables, state.images, batch.images, features=described, weights=weights
        )
        gradient = only_learned(gradient, config.update_share, task.num_classes)
        updates, opt_state = optimiser.update(gradient, state.opt_state)
        images = optax.apply_updates(state.images, updates)
        terms = jnp.sum(distances, axis=0) * jnp.asarray(weights, distances.dtype)
        info = DataDAMInfo(jnp.sum(terms), jnp.sum(terms[:-1]), terms[-1], optax.global_norm(gradient))
        return DataDAMState(images, opt_state), info  # pyright: ignore[reportArgumentType]

    def synthetic(state: DataDAMState) -> SyntheticSet:
        return marked(class_set(state.images), config.update_share)

    return standardised(Method(init, step, synthetic, ClassBalanced(config.real_batch)))


def _count_maps(task: Task) -> int:
    """Convolutional blocks of the task's network."""

    def features(key: Key) -> Features:
        return task.network.features(task.network.init(key), jnp.zeros((1, *task.image_shape)))

    return len(jax.eval_shape(features, jax.random.key(0)).maps)
