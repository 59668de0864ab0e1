"""`select`: a core-set, from data to report."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxdistill.commands.finish import finish
from jaxdistill.commands.plan import Bound, pinned, prepare_selection
from jaxdistill.commands.run_folder import check_data, check_folder, hold, open_folder
from jaxdistill.commands.selection_inputs import context_of, in_files_order, inputs_of
from jaxdistill.engine.device_info import machine
from jaxdistill.engine.drive import say
from jaxdistill.io.scores import save_scores
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.budgets import select_within
from jaxdistill.settings.config import Select
from jaxdistill.settings.paths import absolute
from jaxdistill.types import SyntheticSet

__all__ = ["choose_set", "select_set"]


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
    synthetic, scored, cost = choose_set(bound)
    with open_folder(bound.config) as folder, hold(folder):
        say(console, bound.bench.source.summary())
        if scored is not None and jax.process_index() == 0:
            save_scores(folder / "scores.npz", scored, bound.bench.source)
        return finish(bound, folder, synthetic, cost, console)


def choose_set(bound: Bound) -> tuple[SyntheticSet, np.ndarray | None, dict[str, Any]]:
    """Select: the set, the scores it goes by as a file has them, if it does, and what it cost."""
    bench, selection = bound.bench, SELECTIONS[bound.config.strategy]
    assert bound.budget is not None  # see `prepare_selection`
    began = time.perf_counter()
    inputs = inputs_of(selection.name, context_of(bound, bound.keys["method"]))
    chosen = select_within(bound.keys["start"], selection, bench.train, bound.budget, inputs)
    synthetic = jax.tree.map(np.asarray, dataclasses.replace(chosen, indices=None))
    cost = {"steps": 0, "seconds": time.perf_counter() - began, **machine()}
    scores = selection.needs.scores_of(inputs)
    return synthetic, None if scores is None else in_files_order(scores, bench), cost
