"""What a rented GPU or TPU is for, in order of value, within the minutes that it is there.

    python experiments/accelerator.py --minutes 25 --dataset cifar10 --data-dir ~/tfds
    python experiments/accelerator.py --rehearse                          the same on a CPU in a few minutes, with toys

First the tests that need an accelerator, then steps beside PyTorch on the same card, then cells of the papers' tables
at their full budget. Every part writes as it goes: ``steps.jsonl`` (a row of experiments/benchmark a line) and
``results.jsonl`` (rows of experiments/reproduce.py) in --out. Called again with the same --out it goes on: rows that
are there are not made again, and a cell that was cut resumes from its checkpoint. Rows of a rehearsal say so.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
STEPS = (
    "dm, ipc 10", "dsa, ipc 10", "mtt, ipc 10, N 10", "train, batch 256", "dc, ipc 10", "datadam, ipc 10",
    "idc, ipc 10", "tesla, ipc 10, N 10", "mtt, ipc 10, N 50", "dit, batch 64", "minimax, batch 64", "dd, ipc 10",
)  # fmt: skip
"""Cases of experiments/benchmark, the most telling first."""
CELLS = (("dm", 10), ("dm", 1), ("dsa", 1), ("dc", 1), ("datadam", 10), ("dm", 50), ("dsa", 10), ("dc", 10))
"""Methods and images per class, each with its published settings."""
LEAST = 15.0
"""Seconds under which nothing more is begun."""
TOY = ("--steps", "2", "--eval-epochs", "1", "--width", "8")


class Clock:
    """What is left of the time."""

    def __init__(self, minutes: float):
        self._end = time.monotonic() + 60 * minutes

    def left(self) -> float:
        return self._end - time.monotonic()


def within(clock: Clock, command: list[str]) -> tuple[int, str]:
    """Run a command that is told to stop when the time is up; its status and what it printed."""
    print("+", " ".join(command[1:]), flush=True)
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        said, _ = running.communicate(timeout=max(clock.left(), 1.0))
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGTERM)  # on which a run saves a checkpoint
        try:
            said, _ = running.communicate(timeout=LEAST)
        except subprocess.TimeoutExpired:
            running.kill()
            said, _ = running.communicate()
    return running.returncode, said


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add(path: Path, row: dict) -> None:
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def tests(clock: Clock) -> None:
    status, said = within(
        clock,
        [
            sys.executable,
            "-m",
            "pytest",
            "-m",
            "gpu",
            "-n",
            "0",
            "-q",
            "-s",
            str(HERE.parent / "tests/test_accelerator.py"),
        ],
    )
    print(said[-6000:], f"tests ended with status {status}", flush=True)


def steps(clock: Clock, out: Path, device: str, rehearse: bool) -> None:
    done = {row["case"] for row in rows_of(out / "steps.jsonl")}
    for case in STEPS[:1] if rehearse else STEPS:
        if case in done or clock.left() < LEAST:
            continue
        options = [
            "--case",
            case,
            "--rounds",
            "1",
            "--seconds",
            "0.1" if rehearse else "3",
            "--device",
            device,
            "--json",
        ]
        status, said = within(clock, [sys.executable, str(HERE / "benchmark/run.py"), *options])
        if status:
            print(f"{case}: status {status}", flush=True)
            continue
        (row,) = json.loads(said)
        add(out / "steps.jsonl", row | {"rehearsal": rehearse})
        print({name: value if isinstance(value, str) else round(value, 5) for name, value in row.items()}, flush=True)


def cells(clock: Clock, out: Path, dataset: str, data_dir: str | None, rehearse: bool) -> None:
    results = out / "results.jsonl"
    done = {(row["method"].split(" ")[0], row["ipc"]) for row in rows_of(results)}
    for method, ipc in CELLS[:2] if rehearse else CELLS:
        if (method, ipc) in done or clock.left() < LEAST:
            continue
        command = [sys.executable, str(HERE / "reproduce.py"), method, "--dataset", dataset, "--ipc", str(ipc)]
        command += ["--out", str(out / f"{method}-{ipc}"), "--results", str(results)]
        command += ["--data-dir", data_dir] if data_dir else []
        status, said = within(clock, [*command, *(("--", *TOY) if rehearse else ())])
        print(said[-1500:] if not status else f"{method} at ipc {ipc}: cut with status {status}", flush=True)
    if rehearse:
        marked = [row | {"rehearsal": True} for row in rows_of(results)]
        results.write_text("".join(json.dumps(row) + "\n" for row in marked))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=25.0)
    parser.add_argument("--dataset", default="cifar10", help="as 'jaxdistill distill' takes it")
    parser.add_argument("--data-dir")
    parser.add_argument("--out", type=Path, default=Path("runs/accelerator"))
    parser.add_argument("--device", default="cuda", help="where PyTorch runs: cuda or cpu")
    parser.add_argument("--parts", default="tests,steps,cells", help="which, separated by commas")
    parser.add_argument("--rehearse", action="store_true", help="on a CPU: digits, one case, two cells of two steps")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    dataset, device = ("digits", "cpu") if given.rehearse else (given.dataset, given.device)
    clock, parts = Clock(given.minutes), given.parts.split(",")
    if "tests" in parts:
        tests(clock)
    if "steps" in parts:
        steps(clock, given.out, device, given.rehearse)
    if "cells" in parts:
        cells(clock, given.out, dataset, given.data_dir, given.rehearse)
    print(f"{clock.left() / 60:.1f} minutes are left; see {given.out}", flush=True)


if __name__ == "__main__":
    main()
