"""Evaluation: how well do fresh networks do that saw only the set?"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.augment.formation import decode
from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.recipe import Recipe
from jaxdistill.training.inference import each_batch
from jaxdistill.types import AnyArray, Key, Network, PyTree, SyntheticSet, Variables, map_one_by_one

__all__ = ["BASELINE", "Evaluation", "correct", "evaluate", "train"]


class Evaluation(NamedTuple):
    """Last-iterate test accuracies of one set on one network."""

    accuracies: Float[np.ndarray, " seeds"]
    """Fractions in [0, 1], one for each independent network."""
    parts: Mapping[str, Float[np.ndarray, " seeds"]] = MappingProxyType({})
    """The same among the examples of each part of the split that was asked for, by what counts as right in it."""

    @property
    def mean(self) -> float:
        """Mean over networks."""
        return float(self.accuracies.mean())

    @property
    def std(self) -> float:
        """Population standard deviation over networks, as the papers print."""
        return float(self.accuracies.std())


@standard
def train(
    key: Key,
    synthetic: SyntheticSet,
    network: Network,
    protocol: Recipe,
    aside: Float[AnyArray, "probes h w c"] | None = None,
) -> Variables:
    """Train one fresh network on a set of whole images under a protocol; pure.

    Args:
        key: of the initial weights and all draws.
        synthetic: the set.
        network: what is trained on it.
        protocol: how.
        aside: real images that are not of the set, for a recipe that looks at some (`Recipe.probes`).
    """
    told = {"aside": aside} if protocol.probes and aside is not None else {}
    if protocol.labels == "hard":
        labels = jax.nn.one_hot(jnp.argmax(synthetic.labels, -1), synthetic.labels.shape[-1])
        synthetic = dataclasses.replace(synthetic, labels=labels, label_kind="class")
    return protocol.fit(key, synthetic, network, **told)


@standard
def correct(
    predict: Callable[[Float[Array, "b h w c"]], Float[Array, "b classes"]],
    data: RealData,
    parts: Int[Array, "parts n"] | None = None,
    *,
    whole: bool = False,
) -> Int[Array, "*counts"]:
    """How many examples of a split are classified correctly; pure, a scan over batches of it.

    Args:
        predict: gives numbers for each class; the largest is the answer.
        data: the split.
        parts: for several counts, the class of each example that counts as right, -1 where none does; by default, for
            one count, its own.
        whole: as in `jaxdistill.training.inference.each_batch`.
    """

    answers = each_batch(lambda images, _: jnp.argmax(predict(images), -1), data, whole=whole)
    return jnp.sum(answers == (data.labels if parts is None else parts), axis=-1)


@partial(jax.jit, static_argnames=("network", "protocol", "map_seeds"))
def _correct_counts(
    key: Key,
    seeds: Int[Array, " seeds"],
    sets: PyTree,
    data: RealData,
    network: Network,
    protocol: Recipe,
    map_seeds: Callable[..., PyTree],
    parts: Int[AnyArray, "parts n"] | None = None,
    aside: Float[AnyArray, "probes h w c"] | None = None,
    starts: Variables | None = None,
) -> Int[Array, "seeds ..."]:
    def one(
        entry: tuple[Int[Array, ""], SyntheticSet, Variables | None],
        key: Key,
        data: RealData,
        parts: Int[Array, "parts n"] | None,
        aside: Float[Array, "probes h w c"] | None,
    ) -> Int[Array, "*counts"]:
        seed, synthetic, start = entry
        black, white = data.pixel_range
        recipe = protocol.on_tiles(synthetic.tiles, *synthetic.labels.shape)
        if synthetic.canvas == 1 or not recipe.draws_windows:
            synthetic = decode(synthetic, (black + white) / 2)
            synthetic = dataclasses.replace(synthetic, images=protocol.sized(synthetic.images))
        # What every recipe makes fresh networks by; one that begins somewhere ignores the key.
        begun = network if start is None else network._replace(init=lambda _: start)
        variables = train(jax.random.fold_in(key, seed), synthetic, begun, recipe, aside)

        def predict(images: Float[Array, "b h w c"]) -> Float[Array, "b classes"]:
            return protocol.predict(network, variables, protocol.sized(images))

        return correct(predict, data, parts, whole=protocol.learner != "network")

    return map_seeds(one, (seeds, sets, starts), key, data, parts, aside)


@standard
def evaluate(
    key: Key,
    sets: SyntheticSet | Sequence[SyntheticSet],
    network: Network,
    data: RealData,
    protocol: Recipe,
    *,
    seeds: int = 5,
    seeds_per_call: int = 1,
    map_seeds: Callable[..., PyTree] = map_one_by_one,
    parts: Mapping[str, Bool[np.ndarray, " n"] | Int[np.ndarray, " n"]] = MappingProxyType({}),
    aside: Float[AnyArray, "probes h w c"] | None = None,
    starts: Variables | None = None,
    tell: Callable[[Sequence[float]], None] = lambda accuracies: None,
) -> Evaluation:
    """Test accuracy of networks, fresh ones if not others are given, that are trained on a set alone.

    Args:
        key: consumed; seed i trains with ``fold_in(key, i)``, so that more seeds keep the first ones' results.
        sets: the set, or one for each seed (a fresh random subset for each, as a baseline has it).
        network: what is trained.
        data: the whole test split.
        protocol: the recipe; one whose augmentation goes by the data set has to be told that first (`Recipe.bound`).
        seeds: independent networks.
        seeds_per_call: networks in one compiled call; `seeds` is rounded up to whole calls and the surplus dropped.
            1 on a CPU, where networks side by side gain nothing; all of them on an accelerator.
        map_seeds: how a call goes over its networks; see `jaxdistill.types.map_one_by_one`.
        parts: examples of the split, by name, of which the accuracies are wanted apart too; or for each example the
            class that counts as right there, -1 for those that are left out.
        aside: real images in preprocessed space, for a recipe that looks at some (`Recipe.probes`).
        starts: networks to begin with, of which seed i takes the i-th (arrays with a leading axis): trained before,
            say; by default each begins afresh.
        tell: told the accuracies so far after each call.

    Raises:
        UsageError: if the number of sets is neither one nor `seeds`, or there are fewer starts than seeds.
    """
    sets = [sets] * seeds if isinstance(sets, SyntheticSet) else list(sets)
    if len(sets) != seeds:
        raise UsageError(f"give one set, or one for each of the {seeds} seeds, not {len(sets)}")
    if starts is not None and (there := len(jax.tree.leaves(starts)[0])) < seeds:
        raise UsageError(f"there are {there} networks to begin with, and `seeds` is {seeds}; ask for fewer")
    labels = np.asarray(data.labels)
    rights = [np.where(part, labels, -1) if part.dtype == bool else part for part in parts.values()]
    rights = np.stack([labels, *rights]) if parts else None
    accuracies: list[float] = []
    among: list[np.ndarray] = []
    while len(accuracies) < seeds:
        # The surplus of the last call repeats its last seed: one shape, one compilation.
        chosen = np.minimum(len(accuracies) + np.arange(seeds_per_call), seeds - 1)
        # NumPy arrays: every process of a pod has the same ones, so that they may enter a computation over all of it.
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *(sets[i] for i in chosen))
        begun = jax.tree.map(lambda leaf, chosen=chosen: np.asarray(leaf)[chosen], starts)
        found = np.asarray(
            _correct_counts(key, chosen, stacked, data, network, protocol, map_seeds, rights, aside, begun)
        )
        if rights is not None:
            among.extend(found[:, 1:] / (rights[1:] >= 0).sum(axis=1))
            found = found[:, 0]
        accuracies = [*accuracies, *(found / data.labels.shape[0]).tolist()][:seeds]
        tell(accuracies)
    apart = {name: np.array([row[i] for row in among[:seeds]], np.float64) for i, name in enumerate(parts)}
    return Evaluation(np.asarray(accuracies, np.float64), apart)


BASELINE = "random"
"""Name of the row that every other one is compared with."""
