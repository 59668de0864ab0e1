"""Several runs beside each other, read from their folders: one self-contained page, or their table alone."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxdistill.data.digest import differing, stored_digests
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.evaluation.train import BASELINE
from jaxdistill.io.files import write_text
from jaxdistill.report import curves
from jaxdistill.report.html import picture, render
from jaxdistill.report.outcome import Outcome, bands, read, runs_in, tiled
from jaxdistill.report.page import costs, held_out_curve
from jaxdistill.report.tables import Table, check_out, combined, gain, told_apart, written

__all__ = ["SUFFIXES", "check_out", "compared", "table_of", "write"]

SUFFIXES = (".html", ".md", ".tex")
"""What a comparison is written as."""
_TEST = ("test_images", "test_labels", "class_names")
_WIDEST = 480
_UNSAID = frozenset({"command", "digests", "digest", "generator_digest"})


def compared(folders: Sequence[Path]) -> dict[str, Outcome]:
    """Runs by the names that they have in a table: those of their folders, or as much of the paths as tells them apart.

    Raises:
        UsageError: if one is no run, is given twice, or is of another data set than the first.
    """
    folders = [_run_of(run) for folder in folders for run in runs_in(folder)]
    if twice := next((folder for folder, count in Counter(folders).items() if count > 1), None):
        raise UsageError(f"{twice} is given twice; give each run once")
    names = _names(folders)
    runs = {name: read(folder) for name, folder in zip(names, folders, strict=True)}
    first = names[0]
    for name, run in runs.items():
        if problem := _otherwise(runs[first], run):
            raise UsageError(f"{name} is of other data than {first} ({problem}); compare runs of one data set")
    return runs


def table_of(runs: Mapping[str, Outcome]) -> Table:
    """The accuracies of runs in one table, each with the random images that it was judged beside.

    Where these are the same for several runs they stand there once. A run that was not judged has no line.
    """
    rows, baselines = [], _baselines(runs)
    for name, run in runs.items():
        told = {"ipc": _per_class(run), "protocol": _protocol(run)}
        for row in run.rows:
            if row["set"] != BASELINE:
                several = len({other["set"] for other in run.rows} - {BASELINE}) > 1
                own = f"{name}: {row['set']}" if several else name
                rows.append({**_kept(row), "set": own, **told, "baseline": baselines.get(name)})
        if {row["set"] for row in run.rows} == {BASELINE}:  # a set that is called so and has none beside it
            rows += [{**_kept(row), "set": name, **told, "baseline": None} for row in run.rows]
    for name in dict.fromkeys(baselines.values()):
        run = runs[next(shown for shown, called in baselines.items() if called == name)]
        told = {"ipc": _per_class(run), "protocol": _protocol(run)}
        rows += [{**_kept(row), "set": name, **told, "baseline": None} for row in run.rows if row["set"] == BASELINE]
    return Table(rows)


def write(runs: Mapping[str, Outcome], out: Path) -> None:
    """Write a comparison, by its suffix as a page or as the table alone in Markdown or LaTeX.

    Args:
        runs: from `compared`.
        out: the file.

    Raises:
        UsageError: see `jaxdistill.report.tables.check_out`.
    """
    check_out(out, SUFFIXES)
    table = table_of(runs)
    page = out.suffix == ".html"
    text = render("comparison", **_context(runs, table)) if page else written(table, out.suffix)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, text)


def _run_of(folder: Path) -> Path:
    """The run that is meant by its own folder or by that of its set."""
    path = Path(folder).resolve()
    return path.parent if path.name == "set" and (path.parent / "config.json").is_file() else path


def _names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that differ."""
    for length in itertools.count(1):
        names = ["/".join(folder.parts[-length:]) for folder in folders]
        if len(set(names)) == len(names) or all(length >= len(folder.parts) for folder in folders):
            return names
    raise AssertionError


def _otherwise(one: Outcome, other: Outcome) -> str:
    """In what the data of two runs differ, in words; what is only known by name is compared by that."""
    ours, theirs = (stored_digests(run.card or run.config["data"]) for run in (one, other))
    if ours.test_images and theirs.test_images:
        return " and ".join(f"{part} differ" for part in differing(ours, theirs, _TEST)[:1])
    return "" if one.dataset == other.dataset else f"{other.dataset}, not {one.dataset}"


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("set", "network", "accuracies", "mean", "std")}


def _per_class(run: Outcome) -> int | str:
    """Images of a class; of the fewest and of the most where classes differ."""
    return f"{min(run.counts)} to {max(run.counts)}" if run.counts else run.config["ipc"]


def _protocol(run: Outcome) -> str:
    """How a run was judged: its recipe, and what was changed of it."""
    said = run.evaluation.get("protocol", {})
    name = str(said.get("name", ""))
    usual = getattr(PROTOCOLS.get(name), "epochs", None)
    shortened = f" with --epochs {said['epochs']}" if said.get("epochs") not in (None, usual) else ""
    shortened += " and combined augmentation" if combined(said) else ""
    return name + shortened + (" and hard labels" if said.get("labels") == "hard" else "")


