"""`select`: a core-set, from data to report."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from jaxdistill.commands.finish import finish
from jaxdistill.commands.plan import Bound, pinned, prepare_selection
from jaxdistill.commands.run_folder import check_data, check_folder, hold, open_folder
from jaxdistill.commands.selection_inputs import context_of, in_files_order, inputs_of
from jaxdistill.commands.windows import told, write_search
from jaxdistill.engine.device_info import machine
from jaxdistill.engine.drive import say
from jaxdistill.io.scores import name_in, save_scores
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.budgets import select_within
from jaxdistill.selection.curve import Searched
from jaxdistill.settings.config import Select
from jaxdistill.settings.paths import absolute
from jaxdistill.settings.starts import SCORES
from jaxdistill.types import SyntheticSet

__all__ = ["Chosen", "choose_set", "select_set", "write_scores"]


def select_set(config: Select, console: Console, options: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Select a core-set, judge it and write the same artifact as `distill`; returns the content of evaluation.json.

    Args:
        config: the selection, as its options say it.
        console: where it is said.
        options: names of those that were given, to be looked through for what nothing reads.

    Raises:
        UsageError: for arguments or data that cannot be used.
    """
    config, given = pinned(absolute(config))
    check_folder(config)
    bound = prepare_selection(config, given, options)
    check_data(bound.config, bound.bench.digests)
    chosen = choose_set(bound, partial(say, console))
    with open_folder(bound.config) as folder, hold(folder):
        say(console, bound.bench.source.summary())
        if jax.process_index() == 0:
            if chosen.scores is not None:
                write_scores(folder, bound, chosen.scores)
            write_search(folder, told(chosen.search, partial(say, console)))
        return finish(bound, folder, chosen.synthetic, chosen.cost, console)


class Chosen(NamedTuple):
    """A set that was selected, and what it went by."""

    synthetic: SyntheticSet
    scores: np.ndarray | None
    """As a file has them, if it went by some."""
    search: Searched | None
    """What chose its window, if something did."""
    cost: dict[str, Any]


def choose_set(bound: Bound, tell: Callable[[str], None] = lambda line: None) -> Chosen:
    """Select.

    Args:
        bound: of the selection.
        tell: told a line now and then of what takes time.
    """
    bench, selection = bound.bench, SELECTIONS[bound.config.strategy]
    assert bound.budget is not None  # see `prepare_selection`
    began = time.perf_counter()
    context = context_of(bound, bound.keys["method"], tell=tell)._replace(held_out=bench.held_out)
    inputs = inputs_of(selection.name, context)
    chosen = select_within(bound.keys["start"], selection, bench.train, bound.budget, inputs)
    synthetic = jax.tree.map(np.asarray, dataclasses.replace(chosen, indices=None))
    cost = {"steps": 0, "seconds": time.perf_counter() - began, **machine()}
    scores = selection.needs.scores_of(inputs)
    scores = None if scores is None else in_files_order(scores, bench)
    return Chosen(synthetic, scores, selection.needs.search_of(inputs), cost)


def write_scores(folder: Path, bound: Bound, scores: np.ndarray) -> None:
    """Write the scores that a selection went by, with what they are, into its folder.

    Args:
        folder: of the run.
        bound: the selection.
        scores: as a file has them.
    """
    config, bench = bound.config, bound.bench
    by = SELECTIONS[config.strategy].needs.score_in(config.basis)
    assert by is not None  # there are scores
    name = next(name for name, one in SCORES.items() if one is by)
    if config.basis.scores is not None:  # of another score that is read in the same way, perhaps
        name = name_in(config.basis.scores) or name
    made = by.made(config.basis, (config.bank.expert_count or 0) if config.bank.given else 0)
    save_scores(
        folder / "scores.npz", scores, bench.source, bench.digests,
        hardness=by.turned(scores), name=name, made=made,
    )  # fmt: skip
