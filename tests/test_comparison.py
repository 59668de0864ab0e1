"""Runs beside each other: which may be, what their table says, and what their page shows."""

import json
import re
import shutil
import sys
import types

import numpy as np
import pytest
from test_report import CARD, CONFIG, EVALUATION, Page, images, row, save

from jaxdistill.cli import main
from jaxdistill.errors import UsageError
from jaxdistill.io.pictures import grid
from jaxdistill.report import comparison, curves
from jaxdistill.report.tables import Table, told_apart


def rows_of(name, network, accuracies, ipc=10, baseline=None):
    return {**row(name, network, accuracies), "ipc": ipc, "baseline": baseline}


TABLE = Table(
    [
        rows_of("dm_1|a", "convnet", [0.98, 0.96], baseline="random & 5%"),
        rows_of("dm_1|a", "mlp", [0.5], baseline="random & 5%"),
        rows_of("random & 5%", "convnet", [0.99, 0.99], ipc=5),
    ]
)


def make_run(folder, ipc=4, seed=0, rows=EVALUATION["rows"], protocol=EVALUATION["protocol"], **changes):
    """A finished run of 12 images of 3 classes, as far as pages read it."""
    card = {**CARD, "preprocessing": "mean and std per channel", **changes.pop("card", {})}
    save(folder / "set" / "grid.png", grid(images(seed), 3))
    (folder / "config.json").write_text(json.dumps({**CONFIG, "ipc": ipc, **changes}))
    (folder / "set" / "card.json").write_text(json.dumps(card))
    if rows:
        (folder / "evaluation.json").write_text(json.dumps({**EVALUATION, "rows": rows, "protocol": protocol}))
    lines = [json.dumps({"step": step, "loss": (1 + seed) / step}) for step in range(1, 41)]
    (folder / "metrics.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two methods of which one has other rows beside it, a selection of another size, and one that was not judged."""
    short = {**EVALUATION["protocol"], "epochs": 300}
    other = [row("kip", "convnet", [0.8]), row("random", "convnet", [0.5, 0.6, 0.7])]
    make_run(tmp_path / "dm")
    make_run(tmp_path / "kip", 2, 1, other, short, method={"name": "kip", "lr": 0.1}, card={"preprocessing": "ZCA"})
    make_run(tmp_path / "again", seed=2)
    make_run(tmp_path / "bare", 4, 3, [])
    return tmp_path


def test_a_table_has_a_line_for_each_set_and_a_column_for_each_network():
    assert str(TABLE) == TABLE.to_markdown()
    lines = [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in str(TABLE).splitlines()]
    assert lines[0] == ["set", "images per class", "convnet", "mlp"]
    assert lines[2:] == [[r"dm_1\|a", "10", "97.0 ± 1.0 (-2.0)", "50.0"], ["random & 5%", "5", "99.0 ± 0.0", "–"]]
    assert len({len(line) for line in str(TABLE).splitlines()}) == 1
    assert len(TABLE) == 3


def test_a_table_of_latex_has_its_signs_escaped():
    assert TABLE.to_latex().splitlines() == [
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"set & images per class & convnet & mlp \\",
        r"\midrule",
        r"dm\_1|a & 10 & 97.0 $\pm$ 1.0 ($-2.0$) & 50.0 \\",
        r"random \& 5\% & 5 & 99.0 $\pm$ 0.0 & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_table_of_html_is_well_formed_and_escaped():
    shown = Page(TABLE.to_html())
    assert shown.all("th") == ["set", "images per class", "convnet", "mlp", "dm_1|a", "random & 5%"]
    assert shown.all("td") == ["10", "97.0 ± 1.0 (-2.0)", "50.0", "5", "99.0 ± 0.0", "–"]
    assert TABLE._repr_html_() == TABLE.to_html()
    assert "<b>" not in Table([rows_of("<b>", "<b>", [1.0])]).to_html()


def test_what_all_rows_share_has_no_column():
    assert str(Table([rows_of("a", "mlp", [0.5])])).splitlines()[0] == "| set |  mlp |"
    assert str(Table([])).splitlines()[0] == "| set |"


def test_a_table_becomes_a_data_frame_where_there_is_pandas(monkeypatch):
    fake = types.ModuleType("pandas")
    fake.DataFrame = list
    monkeypatch.setitem(sys.modules, "pandas", fake)
    first, *_, last = TABLE.to_pandas()
    assert first["accuracies"] == [0.98, 0.96]
    assert first["gain"] == pytest.approx(-0.02)
    assert last["gain"] is None
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match="pip install pandas"):
        TABLE.to_pandas()


def test_a_baseline_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="random, the baseline of dm, is not in the table"):
        Table([rows_of("dm", "mlp", [0.5], baseline="random")])