def _baselines(runs: Mapping[str, Outcome]) -> dict[str, str]:
    """What the random images beside each run are called: simply random, where that is clear."""
    found = {}
    for name, run in runs.items():
        rows = [row for row in run.rows if row["set"] == BASELINE]
        if rows and len(rows) < len(run.rows):
            accuracies = tuple((row["network"], *row["accuracies"]) for row in rows)
            found[name] = (run.short, _protocol(run), accuracies)
    kinds = list(dict.fromkeys(found.values()))
    sizes = [size for size, _, _ in kinds]
    called = {}
    for kind in kinds:
        first = next(name for name, other in found.items() if other == kind)
        apart = f"{BASELINE}, {kind[0]}" if sizes.count(kind[0]) == 1 else f"{BASELINE} beside {first}"
        called[kind] = BASELINE if len(kinds) == 1 and BASELINE not in runs else apart
    return {name: called[kind] for name, kind in found.items()}


def _context(runs: Mapping[str, Outcome], table: Table) -> dict[str, Any]:
    first = next(iter(runs.values()))
    steps = {name: f"{run.config['steps']:,}" for name, run in runs.items() if "steps" in run.config}
    spent = {name: {"Steps": steps.get(name, "–"), **dict(costs(run))} for name, run in runs.items()}
    return {
        "dataset": first.dataset,
        "runs": [_shown(name, run) for name, run in runs.items()],
        "accuracies": _accuracies(table),
        "losses": list(_losses(runs)),
        "held_out": curves.overlay("accuracy, %", {name: held_out_curve(run) for name, run in runs.items()}),
        "numbers": {name: i % 8 for i, name in enumerate(runs)},
        "labels": list(dict.fromkeys(itertools.chain(*spent.values()))),
        "costs": spent,
        "settings": list(_settings(runs)),
        "markdown": table.to_markdown(),
        "latex": table.to_latex(),
        "test_images": first.evaluation.get("test_images"),
    }


def _shown(name: str, run: Outcome) -> dict[str, Any]:
    """A run's line in the list, and its grid."""
    path, names = run.folder / "set" / "grid.png", run.class_names
    shown = picture(tiled(bands(path, run.widest, len(names))), _WIDEST) if path.exists() and names else None
    return {
        "name": name,
        "method": run.method,
        "size": run.short,
        "protocol": _protocol(run),
        "preprocessing": run.card.get("preprocessing", ""),
        "state": "not finished" if not run.card else "not evaluated" if not run.rows else "",
        "picture": shown,
    }


def _accuracies(table: Table) -> dict[str, Any] | None:
    """Every set on every network, where it lies on the scale of all of them, and how strongly it is coloured."""
    if not table.rows:
        return None
    low = min(row["mean"] - row["std"] for row in table.rows)
    high = max(row["mean"] + row["std"] for row in table.rows)
    low, high = max(0.0, math.floor(20 * low) / 20), min(1.0, math.ceil(20 * high) / 20)

    def at(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / ((high - low) or 1.0)

    def cell(name: str, network: str) -> dict[str, Any] | None:
        row, baseline = table.cell(name, network), table.baseline(name, network)
        if row is None:
            return None
        left, right = at(row["mean"] - row["std"]), at(row["mean"] + row["std"])
        place = {"at": at(row["mean"]), "from": left, "wide": right - left, "random": baseline and at(baseline["mean"])}
        differ = baseline is not None and told_apart(row, baseline)
        return {**row, **place, "gain": gain(row, baseline), "apart": differ, "heat": round(0.55 * at(row["mean"]))}

    beside = {row["baseline"] for row in table.rows}
    lines = [(name, name in beside, [cell(name, network) for network in table.networks]) for name in table.sets]
    ticks = [(value, at(value)) for value in np.linspace(low, high, 5)]
    told = {name: next(row for row in table.rows if row["set"] == name) for name in table.sets}
    return {"networks": table.networks, "lines": lines, "ticks": ticks, "told": told}


def _losses(runs: Mapping[str, Outcome]) -> Iterator[curves.Lines]:
    """The loss of each run; those of one method, in one space, on one pair of axes."""
    kinds: dict[tuple[str, str], dict[str, tuple[np.ndarray, np.ndarray]]] = {}
    for name, run in runs.items():
        for scalar, values in itertools.islice(run.scalars.items(), 1):
            kind = (f"{scalar.replace('_', ' ')} of {run.method}", run.card.get("preprocessing", ""))
            kinds.setdefault(kind, {})[name] = (run.steps, values)
    spaces = {space for _, space in kinds}
    for (name, space), found in kinds.items():
        if lines := curves.overlay(f"{name} ({space})" if space and len(spaces) > 1 else name, found):
            yield lines


def _settings(runs: Mapping[str, Outcome]) -> Iterator[tuple[str, list[str]]]:
    """Options that are not the same in all runs that have them, and those of a method that not all have; each with its
    value in every run, nothing where it has none."""
    flat = {name: dict(_flat(run.config)) for name, run in runs.items()}
    for option, of_method in dict.fromkeys(itertools.chain(*flat.values())):
        values = [one.get((option, of_method)) for one in flat.values()]
        if len({value for value in values if of_method or value is not None}) > 1:
            yield option, [value or "" for value in values]


def _flat(config: Mapping[str, Any], *, of_method: bool = False) -> Iterator[tuple[tuple[str, bool], str]]:
    """Each option, and whether it is one of a method, with its value."""
    for name, value in config.items():
        if name in _UNSAID:
            continue
        if isinstance(value, Mapping):
            yield from _flat(value, of_method=of_method or name == "method")
        elif name in ("name", "strategy"):
            yield ("method", True), str(value)
        else:
            said = ", ".join(map(str, value)) if isinstance(value, list) else "–" if value is None else str(value)
            yield (name.replace("_", "-"), of_method), said
