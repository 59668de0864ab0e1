"""The README's Python runs as printed, and its commands are ones that there are."""

import re
import shlex
from pathlib import Path

import jax
import pytest

from jaxdistill.cli import COMMANDS
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.selection import SELECTIONS

README = (Path(__file__).parents[1] / "README.md").read_text()
FUNCTIONS, LOADER = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_the_functions_example_runs(capsys):
    with jax.debug_key_reuse(True):
        exec(compile(FUNCTIONS, "README.md", "exec"), {})
    said = capsys.readouterr().out
    first, last = re.match(r"([\d.]+) -> ([\d.]+) \(100, 8, 8, 1\)", said).groups()
    assert float(last) < float(first)


def test_the_loader_example_runs_on_a_set(tmp_path, monkeypatch):
    import numpy as np

    from jaxdistill.data.preprocess import Preprocess
    from jaxdistill.run.artifact import save_set
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


@pytest.mark.parametrize("line", re.findall(r"^jaxdistill .*$", README, flags=re.MULTILINE))
def test_commands_exist(line):
    _, command, *rest = shlex.split(line.split("   ")[0])
    assert command in COMMANDS
    known = {"distill": METHOD_NAMES, "select": SELECTIONS}
    assert command not in known or rest[0] in known[command]
