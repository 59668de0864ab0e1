"""The command line. Exit status 0, 1 for a run that failed, 2 for arguments, data or an output that cannot be used."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from jaxdistill import selection
from jaxdistill.data.source import LISTED
from jaxdistill.errors import UsageError
from jaxdistill.evaluate import PROTOCOLS
from jaxdistill.experts import expert_preset
from jaxdistill.methods import METHOD_NAMES, method_config
from jaxdistill.names import choose
from jaxdistill.networks import NETWORKS
from jaxdistill.run import artifact, commands, compare, export, report
from jaxdistill.run.arguments import MISSING, leading, parse, peek
from jaxdistill.run.config import (
    BasisConfig,
    DataConfig,
    Distill,
    EvaluationConfig,
    NetworkConfig,
    RunConfig,
    Select,
)
from jaxdistill.run.convert import convert
from jaxdistill.run.defaults import like_experts, like_generator, named, stored, unlike
from jaxdistill.run.drive import RunFailedError, say
from jaxdistill.run.experts import fields_of, train_experts
from jaxdistill.run.forms import Convert, Evaluate, Experts, Export, List, Report
from jaxdistill.run.sharding import join
from jaxdistill.run.spelling import spelled
from jaxdistill.run.table import tell

__all__ = ["main"]

USAGE = """Distil, select, judge and share small training sets.

  jaxdistill distill METHOD --dataset D --ipc N --out DIR     make a set with a method: {methods}
  jaxdistill select STRATEGY --dataset D --ipc N --out DIR    pick one: {strategies}
  jaxdistill experts --dataset D --count N --out E            train what mtt and its family match
  jaxdistill evaluate SET [SET ...]                           train fresh networks on sets, random beside them
  jaxdistill convert WEIGHTS --out G                          a generator for minimax of DiT's released weights
  jaxdistill export SET --format npz|torch|folder|tfds --out PATH
  jaxdistill report RUN                                       one self-contained HTML file
  jaxdistill list [--json]                                    methods, strategies, data sets, networks, protocols

For example:

  jaxdistill distill dm --dataset digits --ipc 10 --out runs/first
  jaxdistill distill dm --dataset cifar10 --ipc 10 --data-dir ~/tfds --out runs/dm-cifar --init kmeans
  jaxdistill distill dm --out runs/dm-cifar --resume
  jaxdistill evaluate runs/first --network convnet,mlp,resnet18 --seeds 5

D is digits (built in), an image data set of TFDS by name, an .npz with x_train y_train x_test y_test, or a folder with
one sub-folder per class. SET is a run's folder or its set/ folder. 'jaxdistill COMMAND --help' lists every option."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    console = Console(stderr=True)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        names = {"methods": " ".join(METHOD_NAMES), "strategies": " ".join(selection.SELECTIONS)}
        print(USAGE.format(**names))
        return 0
    name, *rest = arguments
    try:
        COMMANDS[choose(name, COMMANDS, "command")](spelled(rest), console)
        return 0
    except UsageError as error:
        return _complain(error, 2)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        advice = "free some space" if error.errno == errno.ENOSPC else "choose another place"
        return _complain(f"{error.strerror or error}{where}; {advice}", 2)
    except RunFailedError as error:
        return _complain(error, 1)
    except jax.errors.JaxRuntimeError as error:
        advice = f"; where memory ran out, lower {AT_ONCE[name]}" if name in AT_ONCE else ""
        return _complain(str(error).splitlines()[0] + advice, 1)
    except KeyboardInterrupt:
        return _complain("stopped; add --resume to the same command to go on", 1)


def _complain(problem: object, status: int) -> int:
    print("jaxdistill:", " ".join(str(problem).split()), file=sys.stderr)
    return status


def _distill(arguments: list[str], console: Console) -> None:
    name, rest = leading(arguments, "method", list(METHOD_NAMES))
    method = method_config(name)
    defaults = stored(rest, lambda found: isinstance(found, Distill) and type(found.method) is method)
    listed, differ = True, []
    if defaults is None:
        ipc = peek(rest, "--ipc") or ""
        asked = peek(rest, "--preset")
        reading = method.PRESETS[0] if asked is None else asked
        if reading not in method.PRESETS:
            raise UsageError(f"unknown preset '{reading}' of {name}; choose one of {', '.join(method.PRESETS)}")
        preset = method.preset(named(peek(rest, "--dataset")), int(ipc) if ipc.isdecimal() else 1, reading)
        like = like_experts(rest)
        differ = unlike(like, preset)
        defaults = {
            "method": preset.config, "data": DataConfig(MISSING, zca=preset.zca), "run": RunConfig(MISSING),
            "ipc": MISSING, "steps": preset.steps, "seed": 0, "init": preset.init, "augment": preset.augment,
            "preset": reading, "network": NetworkConfig(**preset.network), "basis": BasisConfig(beta=preset.beta),
            "generator": like_generator(rest),
            "evaluation": EvaluationConfig(protocol=preset.protocol, eval_network=preset.eval_network),
            **like,
        }  # fmt: skip
        listed = preset.listed
    example = "--dataset digits --ipc 10 --out runs/first"
    config: Distill = parse(Distill, rest, f"distill {name}", example, defaults)
    console = _begin(config.run, console)
    note = ""
    if not listed:
        note = (
            f"note: there is no published setting of {name} for {config.data.dataset} at ipc {config.ipc}; "
            f"running {config.method} for {config.steps} steps"
        )
    elif differ:
        note = (
            f"note: these experts are not the paper's ({', '.join(differ)}), and so this is not the published setting"
        )
    _show(commands.distill(config, console, note), config.run)


