"""A run folder as one self-contained page: what came out, compared with what, how, and at what cost."""

from __future__ import annotations

import base64
import io
import json
import math
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from jaxdistill.errors import UsageError
from jaxdistill.run import curves
from jaxdistill.run.files import write_text
from jaxdistill.run.judge import BASELINE

__all__ = ["write"]

ROWS, COLUMNS, GAP = 20, 10, 2
"""How `jaxdistill.run.grid` lays out a set: classes, images of a class, and pixels after each image."""
STAGES = 6
"""Previews shown of a run."""


def write(run_dir: Path) -> Path:
    """Write ``report.html`` into a run folder, from the files that are there; returns its path.

    Metrics, previews, evaluation and the set may each be missing: a killed run has no set, a selection no metrics.

    Raises:
        UsageError: if the folder holds no ``config.json``, or one of its JSON files is damaged or lacks what a
            run writes there.
    """
    run_dir = Path(run_dir)
    config = _json(run_dir / "config.json")
    if not config:
        raise UsageError(f"{run_dir} holds no config.json; give the folder that was --out of distill or select")
    if not _is_config(config):
        raise UsageError(f"{run_dir / 'config.json'} is damaged: it is no configuration of a run; restore it")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxdistill.run", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda fraction: f"{100 * fraction:.1f}"
    environment.filters["points"] = lambda fraction: f"{100 * fraction:+.1f}".replace("-", "\N{MINUS SIGN}")
    page = environment.get_template("report.html.jinja").render(_context(run_dir, config))
    path = run_dir / "report.html"
    write_text(path, page)
    return path


def _context(run_dir: Path, config: dict[str, Any]) -> dict[str, Any]:
    card = _json(run_dir / "set" / "card.json")
    evaluation = _json(run_dir / "evaluation.json")
    method = config.get("strategy") or config["method"]["name"]
    drawn, done = _curves(run_dir / "metrics.jsonl")
    rows, names = evaluation.get("rows", []), card.get("class_names", [])
    cost = card.get("cost") or {}
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not isinstance(cost, dict):
        raise UsageError(f"{run_dir / 'set' / 'card.json'} is damaged: it is not the card of a set; copy the set again")
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise UsageError(
            f"{run_dir / 'evaluation.json'} is damaged: its rows are no accuracies; remove it to leave it out"
        )
    return {
        "method": method,
        "dataset": Path(config["data"]["dataset"]).name,
        "config": config,
        "unfinished": not card,
        "done": done,
        "classes": _classes(run_dir / "set" / "grid.png", config["ipc"], names),
        "num_classes": len(names),
        "columns": COLUMNS,
        "stages": _stages(run_dir / "previews", config["ipc"], len(names) or None),
        "curves": drawn,
        "results": _results(rows),
        "protocol": evaluation.get("protocol", {}),
        "formation": card.get("formation", 1),
        "test_images": evaluation.get("test_images"),
        "coverage": evaluation.get("coverage"),
        "seeds": max((len(row["accuracies"]) for row in rows), default=0),
        "costs": list(_costs(cost, sum(row.get("seconds") or 0.0 for row in rows))),
        "versions": card.get("versions") or {},
        "command": _command(config),
        "setting": card.get("setting"),
        "folder": run_dir.name,
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(found, dict):
            raise UsageError("it is no object")
        return found
    except ValueError:
        raise UsageError(f"{path} is damaged: it is no JSON object; restore it, or remove it to leave it out") from None


def _is_config(config: dict[str, Any]) -> bool:
    """Whether the fields that a report reads are there, and of their types."""
    data, method, ipc = config.get("data"), config.get("method"), config.get("ipc")
    name = method.get("name") if isinstance(method, dict) else config.get("strategy")
    dataset = data.get("dataset") if isinstance(data, dict) else None
    texts = (name, dataset, config.get("command"))
    return all(isinstance(text, str) for text in texts) and type(ipc) is int and ipc > 0


def _is_row(row: Any) -> bool:
    """Whether this is what one network, or several of a kind, made of a set."""
    if not isinstance(row, dict) or not isinstance(row.get("accuracies"), list) or not row["accuracies"]:
        return False
    numbers = [*row["accuracies"], row.get("mean"), row.get("std", 0.0)]
    return all(type(number) in (int, float) for number in numbers) and all(
        isinstance(row.get(name), str) for name in ("set", "network")
    )


def _curves(path: Path) -> tuple[list[curves.Curve], int]:
    """Curves of all scalars (the loss comes first) and the number of steps done."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            rows.append(json.loads(line))
        except ValueError:  # a line that was torn when the run was killed
            continue
    if not rows:
        return [], 0
    columns = {
        name: np.array([math.nan if row.get(name) is None else row[name] for row in rows], float) for name in rows[0]
    }
    steps = columns.pop("step")
    drawn = [curves.draw(name, steps, values) for name, values in columns.items()]
    return [curve for curve in drawn if curve], int(steps[-1])


def _picture(image: Image.Image, widest: int) -> dict[str, Any]:
    image.thumbnail((widest, image.height))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"uri": uri, "width": image.width, "height": image.height}


def _bands(path: Path, ipc: int, num_classes: int | None) -> list[Image.Image]:
    """A grid cut into its rows, one for each class, with gaps that the page shines through."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGBA")).copy()
    across = pixels.shape[1] // min(ipc, COLUMNS)
    # A killed run has stored no class names; nearly all images are square.
    down = pixels.shape[0] // min(num_classes, ROWS) if num_classes else across
    pixels[np.arange(pixels.shape[0]) % down >= down - GAP] = 0
    pixels[:, np.arange(pixels.shape[1]) % across >= across - GAP] = 0
    return [Image.fromarray(pixels[top : top + down]) for top in range(0, pixels.shape[0], down)]


