"""The notebooks stand as they were executed, and run. Their outputs are renewed by ``jupyter execute --inplace``."""

import ast
import re
from pathlib import Path

import pytest
import test_contract as contract

import jaxdistill as jd

nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[1] / "experiments" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LARGEST = 400_000
OF_TUPLES = ("_asdict", "_fields", "_replace")
NAMED = [path.stem for path in NOTEBOOKS]


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook, [cell for cell in notebook.cells if cell.cell_type == "code"]


def texts(outputs):
    """Everything in outputs but pictures."""
    for output in outputs:
        yield output.get("text", "")
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/"):
                yield re.sub(r"base64,[A-Za-z0-9+/=]+", "", value)


def test_there_are_five():
    assert [name[:2] for name in NAMED] == ["01", "02", "03", "04", "05"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMED)
def test_a_notebook_stands_as_it_was_executed(path):
    notebook, cells = read(path)
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown"
    assert notebook.cells[0].source.startswith("# ")
    assert path.stat().st_size < LARGEST
    assert [cell.execution_count for cell in cells] == list(range(1, 1 + len(cells)))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    pictures = [kind for output in outputs for kind in output.get("data", {}) if kind.startswith("image/")]
    assert pictures or any("<img" in text for text in texts(outputs))
    for text in (*texts(outputs), *(cell.source for cell in notebook.cells)):
        assert not re.search(r"(?<![\w.:/<])/(?:home|tmp|root|usr|work|var|Users|opt)\b|[A-Z]:\\\\", text), text[:200]
        assert not re.search(r"0x[0-9a-f]{6,}", text), text[:200]
        assert "Warning" not in text


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMED)
def test_a_notebook_names_only_what_is_public(path):
    for cell in read(path)[1]:
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Import):
                assert all(name.name == "jaxdistill" or not name.name.startswith("jaxdistill") for name in node.names)
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("jaxdistill")
            if isinstance(node, ast.Attribute):
                assert not node.attr.startswith("_") or node.attr in OF_TUPLES
                if isinstance(node.value, ast.Name) and node.value.id == "jd":
                    assert node.attr in jd.__all__


@pytest.fixture(scope="module")
def registered():
    """The method of the fourth notebook as its two cells define it, registered while this file is tested."""
    before = dict(jd.METHODS)
    [path] = [path for path in NOTEBOOKS if path.stem.startswith("04")]
    scope = {"__name__": "notebook"}
    for cell in read(path)[1]:
        if cell.metadata.get("tags"):
            exec(compile(cell.source, path.name, "exec"), scope)
    [config] = jd.METHODS.keys() - before.keys()
    yield config
    del jd.METHODS[config]


@pytest.fixture(scope="module", params=contract.NETWORKS)
def case(request, registered):
    return contract.stepped(registered, request.param)


@pytest.fixture(scope="module")
def plain(registered):
    return contract.stepped(registered, contract.NETWORKS[0])


@pytest.mark.parametrize(
    "holds",
    [
        contract.test_builds_are_abstract_and_steps_keep_structure,
        contract.test_a_step_changes_the_set_and_the_set_reads_out_whole,
        contract.test_same_key_same_result_and_other_key_another,
    ],
)
def test_the_notebooks_method_keeps_the_contract(holds, case):
    holds(case)


@pytest.mark.parametrize(
    "holds", [contract.test_no_key_is_used_twice, contract.test_a_program_with_float64_keeps_the_types_of_its_state]
)
def test_the_notebooks_method_keeps_the_contract_of_keys_and_types(holds, plain):
    holds(plain)


def test_the_notebooks_method_is_scanned_vmapped_and_resumed(registered, plain, tmp_path):
    contract.test_scan_and_vmap_agree_with_the_jitted_steps(registered)
    contract.test_the_loop_is_the_steps_whatever_its_chunks_and_goes_on_from_a_checkpoint(plain, tmp_path)


def executed(notebook, folder, monkeypatch):
    """The cells with code, after a fresh kernel ran all of them."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(Path(jd.__file__).parents[1]))
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=500, kernel_name="python3", resources=resources).execute()
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMED)
def test_a_notebook_runs_to_its_end_in_a_fresh_kernel(path, tmp_path, monkeypatch):
    notebook, cells = read(path)
    for cell in cells:
        cell.outputs, cell.execution_count = [], None
    cells = executed(notebook, tmp_path, monkeypatch)
    assert [cell.execution_count for cell in cells] == list(range(1, 1 + len(cells)))
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_progress_is_one_line_that_is_drawn_over_itself(tmp_path, monkeypatch):
    notebook = nbformat.v4.new_notebook()
    lines = ["import jaxdistill as jd", 'run = jd.distill("dm", jd.load("digits"), 1, steps=4, width=8, chunk=1)']
    notebook.cells = [nbformat.v4.new_code_cell("\n".join(lines)), nbformat.v4.new_code_cell("run.more(2);")]
    for cell, total in zip(executed(notebook, tmp_path, monkeypatch), (4, 6), strict=True):
        [output] = cell.outputs
        assert output.output_type == "display_data"
        assert f'<progress value="{total}" max="{total}"></progress> {total}/{total}, ' in output.data["text/html"]
