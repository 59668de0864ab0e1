"""CRAIG: core-sets whose weighted gradient stands in for that of all data (Mirzasoleiman, Bilmes & Leskovec, ICML 2020,
arXiv:1906.01827, algorithm 1), with gradients of the last layer, class by class.

The greedy algorithm is the plain one, not the lazy or the stochastic one: it finds the same set as the lazy one.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.selection.base import ProxyOutputs, Selection
from jaxdistill.selection.groups import Groups, group
from jaxdistill.selection.outputs import Gradients, Outputs, Weighed, gradients, gram, squares, weigh_per_class, weighed
from jaxdistill.types import Key

__all__ = ["CRAIG", "craig", "represent"]


def craig(key: Key, outputs: Outputs, labels: Int[Array, " n"], ipc: int, num_classes: int) -> Weighed:
    """Pick examples whose gradients lie near those of all examples of their class; each weighs what it stands for.

    Deterministic: `key` is there for the common signature only. The memory is two floats for each pair of examples of
    the largest class.

    Args:
        key: unused.
        outputs: of one network, which the paper asks again as it trains.
        labels: the class of each example.
        ipc: how many examples of each class are picked.
        num_classes: number of classes.

    Returns:
        Indices in the order they were picked, and the number of examples that each stands for, scaled to mean 1.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, or outputs and labels differ in length.
    """
    del key
    groups = group(outputs.embedding, labels, ipc, num_classes)
    return _craig(outputs, jnp.asarray(labels), groups, ipc)


@partial(jax.jit, static_argnames="ipc")
def _craig(outputs: Outputs, labels: Int[Array, " n"], groups: Groups, ipc: int) -> Weighed:
    return weigh_per_class(partial(represent, ipc=ipc), gradients(outputs, labels), groups)


def represent(
    gradients: Gradients, valid: Bool[Array, " size"], ipc: int
) -> tuple[Int[Array, " ipc"], Float[Array, " ipc"]]:
    """Greedy facility location in one class, and how many examples are nearest each pick.

    Maximises the sum over examples i of the largest ``M - |g_i - g_j|`` over the picks j, and 0 without any. M is the
    largest distance: with it the first pick is the one with the least sum of distances, and later ones do not depend
    on it.

    Args:
        gradients: of the class's examples.
        valid: which rows are examples, not padding.
        ipc: images per class.
    """
    lengths = squares(gradients)
    # Where nearly equal gradients cancel, rounding may leave less than nothing.
    distances = jnp.sqrt(jnp.maximum(lengths[:, None] + lengths - 2 * gram(gradients, gradients), 0))
    largest = jnp.max(jnp.where(valid[:, None] & valid, distances, 0))

    def pick(
        carry: tuple[Float[Array, " size"], Bool[Array, " size"]], _: None
    ) -> tuple[tuple[Float[Array, " size"], Bool[Array, " size"]], Int[Array, ""]]:
        nearest, free = carry
        gains = jnp.maximum(nearest[:, None] - distances, 0).sum(0)
        chosen = jnp.argmax(jnp.where(free, gains, -1))
        return (jnp.minimum(nearest, distances[chosen]), free.at[chosen].set(False)), chosen

    # Padding is as near as can be from the start, so that it gains nothing.
    start = jnp.where(valid, largest, 0)
    _, chosen = jax.lax.scan(pick, (start, valid), length=ipc)
    # A pick stands for itself, even where it equals an earlier one.
    to_picks = distances[chosen].at[jnp.arange(ipc), chosen].set(-1)
    stands_for = jnp.argmin(to_picks, axis=0)
    return chosen, jnp.zeros(ipc, lengths.dtype).at[stands_for].add(valid)


CRAIG = Selection("craig", ProxyOutputs(), weighed(craig), "Mirzasoleiman et al., ICML 2020")
