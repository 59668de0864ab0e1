"""Synthetic sets seen class by class, and step by step."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.errors import UsageError
from jaxdistill.types import SyntheticSet

__all__ = ["as_probabilities", "by_class", "by_step", "centred", "class_set", "soft_logits", "targets_of"]

_CERTAINTY = 0.9


def by_class(initial: SyntheticSet, num_classes: int) -> Float[Array, "classes ipc h w c"]:
    """The images of a set of hard classes, class by class, for methods that learn nothing but images.

    Raises:
        UsageError: if the set has other labels, or stores several tiles in an image.
    """
    if initial.tiles != 1 or initial.label_kind != "class":
        raise UsageError(
            "this method learns whole images of hard classes; start it from a set with formation 1 and class labels"
        )
    return initial.images.reshape(num_classes, -1, *initial.images.shape[1:])


def class_set(images: Float[Array | np.ndarray, "classes ipc h w c"], formation: int = 1) -> SyntheticSet:
    """The set of hard classes that has these images."""
    classes, ipc = images.shape[:2]
    labels = jnp.repeat(jnp.eye(classes), ipc, axis=0)
    return SyntheticSet(jnp.asarray(images).reshape(-1, *images.shape[2:]), labels, formation=formation)


def as_probabilities(synthetic: SyntheticSet) -> SyntheticSet:
    """The set with logits soft-maxed; other labels stay as they are."""
    if synthetic.label_kind != "logit":
        return synthetic
    return dataclasses.replace(synthetic, labels=jax.nn.softmax(synthetic.labels), label_kind="probability")


def soft_logits(labels: Float[Array, "n classes"]) -> Float[Array, "n classes"]:
    """Logits to learn, of hard labels: a probability of 0.9 for the class, the rest shared by the others."""
    other = (1 - _CERTAINTY) / max(labels.shape[1] - 1, 1)
    return jnp.log(jnp.where(labels > 0, _CERTAINTY, other).astype(labels.dtype))


def centred(synthetic: SyntheticSet) -> Float[Array, "n classes"]:
    """A set's labels as regression targets (KIP, FRePo): probabilities less ``1 / classes``; targets stay as they are.

    Raises:
        UsageError: if the set stores several tiles in an image.
    """
    if synthetic.tiles != 1:
        raise UsageError("regression takes whole images; start it from a set with formation 1")
    if synthetic.label_kind == "target":
        return synthetic.labels
    soft = as_probabilities(synthetic).labels
    return soft - 1 / soft.shape[1]


def targets_of(labels: Int[Array, " b"], classes: int, dtype: Any = float) -> Float[Array, "b classes"]:
    """Hard classes as regression targets (KIP, FRePo): one-hot less ``1 / classes``.

    Args:
        labels: class numbers.
        classes: how many there are.
        dtype: type of the targets.
    """
    return jax.nn.one_hot(labels, classes, dtype=dtype) - 1 / classes


def by_step(synthetic: SyntheticSet, steps: int) -> Int[np.ndarray, "steps b"]:
    """Which images are in each batch of training in stored order: each takes its share of every class in turn.

    The set has as many images of each class, as one with step sizes that were learned always has.

    Raises:
        UsageError: if `steps` does not divide the number of images per class.
    """
    n, classes = synthetic.labels.shape
    if n % (classes * steps):
        raise UsageError(f"{n // classes} images per class cannot be shared out over {steps} steps; use a divisor")
    return np.arange(n).reshape(classes, steps, -1).swapaxes(0, 1).reshape(steps, -1)
