"""A run folder as one self-contained page: what came out, compared with what, how, and at what cost."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxdistill.evaluation.train import BASELINE
from jaxdistill.io.files import write_text
from jaxdistill.methods.partial_update import kept_count
from jaxdistill.presets.base import Preset
from jaxdistill.report import curves
from jaxdistill.report.ends import ends
from jaxdistill.report.further import again, preset_of, to_try
from jaxdistill.report.html import duration, here, picture, render
from jaxdistill.report.outcome import COLUMNS, Outcome, bands, read, tiled
from jaxdistill.report.tables import gain, spaces, told_apart
from jaxdistill.types import tiles_of

__all__ = ["costs", "headline", "held_out_curve", "write"]

_PARTS = {"all": "all", "easy": "easier half", "hard": "harder half"}
STAGES = 6
"""Previews shown of a run."""


def write(run_dir: Path) -> Path:
    """Write ``report.html`` into a run folder, from the files that are there; returns its path.

    Metrics, previews, evaluation and the set may each be missing: a killed run has no set, a selection no metrics.

    Raises:
        UsageError: if the folder holds no ``config.json``, or one of its JSON files is damaged or lacks what a
            run writes there.
    """
    run = read(Path(run_dir))
    path = run.folder / "report.html"
    write_text(path, render("report", **_context(run)))
    return path


def headline(run: Outcome) -> str:
    """What came out, in a sentence: the accuracy of the first network, beside random images, and whether that is more.

    Empty where nothing was judged.
    """
    if not run.rows:
        return ""
    row, baseline = _first(run)
    count = len(row["accuracies"])
    owner = f"{run.dataset}{chr(39) if run.dataset.endswith('s') else chr(39) + 's'}"
    many = f" (± {_percent(row['std'])} over {count} networks)" if count > 1 else ""
    who = "networks reach" if count > 1 else f"{row['network']} reaches"
    said = f"With {run.size}, {who} {_percent(row['mean'])} %{many} "
    said += f"on {owner} test images"
    if baseline is None:
        return f"{said}."
    spread = f" (± {_percent(baseline['std'])})" if len(baseline["accuracies"]) > 1 else ""
    said += f"; with random images of the same number {_percent(baseline['mean'])} %{spread}"
    if told_apart(row, baseline):
        return f"{said}{'' if row['mean'] > baseline['mean'] else ', which is more'}."
    if max(count, len(baseline["accuracies"])) < 2:
        return f"{said}. One network of each does not say whether they differ."
    return f"{said}. The two cannot be told apart: the difference lies within the uncertainty of their means."


def costs(run: Outcome) -> Iterator[tuple[str, str]]:
    """What is known of the cost, as pairs of a label and a text."""
    cost, judging = run.cost, sum(row.get("seconds") or 0.0 for row in run.rows)
    if cost.get("seconds") is not None:
        yield "Run", duration(cost["seconds"])
    if cost.get("compile_seconds"):
        yield "Compilation", duration(cost["compile_seconds"])
    if judging:
        yield "Evaluation", duration(judging)
    if cost.get("steps_per_second"):
        yield "Steps per second", f"{cost['steps_per_second']:.3g}"
    if cost.get("peak_memory_bytes"):
        yield "Peak memory", f"{cost['peak_memory_bytes'] / 2**30:.2f} GiB"
    if cost.get("device"):
        yield "Device", str(cost["device"])


def held_out_curve(run: Outcome) -> tuple[np.ndarray, np.ndarray]:
    """Steps, and accuracy in percent on held-out training images after them."""
    looks = sorted(run.held_out, key=lambda look: look["step"])
    return np.array([look["step"] for look in looks], float), np.array([100 * look["mean"] for look in looks], float)


def _context(run: Outcome) -> dict[str, Any]:
    config, card, evaluation, names = run.config, run.card, run.evaluation, run.class_names
    preset = preset_of(config)
    return {
        "method": run.method,
        "dataset": run.dataset,
        "config": config,
        "unfinished": not card,
        "done": run.done,
        "headline": headline(run),
        "classes": _classes(run.folder / "set" / "grid.png", run.widest, names),
        "num_classes": len(names),
        "columns": COLUMNS,
        "ends": ends(run.folder / "scores.npz", names),
        "size": run.size,
        "short": run.short,
        "widest": run.widest,
        "stages": _stages(run.folder / "previews", config["ipc"], len(names) or None),
        "curves": list(_curves(run)),
        "held_out": bool(run.held_out),
        "windows": _windows(run),
        "learned": run.cost.get("steps", config.get("steps")),
        "kept": kept_count(config.get("method", {}).get("update_share", 1.0), config["ipc"]),
        "reselected": card.get("reselected"),
        "kept_step": card.get("kept_step"),
        "legacy_best": run.legacy_best,
        "results": _results(run),
        "baseline": BASELINE,
        "published": _published(preset),
        "best_on_test": preset is not None and preset.best_on_test,
        "protocol": evaluation.get("protocol", {}),
        "tiles": tiles_of(card.get("formation", 1), card.get("decode_type", "single")),
        "canvas": card.get("canvas", 1),
        "test_images": evaluation.get("test_images"),
        "coverage": spaces(evaluation),
        "covered": list(_covered(run)),
        "halves": [row for row in run.rows if "halves" in row],
        "seeds": max((len(row["accuracies"]) for row in run.rows), default=0),
        "costs": list(costs(run)),
        "versions": card.get("versions") or {},
        "command": again(config),
        "advice": list(to_try(run)),
        "setting": card.get("setting"),
        "folder": here(run.folder),
    }


def _first(run: Outcome) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """The row of the set on its first network, and that of random images; None where it is itself random."""
    rows = [row for row in run.rows if row["network"] == run.rows[0]["network"]]
    baselines = [row for row in rows if row["set"] == BASELINE]
    sets = [row for row in rows if row["set"] != BASELINE]
    return (sets[0], baselines[0] if baselines else None) if sets else (rows[0], None)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _published(preset: Preset | None) -> dict[str, Any] | None:
    """The number that was published of the run's cell."""
    return None if preset is None or preset.published is None else preset.published._asdict()


