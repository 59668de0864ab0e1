"""What the command line says of itself: the commands, what `distill` and `select` choose from, and their options."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
import textwrap
import typing
from collections.abc import Collection, Iterator, Mapping
from textwrap import fill
from typing import Annotated, Any

import tyro

from jaxdistill import selection
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.networks import Options, reads
from jaxdistill.run import cell
from jaxdistill.run.arguments import options, peek
from jaxdistill.run.config import BankConfig, BasisConfig, Distill, EvaluationConfig, GeneratorConfig, NetworkConfig
from jaxdistill.run.listing import GOES_BY, title_of
from jaxdistill.run.needs import Needs, needs
from jaxdistill.selection import NEEDS

__all__ = ["ALL", "ASKS", "distill_help", "field_docs", "methods", "overview", "strategies"]

ASKS = ("-h", "--help")
"""Words that ask for help."""
ALL = "--help-all"
"""What asks for every option that is accepted."""
_FIRST = ("dataset", "ipc", "out", "experts", "generator", "steps", "seed", "init", "augment", "preset")
"""The options that most runs give, in the order in which they are shown; experts and a generator where needed."""
_GROUPS = ("network", "evaluation", "bank", "basis", "generator", "data", "run")
"""The parts of `Distill` after the method's own, in the order in which they are shown; others come last."""
_NAMELESS = "of no particular data set; add --dataset D --ipc N to see those of a published cell or of digits"
_READ_BY = {
    "features": ("features", "feature_epochs"),
    "scores": ("beta", "window_start", "scores", "score_networks", "score_epochs"),
    "outputs": ("feature_epochs",),
    "trials": ("trials", "trial_epochs"),
}
"""Which fields of `BasisConfig` a start reads that goes by this."""
_TAUGHT = ("features", "scores", "outputs", "experts")
"""Starts that read experts, if there are any."""
_USAGE = """Distil, select, judge and share small training sets.

  jaxdistill distill METHOD --dataset D --ipc N --out DIR     make a set with a method: {methods}
  jaxdistill select STRATEGY --dataset D --ipc N --out DIR    pick one: {strategies}
  jaxdistill experts --dataset D --count N --out E            train what mtt and its family match
  jaxdistill evaluate SET [SET ...]                           train fresh networks on sets, random beside them
  jaxdistill convert WEIGHTS --out G                          a generator for minimax of DiT's released weights
  jaxdistill export SET --format npz|torch|folder|tfds --out PATH
  jaxdistill report RUN                                       one self-contained HTML file
  jaxdistill compare RUN [RUN ...] --out page.html            several runs on one page, or their table (.md, .tex)
  jaxdistill list [KIND] [--json]                             methods, selections, networks, protocols, data sets
  jaxdistill list cells METHOD                                the published cells, their settings and accuracies
  jaxdistill completion bash|zsh|fish                         a script for your shell, which completes all of these

For example:

  jaxdistill distill dm --dataset digits --ipc 10 --out runs/first
  jaxdistill distill dm --dataset cifar10 --ipc 10 --data-dir ~/tfds --out runs/dm-cifar --init kmeans
  jaxdistill distill dm --out runs/dm-cifar --resume
  jaxdistill evaluate runs/first --network convnet,mlp,resnet18 --seeds 5

D is digits (built in), an image data set of TFDS by name, an .npz with x_train y_train x_test y_test, or a folder with
one sub-folder per class. SET is a run's folder or its set/ folder. 'jaxdistill COMMAND --help' lists every option."""


def overview() -> str:
    """All commands, with examples."""
    return _USAGE.format(methods=" ".join(METHOD_NAMES), strategies=" ".join(selection.SELECTIONS))


def methods() -> str:
    """What `distill` can be followed by, each method with its paper and what it needs."""
    said = {}
    for name, kind in METHOD_NAMES.items():
        text = (sys.modules[kind.__module__].__doc__ or "").split("\n\n")[0]
        asked = _asked(needs(kind))
        said[name] = f"{text} {asked}" if asked else text
    return _choices("distill METHOD", said)


def _asked(asked: Needs) -> str:
    if asked.experts:
        return "Needs experts: jaxdistill experts --out E, then --experts E."
    if asked.generator:
        return "Needs a generator: jaxdistill distill dit --out G (or convert), then --generator G."
    return "Needs a kernel, which --kernel chooses." if asked.kernel else ""


def strategies() -> str:
    """What `select` can be followed by, each strategy with what it goes by."""
    return _choices("select STRATEGY", {name: f"goes by {GOES_BY[need]}" for name, need in selection.NEEDS.items()})


def _choices(command: str, known: dict[str, str]) -> str:
    widest = max(map(len, known))
    layout = {"width": 110, "subsequent_indent": " " * (widest + 4)}
    lines = [fill(f"  {name:<{widest}}  {' '.join(said.split())}", **layout) for name, said in known.items()]
    usage = f"jaxdistill {command} --dataset D --ipc N --out DIR"
    return "\n".join([usage, "", *lines, "", f"'jaxdistill {command} --help' lists its options."])


def distill_help(method: str, arguments: list[str], defaults: Mapping[str, Any], example: str) -> list[str]:
    """The words that are to be parsed; where they ask for help, it is shown and the program ends.

    Shown are the options that this method reads, and its evaluation and start; all others are accepted too, and
    ``--help-all`` shows them.

    Args:
        method: its name.
        arguments: the words after it.
        defaults: of the fields of `Distill`.
        example: arguments that make sense.
    """
    if ALL in arguments:
        return [*(word for word in arguments if word != ALL), "--help"]
    if not {*arguments} & {*ASKS}:
        return arguments
    kind = METHOD_NAMES[method]
    said = (
        f"{title_of(kind)}. For example: jaxdistill distill {method} {example}\n\n"
        f"Defaults are {_whose(method, arguments, defaults)}.\n\n"
        f"Left out here is what {method}, its start and its evaluation do not read. Other starts (--init forgetting) "
        f"and evaluations read more, which --help shows beside them; {ALL} shows all that is accepted."
    )
    tyro.cli(
        _form(method, kind, defaults, _unread(kind, arguments, defaults)),
        args=["--help"], prog=f"jaxdistill distill {method}", description=said, config=(tyro.conf.OmitArgPrefixes,),
    )  # fmt: skip
    raise SystemExit(0)


