"""The end of a run: its set on disk, judged on networks, and the report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxdistill.commands.judge import budget_by, judge
from jaxdistill.commands.looks import best_of, read_looks
from jaxdistill.commands.plan import Bound, penalty_of
from jaxdistill.commands.pools import attack_of, pool_epoch
from jaxdistill.commands.reselect import beside, reselected
from jaxdistill.commands.windows import read_search, searched_card
from jaxdistill.engine.devices import from_first, replicate
from jaxdistill.engine.drive import say
from jaxdistill.io import artifact, files
from jaxdistill.report import page as report
from jaxdistill.selection.budgets import counts_of
from jaxdistill.settings.as_json import name_of
from jaxdistill.settings.config import Select
from jaxdistill.settings.starts import needs_of
from jaxdistill.types import SyntheticSet

__all__ = ["base_card", "finish", "judged", "kept_look", "of_looks", "selected_card"]


def base_card(bound: Bound, note: str | None = None) -> dict[str, Any]:
    """What the card of a run's set says, but for what it cost and how well it does.

    Args:
        bound: of the run.
        note: whether this is the published setting of its cell.
    """
    config, bench = bound.config, bound.bench
    card = {
        "method": name_of(config),
        "dataset": config.data.dataset,
        "class_names": list(bench.source.class_names),
        "digests": dataclasses.asdict(bench.digests),
        "ipc": config.ipc,
        "seed": config.seed,
        "network": dataclasses.asdict(config.network),
        "eval_network": config.evaluation.eval_network,
        "protocol": config.evaluation.protocol,
    }
    if (ridge := penalty_of(config)) is not None:
        card["ridge"] = ridge
    if config.evaluation.eval_size is not None:
        card["eval_size"] = config.evaluation.eval_size
    card |= config.data.taken
    if config.data.hold_out:
        card["hold_out"] = config.data.hold_out
    if note is not None:
        card["setting"] = note
    if config.bank.digest is not None:
        card["experts"] = {"count": config.bank.expert_count, "digest": config.bank.digest}
        if (epoch := pool_epoch(config)) is not None:
            card["experts"]["epoch"] = epoch
    if (attack := attack_of(config)) is not None:
        card["attack"] = list(attack)
    strategy = config.strategy if isinstance(config, Select) else config.init
    if isinstance(config, Select) and config.reselect_every is not None:
        card["reselected"] = {"every": config.reselect_every, "after": config.reselect_after}
    if features := needs_of(strategy).features(config.basis, config.bank.given):
        card["features"] = features
    return card


def selected_card(bound: Bound, synthetic: SyntheticSet) -> dict[str, Any]:
    """What the card says of a selected set whose classes need not have as many images each; nothing of others.

    Args:
        bound: of the run.
        synthetic: the set.
    """
    if not isinstance(bound.config, Select):
        return {}
    counts = counts_of(synthetic)
    together = {"unbalanced": True} if bound.config.unbalanced else {}
    return ({"counts": list(counts)} if counts else {}) | together


def judged(bound: Bound, synthetic: SyntheticSet, tell: Callable[[str], None]) -> dict[str, Any]:
    """The content of evaluation.json: the set on its networks, random beside it, and selections as networks train.

    Args:
        bound: of the run.
        synthetic: the set.
        tell: told one line a row.
    """
    config, bench = bound.config, bound.bench
    key = replicate(bound.keys["evaluation"], bench.mesh)
    budget = budget_by({**selected_card(bound, synthetic), "ipc": config.ipc}, synthetic)
    results = judge(
        key, {name_of(config): synthetic}, bound.judges, bench, bound.protocol, config.evaluation.protocol,
        config.evaluation.eval_seeds, ipc=budget, parallel_networks=config.run.parallel_networks, cover=bound.cover,
        starts=bound.starts and bound.starts.judging(config.evaluation.eval_seeds), attack=attack_of(config), tell=tell,
    )  # fmt: skip
    if bound.starts is not None:
        results["starts"] = bound.starts.said
    return {**results, "rows": beside(results["rows"], reselected(jax.random.clone(key), bound, tell))}


def finish(
    bound: Bound,
    folder: Path,
    synthetic: SyntheticSet,
    cost: dict[str, Any],
    console: Console,
    note: str | None = None,
) -> dict[str, Any]:
    """Save the set, judge it, and write the report; the set is safe before the first network is trained.

    Args:
        bound: the method on its data.
        folder: of the run.
        synthetic: the set.
        cost: what the run took, for the card and the report.
        console: where it is said.
        note: whether this is the published setting of its cell.
    """
    writes = jax.process_index() == 0
    card = {**base_card(bound, note), **selected_card(bound, synthetic), "cost": cost}
    if (folder / "generator" / "card.json").is_file():
        card["generator"] = json.loads((folder / "generator" / "card.json").read_text(encoding="utf-8"))["sha256"]
    card |= kept_look(bound, read_looks(folder / "held_out.jsonl")) | searched_card(read_search(folder))
    results: dict[str, Any] = {}
    path = folder / "evaluation.json"
    if writes:
        artifact.save_set(folder / "set", synthetic, bound.bench.preprocess, card)
    # A finished evaluation is of this very set: a resumed run ends in the same bits.
    complete = bool(from_first(np.int32(writes and path.exists())))
    if bound.config.evaluation.eval_seeds and not complete:
        results = judged(bound, synthetic, partial(say, console))
    if writes:
        if complete:
            results = json.loads(path.read_text(encoding="utf-8"))
        elif results:
            results |= of_looks(bound, read_looks(folder / "held_out.jsonl"))
            files.write_text(path, json.dumps(results, indent=1))
        artifact.save_set(folder / "set", synthetic, bound.bench.preprocess, {**card, "evaluation": results})
        report.write(folder)
    return results


def of_looks(bound: Bound, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What evaluation.json says of the looks along a run, whose rows these are."""
    return kept_look(bound, rows) | _legacy(bound, rows)


def kept_look(bound: Bound, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Which look's set is the result, where it is the best one's."""
    found = best_of(rows) if bound.config.evaluation.keep == "best" else None
    return {} if found is None else {"kept_step": found["step"], "held_out_accuracy": found["mean"]}


def _legacy(bound: Bound, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The best of all looks at the test images, as some papers report it."""
    found = best_of(rows, "test_mean") if bound.config.evaluation.legacy_best else None
    if found is None:
        return {}
    said = f"the best of {sum('test_mean' in row for row in rows)} looks at the test images: chosen by them"
    best = {"step": found["step"], "accuracies": found["test"], "mean": found["test_mean"], "std": found["test_std"]}
    return {"legacy_best": {"said": said, **best}}
