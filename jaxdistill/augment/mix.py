"""CutMix (Yun et al., ICCV 2019, arXiv:1905.04899), the one augmentation here that changes labels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.types import Key

__all__ = ["cutmix"]


def cutmix(
    key: Key, images: Float[Array, "n h w c"], labels: Float[Array, "n classes"], probability: float
) -> tuple[Float[Array, "n h w c"], Float[Array, "n classes"]]:
    """With a probability, paste a box of other images of the batch, and mix the labels by area.

    One box and one permutation serve the batch, as in IDC's code: a share lambda ~ U(0, 1) is to be left, the box has
    sides of ``sqrt(1 - lambda)`` of the image's and a uniform centre; what lies beyond the border is cut off.

    Args:
        key: consumed.
        images: a batch.
        labels: class labels or probabilities; cross-entropy with mixed labels is the mixed cross-entropy.
        probability: 0 leaves everything as it is.
    """
    if not probability:
        return images, labels
    key_mix, key_share, key_centre, key_order = jax.random.split(key, 4)
    n, h, w, _ = images.shape
    side = jnp.sqrt(1 - jax.random.uniform(key_share))
    inside = []
    for length, key_axis in zip((h, w), jax.random.split(key_centre), strict=True):
        centre = jax.random.randint(key_axis, (), 0, length)
        half = (side * length).astype(int) // 2
        inside.append((jnp.arange(length) >= centre - half) & (jnp.arange(length) < centre + half))
    mixed = jax.random.bernoulli(key_mix, probability)
    box = inside[0][:, None] & inside[1] & mixed
    order = jax.random.permutation(key_order, n)
    share = jnp.mean(box.astype(labels.dtype))
    return jnp.where(box[..., None], images[order], images), (1 - share) * labels + share * labels[order]
