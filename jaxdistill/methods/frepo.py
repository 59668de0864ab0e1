"""Neural feature regression with pooling, FRePo (Zhou, Nezhadarya & Ba, NeurIPS 2022, arXiv:2206.00719).

The set is the support of a ridge regression on the features of a network that is itself being trained on the set; a
pool of such networks of different ages takes turns. Differs from the released code: the next network is drawn by the
step's key, the regression is in float64, and running averages take the unbiased variance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.common.promotion import standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.common.sets import centred, targets_of
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import Uniform
from jaxdistill.kernels.regression import LINEAR, support_gradient
from jaxdistill.losses.ridge import label_margin, squared_error
from jaxdistill.methods.partial_update import PartialUpdate, marked, only_learned
from jaxdistill.training.gradients import each_image, training_gradient
from jaxdistill.types import Batch, Key, Method, PyTree, SyntheticSet, Task, Variables, map_one_by_one

__all__ = ["FRePo", "FRePoInfo", "FRePoState", "SetGradient", "frepo", "set_gradient"]


@renamed(lr="image_lr", real_images="real_batch")
@dataclasses.dataclass(frozen=True)
class FRePo(PartialUpdate):
    """Learn images and labels by regression on the features of a pool of networks."""

    image_lr: float = 3e-4
    """LAMB's step size for images and labels, lowered by a cosine to a tenth over the run."""
    real_batch: int = 1024
    """Real images per step."""
    ridge: float = 1e-6
    """Penalty of the regression, relative to the mean of the kernel's diagonal."""
    pool: int = 10
    """Number of networks that take turns."""
    online_steps: int = 100
    """A network is drawn afresh when it has taken more steps than this."""
    online_lr: float = 3e-4
    """Adam's step size for the networks."""
    online_batch: int = 1000
    """Images of the set that a network sees in a step; all, where there are fewer."""
    learn_labels: bool = True
    """Learn the labels as well as the images."""
    flip: bool = False
    """Regress on the set and its mirror images."""


class Pool(NamedTuple):
    """Networks in training on the set; every array has a leading axis of networks."""

    variables: Variables
    moments: optax.OptState
    ages: Int[Array, "*pool"]
    """Online steps taken, or as if."""


class FRePoState(NamedTuple):
    """Images and labels, and the networks that are trained on them in turn."""

    images: Float[Array, "n h w c"]
    labels: Float[Array, "n classes"]
    """Regression targets."""
    opt_state: optax.OptState
    pool: Pool


class FRePoInfo(NamedTuple):
    """How well the set predicts real images by a network's features."""

    loss: Float[Array, ""]
    """Squared error and margin."""
    accuracy: Float[Array, ""]
    """Of the regression, on the step's real images."""
    margin: Float[Array, ""]
    """The part of the loss that is the labels' margin."""
    grad_norm: Float[Array, ""]


class SetGradient(NamedTuple):
    """The loss of a set under one network, and its gradient."""

    error: Float[Array, ""]
    """Half the squared error, in the mean over real images."""
    margin: Float[Array, ""]
    """See `jaxdistill.losses.ridge.label_margin`."""
    predictions: Float[Array, "b classes"]
    by_images: Float[Array, "n h w c"]
    by_labels: Float[Array, "n classes"]


def set_gradient(
    embed: Callable[[Float[Array, "n h w c"]], Float[Array, "n d"]],
    images: Float[Array, "n h w c"],
    labels: Float[Array, "n classes"],
    real: Float[Array, "b d"],
    targets: Float[Array, "b classes"],
    *,
    ridge: float = 1e-6,
    flip: bool = False,
    map_rows: Callable[..., PyTree] = map_one_by_one,
) -> SetGradient:
    """The error of a ridge regression on a network's features and the labels' margin, and the gradient of their sum.

    Args:
        embed: the features; what they come from is constant.
        images: the set's.
        labels: its regression targets.
        real: features of real images; constant.
        targets: what is to be predicted for them.
        ridge: relative penalty.
        flip: regress on the set and its mirror images.
        map_rows: how to go over blocks of real images.
    """

    def support(images: Float[Array, "n h w c"], labels: Float[Array, "n classes"]) -> tuple[Array, Array]:
        if flip:
            images, labels = jnp.concatenate([images, images[:, :, ::-1]]), jnp.concatenate([labels, labels])
        return embed(images), labels

    rows, pull_back = jax.vjp(support, images, labels)
    found = support_gradient(LINEAR, *rows, real, targets, ridge=ridge, loss=squared_error, map_rows=map_rows)
    by_images, by_labels = pull_back((found.by_support, found.by_labels))
    margin, by_margin = jax.value_and_grad(label_margin)(labels)
    return SetGradient(found.loss, margin, found.predictions, by_images, by_labels + by_margin)


