"""Contextual diversity: images that leave none of their class far from a pick, where distances are between what a
network says of them (Agarwal et al., ECCV 2020, arXiv:2008.05723, the selection by core-sets, CDAL-CS).

The distance of two images is half the sum of the two Kullback-Leibler divergences of their class probabilities, as in
DeepCore (Guo et al., DEXA 2022); of images with one label, the paper's mixture of a region is the probabilities
themselves. Deviation: as k-center here, class by class and from the image nearest the class's mean probabilities on.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.selection.base import ProxyOutputs, Selection
from jaxdistill.selection.groups import Groups, group, pick_per_class
from jaxdistill.selection.kcenter import cover
from jaxdistill.selection.outputs import Outputs
from jaxdistill.selection.strategies import picked
from jaxdistill.types import Key

__all__ = ["CONTEXTUAL_DIVERSITY", "contextual_diversity", "diverse"]


def contextual_diversity(
    key: Key, outputs: Outputs, labels: Int[Array, " n"], ipc: int, num_classes: int
) -> Int[Array, "classes ipc"]:
    """Pick examples that differ most, by what a network says of them, from all that were picked before.

    Deterministic: `key` is there for the common signature only.

    Args:
        key: unused.
        outputs: of one network.
        labels: the class of each example.
        ipc: how many examples of each class are picked.
        num_classes: number of classes.

    Returns:
        Indices in the order they were picked.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, or outputs and labels differ in length.
    """
    del key
    groups = group(outputs.embedding, labels, ipc, num_classes)
    return _diverse(outputs.logits, groups, ipc)


@partial(jax.jit, static_argnames="ipc")
def _diverse(logits: Float[Array, "n outputs"], groups: Groups, ipc: int) -> Int[Array, "classes ipc"]:
    return pick_per_class(partial(diverse, ipc=ipc), jax.nn.log_softmax(logits), groups)


def diverse(logs: Float[Array, "size outputs"], valid: Bool[Array, " size"], ipc: int) -> Int[Array, " ipc"]:
    """Farthest-first in one class.

    Args:
        logs: logarithms of probabilities, which tell rows apart where probabilities are rounded to 0.
        valid: which rows are examples, not padding.
        ipc: images per class.
    """

    def to(other: Float[Array, " outputs"]) -> Float[Array, " size"]:
        return 0.5 * ((jnp.exp(logs) - jnp.exp(other)) * (logs - other)).sum(1)

    mean = jax.nn.logsumexp(jnp.where(valid[:, None], logs, -jnp.inf), axis=0) - jnp.log(valid.sum())
    first = jnp.argmin(jnp.where(valid, to(mean), jnp.inf))
    return cover(lambda chosen: to(logs[chosen]), first, valid, ipc)


CONTEXTUAL_DIVERSITY = Selection(
    "contextual_diversity", ProxyOutputs(), picked(contextual_diversity), "Agarwal et al., ECCV 2020"
)
