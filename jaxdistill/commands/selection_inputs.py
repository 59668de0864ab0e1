"""What selections go by, made of data, experts, files and networks that are trained for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxdistill.commands.plan import Bound
from jaxdistill.commands.train_experts import trained
from jaxdistill.commands.windows import search_windows
from jaxdistill.commands.workspace import Bench, at_once, augmentation
from jaxdistill.data.check import held_out as held_out_of
from jaxdistill.engine.devices import replicate
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import KernelRidge, Protocol, evaluate
from jaxdistill.io.expert_bank import StoredBank
from jaxdistill.io.scores import count_in, name_in, read_scores
from jaxdistill.kernels import make as make_kernel
from jaxdistill.selection import SELECTIONS, held_out
from jaxdistill.selection.base import Context, Need, Parted, ProxyModel, Scores, Teachers
from jaxdistill.settings.config import BasisConfig
from jaxdistill.settings.starts import SCORES, STARTS
from jaxdistill.training.inference import predict
from jaxdistill.training.proxy import RECIPE, train_proxy
from jaxdistill.training.sgd import Seen
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = ["context_of", "in_files_order", "inputs_of", "kept_first", "stand_in"]

TRIED = 5_000
SILENT = Variables({}, {})
"""For scores that ask no network."""


def context_of(
    bound: Bound, key: Key, ipc: int | None = None, tell: Callable[[str], None] = lambda line: None
) -> Context:
    """What the inputs of a selection, or of a start by one, can be made of.

    Args:
        bound: of the run.
        key: of networks that are trained for it.
        ipc: images per class that are selected, if not as many as the run's set has.
        tell: told a line now and then of what takes time.
    """
    config, network, stored, bench = bound.config.basis, bound.network, bound.experts, bound.bench
    experts = None

    def given_scores() -> Float[np.ndarray, " n"]:
        read, whole = partial(read_scores, config.scores, other_data=bound.config.run.other_data), bench.whole
        if whole is not None and count_in(config.scores) == len(whole.train_labels):
            return read(whole)[~held_out_of(whole, bound.config.data.hold_out)][_order(bench)]
        return read(bench.source, bench.digests)[_order(bench)]

    if stored is None:
        fitted = partial(train_proxy, key, network, bench.train, config.feature_epochs)
        proxies = partial(_trained, key, config, bench, network)
    else:
        experts = Teachers(network, partial(stored.variables, network), len(stored.params))
        fitted = partial(stored.variables, network, 0)
        proxies = partial(_recorded, config, bench, network, stored)
    kernel = partial(make_kernel, bound.config.network.kernel or KernelRidge.kernel, bench.image_shape)
    return Context(
        config, bench.train, bench.on_host, key, network, experts, kernel, fitted, proxies,
        partial(_parted, key, config, bench, network), given_scores, partial(_judged, config, bench, network),
        partial(search_windows, bound, ipc, tell),
    )  # fmt: skip


def inputs_of(name: str, context: Context) -> Any:
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
    needs, experts = STARTS[name].needs, context.experts is not None
    if needs.requires_experts and not experts:
        raise UsageError(f"{name} asks experts; make some with 'jaxdistill experts' and give --experts")
    _check_on_device(name, needs, context)
    _check_file(needs.score_in(context.options), context.options.scores)
    return needs.build(context)


def kept_first(
    start: SyntheticSet, by: Scores, context: Context, hardness: Float[np.ndarray, " n"] | None = None
) -> SyntheticSet:
    """A start with the images of each class in the order of a score, of which methods keep the first ones.

    Args:
        start: as many images of each class; of those that were not selected from the split nothing is known, and they
            stay as they are.
        by: the score.
        context: what it can be made of.
        hardness: by it, where that is known already.

    Raises:
        UsageError: if it cannot be had.
    """
    if start.indices is None:
        return start
    if hardness is None:
        _check_on_device(f"the score {context.options.score}", by, context)
        _check_file(by, context.options.scores)
        hardness = by.hardness(context)
    hardness = np.asarray(hardness)[np.asarray(start.indices)].reshape(start.labels.shape[-1], -1)
    order = np.argsort(-hardness, axis=1, kind="stable")
    return start.take((order + hardness.shape[1] * np.arange(len(order))[:, None]).reshape(-1))


def _check_on_device(name: str, needs: Need, context: Context) -> None:
    if context.on_host and needs.whole_split(context.options, context.experts is not None):
        free = sorted(name for name, selection in SELECTIONS.items() if selection.needs.kind is type(None))
        raise UsageError(
            f"{name} looks at all training images, which stay on the host at this --max-device-gib; raise it, or take "
            f"one of {', '.join(free)}"
        )


def _check_file(by: Scores | None, path: Path | None) -> None:
    """See that a file of scores that says which they are is not read the other way round."""
    name = "" if by is None or path is None else name_in(path)
    if by is not None and name in SCORES and SCORES[name].high_is_easy != by.high_is_easy:
        raise UsageError(
            f"the scores in {path} are those of {name}, in which {'low' if SCORES[name].high_is_easy else 'high'} is "
            f"hard, and would be read the other way round; take the selection {name}, or --score {name}"
        )


def stand_in(name: str, context: Context) -> Any:
    """Stands for `inputs_of` where only the shapes of what is selected matter: no network is trained for it."""
    return STARTS[name].needs.stand_in(context) if name in STARTS else inputs_of(name, context)


def in_files_order(scores: Float[np.ndarray, " n"], bench: Bench) -> Float[np.ndarray, " n"]:
    """Scores of the training images in the data set's own order, in which files have them."""
    back = np.empty_like(scores)
    back[_order(bench)] = scores
    return back