def _experts(arguments: list[str], console: Console) -> None:
    out, preset = peek(arguments, "--out"), peek(arguments, "--preset") or "mtt"
    dataset = named(peek(arguments, "--dataset"))
    papers = expert_preset(preset, dataset)
    data, network = DataConfig(MISSING, zca=dataset in papers.whitened), NetworkConfig(**papers.network)
    defaults = {"data": data, "out": MISSING, "epochs": papers.epochs, "recipe": papers.recipe, "network": network}
    defaults["preset"] = preset
    if "--resume" in arguments and out is not None and Path(out).exists():
        defaults |= fields_of(Path(out))
    config: Experts = parse(Experts, arguments, "experts", "--dataset digits --count 5 --epochs 20 --out E", defaults)
    if config.distributed is not None:
        join(config.distributed)
    quiet = config.quiet or bool(jax.process_index())
    train_experts(config, Console(stderr=True, quiet=True) if quiet else console)
    if not jax.process_index():
        print(config.out)


def _select(arguments: list[str], console: Console) -> None:
    strategy, rest = leading(arguments, "strategy", list(selection.SELECTIONS))
    defaults = stored(rest, lambda found: isinstance(found, Select) and found.strategy == strategy)
    if defaults is None:
        protocol = "krr" if selection.NEEDS[strategy] == "kernel" else EvaluationConfig.protocol
        defaults = {"data": DataConfig(MISSING), "run": RunConfig(MISSING), "ipc": MISSING, **like_experts(rest)}
        defaults["evaluation"] = EvaluationConfig(protocol=protocol)
    defaults = {"strategy": strategy, **defaults}
    config: Select = parse(Select, rest, f"select {strategy}", "--dataset digits --ipc 10 --out runs/core", defaults)
    _show(commands.select_set(config, _begin(config.run, console)), config.run)


def _evaluate(arguments: list[str], console: Console) -> None:
    config: Evaluate = parse(Evaluate, arguments, "evaluate", "runs/first --network convnet,mlp,resnet18")
    if not config.sets or config.seeds < 1:
        raise UsageError("give at least one set or run, and at least one seed")
    results = compare.evaluate_sets(config, console)
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


def _report(arguments: list[str], console: Console) -> None:
    config: Report = parse(Report, arguments, "report", "runs/first")
    say(console, f"wrote {report.write(config.run)}")


def _list(arguments: list[str], console: Console) -> None:
    del console
    config: List = parse(List, arguments, "list", "--json")
    known = {
        "methods": list(METHOD_NAMES),
        "strategies": list(selection.SELECTIONS),
        "datasets": list(LISTED),
        "networks": list(NETWORKS),
        "protocols": list(PROTOCOLS),
        "presets": [f"{name}={'|'.join(c.PRESETS)}" for name, c in METHOD_NAMES.items() if len(c.PRESETS) > 1],
    }
    if config.json:
        print(json.dumps(known, indent=1))
    else:
        print("\n".join(f"{kind:<11} {' '.join(names)}" for kind, names in known.items()))
        print("Any image classification data set of TFDS, an .npz file or a folder of images is a data set too.")


COMMANDS: dict[str, Callable[[list[str], Console], None]] = {
    "distill": _distill,
    "select": _select,
    "experts": _experts,
    "evaluate": _evaluate,
    "convert": _convert,
    "export": _export,
    "report": _report,
    "list": _list,
}
AT_ONCE = {
    "distill": "--classes-at-once or --networks-at-once (with a generator --draw-batch, or give more --blocks)",
    "select": "--networks-at-once",
    "experts": "--experts-at-once",
    "evaluate": "--networks-at-once",
}
"""What a command works on side by side."""


def _begin(run: RunConfig, console: Console) -> Console:
    """Join the other hosts of a pod, and fall silent where another process speaks."""
    if run.distributed is not None:
        join(run.distributed)
    return Console(stderr=True, quiet=True) if run.quiet or jax.process_index() else console


def _show(results: dict[str, Any], run: RunConfig) -> None:
    if jax.process_index():
        return
    if results:
        tell(results)
    print(f"{run.out / 'report.html'}  {run.out / 'set'}")
