"""SelMatch's study of coverage: what sets of growing size cover of the test images, and how its halves are recognised.

    python experiments/coverage.py --dataset digits --width 16 --ipc 1 5 10 20 --steps 100 --out runs/coverage
    python experiments/coverage.py --dataset fashion_mnist --data-dir ~/tfds --experts 20 --expert-epochs 50 \\
        --methods mtt datm selmatch --ipc 10 50 100 --sets 3 --out runs/coverage-fashion \\
        --options selmatch "--update-share 0.4 --beta 0.4" -- --eval-epochs 300

Experts, runs and a line for each in rows.jsonl lie in --out; what is there is not made again, and a run that was cut
goes on. What follows ``--`` goes to every ``jaxdistill distill`` (or ``select``), --options to those of one method.
Methods share experts and what is held out; random real images stand beside each set. Written are, for each feature
space, coverage against images per class (``coverage-SPACE.svg``) and along the run (``along-SPACE.svg``), and the
accuracies on the test images and their halves against images per class (``accuracy.svg``): means over sets (of
accuracies, over all networks of all sets), with their deviation.
"""

from __future__ import annotations

import argparse
import html
import itertools
import json
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxdistill.cli import main as jaxdistill
from jaxdistill.evaluation import dsa_recipe
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.selection import SELECTIONS

PARTS = {"all": "all test images", "easy": "easy half", "hard": "hard half"}
COLOURS = ("#6d6963", "#17608f", "#c2571a", "#3f7d3c", "#8a4f9e", "#a3852a", "#a83a4a", "#2b8a8a")
WIDTH, HEIGHT, LEFT, TOP, GAP = 250, 190, 62, 64, 46
BASELINE = "random"


