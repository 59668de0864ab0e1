"""A new method is one file and one line, without presets: that of the fourth notebook, through every door."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxdistill as jd
from jaxdistill import presets
from jaxdistill.cli import main
from jaxdistill.evaluation import dsa_recipe

ROOT = Path(jd.__file__).parent
NOTEBOOK = ROOT.parent / "experiments" / "notebooks" / "04_own_method.ipynb"
REGISTERED = "jd.METHODS[CF] = cf"
WORDS = ["distill", "cf", "--dataset", "digits", "--ipc", "2", "--width", "4", "--eval-seeds", "0", "--quiet"]


def source():
    """A file of the notebook's method: the cells that define it."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    parts = ["".join(cell["source"]) for cell in cells if cell["metadata"].get("tags")]
    return "\n".join(['"""Characteristic functions, CF (a sketch after NCFM, Wang et al., CVPR 2025)."""', *parts, ""])


@pytest.fixture(scope="module")
def cf(tmp_path_factory):
    """Its configuration's class, registered as the notebook does."""
    path = tmp_path_factory.mktemp("method") / "cf.py"
    path.write_text(source(), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("cf", path)
    module = sys.modules["cf"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module.CF
    del jd.METHODS[module.CF], sys.modules["cf"]


@pytest.fixture(scope="module")
def folder(cf, tmp_path_factory):
    """A run of it by the command line."""
    out = tmp_path_factory.mktemp("runs") / "cf"
    assert main([*WORDS, "--steps", "2", "--out", str(out)]) == 0
    return out


def told(words, capsys):
    assert main(words) == 0
    return capsys.readouterr().out


def test_what_stands_for_its_preset(cf):
    assert presets.readings(cf) == presets.readings("cf") == ()
    assert presets.cells(cf) == {}
    for dataset in ("digits", "CIFAR10"):
        found = presets.find("cf", dataset, 10)
        assert (found.config, found.steps, found.init, found.listed) == (cf(), None, "real", False)
        assert found.published is None
    assert (found.protocol, presets.find(cf, "digits", 1).protocol) == (dsa_recipe("cifar10"), dsa_recipe("digits"))


def test_it_is_listed(cf, capsys):
    [row] = [row for row in json.loads(told(["list", "methods", "--json"], capsys)) if row["name"] == "cf"]
    assert (row["title"], row["needs"], row["cells"], row["presets"]) == ("Characteristic functions", "nothing", 0, [])
    assert re.search(r"\ncf +Characteristic functions +a sketch after NCFM", told(["list", "methods"], capsys))
    assert told(["list", "cells", "cf"], capsys) == "no cell was published; its settings are ours\n"
    assert "cf" in json.loads(told(["list", "--json"], capsys))["methods"]
    assert "\n  cf " in told(["distill"], capsys)
    assert "--image-lr " in told(["completion", "bash"], capsys).partition("distill/cf)")[2].partition(";;")[0]


def test_its_help_shows_its_options_and_asks_for_steps(cf, capsys):
    for words in (WORDS[:2], WORDS[:6]):
        with pytest.raises(SystemExit):
            main([*words, "--help"])
        said = " ".join(re.sub(r"[│|]", " ", capsys.readouterr().out).split())
        assert re.search(r"--steps INT .*? \(required\)", said)
        assert "Step size on pixels. (default: 0.1)" in said
        assert "--preset" not in said
    assert "what is taken for digits at 2 images per class, where no setting was published" in said


@pytest.mark.parametrize(
    ("more", "says"),
    [([], "missing --steps"), (["--steps", "2", "--preset", "paper"], "cf has no --preset; leave it out")],
)
def test_what_it_lacks_is_told(more, says, cf, tmp_path, capsys):
    assert main([*WORDS, *more, "--out", str(tmp_path / "run")]) == 2
    assert says in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_its_run_is_told_and_reported(folder):
    card = json.loads((folder / "set" / "card.json").read_text())
    assert card["setting"].startswith("no published setting of cf for digits at ipc 2; running CF(image_lr=0.1")
    report = " ".join((folder / "report.html").read_text(encoding="utf-8").split())
    assert "Published for this cell" not in report
    assert re.search(r"jaxdistill distill cf .*?--dataset digits .*?--ipc 2 .*?--steps 2 ", report)


def test_a_notebook_has_it_by_name(cf, folder):
    data = jd.load("digits")
    found = jd.distill("cf", data, 2, steps=2, width=4, progress=False)
    stored = load_file(folder / "set" / "set.safetensors")["images"]
    np.testing.assert_array_equal(found.synthetic.images, stored)
    with pytest.raises(jd.UsageError, match="cf has no published number of `steps`; give some"):
        jd.distill("cf", data, 2, progress=False)
    with pytest.raises(jd.UsageError, match="cf has no `preset`; leave it out"):
        jd.distill("cf", data, 2, steps=2, preset="paper", progress=False)


PROGRAM = """
import sys
import jaxdistill as jd
import jaxdistill.methods.cf as module
from jaxdistill.cli import main

assert jd.__file__.startswith(sys.argv[1])
assert jd.CF is module.CF and jd.cf is module.cf and {"CF", "cf"} <= {*jd.__all__}
assert list(jd.METHODS.items())[-1] == (jd.CF, jd.cf) and jd.methods.METHOD_NAMES["cf"] is jd.CF
main(sys.argv[2:])
"""


def test_a_file_and_a_line_in_the_package_are_enough(tmp_path):
    package = shutil.copytree(ROOT, tmp_path / "jaxdistill", ignore=shutil.ignore_patterns("__pycache__"))
    (package / "methods" / "cf.py").write_text(source().replace(REGISTERED, ""), encoding="utf-8")
    with (package / "methods" / "catalogue.py").open("a") as file:
        file.write("from jaxdistill.methods.cf import CF as CF, cf as cf\n")
    program = [sys.executable, "-c", PROGRAM, str(tmp_path), *WORDS, "--help"]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Step size on pixels." in done.stdout