def _curves(run: Outcome) -> Iterator[curves.Curve]:
    """Accuracy on held-out images if there is one, then all scalars, the loss first."""
    named = {"accuracy on held-out training images, %": held_out_curve(run)}
    named |= {name: (run.steps, values) for name, values in run.scalars.items()}
    for name, (steps, values) in named.items():
        if curve := curves.draw(name, steps, values):
            yield curve


def _windows(run: Outcome) -> dict[str, Any] | None:
    """Accuracy against where a window begins, for windows of each size."""
    if not run.search:
        return None
    sizes: dict[str, list[dict[str, Any]]] = {}
    for row in run.search["rows"]:
        sizes.setdefault(f"{row['ipc']} per class ({100 * row['ratio']:.3g} %)", []).append(row)
    drawn = {
        size: (100 * np.array([row["start"] for row in rows]), 100 * np.array([row["mean"] for row in rows]))
        for size, rows in sizes.items()
    }
    name = "accuracy on held-out training images, %, against the share of hardest images that is left out, %"
    return {
        "lines": curves.overlay(name, drawn, linear=True),
        "numbers": {size: i % 8 for i, size in enumerate(sizes)},
        **run.search,
    }


def _covered(run: Outcome) -> Iterator[curves.Lines]:
    """Coverage of the test images by the set at each look, a panel for each feature space."""
    for space, seen in run.covered.items():
        steps = np.array([step for step, _ in seen], float)
        parts = {
            name: (steps, np.array([100 * shares[part] for _, shares in seen], float)) for part, name in _PARTS.items()
        }
        if lines := curves.overlay(f"test images covered ({space}), %", parts, linear=True):
            yield lines


def _classes(path: Path, ipc: int, names: list[str]) -> list[dict[str, Any]]:
    """The rows of the final grid, each with the name of its class."""
    if not path.exists() or not names:
        return []
    rows = bands(path, ipc, len(names))
    shown = np.linspace(0, len(names) - 1, len(rows)).round().astype(int)
    return [{"name": names[i], **picture(band, 1280)} for i, band in zip(shown, rows, strict=True)]


def _stages(folder: Path, ipc: int, num_classes: int | None) -> list[dict[str, Any]]:
    """A few previews, evenly spread from the first to the last."""
    steps = {int(path.stem.removeprefix("step_")): path for path in folder.glob("step_*.png")}
    shown = sorted(steps)
    if len(shown) > STAGES:
        shown = [shown[i] for i in np.linspace(0, len(shown) - 1, STAGES).round().astype(int)]
    return [{"step": step, **picture(tiled(bands(steps[step], ipc, num_classes)), 720)} for step in shown]


def _results(run: Outcome) -> dict[str, Any] | None:
    """The accuracy table: sets by networks, each cell with its gain over the baseline, and the scale of its dots."""
    rows = run.rows
    if not rows:
        return None
    cells = {(row["set"], row["network"]): row for row in rows}
    sets, networks = (list(dict.fromkeys(row[key] for row in rows)) for key in ("set", "network"))
    sets.sort(key=BASELINE.__eq__)  # a stable sort: the baseline last, the others as they are
    accuracies = [accuracy for row in rows for accuracy in row["accuracies"]]
    low, high = max(0.0, math.floor(20 * min(accuracies)) / 20), min(1.0, math.ceil(20 * max(accuracies)) / 20)
    if high - low < 0.05:
        low, high = max(0.0, low - 0.05), min(1.0, high + 0.05)
    table = [[_cell(cells, name, network, low, high) for network in networks] for name in sets]
    return {"networks": networks, "rows": list(zip(sets, table, strict=True)), "low": low, "high": high}


def _cell(cells: dict[tuple[str, str], Any], name: str, network: str, low: float, high: float) -> dict[str, Any] | None:
    row = cells.get((name, network))
    if row is None:
        return None
    baseline = None if name == BASELINE else cells.get((BASELINE, network))
    dots = [(accuracy, 100 * (accuracy - low) / (high - low)) for accuracy in row["accuracies"]]
    apart = baseline is not None and told_apart(row, baseline)
    at = 100 * (row["mean"] - low) / (high - low)
    return {**row, "gain": gain(row, baseline), "apart": apart, "dots": dots, "at": at}
