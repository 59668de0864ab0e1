"""What there is to choose from, as tables: for a person in a terminal, in plain lines where it is piped, or as JSON."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from jaxdistill import presets
from jaxdistill.common import names
from jaxdistill.common.names import choose
from jaxdistill.data.preprocess import constants
from jaxdistill.data.source import LISTED
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.methods import CHECKED, METHOD_NAMES, method_config
from jaxdistill.networks import NETWORKS, POOLS, Options, reads
from jaxdistill.presets.base import Preset
from jaxdistill.selection import SELECTIONS
from jaxdistill.settings.needs import needs

__all__ = ["KINDS", "known", "paper_of", "rows", "tell_list", "title_of"]

KINDS = ("methods", "selections", "networks", "protocols", "datasets", "cells")
"""What can be listed on its own."""
_NOTES = {
    "methods": "checked: agrees with values of the paper's formulas in PyTorch, or of the authors' code.\n"
    "cells: published ones, whose settings are the defaults there; 'jaxdistill list cells METHOD' shows them.",
    "selections": "Each is also a start of a method (--init).",
    "networks": "With -bn after its name a network has batch normalisation, where it can have any.\n"
    "Pools stand for several, where a set is judged:\n"
    + "\n".join(f"{name} is {','.join(networks)}" for name, networks in POOLS.items()),
    "datasets": "Any image classification data set of TFDS, an .npz file or a folder of images is a data set too.",
}
_LISTED_AS = ("steps", "init", "protocol", "augment", "zca", "network")
"""What each cell is listed with, whatever it is."""
_NUMBERS = ("accuracy", "std", "source")
_APART = frozenset({*_LISTED_AS, "config", "listed", "published", "best_on_test", "experts", "generator"})
_Row = dict[str, Any]


def known() -> dict[str, list[str]]:
    """All names, by kind."""
    return {
        "methods": list(METHOD_NAMES),
        "strategies": list(SELECTIONS),
        "datasets": list(LISTED),
        "networks": list(NETWORKS),
        "pools": [f"{name}={','.join(networks)}" for name, networks in POOLS.items()],
        "protocols": list(PROTOCOLS),
        "presets": [f"{name}={'|'.join(found)}" for name in METHOD_NAMES if len(found := presets.readings(name)) > 1],
    }


def rows(kind: str, method: str | None = None) -> list[_Row]:
    """Each thing of a kind, as plain data.

    Args:
        kind: one of `KINDS`.
        method: whose cells; of all methods by default.
    """
    return list(_ROWS[kind]() if kind != "cells" else _cells(method))


def tell_list(kind: str | None, method: str | None, *, as_json: bool) -> None:
    """Print what there is of a kind, or of all kinds but cells.

    Args:
        kind: one of `KINDS`, or None.
        method: whose cells, where it is those.
        as_json: print JSON.

    Raises:
        UsageError: for an unknown kind or method, or for the method of what belongs to none.
    """
    if kind is not None:
        kind = "selections" if kind == "strategies" else choose(kind, KINDS, "kind")
    if method is not None:
        if kind != "cells":
            raise UsageError(f"only cells are those of a method; try 'jaxdistill list cells {method}'")
        method_config(method)
    if as_json:
        whole = known() if kind is None else rows(kind, method)
        if isinstance(whole, dict):
            whole |= {"tables": {kind: rows(kind) for kind in KINDS}}
        print(json.dumps(whole, indent=1))
        return
    for one in (kind,) if kind is not None else KINDS[:-1]:
        _tell(one, rows(one, method), heading=kind is None)


def title_of(kind: type) -> str:
    """What a method is called: the beginning of its module's docstring."""
    return re.split(r"[,:(.]", _docstring(kind))[0].strip()


def paper_of(kind: type) -> str:
    """Authors, venue and number of a method's paper: the first parenthesis with a year in its module's docstring."""
    found = re.search(r"\(([^()]*\b\d{4}\b[^()]*)\)", _docstring(kind))
    return found[1] if found else ""


def _docstring(kind: type) -> str:
    return " ".join((sys.modules[kind.__module__].__doc__ or "").split())


def _methods() -> Iterator[_Row]:
    for name, kind in METHOD_NAMES.items():
        yield {
            "name": name,
            "title": title_of(kind),
            "paper": paper_of(kind),
            "needs": needs(kind).words,
            "checked": CHECKED.get(name),
            "cells": sum(map(len, presets.cells(kind).values())),
            "presets": list(presets.readings(kind)),
        }


def _selections() -> Iterator[_Row]:
    for name, one in SELECTIONS.items():
        yield {"name": name, "goes by": one.needs.words, "paper": one.paper}


def _networks() -> Iterator[_Row]:
    usual = Options(8, 2, "instance", "relu", "avg")
    for name, build in NETWORKS.items():
        body = build(usual)
        said = " ".join((sys.modules[type(body).__module__].__doc__ or "").split())
        about = re.match(r"(?:\([^()]*\)|[^.:(])*", said)  # up to the first stop that is in no parenthesis
        yield {
            "name": name,
            "about": ", ".join([about[0].strip() if about else "", *_peculiar(body)]),
            "options": [f"--{field}" for field in Options._fields if field in reads(name)],
        }