def _order(bench: Bench) -> np.ndarray:
    """The order that `RealData` keeps images in."""
    return np.argsort(bench.source.train_labels, kind="stable")


def _recorded(
    config: BasisConfig, bench: Bench, network: Network, stored: StoredBank, asked: bool
) -> Iterator[ProxyModel]:
    early = min(config.score_epochs, stored.epochs)
    for number in range(len(stored.params)):
        variables = stored.variables(network, number, early) if asked else SILENT
        yield ProxyModel(stored.history(number), early - 1, network, variables, bench.train)


def _trained(
    key: Key,
    config: BasisConfig,
    bench: Bench,
    network: Network,
    asked: bool,
    parts: Int[np.ndarray, "networks size"] | None = None,
) -> Iterator[ProxyModel]:
    del asked
    count, epochs, plain = config.score_networks, config.score_epochs, augmentation("none", bench)
    size = at_once(None, count, bench.image_shape, 128, bench.mesh)
    for begin in range(0, count, size * bench.mesh.size):
        numbers = np.arange(begin, min(begin + size * bench.mesh.size, count))
        heard: list[Seen] = []

        def tell(epoch: int, variables: Variables, seen: Seen | None, heard: list[Seen] = heard) -> None:
            if seen is not None:
                heard.append(jax.tree.map(np.asarray, seen))

        ends = trained(
            key, numbers, epochs, network, RECIPE, plain, bench.train, bench.mesh, size, tell,
            parts=None if parts is None else parts[numbers],
        )  # fmt: skip
        for i in range(len(numbers)):
            seen = jax.tree.map(lambda *epochs, i=i: np.stack([epoch[i] for epoch in epochs]), *heard)
            variables = jax.tree.map(lambda leaf, i=i: leaf[i], ends)
            yield ProxyModel(seen, epochs - 1, network, variables, bench.train)


def _parted(key: Key, config: BasisConfig, bench: Bench, network: Network) -> Parted:
    """Networks that are each trained on a share of every class."""
    key_parts, key_networks = jax.random.split(key)
    seen = held_out.parts(key_parts, np.asarray(bench.train.counts), config.subset_share, config.score_networks)
    saw = np.zeros((len(seen), bench.train.count), bool)
    np.put_along_axis(saw, seen, True, axis=1)
    models = _trained(key_networks, config, bench, network, True, seen)
    said = [np.asarray(predict(network, model.variables, bench.train)).argmax(-1) for model in models]
    return Parted(saw, np.stack(said) == np.asarray(bench.train.labels))


def _judged(config: BasisConfig, bench: Bench, network: Network, key: Key, synthetic: SyntheticSet) -> float:
    """Accuracy on training images, at most `TRIED` of them, of a network that was trained on the set."""
    key_images, key_fit = jax.random.split(key)
    indices = np.asarray(jax.random.permutation(key_images, bench.train.count))[:TRIED]
    some = dataclasses.replace(bench.train, images=bench.train.images[indices], labels=bench.train.labels[indices])
    recipe = Protocol(config.trial_epochs, augment="none")
    return evaluate(key_fit, synthetic, network, replicate(some, bench.mesh), recipe, seeds=1).mean
