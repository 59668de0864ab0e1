"""The command line. Exit status 0, 1 for a run that failed, 2 for arguments, data or an output that cannot be used."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from jaxdistill import __version__
from jaxdistill.cli import completion, listing
from jaxdistill.cli.browser import show
from jaxdistill.cli.help import ASKS, methods, overview, strategies
from jaxdistill.cli.method_help import distill_help, select_help
from jaxdistill.cli.parsing import MISSING, flagged, hinted, leading, options, parse, peek, refuse_empty, stored
from jaxdistill.cli.spelling import evaluation_spelled, newly_named, spelled
from jaxdistill.commands import distill as distilling
from jaxdistill.commands import evaluate as compare
from jaxdistill.commands import select as selecting
from jaxdistill.commands.conversion import convert
from jaxdistill.commands.several import make_sets
from jaxdistill.commands.train_experts import fields_of, train_experts
from jaxdistill.common.names import canonical, choose
from jaxdistill.common.promotion import usual
from jaxdistill.engine.devices import begin
from jaxdistill.engine.drive import RunFailedError, say
from jaxdistill.engine.signals import terminable
from jaxdistill.errors import UsageError
from jaxdistill.io import artifact, export, files
from jaxdistill.io.generators import generator_card
from jaxdistill.io.joined import joined
from jaxdistill.methods import METHOD_NAMES, method_config
from jaxdistill.report import comparison
from jaxdistill.report import page as report
from jaxdistill.report.summary import tell
from jaxdistill.report.tables import SUFFIXES, Table, check_out, written
from jaxdistill.selection import SELECTIONS
from jaxdistill.settings import cell
from jaxdistill.settings.config import Distill, RunConfig, Select
from jaxdistill.settings.defaults import OF_NETWORKS, of_distill, of_experts, of_select
from jaxdistill.settings.options import Compare, Completion, Convert, Evaluate, Experts, Export, Join, List, Report
from jaxdistill.settings.unread import check_experts_read, given

__all__ = ["command", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    console = Console(stderr=True)
    if not arguments or arguments[0] in (*ASKS, "help"):
        print(overview())
        return 0
    if arguments[0] == "--version":
        print(f"jaxdistill {__version__}, jax {jax.__version__}")
        return 0
    name, *rest = arguments
    try:
        name = choose(name, (*COMMANDS, *SHORT), "command")
        if name in SHORT:
            name, rest = "distill", SHORT[name](rest)
        forms, notes = _forms(name, rest), list[str]()
        rest = spelled(newly_named(evaluation_spelled(rest, *forms), notes.append, *forms))
        refuse_empty(rest)
        with usual(), terminable():
            COMMANDS[name](rest, console)
        for note in () if "--quiet" in rest else notes:
            say(console, note)
        sys.stdout.flush()  # here a closed pipe is told
        return 0
    except UsageError as error:
        forms = _forms(name, rest)
        return _complain(hinted(flagged(str(error), *forms), *forms, others=_others(name)), 2)
    except BrokenPipeError:  # by head, say, which has seen enough
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        advice = "free some space" if error.errno == errno.ENOSPC else "choose another place"
        return _complain(f"{error.strerror or error}{where}; {advice}", 2)
    except RunFailedError as error:
        return _complain(error, 1)
    except jax.errors.JaxRuntimeError as error:
        if not re.search("RESOURCE_EXHAUSTED|out of memory", str(error), re.IGNORECASE):
            raise
        advice = f"; memory ran out: lower {AT_ONCE[name]}" if name in AT_ONCE else ""
        return _complain(str(error).splitlines()[0] + advice, 1)
    except KeyboardInterrupt:
        out = peek(rest, "--out")  # gone where there is nothing to go on from
        resumes = any(field == "resume" for form in _forms(name, rest) for field, _ in options(form))
        goes_on = resumes and out is not None and Path(out).exists()
        return _complain(f"stopped; {'add --resume to the same command to go on' if goes_on else 'nothing is kept'}", 1)


def command() -> None:
    """The program: what `main` does, with its status; where output is ASCII alone, other signs are question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    status = main()
    if status == 1:  # threads that still compute would crash an interpreter that is taken down around them
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def _complain(problem: object, status: int) -> int:
    print("jaxdistill:", " ".join(str(problem).split()), file=sys.stderr)
    return status


def _forms(command: str, arguments: list[str]) -> list[type]:
    """The dataclasses whose fields are a command's options."""
    form = FORMS.get(command)
    method = METHOD_NAMES.get(canonical(arguments[0], METHOD_NAMES)) if form is Distill and arguments else None
    return [kind for kind in (form, method) if kind is not None]