def frepo(config: FRePo, task: Task) -> Method:
    """Build FRePo.

    Args:
        config: step sizes, batch sizes, and the pool.
        task: network, shapes and, for the decay of the step size, steps; an augmentation is for the real images.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = frepo(FRePo(real_batch=16, pool=1, image_lr=0.01), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Zhou, Nezhadarya & Ba, Dataset Distillation using Neural Feature Regression, NeurIPS 2022.
    """
    check(
        config,
        positive=("image_lr", "ridge", "online_lr"),
        counts=("real_batch", "pool", "online_batch"),
        not_negative=("online_steps",),
    )
    network = task.network
    rate = (
        config.image_lr
        if task.steps is None
        else optax.cosine_decay_schedule(config.image_lr, max(task.steps, 1), alpha=0.1)
    )
    optimiser = optax.lamb(rate, eps=1e-6, weight_decay=0.0)
    online = optax.adam(config.online_lr)

    def fresh(key: Key, age: Int[Array, ""] | int) -> Pool:
        variables = network.init(key)
        return Pool(variables, online.init(variables.params), jnp.asarray(age, jnp.int32))

    def init(key: Key, initial: SyntheticSet) -> FRePoState:
        # The ages are staggered, so that networks are not all drawn afresh at once.
        ages = config.online_steps // config.pool * jnp.arange(config.pool)
        pool = jax.lax.map(lambda entry: fresh(*entry), (jax.random.split(key, config.pool), ages))
        labels = centred(initial)
        if initial.label_kind != "target":
            labels = labels / jnp.sqrt(task.num_classes / 10)
        return FRePoState(initial.images, labels, optimiser.init((initial.images, labels)), pool)

    def step(key: Key, state: FRePoState, batch: Batch) -> tuple[FRePoState, FRePoInfo]:
        key_member, key_augment, key_fresh, key_online = jax.random.split(key, 4)
        number = jax.random.randint(key_member, (), 0, config.pool)
        member = jax.tree.map(lambda leaf: leaf[number], state.pool)
        real = task.augment(key_augment, batch.images, siamese=False)
        targets = targets_of(batch.labels, task.num_classes, state.labels.dtype)

        def embedded(images: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
            return network.features(member.variables, images).embedding

        learned = (state.images, state.labels)
        found = set_gradient(
            embedded, *learned, each_image(embedded, real), targets,
            ridge=config.ridge, flip=config.flip, map_rows=task.map_blocks,
        )  # fmt: skip
        moving = partial(only_learned, share=config.update_share, num_classes=task.num_classes)
        by_labels = found.by_labels if config.learn_labels else jnp.zeros_like(found.by_labels)
        gradient = (moving(found.by_images), by_labels)
        # LAMB's steps are as long as what it moves, so that it is shown no other images.
        updates, opt_state = optimiser.update(gradient, state.opt_state, (moving(state.images), state.labels))
        images, labels = jax.tree.map(jnp.add, learned, updates)
        member = jax.lax.cond(
            member.ages > config.online_steps,
            lambda member: fresh(key_fresh, 0),
            lambda member: trained(key_online, member, images, labels),
            member,
        )
        pool = jax.tree.map(lambda leaf, new: leaf.at[number].set(new), state.pool, member)
        accuracy = jnp.mean(jnp.argmax(found.predictions, -1) == batch.labels)
        info = FRePoInfo(found.error + found.margin, accuracy, found.margin, optax.global_norm(gradient))
        return FRePoState(images, labels, opt_state, pool), info

    def trained(key: Key, member: Pool, images: Float[Array, "n h w c"], labels: Float[Array, "n classes"]) -> Pool:
        n = images.shape[0]
        if n > config.online_batch:
            chosen = jax.random.permutation(key, n)[: config.online_batch]
            images, labels = images[chosen], labels[chosen]
        found = training_gradient(network, member.variables, images, labels, "target")
        updates, moments = online.update(found.gradient, member.moments, member.variables.params)
        params = optax.apply_updates(member.variables.params, updates)
        return Pool(Variables(params, found.statistics), moments, member.ages + 1)

    def synthetic(state: FRePoState) -> SyntheticSet:
        return marked(SyntheticSet(state.images, state.labels, label_kind="target"), config.update_share)

    return standardised(Method(init, step, synthetic, Uniform(config.real_batch), paced=True))
