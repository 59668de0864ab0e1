"""Core-sets that are selected again and again while a network trains on them: what CRAIG, GLISTER and GRAD-MATCH do in
their papers (arXiv:1906.01827 algorithm 1 and section 3.3, 2012.10630 algorithm 1, 2103.00123 algorithm 1).

Any selection takes part whose needs tell what it goes by from a network alone (`Need.reselects`).
"""

from __future__ import annotations

import dataclasses
import itertools
from functools import partial
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.base import Selection
from jaxdistill.selection.uniform import RANDOM
from jaxdistill.types import Key, Network, PyTree, SyntheticSet, Variables

__all__ = ["Passes", "selections_at", "train_adaptively"]


@runtime_checkable
class Passes(Protocol):
    """A recipe that trains in passes over a set, between which the set may change: `jaxdistill.evaluation.Protocol`."""

    def passes(self, count: int, classes: int) -> int:
        """How many there are, by the set's images and classes."""
        ...

    def begin(self, key: Key, network: Network) -> tuple[Variables, PyTree]:
        """A fresh network, and the state of its optimiser."""
        ...

    def go_on(
        self,
        key: Key,
        variables: Variables,
        state: PyTree,
        synthetic: SyntheticSet,
        network: Network,
        passes: Int[Array, " passes"],
    ) -> tuple[Variables, PyTree]:
        """Both after passes of these numbers."""
        ...


@standard
def train_adaptively(
    key: Key,
    data: RealData,
    ipc: int,
    selection: Selection,
    network: Network,
    protocol: Passes,
    every: int,
    after: int | None = None,
    options: Any = None,
    held_out: RealData | None = None,
) -> tuple[Variables, SyntheticSet]:
    """Train a fresh network on a core-set that is selected anew, and weighed anew, from the network as it stands.

    Until the first selection it trains on random images, all of weight 1. The network starts, and batches are drawn, as
    in ``protocol.fit`` with the same key. One selection is in memory at a time; passes between two of them are one
    compiled program, classes go one at a time within another.

    Deviation: the step size and the momentum go on over selections, as in the authors' common code (CORDS); its
    variants that begin with passes over the whole training split are not offered.

    Args:
        key: consumed.
        data: the split that is selected from.
        ipc: images per class.
        selection: by what a network says.
        network: what is trained, and asked.
        protocol: how it is trained; an augmentation that goes by the data set has to be bound first.
        every: passes between two selections; there is one alone with as many as the protocol has, or more, and a
            smaller `after`.
        after: passes over random images before the first; by default `every`, as CORDS has it for the three. At 0 the
            network is asked as it starts.
        options: what the selection's own options are in (`jaxdistill.settings.config.BasisConfig`); by default those of
            its function.
        held_out: validation images, for selections that go by some; by default the split is what they validate on.

    Returns:
        The trained network, and the set that it was trained on last.

    Raises:
        UsageError: for a selection that asks no network, and see `selections_at`.
    """
    if not selection.needs.reselects:
        raise UsageError(f"{selection.name} does not go by what a network says while it trains; take craig, say")
    classes = len(data.counts)
    total = protocol.passes(ipc * classes, classes)
    moments = selections_at(total, every, after)
    key_select = jax.random.fold_in(jax.random.clone(key), 2)
    key_begin, key_passes = jax.random.split(key)
    variables, state = _begun(key_begin, network, protocol)
    chosen = _weighed(RANDOM(jax.random.fold_in(key_select, total), data, ipc))
    for first, last in itertools.pairwise(sorted({0, *moments, total})):
        if first in moments:
            said = selection.needs.of_network(network, variables, data, options, held_out)
            chosen = _weighed(selection(jax.random.fold_in(key_select, first), data, ipc, said))
        passes = jnp.arange(first, last)
        variables, state = _gone_on(key_passes, variables, state, chosen, network, passes, protocol)
    return variables, chosen


def selections_at(total: int, every: int, after: int | None) -> range:
    """After how many passes of all there is a selection; see `train_adaptively`.

    Args:
        total: how many passes there are.
        every: between two selections.
        after: before the first.

    Raises:
        UsageError: if `every` is below 1, `after` below 0, or no pass is left after it.
    """
    after = every if after is None else after
    if every < 1 or after < 0:
        raise UsageError(f"selections are at least 1 epoch apart, the first after 0 or more; not {every} and {after}")
    if after >= total:
        raise UsageError(
            f"the first selection would come after {after} epochs, of which there are {total}; let it come earlier "
            "(`reselect_after`, which is 0 for the network as it starts)"
        )
    return range(after, total, every)


@partial(jax.jit, static_argnames=("network", "protocol"))
def _begun(key: Key, network: Network, protocol: Passes) -> tuple[Variables, PyTree]:
    return protocol.begin(key, network)


@partial(jax.jit, static_argnames=("network", "protocol"))
def _gone_on(
    key: Key,
    variables: Variables,
    state: PyTree,
    synthetic: SyntheticSet,
    network: Network,
    passes: Int[Array, " passes"],
    protocol: Passes,
) -> tuple[Variables, PyTree]:
    return protocol.go_on(key, variables, state, synthetic, network, passes)


def _weighed(synthetic: SyntheticSet) -> SyntheticSet:
    """The set with weights in any case, so that all are of one form and share a compilation."""
    if synthetic.weights is not None:
        return synthetic
    return dataclasses.replace(synthetic, weights=jnp.ones(synthetic.count, synthetic.images.dtype))
