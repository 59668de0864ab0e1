"""What becomes of a batch before a network is trained on it: its images augmented, then some of them mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.types import Augment, Key, SyntheticSet

__all__ = ["Augmented", "Transform", "augmented", "cutmix"]

Transform: TypeAlias = Callable[[Key, SyntheticSet], SyntheticSet]
"""``transform(key, batch)`` is the batch that is trained on; the key is consumed."""


@dataclasses.dataclass(frozen=True)
class Augmented:
    """Augment the images, with a draw for each of them, then mix the batch."""

    augment: Augment
    selected: Augment | None = None
    """Of those that the set says are selected real ones; by default `augment` as well."""
    cutmix: float = 0.0
    """Probability of mixing the batch; see the function."""
    relative_weights: bool = False
    """Scale the weights of each batch to mean 1, so that its loss is divided by their sum."""

    def __call__(self, key: Key, batch: SyntheticSet) -> SyntheticSet:
        """See `Transform`; where batches are mixed their labels are classes or probabilities."""
        key_augment, key_mix = jax.random.split(key)
        images = augmented(key_augment, batch, self.augment, self.selected)
        images, labels = cutmix(key_mix, images, batch.labels, self.cutmix)
        batch = dataclasses.replace(batch, images=images, labels=labels)
        if self.relative_weights and batch.weights is not None:
            total = batch.weights.sum()  # of weights that are all 0 nothing is learned
            batch = dataclasses.replace(batch, weights=batch.weights * (batch.count / jnp.where(total > 0, total, 1)))
        return batch


def augmented(key: Key, batch: SyntheticSet, augment: Augment, selected: Augment | None) -> Float[Array, "n h w c"]:
    """A batch's images, augmented with a draw for each of them.

    Args:
        key: consumed.
        batch: the images, and perhaps which are selected real ones.
        augment: of all images.
        selected: of the selected ones in its place; None is `augment` as well.
    """
    images = augment(key, batch.images, siamese=False)
    if selected is None or batch.selected is None:
        return images
    apart = selected(jax.random.clone(key), batch.images, siamese=False)
    return jnp.where(batch.selected[:, None, None, None], apart, images)


def cutmix(
    key: Key, images: Float[Array, "n h w c"], labels: Float[Array, "n classes"], probability: float
) -> tuple[Float[Array, "n h w c"], Float[Array, "n classes"]]:
    """With a probability, paste a box of other images of the batch, and mix the labels by area (Yun et al., ICCV 2019,
    arXiv:1905.04899): the one augmentation here that changes labels.

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
