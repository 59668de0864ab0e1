"""DD that adapts networks to other images: a pool of one network against a pool of several, judged on others.

    python experiments/dd_pools.py        rows of experiments/results.jsonl, a line of JSON each

Networks are trained on digits whose rows and columns are exchanged, and adapted to digits as they are by ten images. A
set is judged on networks that it was not made with (the code's ``--phase test``), and one of a pool of one on that too.
Settings were fixed beforehand: the preset's for digits, but for the width, the steps and the pool.
"""

from __future__ import annotations

import json
from typing import Any

import jaxdistill as jd
from jaxdistill.evaluation import InOrder

NETWORK = {"width": 16, "norm": "none", "pooling": "max"}
RECIPE = {"epochs": 20, "learning_rate": 0.03, "batch": 64, "augment": "none"}
POOL, JUDGES, STEPS = 8, 5, 2000


def main() -> None:
    digits = jd.load("digits")
    source = digits.source
    turned = jd.Dataset.from_arrays(
        source.train_images.swapaxes(1, 2), source.train_labels, source.test_images.swapaxes(1, 2), source.test_labels
    )
    pool = jd.train_experts(turned, count=POOL, **NETWORK, **RECIPE)
    alone = jd.train_experts(turned, count=1, **NETWORK, **RECIPE)  # the first of them
    judges = jd.train_experts(turned, count=JUDGES, seed=1, **NETWORK, **RECIPE)
    judged: dict[str, Any] = {"experts": judges, "seeds": JUDGES, "other_data": True}
    options: dict[str, Any] = {"steps": STEPS, "pool_epoch": -1, "other_data": True, "eval_seeds": 1}
    runs = {
        "one network": jd.distill("dd", digits, 1, experts=alone, **options),
        f"{POOL} networks, one a step": jd.distill("dd", digits, 1, experts=pool, **options),
        f"{POOL} networks, four a step": jd.distill("dd", digits, 1, experts=pool, num_networks=4, **options),
    }
    longer = {epochs: jd.evaluate(runs, digits, protocol=InOrder(epochs), **judged) for epochs in (0, 3, 6)}
    for name, run in runs.items():
        row: dict[str, Any] = {"table": "dd pools", "pool": name}
        row |= {f"epochs {epochs}": figure(table, name) for epochs, table in longer.items()}
        own = f"{100 * run.evaluate().rows[0]['mean']:.1f}" if name == "one network" else "-"
        print(json.dumps(row | {"own": own}), flush=True)


def figure(table: Any, name: str) -> list[float]:
    """Mean and deviation of a set's row, in percent."""
    row = next(row for row in table.rows if row["set"] == name)
    return [round(100 * row["mean"], 2), round(100 * row["std"], 2)]


if __name__ == "__main__":
    main()