def _classes(path: Path, ipc: int, names: list[str]) -> list[dict[str, Any]]:
    """The rows of the final grid, each with the name of its class."""
    if not path.exists() or not names:
        return []
    bands = _bands(path, ipc, len(names))
    shown = np.linspace(0, len(names) - 1, len(bands)).round().astype(int)
    return [{"name": names[i], **_picture(band, 1280)} for i, band in zip(shown, bands, strict=True)]


def _stages(folder: Path, ipc: int, num_classes: int | None) -> list[dict[str, Any]]:
    """A few previews, evenly spread from the first to the last; what is much taller than wide is set in columns."""
    steps = {int(path.stem.removeprefix("step_")): path for path in folder.glob("step_*.png")}
    shown = sorted(steps)
    if len(shown) > STAGES:
        shown = [shown[i] for i in np.linspace(0, len(shown) - 1, STAGES).round().astype(int)]
    stages = []
    for step in shown:
        bands = _bands(steps[step], ipc, num_classes)
        width, height = bands[0].size
        columns = max(1, round(math.sqrt(len(bands) * height / width)))
        length = math.ceil(len(bands) / columns)
        whole = Image.new("RGBA", (math.ceil(len(bands) / length) * width, length * height))
        for i, band in enumerate(bands):
            whole.paste(band, (i // length * width, i % length * height))
        stages.append({"step": step, **_picture(whole, 720)})
    return stages


def _results(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The accuracy table: sets by networks, each cell with its gain over the baseline, and the scale of its dots."""
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
    row, baseline = cells.get((name, network)), cells.get((BASELINE, network))
    if row is None:
        return None
    gain = row["mean"] - baseline["mean"] if baseline and name != BASELINE else None
    dots = [(accuracy, 100 * (accuracy - low) / (high - low)) for accuracy in row["accuracies"]]
    return {**row, "gain": gain, "dots": dots, "at": 100 * (row["mean"] - low) / (high - low)}


def _costs(cost: dict[str, Any], evaluation_seconds: float | int) -> Iterator[tuple[str, str]]:
    """What is known of the cost, as pairs of a label and a text."""
    if cost.get("seconds") is not None:
        yield "Run", _duration(cost["seconds"])
    if cost.get("compile_seconds"):
        yield "Compilation", _duration(cost["compile_seconds"])
    if evaluation_seconds:
        yield "Evaluation", _duration(evaluation_seconds)
    if cost.get("steps_per_second"):
        yield "Steps per second", f"{cost['steps_per_second']:.3g}"
    if cost.get("peak_memory_bytes"):
        yield "Peak memory", f"{cost['peak_memory_bytes'] / 2**30:.2f} GiB"
    if cost.get("device"):
        yield "Device", str(cost["device"])


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _command(config: dict[str, Any]) -> str:
    """The command line that gives this configuration, a few options to a line."""
    method = config.get("strategy") or config["method"]["name"]
    flags = [f"--{name.replace('_', '-')} {text}".rstrip() for name, text in _flags(config)]
    lines = [shlex.join(["jaxdistill", config["command"], method])]
    for flag in [*flags, "--out DIR"]:
        if len(lines[-1]) + len(flag) < 76:
            lines[-1] += f" {flag}"
        else:
            lines.append(f"    {flag}")
    return " \\\n".join(lines)


def _flags(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Options in the order of the configuration; what nothing was given for (None) has no option."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from _flags(value) if name != "digests" else ()
        elif isinstance(value, bool):
            yield (name if value else f"no-{name}"), ""
        elif isinstance(value, list):
            if value:
                yield name, shlex.join(map(str, value))
        elif value is not None and name not in ("command", "strategy", "name", "digest", "generator_digest"):
            yield name, shlex.quote(str(value))
