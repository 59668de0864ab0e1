"""What the command line says of itself: help, tables of what there is, and completion."""

import dataclasses
import json
import re
import shutil
import subprocess
import typing
from pathlib import Path

import pytest

from jaxdistill import selection
from jaxdistill.cli import listing
from jaxdistill.cli.completion import SHELLS
from jaxdistill.cli.entry import FORMS, main
from jaxdistill.cli.listing import KINDS, paper_of, rows, title_of
from jaxdistill.cli.method_help import field_docs
from jaxdistill.cli.parsing import options
from jaxdistill.common.names import ALIASES
from jaxdistill.methods import CHECKED, METHOD_NAMES, METHODS
from jaxdistill.presets import cells, find, readings
from jaxdistill.selection import base as kinds
from jaxdistill.selection.held_out import PartedScores
from jaxdistill.selection.search import Windows
from jaxdistill.settings.config import Distill, Select
from jaxdistill.settings.needs import needs

REFERENCE = Path(__file__).parent / "reference"


def told(words, capsys):
    assert main(words) == 0
    return capsys.readouterr().out


def helped(words, capsys):
    """What a command's help shows: its text, and flag -> default."""
    with pytest.raises(SystemExit) as end:
        main([*words, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    shown = {}
    for block in re.split(r"\n[│|]? {1,2}--(?=[a-z])", said)[1:]:
        words = " ".join(re.sub(r"[│|]", " ", block).split())
        default = re.search(r"\(default: ([^()]*)\)", words)
        shown[re.match(r"[a-z-]+", words)[0]] = default and default[1]
    return " ".join(said.split()), shown


def forms_of(form):
    """A dataclass of options, and its parts."""
    yield form
    for hint in typing.get_type_hints(form, include_extras=True).values():
        if dataclasses.is_dataclass(hint):
            yield from forms_of(hint)


DOCUMENTED = {
    (part.__name__, name): field_docs(part)[name]
    for form in (*FORMS.values(), *METHODS)
    for part in forms_of(form)
    for name, hint in typing.get_type_hints(part, include_extras=True).items()
    if name in dict(options(part)) and not dataclasses.is_dataclass(hint)
}


@pytest.mark.parametrize(("where", "said"), DOCUMENTED.items(), ids=lambda x: ".".join(x) if type(x) is tuple else "")
def test_an_explanation_needs_no_line_before_it(where, said):
    assert len(said.split()) >= 3, "that says nothing"
    assert not re.match(r"(Of|Its|Their|They|It|As|That|This|These|Those|Them|Apply|Whose)\b", said)
    assert not re.search(r"\b(of (both|it)|for it|(that|this) training)\b", said)
    assert said.endswith(".")


def test_every_option_is_explained():
    for form in (*FORMS.values(), *METHODS):
        parts = {name: text for part in forms_of(form) for name, text in field_docs(part).items()}
        assert [name for name, _ in options(form) if not parts[name]] == []


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_help_shows_what_a_method_reads(method, capsys):
    said, known = helped(["distill", method], capsys)
    shown, asked = {*known}, needs(METHOD_NAMES[method])
    own = {name.replace("_", "-") for name, _ in options(METHOD_NAMES[method])}
    assert own <= shown
    assert {"dataset", "ipc", "out", "steps", "seed", "protocol", "eval-seeds", "resume"} <= shown
    assert ("experts" in shown) == asked.experts
    assert ("generator" in shown) == asked.draws
    assert ("init" in shown) != asked.draws
    assert ("kernel" in shown) == asked.kernel
    assert ("preset" in shown) == (len(readings(method)) > 1)
    assert f"jaxdistill distill {method} --dataset digits" in said


def test_help_is_short_and_in_the_order_of_use(capsys):
    said, shown = helped(["distill", "dm"], capsys)
    assert len(shown) <= 45
    flags = list(shown)
    assert flags[:7] == ["dataset", "ipc", "out", "steps", "seed", "init", "augment"]
    places = [flags.index(name) for name in ("augment", "image-lr", "network", "protocol", "data-dir", "resume")]
    assert places == sorted(places)
    assert "--help-all" in said


@pytest.mark.parametrize(
    ("words", "forms"), [(["distill", "dm"], (Distill, METHOD_NAMES["dm"])), (["select", "random"], (Select,))]
)
def test_help_on_all_options_shows_what_the_parser_takes(words, forms, capsys):
    with pytest.raises(SystemExit):
        main([*words, "--help-all"])
    said = capsys.readouterr().out
    known = [name.replace("_", "-") for form in forms for name, _ in options(form)]
    assert [name for name in known if f"--{name}" not in said] == []


def test_help_says_whose_defaults_it_shows(capsys):
    said, shown = helped(["distill", "dm"], capsys)
    assert "of no particular data set; add --dataset D --ipc N" in said
    steps = find("dm", "digits", 10).steps
    assert shown["steps"] != str(steps)
    said, shown = helped(["distill", "dm", "--dataset", "digits", "--ipc", "10"], capsys)
    assert "digits at 10 images per class" in said
    assert shown["steps"] == str(steps)
    said, shown = helped(["distill", "dm", "--dataset=cifar10", "--ipc=500"], capsys)
    assert "the published setting for cifar10 at 500 images per class" in said
    assert shown["image-lr"] == "10.0"
    assert shown["steps"] == "20000"


@pytest.mark.parametrize(
    ("words", "more"),
    [
        (["--init", "forgetting"], {"beta", "score-epochs", "experts"}),
        (["--init", "kmeans"], {"features", "feature-epochs"}),
        (["--init", "optimised"], {"trials", "trial-epochs"}),
        (["--update-share", "0.5"], {"score", "scores", "score-epochs", "experts", "eval-combined"}),
        (["--init", "label_solve"], {"kernel"}),
        (["--protocol", "krr"], {"kernel"}),
    ],
)
def test_help_shows_what_the_start_and_the_evaluation_read(words, more, capsys):
    assert not more & {*helped(["distill", "dm"], capsys)[1]}
    assert more <= {*helped(["distill", "dm", *words], capsys)[1]}


def test_help_shows_no_option_that_the_network_has_not(capsys):
    _, shown = helped(["distill", "dm", "--network", "mlp"], capsys)
    assert "width" in shown
    assert "pooling" not in shown


@pytest.mark.parametrize("strategy", selection.SELECTIONS)
def test_help_shows_what_a_selection_reads(strategy, capsys):
    said, shown = helped(["select", strategy], capsys)
    kind = type(selection.SELECTIONS[strategy].needs)
    assert ("beta" in shown) == issubclass(kind, (kinds.Scores, kinds.ByScore))
    assert ("score" in shown) == issubclass(kind, kinds.ByScore)
    searched = issubclass(kind, (kinds.Scores, Windows))
    assert ("window-start" in shown) == ("search-starts" in shown) == searched
    assert ("glister-eta" in shown) == (strategy == "glister")
    assert ("gradmatch-lam" in shown) == (strategy == "gradmatch")
    assert ("subset-share" in shown) == issubclass(kind, (PartedScores, kinds.ByScore))
    assert ("features" in shown) == (kind is kinds.Features)
    assert ("trials" in shown) == (kind is kinds.RandomSets)
    assert ("kernel" in shown) == (kind is kinds.Kernel)
    asked = (kinds.Features, kinds.Scores, kinds.ByScore, kinds.ProxyOutputs, kinds.Experts)
    assert ("experts" in shown) == (issubclass(kind, asked) and kind is not PartedScores)
    assert not {"log-every", "steps", "generator", "eval-every", "parallel-classes"} & {*shown}
    assert list(shown)[:3] == ["dataset", "ipc", "out"]
    assert f"jaxdistill select {strategy} --dataset digits" in said


@pytest.mark.parametrize("words", [["distill"], ["distill", "--help"]])
def test_methods_are_listed_with_what_they_need(words, capsys):
    said = " ".join(told(words, capsys).split())
    assert all(f" {name} " in said for name in METHOD_NAMES)
    assert "arXiv:2203.11932), algorithm 1. Needs experts: jaxdistill experts --out E" in said
    assert "arXiv:2311.15529). Needs a generator" in said
    assert "arXiv:2110.04181), eq. 6. dsa" not in said


def test_what_methods_need():
    found = {name: needs(kind) for name, kind in METHOD_NAMES.items()}
    assert {name for name, asked in found.items() if asked.experts} == {"mtt", "tesla", "ftd", "datm", "selmatch"}
    assert {name for name, asked in found.items() if asked.kernel} == {"kip", "rfad"}
    assert {name for name, asked in found.items() if asked.draws} == {"dit", "minimax"}
    assert {name for name, asked in found.items() if asked.generator} == {"minimax"}
    assert found["dm"].words == "nothing"
    assert found["mtt"].words == "experts"


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_a_docstring_names_the_paper(kind):
    assert re.search(r"\b(19|20)\d\d\b", paper_of(kind))
    assert 2 <= len(title_of(kind).split()) < 10


GOLDEN = {
    "dd": ["dd"], "dc": ["dc"], "dsa": ["dc", "augment"], "dm": ["dm"], "idc": ["idc"], "datadam": ["datadam"],
    "mtt": ["trajectories"], "tesla": ["trajectories"], "ftd": ["trajectories"], "datm": ["trajectories"],
    "rfad": ["rfad"], "dit": ["dit", "diffusion"],
}  # fmt: skip


def test_methods_that_are_checked_have_golden_values():
    assert {*GOLDEN} == {*CHECKED}
    assert all((REFERENCE / f"{file}.npz").exists() for files in GOLDEN.values() for file in files)


@pytest.mark.parametrize("method", METHOD_NAMES)
def test_listed_cells_are_published_ones(method):
    kind = METHOD_NAMES[method]
    for row in rows("cells", method):
        preset = find(kind, row["dataset"], row["ipc"], row["preset"])
        assert preset.listed
        assert (row["steps"], row["init"], row["protocol"]) == (preset.steps, preset.init, preset.protocol)
        assert row["published"] == (preset.published and preset.published._asdict())
    assert len(rows("cells", method)) == sum(map(len, cells(kind).values()))


def test_cells_are_told(capsys):
    said = told(["list", "cells", "dm"], capsys).splitlines()
    assert said[0].startswith("all: method dm, preset paper, steps 20000, init real, protocol dsa1000, augment default")
    (cell,) = [line for line in said if re.match(r"cifar10 +500 ", line)]
    assert re.split(r" {2,}", cell) == ["cifar10", "500", "76.1", "0.3", "image-lr 10", "authors' repository"]
    found = json.loads(told(["list", "cells", "dm", "--json"], capsys))
    (cell,) = [row for row in found if (row["dataset"], row["ipc"]) == ("cifar10", 500)]
    assert cell["settings"] == {"image_lr": 10.0}
    assert cell["published"] == {"mean": 76.1, "std": 0.3, "source": "authors' repository"}
    assert "settings are ours" in told(["list", "cells", "dit"], capsys)
    both = told(["list", "cells"], capsys)
    assert all(re.search(rf"^{name} ", both, re.MULTILINE) for name in METHOD_NAMES if name != "dit")


def test_a_table_has_a_row_for_each(capsys):
    said = told(["list"], capsys)
    for kind in KINDS[:-1]:
        assert f"{kind}:\n" in said
        alone = told(["list", kind], capsys)
        assert alone.strip() in said
        assert all(re.search(rf"^{re.escape(row['name'])}\b", alone, re.MULTILINE) for row in rows(kind))
    (dm,) = [row for row in rows("methods") if row["name"] == "dm"]
    assert dm["paper"] == "Zhao & Bilen, WACV 2023, arXiv:2110.04181"
    assert dm["checked"] == "PyTorch"
    assert {row["name"] for row in rows("selections")} == {*selection.SELECTIONS}
    assert {*ALIASES.values()} <= {row["name"] for row in rows("datasets")}


def test_a_terminal_has_a_drawn_table(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "150")
    listing.tell_list("methods", None, as_json=False)
    said = capsys.readouterr().out
    assert "─" in said
    assert "Distribution matching" in said


def test_json_has_its_keys_and_the_tables(capsys):
    found = json.loads(told(["list", "--json"], capsys))
    assert {"methods", "strategies", "datasets", "networks", "pools", "protocols", "presets"} <= {*found}
    assert found["methods"] == list(METHOD_NAMES)
    assert "dd=random-init|fixed-init" in found["presets"]
    assert [row["name"] for row in found["tables"]["methods"]] == found["methods"]
    assert json.loads(told(["list", "protocols", "--json"], capsys)) == found["tables"]["protocols"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["method"], "unknown kind 'method'; did you mean methods?"),
        (["cells", "mmt"], "unknown method 'mmt'; did you mean mtt?"),
        (["methods", "dm"], "only cells are those of a method; try 'jaxdistill list cells dm'"),
    ],
)
def test_what_cannot_be_listed_is_refused(words, says, capsys):
    assert main(["list", *words]) == 2
    assert says in capsys.readouterr().err


