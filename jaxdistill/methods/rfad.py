"""Random feature approximation for distillation, RFAD (Loo, Hasani, Amini & Rus, NeurIPS 2022, arXiv:2210.12067).

KIP with the features of a few random networks, drawn anew in each step, for the kernel; a linear map of all learned
images is learned with them, and a cross-entropy with a learned temperature (Platt scaling) takes the squared error's
place. Differs from the released code: a step's real images are one draw without replacement, not four; 28x28 images
are padded to 32x32 as for every ConvNet here; it stops where it is told, or at the best look at images held out.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.common.promotion import standardised
from jaxdistill.common.sets import centred, targets_of
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import Uniform
from jaxdistill.errors import UsageError
from jaxdistill.kernels.regression import support_gradient
from jaxdistill.losses.ridge import cross_entropy
from jaxdistill.methods.kip import kip_loss
from jaxdistill.methods.partial_update import PartialUpdate, kept_count, marked, only_learned
from jaxdistill.types import Batch, Key, Method, PyTree, SyntheticSet, Task

__all__ = ["RFAD", "Learned", "RFADInfo", "RFADState", "rfad", "transformed"]

_LOSSES = {"platt": cross_entropy, "squared": kip_loss}
_EPSILON = 1e-16
_AT_ONCE = 1_280


@dataclasses.dataclass(frozen=True)
class RFAD(PartialUpdate):
    """Learn the support of a ridge regression on random features, and a linear map of its images."""

    image_lr: float = 1e-3
    """AdaBelief's step size, for pixels and labels."""
    transform_lr: float = 5e-5
    """AdaBelief's step size for a linear map of all images, the identity at first; 0 learns none. Images that
    --update-share keeps are not mapped."""
    temperature_lr: float = 1e-2
    """AdaBelief's step size for the logarithm of the factor of all predictions, with the loss platt; 0 keeps it at
    0."""
    loss: Literal["platt", "squared"] = "platt"
    """Cross-entropy of the predictions times a learned factor, or the squared error."""
    learn_labels: bool = False
    """Learn the labels as well, as unconstrained numbers."""
    real_batch: int = 5_120
    """Real images per step, of whatever classes."""
    ridge: float = 5e-3
    """Penalty of the regression, relative to the mean of the kernel's diagonal."""


class Learned(NamedTuple):
    """Whatever a gradient goes to."""

    images: Float[Array, "n h w c"]
    """As they are before the map."""
    labels: Float[Array, "n classes"]
    """Centred regression targets."""
    transform: Float[Array, "d d"] | None
    """By which flattened images are multiplied from the right; None where none is learned."""
    temperature: Float[Array, ""]
    """Logarithm of the factor of all predictions."""


class RFADState(NamedTuple):
    """What is learned, and what its optimiser remembers."""

    learned: Learned
    opt_state: optax.OptState


class RFADInfo(NamedTuple):
    """How well the set predicts real images by the kernel."""

    loss: Float[Array, ""]
    accuracy: Float[Array, ""]
    """Of the regression, on the step's real images."""
    temperature: Float[Array, ""]
    """See `Learned`."""
    grad_norm: Float[Array, ""]


