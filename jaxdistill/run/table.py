"""The result as a person reads it."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxdistill.run.judge import BASELINE

__all__ = ["tell"]


def tell(results: dict[str, Any]) -> None:
    """Print evaluation.json as a table: sets by networks, in percent, each beside random."""
    protocol, rows = results["protocol"], results["rows"]
    names = list(dict.fromkeys(row["network"] for row in rows))
    means = {(row["set"], row["network"]): row["mean"] for row in rows}
    epochs = "" if protocol["epochs"] is None else f", {protocol['epochs']} epochs"
    seeds = len(rows[-1]["accuracies"])
    of_sets = f" of {rows[0]['sets']} sets" if rows[0].get("sets", 1) > 1 else ""
    times = f"{seeds} networks{of_sets}" if len(rows[0]["accuracies"]) == seeds else f"random {seeds} times"
    print(f"test accuracy in %: {protocol['name']}{epochs}, {times}")
    table = Table()
    for heading in ("set", *names):
        table.add_column(heading, justify="left" if heading == "set" else "right")
    for name in dict.fromkeys(row["set"] for row in rows):
        cells = {row["network"]: row for row in rows if row["set"] == name}
        gains = {network: _gain(row, means) for network, row in cells.items()}
        table.add_row(name, *(_figure(cells[k]) + gains[k] for k in names))
    Console().print(table)
    for row in rows:
        if row.get("sets", 1) > 1 and row.get("baseline") is not None:
            apart = (100 * row[name] for name in ("std_sets", "std_networks"))
            print(f"{row['set']} on {row['network']}: {row['sets']} sets; deviation over {_apart(*apart)}")
    if found := results.get("coverage"):
        print(f"test images with one of the set nearby, in % (all, easier half, harder half): {found['features']}")
        for name, shares in found["shares"].items():
            print(f"{name}: {', '.join(f'{100 * shares[part]:.1f}' for part in ('all', 'easy', 'hard'))}")


def _apart(sets: float, networks: float) -> str:
    return f"sets {sets:.1f}, over the networks of a set {networks:.1f}"


def _gain(row: dict[str, Any], means: dict[tuple[str, str], float]) -> str:
    """What the set is better by than its baseline, in points; nothing of a baseline."""
    baseline = row.get("baseline", None if row["set"] == BASELINE else BASELINE)  # the first ones did not say
    return "" if baseline is None else f" ({100 * (row['mean'] - means[baseline, row['network']]):+.1f})"


def _figure(row: dict[str, Any]) -> str:
    sign = "±" if "±".encode(sys.stdout.encoding or "ascii", "replace") != b"?" else "+-"
    spread = f" {sign} {100 * row['std']:.1f}" if len(row["accuracies"]) > 1 else ""
    return f"{100 * row['mean']:.1f}{spread}"
