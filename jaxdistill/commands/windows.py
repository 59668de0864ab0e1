"""Which window of a class a selection by scores takes, chosen by training images that are held out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from jaxdistill.commands.judge import accuracy
from jaxdistill.commands.plan import HELD_OUT, Bound
from jaxdistill.engine.devices import replicate
from jaxdistill.evaluation import PROTOCOLS, Recipe, dsa_recipe
from jaxdistill.evaluation.protocol import epochs_for
from jaxdistill.io import files
from jaxdistill.selection.budgets import Budget
from jaxdistill.selection.curve import Curve, Judged, Searched
from jaxdistill.selection.search import room, search, set_aside
from jaxdistill.settings.config import BasisConfig
from jaxdistill.types import Key, SyntheticSet

__all__ = ["read_search", "search_windows", "searched_card", "told", "write_search"]

SEARCHED = 4
"""Of the evaluation's key, as `jaxdistill.commands.distill.LOOKS`."""
THOROUGH, QUICK = (11, 3), (6, 1)
"""Windows, and networks on each."""
SHARE = 0.25
"""Of the images that networks see in training for scores, those that all networks of a quick search see at the most."""


def search_windows(
    bound: Bound, ipc: int | None, tell: Callable[[str], None], scores: Float[np.ndarray, " n"], thorough: bool
) -> Searched:
    """Choose where windows begin by networks that are trained on each of several and tested on held-out images.

    These are the run's own (`--hold-out`), which nothing else sees; or a tenth of each class, which lies in no window
    while it is searched for, and may lie in the one that is taken in the end. The test images are not looked at.

    Args:
        bound: of the run, by whose recipe its first network is trained.
        ipc: images per class, if not the run's. Where a budget's classes differ, windows of their mean stand for it; or
            of the budget's share of the smallest class, where that has fewer and many are asked for.
        tell: told a line a window.
        scores: how hard each image is.
        thorough: whether many windows and networks are asked for, or few that take little time.

    Raises:
        UsageError: if so many are asked for, and there are too few images.
    """
    config, bench = bound.config, bound.bench
    options: BasisConfig = config.basis
    ipc = int(config.ipc if ipc is None else ipc)
    labels, classes = np.asarray(bench.train.labels), bench.num_classes
    smallest = int(np.bincount(labels).min())
    held_out, aside = bench.held_out, np.zeros(bench.train.count, bool)
    if held_out is None:
        aside = set_aside(bench.train, HELD_OUT)
    fewest = int(np.bincount(labels[~aside], minlength=classes).min())
    budget = bound.budget
    alike = budget is None or budget == Budget(budget.ipc)
    if budget is not None and not alike and thorough and fewest < ipc:
        ipc = max(1, round((budget.total or sum(budget.counts)) / len(labels) * fewest))
    if not thorough and fewest < ipc:
        why = "to hold some out, by which one could choose" if held_out is None else f"for several windows of {ipc}"
        return Searched(_easiest(bound, ipc), f"the easiest window is taken: there are too few images {why}")
    sizes = dict.fromkeys([ipc, *(max(1, round(ratio * smallest)) for ratio in options.search_ratios)])
    room(bench.train, max(sizes), aside)  # before networks are trained
    if held_out is None:
        held_out = replicate(bench.train.part(aside), bench.mesh)
    starts, networks = THOROUGH if thorough else QUICK
    starts, networks = options.search_starts or starts, options.search_networks or networks
    recipe = _recipe(bound, starts * networks, classes * ipc, thorough=thorough)
    networks = networks if recipe.stochastic else 1
    name, network = next(iter(bound.judges.items()))

    def judge(key: Key, synthetic: SyntheticSet) -> list[float]:
        plain = dataclasses.replace(synthetic, selected=None, indices=None)
        options = {"parallel_networks": config.run.parallel_networks}
        return accuracy(key, plain, network, held_out, bench, recipe, networks, **options).accuracies.tolist()

    def say(size: int, one: Judged) -> None:
        tell(f"{size} images per class after the hardest {one.start:.1%}: {one.mean:.1%} of the held-out images")

    key = replicate(jax.random.fold_in(bound.keys["evaluation"], SEARCHED), bench.mesh)
    curves = tuple(search(key, bench.train, size, scores, judge, aside, starts=starts, tell=say) for size in sizes)
    how = {"held_out": held_out.count, "networks": networks, "network": name, "protocol": recipe.summary}
    beta = min(curves[0].best.start, _easiest(bound, ipc))  # a budget's classes may differ from its mean
    said = _said(beta, curves[0], held_out.count, networks, recipe.epochs)
    said += "" if alike else f"; those are of {ipc} images of each class, which the set does not have"
    return Searched(beta, said, curves, how)