def _others(command: str) -> dict[str, list[type]]:
    """The forms of the other commands; those of each method that makes sets beside its own."""
    found = {name: [form] for name, form in FORMS.items() if name != command}
    return found | {f"distill {name}": [method] for name, method in METHOD_NAMES.items()}


def _ipc(arguments: list[str]) -> int | None:
    """Images per class, by which defaults go; None for what the parser will refuse."""
    word = peek(arguments, "--ipc") or ""
    return int(word) if word.isdecimal() and len(word) < 10 else None


def _named(arguments: list[str]) -> str:
    """What the data set is called, by which defaults go."""
    return cell.named(peek(arguments, "--dataset"), peek(arguments, "--classes"))


def _distill(arguments: list[str], console: Console) -> None:
    if not arguments or arguments[0] in ASKS:
        return print(methods())
    name, rest = leading(arguments, "method", list(METHOD_NAMES), {"select": list(SELECTIONS)})
    method = method_config(name)
    defaults = stored(rest, lambda found: isinstance(found, Distill) and type(found.method) is method)
    if defaults is None:
        generator, bank = peek(rest, "--generator"), peek(rest, "--experts")
        defaults = of_distill(
            method, peek(rest, "--preset"), MISSING, _named(rest), _ipc(rest) or 1,
            experts=None if bank is None else fields_of(Path(bank)),
            generator=None if generator is None else generator_card(Path(generator)),
            asked={field: peek(rest, f"--{field.replace('_', '-')}") for field in OF_NETWORKS},
        )  # fmt: skip
        steps = MISSING if defaults["steps"] is None else defaults["steps"]
        defaults |= {"run": RunConfig(MISSING), "ipc": MISSING, "steps": steps}
    example = "--dataset digits --ipc 10 --out runs/first"
    rest = distill_help(name, rest, defaults, example)
    config: Distill = parse(Distill, rest, f"distill {name}", example, defaults)
    console = _begin(config.run, console)
    _make(distilling.distill, config, console, given(config, defaults))


def _draw(arguments: list[str]) -> list[str]:
    """A set of a generator that is there is what `distill dit` draws of it after no step."""
    if not arguments or arguments[0] in ASKS:
        return ["dit", *ASKS[-1:]]
    if arguments[0].startswith("-"):
        raise UsageError("name the generator first: jaxdistill draw G --dataset D --ipc N --out DIR")
    return ["dit", "--generator", arguments[0], "--steps", "0", *arguments[1:]]


def _experts(arguments: list[str], console: Console) -> None:
    out, preset = peek(arguments, "--out"), peek(arguments, "--preset") or "mtt"
    defaults = of_experts(preset, MISSING, _named(arguments), _ipc(arguments))
    defaults["out"] = MISSING
    if "--resume" in arguments and out is None:
        raise UsageError("--resume goes on with the bank in --out; give that too")
    if out is not None and "--resume" in arguments and Path(out).exists():
        defaults |= fields_of(Path(out))
    config: Experts = parse(Experts, arguments, "experts", "--dataset digits --count 5 --epochs 20 --out E", defaults)
    check_experts_read(config, given(config, defaults))
    begin(config.distributed, partial(say, console))
    quiet = config.quiet or bool(jax.process_index())
    train_experts(config, Console(stderr=True, quiet=True) if quiet else console)
    if not jax.process_index():
        print(config.out)


def _select(arguments: list[str], console: Console) -> None:
    if not arguments or arguments[0] in ASKS:
        return print(strategies())
    strategy, rest = leading(arguments, "strategy", list(SELECTIONS), {"distill": list(METHOD_NAMES)})
    defaults = stored(rest, lambda found: isinstance(found, Select) and found.strategy == strategy)
    if defaults is None:
        bank = peek(rest, "--experts")
        defaults = of_select(strategy, MISSING, _named(rest), None if bank is None else fields_of(Path(bank)))
        defaults |= {"run": RunConfig(MISSING), "ipc": MISSING if peek(rest, "--share") is None else None}
    defaults = {"strategy": strategy, **defaults}
    example = "--dataset digits --ipc 10 --out runs/core"
    rest = select_help(strategy, rest, defaults, example)
    config: Select = parse(Select, rest, f"select {strategy}", example, defaults)
    _make(selecting.select_set, config, _begin(config.run, console), given(config, defaults))


