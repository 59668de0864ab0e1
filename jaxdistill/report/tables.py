"""Accuracies of sets as a table: for a terminal, Markdown, LaTeX, HTML, pandas."""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS

__all__ = ["SUFFIXES", "Table", "check_out", "combined", "gain", "import_pandas", "spaces", "told_apart", "written"]

SUFFIXES = (".md", ".tex", ".html", ".json")
"""Of files that a table can be written to."""

_MEANT = {"ipc": "images per class", "protocol": "protocol"}
"""Columns that a table has where its rows differ in them, and what they are called."""
_COVERED = {"all": "covered", "easy": "easier half", "hard": "harder half"}
"""Columns of coverage, and what they are called."""
_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX |= {sign: f"\\{sign}" for sign in "&%$#_{}"}


def import_pandas() -> Any:
    """The module, for what it makes of tables and curves.

    Raises:
        UsageError: if it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise UsageError("to_pandas needs pandas: run pip install pandas, or read the rows and arrays") from None
    return pandas


def gain(row: Mapping[str, Any], baseline: Mapping[str, Any] | None) -> float | None:
    """How much more accurate a row is than its baseline, as a fraction; None where there is none."""
    return None if baseline is None else row["mean"] - baseline["mean"]


def told_apart(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> bool:
    """Whether two means differ by more than twice the standard error of their difference, which more networks lower.

    A single accuracy, as of a recipe that draws nothing, is taken for exact beside several of the other row; of one on
    both sides nothing is known of how they vary, so that they do not.
    """
    if len(row["accuracies"]) < 2 and len(baseline["accuracies"]) < 2:
        return False
    variance = sum(one["std"] ** 2 / max(len(one["accuracies"]) - 1, 1) for one in (row, baseline))
    return abs(row["mean"] - baseline["mean"]) > 2 * math.sqrt(variance)


def combined(protocol: Mapping[str, Any]) -> bool:
    """Whether a recipe, as in an evaluation.json, augments selected real images otherwise, and its name does not say
    so."""
    usual = getattr(PROTOCOLS.get(protocol.get("name", "")), "selected_augment", None)
    return usual is None and protocol.get("selected_augment") is not None


def spaces(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``features radius shares`` of each feature space that coverage was measured in, from an evaluation.json."""
    first = evaluation.get("coverage")
    return [] if first is None else [first, *first.get("also", {}).values()]


