"""What a network is trained with on a set of any label kind."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.types import LabelKind

__all__ = ["training_loss"]


def training_loss(
    logits: Float[Array, "n classes"],
    labels: Float[Array, "n classes"],
    kind: LabelKind,
    weights: Float[Array, " n"] | None = None,
) -> Float[Array, ""]:
    """Mean loss of a batch: cross-entropy, or for ``"target"`` labels half the squared distance (KIP, FRePo).

    Weighted samples contribute in proportion to their weight; the sum is divided by the number of samples, so that
    weights of mean 1 leave the step size what it was.
    """
    if kind == "target":
        losses = 0.5 * jnp.sum((logits - labels) ** 2, axis=-1)
    else:
        targets = jax.nn.softmax(labels) if kind == "logit" else labels
        losses = optax.softmax_cross_entropy(logits, targets)
    return jnp.mean(losses if weights is None else losses * weights)
