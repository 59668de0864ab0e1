"""How hard each image is to networks that were trained without it, by networks that see random parts of the data.

One set of such networks gives both scores. Parts take the same share of every class (stratified), at one ratio of sizes
and not at several, and are drawn so that every image is left out by some network and seen by another.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from jaxdistill.errors import UsageError
from jaxdistill.selection.base import Context, Parted, Scores, Selection
from jaxdistill.selection.window import by_difficulty
from jaxdistill.types import Key

__all__ = ["CONSISTENCY", "MEMORISATION", "PartedScores", "consistency", "memorisation", "parts"]


def consistency(said: Parted) -> Float[np.ndarray, " n"]:
    """One minus the share of the networks trained without an image that are right about it: one minus the C-score.

    The paper takes the mean of that share over ratios of sizes; here it is one ratio, that of the parts.

    Args:
        said: what networks are right about; each image left out by one at least.

    Source: Jiang et al., ICML 2021, arXiv:2002.03206.
    """
    return 1 - _share(said.correct, ~said.saw)


def memorisation(said: Parted) -> Float[np.ndarray, " n"]:
    """Share of the networks trained with an image that are right about it, less the share of those trained without.

    From -1 to 1; 0 for what is learned from others, and for what is never learned.

    Args:
        said: what networks are right about; each image left out by one at least, and seen by one.

    Source: Feldman & Zhang, NeurIPS 2020, arXiv:2008.03703, as they estimate it.
    """
    return _share(said.correct, said.saw) - _share(said.correct, ~said.saw)


def parts(
    key: Key, counts: Int[np.ndarray, " classes"], share: float, networks: int
) -> Int[np.ndarray, "networks size"]:
    """Which images each network is trained on: of each class a share, without replacement.

    Networks go in groups, the fewest that leave no image out of all of a group's parts and none in all of them (two for
    a half, four for 0.7). In a group a class lies in a circle, in an order that is drawn, and the parts are arcs of it
    that begin evenly apart. Each part alone is drawn uniformly.

    Args:
        key: consumed.
        counts: images of each class, which lie one after another.
        share: of each class, at least one image and never all.
        networks: how many.

    Returns:
        Indices, as many for each network.

    Raises:
        UsageError: if a class has one image, or there are fewer networks than in a group.
    """
    if counts.min() < 2:
        raise UsageError(
            f"class {int(counts.argmin())} has one image, which cannot be left out of what networks are trained on and "
            "be learned; remove the class, or take a score that leaves none out"
        )
    sizes = np.clip(np.round(share * counts).astype(int), 1, counts - 1)
    group = int(np.max(-(-counts // np.minimum(sizes, counts - sizes))))
    if networks < group:
        raise UsageError(
            f"with `subset_share` {share} it takes {group} networks that each image is seen by one and left out by "
            f"another, and `score_networks` is {networks}; raise it, or take a share nearer to a half"
        )
    places = np.asarray(jax.random.uniform(key, (-(-networks // group), int(counts.sum()))))
    firsts = np.cumsum(counts) - counts
    found: list[np.ndarray] = []
    for network in range(networks):
        drawn, turn = places[network // group], network % group
        circles = (first + np.argsort(drawn[first : first + n]) for first, n in zip(firsts, counts, strict=True))
        arcs = zip(circles, counts, sizes, strict=True)
        found.append(np.concatenate([np.roll(circle, -(turn * n // group))[:size] for circle, n, size in arcs]))
    return np.stack(found)


class PartedScores(Scores):
    """How hard each image is: by a file, or by networks that see parts of the images, which no experts are.

    `score` is of a `jaxdistill.selection.base.Parted`.
    """

    options, takes_experts = Scores.options | {"subset_share"}, False

    def own(self, context: Context) -> Float[np.ndarray, " n"]:
        """By networks that are trained for it."""
        return np.asarray(self.of(context.parted()))

    def made(self, options: Any, experts: int) -> str:
        """On what share of the images they were trained, too."""
        said = super().made(options, 0)
        return said if options.scores is not None else f"{said}, each trained on {options.subset_share} of every class"

    def reads(self, options: Any, experts: bool) -> frozenset[str]:
        """What a file leaves open."""
        found = super().reads(options, False)
        return found if options.scores is None else found - {"subset_share"}

    def uses_experts(self, options: Any) -> bool:
        """Never."""
        del options
        return False

    def whole_split(self, options: Any, experts: bool) -> bool:
        """Unless a file says it."""
        return options.scores is None


def _share(correct: Bool[np.ndarray, "networks n"], of: Bool[np.ndarray, "networks n"]) -> Float[np.ndarray, " n"]:
    return (correct & of).sum(0) / of.sum(0)


CONSISTENCY = Selection(
    "consistency", PartedScores(consistency, high_is_easy=True), by_difficulty, "Jiang et al., ICML 2021, at one ratio"
)
MEMORISATION = Selection("memorisation", PartedScores(memorisation), by_difficulty, "Feldman & Zhang, NeurIPS 2020")
