"""Selections beside each other and beside random images, picked once and as networks train, by DeepCore's recipe.

    python experiments/coresets.py --dataset digits --ipc 1 5 20 --epochs 100 --every 10 --network convnet --width 32
    python experiments/coresets.py --selection random craig el2n:beta=0.9 ccs:score=el2n --ipc 10 --every 20 ...
    python experiments/coresets.py ... --table            the table alone, of what has been done

A selection may have options of ``jaxdistill select`` behind its name. Each of --sets has random draws, networks that
are asked, and --networks that judge, of its own; those that are asked are trained once for all selections of a set, or
are --experts. With --every, selections that a network's outputs tell are judged once more as networks train on images
that are selected anew. Rows go to --results, one a line; what stands there already is not done again. Seconds are those
of a set's selection, of the networks that it asked too, and of a network that judges (its selections among them, where
there are any), compilation included.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxdistill.api.dataset import NOWHERE
from jaxdistill.api.given import with_options
from jaxdistill.commands.judge import accuracy
from jaxdistill.commands.plan import pinned, prepare_selection
from jaxdistill.commands.reselect import reselected
from jaxdistill.commands.selection_inputs import context_of, inputs_of
from jaxdistill.commands.train_experts import fields_of_card
from jaxdistill.commands.workspace import keys
from jaxdistill.engine.devices import replicate
from jaxdistill.io.expert_bank import load_bank
from jaxdistill.selection import SELECTIONS
from jaxdistill.settings import cell
from jaxdistill.settings.config import Select
from jaxdistill.settings.defaults import of_select
from jaxdistill.settings.unread import check_read

SETTINGS = ("dataset", "protocol", "epochs", "network", "width", "norm", "networks", "after", "seed", "experts")
"""Arguments that a row is of, beside its own."""


class Once:
    """What is made when it is first asked for, and how long that took."""

    def __init__(self, make: Callable[..., Any], *given: Any):
        self.make, self.given, self.found, self.seconds, self.asked = make, given, None, 0.0, False

    def __call__(self, *_: Any) -> Any:
        self.asked = True
        if self.found is None:
            began = time.perf_counter()
            found = self.make(*self.given)
            self.found = jax.block_until_ready(list(found) if self.given else found)
            self.seconds = time.perf_counter() - began
        return self.found


def config_of(name: str, ipc: int, given: argparse.Namespace, fields: dict | None) -> tuple[Select, frozenset[str]]:
    """The configuration of a selection with the options behind its name, and which are given."""
    strategy, _, more = name.partition(":")
    options: dict[str, Any] = dict(option.split("=", 1) for option in more.split(",") if option)
    for option, value in options.items():
        try:
            options[option] = json.loads(value)
        except json.JSONDecodeError:
            continue  # a word
    options |= {"protocol": given.protocol, "eval_epochs": given.epochs, "eval_seeds": given.networks}
    options |= {"data_dir": given.data_dir} if given.data_dir else {}
    options |= {} if fields else {"network": given.network, "width": given.width, "norm": given.norm}
    start = Select(**of_select(strategy, given.dataset, cell.named(given.dataset), fields), run=NOWHERE, ipc=ipc)
    return with_options(start, options, strategy, apart=("ipc",))


def rows_of(given: argparse.Namespace, done: set[str], keep: Callable[[dict], None]) -> None:
    """Make the rows that are not done."""
    bank = None if given.experts is None else load_bank(given.experts)
    fields = None if bank is None else fields_of_card(bank.card, bank.folder)
    base, named = pinned(config_of("random", 1, given, fields)[0])
    bound = prepare_selection(base, named)
    tell = lambda line: print(line, flush=True)  # noqa: E731
    for number in range(given.sets):
        random = keys(given.seed + number)
        trained: dict[tuple, tuple[Once, Once]] = {}  # networks that are asked, by how they are trained
        (judge, network), *_ = bound.judges.items()
        for ipc in given.ipc:
            for name in given.selection:
                config, options = config_of(name, ipc, given, fields)
                selection, row = SELECTIONS[config.strategy], {"selection": name, "ipc": ipc, "set": number}
                row |= {setting: str(getattr(given, setting)) for setting in SETTINGS} | {"judge": judge}
                here = bound._replace(config=config, experts=bank, keys=random)
                key = replicate(random["evaluation"], bound.bench.mesh)
                if identity(row) not in done:
                    check_read(config, options, bound.protocol)
                    basis, context = config.basis, context_of(here, random["method"])
                    proxy, proxies = trained.setdefault(
                        (basis.feature_epochs, basis.score_networks, basis.score_epochs),
                        (Once(context.proxy), Once(context.proxies, True)),
                    )
                    began, made = time.perf_counter(), proxy.seconds + proxies.seconds
                    proxy.asked = proxies.asked = False
                    context = context._replace(proxy=proxy, proxies=proxies)
                    inputs = inputs_of(config.strategy, context)
                    chosen = jax.tree.map(np.asarray, selection(random["start"], bound.bench.train, ipc, inputs))
                    spent = time.perf_counter() - began - (proxy.seconds + proxies.seconds - made)
                    spent += proxy.seconds * proxy.asked + proxies.seconds * proxies.asked
                    began = time.perf_counter()
                    found = accuracy(
                        jax.random.split(key)[0], chosen, network, bound.bench.test, bound.bench, bound.protocol,
                        given.networks,
                    )  # fmt: skip
                    each = (time.perf_counter() - began) / given.networks
                    keep(row | {"accuracies": found.accuracies.tolist(), "selecting": spent, "network_seconds": each})
                if given.every is None or not selection.needs.reselects:
                    continue
                for every in given.every:
                    again = row | {"every": every}
                    if identity(again) in done:
                        continue
                    config, _ = with_options(
                        config, {"reselect_every": every, "reselect_after": given.after}, name, apart=("ipc",)
                    )
                    (judged,) = reselected(key, here._replace(config=config), tell)
                    each = judged["seconds"] / given.networks
                    keep(again | {"accuracies": judged["accuracies"], "network_seconds": each})


def identity(row: dict) -> str:
    """What a row is of."""
    return json.dumps([row.get(name) for name in ("selection", "ipc", "set", "every", "judge", *SETTINGS)])


def table_of(rows: list[dict]) -> str:
    """Mean and deviation over all networks of all sets, a column for each number of images, and mean seconds."""
    sizes = sorted({row["ipc"] for row in rows})
    heads = [f"{ipc} a class" for ipc in sizes]
    lines = [["selection", *heads, "s a selection", "s a network"], ["---", *["---:"] * (len(sizes) + 2)]]
    for name, every in dict.fromkeys((row["selection"], row.get("every")) for row in rows):
        own = [row for row in rows if (row["selection"], row.get("every")) == (name, every)]
        cells = []
        for ipc in sizes:
            found = [100 * accuracy for row in own if row["ipc"] == ipc for accuracy in row["accuracies"]]
            cells.append(f"{np.mean(found):.1f} ± {np.std(found):.1f}" if found else "")
        once = [row["selecting"] for row in own if "selecting" in row]
        cells.append(f"{np.mean(once):.1f}" if once else "")
        cells.append(f"{np.mean([row['network_seconds'] for row in own]):.1f}")
        lines.append([name if every is None else f"{name}, every {every} epochs", *cells])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def usual() -> list[str]:
    """All selections that can do with data alone, random images first."""
    return [name for name, one in SELECTIONS.items() if not (one.needs.requires_experts or one.needs.by_kernel)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--selection", nargs="+", default=usual(), metavar="NAME[:OPTION=VALUE,...]")
    parser.add_argument("--ipc", type=int, nargs="+", default=[1, 10, 50])
    parser.add_argument("--every", type=int, nargs="+", help="epochs between two selections as a network trains")
    parser.add_argument("--after", type=int, help="epochs on random images before the first; as many by default")
    parser.add_argument("--protocol", default="deepcore200")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--norm", default="batch")
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--networks", type=int, default=5)
    parser.add_argument("--experts", type=Path, help="networks that are asked; else they are trained")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path("runs/coresets.jsonl"))
    parser.add_argument("--table", action="store_true", help="print the table of --results alone")
    given = parser.parse_args()
    given.results.parent.mkdir(parents=True, exist_ok=True)
    given.results.touch()
    rows = [json.loads(line) for line in given.results.read_text().splitlines()]

    def keep(row: dict) -> None:
        rows.append(row)
        with given.results.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)

    if not given.table:
        rows_of(given, {identity(row) for row in rows}, keep)
    print(table_of(rows))


if __name__ == "__main__":
    main()
