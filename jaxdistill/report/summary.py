"""The result as a person reads it."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table

from jaxdistill.evaluation.train import BASELINE
from jaxdistill.report.tables import Table as Accuracies
from jaxdistill.report.tables import combined, gain, spaces

__all__ = ["tell"]


def tell(results: dict[str, Any]) -> None:
    """Print evaluation.json as a table: sets by networks, in percent, each beside random."""
    protocol = results["protocol"]
    usual = ({"baseline": None if row["set"] == BASELINE else BASELINE} for row in results["rows"])  # as the first ones
    found = Accuracies([{**one, **row} for one, row in zip(usual, results["rows"], strict=True)])
    rows = found.rows
    epochs = "" if protocol["epochs"] is None else f", {protocol['epochs']} epochs"
    epochs += ", selected real images by crop and flip alone" if combined(protocol) else ""
    seeds = len(rows[-1]["accuracies"])
    of_sets = f" of {rows[0]['sets']} sets" if rows[0].get("sets", 1) > 1 else ""
    times = f"{seeds} networks{of_sets}" if len(rows[0]["accuracies"]) == seeds else f"random {seeds} times"
    print(f"test accuracy in %: {protocol['name']}{epochs}, {times}")
    table = Table()
    for heading in ("set", *found.networks):
        table.add_column(heading, justify="left" if heading == "set" else "right")
    for name in found.sets:
        cells = [(found.cell(name, network), found.baseline(name, network)) for network in found.networks]
        table.add_row(name, *("" if row is None else f"{_figure(row)}{_gained(row, beside)}" for row, beside in cells))
    Console().print(table)
    for row in rows:
        if row.get("sets", 1) > 1 and row.get("baseline") is not None:
            apart = (100 * row[name] for name in ("std_sets", "std_networks"))
            print(f"{row['set']} on {row['network']}: {row['sets']} sets; deviation over {_apart(*apart)}")
    if "kept_step" in results:
        seen = f"{100 * results['held_out_accuracy']:.1f} % on training images held out"
        print(f"the set is that of step {results['kept_step']}, the best look: {seen}")
    if best := results.get("legacy_best"):
        print(f"step {best['step']}: {_figure(best)}, {best['said']}")
    for covered in spaces(results):
        print(f"test images with one of the set nearby, in % (all, easier half, harder half): {covered['features']}")
        for name, shares in covered["shares"].items():
            print(f"{name}: {', '.join(f'{100 * shares[part]:.1f}' for part in ('all', 'easy', 'hard'))}")
    if any("halves" in row for row in rows):
        print("test accuracy in % on the easier and on the harder half of the test images")
    for row in rows:
        if halves := row.get("halves"):
            print(f"{row['set']} on {row['network']}: {_figure(halves['easy'])}, {_figure(halves['hard'])}")
    if any("attack" in row for row in rows):
        print("of the attacked class taken for the target, and accuracy on the other classes, in %")
    for row in rows:
        if attack := row.get("attack"):
            print(f"{row['set']} on {row['network']}: {_figure(attack['fooled'])}, {_figure(attack['others'])}")
    if "starts" in results:
        print(f"networks begin as {results['starts']}")


def _apart(sets: float, networks: float) -> str:
    return f"sets {sets:.1f}, over the networks of a set {networks:.1f}"


def _gained(row: dict[str, Any], baseline: dict[str, Any] | None) -> str:
    more = gain(row, baseline)
    return "" if more is None else f" ({100 * more:+.1f})"


def _figure(row: dict[str, Any]) -> str:
    sign = "±" if "±".encode(sys.stdout.encoding or "ascii", "replace") != b"?" else "+-"
    spread = f" {sign} {100 * row['std']:.1f}" if len(row["accuracies"]) > 1 else ""
    return f"{100 * row['mean']:.1f}{spread}"
