"""The notes say what is there: tables are their rows', files that are named exist, and examples run."""

import dataclasses
import re
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_contract import make_task
from toys import make_toy

import jaxdistill as jd

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "experiments"))
tables = pytest.importorskip("tables")
sys.path.pop(0)

PAGES = {path: (ROOT / path).read_text() for path in ("BUILD_NOTES.md", ".github/CONTRIBUTING.md")}
EXAMPLES = re.findall(
    r"(?:`([\w/]+)\.py`, whole:\n\n)?```python\n(.*?)```", PAGES[".github/CONTRIBUTING.md"], flags=re.DOTALL
)
INVENTED = {f"{path}.py" for path, _ in EXAMPLES}
FILES = {
    (page, name)
    for page, text in PAGES.items()
    for name in re.findall(r"`((?:[\w.]+/)+[\w.]*|types\.py|pyproject\.toml)`", text)
    if name.endswith((".py", ".png", ".toml", ".jsonl", "/")) or name == ".ci/run"
}


def test_tables_are_what_the_command_makes():
    """Lines of the house's rooms are those of the last time that it was drawn."""
    notes = PAGES["BUILD_NOTES.md"]
    drawn = re.compile(r"(?<=<!-- table house -->\n).*?(?=<!-- end -->)", re.DOTALL)
    made = tables.written(notes)
    assert drawn.sub("", made) == drawn.sub("", notes)
    (there,), (now,) = (re.findall(drawn, text) for text in (notes, made))
    assert re.sub(r"[\d %]", "", there) == re.sub(r"[\d %]", "", now)


def test_every_row_is_in_a_table_of_the_notes():
    shown = set(re.findall(r"<!-- table (.+?) -->", PAGES["BUILD_NOTES.md"])) - {"house"}
    assert shown == set(tables.TABLES) == {tables.table_of(row) for row in tables.rows()}


def test_a_number_is_published_only_with_its_source():
    for row in tables.rows():
        if known := row.get("published"):
            assert known["source"]
            assert row["gap"] == pytest.approx(row["mean"] - known["mean"])


@pytest.mark.parametrize(("page", "name"), sorted(FILES - {(page, name) for page in PAGES for name in INVENTED}))
def test_files_that_are_named_exist(page, name):
    assert (ROOT / name).exists() or (ROOT / "jaxdistill" / name).exists()


@pytest.mark.parametrize("page", PAGES)
def test_links_within_a_page_lead_somewhere(page):
    heads = re.findall(r"^#+ (.+)$", PAGES[page], flags=re.MULTILINE)
    known = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    assert set(re.findall(r"\]\(#([^)]+)\)", PAGES[page])) <= known


@pytest.fixture
def scope(monkeypatch):
    """What the examples of the page define, one after the other."""
    names = {}
    for path, example in EXAMPLES:
        module = types.ModuleType(path.replace("/", ".") or "example")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(example, "CONTRIBUTING.md", "exec"), vars(module))
        names |= vars(module)
    return names


def test_the_examples_of_the_page_run(scope):
    data, task = jax.tree.map(jnp.asarray, make_toy()[0]), make_task("convnet")
    network = jd.networks.network(scope["Shallow"](8), (8, 8, 1), 4)
    method = scope["means"](scope["Means"](), dataclasses.replace(task, network=network))
    images = data.take(jnp.argsort(data.take(jnp.arange(data.count)).labels.argmax(1))[::12]).images
    start = jd.SyntheticSet(images, jnp.eye(4))

    def step(state, key):
        key_batch, key_step = jax.random.split(key)
        return method.step(key_step, state, jd.sample(method.feed, key_batch, 0, data))

    with jax.debug_key_reuse(True):
        state, info = jax.lax.scan(step, method.init(jax.random.key(0), start), jax.random.split(jax.random.key(1), 20))
    assert np.isfinite(info.loss).all()
    assert info.loss[-5:].mean() < info.loss[:5].mean()
    assert not np.array_equal(method.synthetic(state).images, start.images)
    assert scope["PAPER"].settings("digits", 1, "sketch").config == scope["Means"](image_lr=0.5)
    assert scope["PAPER"].cells == {"sketch": {}}
    assert scope["core"].synthetic.images.shape == (2, 8, 8, 1)
    features = jnp.array([[0.0], [1.0], [9.0], [5.0], [-7.0], [6.0]])
    picks = scope["farthest"](jax.random.key(0), features, jnp.array([0, 0, 0, 1, 1, 1]), 2, 2)
    assert np.sort(picks, axis=1).tolist() == [[0, 2], [4, 5]]
