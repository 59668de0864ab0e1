"""Commands for a reader of a report: the one that makes the run again, and some to try next."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from jaxdistill.errors import UsageError
from jaxdistill.evaluation import dsa_recipe
from jaxdistill.presets import reading_of, readings
from jaxdistill.presets.base import Preset
from jaxdistill.report.html import here
from jaxdistill.report.outcome import Outcome
from jaxdistill.report.tables import told_apart
from jaxdistill.settings import cell
from jaxdistill.settings.as_json import from_json, to_json
from jaxdistill.settings.config import Distill, OwnMethod, RunConfig, Select
from jaxdistill.settings.defaults import of_select

__all__ = ["Advice", "again", "preset_of", "to_try"]

_UNSAID = frozenset({"command", "strategy", "name", "digest", "digests", "generator_digest"})
"""Fields that are no option."""
_WIDTH = 76
_SIZES = (1, 10, 50)
_JUDGES = ("convnet", "mlp", "resnet18")
_MORE_NETWORKS = 20


class Advice(NamedTuple):
    """A command, and what it is good for."""

    title: str
    command: str


def preset_of(config: dict[str, Any]) -> Preset | None:
    """The preset of the cell of a run by its config.json; None of a selection, or of what this version cannot read."""
    found = _known(config)
    return cell.preset_of(found) if isinstance(found, Distill) else None


def again(config: dict[str, Any]) -> str:
    """The command line that gives a configuration: data set, size, and the options that it would not take by itself.

    Of another version's file, or of data that are no longer there and whose name the presets go by, all are given.
    """
    if _own(config):
        arguments = [f"{name}={config[name]}" for name in ("ipc", "steps", "seed")]
        return f"jaxdistill.distill({_name(config)}, data, {', '.join(arguments)})"
    known, dataset = _known(config), config["data"]["dataset"]
    said = {**config, "data": {name: value for name, value in config["data"].items() if name != "dataset"}}
    del said["ipc"]
    if known is not None and (not os.path.isabs(dataset) or os.path.exists(dataset)):
        usual = to_json(_by_itself(known))
        options = _flags(_changed(said, usual, _made_before(known)), nothing=True)
    else:
        options = _flags(said)
    named = [("dataset", shlex.quote(dataset))]
    if config.get("share") is None:  # which else says the size, among the options
        named.append(("ipc", str(config["ipc"])))
    return _wrapped(["jaxdistill", config["command"], _name(config)], [*named, *options, ("out", "DIR")])


def to_try(run: Outcome) -> Iterator[Advice]:
    """What fits this run: how to end it, or how to judge it better and what to compare it with."""
    name, folder = run.method, here(run.folder)
    if not run.card:
        resumed = ["jaxdistill", run.config["command"], name, "--out", folder, "--resume"]
        yield Advice("Go on where it stands", shlex.join(resumed))
        return
    judged = list(dict.fromkeys(row["network"] for row in run.rows))
    evaluate = ["jaxdistill", "evaluate", folder]
    if not judged:
        yield Advice("Judge it, random images beside it", shlex.join(evaluate))
    elif _unclear(run):
        more = shlex.join([*evaluate, "--seeds", str(_MORE_NETWORKS)])
        yield Advice("More networks, to tell it from random images", more)
    elif len(judged) == 1 and run.evaluation.get("protocol", {}).get("kernel") is None:
        networks = ",".join(dict.fromkeys((judged[0], *_JUDGES)))
        yield Advice("Other networks: is it good for them too?", shlex.join([*evaluate, "--network", networks]))
    ipc = next((size for size in _SIZES if size > run.config["ipc"]), 2 * run.config["ipc"])
    if not _own(run.config):
        yield Advice("More images per class", _begun(run, run.config["command"], name, ipc)[0])
    other = ("select", "herding") if run.config["command"] == "distill" else ("distill", "dm")
    command, out = _begun(run, *other, run.config["ipc"])
    beside = shlex.join(["jaxdistill", "compare", folder, out, "--out", os.path.join(_beside(run), "comparison.html")])
    yield Advice("Another way, and both on one page", f"{command}\n{beside}")


def _unclear(run: Outcome) -> bool:
    """Whether the first set cannot be told from random."""
    first = run.rows[0]
    beside = [row for row in run.rows[1:] if row["network"] == first["network"]]
    return bool(beside) and not told_apart(first, beside[-1])


def _beside(run: Outcome) -> str:
    return os.path.dirname(here(run.folder))


def _begun(run: Outcome, command: str, name: str, ipc: int) -> tuple[str, str]:
    """A command that makes another set of the same data, and its folder."""
    config, data = run.config, run.config["data"]
    out = os.path.join(_beside(run), f"{name}-{Path(data['dataset']).stem}-{ipc}")
    options = [("dataset", data["dataset"]), ("data-dir", data.get("data_dir")), ("ipc", ipc)]
    judged = _part(config, "evaluation")
    if command == config["command"]:
        made = _part(config, "bank") | _part(config, "generator") | _part(config, "network")
        options += [(part, made.get(part)) for part in ("experts", "generator", "kernel")]
    elif judged.get("protocol") != dsa_recipe(
        cell.named(data["dataset"], data.get("classes"))
    ):  # so that both are judged alike
        kernel = _part(config, "network").get("kernel")
        options += [("protocol", judged.get("protocol")), ("kernel", kernel)]
    options.append(("eval-epochs", judged.get("eval_epochs")))
    said = {flag: shlex.quote(str(value)) for flag, value in options if value is not None}
    also = ("basis", "method", "unbalanced") if command == config["command"] else ()
    for flag, text in _chosen(config, also):
        said.setdefault(flag, text)
    return _wrapped(["jaxdistill", command, name], [*said.items(), ("out", shlex.quote(out))]), out


def _chosen(config: dict[str, Any], also: tuple[str, ...]) -> list[tuple[str, str]]:
    """Options that were chosen for a run, of data, network and evaluation, which another run should share.

    Args:
        config: of the run.
        also: what of its other fields are shared, too.
    """
    known = _known(config)
    if known is None:
        return []
    changed = _changed(config, to_json(_by_itself(known)), _made_before(known))
    shared = ("data", "network", "evaluation", *also)
    return list(_flags({name: changed[name] for name in shared if changed.get(name)}))


def _part(config: dict[str, Any], name: str) -> dict[str, Any]:
    """A group of options; empty where another version had none."""
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _own(config: dict[str, Any]) -> bool:
    """Whether the method is one that a caller brought, which no command knows."""
    return bool(config.get("method", {}).get("own"))


def _name(config: dict[str, Any]) -> str:
    return config.get("strategy") or config["method"]["name"]


def _known(config: dict[str, Any]) -> Distill | Select | None:
    """The configuration, where this version knows all that it says."""
    try:
        found = from_json(config, RunConfig(Path("DIR")))
    except UsageError:
        return None
    if isinstance(found, Distill) and isinstance(found.method, OwnMethod):
        return None
    known = isinstance(found, Select) or found.preset in (None, *readings(type(found.method)))
    return found if known else None


def _by_itself(config: Distill | Select) -> Distill | Select:
    """What the command would do if it were told data, size and what was made before, but nothing else."""
    dataset = config.data.dataset
    if isinstance(config, Select):
        name = cell.named(dataset, config.data.classes)
        return Select(**of_select(config.strategy, dataset, name), run=config.run, ipc=config.ipc)
    usual = cell.fields(cell.preset_of(config), dataset)
    if usual["steps"] is None:  # which are always to be told, then
        usual["steps"] = config.steps + 1
    reading = None if config.preset is None else reading_of(type(config.method), None)
    return Distill(**{**usual, "run": config.run, "ipc": config.ipc, "preset": reading})


def _made_before(config: Distill | Select) -> dict[str, frozenset[str]]:
    """Groups of fields in which experts or a generator that are given have a say, so that what is usual is not known:
    those of which all is to be told, and those of which nothing is, for it cannot be otherwise."""
    told, known = set(), set()
    if config.bank.experts is not None:
        told |= {"data", "network"}
    if isinstance(config, Distill) and config.generator.generator is not None:
        told |= {"sampling", "evaluation"}
        known |= {"architecture"}
    return {"told": frozenset(told), "known": frozenset(known)}


def _changed(config: dict[str, Any], usual: dict[str, Any], made: dict[str, frozenset[str]]) -> dict[str, Any]:
    """What a configuration says otherwise than usual."""
    found = {}
    for name, value in config.items():
        if name in made["told"]:
            found[name] = {part: one for part, one in value.items() if one is not None}
        elif isinstance(value, dict) and name not in made["known"]:
            found[name] = _changed(value, usual.get(name, {}), made)
        elif not isinstance(value, dict) and (name not in usual or value != usual[name]):
            found[name] = value
    return found


def _flags(config: dict[str, Any], *, nothing: bool = False) -> Iterator[tuple[str, str]]:
    """Options in the order of the configuration, each with its value as one types it.

    Args:
        config: nested fields.
        nothing: give those that are None too, rather than take them for not given.
    """
    for name, value in config.items():
        flag = name.replace("_", "-")
        if name in _UNSAID:
            continue
        if isinstance(value, dict):
            yield from _flags(value, nothing=nothing)
        elif isinstance(value, bool):
            yield (flag if value else f"no-{flag}"), ""
        elif isinstance(value, list):
            if value:
                yield flag, shlex.join(map(str, value))
        elif value is not None or nothing:
            yield flag, shlex.quote(str(value))


def _wrapped(words: list[str], options: list[tuple[str, str]]) -> str:
    """A command line, a few options to a line."""
    lines = [shlex.join(words)]
    for name, text in options:
        flag = f"--{name} {text}".rstrip()
        if len(lines[-1]) + len(flag) < _WIDTH:
            lines[-1] += f" {flag}"
        else:
            lines.append(f"    {flag}")
    return " \\\n".join(lines)