def words_of(given: argparse.Namespace, rest: Sequence[str], method: str, ipc: int, seed: int) -> list[str]:
    """What makes and judges one set, without where it lies."""
    data = ["--dataset", given.dataset, "--ipc", str(ipc), "--seed", str(seed), "--width", str(given.width)]
    data += ["--hold-out", str(given.hold_out)] + (["--data-dir", given.data_dir] if given.data_dir else [])
    judged = ["--protocol", given.protocol or dsa_recipe(given.dataset), "--eval-network", given.judge]
    judged += ["--eval-seeds", str(given.networks), "--coverage", "--coverage-features", given.features]
    if method in METHOD_NAMES:
        made = ["distill", method, "--steps", str(given.steps)]
        judged += ["--eval-every", str(given.look_every or max(1, given.steps // 5)), "--eval-every-seeds", "1"]
        judged += [] if given.without_experts else ["--experts", str(given.out / "experts")]
    else:
        made = ["select", method]
    own = [word for name, words in given.options if name == method for word in shlex.split(words)]
    return [*made, *data, *judged, *rest, *own]


def row_of(run: Path, method: str, ipc: int, seed: int, command: str, seconds: float) -> dict[str, Any]:
    """A line of rows.jsonl: the set and the random images beside it."""
    found = json.loads((run / "evaluation.json").read_text())
    looks = (run / "held_out.jsonl").read_text().splitlines() if (run / "held_out.jsonl").is_file() else []
    spaces = [found["coverage"], *found["coverage"].get("also", {}).values()]
    names = {row["set"]: method for row in found["rows"] if row["baseline"] is not None} | {BASELINE: BASELINE}
    return {
        "method": method,
        "ipc": ipc,
        "seed": seed,
        "command": command,
        "seconds": seconds,
        "accuracy": {
            names[row["set"]]: {
                "all": row["accuracies"], **{half: one["accuracies"] for half, one in row["halves"].items()}
            }
            for row in found["rows"]
        },
        "features": [space["features"] for space in spaces],
        "coverage": {names[name]: [space["shares"][name] for space in spaces] for name in spaces[0]["shares"]},
        "along": [
            {"step": look["step"], "coverage": list(look["coverage"].values())} for look in map(json.loads, looks)
        ],
    }  # fmt: skip


class Panel(NamedTuple):
    """Lines over one pair of axes."""

    title: str
    lines: dict[str, list[tuple[float, float, float]]]
    """By name, places with their height and its deviation."""


def svg(title: str, rows: Sequence[Sequence[Panel]], across: str, up: str, *, by_size: bool) -> str:
    """Panels side by side and below each other, with one scale for all heights.

    Args:
        title: of all.
        rows: the panels.
        across: what is on the horizontal axes.
        up: what is on the vertical ones.
        by_size: places are images per class, each with its tick, on a logarithmic scale; else steps.
    """
    panels = [panel for row in rows for panel in row]
    names = list(dict.fromkeys(name for panel in panels for name in panel.lines))
    colours = dict(zip(dict.fromkeys((BASELINE, *names)), itertools.cycle(COLOURS), strict=False))
    points = [point for panel in panels for line in panel.lines.values() for point in line]
    places = sorted({at for at, *_ in points})
    ends = max(0.0, min(mean - std for _, mean, std in points)), max(mean + std for _, mean, std in points)
    unit = next(step for step in (0.5, 1, 2, 5, 10, 20, 25, 50, 100) if 5 * step >= ends[1] - ends[0])
    bottom, top = unit * np.floor(ends[0] / unit), unit * max(np.ceil(ends[1] / unit), np.floor(ends[0] / unit) + 1)
    place: Callable[[float], float] = np.log if by_size else float
    low, wide = place(places[0]), max(place(places[-1]) - place(places[0]), 1e-9)
    ticks = places if by_size else [places[round(i)] for i in np.linspace(0, len(places) - 1, min(6, len(places)))]
    ticks = [at for i, at in enumerate(ticks) if not i or place(at) - place(ticks[i - 1]) > 0.05 * wide]
    columns = max(len(row) for row in rows)
    size = max(LEFT + columns * (WIDTH + GAP), LEFT + 8 * len(title)), TOP + len(rows) * (HEIGHT + GAP + 22)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{size[0]}" height="{size[1]}" '
        'font-family="sans-serif" font-size="11" fill="#1d1c1a">',
        f'<rect width="{size[0]}" height="{size[1]}" fill="#fff"/><text x="{LEFT}" y="20" font-size="14" '
        f'font-weight="600">{html.escape(title)}</text>',
    ]
    at = LEFT
    for name in names:
        drawn.append(
            f'<path d="M{at} 37h18" stroke="{colours[name]}" stroke-width="2.5"/>'
            f'<text x="{at + 23}" y="41">{html.escape(name)}</text>'
        )
        at += 40 + 7 * len(name)
    for r, row in enumerate(rows):
        for c, panel in enumerate(row):
            left, above = LEFT + c * (WIDTH + GAP), TOP + 14 + r * (HEIGHT + GAP + 22)

            def x_of(value: float, left: int = left) -> float:
                return left + 8 + (WIDTH - 16) * (place(value) - low) / wide

            def y_of(height: float, above: int = above) -> float:
                return above + HEIGHT * (top - height) / (top - bottom)

            drawn.append(f'<text x="{left}" y="{above - 6}" font-weight="600">{html.escape(panel.title)}</text>')
            for height in np.arange(bottom, top + unit / 2, unit):
                y = y_of(height)
                drawn.append(f'<path d="M{left} {y:.1f}h{WIDTH}" stroke="#e5e1d9"/>')
                drawn.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{height:g}</text>')

            for tick in ticks:
                drawn.append(
                    f'<text x="{x_of(tick):.1f}" y="{above + HEIGHT + 15}" text-anchor="middle">{tick:g}</text>'
                )
            if r == len(rows) - 1:
                y = above + HEIGHT + 31
                drawn.append(f'<text x="{left + WIDTH / 2}" y="{y}" text-anchor="middle">{html.escape(across)}</text>')
            if not c:
                turned = f'transform="translate({left - 42} {above + HEIGHT / 2}) rotate(-90)" text-anchor="middle"'
                drawn.append(f"<text {turned}>{html.escape(up)}</text>")
            for name, line in panel.lines.items():
                colour = colours[name]
                points = [(x_of(at), y_of(mean), y_of(0) - y_of(std)) for at, mean, std in line]
                path = "L".join(f"{x:.1f} {y:.1f}" for x, y, _ in points)
                drawn.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
                for x, y, std in points:
                    drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>')
                    if std:
                        drawn.append(f'<path d="M{x:.1f} {y - std:.1f}v{2 * std:.1f}" stroke="{colour}"/>')
    return "\n".join([*drawn, "</svg>\n"])


def line_of(found: Mapping[float, Sequence[float]]) -> list[tuple[float, float, float]]:
    """Place, mean in percent and deviation of the shares at each place."""
    return [(at, 100 * float(np.mean(found[at])), 100 * float(np.std(found[at]))) for at in sorted(found)]


def gathered(entries: Sequence[tuple[str, float, Sequence[float]]]) -> dict[str, list[tuple[float, float, float]]]:
    """Lines of shares by name and place; random first."""
    found: dict[str, dict[float, list[float]]] = {}
    for name, at, shares in sorted(entries, key=lambda entry: entry[0] != BASELINE):
        found.setdefault(name, {}).setdefault(at, []).extend(shares)
    return {name: line_of(places) for name, places in found.items()}


def draw(rows: Sequence[dict[str, Any]], spaces: Sequence[str], out: Path, dataset: str) -> None:
    """Write the figures of some rows.

    Args:
        rows: lines of rows.jsonl.
        spaces: names of the feature spaces, in the order of the rows'.
        out: folder.
        dataset: its name, for titles.
    """
    size = "images per class"
    accuracy = [
        Panel(title, gathered([(name, row["ipc"], one[part]) for row in rows for name, one in row["accuracy"].items()]))
        for part, title in PARTS.items()
    ]
    said = f"Test accuracy on {dataset} and on the halves of its test images"
    (out / "accuracy.svg").write_text(svg(said, [accuracy], size, "accuracy, %", by_size=True))
    sizes = sorted({row["ipc"] for row in rows if row["along"]})
    for number, space in enumerate(spaces):
        file, said = (
            space.replace(":", "-"),
            f"Coverage of the test images of {dataset} ({rows[0]['features'][number]})",
        )
        covered = [(name, row["ipc"], one[number]) for row in rows for name, one in row["coverage"].items()]
        seen = [(row, look["step"], look["coverage"][number]) for row in rows for look in row["along"]]
        panels = [
            Panel(title, gathered([(name, ipc, [shares[part]]) for name, ipc, shares in covered]))
            for part, title in PARTS.items()
        ]
        (out / f"coverage-{file}.svg").write_text(svg(said, [panels], size, "covered, %", by_size=True))
        along = [
            [
                Panel(
                    f"{title}, {ipc} per class",
                    gathered([(row["method"], at, [shares[part]]) for row, at, shares in seen if row["ipc"] == ipc]),
                )
                for ipc in sizes
            ]
            for part, title in PARTS.items()
        ]
        if sizes:
            (out / f"along-{file}.svg").write_text(svg(said, along, "steps", "covered, %", by_size=False))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=["mtt", "selmatch"], choices=[*METHOD_NAMES, *SELECTIONS])
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 5, 10, 20])
    parser.add_argument("--sets", type=int, default=1)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--protocol", help="that judges all sets; by default DSA's for the data set")
    parser.add_argument("--judge", default="convnet", help="the network that does, and in which coverage is measured")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--look-every", type=int, help="steps between two looks; a fifth of --steps")
    parser.add_argument("--features", default="embedding,pixels,random", help="as of --coverage-features")
    parser.add_argument("--hold-out", type=float, default=0.1)
    parser.add_argument("--experts", type=int, default=5)
    parser.add_argument("--expert-epochs", type=int, default=20)
    parser.add_argument("--without-experts", action="store_true", help="no method matches trajectories")
    parser.add_argument("--options", nargs=2, action="append", default=[], metavar=("METHOD", "OPTIONS"))
    parser.add_argument("--seed", type=int, default=0)
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    given, rest = parser.parse_args(words[:cut]), words[cut + 1 :]
    given.out.mkdir(parents=True, exist_ok=True)
    if not given.without_experts:
        bank = ["--dataset", given.dataset, "--count", str(given.experts), "--epochs", str(given.expert_epochs)]
        bank += ["--width", str(given.width), "--hold-out", str(given.hold_out), "--quiet", "--resume"]
        bank += ["--data-dir", given.data_dir] if given.data_dir else []
        if status := jaxdistill(["experts", *bank, "--out", str(given.out / "experts")]):
            raise SystemExit(status)
    kept, rows = given.out / "rows.jsonl", []
    known = [json.loads(line) for line in kept.read_text().splitlines()] if kept.is_file() else []
    done = {row["command"]: row for row in known}
    for seed in range(given.seed, given.seed + given.sets):
        for ipc in given.ipc:
            for method in given.methods:
                flags = words_of(given, rest, method, ipc, seed)
                command = shlex.join(["jaxdistill", *flags])
                if command not in done:
                    run, began = given.out / f"{method}-{ipc}-{seed}", time.perf_counter()
                    if status := jaxdistill([*flags, "--quiet", "--resume", "--out", str(run)]):
                        raise SystemExit(status)
                    done[command] = row_of(run, method, ipc, seed, command, time.perf_counter() - began)
                    with kept.open("a") as file:
                        file.write(json.dumps(done[command]) + "\n")
                    print(f"{method}, {ipc} per class, seed {seed}: {done[command]['seconds']:.0f} s", flush=True)
                rows.append(done[command])
    spaces = dict.fromkeys(name for part in given.features.split(",") if (name := part.strip()))
    draw(rows, [*spaces], given.out, given.dataset)


if __name__ == "__main__":
    main()