def test_two_are_told_apart_by_twice_the_error_of_their_means_difference():
    wide, beside = [0.5, 0.7], row("a", "b", [0.7, 0.7])
    assert not told_apart(row("a", "b", wide), beside)  # 0.1 is no more than twice 0.1 / sqrt(1)
    assert told_apart(row("a", "b", wide * 5), beside)  # more networks of the same deviation: 0.1 / sqrt(9)
    assert told_apart(row("a", "b", [0.75]), row("a", "b", [0.7, 0.71]))
    assert not told_apart(row("a", "b", [0.1]), row("a", "b", [0.9]))


def test_the_table_of_runs_has_each_with_its_random_images_once(runs):
    table = comparison.table_of(comparison.compared([runs / name for name in ("dm", "kip", "again", "bare")]))
    assert table.sets == ["dm", "kip", "again", "random, 4 per class", "random, 2 per class"]
    assert table.networks == ["convnet", "mlp"]
    assert {row["set"]: row["baseline"] for row in table.rows} == {
        "dm": "random, 4 per class",
        "kip": "random, 2 per class",
        "again": "random, 4 per class",
        "random, 4 per class": None,
        "random, 2 per class": None,
    }
    assert [row["protocol"] for row in table.rows if row["network"] == "convnet"] == [
        "dsa1000", "dsa1000 with --epochs 300", "dsa1000", "dsa1000",
        "dsa1000 with --epochs 300",
    ]  # fmt: skip
    assert table.cell("kip", "mlp") is None
    assert "| dm                  |                4 |                   dsa1000 | 71.0 ± 1.0 (+12.0) |" in str(table)


def test_where_one_kind_of_random_images_stands_beside_all_it_is_called_random(runs):
    table = comparison.table_of(comparison.compared([runs / "dm", runs / "again" / "set"]))
    assert table.sets == ["dm", "again", "random"]


def test_random_images_of_one_size_that_differ_say_beside_which(runs):
    make_run(runs / "third", rows=[row("dm", "convnet", [0.7]), row("random", "convnet", [0.1, 0.3])])
    table = comparison.table_of(comparison.compared([runs / "dm", runs / "third"]))
    assert table.sets[2:] == ["random beside dm", "random beside third"]


def test_runs_of_the_same_name_are_told_apart_by_their_folders(runs):
    for name in ("dm", "again"):
        (runs / name).rename(runs / f"{name}.old")
        shutil.copytree(runs / f"{name}.old", runs / name / "run")
    assert list(comparison.compared([runs / "dm" / "run", runs / "again" / "run"])) == ["dm/run", "again/run"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"data": {"dataset": "digits"}}, r"digits, not pets\.npz"),
        ({"card": {"digests": {"test_images": "b"}}}, "the test images differ"),
    ],
)
def test_runs_of_other_data_are_refused(runs, change, said):
    make_run(runs / "first", card={"digests": {"test_images": "a"}} if "card" in change else {})
    make_run(runs / "other", **change)
    with pytest.raises(UsageError, match=rf"other is of other data than first \({said}"):
        comparison.compared([runs / "first", runs / "other"])


def test_the_same_data_may_lie_elsewhere(runs):
    digests = {"digests": {"test_images": "a"}}
    make_run(runs / "first", card=digests)
    make_run(runs / "other", card=digests, data={"dataset": "/elsewhere/animals.npz"})
    assert len(comparison.compared([runs / "first", runs / "other"])) == 2


def test_the_page_stands_alone_and_shows_all(runs):
    looks = [{"step": step, "mean": step / 50, "std": 0.1} for step in (10, 20, 40)]
    for name in ("dm", "kip"):
        (runs / name / "held_out.jsonl").write_text("\n".join(map(json.dumps, looks)))
    out = runs / "page.html"
    comparison.write(comparison.compared([runs / name for name in ("dm", "kip", "again", "bare")]), out)
    text = out.read_text(encoding="utf-8")
    assert not re.search(r"https?:|//\w|@import|url\(", re.sub(r"base64,[\w+/=]+", "", text))
    shown = Page(text)
    assert not {tag for tag, _ in shown.tags} & {"script", "link", "iframe", "object"}
    titles = ["The sets", "Test accuracy", "While they ran", "Losses", "Cost", "What differs"]
    assert shown.all("h2") == titles
    assert [attributes["alt"] for attributes in shown.attributes("img")] == [
        f"the set {name}" for name in ("dm", "kip", "again", "bare")
    ]
    assert shown.all("h3") == [
        "convnet", "mlp", "accuracy, %", "loss of dm (mean and std per channel)", "loss of kip (ZCA)"
    ]  # fmt: skip
    markdown, latex = shown.all("pre")
    assert markdown.startswith("| set")
    assert latex.startswith(r"\begin{tabular}")
    assert any("not evaluated" in text for text in shown.all("figcaption"))
    assert "1 h 2 min" in shown.all("td")


