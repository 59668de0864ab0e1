"""The help of `distill METHOD` and `select STRATEGY`: the options that are read there, the usual ones first."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import textwrap
import typing
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import tyro

from jaxdistill.cli.help import ASKS
from jaxdistill.cli.listing import title_of
from jaxdistill.cli.parsing import options, peek
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.networks import Options, members, reads
from jaxdistill.presets import find, readings
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.base import OF_WINDOW, ByScore, Need
from jaxdistill.settings import cell
from jaxdistill.settings.config import (
    OF_RECIPE,
    BankConfig,
    BasisConfig,
    Distill,
    EvaluationConfig,
    GeneratorConfig,
    NetworkConfig,
    Select,
)
from jaxdistill.settings.needs import Needs, needs
from jaxdistill.settings.starts import STARTS, needs_of
from jaxdistill.settings.unread import COVERED, OF_FOLDERS, RESELECTING, STEPPED

__all__ = ["ALL", "distill_help", "field_docs", "select_help"]

ALL = "--help-all"
"""What asks for every option that is accepted."""
_FIRST = ("dataset", "ipc", "out", "experts", "generator", "steps", "seed", "init", "augment", "preset")
"""The options that most runs give, in the order in which they are shown; experts and a generator where needed."""
_GROUPS = ("method", "basis", "network", "evaluation", "bank", "generator", "data", "run")
"""The parts of `Distill` and `Select` in the order in which they are shown; others come last."""
_NAMELESS = "of no particular data set; add --dataset D --ipc N to see those of a published cell or of digits"


def distill_help(method: str, arguments: list[str], defaults: Mapping[str, Any], example: str) -> list[str]:
    """The words that are to be parsed; where they ask for help, it is shown and the program ends.

    Shown are the options that this method, its evaluation and its start read; all others are accepted too, and
    ``--help-all`` shows them.

    Args:
        method: its name.
        arguments: the words after it.
        defaults: of the fields of `Distill`.
        example: arguments that make sense.
    """
    kind = METHOD_NAMES[method]
    if not _asked(arguments):
        return _all(arguments)
    init = peek(arguments, "--init") or defaults.get("init", "real")
    asked, start = needs(kind), needs_of(init)
    unread = {"init"} if asked.draws else {*_fields(GeneratorConfig)}
    if len(readings(kind)) < 2:
        unread.add("preset")
    keeps = getattr(kind, "update_share", 1.0) != 1 or peek(arguments, "--update-share") is not None
    if not keeps:
        unread.add("eval_combined")  # nothing of the set stays real
    if not hasattr(kind, "factor"):
        unread.add("eval_equal_compute")  # there are no tiles
    unread |= _unread(asked, start, arguments, defaults)
    if keeps and init in STARTS and STARTS[init].real and not start.ordered:  # a score says which images are kept
        unread -= (ByScore.options - OF_WINDOW) | {*_fields(BankConfig)}
    other = "Other evaluations" if asked.draws else "Other starts (--init forgetting) and evaluations"
    said = (
        f"{title_of(kind)}. For example: jaxdistill distill {method} {example}\n\n"
        f"Defaults are {_whose(method, arguments, defaults)}.\n\n"
        f"Left out here is what {method}, its start and its evaluation do not read. {other} read more, which --help "
        f"shows beside them; {ALL} shows all that is accepted."
    )
    _show(f"distill {method}", Distill, said, defaults, unread, asked)
    raise SystemExit(0)


def select_help(strategy: str, arguments: list[str], defaults: Mapping[str, Any], example: str) -> list[str]:
    """As `distill_help`, of a selection.

    Args:
        strategy: its name.
        arguments: the words after it.
        defaults: of the fields of `Select`.
        example: arguments that make sense.
    """
    if not _asked(arguments):
        return _all(arguments)
    need = SELECTIONS[strategy].needs
    asked = Needs(experts=need.requires_experts)
    said = (
        f"A core-set by {strategy}, which goes by {need.words}. For example: jaxdistill select {strategy} {example}"
        f"\n\nLeft out here is what {strategy} and its evaluation do not read; {ALL} shows all that is accepted."
    )
    unread = {*STEPPED, "parallel_classes", "eval_equal_compute"} | _unread(asked, need, arguments, defaults)
    if SELECTIONS[strategy].budgets == "ipc":
        unread |= {"unbalanced"}
    unread |= frozenset() if need.reselects else RESELECTING
    _show(f"select {strategy}", Select, said, defaults, unread, asked)
    raise SystemExit(0)


def _asked(arguments: list[str]) -> bool:
    return bool({*arguments} & {*ASKS}) and ALL not in arguments


def _all(arguments: list[str]) -> list[str]:
    """The words by which the parser shows all options, where they ask for that."""
    return [ASKS[-1] if word == ALL else word for word in arguments]


def _whose(method: str, arguments: list[str], defaults: Mapping[str, Any]) -> str:
    dataset, ipc = peek(arguments, "--dataset"), peek(arguments, "--ipc") or ""
    if "--resume" in arguments:
        return f"those of the run in {peek(arguments, '--out')}"
    if dataset is None or not ipc.isdecimal() or not int(ipc):
        return _NAMELESS
    name = cell.named(dataset, peek(arguments, "--classes"))
    published = find(method, name, int(ipc), defaults["preset"]).listed
    where = f"for {name} at {ipc} images per class"
    return f"the published setting {where}" if published else f"what is taken {where}, where no setting was published"


def _unread(asked: Needs, start: Need, arguments: list[str], defaults: Mapping[str, Any]) -> frozenset[str]:
    """Fields of a command's parts that are not looked at.

    Args:
        asked: what a method needs.
        start: what its start, or the selection, goes by.
        arguments: what else is given.
        defaults: of the command's fields.
    """
    evaluation = defaults.get("evaluation", EvaluationConfig())
    network = defaults.get("network", NetworkConfig())
    protocol = PROTOCOLS.get(peek(arguments, "--protocol") or evaluation.protocol)
    judges = peek(arguments, "--eval-network") or evaluation.eval_network or ""
    names = members(f"{peek(arguments, '--network') or network.network},{judges}")
    unread = {*_fields(BasisConfig)} - start.options
    dataset = peek(arguments, "--dataset")
    if dataset is None or not Path(dataset).is_dir():
        unread |= OF_FOLDERS | (set() if evaluation.eval_size else {"eval_size"})
    if "--coverage" not in arguments:
        unread |= COVERED
    if not asked.experts and not start.takes_experts and peek(arguments, "--experts") is None:
        unread |= {*_fields(BankConfig)}
    if not (asked.kernel or start.by_kernel or hasattr(protocol, "kernel")):
        unread.add("kernel")
    unread |= {option for option, name in OF_RECIPE.items() if not hasattr(protocol, name)}
    if protocol is not None and protocol.learner != "network":
        unread.add("eval_network")
        if asked.kernel or start.by_kernel:
            unread |= {*_fields(NetworkConfig)} - {"kernel"}
    had = {field for name in names for field in reads(name)}
    return frozenset(unread | ({*Options._fields} - had))


def _fields(kind: type) -> Iterator[str]:
    return (name for name, _ in options(kind))


def _show(
    command: str, form: type, said: str, defaults: Mapping[str, Any], unread: Collection[str], asked: Needs
) -> None:
    """Print the help of a command without what is not read.

    Args:
        command: the command and what it is of.
        form: the dataclass of its options.
        said: what stands above them.
        defaults: of the form's fields.
        unread: the fields that are left out; a method's own never are.
        asked: what is needed, and stands among the first.
    """
    lacking = {"experts": not asked.experts, "generator": not asked.generator}
    first = [name for name in _FIRST if not lacking.get(name)]
    groups: dict[str, list[tuple[str, Any, Any]]] = {"": [], **{name: [] for name in _GROUPS}}
    for group, name, hint, default, doc in _shown(form, defaults, ""):
        if group == "method" or name not in unread:
            where = "" if name in first and group != "method" else group
            field = (name, Annotated[hint, tyro.conf.arg(help=doc)], dataclasses.field(default=default))
            groups.setdefault(where, []).append(field)
    top = sorted(groups.pop(""), key=lambda field: first.index(field[0]) if field[0] in first else len(first))
    parts, taken = [], {field[0] for field in top}
    for name, fields in groups.items():
        if fields:
            part = dataclasses.make_dataclass(name, fields, frozen=True)
            part.__doc__ = _about(form, name, defaults)
            title = command.rpartition(" ")[2] if name == "method" else f"other_{name}" if name in taken else name
            parts.append((title, part, dataclasses.field(default=part())))
    shown = dataclasses.make_dataclass("Shown", [*top, *parts], frozen=True, kw_only=True)
    tyro.cli(
        shown, args=[ASKS[-1]], prog=f"jaxdistill {command}", description=said, config=(tyro.conf.OmitArgPrefixes,)
    )


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


def _about(form: type, group: str, defaults: Mapping[str, Any]) -> str:
    """What stands over a group: the docstring of the part."""
    hint = typing.get_type_hints(form).get(group)
    return inspect.getdoc(hint if dataclasses.is_dataclass(hint) else type(defaults[group])) or ""


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