def completed(script, *words):
    """What bash completes the last word with."""
    array = " ".join(f"'{word}'" for word in words)
    lines = [
        f"source {script}", f"COMP_WORDS=({array})", f"COMP_CWORD={len(words) - 1}", "_jaxdistill",
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ]  # fmt: skip
    done = subprocess.run(["bash", "-c", "\n".join(lines)], capture_output=True, text=True, check=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_bash_completes(tmp_path, capsys):
    script = tmp_path / "completion.bash"
    script.write_text(told(["completion", "bash"], capsys))
    assert {*FORMS} <= {*completed(script, "jaxdistill", "")}
    assert completed(script, "jaxdistill", "distill", "dat") == ["datadam", "datm"]
    assert completed(script, "jaxdistill", "select", "herd") == ["herding"]
    assert completed(script, "jaxdistill", "distill", "dm", "--image") == ["--image-lr"]
    networks = {"--network", "--network-seed"}
    assert {*completed(script, "jaxdistill", "distill", "dd", "--dataset", "digits", "--net")} == networks
    assert completed(script, "jaxdistill", "distill", "dm", "--protocol", "dsa") == ["dsa1000"]
    assert completed(script, "jaxdistill", "distill", "dc", "--distance", "") == ["output", "mse", "cos"]
    assert completed(script, "jaxdistill", "distill", "dm", "--distance", "") == []
    assert completed(script, "jaxdistill", "distill", "kip", "--preset", "") == [*readings("kip")]
    assert completed(script, "jaxdistill", "evaluate", "runs/a", "--network", "=", "ml") == ["mlp"]
    assert completed(script, "jaxdistill", "evaluate", "runs/a", "--network", "po")[:2] == ["pool:dc", "pool:dm"]
    assert completed(script, "jaxdistill", "evaluate", "runs/a", "--network", "pool", ":", "mt") == ["mtt"]
    assert completed(script, "jaxdistill", "list", "cells", "mt") == ["mtt"]
    assert completed(script, "jaxdistill", "report", "") == [], "then bash completes files"


@pytest.mark.parametrize("shell", SHELLS)
def test_a_completion_has_all_options(shell, capsys):
    said = told(["completion", shell], capsys)
    for form in (*FORMS.values(), *METHODS):
        for name, _ in options(form):
            flag = name.replace("_", "-")
            assert f"-l {flag} " in said if shell == "fish" else f"--{flag} " in said


def test_a_shell_that_there_is_not_is_refused(capsys):
    assert main(["completion", "tcsh"]) == 2
    assert re.fullmatch(r"jaxdistill: [^\n]+\n", capsys.readouterr().err)


def test_an_unknown_option_is_answered_with_a_known_one(capsys):
    words = ["distill", "dm", "--dataset", "digits", "--ipc", "1", "--out", "never"]
    assert main([*words, "--image-lrr", "3"]) == 2
    assert capsys.readouterr().err == "jaxdistill: unknown option --image-lrr; did you mean --image-lr?\n"
    assert main([*words, "--share", "3"]) == 2
    assert capsys.readouterr().err == "jaxdistill: unknown option --share; it is one of select\n"
    assert main([*words, "--student-steps", "3"]) == 2
    assert "it is one of distill mtt, distill tesla" in capsys.readouterr().err
    assert main([*words, "--qqqqqqq", "3"]) == 2
    assert "unknown option --qqqqqqq; see 'jaxdistill distill dm --help'" in capsys.readouterr().err
