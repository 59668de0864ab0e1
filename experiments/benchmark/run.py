"""Our steps beside eager PyTorch's in one run: time ratio, peak memory ratio, share of the matrix-product ceiling.

    python experiments/benchmark/run.py                    all cases, a table
    python experiments/benchmark/run.py --case dm --rounds 5 --json

Each side runs in a process of its own, in turns (ours, PyTorch, ours, ...), so that neither's threads or memory disturb
the other and a change of the machine's mood hits both. Time is the median over all rounds; memory is the process's peak
above what it holds before the case is built (on a GPU: the device's peak).
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

FORWARD, FIRST = 101.5e6, 7.1e6
"""Floating-point operations of ConvNet-D3 W128 on a 32x32x3 image, and of its first convolution, whose input needs no
gradient in training."""
TRAIN = 3 * FORWARD - FIRST

CASES = {
    "train, batch 256": ("train", {"batch": 256}, 256 * TRAIN),
    "train, batch 100": ("train", {"batch": 100}, 100 * TRAIN),
    "dm, ipc 10": ("dm", {"ipc": 10, "per_class": 256}, 10 * (256 + 10 * 2) * FORWARD),
    "dm, ipc 1": ("dm", {"ipc": 1, "per_class": 256}, 10 * (256 + 1 * 2) * FORWARD),
    "dc, ipc 10": ("dc", {"ipc": 10, "per_class": 256}, 10 * (256 + 10 * 3) * TRAIN),
    "dc, ipc 1": ("dc", {"ipc": 1, "per_class": 256}, 10 * (256 + 1 * 3) * TRAIN),
    "dsa, ipc 10": ("dsa", {"ipc": 10, "per_class": 256}, 10 * (256 + 10 * 3) * TRAIN),
    "dsa, ipc 1": ("dsa", {"ipc": 1, "per_class": 256}, 10 * (256 + 1 * 3) * TRAIN),
    "idc, ipc 10": ("idc", {"ipc": 10, "per_class": 64, "real_images": 512}, (10 * (64 + 40 * 3) + 512) * TRAIN),
    "idc, ipc 1": ("idc", {"ipc": 1, "per_class": 64, "real_images": 512}, (10 * (64 + 4 * 3) + 512) * TRAIN),
    "datadam, ipc 10": ("datadam", {"ipc": 10, "per_class": 64}, 10 * (64 + 10 * 2) * FORWARD),
    "datadam, ipc 1": ("datadam", {"ipc": 1, "per_class": 64}, 10 * (64 + 1 * 2) * FORWARD),
    "dd, ipc 10": ("dd", {"ipc": 10, "epochs": 3, "batch": 1024}, None),
    "dd, ipc 1": ("dd", {"ipc": 1, "epochs": 3, "batch": 1024}, None),
    "mtt, ipc 10, N 10": ("mtt", {"ipc": 10, "student_steps": 10}, 10 * 100 * 4 * TRAIN),
    "mtt, ipc 10, N 50": ("mtt", {"ipc": 10, "student_steps": 50}, 50 * 100 * 4 * TRAIN),
    "mtt, ipc 1, N 10": ("mtt", {"ipc": 1, "student_steps": 10}, 10 * 10 * 4 * TRAIN),
    "mtt, ipc 1, N 50": ("mtt", {"ipc": 1, "student_steps": 50}, 50 * 10 * 4 * TRAIN),
    "dit, batch 64": ("dit", {"batch": 64}, None),
    "minimax, batch 64": ("minimax", {"batch": 64}, None),
    "sampling, 20 images": ("sampling", {"count": 20, "steps": 50}, None),
    "tesla, ipc 10, N 10": ("tesla", {"ipc": 10, "student_steps": 10}, None),
}
"""Name -> builder, its arguments, and the step's floating-point operations where they are counted. A synthetic image of
gradient matching counts as three of training (one for its gradient, two for the slope's and what leads back), one in a
student's step as four (the step, and three for its slope and what leads back to image and parameters)."""


def resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def timed(step, seconds: float, at_least: int = 2) -> list[float]:
    step()
    times: list[float] = []
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(times) < at_least:
        began = time.perf_counter()
        step()
        times.append((time.perf_counter() - began) / getattr(step, "steps", 1))
    return times


def measure(side: str, case: str, seconds: float, device: str) -> dict:
    """Run one side of one case in this process."""
    name, options, _ = CASES[case]
    sys.path.insert(0, str(Path(__file__).parent))
    if side == "ours":
        import jax
        import jax.numpy as jnp
        import ours

        size = 2048
        matrix = jnp.ones((size, size))
        product = jax.jit(lambda x: x @ x)
        fastest = min(timed(lambda: product(matrix).block_until_ready(), 1.0))
        held = resident()
        times = timed(ours.CASES[name](**options), seconds)
        stats = jax.devices()[0].memory_stats() or {}
        peak = stats.get("peak_bytes_in_use", resident() - held)
        return {"times": times, "peak": peak, "ceiling": 2 * size**3 / fastest, "device": jax.devices()[0].device_kind}
    import peer
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    held = resident()
    times = timed(peer.CASES[name](device=device, **options), seconds)
    return {"times": times, "peak": torch.cuda.max_memory_allocated() if device == "cuda" else resident() - held}


def compare(case: str, rounds: int, seconds: float, device: str) -> dict:
    found: dict[str, list[dict]] = {"ours": [], "peer": []}
    for _ in range(rounds):
        for side in found:
            options = {"--side": side, "--case": case, "--seconds": str(seconds), "--device": device}
            command = [sys.executable, __file__, *(word for pair in options.items() for word in pair)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {side: statistics.median(t for run in runs for t in run["times"]) for side, runs in found.items()}
    peaks = {side: max(run["peak"] for run in runs) for side, runs in found.items()}
    ceiling = max(run["ceiling"] for run in found["ours"])
    return {
        "case": case,
        "device": found["ours"][0]["device"],
        "ours_seconds": medians["ours"],
        "torch_seconds": medians["peer"],
        "speedup": medians["peer"] / medians["ours"],
        "ours_gib": peaks["ours"] / 2**30,
        "torch_gib": peaks["peer"] / 2**30,
        "memory_ratio": peaks["ours"] / max(peaks["peer"], 1),
        "ceiling_share": f"{CASES[case][2] / medians['ours'] / ceiling:.0%}" if CASES[case][2] else "-",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side")
    parser.add_argument("--seconds", type=float, default=10.0, help="time for each turn")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="where PyTorch runs")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--side", choices=["ours", "peer"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(measure(given.side, given.case[0], given.seconds, given.device)))
        return
    rows = [compare(case, given.rounds, given.seconds, given.device) for case in given.case or CASES]
    if given.json:
        print(json.dumps(rows, indent=1))
        return
    heads = ("step", "jaxdistill s", "PyTorch s", "times faster", "jaxdistill GiB", "PyTorch GiB", "memory ratio")
    print(f"| {' | '.join(heads)} | of matmul ceiling |\n" + "|---" * 8 + "|")
    for row in rows:
        print(
            "| {case} | {ours_seconds:.3f} | {torch_seconds:.3f} | {speedup:.2f} | {ours_gib:.2f} | {torch_gib:.2f} "
            "| {memory_ratio:.2f} | {ceiling_share} |".format(**row)
        )


if __name__ == "__main__":
    main()
