"""Files, clocks, the environment, printing and heavy imports stay at the edges; the pure core is pure by inspection."""

import ast
from pathlib import Path

import pytest

import jaxdistill

ROOT = Path(jaxdistill.__file__).parent
READERS = ("data/source.py", "data/pictures.py", "data/prepared.py")
EDGES = ("run/", "cli.py", "__main__.py", *READERS, "kernels/tangents.py")
IMPURE = {
    "asyncio", "datetime", "glob", "io", "logging", "multiprocessing", "os", "pathlib", "random", "shutil", "socket",
    "subprocess", "sys", "tempfile", "threading", "time", "urllib", "requests", "rich", "tyro", "orbax", "matplotlib",
    "PIL", "jinja2", "safetensors", "tensorboardX",
}  # fmt: skip
HEAVY = {"tensorflow", "tensorflow_datasets", "torch", "wandb", "grain", "tensorboardX"}
PURE = [path for path in ROOT.rglob("*.py") if not str(path.relative_to(ROOT)).startswith((*EDGES, "__init__.py"))]


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield (node.module or "").split(".")[0], node


def calls(tree):
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}


def test_the_walk_sees_the_core():
    assert {path.name for path in PURE} >= {"dm.py", "convolution.py", "feeds.py", "protocol.py", "herding.py"}


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_touches_nothing_outside(path):
    tree = ast.parse(path.read_text())
    assert not {name for name, _ in imported(tree)} & (IMPURE | HEAVY)
    assert not calls(tree) & {"print", "open", "input"}
    edges = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    assert not [m for m in edges if m.startswith(("jaxdistill.run", "jaxdistill.cli", "jaxdistill.data.source"))]


def test_one_file_imports_neural_tangents():
    """Which does not import by itself on today's JAX."""
    names = {path: {name for name, _ in imported(ast.parse(path.read_text()))} for path in ROOT.rglob("*.py")}
    assert [path for path in names if "neural_tangents" in names[path]] == [ROOT / "kernels/tangents.py"]


@pytest.mark.parametrize("path", ROOT.rglob("*.py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_imports_are_lazy(path):
    top = ast.Module(body=ast.parse(path.read_text()).body, type_ignores=[])
    tops = [node for node in top.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not {name for node in tops for name, _ in imported(ast.Module(body=[node], type_ignores=[]))} & HEAVY
