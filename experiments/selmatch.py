"""Windows of difficulty, SelMatch from the best of them, and what both are compared with, at several ratios.

    python experiments/selmatch.py --dataset digits --ipc 5 15 30
    python experiments/selmatch.py --dataset fashion_mnist --data-dir ~/tfds --ipc 60 120 300 --width 16 ...

One protocol for all. What is chosen (which score, where its window begins, which share SelMatch learns, the step size
of each method) is chosen by a tenth of the training images, which nothing else sees, experts and random included; the
test images are looked at once, at the end. Every run is a folder of --out, and one that is there is not run again, so
that the script goes on where it was stopped. Rows are written to --results and printed as a table; each pools --sets
sets with --networks networks.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

from jaxdistill.cli import main as jaxdistill
from jaxdistill.report.outcome import read

SCORES = ("forgetting", "el2n", "cscore")


class Study:
    """Runs of one data set, each in a folder of its own."""

    def __init__(self, given: argparse.Namespace):
        self.given = given
        self.out = given.out / given.dataset
        where = ["--data-dir", given.data_dir] if given.data_dir else []
        self.data = ["--dataset", given.dataset, "--hold-out", 0.1, *where]
        self.experts = self.out / "experts"
        self.rows: list[dict[str, Any]] = []

    def train_experts(self) -> None:
        """Plain networks, whose trajectories are matched and whose records are the scores."""
        given, card = self.given, self.experts / "card.json"
        if card.exists() and json.loads(card.read_text()).get("complete", True):
            return
        words = ["--count", given.experts, "--epochs", given.expert_epochs, "--width", given.width]
        self.call(["experts", *self.data, *words, *shlex.split(given.expert_options), "--out", self.experts])

    def run(self, folder: str, words: list[Any], *, seed: int = 0) -> Path:
        """A run's folder, after it was run if it had not been."""
        out = self.out / folder
        if not (out / "report.html").exists():
            options = [*self.data, "--width", self.given.width, "--seed", seed, "--out", out, "--quiet"]
            self.call([*words, *options, *(["--resume"] if (out / "config.json").exists() else [])])
        return out

    def call(self, words: list[Any]) -> None:
        """A command, which has to succeed."""
        command = [str(word) for word in words]
        print(shlex.join(["jaxdistill", *command]), flush=True)
        if status := jaxdistill(command):
            raise SystemExit(status)

    def judged(self, ipc: int) -> list[Any]:
        """The one protocol."""
        given = self.given
        epochs = ["--eval-epochs", given.eval_epochs] if given.eval_epochs else []
        return ["--ipc", ipc, "--protocol", given.protocol, *epochs]

    def row(self, name: str, ipc: int, folders: list[Path], said: str) -> None:
        """Pool what the test images say of some sets."""
        runs = [read(folder) for folder in folders]
        accuracies = [value for run in runs for value in run.rows[0]["accuracies"]]
        row = {"dataset": self.given.dataset, "ipc": ipc, "name": name, "chosen": said, "sets": len(runs)}
        row |= {"mean": float(np.mean(accuracies)), "std": float(np.std(accuracies)), "accuracies": accuracies}
        row |= {"seconds": float(np.mean([run.cost["seconds"] for run in runs]))}
        self.rows.append(row)
        print(f"{name} at {ipc}: {100 * row['mean']:.1f} ± {100 * row['std']:.1f} ({said})", flush=True)

    def at(self, ipc: int) -> None:
        """All rows of one number of images per class."""
        given, seeds = self.given, range(self.given.sets)
        judged = [*self.judged(ipc), "--eval-seeds", given.networks]
        folders = [self.run(f"random-{ipc}-{seed}", ["select", "random", *judged], seed=seed) for seed in seeds]
        self.row("random", ipc, folders, "")

        windows, held_out = {}, {}
        search = [
            "--experts",
            self.experts,
            "--search-starts",
            given.starts,
            "--search-networks",
            given.search_networks,
        ]
        for score in given.scores:
            words = ["select", "window", "--score", score, *search, *judged]
            windows[score] = [self.run(f"window-{score}-{ipc}-{seed}", words, seed=seed) for seed in seeds]
            best = [_best(folder) for folder in windows[score]]
            held_out[score] = float(np.mean([row["mean"] for row in best]))
            starts = ", ".join(f"{row['start']:.2f}" for row in best)
            self.row(f"window of {score}", ipc, windows[score], f"begins at {starts}; held out {held_out[score]:.1%}")
        chosen = max(held_out, key=lambda score: held_out[score])
        self.row("best window", ipc, windows[chosen], chosen)

        # SelMatch from there, with the share and the step size that do best on images it does not see.
        matched = ["--experts", self.experts, "--steps", given.steps, *shlex.split(given.match_options)]
        first = [*self.judged(ipc), "--init", windows[chosen][0] / "set", *matched]
        tried = {
            (share, rate): ["--update-share", share, "--image-lr", rate]
            for share in given.shares
            for rate in given.image_lrs
        }
        share = self.choose(f"selmatch-{ipc}", ["distill", "selmatch", *first], tried)
        folders = []
        for seed in seeds:
            words = ["distill", "selmatch", *judged, "--init", windows[chosen][seed] / "set", *matched, *tried[share]]
            folders.append(self.run(f"selmatch-{ipc}-{seed}", words, seed=seed))
        self.row("selmatch", ipc, folders, f"learns {share[0]:g} of them, step size {share[1]:g}")

        for method, more in (("mtt", ""), ("datm", given.datm_options)):
            tried = {rate: ["--image-lr", rate, *shlex.split(more)] for rate in given.image_lrs}
            rate = self.choose(f"{method}-{ipc}", ["distill", method, *self.judged(ipc), *matched], tried)
            words = ["distill", method, *judged, *matched, *tried[rate]]
            folders = [self.run(f"{method}-{ipc}-{seed}", words, seed=seed) for seed in seeds]
            self.row(method, ipc, folders, f"step size {rate:g}")

    def choose(self, name: str, words: list[Any], tried: dict[Any, list[Any]]) -> Any:
        """What does best at the end of a run on the held-out images."""
        held_out = {}
        look = ["--eval-every", self.given.steps, "--eval-every-seeds", self.given.search_networks, "--eval-seeds", 0]
        for number, (setting, options) in enumerate(tried.items()):
            if len(tried) == 1:
                return setting
            folder = self.run(f"{name}-try{number}", [*words, *look, *options], seed=99)
            held_out[setting] = read(folder).held_out[-1]["mean"]
            print(f"{name} {' '.join(map(str, options))}: held out {held_out[setting]:.1%}", flush=True)
        return max(held_out, key=lambda setting: held_out[setting])


