"""Budgets beside as many images of each class: a share of each class, and a number of images of all classes together.

A selection takes as many images from each of the groups that it is shown, and groups are usually the classes. Classes
that are to give different numbers are shown to it apart, those of one number together; where classes are not to matter,
all images are shown to it as one group. What it goes by, a network's gradients say, stays that of the true classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.base import Selection
from jaxdistill.types import AnyArray, Batch, Key, SyntheticSet

__all__ = ["Budget", "Regrouped", "budget_of", "check_budget", "counts_of", "select_within"]


class Budget(NamedTuple):
    """How many images a set has."""

    ipc: int
    """Of each class; where they differ the mean, rounded up: where so many have room, the budget has."""
    counts: tuple[int, ...] = ()
    """Of each class, where they differ and are known."""
    total: int | None = None
    """Of all classes together, where it does not matter of which they are."""


def budget_of(
    sizes: Sequence[int], ipc: int | None = None, share: float | None = None, *, together: bool = False
) -> Budget:
    """The images that are asked for, of classes of these sizes.

    A share is rounded in each class, as in DeepCore (Guo et al., DEXA 2022, arXiv:2204.08499), and at least one image
    is taken. Where all classes then have the same number, that is an `ipc` like any other.

    Args:
        sizes: of the classes.
        ipc: images per class; not read where there is a share.
        share: of each class or, together, of all images.
        together: whether classes do not matter; `ipc` is then their mean.
    """
    if together:
        total = len(sizes) * (ipc or 0) if share is None else max(1, round(share * sum(sizes)))
        return Budget(-(-total // len(sizes)), total=total)
    if share is None:
        assert ipc is not None  # a configuration has one of them
        return Budget(ipc)
    counts = tuple(max(1, round(share * size)) for size in sizes)
    mean = -(-sum(counts) // len(counts))
    return Budget(mean) if len({*counts}) == 1 else Budget(mean, counts)


def counts_of(synthetic: SyntheticSet) -> tuple[int, ...]:
    """How many images of each class a set of hard classes has, where they differ; empty where they do not."""
    if synthetic.label_kind != "class":
        return ()
    labels = np.asarray(synthetic.labels)
    counts = tuple(np.bincount(labels.argmax(-1), minlength=labels.shape[-1]).tolist())
    return counts if len({*counts}) > 1 else ()


@flax.struct.dataclass
class Regrouped(RealData):
    """Some examples of a split in other groups than their classes; what is taken of them has their classes."""

    whole: RealData
    rows: Int[AnyArray, " n"]
    """Which examples of the split these are."""

    @standard
    def read(self, indices: Int[AnyArray, "*lead"]) -> Batch:
        """Preprocessed images and groups at `indices`."""
        return self.whole.read(self.rows[indices])._replace(labels=self.labels[indices])

    def take(self, indices: Int[AnyArray, " b"]) -> SyntheticSet:
        """Some of them, preprocessed, as a set of hard classes."""
        return self.whole.take(self.rows[indices])


def select_within(key: Key, selection: Selection, data: RealData, budget: Budget, inputs: Any = None) -> SyntheticSet:
    """A set of as many images as the budget has, class by class; see `Selection`, which this is for a plain `ipc`.

    Args:
        key: consumed.
        selection: which.
        data: the split that is selected from.
        budget: how many images.
        inputs: what the selection goes by, of all images.

    Raises:
        UsageError: if the selection cannot have such a budget, or what it says itself.
    """
    sizes = np.asarray(data.counts).tolist()
    check_budget(selection, sizes, budget)
    if budget.total is not None:
        return _by_class(_of_groups(key, selection, data, np.zeros(len(sizes), int), budget.total, inputs))
    if not budget.counts:
        return selection(key, data, budget.ipc, inputs)
    counts, parts = np.asarray(budget.counts), []
    for number, count in enumerate(np.unique(counts)):
        alike = counts == count
        groups = np.where(alike, np.cumsum(alike) - 1, -1)
        parts.append(_of_groups(jax.random.fold_in(key, number), selection, data, groups, int(count), inputs))
    return _by_class(jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts))


def check_budget(selection: Selection, sizes: Sequence[int], budget: Budget) -> None:
    """See that a selection can have a budget.

    Args:
        selection: which.
        sizes: of the classes.
        budget: how many images.

    Raises:
        UsageError: if it cannot.
    """
    name = selection.name
    if budget.total is not None:
        if selection.budgets == "ipc":
            raise UsageError(f"{name} makes as many images of each class; leave `unbalanced` out")
        if budget.total > sum(sizes):
            raise UsageError(
                f"there are {sum(sizes)} training images, fewer than `ipc` {budget.ipc} for each of {len(sizes)} "
                f"classes; lower it to {sum(sizes) // len(sizes)}"
            )
    if budget.counts and selection.budgets != "any":
        other = "" if selection.budgets == "ipc" else ", or add `unbalanced`"
        raise UsageError(
            f"{name} takes as many images of each class, and `share` would be {min(budget.counts)} of one and "
            f"{max(budget.counts)} of another; give `ipc`{other}"
        )


def _of_groups(
    key: Key, selection: Selection, data: RealData, groups: Int[np.ndarray, " classes"], count: int, inputs: Any
) -> SyntheticSet:
    """`count` images of each group; -1 is the group of classes that are left out, and groups go as their classes do."""
    labels = np.asarray(data.labels)
    rows = np.flatnonzero(groups[labels] >= 0)
    found = groups[labels[rows]].astype(np.int32)
    sizes = np.bincount(found).astype(np.int32)
    offsets = (np.cumsum(sizes) - sizes).astype(np.int32)
    shown = Regrouped(
        data.images, found, offsets, sizes, data.scale, data.shift, largest=int(sizes.max()), whole=data, rows=rows
    )
    chosen = selection(key, shown, count, selection.needs.part(inputs, labels, groups))
    return chosen if chosen.indices is None else dataclasses.replace(chosen, indices=jnp.asarray(rows)[chosen.indices])


def _by_class(synthetic: SyntheticSet) -> SyntheticSet:
    return synthetic.take(jnp.argsort(synthetic.labels.argmax(-1), stable=True))
