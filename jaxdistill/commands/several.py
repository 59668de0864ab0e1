"""Several sets of one configuration, of different seeds, and their accuracies pooled as the papers do."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import jax
import numpy as np

from jaxdistill.engine.devices import from_first
from jaxdistill.errors import UsageError
from jaxdistill.io import files
from jaxdistill.settings.config import Distill, Select

__all__ = ["make_sets", "pooled"]

Config = TypeVar("Config", bound=Distill | Select)


def make_sets(config: Config, make: Callable[[Config], dict[str, Any]]) -> dict[str, Any]:
    """Make as many sets as ``config.run.sets`` says; returns what `pooled` makes of their accuracies.

    Set i has the seed ``config.seed + i - 1`` and the folder ``OUT/0i``, which is a run like any other; a resumed one
    goes on with the first that is not finished. ``OUT/evaluation.json`` has what is pooled.

    Args:
        config: of all of them.
        make: makes one, and returns the content of its evaluation.json.

    Raises:
        UsageError: if the folder is there and not resumed.
    """
    out = config.run.out
    problem = "" if jax.process_index() else _problem(out, resume=config.run.resume)
    if bool(from_first(np.int32(bool(problem)))):
        raise UsageError(problem or "process 0 refused the output folder; see its message")
    results = []
    for i in range(config.run.sets):
        folder = out / f"{i + 1:02d}"
        there = bool(from_first(np.int32(folder.exists())))
        run = dataclasses.replace(config.run, out=folder, sets=1, resume=config.run.resume and there)
        results.append(make(dataclasses.replace(config, seed=config.seed + i, run=run)))
    found = pooled(results)
    if found and not jax.process_index():
        files.write_text(out / "evaluation.json", json.dumps(found, indent=1))
    return found


def _problem(out: Path, *, resume: bool) -> str:
    """What keeps several sets from being made in a folder; empty if nothing does."""
    if out.exists() and not resume:
        return f"{out} exists; choose another --out, or go on with its sets with --resume"
    if (out / "config.json").is_file():
        return f"{out} is a run of one set; choose another --out for several, or leave --sets out"
    return ""


def pooled(results: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One evaluation of several sets: all networks of all sets are one sample, as the papers print them.

    Args:
        results: the content of each one's evaluation.json; without an evaluation, nothing is pooled.

    Returns:
        The same for all, each row with ``accuracies`` of all networks, their ``mean`` and population ``std``, and apart
        ``std_sets``, the deviation of the sets' means, and ``std_networks``, that of the networks within a set.
    """
    if not results or not all(results):
        return {}
    rows = []
    for alike in zip(*(one["rows"] for one in results), strict=True):
        row = alike[0] | _pooled(alike) | {"sets": len(results), "seconds": sum(row["seconds"] for row in alike)}
        for apart in ("halves", "attack"):
            if apart in row:
                row[apart] = {part: _pooled([one[apart][part] for one in alike]) for part in row[apart]}
        rows.append(row)
    return {name: results[0][name] for name in ("protocol", "test_images")} | {"rows": rows}


def _pooled(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The networks of a row of each set as one sample."""
    sample = np.array([row["accuracies"] for row in rows])
    return {
        "accuracies": sample.ravel().tolist(),
        "mean": float(sample.mean()),
        "std": float(sample.std()),
        "std_sets": float(sample.mean(axis=1).std()),
        "std_networks": float(np.sqrt(sample.var(axis=1).mean())),
    }
