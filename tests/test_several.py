"""Several sets of one configuration, and tables as files."""

import json

import numpy as np
import pytest

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.commands.several import pooled

WORDS = ["--dataset", "digits", "--ipc", "1", "--width", "8", "--eval-epochs", "1", "--eval-seeds", "2", "--quiet"]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "dm"
    assert main(["distill", "dm", *WORDS, "--steps", "2", "--sets", "2", "--seed", "3", "--out", str(out)]) == 0
    return out


def test_each_set_is_a_run_of_its_own_seed(sets):
    assert {path.name for path in sets.iterdir()} == {"01", "02", "evaluation.json"}
    data = jd.load("digits")
    for number, seed in (("01", 3), ("02", 4)):
        run = jd.open(sets / number)
        assert run.config.seed == seed
        again = jd.distill("dm", data, 1, steps=2, width=8, seed=seed, progress=False)
        np.testing.assert_array_equal(run.synthetic.images, again.synthetic.images)


def test_accuracies_are_pooled_over_sets_and_networks(sets):
    found = json.loads((sets / "evaluation.json").read_text())["rows"]
    each = [json.loads((sets / number / "evaluation.json").read_text())["rows"] for number in ("01", "02")]
    for row, *alike in zip(found, *each, strict=True):
        sample = np.array([one["accuracies"] for one in alike])
        assert row["accuracies"] == sample.ravel().tolist()
        assert (row["mean"], row["std"], row["sets"]) == (sample.mean(), sample.std(), 2)
        np.testing.assert_allclose(row["std_sets"] ** 2 + row["std_networks"] ** 2, row["std"] ** 2)


def test_nothing_is_pooled_where_nothing_was_judged():
    assert pooled([{}, {}]) == {}


def test_sets_are_resumed_and_added(sets, capsys):
    before = (sets / "01" / "set" / "set.safetensors").stat().st_mtime_ns
    assert main(["distill", "dm", "--resume", "--out", str(sets)]) == 0
    assert "2 sets; deviation over sets" in capsys.readouterr().out
    assert main(["distill", "dm", "--sets", "3", "--resume", "--out", str(sets)]) == 0
    assert "3 sets; deviation over sets" in capsys.readouterr().out
    assert jd.open(sets / "03").config.seed == 5
    assert len(json.loads((sets / "evaluation.json").read_text())["rows"][0]["accuracies"]) == 6
    assert (sets / "01" / "set" / "set.safetensors").stat().st_mtime_ns >= before
    for words, says in (([], "exists"), (["--sets", "0"], "--sets is at least 1")):
        assert main(["distill", "dm", *WORDS, "--steps", "2", "--sets", "2", *words, "--out", str(sets)]) == 2
        assert says in capsys.readouterr().err


def test_their_folder_stands_for_them(sets, tmp_path, capsys):
    assert main(["evaluate", str(sets), "--seeds", "1", "--epochs", "1"]) == 0
    said = capsys.readouterr().out
    assert "dm/01" in said
    assert "dm/02" in said
    assert main(["compare", str(sets), "--out", str(tmp_path / "page.md")]) == 0
    assert (tmp_path / "page.md").read_text().count("| 0") >= 2
    assert {"01", "02"} <= set(jd.evaluate(sets, jd.load("digits"), "mlp", seeds=1, epochs=1, progress=False).sets)
    with pytest.raises(jd.UsageError, match="give one of them"):
        jd.open(sets)


@pytest.mark.parametrize(
    ("suffix", "holds"), [(".md", "| 01 "), (".tex", r"\toprule"), (".html", "<table>"), (".json", '"accuracies"')]
)
def test_a_table_is_written(suffix, holds, sets, tmp_path, capsys):
    out = tmp_path / "tables" / f"table{suffix}"
    words = ["evaluate", str(sets / "01"), "--seeds", "1", "--epochs", "1", "--out", str(out)]
    assert main(words) == 0
    assert holds in out.read_text()
    assert main(words) == 2
    assert "exists" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "table.doc")]) == 2
    assert "--out ends in one of .md, .tex, .html, .json" in capsys.readouterr().err