class Table:
    """Accuracies of sets: a line for each, a column for each network, in percent, with the gain over its baseline.

    Args:
        rows: one for each set and network, with ``set`` and ``network`` (names), ``accuracies``, ``mean`` and ``std``
            (fractions), ``ipc``, and ``baseline``: the name of the set in this table that it is compared with, or None.
            ``protocol`` may be there too. Sets stand in the order in which they come first.
        coverage: of some of the sets by name, the shares of the test images that have one of the set nearby: of
            ``all``, of the ``easy`` half and of the ``hard`` one. Where there are any, they are columns.

    Raises:
        UsageError: for a baseline that is not in the table.

    Example:
        >>> kind = {"network": "convnet", "ipc": 10}
        >>> chosen = {"set": "dm", "accuracies": [0.98, 0.96], "mean": 0.97, "std": 0.01, "baseline": "random"}
        >>> drawn = {"set": "random", "accuracies": [0.9], "mean": 0.9, "std": 0.0, "baseline": None}
        >>> print(Table([{**chosen, **kind}, {**drawn, **kind}]))
        | set    |           convnet |
        |:-------|------------------:|
        | dm     | 97.0 ± 1.0 (+7.0) |
        | random |              90.0 |
    """

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], coverage: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    ):
        self.rows = [dict(row) for row in rows]
        self.coverage = {name: dict(shares) for name, shares in coverage.items()}
        self.sets = list(dict.fromkeys(row["set"] for row in self.rows))
        self.networks = list(dict.fromkeys(row["network"] for row in self.rows))
        self._cells = {(row["set"], row["network"]): row for row in self.rows}
        for row in self.rows:
            if row.get("baseline") is not None and row["baseline"] not in self.sets:
                raise UsageError(f"{row['baseline']}, the baseline of {row['set']}, is not in the table; add its rows")

    def cell(self, name: str, network: str) -> dict[str, Any] | None:
        """The row of a set and a network; None where that network did not judge it."""
        return self._cells.get((name, network))

    def baseline(self, name: str, network: str) -> dict[str, Any] | None:
        """The row that this one is compared with; None where there is none."""
        row = self.cell(name, network)
        return None if row is None or row.get("baseline") is None else self.cell(row["baseline"], network)

    def to_markdown(self) -> str:
        """A table of Markdown, padded so that it can be read as it is."""
        heads, lines = self._texts()
        widths = [max(3, *(len(line[i]) for line in (heads, *lines))) for i in range(len(heads))]
        ruled = [f":{'-' * (widths[0] + 1)}", *(f"{'-' * (width + 1)}:" for width in widths[1:])]
        padded = [[line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in (heads, *lines)]
        shown = [f"| {' | '.join(line)} |" for line in padded]
        return "\n".join([shown[0], f"|{'|'.join(ruled)}|", *shown[1:]])

    def to_latex(self) -> str:
        """A ``tabular`` with the rules of the package booktabs."""
        heads, lines = self._texts(_tex, "{mean}{spread}{gain}", r" $\pm$ {std}", " (${gain}$)", "--")
        written = [f"{' & '.join(line)} \\\\" for line in (heads, *lines)]
        body = ["\\toprule", written[0], "\\midrule", *written[1:], "\\bottomrule"]
        return "\n".join([f"\\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}", *body, "\\end{tabular}"])

    def to_html(self) -> str:
        """A ``<table>`` without styles; names are escaped."""
        heads, lines = self._texts(html.escape)
        head = "".join(f'<th scope="col">{text}</th>' for text in heads)
        body = "".join(
            f'<tr><th scope="row">{line[0]}</th>{"".join(f"<td>{text}</td>" for text in line[1:])}</tr>'
            for line in lines
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_pandas(self) -> Any:
        """A pandas ``DataFrame`` with a line for each set and network: fractions, as in the rows, gain, coverage,
        the means on each half of the test images, and what an attack did.

        Raises:
            UsageError: if pandas is not installed.
        """
        pandas = import_pandas()
        covered = {name: {f"covered_{part}": shares[part] for part in shares} for name, shares in self.coverage.items()}
        return pandas.DataFrame(
            [
                {
                    **{key: value for key, value in row.items() if key not in ("halves", "attack")},
                    "gain": gain(row, self._compared(row)),
                    **covered.get(row["set"], {}),
                    **{f"mean_{half}": found["mean"] for half, found in row.get("halves", {}).items()},
                    **{f"attack_{part}": found["mean"] for part, found in row.get("attack", {}).items()},
                }
                for row in self.rows
            ]
        )

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        return self.to_markdown()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return self.to_html()

    def _compared(self, row: Mapping[str, Any]) -> dict[str, Any] | None:
        return self.baseline(row["set"], row["network"])

    def _texts(
        self,
        escape: Callable[[str], str] = lambda text: re.sub(r"([|\\])", r"\\\1", " ".join(text.split())),
        cell: str = "{mean}{spread}{gain}",
        spread: str = " ± {std}",
        gained: str = " ({gain})",
        nothing: str = "–",
    ) -> tuple[list[str], list[list[str]]]:
        """The heads of the columns, and the texts of each line."""
        firsts = {name: next(row for row in self.rows if row["set"] == name) for name in self.sets}
        told = [key for key in _MEANT if len({row.get(key) for row in firsts.values()}) > 1]
        parts = _COVERED if self.coverage else {}
        heads = ["set", *(_MEANT[key] for key in told), *map(str, self.networks), *parts.values()]

        def text(name: str, network: str) -> str:
            row = self.cell(name, network)
            return nothing if row is None else _figure(row, gain(row, self._compared(row)), cell, spread, gained)

        lines = [
            [
                escape(name),
                *(escape(str(firsts[name][key])) if key in firsts[name] else nothing for key in told),
                *(text(name, network) for network in self.networks),
                *(f"{100 * self.coverage[name][part]:.1f}" if name in self.coverage else nothing for part in parts),
            ]
            for name in self.sets
        ]
        return [escape(head) for head in heads], lines


def check_out(out: Path, suffixes: Sequence[str]) -> None:
    """See that a table or a page can be written there.

    Args:
        out: the file.
        suffixes: what its name may end in.

    Raises:
        UsageError: for another suffix, or a file that is there.
    """
    if out.suffix not in suffixes:
        raise UsageError(f"--out ends in one of {', '.join(suffixes)}, which {out.name} does not")
    if out.exists():
        raise UsageError(f"{out} exists; choose another --out")


def written(table: Table, suffix: str) -> str:
    """A table as the text of a file.

    Args:
        table: what is written.
        suffix: of the file: ``.md``, ``.tex``, ``.html`` or ``.json``.
    """
    made: dict[str, Callable[[], str]] = {
        ".md": table.to_markdown,
        ".tex": table.to_latex,
        ".html": table.to_html,
        ".json": lambda: json.dumps(table.rows, indent=1),
    }
    return made[suffix]() + "\n"


def _figure(row: Mapping[str, Any], more: float | None, cell: str, spread: str, gained: str) -> str:
    varied = len(row["accuracies"]) > 1
    return cell.format(
        mean=f"{100 * row['mean']:.1f}",
        spread=spread.format(std=f"{100 * row['std']:.1f}") if varied else "",
        gain="" if more is None else gained.format(gain=f"{100 * more:+.1f}"),
    )


def _tex(text: str) -> str:
    return "".join(_LATEX.get(sign, sign) for sign in " ".join(text.split()))
