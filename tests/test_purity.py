"""Files, clocks, the environment, printing and heavy imports stay at the edges; the pure core is pure by inspection."""

import ast
from pathlib import Path

import pytest

import jaxdistill

ROOT = Path(jaxdistill.__file__).parent
READERS = ("data/source.py", "data/pictures.py", "data/prepared.py")
FLOORS = (
    "common", "losses data", "augment networks", "training kernels", "diffusion", "evaluation selection",
    "methods", "presets", "io", "engine", "settings", "report", "commands", "api cli",
)  # fmt: skip
"""Rooms from the ground up: each imports from the floors below it. Everyone may import `types` and `errors`, none
`testing`."""
EDGES = (
    *(f"{room}/" for floor in FLOORS[8:] for room in floor.split()),
    "__main__.py",
    *READERS,
    "kernels/tangents.py",
)
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


def test_one_file_imports_neural_tangents():
    """Which does not import by itself on today's JAX."""
    names = {path: {name for name, _ in imported(ast.parse(path.read_text()))} for path in ROOT.rglob("*.py")}
    assert [path for path in names if "neural_tangents" in names[path]] == [ROOT / "kernels/tangents.py"]


@pytest.mark.parametrize("path", ROOT.rglob("*.py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_imports_are_lazy(path):
    top = ast.Module(body=ast.parse(path.read_text()).body, type_ignores=[])
    tops = [node for node in top.body if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not {name for node in tops for name, _ in imported(ast.Module(body=[node], type_ignores=[]))} & HEAVY


def rooms(path):
    """The rooms that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("jaxdistill"):
            parts = node.module.split(".")[1:]
            yield from parts[:1] or [alias.name for alias in node.names]


@pytest.mark.parametrize("path", ROOT.glob("*/**/*.py"), ids=lambda path: str(path.relative_to(ROOT)))
def test_rooms_stand_on_floors(path):
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms.split()} | {"testing": len(FLOORS)}
    own = path.relative_to(ROOT).parts[0]
    above = {room for room in rooms(path) if room != own and floor.get(room, -1) >= floor[own]}
    assert not above, f"{own} stands on {above}, which is not below it"


def test_every_room_has_a_floor_and_none_is_too_large():
    lines = {
        room.name: sum(len(p.read_text().splitlines()) for p in room.rglob("*.py"))
        for room in ROOT.iterdir()
        if room.is_dir()
    }
    lines.pop("__pycache__", None)
    assert set(lines) == set(" ".join(FLOORS).split())
    assert max(lines.values()) < 0.15 * sum(lines.values())


@pytest.mark.parametrize("room", sorted(" ".join(FLOORS).split()))
def test_the_files_of_a_room_form_no_circle(room):
    names = {path.stem: path for path in (ROOT / room).glob("*.py") if path.stem != "__init__"}
    below = {
        name: {
            part
            for node in ast.parse(path.read_text()).body
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"jaxdistill.{room}")
            for part in node.module.split(".")[2:] or [alias.name for alias in node.names]
            if part in names
        }
        for name, path in names.items()
    }
    while ready := [name for name, needs in below.items() if not needs & set(below)]:
        for name in ready:
            del below[name]
    assert not below
