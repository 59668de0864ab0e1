"""Scripts by which a shell completes commands, methods, options and names."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jaxdistill.cli.listing import KINDS
from jaxdistill.cli.method_help import field_docs
from jaxdistill.cli.parsing import options
from jaxdistill.common import names
from jaxdistill.data.imagenet import SUBSETS
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.kernels import KERNELS
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.networks import NETWORKS, POOLS
from jaxdistill.presets import readings
from jaxdistill.presets.experts import EXPERTS
from jaxdistill.selection import SELECTIONS
from jaxdistill.settings.starts import STARTS

__all__ = ["SHELLS", "script"]

_NAMES: Mapping[str, tuple[str, ...]] = {
    "dataset": names.DATASETS,
    "classes": tuple(SUBSETS),
    "network": (*NETWORKS, *POOLS),
    "eval_network": (*NETWORKS, *POOLS),
    "protocol": tuple(PROTOCOLS),
    "init": tuple(STARTS),
    "kernel": tuple(KERNELS),
}
"""What options are completed with whose values are names, wherever they occur."""
_AFTER: Mapping[str, tuple[str, ...]] = {
    "distill": tuple(METHOD_NAMES),
    "select": tuple(SELECTIONS),
    "list": KINDS,
    "completion": ("bash", "zsh", "fish"),
}
"""What the second word is, by the first."""


class _Option(NamedTuple):
    flag: str
    says: str
    values: tuple[str, ...]
    """What it is completed with; nothing where that is free, or a path."""
    switch: bool
    """Whether it takes no value."""


def script(shell: str, forms: Mapping[str, type]) -> str:
    """The script for a shell.

    Args:
        shell: one of `SHELLS`.
        forms: the dataclass whose fields are a command's options, by command.
    """
    return SHELLS[shell](forms)


def _options(form: type, command: str, method: str | None = None) -> Iterator[_Option]:
    """The options of a form, those of its parts among them."""
    docs = _docs(form)
    presets = readings(method) if method else tuple(EXPERTS) if command == "experts" else ()
    for name, hint in options(form):
        flag, switch = name.replace("_", "-"), hint is bool
        values = presets if name == "preset" else _NAMES.get(name, tuple(map(str, _choices(hint))))
        yield _Option(flag, docs.get(name, ""), values, switch)
        if switch:
            yield _Option(f"no-{flag}", docs.get(name, ""), (), switch)


def _docs(form: Any) -> dict[str, str]:
    found = field_docs(form)
    for hint in typing.get_type_hints(form).values():
        if hasattr(hint, "__dataclass_fields__"):
            found |= _docs(hint)
    return found


def _choices(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()


def _cases(forms: Mapping[str, type]) -> Iterator[tuple[str, str | None, list[_Option]]]:
    """Command, method and the options that are accepted there; those of a command alone come after its methods'."""
    for command, form in forms.items():
        if command == "distill":
            for method, kind in METHOD_NAMES.items():
                yield command, method, [*_options(form, command, method), *_options(kind, command, method)]
        else:
            yield command, None, list(_options(form, command))


def _bash(forms: Mapping[str, type]) -> str:
    flags, values = [], dict[tuple[str, str], str]()
    for command, method, known in _cases(forms):
        where = f"{command}/{method or '*'}"
        flags.append(f"      {where}) words='{_joined([f'--{o.flag}' for o in known])} --help' ;;")
        for option in known:
            if option.values:
                usual = option.flag.replace("-", "_") in _NAMES
                values["*" if usual else where, option.flag] = _joined(option.values)
    given = [f"      {where}/--{flag}) words='{said}' ;;" for (where, flag), said in values.items()]
    second = [f"      {command}) words='{_joined(words)}' ;;" for command, words in _AFTER.items()]
    return "\n".join([
        "_jaxdistill() {",
        '  local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD-1]}" words=""',
        '  local begun=""',
        '  if [ "$cur" = "=" ]; then cur=""; elif [ "$prev" = "=" ]; then prev="${COMP_WORDS[COMP_CWORD-2]}"',
        '  elif [ "$cur" = ":" ]; then begun="$prev:"; cur=""; prev="${COMP_WORDS[COMP_CWORD-2]}"',
        '  elif [ "$prev" = ":" ]; then begun="${COMP_WORDS[COMP_CWORD-2]}:"; prev="${COMP_WORDS[COMP_CWORD-3]}"; fi',
        '  local where="${COMP_WORDS[1]}/${COMP_WORDS[2]}"',
        '  if [ "$COMP_CWORD" -eq 1 ]; then',
        f"    words='{_joined(forms)} --help --version'",
        '  elif [ "$COMP_CWORD" -eq 2 ] && [ "${cur#-}" = "$cur" ]; then',
        '    case "${COMP_WORDS[1]}" in',
        *second,
        "    esac",
        '  elif [ "$COMP_CWORD" -eq 3 ] && [ "$where" = "list/cells" ]; then',
        f"    words='{_joined(METHOD_NAMES)}'",
        '  elif [ "${cur#-}" != "$cur" ]; then',
        '    case "$where" in',
        *flags,
        "    esac",
        "  else",
        '    case "$where/$prev" in',
        *given,
        "    esac",
        "  fi",
        '  COMPREPLY=( $(compgen -W "$words" -- "$begun$cur") )',
        '  COMPREPLY=( "${COMPREPLY[@]#"$begun"}" )  # a shell takes what is before a colon as a word of its own',
        "}",
        "complete -o default -F _jaxdistill jaxdistill",
        "",
    ])  # fmt: skip


def _zsh(forms: Mapping[str, type]) -> str:
    return "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n" + _bash(forms)


def _fish(forms: Mapping[str, type]) -> str:
    lines = [
        "function __jaxdistill_within",
        "  set -l words (commandline -opc)",
        "  for i in (seq 1 1 (count $argv))",
        '    test "$words[(math $i + 1)]" = "$argv[$i]"; or return 1',
        "  end",
        "end",
        "function __jaxdistill_after",
        "  test (count (commandline -opc)) -eq (math (count $argv) + 1); and __jaxdistill_within $argv",
        "end",
        _fish_line("__jaxdistill_after", f"-f -a '{_joined(forms)}'"),
    ]
    lines += [_fish_line(f"__jaxdistill_after {one}", f"-f -a '{_joined(words)}'") for one, words in _AFTER.items()]
    lines.append(_fish_line("__jaxdistill_after list cells", f"-f -a '{_joined(METHOD_NAMES)}'"))
    for command, method, known in _cases(forms):
        within = f"__jaxdistill_within {command} {method or ''}".rstrip()
        for option in known:
            value = "" if option.switch else f" -r -a '{_joined(option.values)}'" if option.values else " -r"
            says = option.says.replace("\\", "\\\\").replace("'", "\\'")
            lines.append(_fish_line(within, f"-l {option.flag}{value} -d '{says}'"))
    return "\n".join([*lines, ""])


def _fish_line(condition: str, what: str) -> str:
    return f"complete -c jaxdistill -n '{condition}' {what}"


def _joined(words: Any) -> str:
    return " ".join(words)


SHELLS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
"""Shell -> what writes its script."""