def _easiest(bound: Bound, ipc: int) -> float:
    """The largest share that can be left out of all images."""
    counts, budget = np.asarray(bound.bench.train.counts), bound.budget
    if budget is not None and budget.total is not None:
        return max(0.0, 1 - budget.total / int(counts.sum()))
    taken = np.asarray(budget.counts) if budget is not None and budget.counts else ipc
    return max(0.0, float((1 - taken / counts).min()))


def _recipe(bound: Bound, fits: int, images: int, *, thorough: bool) -> Recipe:
    """The run's recipe without an augmentation of its own for selected images, which the article's windows do not get;
    DSA's where it asks a teacher.

    Args:
        bound: of the run.
        fits: how many networks are trained.
        images: in a window.
        thorough: whether they are trained as long as the recipe says, whatever that takes.
    """
    config, bench, recipe = bound.config, bound.bench, bound.protocol
    options: BasisConfig = config.basis
    if recipe.needs_teacher:
        recipe = dataclasses.replace(PROTOCOLS[dsa_recipe(bench.source.name)], size=recipe.size)
    if recipe.tells_selected:
        recipe = dataclasses.replace(recipe, selected_augment=None)
    if options.search_epochs is not None:
        return dataclasses.replace(recipe, epochs=options.search_epochs)
    if thorough or recipe.learner != "network":
        return recipe
    seen = options.score_networks * options.score_epochs * bench.train.count
    most = max(1, int(SHARE * seen / (fits * images)))
    return dataclasses.replace(recipe, epochs=min(recipe.epochs or epochs_for(images, bench.num_classes), most))


def _said(beta: float, curve: Curve, held_out: int, networks: int, epochs: int | None) -> str:
    best, hardest, easiest = curve.best, curve.windows[0], curve.windows[-1]
    near = curve.near(held_out)
    trained = "" if epochs is None else f", {epochs} epochs"
    few = "" if not near else f"; so few images do not tell it from {near} {'other' if near == 1 else 'others'}"
    return (
        f"beta {beta:.3g} was chosen by held-out training images: {best.mean:.1%} of {held_out:,} of them, "
        f"{hardest.mean:.1%} from the hardest on, {easiest.mean:.1%} with the easiest ({len(curve.windows)} windows, "
        f"{networks} {'network' if networks == 1 else 'networks'} each{trained}){few}"
    )


def write_search(folder: Path, found: dict[str, Any] | None) -> None:
    """Keep what chose a run's window in its folder, if something did."""
    if found is not None:
        files.write_text(folder / "search.json", json.dumps(found, indent=1))


def told(searched: Searched | None, tell: Callable[[str], None]) -> dict[str, Any] | None:
    """What chose a window, as plain data, after it was told; None where nothing did."""
    if searched is None:
        return None
    tell(searched.said)
    return searched.plain


def read_search(folder: Path) -> dict[str, Any] | None:
    """What `write_search` kept; None where there is nothing."""
    path = folder / "search.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def searched_card(found: dict[str, Any] | None) -> dict[str, Any]:
    """What a set's card says of the search, as `read_search` gives it, for its window."""
    return {} if found is None else {"window": {"beta": found["beta"], "chosen_by": found["said"]}}
