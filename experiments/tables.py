"""The tables of BUILD_NOTES.md, from experiments/results.jsonl, and the drawing of the rooms, from the tree.

    python experiments/tables.py            writes what stands between ``<!-- table NAME -->`` and ``<!-- end -->``

Rows without a ``table`` are cells of experiments/reproduce.py; others name the table that they belong to: ``steps ...``
as ``experiments/benchmark/run.py --json`` gives them. ``[mean, deviation]`` are in percent, text stands as it is.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTES, RESULTS = ROOT / "BUILD_NOTES.md", ROOT / "experiments" / "results.jsonl"
Column = Callable[[dict], str]
SMALL = ("fashion_mnist", "digits")


def given(key: str, digits: int | None = None) -> Column:
    """What stands under `key`: text, a number with so many digits, or a mean and its deviation (and that of sets)."""

    def column(row: dict) -> str:
        value = row[key]
        if isinstance(value, list):
            mean, std, *of_sets = (f"{number:.1f}" for number in value)
            return f"{mean} ± {std}" + "".join(f" ({number})" for number in of_sets)
        return str(value) if digits is None or isinstance(value, str) else f"{value:.{digits}f}"

    return column


def published(row: dict) -> str:
    """The number in print and where it stands, and whether it is the best of many looks at the test images."""
    known = row["published"]
    spread = "" if known["std"] is None else f" ± {known['std']}"
    best = "; best of many looks at the test images" if row.get("best_on_test") else ""
    return f"{known['mean']}{spread} ({known['source']}{best})"


def ours(row: dict) -> str:
    """The mean of all networks; what draws nothing has one accuracy."""
    return f"{row['mean']:.1f}" + (f" ± {row['std']:.1f} ({row['networks']} networks)" if row["networks"] > 1 else "")


CELL: Mapping[str, Column] = {
    "network": given("network"),
    "protocol": given("protocol"),
    "ours": ours,
    "random": lambda row: f"{row['random_mean']:.1f} ± {row['random_std']:.1f}",
    "s/step": lambda row: f"{row['seconds_per_step']:.3g}",
    "peak GiB": given("peak_gib", 1),
    "device": given("device"),
    "command": lambda row: f"`{row['command']}`",
}
PUBLISHED: Mapping[str, Column] = {
    "method": given("method"),
    "data": given("dataset"),
    "ipc": given("ipc"),
    "published": published,
    "gap": lambda row: f"{row['gap']:+.1f}",
    **CELL,
}


def steps(digits: int, ceiling: bool = True) -> Mapping[str, Column]:
    """Columns of a comparison with PyTorch, seconds with so many digits."""
    return {
        "step": given("case"),
        "jaxdistill s": given("ours_seconds", digits),
        "PyTorch s": given("torch_seconds", digits),
        "times faster": given("speedup", 2),
        "jaxdistill GiB": given("ours_gib", 2),
        "PyTorch GiB": given("torch_gib", 2),
        "memory ratio": given("memory_ratio", 2),
        **({"of matmul ceiling": given("ceiling_share")} if ceiling else {}),
    }


TABLES: Mapping[str, Mapping[str, Column]] = {
    "cells published": PUBLISHED,
    **{f"cells {name}": {"method": given("method"), "ipc": given("ipc"), **CELL} for name in SMALL},
    "digits in a minute": {
        "epochs": given("epochs"),
        "step size": given("lr"),
        "DM, 100 steps": given("dm"),
        "random": given("random"),
        "CPU seconds of five networks": given("seconds"),
    },
    "dd pools": {
        "networks of the pool": given("pool"),
        "before": given("epochs 0"),
        "3 epochs": given("epochs 3"),
        "6 epochs": given("epochs 6"),
        "3 epochs, its own": given("own"),
    },
    "selections": {
        "selection": given("selection"),
        "ConvNet W32": given("convnet"),
        "fc1 NTK": given("krr"),
        "seconds": given("seconds"),
    },
    "windows digits": {
        "set": given("set"),
        **{f"{ipc} per class ({share} %)": given(str(ipc)) for ipc, share in ((6, 5), (13, 10), (26, 20))},
    },
    **{f"minimax {name}": {"set": given("set"), "ipc 10": given("10"), "ipc 50": given("50")} for name in SMALL},
    "kernels": {
        "what": given("what"),
        "ours": given("ours"),
        "beside it": given("beside"),
        "command or recipe": given("command"),
    },
    "single figures": {"what": given("what"), "figure": given("figure")},
    "steps cpu": steps(3),
    "steps h100": steps(5),
    "steps diffusion cpu": steps(3, ceiling=False),
}


def rows() -> list[dict]:
    """All that was measured."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def table_of(row: dict) -> str:
    """The table that a row belongs to."""
    cell = "published" if row.get("published") else row.get("dataset")
    return row.get("table", f"cells {cell}")


def table(name: str) -> str:
    """One table as Markdown."""
    columns = TABLES[name]
    cells = [[cell(row) for cell in columns.values()] for row in rows() if table_of(row) == name]
    lines = [list(columns), ["---"] * len(columns), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def house() -> str:
    """The rooms from the roof to the ground, with the floors of tests/test_purity.py, lines and what each is for."""
    tree = ast.parse((ROOT / "tests" / "test_purity.py").read_text())
    (floors,) = (
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    )
    package = ROOT / "jaxdistill"
    lines = {path: len(path.read_text().splitlines()) for path in package.rglob("*.py")}
    whole, drawing = sum(lines.values()), []
    for number, rooms in reversed(list(enumerate(floors))):
        for room in rooms.split():
            size = sum(count for path, count in lines.items() if path.is_relative_to(package / room))
            said = (ast.get_docstring(ast.parse((package / room / "__init__.py").read_text())) or "").splitlines()[0]
            drawing.append(f"{number:>5}  {room:<11}{size:>6}{size / whole:>6.0%}  {said}")
        drawing.append("    ↓")
    alone = sum(count for path, count in lines.items() if path.parent == package)
    said = "types, errors: imported by every room; testing: by none."
    drawing.append(f"       {'(alone)':<11}{alone:>6}{alone / whole:>6.0%}  {said}")
    return "\n".join(["```text", f"floor  room        lines        in all {whole}", *drawing, "```"])


def written(text: str) -> str:
    """The notes with every table, and the house, made anew."""

    def section(match: re.Match[str]) -> str:
        made = house() if match[1] == "house" else table(match[1])
        return f"<!-- table {match[1]} -->\n{made}\n<!-- end -->"

    return re.sub(r"^<!-- table (.+?) -->\n.*?<!-- end -->$", section, text, flags=re.DOTALL | re.MULTILINE)


if __name__ == "__main__":
    NOTES.write_text(written(NOTES.read_text()))
