"""What a run's folder holds, read for people: each file may be missing, and a damaged one is told by a sentence."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxdistill.errors import UsageError

__all__ = ["COLUMNS", "GAP", "Outcome", "bands", "read", "tiled"]

ROWS, COLUMNS, GAP = 20, 10, 2
"""How `jaxdistill.io.pictures` lays out a set: classes, images of a class, and pixels after each image."""

_COSTS = ("seconds", "compile_seconds", "steps_per_second", "peak_memory_bytes")


class Outcome(NamedTuple):
    """A run, as far as it came."""

    folder: Path
    config: dict[str, Any]
    """``config.json``."""
    card: dict[str, Any]
    """Of the set; empty where the run has not finished."""
    evaluation: dict[str, Any]
    """``evaluation.json``; empty where nothing was judged."""
    steps: np.ndarray
    """Those that ``metrics.jsonl`` has a line for."""
    scalars: dict[str, np.ndarray]
    """What it says of them, the loss first; NaN where that is not finite."""
    held_out: list[dict[str, Any]]
    """``step mean std`` of each look at held-out training images."""
    search: Mapping[str, Any] = MappingProxyType({})
    """``search.json``; empty where no window was searched for."""

    @property
    def method(self) -> str:
        """The method, or the strategy of a selection."""
        return self.config.get("strategy") or self.config["method"]["name"]

    @property
    def dataset(self) -> str:
        """The data set, without the folder that it lies in."""
        return Path(self.config["data"]["dataset"]).name

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Accuracies: one for each set and network."""
        return self.evaluation.get("rows", [])

    @property
    def cost(self) -> dict[str, Any]:
        """What the run took, as far as its card says."""
        return self.card.get("cost") or {}

    @property
    def class_names(self) -> list[str]:
        """Of the set; empty where the run has not finished."""
        return self.card.get("class_names", [])

    @property
    def counts(self) -> list[int]:
        """Images of each class, where they differ."""
        return self.card.get("counts", [])

    @property
    def widest(self) -> int:
        """Most images of a class."""
        return max(self.counts, default=self.config["ipc"])

    @property
    def size(self) -> str:
        """How many images the set has, in words."""
        ipc, counts = self.config["ipc"], self.counts
        if counts:
            return f"{sum(counts)} images in all, {min(counts)} to {max(counts)} of a class"
        return f"{ipc} {'image' if ipc == 1 else 'images'} per class"

    @property
    def short(self) -> str:
        """The same in a few words."""
        return f"{sum(self.counts)} images in all" if self.counts else f"{self.config['ipc']} per class"

    @property
    def covered(self) -> dict[str, list[tuple[int, dict[str, float]]]]:
        """By feature space, steps and the shares of the test images that looks found covered."""
        found: dict[str, list[tuple[int, dict[str, float]]]] = {}
        for look in _lines(self.folder / "held_out.jsonl"):
            spaces = look.get("coverage") if type(look.get("step")) is int else None
            for name, shares in spaces.items() if isinstance(spaces, dict) else ():
                if isinstance(shares, dict) and all(_is_number(shares.get(part)) for part in ("all", "easy", "hard")):
                    found.setdefault(name, []).append((look["step"], shares))
        return found

    @property
    def legacy_best(self) -> dict[str, Any] | None:
        """``step mean std`` of the best of many looks at the test images, and ``said`` what it is; None without any."""
        found: Any = self.evaluation.get("legacy_best")
        return (
            found if _is_look(found) and _is_number(found.get("std")) and isinstance(found.get("said"), str) else None
        )

    @property
    def done(self) -> int:
        """Steps done."""
        return int(self.steps[-1]) if self.steps.size else 0


def read(folder: Path) -> Outcome:
    """Read a run's folder.

    Raises:
        UsageError: if it holds no ``config.json``, or one of its JSON files is damaged or lacks what a run writes
            there.
    """
    folder = Path(folder)
    config = _json(folder / "config.json")
    if not config:
        several = (folder / "01" / "config.json").is_file()
        advice = "give one of the runs in it" if several else "give the folder that was --out of distill or select"
        raise UsageError(f"{folder} holds no config.json; {advice}")
    if not _is_config(config):
        raise UsageError(f"{folder / 'config.json'} is damaged: it is no configuration of a run; restore it")
    card, evaluation = _json(folder / "set" / "card.json"), _json(folder / "evaluation.json")
    names, cost = card.get("class_names", []), card.get("cost") or {}
    counts = card.get("counts", [])
    whole = isinstance(counts, list) and all(type(count) is int and count >= 0 for count in counts)
    texts = whole and isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not texts or not isinstance(cost, dict) or not all(_is_number(cost.get(name) or 0) for name in _COSTS):
        raise UsageError(f"{folder / 'set' / 'card.json'} is damaged: it is not the card of a set; copy the set again")
    rows = evaluation.get("rows", [])
    protocol = evaluation.get("protocol", {})
    if not isinstance(rows, list) or not all(map(_is_row, rows)) or not isinstance(protocol, dict):
        raise UsageError(
            f"{folder / 'evaluation.json'} is damaged: its rows are no accuracies; remove it to leave it out"
        )
    if rows:
        evaluation["rows"] = [{"std": 0.0, **row} for row in rows]
    looks = evaluation.get("held_out") or _lines(folder / "held_out.jsonl")
    held_out = [look for look in looks if _is_look(look)] if isinstance(looks, list) else []
    search = _json(folder / "search.json")
    if search and not _is_search(search):
        raise UsageError(f"{folder / 'search.json'} is damaged: its rows are no windows; remove it to leave it out")
    return Outcome(folder, config, card, evaluation, *_scalars(folder / "metrics.jsonl"), held_out, search)