def _peculiar(body: Any) -> Iterator[str]:
    """What sets a network apart from others of its class."""
    for field in dataclasses.fields(body):
        value = getattr(body, field.name)
        chosen = field.name in (*Options._fields, "parent", "name") or field.default is dataclasses.MISSING
        if not chosen and value != field.default:
            yield f"{field.name.replace('_', ' ')} {_word(value)}".removesuffix(" yes")


def _protocols() -> Iterator[_Row]:
    for name, recipe in PROTOCOLS.items():
        yield {"name": name, "summary": recipe.summary}


def _datasets() -> Iterator[_Row]:
    published: dict[str, list[str]] = {}
    for name in METHOD_NAMES:
        for dataset in {dataset for cells in presets.cells(name).values() for dataset, _ in cells}:
            published.setdefault(dataset, []).append(name)
    for name in dict.fromkeys((*LISTED, *names.DATASETS, *published)):
        normalised = "its own statistics" if constants("default", name) is None else "published constants"
        yield {"name": name, "normalised by": normalised, "published cells of": published.get(name, [])}


def _cells(method: str | None) -> Iterator[_Row]:
    for name in METHOD_NAMES if method is None else [choose(method, METHOD_NAMES, "method")]:
        for reading, cells in presets.cells(name).items():
            for dataset, ipc in sorted(cells):
                where = {"method": name, "preset": reading, "dataset": dataset, "ipc": ipc}
                yield where | _cell(presets.find(name, dataset, ipc, reading))


def _cell(preset: Preset) -> _Row:
    """A published cell: what all are listed with, what else is not as usual, and the number that was printed."""
    usual = Preset._field_defaults
    others = {k: v for k, v in preset._asdict().items() if k not in _APART and v != usual.get(k, v)}
    settings = {**_unusual(preset.config), **others}
    if preset.generator is not None:
        settings["generator"] = "one that was trained before"
    experts = preset.experts
    recipe = None
    if experts is not None:
        recipe = {"count": experts.count, "epochs": experts.epochs, **experts.network, **_unusual(experts.recipe)}
    listed = {name: getattr(preset, name) for name in _LISTED_AS} | {"network": dict(preset.network)}
    published = None if preset.published is None else preset.published._asdict()
    said = {"published": published, "best_on_test": preset.best_on_test and published is not None}
    return {**listed, "settings": settings, "experts": recipe, **said}


def _unusual(config: Any) -> dict[str, Any]:
    """The fields of a configuration that are not its class's defaults, those of its parts among them."""
    found: dict[str, Any] = {}
    usual = type(config)()
    for field in dataclasses.fields(config):
        value, other = getattr(config, field.name), getattr(usual, field.name)
        if value != other:
            found |= _unusual(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return found


def _tell(kind: str, listed: Sequence[_Row], *, heading: bool) -> None:
    if kind == "cells":
        listed = [_flat_cell(row) for row in listed]
        if not listed:
            print("no cell was published; its settings are ours")
            return
        listed = _without_shared(listed)
    columns = list(dict.fromkeys(name for row in listed for name in row))
    lines = [[_word(row[name]) for name in columns] for row in listed]
    if sys.stdout.isatty():
        title = kind if heading else None
        table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
        table.padding = (0, 1, 0, 0)
        for number, name in enumerate(columns):
            table.add_column(name, overflow="fold", no_wrap=not number)
        for line in lines:
            table.add_row(*map(escape, line))
        Console().print(table)
    else:
        if heading:
            print(f"{kind}:")
        widths = [max(map(len, column)) for column in zip(columns, *lines, strict=True)]
        for line in [columns, *lines]:
            print("  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip())
    if kind in _NOTES:
        print(_NOTES[kind])
    if heading:
        print()


def _without_shared(listed: list[_Row]) -> list[_Row]:
    """Rows without what is the same in all of them, which is printed."""
    first = listed[0]
    same = [name for name, value in first.items() if all(row[name] == value for row in listed)]
    same = [name for name in same if len(listed) > 1 and name not in ("data set", "ipc")]
    said = [f"{name} {_word(first[name])}" for name in same if first[name] and name not in _NUMBERS]
    if "accuracy" in same and not first["accuracy"]:
        said.append("no accuracy that could be verified")
    if said:
        print(f"all: {', '.join(said)}")
    kept = [name for name in first if name not in same or (name in _NUMBERS and first[name])]
    return [{name: row[name] for name in kept} for row in listed]


def _flat_cell(row: _Row) -> _Row:
    published = row["published"] or {}
    return {
        "method": row["method"],
        "preset": row["preset"],
        "data set": row["dataset"],
        "ipc": row["ipc"],
        "accuracy": _percent(published.get("mean")),
        "std": _percent(published.get("std")),
        **{name: row[name] for name in _LISTED_AS if name != "network"},
        "network": _word({"network": "convnet", **row["network"]}).removeprefix("network "),
        "settings": _word(row["settings"]),
        "experts": "" if row["experts"] is None else f"({_word(row['experts'])})",
        "source": published.get("source", "") + "; best of many looks at the test images" * row["best_on_test"],
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _word(value: Any) -> str:
    """One cell of a table."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name.replace('_', '-')} {_word(part) or 'none'}" for name, part in value.items())
    if isinstance(value, (list, tuple)):
        return " ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


_ROWS = {
    "methods": _methods,
    "selections": _selections,
    "networks": _networks,
    "protocols": _protocols,
    "datasets": _datasets,
}
