"""Kernel inducing points, KIP (Nguyen, Chen & Lee, ICLR 2021, arXiv:2011.00050).

The set is the support of a ridge regression with an infinitely wide network's kernel; each step lowers its error on a
batch of real images. Differs from the notebook: labels are centred by ``1 / classes`` whatever their number, and
kernels of many pairs are computed a tile at a time.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.common.promotion import standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.common.sets import centred, targets_of
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import ClassBalanced
from jaxdistill.errors import UsageError
from jaxdistill.kernels.regression import support_gradient
from jaxdistill.losses.ridge import squared_error
from jaxdistill.methods.partial_update import PartialUpdate, marked, only_learned
from jaxdistill.types import Batch, Key, Method, SyntheticSet, Task

__all__ = ["KIP", "KIPInfo", "KIPState", "kip", "kip_loss"]

_REAL_IMAGES = 5_000


@renamed(per_class="real_batch")
@dataclasses.dataclass(frozen=True)
class KIP(PartialUpdate):
    """Learn the support of a kernel ridge regression."""

    image_lr: float = 0.04
    """Adam's step size, for pixels and labels."""
    learn_labels: bool = False
    """Learn the labels as well, as unconstrained numbers."""
    real_batch: int | None = None
    """Real images per class and step; by default 5,000 shared by all classes."""
    ridge: float = 1e-6
    """Penalty of the regression, relative to the mean of the kernel's diagonal; the protocol krr has the same, unless
    it is told another."""


class KIPState(NamedTuple):
    """Images and labels, and what their optimiser remembers."""

    images: Float[Array, "n h w c"]
    labels: Float[Array, "n classes"]
    """Centred regression targets."""
    opt_state: optax.OptState


class KIPInfo(NamedTuple):
    """How well the set predicts real images by the kernel."""

    loss: Float[Array, ""]
    accuracy: Float[Array, ""]
    """Of the regression, on the step's real images."""
    grad_norm: Float[Array, ""]


def kip_loss(predictions: Float[Array, "m classes"], targets: Float[Array, "m classes"]) -> Float[Array, ""]:
    """Half the squared error in the mean over images and classes."""
    return squared_error(predictions, targets) / targets.shape[1]


def kip(config: KIP, task: Task) -> Method:
    """Build KIP.

    Args:
        config: step size, batch size and penalty.
        task: its kernel, its shapes, and an augmentation, which is for the real images; its network is not used.

    Raises:
        UsageError: for settings out of range, a task without a kernel, or one whose kernel cannot be computed here.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = kip(KIP(real_batch=8), toy_task(kernel="fc1"))
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Nguyen, Chen & Lee, Dataset Meta-Learning from Kernel Ridge-Regression, ICLR 2021.
    """
    per_class = max(1, _REAL_IMAGES // task.num_classes) if config.real_batch is None else config.real_batch
    check(dataclasses.replace(config, real_batch=per_class), positive=("image_lr", "ridge"), counts=("real_batch",))
    if task.kernel is None:
        raise UsageError("KIP needs a kernel; give the task one of jaxdistill.kernels")
    kernel = task.kernel
    optimiser = optax.adam(config.image_lr)

    def init(key: Key, initial: SyntheticSet) -> KIPState:
        del key
        learned = (initial.images, centred(initial))
        return KIPState(*learned, optimiser.init(learned))

    def step(key: Key, state: KIPState, batch: Batch) -> tuple[KIPState, KIPInfo]:
        key_kernel, key_augment = jax.random.split(key)
        real = task.augment(key_augment, batch.images.reshape(-1, *task.image_shape), siamese=False)
        classes = batch.labels.reshape(-1)
        targets = targets_of(classes, task.num_classes, state.labels.dtype)
        support, pull_back = jax.vjp(partial(kernel.prepare, key_kernel), state.images)
        found = support_gradient(
            kernel, support, state.labels, kernel.prepare(key_kernel, real), targets,
            ridge=config.ridge, loss=kip_loss, map_rows=task.map_blocks,
        )  # fmt: skip
        by_labels = found.by_labels if config.learn_labels else jnp.zeros_like(found.by_labels)
        by_images = only_learned(pull_back(found.by_support)[0], config.update_share, task.num_classes)
        gradient = (by_images, by_labels)
        learned = (state.images, state.labels)
        updates, opt_state = optimiser.update(gradient, state.opt_state, learned)
        images, labels = jax.tree.map(jnp.add, learned, updates)
        accuracy = jnp.mean(jnp.argmax(found.predictions, -1) == classes)
        return KIPState(images, labels, opt_state), KIPInfo(found.loss, accuracy, optax.global_norm(gradient))

    def synthetic(state: KIPState) -> SyntheticSet:
        return marked(SyntheticSet(state.images, state.labels, label_kind="target"), config.update_share)

    return standardised(Method(init, step, synthetic, ClassBalanced(per_class)))
