"""KIP to networks of finite width: which step size and penalty the protocol kip-nn takes, by held-out training images.

    python experiments/kip_network.py RUN --width 16 --epochs 400

RUN is a run of ``jaxdistill distill kip`` with ``--hold-out``. Prints the accuracy on what it held out, in %, of one
network for each factor of the largest stable step size and each penalty; no test image is looked at. The best pair then
goes to ``jaxdistill evaluate RUN --protocol kip-nn --initial kernel --factor F --l2 L``.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

from jaxdistill.commands.judge import accuracy
from jaxdistill.commands.workspace import keys, open_bench
from jaxdistill.evaluation import StableRegression
from jaxdistill.io.artifact import load_set
from jaxdistill.networks import make
from jaxdistill.settings.config import DataConfig


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--network", default="convnet4")
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--epochs", type=int, help="of 100 images a step; by default 5,000 steps")
    parser.add_argument("--factors", type=float, nargs="+", default=[0.5, 1.0])
    parser.add_argument("--l2", type=float, nargs="+", default=[1e-3, 1e-2])
    given = parser.parse_args()
    data = DataConfig(**{**json.loads((given.run / "config.json").read_text())["data"], "digests": None})
    stored = load_set(given.run)
    bench = open_bench(data, stored.preprocess)
    if bench.held_out is None:
        raise SystemExit("the run held nothing out to choose by; make it with --hold-out 0.1")
    network = make(given.network, bench.image_shape, bench.num_classes, width=given.width, initial="kernel")
    for factor in given.factors:
        for l2 in given.l2:
            recipe = dataclasses.replace(StableRegression(factor=factor, l2=l2), epochs=given.epochs)
            found = accuracy(
                keys(0)["evaluation"], stored.synthetic, network, bench.held_out, bench, recipe, 1
            )  # fmt: skip
            print(f"factor {factor} l2 {l2}: {100 * found.mean:.1f}", flush=True)


if __name__ == "__main__":
    main()
