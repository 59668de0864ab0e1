"""What selections go by, made of data, experts, files and networks that are trained for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxdistill.commands.train_experts import RECIPE, trained
from jaxdistill.commands.workspace import Bench, at_once, augmentation
from jaxdistill.data.feeds import RealData
from jaxdistill.engine.devices import replicate
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import KernelRidge, Protocol, evaluate
from jaxdistill.io.expert_bank import StoredBank
from jaxdistill.io.scores import read_scores
from jaxdistill.kernels import make as make_kernel
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.base import ProxyModel, Teachers
from jaxdistill.settings.config import BasisConfig
from jaxdistill.settings.starts import STARTS
from jaxdistill.training import proxy
from jaxdistill.training.sgd import Seen
from jaxdistill.types import Kernel, Key, Network, SyntheticSet, Variables

__all__ = ["SelectionContext", "inputs_of", "stand_in"]

TRIED = 5_000
SILENT = Variables({}, {})
"""For scores that ask no network."""


class SelectionContext(NamedTuple):
    """What inputs can be made of; a `jaxdistill.selection.base.Context`."""

    options: BasisConfig
    """How to come by them."""
    bench: Bench
    """Data and devices."""
    network: Network
    """What is trained for features or scores."""
    kernel_name: str | None
    """For label solve."""
    stored: StoredBank | None
    """Experts, if there are any: scores then come from what they recorded, features from the first of them."""
    key: Key
    """Of networks that are trained for it."""

    @property
    def data(self) -> RealData:
        """The training images."""
        return self.bench.train

    def experts(self) -> Teachers:
        """The experts as they ended."""
        assert self.stored is not None
        stored, network = self.stored, self.network
        return Teachers(network, lambda number: stored.variables(network, number), len(stored.params))

    def kernel(self) -> Kernel:
        """The kernel of label solve."""
        return make_kernel(self.kernel_name or KernelRidge.kernel, self.bench.image_shape)

    def proxy(self) -> proxy.Embedding:
        """The first expert, or a network that is trained now."""
        if self.stored is not None:
            return proxy.Embedding(self.network, self.stored.variables(self.network, 0))
        plain = augmentation("none", self.bench)
        return proxy.fit(self.key, self.network, self.bench.train, plain, self.options.feature_epochs)

    def proxies(self, asked: bool) -> Iterator[ProxyModel]:
        """The experts, or networks that are trained now, with what they said of each training image."""
        return self._trained() if self.stored is None else self._recorded(self.stored, asked)

    def given_scores(self) -> Float[np.ndarray, " n"]:
        """The scores in the file."""
        assert self.options.scores is not None
        return read_scores(self.options.scores, self.bench.source)[self._order()]

    def in_files_order(self, scores: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Scores of the training images in the data set's own order, in which files have them."""
        back = np.empty_like(scores)
        back[self._order()] = scores
        return back

    def judge(self, key: Key, synthetic: SyntheticSet) -> float:
        """Accuracy on training images, at most `TRIED` of them, of a network that is trained on a set."""
        key_images, key_fit = jax.random.split(key)
        train, mesh = self.bench.train, self.bench.mesh
        indices = np.asarray(jax.random.permutation(key_images, train.count))[:TRIED]
        some = replicate(dataclasses.replace(train, images=train.images[indices], labels=train.labels[indices]), mesh)
        recipe, plain = Protocol(self.options.trial_epochs, augment="none"), augmentation("none", self.bench)
        return evaluate(key_fit, synthetic, self.network, some, recipe, augment=plain, seeds=1).mean

    def _order(self) -> np.ndarray:
        """The order that `RealData` keeps images in."""
        return np.argsort(self.bench.source.train_labels, kind="stable")

    def _recorded(self, stored: StoredBank, asked: bool) -> Iterator[ProxyModel]:
        early = min(self.options.score_epochs, stored.epochs)
        for number in range(len(stored.params)):
            variables = stored.variables(self.network, number, early) if asked else SILENT
            yield ProxyModel(stored.history(number), early - 1, self.network, variables, self.bench.train)

    def _trained(self) -> Iterator[ProxyModel]:
        bench, count, epochs = self.bench, self.options.score_networks, self.options.score_epochs
        size, plain = at_once(None, count, bench.image_shape, 128, bench.mesh), augmentation("none", bench)
        for begin in range(0, count, size * bench.mesh.size):
            numbers = np.arange(begin, min(begin + size * bench.mesh.size, count))
            heard: list[Seen] = []

            def tell(epoch: int, variables: Variables, seen: Seen | None, heard: list[Seen] = heard) -> None:
                if seen is not None:
                    heard.append(jax.tree.map(np.asarray, seen))

            ends = trained(self.key, numbers, epochs, self.network, RECIPE, plain, bench.train, bench.mesh, size, tell)
            for i in range(len(numbers)):
                seen = jax.tree.map(lambda *epochs, i=i: np.stack([epoch[i] for epoch in epochs]), *heard)
                variables = jax.tree.map(lambda leaf, i=i: leaf[i], ends)
                yield ProxyModel(seen, epochs - 1, self.network, variables, bench.train)


def inputs_of(name: str, context: SelectionContext) -> Any:
    """What a selection, or a start by one, goes by; see its `needs`.

    Args:
        name: of the selection, or ``real``.
        context: what it can be made of.

    Raises:
        UsageError: if there is no such selection, or what it needs cannot be had.
    """
    if name not in STARTS:
        raise UsageError(
            f"unknown selection '{name}'; choose one of {', '.join(SELECTIONS)}, or give a finished set or run"
        )
    needs, experts = STARTS[name].needs, context.stored is not None
    if needs.requires_experts and not experts:
        raise UsageError(f"{name} asks experts; make some with 'jaxdistill experts' and give --experts")
    if context.bench.on_host and needs.whole_split(context.options, experts=experts):
        free = sorted(name for name, selection in SELECTIONS.items() if selection.needs.inputs is None)
        raise UsageError(
            f"{name} looks at all training images, which stay on the host at this --device-gib; raise it, or take "
            f"one of {', '.join(free)}"
        )
    return needs.build(context)


def stand_in(name: str, context: SelectionContext) -> Any:
    """Stands for `inputs_of` where only the shapes of what is selected matter: no network is trained for it."""
    return STARTS[name].needs.stand_in(context) if name in STARTS else inputs_of(name, context)