def _whose(method: str, arguments: list[str], defaults: Mapping[str, Any]) -> str:
    dataset, ipc = peek(arguments, "--dataset"), peek(arguments, "--ipc")
    if "--resume" in arguments:
        return f"those of the run in {peek(arguments, '--out')}"
    if dataset is None or ipc is None or not ipc.isdecimal():
        return _NAMELESS
    name = cell.named(dataset)
    published = METHOD_NAMES[method].preset(name, int(ipc), defaults["preset"]).listed
    where = f"for {name} at {ipc} images per class"
    return f"the published setting {where}" if published else f"what is taken {where}, where no setting was published"


def _unread(kind: type, arguments: list[str], defaults: Mapping[str, Any]) -> frozenset[str]:
    """Fields of `Distill` and its parts that a method, its start and its evaluation do not look at.

    Args:
        kind: the method's configuration class.
        arguments: what else is given.
        defaults: of the fields of `Distill`.
    """
    asked = needs(kind)
    evaluation = defaults.get("evaluation", EvaluationConfig())
    network = defaults.get("network", NetworkConfig())
    start = NEEDS.get(peek(arguments, "--init") or defaults.get("init", "real"), "nothing")
    protocol = PROTOCOLS.get(peek(arguments, "--protocol") or evaluation.protocol)
    names = (
        peek(arguments, "--network") or network.network,
        peek(arguments, "--eval-network"),
        evaluation.eval_network,
    )
    unread = {*_fields(BasisConfig)} - {*_READ_BY.get(start, ())}
    if not asked.experts and start not in _TAUGHT and peek(arguments, "--experts") is None:
        unread |= {*_fields(BankConfig)}
    if asked.draws:
        unread.add("init")
    else:
        unread |= {*_fields(GeneratorConfig)}
    if not (asked.kernel or start == "kernel" or hasattr(protocol, "kernel")):
        unread.add("kernel")
    if asked.kernel and protocol is not None and protocol.instead is not None:
        unread |= {*_fields(NetworkConfig)} - {"kernel"} | {"eval_network"}
    had = {field for name in names for one in (name or "").split(",") if one for field in reads(one.strip())}
    unread |= {*Options._fields} - had
    if len(getattr(kind, "PRESETS", ())) < 2:
        unread.add("preset")
    return frozenset(unread)


def _fields(kind: type) -> Iterator[str]:
    return (name for name, _ in options(kind))


def _form(method: str, kind: type, defaults: Mapping[str, Any], unread: Collection[str]) -> type:
    """A dataclass of the fields that are shown: the first ones, then a group for each part."""
    own, asked = {*_fields(kind)}, needs(kind)
    lacking = {"experts": not asked.experts, "generator": not asked.generator}
    first = {name for name in _FIRST if name not in own and not lacking.get(name)}
    groups: dict[str, list[tuple[str, Any, Any]]] = {"": [], method: [], **{name: [] for name in _GROUPS}}
    for group, name, hint, default, doc in _shown(Distill, defaults, ""):
        if name in unread and name not in own:
            continue
        where = "" if name in first else method if group == "method" else group
        field = (name, Annotated[hint, tyro.conf.arg(help=doc)], dataclasses.field(default=default))
        groups.setdefault(where, []).append(field)
    order = {name: number for number, name in enumerate(_FIRST)}
    top = sorted(groups.pop(""), key=lambda field: order.get(field[0], len(order)))
    parts = []
    for name, fields in groups.items():
        if fields:
            part = dataclasses.make_dataclass(name, fields, frozen=True)
            part.__doc__ = _about(name, kind) or name
            taken = name in [field[0] for field in top]
            parts.append((f"other_{name}" if taken else name, part, dataclasses.field(default=part())))
    return dataclasses.make_dataclass("Shown", [*top, *parts], frozen=True, kw_only=True)


def _shown(kind: type, defaults: Mapping[str, Any], group: str) -> Iterator[tuple[str, str, Any, Any, str]]:
    """Group, name, type, default and explanation of each option, those of parts among them."""
    hints, docs = typing.get_type_hints(kind, include_extras=True), field_docs(kind)
    known = {name for name, _ in options(kind)}
    for field in dataclasses.fields(kind):
        hint, default = hints[field.name], defaults.get(field.name, _default(field))
        if hint is Any or dataclasses.is_dataclass(hint):
            yield from _shown(type(default), vars(default), group or field.name)
        elif field.name in known:
            yield group, field.name, hint, default, docs[field.name]


def _about(group: str, kind: type) -> str:
    """What stands over a group: the docstring of the part."""
    parts = typing.get_type_hints(Distill)
    return inspect.getdoc(parts.get(group, kind)) or ""


def field_docs(kind: type) -> dict[str, str]:
    """What stands below each field of a dataclass or of one that it inherits from, in one line."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            (body,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
            statements = typing.cast(ast.ClassDef, body).body
            for field, below in zip(statements, [*statements[1:], None], strict=True):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    text = below.value if isinstance(below, ast.Expr) else None
                    said = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
                    found[field.target.id] = " ".join(said.split())
    return found


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return tyro.MISSING if field.default is dataclasses.MISSING else field.default
