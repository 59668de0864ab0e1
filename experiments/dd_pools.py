"""DD that adapts networks to other images: a pool of one network against a pool of several, judged on others.

    python experiments/dd_pools.py        rows of experiments/results.jsonl, a line of JSON each

Networks are trained on digits whose rows and columns are exchanged, and adapted to digits as they are by ten images,
one of each class, in three steps. A set is judged on networks that it was not made with, after no, as many and twice as
many epochs as were learned, and after as many on (the first) networks of its own pool.
"""

from __future__ import annotations

import json
from typing import Any

import jaxdistill as jd
from jaxdistill.api.door import Experts
from jaxdistill.commands.pools import first_of
from jaxdistill.evaluation import InOrder

NETWORK = {"width": 16, "norm": "none", "pooling": "max"}
RECIPE = {"epochs": 20, "learning_rate": 0.03, "batch": 64, "augment": "none"}
POOLS = {"1 network": (1, 1), "8 networks": (8, 1), "40 networks": (40, 1), "40 networks, 4 a step": (40, 4)}
"""How many there are, and how many of them a step takes."""
JUDGES, STEPS, EPOCHS = 5, 2000, (0, 3, 6)


def main() -> None:
    digits = jd.load("digits")
    source = digits.source
    turned = jd.Dataset.from_arrays(
        source.train_images.swapaxes(1, 2), source.train_labels, source.test_images.swapaxes(1, 2), source.test_labels
    )
    whole = jd.train_experts(turned, count=max(count for count, _ in POOLS.values()), **NETWORK, **RECIPE).bank
    judges = jd.train_experts(turned, count=JUDGES, seed=1, **NETWORK, **RECIPE)
    runs, own = {}, {}
    for name, (count, each) in POOLS.items():
        pool = Experts(first_of(whole, count))
        runs[name] = jd.distill(
            "dd", digits, 1, experts=pool, num_networks=each, steps=STEPS, pretrained=True, other_data=True,
            eval_seeds=1,
        )  # fmt: skip
        own[name] = runs[name].evaluate(seeds=min(count, JUDGES)).rows[0]
    tables = [
        jd.evaluate(runs, digits, protocol=InOrder(epochs), experts=judges, seeds=JUDGES, other_data=True)
        for epochs in EPOCHS
    ]
    for name in (*runs, "random"):
        rows = [next(row for row in table.rows if row["set"] == name) for table in tables]
        found = {f"epochs {epochs}": figure(row) for epochs, row in zip(EPOCHS, rows, strict=True)}
        found["own"] = figure(own[name]) if name in own else "-"
        print(json.dumps({"table": "dd pools", "pool": name, **found}), flush=True)


def figure(row: dict[str, Any]) -> list[float]:
    """Mean and deviation in percent."""
    return [round(100 * row["mean"], 2), round(100 * row["std"], 2)]


if __name__ == "__main__":
    main()
