"""The README's Python runs as printed, and its commands are ones that there are."""

import doctest
import re
import shlex
from pathlib import Path

import jax
import pytest

import jaxdistill as jd
from jaxdistill.cli.entry import COMMANDS
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.selection import SELECTIONS

README = (Path(__file__).parents[1] / "README.md").read_text()
FUNCTIONS, LOADER = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
(SESSION,) = re.findall(r"```pycon\n(.*?)```", README, flags=re.DOTALL)


def test_the_functions_example_runs(capsys):
    with jax.debug_key_reuse(True):
        exec(compile(FUNCTIONS, "README.md", "exec"), {})
    said = capsys.readouterr().out
    first, last = re.match(r"([\d.]+) -> ([\d.]+) \(100, 8, 8, 1\)", said).groups()
    assert float(last) < float(first)


def test_the_loader_example_runs_on_a_set(tmp_path, monkeypatch):
    import numpy as np

    from jaxdistill.data.preprocess import Preprocess
    from jaxdistill.io.artifact import save_set
    from jaxdistill.types import SyntheticSet

    monkeypatch.chdir(tmp_path)
    Path("runs/first").mkdir(parents=True)
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 1)).astype(np.float32)
    synthetic = SyntheticSet(images, np.eye(2, dtype=np.float32).repeat(2, 0))
    card = {"dataset": "digits", "ipc": 2, "method": "dm", "class_names": ["a", "b"], "seed": 0, "cost": {}}
    transform = Preprocess(np.full(1, 0.5, np.float32), np.full(1, 0.25, np.float32))
    save_set(Path("runs/first/set"), synthetic, transform, card)
    scope = {}
    exec(compile(LOADER, "README.md", "exec"), scope)
    np.testing.assert_allclose(scope["pixels"], images * 0.25 + 0.5, rtol=1e-6)


@pytest.mark.slow
def test_the_first_session_prints_what_it_says(tmp_path, monkeypatch, capsys):
    """Up to digits, which are those of one machine."""
    monkeypatch.chdir(tmp_path)
    scope = {}
    for example in doctest.DocTestParser().get_examples(SESSION):
        capsys.readouterr()
        exec(example.source, scope)
        said = capsys.readouterr().out
        assert re.sub(r"\d", "0", said) == re.sub(r"\d", "0", example.want)
        if example.want:
            better, random = (float(line.split("|")[2].split()[0]) for line in said.splitlines()[2:])
            assert better > random
    assert (tmp_path / "runs" / "dm" / "report.html").is_file()


def test_the_first_session_names_what_there_is():
    for name in set(re.findall(r"jd\.(\w+)", README)):
        assert hasattr(jd, name)
    for name in re.findall(r"run\.(\w+)", SESSION):
        assert hasattr(jd.Run, name)


LINES = re.findall(r"^jaxdistill .*$", README, flags=re.MULTILINE)
LINES += [f"jaxdistill {words}" for words in re.findall(r"`([a-z]+ [^`]*)`", README) if words.split()[0] in COMMANDS]


@pytest.mark.parametrize("line", LINES)
def test_commands_exist(line):
    _, command, *rest = shlex.split(line.split("   ")[0])
    assert command in COMMANDS
    known = {"distill": METHOD_NAMES, "select": SELECTIONS}
    assert command not in known or rest[0] in known[command]