def transformed(
    images: Float[Array, "n h w c"], transform: Float[Array, "d d"] | None, kept: int, num_classes: int
) -> Float[Array, "n h w c"]:
    """Images after the learned map, but for the first ones of each class, which stay as they are to the bit.

    Args:
        images: as many of each class.
        transform: multiplies flattened images from the right; None is no map.
        kept: how many of each class stay.
        num_classes: number of classes.
    """
    if transform is None:
        return images
    flat = images.reshape(images.shape[0], -1)
    mapped = jnp.matmul(flat, transform, precision="highest").reshape(images.shape)
    stays = jnp.arange(images.shape[0]) % (images.shape[0] // num_classes) < kept
    return jnp.where(stays[:, None, None, None], images, mapped) if kept else mapped


def rfad(config: RFAD, task: Task) -> Method:
    """Build RFAD.

    Args:
        config: step sizes, loss, batch size and penalty.
        task: its kernel (the paper's is ``rfad``), its shapes, and an augmentation, which is for the real images; its
            network is not used.

    Raises:
        UsageError: for settings out of range, or a task without a kernel.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = rfad(RFAD(real_batch=16), toy_task(kernel="rfad2x4"))
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Loo, Hasani, Amini & Rus, Efficient Dataset Distillation using Random Feature Approximation, NeurIPS 2022.
    """
    check(
        config,
        positive=("image_lr", "ridge"),
        not_negative=("transform_lr", "temperature_lr"),
        counts=("real_batch",),
        choices={"loss": _LOSSES},
    )
    if task.kernel is None:
        raise UsageError("RFAD needs a kernel; give the task one of jaxdistill.kernels, the paper's is rfad")
    kernel, platt = task.kernel, config.loss == "platt"
    belief = optax.scale_by_belief(eps=_EPSILON, eps_root=_EPSILON)

    def init(key: Key, initial: SyntheticSet) -> RFADState:
        del key
        images, labels = initial.images, centred(initial)
        size = images[0].size
        transform = jnp.eye(size, dtype=images.dtype) if config.transform_lr else None
        learned = Learned(images, labels, transform, jnp.zeros((), labels.dtype))
        return RFADState(learned, belief.init(learned))  # pyright: ignore[reportArgumentType]

    def shown(learned: Learned) -> Float[Array, "n h w c"]:
        ipc = learned.images.shape[0] // task.num_classes
        kept = kept_count(config.update_share, ipc)
        return transformed(learned.images, learned.transform, kept, task.num_classes)

    def prepared(key: Key, images: Float[Array, "b h w c"]) -> PyTree:
        parts = max(1, images.shape[0] // _AT_ONCE)
        if images.shape[0] % parts:
            return kernel.prepare(key, images)
        rows = jax.lax.map(partial(kernel.prepare, key), images.reshape(parts, -1, *task.image_shape))
        return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), rows)

    def step(key: Key, state: RFADState, batch: Batch) -> tuple[RFADState, RFADInfo]:
        key_kernel, key_augment = jax.random.split(key)
        real = task.augment(key_augment, batch.images, siamese=False)
        targets = targets_of(batch.labels, task.num_classes, state.learned.labels.dtype)

        def support(learned: Learned) -> tuple[PyTree, Array]:
            # Predictions are linear in the labels, so that these may take the factor of those.
            factor = jnp.exp(learned.temperature) if platt else 1.0
            return kernel.prepare(key_kernel, shown(learned)), factor * learned.labels

        rows, pull_back = jax.vjp(support, state.learned)
        found = support_gradient(
            kernel, *rows, prepared(key_kernel, real), targets,
            ridge=config.ridge, loss=_LOSSES[config.loss], map_rows=task.map_blocks,
        )  # fmt: skip
        (gradient,) = pull_back((found.by_support, found.by_labels))
        gradient = gradient._replace(images=only_learned(gradient.images, config.update_share, task.num_classes))
        if not config.learn_labels:
            gradient = gradient._replace(labels=jnp.zeros_like(gradient.labels))
        directions, opt_state = belief.update(gradient, state.opt_state)
        last = config.temperature_lr if platt else 0.0
        rates: PyTree = Learned(config.image_lr, config.image_lr, config.transform_lr or None, last)  # pyright: ignore
        learned = jax.tree.map(lambda leaf, rate, way: leaf - rate * way, state.learned, rates, directions)
        accuracy = jnp.mean(jnp.argmax(found.predictions, -1) == batch.labels)
        info = RFADInfo(found.loss, accuracy, learned.temperature, optax.global_norm(gradient))
        return RFADState(learned, opt_state), info

    def synthetic(state: RFADState) -> SyntheticSet:
        found = SyntheticSet(shown(state.learned), state.learned.labels, label_kind="target")
        return marked(found, config.update_share)

    return standardised(Method(init, step, synthetic, Uniform(config.real_batch)))
