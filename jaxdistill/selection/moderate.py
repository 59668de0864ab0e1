"""Moderate: images that are as far from the mean of their class as is typical (Xia et al., Moderate Coreset: A
Universal Method of Data Selection for Real-world Deep Neural Networks, ICLR 2023, section 3).

As the paper has it: the released code measures from the median of each feature, and takes as many images below the
median distance as above it. Deviation: the median is that of the class's distances, so that each class has as many
images, and not that of all.
"""

from __future__ import annotations

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.common.promotion import standard
from jaxdistill.selection.base import Features, Selection
from jaxdistill.selection.groups import group, pick_per_class
from jaxdistill.selection.strategies import picked
from jaxdistill.types import Key

__all__ = ["MODERATE", "moderate", "typical"]


@standard
def moderate(
    key: Key, features: Float[Array, "n d"], labels: Int[Array, " n"], ipc: int, num_classes: int
) -> Int[Array, "classes ipc"]:
    """Pick examples whose distance from the mean of their class is nearest the median of these distances.

    Deterministic: `key` is there for the common signature only.

    Args:
        key: not used.
        features: what distances are measured in; the paper's are of a trained network.
        labels: class numbers.
        ipc: images per class.
        num_classes: how many there are.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, or features and labels differ in length.
    """
    del key
    groups = group(features, labels, ipc, num_classes)
    return pick_per_class(partial(typical, ipc=ipc), jnp.asarray(features), groups)


def typical(features: Float[Array, "size d"], valid: Bool[Array, " size"], ipc: int) -> Int[Array, " ipc"]:
    """Rows of one class whose distances are nearest the median, the nearest first; of those that tie the first.

    Args:
        features: of one class, padded.
        valid: which rows are examples.
        ipc: images per class.
    """
    mean = jnp.where(valid[:, None], features, 0).sum(0) / valid.sum()
    distances = jnp.sqrt(((features - mean) ** 2).sum(1))
    median = jnp.nanmedian(jnp.where(valid, distances, jnp.nan))
    return jnp.argsort(jnp.where(valid, jnp.abs(distances - median), jnp.inf), stable=True)[:ipc]


MODERATE = Selection("moderate", Features(), picked(moderate), "Xia et al., ICLR 2023")