def _best(folder: Path) -> dict[str, Any]:
    """The window that held-out images chose."""
    return next(row for row in json.loads((folder / "search.json").read_text())["rows"] if row["best"])


def table(rows: list[dict[str, Any]]) -> str:
    """Names down, images per class across."""
    sizes = list(dict.fromkeys(row["ipc"] for row in rows))
    lines = [f"| | {' | '.join(f'{size} per class' for size in sizes)} |", "| --- " * (len(sizes) + 1) + "|"]
    for name in dict.fromkeys(row["name"] for row in rows):
        cells = {row["ipc"]: f"{100 * row['mean']:.1f} ± {100 * row['std']:.1f}" for row in rows if row["name"] == name}
        lines.append(f"| {name} | {' | '.join(cells.get(size, '') for size in sizes)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--ipc", type=int, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/selmatch"))
    parser.add_argument("--results", type=Path)
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--experts", type=int, default=5)
    parser.add_argument("--expert-epochs", type=int, default=20)
    parser.add_argument("--expert-options", default="")
    parser.add_argument("--protocol", default="digits100")
    parser.add_argument("--eval-epochs", type=int)
    parser.add_argument("--scores", nargs="+", default=SCORES)
    parser.add_argument("--starts", type=int, default=6)
    parser.add_argument("--search-networks", type=int, default=3)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--shares", type=float, nargs="+", default=(0.3, 0.6))
    parser.add_argument("--image-lrs", type=float, nargs="+", default=(100.0, 1000.0))
    parser.add_argument("--match-options", default="", help="of selmatch, mtt and datm")
    parser.add_argument("--datm-options", default="")
    given = parser.parse_args()
    study = Study(given)
    study.train_experts()
    for ipc in given.ipc:
        study.at(ipc)
    results = given.results or given.out / given.dataset / "rows.jsonl"
    results.write_text("".join(json.dumps(row) + "\n" for row in study.rows))
    print(table(study.rows))


if __name__ == "__main__":
    main()