def _evaluate(arguments: list[str], console: Console) -> None:
    config: Evaluate = parse(Evaluate, arguments, "evaluate", "runs/first --network convnet,mlp,resnet18")
    if config.out is not None:
        check_out(config.out, SUFFIXES)
    begin(None, partial(say, console))
    results = compare.evaluate_sets(config, console)
    if config.out is not None:
        config.out.parent.mkdir(parents=True, exist_ok=True)
        files.write_text(config.out, written(Table(results["rows"]), config.out.suffix))
        say(console, f"wrote {config.out}")
    if config.json:
        print(json.dumps(results, indent=1))
    else:
        tell(results)


def _convert(arguments: list[str], console: Console) -> None:
    example = "DiT-XL-2-256.safetensors --autoencoder sd-vae-ft-ema.safetensors --out runs/dit-xl"
    config: Convert = parse(Convert, arguments, "convert", example)
    convert(config)
    say(console, f"wrote {config.out}")


def _export(arguments: list[str], console: Console) -> None:
    config: Export = parse(Export, arguments, "export", "runs/first --format torch --out first.safetensors")
    export.export(artifact.load_set(config.set), config.format, config.out, decoded=config.decoded)
    say(console, f"wrote {config.out}")


def _join(arguments: list[str], console: Console) -> None:
    config: Join = parse(Join, arguments, "join", "runs/phase0 runs/phase1 --out runs/whole")
    if config.out.exists():
        raise UsageError(f"{config.out} exists; choose another --out")
    joined({str(path): artifact.load_set(path) for path in config.sets}).save(config.out)
    say(console, f"wrote {config.out}")


def _report(arguments: list[str], console: Console) -> None:
    config: Report = parse(Report, arguments, "report", "runs/first")
    path = report.write(config.run)
    say(console, f"wrote {path}")
    if config.open:
        show(path, console)


def _compare(arguments: list[str], console: Console) -> None:
    config: Compare = parse(Compare, arguments, "compare", "runs/first runs/core --out comparison.html")
    if config.out is not None:
        check_out(config.out, comparison.SUFFIXES)
    runs = comparison.compared(config.runs)
    if config.out is not None:
        comparison.write(runs, config.out)
        say(console, f"wrote {config.out}")
    table = comparison.table_of(runs)
    print(table)
    for name, run in runs.items():
        if not run.rows:
            print(f"{name}: not evaluated{'' if run.card else ', it has not finished'}")


def _list(arguments: list[str], console: Console) -> None:
    del console
    config: List = parse(List, arguments, "list", "cells dm")
    listing.tell_list(config.kind, config.method, as_json=config.json)


def _completion(arguments: list[str], console: Console) -> None:
    del console
    config: Completion = parse(Completion, arguments, "completion", "bash")
    print(completion.script(config.shell, FORMS | dict.fromkeys(SHORT, Distill)), end="")


COMMANDS: dict[str, Callable[[list[str], Console], None]] = {
    "distill": _distill,
    "select": _select,
    "experts": _experts,
    "evaluate": _evaluate,
    "convert": _convert,
    "export": _export,
    "join": _join,
    "report": _report,
    "compare": _compare,
    "list": _list,
    "completion": _completion,
}
SHORT: dict[str, Callable[[list[str]], list[str]]] = {"draw": _draw}
"""Command -> the words after `distill` that it is short for."""
FORMS: dict[str, type] = {
    "distill": Distill,
    "select": Select,
    "experts": Experts,
    "evaluate": Evaluate,
    "convert": Convert,
    "export": Export,
    "join": Join,
    "report": Report,
    "compare": Compare,
    "list": List,
    "completion": Completion,
}
"""What each command's options are fields of; those of a method are its configuration's too."""
AT_ONCE = {
    "distill": "--parallel-classes or --parallel-networks (with a generator --draw-batch, or give more --microbatches)",
    "select": "--parallel-networks",
    "experts": "--parallel-experts",
    "evaluate": "--parallel-networks",
}
"""What a command works on side by side."""


def _begin(run: RunConfig, console: Console) -> Console:
    """Find the devices, the other hosts of a pod with theirs, and fall silent where another process speaks."""
    begin(run.distributed, partial(say, console))
    return Console(stderr=True, quiet=True) if run.quiet or jax.process_index() else console


def _make(
    command: Callable[..., dict[str, Any]], config: Distill | Select, console: Console, options: frozenset[str]
) -> None:
    """Make a set, or several, and print what came out."""
    run = config.run
    several = run.sets > 1
    options -= {"sets"}
    results = (
        make_sets(config, lambda one: command(one, console, options)) if several else command(config, console, options)
    )
    if jax.process_index():
        return
    if results:
        tell(results)
    for folder in [run.out / f"{i + 1:02d}" for i in range(run.sets)] if several else [run.out]:
        print(f"{folder / 'report.html'}  {folder / 'set'}")
