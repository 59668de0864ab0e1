"""Run one cell of a paper's table and keep one row: the published number, ours, random real, the gap, the cost.

    python experiments/reproduce.py dm --dataset cifar10 --ipc 10 --data-dir ~/tfds             the paper's budget
    python experiments/reproduce.py dm --dataset fashion_mnist --ipc 10 --data-dir ~/tfds \\
        --out runs/dm-fashion -- --steps 300 --real-batch 64 --eval-epochs 200                   a smaller one, stated

    python experiments/tables.py                                              writes all rows into BUILD_NOTES.md

What follows ``--`` goes to ``jaxdistill distill`` and is named in the row. Rows are added to --results, by
default experiments/results.jsonl.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

from jaxdistill.cli import main as jaxdistill
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.presets import find, readings

RESULTS = Path(__file__).parent / "results.jsonl"


def row_of(run: Path, command: str) -> dict:
    """The row of a finished run, beside what was published for that reading of the paper."""
    config, evaluation, card = (
        json.loads((run / name).read_text()) for name in ("config.json", "evaluation.json", "set/card.json")
    )
    rows = {row["set"]: row for row in evaluation["rows"]}
    ours, random = rows[config["method"]["name"]], rows["random"]
    name, network = config["method"]["name"], config["network"]
    dataset = config["data"]["dataset"]
    dataset = Path(dataset).stem if dataset.endswith(".npz") else dataset
    preset = find(name, dataset, config["ipc"], config["preset"])
    published = preset.published
    reading = "" if config["preset"] == readings(name)[0] else f" ({config['preset']})"
    shape = [f"W{network['width']}"] if ours["network"].startswith(("convnet", "mlp")) else []
    shape += {"instance": [], "none": ["no norm"]}.get(network["norm"], [f"{network['norm']} norm"])
    epochs = "" if "drops" not in evaluation["protocol"] else f", {evaluation['protocol']['epochs']} epochs"
    equal = ", equal computing" if evaluation["protocol"].get("equal_compute") else ""
    row = {
        "method": name + reading,
        "dataset": dataset,
        "ipc": config["ipc"],
        "network": " ".join([ours["network"], *shape]),
        "protocol": evaluation["protocol"]["name"] + epochs + equal,
        "published": None if published is None else published._asdict(),
        "best_on_test": preset.best_on_test,
        "mean": 100 * ours["mean"],
        "std": 100 * ours["std"],
        "networks": len(ours["accuracies"]),
        "random_mean": 100 * random["mean"],
        "random_std": 100 * random["std"],
        "steps": config["steps"],
        "seconds_per_step": card["cost"]["seconds"] / max(config["steps"], 1),
        "peak_gib": card["cost"]["peak_memory_bytes"] / 2**30,
        "device": card["cost"]["device"],
        "command": command,
    }
    row["gap"] = None if published is None else row["mean"] - published.mean
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("method", choices=list(METHOD_NAMES))
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--ipc", type=int, required=True)
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    words = sys.argv[1:]
    cut = words.index("--") if "--" in words else len(words)
    given, rest = parser.parse_args(words[:cut]), words[cut + 1 :]
    out = given.out or Path("runs") / f"{given.method}-{Path(given.dataset).name}-{given.ipc}"
    flags = ["--dataset", given.dataset, "--ipc", str(given.ipc), *rest]
    command = shlex.join(["jaxdistill", "distill", given.method, *flags])
    where = ["--out", str(out), "--resume", *(["--data-dir", given.data_dir] if given.data_dir else [])]
    if status := jaxdistill(["distill", given.method, *flags, *where]):
        raise SystemExit(status)
    row = row_of(out, command)
    with given.results.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row, indent=1))


if __name__ == "__main__":
    main()
