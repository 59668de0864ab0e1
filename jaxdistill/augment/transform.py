"""What becomes of a batch before a network is trained on it: its images augmented, then some of them mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp

from jaxdistill.augment.mix import cutmix
from jaxdistill.types import Augment, Key, SyntheticSet

__all__ = ["Augmented", "Transform", "unchanged"]

Transform: TypeAlias = Callable[[Key, SyntheticSet], SyntheticSet]
"""``transform(key, batch)`` is the batch that is trained on; the key is consumed."""


def unchanged(key: Key, batch: SyntheticSet) -> SyntheticSet:
    """The batch as it is."""
    del key
    return batch


@dataclasses.dataclass(frozen=True)
class Augmented:
    """Augment the images, with a draw for each of them, then mix the batch."""

    augment: Augment
    selected: Augment | None = None
    """Of those that the set says are selected real ones; by default `augment` as well."""
    cutmix: float = 0.0
    """Probability of mixing the batch (`jaxdistill.augment.mix`)."""

    def __call__(self, key: Key, batch: SyntheticSet) -> SyntheticSet:
        """See `Transform`; where batches are mixed their labels are classes or probabilities."""
        key_augment, key_mix = jax.random.split(key)
        images = self.augment(key_augment, batch.images, siamese=False)
        if self.selected is not None and batch.selected is not None:
            apart = self.selected(jax.random.clone(key_augment), batch.images, siamese=False)
            images = jnp.where(batch.selected[:, None, None, None], apart, images)
        images, labels = cutmix(key_mix, images, batch.labels, self.cutmix)
        return dataclasses.replace(batch, images=images, labels=labels)