def runs_in(folder: Path) -> list[Path]:
    """The runs of a folder that several sets were made in (``--sets``), in order; of any other folder itself."""
    several = sorted(path for path in folder.glob("[0-9][0-9]") if (path / "config.json").is_file())
    return [folder] if (folder / "config.json").is_file() or not several else several


def bands(path: Path, ipc: int, num_classes: int | None) -> list[Image.Image]:
    """A grid cut into its rows, one for each class, with gaps that the page shines through.

    Args:
        path: the picture that `jaxdistill.io.pictures` made.
        ipc: images per class of the set.
        num_classes: its classes; None where they are not known.
    """
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGBA")).copy()
    across = pixels.shape[1] // min(ipc, COLUMNS)
    # A killed run has stored no class names; nearly all images are square.
    down = pixels.shape[0] // min(num_classes, ROWS) if num_classes else across
    pixels[np.arange(pixels.shape[0]) % down >= down - GAP] = 0
    pixels[:, np.arange(pixels.shape[1]) % across >= across - GAP] = 0
    return [Image.fromarray(pixels[top : top + down]) for top in range(0, pixels.shape[0], down)]


def tiled(rows: list[Image.Image]) -> Image.Image:
    """Rows of a grid below each other; set in columns where that would be much taller than wide."""
    width, height = rows[0].size
    columns = max(1, round(math.sqrt(len(rows) * height / width)))
    length = math.ceil(len(rows) / columns)
    whole = Image.new("RGBA", (math.ceil(len(rows) / length) * width, length * height))
    for i, band in enumerate(rows):
        whole.paste(band, (i // length * width, i % length * height))
    return whole


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if not isinstance(found, dict):
            raise UsageError("it is no object")
        return found
    except ValueError:
        raise UsageError(f"{path} is damaged: it is no JSON object; restore it, or remove it to leave it out") from None


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file that has one in each line."""
    found = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            found.append(json.loads(line))
        except ValueError:  # a line that was torn when the run was killed
            continue
    return [line for line in found if isinstance(line, dict)]


def _scalars(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    rows = [row for row in _lines(path) if type(row.get("step")) is int]
    if not rows:
        return np.empty(0), {}
    columns = {
        name: np.array([row[name] if isinstance(row.get(name), int | float) else math.nan for row in rows], float)
        for name in rows[0]
    }
    return columns.pop("step"), columns


def _is_config(config: Mapping[str, Any]) -> bool:
    """Whether the fields that a page reads are there, and of their types."""
    data, method = config.get("data"), config.get("method")
    ipc: Any = config.get("ipc")
    name = method.get("name") if isinstance(method, dict) else config.get("strategy")
    dataset = data.get("dataset") if isinstance(data, dict) else None
    texts = (name, dataset, config.get("command"))
    sizes = (ipc, config.get("steps", 0))
    return all(isinstance(text, str) for text in texts) and all(type(size) is int for size in sizes) and ipc > 0


def _is_row(row: Any) -> bool:
    """Whether this is what one network, or several of a kind, made of a set."""
    if not isinstance(row, dict) or not isinstance(row.get("accuracies"), list) or not row["accuracies"]:
        return False
    numbers = [*row["accuracies"], row.get("mean"), row.get("std", 0.0), row.get("seconds") or 0.0]
    return all(map(_is_number, numbers)) and all(isinstance(row.get(name), str) for name in ("set", "network"))


def _is_look(look: Any) -> bool:
    return isinstance(look, dict) and type(look.get("step")) is int and _is_number(look.get("mean"))


def _is_search(found: Mapping[str, Any]) -> bool:
    """Whether this is what a search for the window leaves."""
    rows = found.get("rows")
    texts = [found.get("said"), *(found.get(name) for name in ("network", "protocol") if rows)]
    numbers = [found.get(name) for name in ("held_out", "networks") if rows]
    said = all(isinstance(text, str) and text for text in texts) and all(map(_is_number, numbers))
    return said and isinstance(rows, list) and all(map(_is_window, rows))


def _is_window(row: Any) -> bool:
    if not isinstance(row, dict) or not isinstance(row.get("accuracies"), list) or type(row.get("best")) is not bool:
        return False
    return all(_is_number(row.get(name)) for name in ("ipc", "ratio", "start", "mean", "std"))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