def test_points_stand_where_the_scale_says(runs):
    out = runs / "page.html"
    comparison.write(comparison.compared([runs / "dm"]), out)
    text = out.read_text(encoding="utf-8")
    ticks = re.findall(r'<span style="left:([\d.]+)%">([\d.]+)</span>', text.split("<h3>mlp")[0])
    (x0, first), *_, (x1, last) = [(float(at), float(label)) for at, label in ticks]
    at = float(re.search(r'<i style="left:([\d.]+)%"></i>', text)[1])  # of dm on the convnet: 71.0
    assert first + (at - x0) * (last - first) / (x1 - x0) == pytest.approx(71.0, abs=0.1)
    left, wide = map(float, re.search(r'<u style="left:([\d.]+)%;width:([\d.]+)%"></u>', text).groups())
    assert left + wide / 2 == pytest.approx(at, abs=0.02)
    assert wide == pytest.approx(2.0 * (x1 - x0) / (last - first), abs=0.02)


def test_only_settings_that_differ_are_listed(runs):
    found = dict(comparison._settings(comparison.compared([runs / "dm", runs / "kip", runs / "bare"])))
    assert found["method"] == ["dm", "kip", "dm"]
    assert found["ipc"] == ["4", "2", "4"]
    assert found["lr"] == ["", "0.1", ""]
    assert "seed" not in found
    assert "dataset" not in found


def test_names_are_text_and_never_markup(runs):
    (runs / "dm").rename(runs / "<b>{{ 7*7 }}")
    out = runs / "page.html"
    comparison.write(comparison.compared([runs / "<b>{{ 7*7 }}", runs / "kip"]), out)
    shown = Page(out.read_text(encoding="utf-8"))
    assert "<b>{{ 7*7 }}" in shown.all("b")


def test_compare_writes_by_the_suffix_and_prints_the_table(runs, capsys):
    words = ["compare", str(runs / "dm"), str(runs / "kip")]
    assert main(words) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("| set")
    for suffix in ("html", "md", "tex"):
        assert main([*words, "--out", str(runs / "new" / f"a.{suffix}")]) == 0
        assert capsys.readouterr().out == printed
    assert (runs / "new" / "a.md").read_text(encoding="utf-8") == printed
    assert (runs / "new" / "a.tex").read_text(encoding="utf-8").startswith(r"\begin{tabular}")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--out", "a.pdf"], "--out ends in one of .html, .md, .tex, which a.pdf does not"),
        (["--out", "there.md"], "there.md exists; choose another --out"),
        (["dm"], "is given twice"),
        (["nothing"], "holds no config.json"),
        (["--out", "gs://bucket/a.md"], "--out is a folder of this machine"),
    ],
)
def test_compare_refuses_with_a_sentence(runs, monkeypatch, capsys, more, said):
    monkeypatch.chdir(runs)
    (runs / "there.md").write_text("mine")
    before = sorted(runs.rglob("*"))
    assert main(["compare", "dm", *more]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""
    assert sorted(runs.rglob("*")) == before
    assert (runs / "there.md").read_text() == "mine"


def test_compare_wants_a_run(capsys):
    assert main(["compare"]) == 2
    assert "at least one run" in capsys.readouterr().err


def test_lines_of_several_runs_share_their_axes():
    steps = np.arange(1.0, 11.0)
    lines = curves.overlay("a", {"x": (steps, steps), "y": (2 * steps, 10 - steps), "z": (steps[:1], steps[:1])})
    assert lines is not None
    assert list(lines.paths) == ["x", "y"]
    ends = {run: [float(v) for v in re.findall(r"[\d.]+", path)[-2:]] for run, path in lines.paths.items()}
    assert ends["y"][0] == 1000.0
    assert ends["x"][0] == pytest.approx(1000 * 9 / 19, abs=0.1)
    assert ends["x"][1] < ends["y"][1]
    assert lines.last == {"x": "10", "y": "0"}
    assert curves.overlay("a", {"z": (steps[:1], steps[:1])}) is None


@pytest.mark.parametrize("found", [True, False])
def test_a_report_is_opened_where_there_is_a_browser(runs, monkeypatch, capsys, found):
    opened = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or found)
    assert main(["report", str(runs / "dm"), "--open"]) == 0
    assert opened == [(runs / "dm" / "report.html").resolve().as_uri()]
    assert ("no browser was found" in capsys.readouterr().err) != found
    assert main(["report", str(runs / "dm")]) == 0
    assert len(opened) == 1
