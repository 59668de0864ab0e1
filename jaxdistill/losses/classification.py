"""What a network is trained with on a set of any label kind."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.types import LabelKind

__all__ = ["sample_losses"]


def sample_losses(
    logits: Float[Array, "n classes"], labels: Float[Array, "n classes"], kind: LabelKind
) -> Float[Array, " n"]:
    """Loss of each sample: cross-entropy, or for ``"target"`` labels half the squared distance (KIP, FRePo).

    Args:
        logits: a network's.
        labels: what they should be.
        kind: what the labels are.
    """
    if kind == "target":
        return 0.5 * jnp.sum((logits - labels) ** 2, axis=-1)
    return optax.softmax_cross_entropy(logits, jax.nn.softmax(labels) if kind == "logit" else labels)
