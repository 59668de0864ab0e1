import io
import json
import struct
import sys
import types
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jaxdistill.cli import main
from jaxdistill.engine.callbacks import Metrics, Previews, Progress, TensorBoard, WandB
from jaxdistill.io.pictures import grid
from jaxdistill.types import SyntheticSet


class Chunk(NamedTuple):
    step: int
    state: object
    infos: object
    seconds: float = 0.5
    compile_seconds: float = 0.0


class Info(NamedTuple):
    loss: np.ndarray
    restarts: np.ndarray


def chunk(first: int, losses: list[float], state: object = None) -> Chunk:
    infos = Info(np.asarray(losses, np.float32), np.arange(first, first + len(losses), dtype=np.int32))
    return Chunk(first + len(losses) - 1, state, infos)


def read(path):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return [json.loads(line, parse_constant=refuse) for line in path.read_text().splitlines()]


def test_metrics_has_a_line_for_each_step_as_soon_as_a_chunk_ends(tmp_path):
    path = tmp_path / "new" / "metrics.jsonl"
    with Metrics(path, 0) as sink:
        sink(Chunk(0, None, None))
        sink(chunk(1, [0.1, float("nan")]))
        assert read(path) == [{"step": 1, "loss": 0.1, "restarts": 1}, {"step": 2, "loss": None, "restarts": 2}]
        sink(chunk(3, [float("-inf")]))
    assert read(path)[2:] == [{"step": 3, "loss": None, "restarts": 3}]
    assert np.float32(read(path)[0]["loss"]) == np.float32(0.1)


@pytest.mark.parametrize("torn", ['{"step": 5, "lo', '{"step": 2', "7\n", ""])
def test_metrics_forgets_what_comes_after_the_point_of_resumption(tmp_path, torn):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {i}, "loss": {i}}}\n' for i in (1, 2, 3, 4)) + torn)
    with Metrics(path, 2) as sink:
        assert [line["step"] for line in read(path)] == [1, 2]
        sink(chunk(3, [0.5]))
    assert [(line["step"], line["loss"]) for line in read(path)] == [(1, 1), (2, 2), (3, 0.5)]
    assert list(tmp_path.iterdir()) == [path]


def test_metrics_of_a_new_run_start_empty(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 1}\n')
    with Metrics(path, 0):
        assert path.read_text() == ""


def test_progress_prints_about_ten_plain_lines_into_a_log():
    log = io.StringIO()
    with Progress(200, 100, "dm [digits]", Console(file=log, width=20)) as sink:
        sink(Chunk(100, None, None))
        for step in range(101, 201):
            sink(chunk(step, [step / 1000]))
    lines = log.getvalue().splitlines()
    assert len(lines) == 10
    assert lines[0] == "dm [digits]: step 110 of 200, 2 steps/s, 0:00:45 left, loss 0.11"
    assert lines[-1] == "dm [digits]: step 200 of 200, 2 steps/s, 0:00:00 left, loss 0.2"


def test_the_time_left_says_what_it_leaves_out():
    log = io.StringIO()
    with Progress(2, 0, "dm", Console(file=log), "the evaluation") as sink:
        sink(chunk(1, [3.0]))
    assert log.getvalue() == "dm: step 1 of 2, 2 steps/s, 0:00:00 left (then the evaluation), loss 3\n"


def test_progress_on_a_terminal_ends_with_a_full_bar():
    screen = io.StringIO()
    with Progress(20, 0, "dm", Console(file=screen, force_terminal=True, width=120)) as sink:
        sink(chunk(1, [3.0] * 10))
        sink(chunk(11, [2.5] * 10))
    last = screen.getvalue()
    assert "compiling" not in last.splitlines()[-1]
    assert "20/20" in last
    assert "20 steps/s, 0:00:00 left, loss 2.5" in last


def images_of(value: float) -> np.ndarray:
    return np.full((4, 3, 3, 1), value, np.float32)


def previews(folder, every: int) -> Previews:
    """A state is a number; its set is preprocessed to ten times what is displayed."""
    return Previews(folder, lambda state: SyntheticSet(images_of(10 * state), np.eye(4)), lambda x: x / 10, 2, every)


def steps_in(folder) -> list[int]:
    return sorted(int(path.stem.removeprefix("step_")) for path in folder.iterdir())


def test_previews_show_the_first_the_last_and_some_between(tmp_path):
    with previews(tmp_path / "previews", 20) as sink:
        sink(Chunk(0, 0.0, None))
        for step in range(8, 71, 8):
            sink(chunk(step - 7, [0.0] * 8, step / 100))
    assert steps_in(tmp_path / "previews") == [0, 24, 48, 64]
    with Image.open(tmp_path / "previews" / "step_000024.png") as image:
        shown = np.asarray(image)
    np.testing.assert_array_equal(shown, grid(images_of(0.24), 2))


def test_previews_stay_few_and_keep_both_ends(tmp_path):
    with previews(tmp_path, 1) as sink:
        for step in range(1, 101):
            sink(chunk(step, [0.0], step / 100))
            assert len(steps_in(tmp_path)) <= 12
    assert steps_in(tmp_path)[0] == 1
    assert steps_in(tmp_path)[-1] == 100
    assert len(steps_in(tmp_path)) >= 6


def test_previews_leave_a_donated_state_alone_after_a_failure(tmp_path):
    def fail():
        with previews(tmp_path, 10) as sink:
            sink(chunk(1, [0.0], 0.1))
            sink(chunk(2, [0.0], None))  # reading this state would raise a TypeError
            raise RuntimeError("the next step failed")

    with pytest.raises(RuntimeError, match="the next step failed"):
        fail()
    assert steps_in(tmp_path) == [1]


def test_previews_refuse_a_zero_interval(tmp_path):
    with pytest.raises(ValueError, match="at least one step apart"):
        previews(tmp_path, 0)


def test_tensorboard_gets_every_scalar(tmp_path):
    pytest.importorskip("tensorboardX")
    from tensorboardX.proto.event_pb2 import Event

    with TensorBoard(tmp_path) as sink:
        sink(Chunk(0, None, None))
        sink(chunk(1, [0.5, 0.25]))
    (path,) = tmp_path.iterdir()
    data, found, position = path.read_bytes(), [], 0
    while position < len(data):  # records: length, its checksum, an Event, its checksum
        (length,) = struct.unpack_from("<Q", data, position)
        event = Event.FromString(data[position + 12 : position + 12 + length])
        found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
        position += 16 + length
    assert found == [(1, "loss", 0.5), (1, "restarts", 1.0), (2, "loss", 0.25), (2, "restarts", 2.0)]


def test_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match="pip install"):
        TensorBoard(tmp_path)


class Logged:
    """As much of a run of Weights & Biases as the sink uses."""

    def __init__(self, begun, **said):
        self.said, self.rows, self.status, self.id = said, [], None, said["id"] or f"id{len(begun)}"
        begun.append(self)

    def log(self, values, step):
        assert self.status is None
        self.rows.append((step, values))

    def finish(self, exit_code):
        self.status = exit_code


@pytest.fixture
def begun(monkeypatch):
    """Runs of a module that stands in for wandb."""
    fake, found = types.ModuleType("wandb"), []
    fake.init = lambda **said: Logged(found, **said)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return found


def test_wandb_gets_every_finite_scalar(tmp_path, begun):
    with WandB(tmp_path / "new", "sets", {"ipc": 1}) as sink:
        sink(Chunk(0, None, None))
        sink(chunk(1, [0.5, float("nan")]))
    (run,) = begun
    assert run.rows == [(1, {"loss": 0.5, "restarts": 1}), (2, {"restarts": 2})]
    assert run.status == 0
    assert run.said == {
        "project": "sets", "id": None, "name": "new", "resume": "allow", "dir": str(tmp_path / "new"),
        "config": {"ipc": 1}, "settings": {"console": "off", "silent": False},
    }  # fmt: skip


def test_a_resumed_run_goes_on_with_its_own_of_wandb(tmp_path, begun):
    def fail():
        with WandB(tmp_path, "sets", {}) as sink:
            sink(chunk(1, [0.5]))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    with WandB(tmp_path, "other", {}) as sink:
        sink(chunk(2, [0.5]))
    with WandB(tmp_path / "second", "sets", {}):
        pass
    assert [(run.id, run.said["project"], run.status) for run in begun] == [
        ("id0", "sets", 1), ("id0", "sets", 0), ("id2", "sets", 0)
    ]  # fmt: skip


def test_wandb_that_is_not_there_is_told_before_anything_begins(tmp_path, monkeypatch, begun):
    for missing in (None, types.ModuleType("wandb")):  # the second is a folder of that name
        monkeypatch.setitem(sys.modules, "wandb", missing)
        with pytest.raises(ValueError, match=r"pip install 'jaxdistill\[wandb\]'"):
            WandB(tmp_path, "sets", {})
        words = [
            "distill",
            "dm",
            "--dataset",
            "digits",
            "--ipc",
            "1",
            "--wandb",
            "sets",
            "--out",
            str(tmp_path / "run"),
        ]
        assert main(words) == 2
    assert not list(tmp_path.iterdir())


def test_wandb_that_refuses_is_told_in_a_sentence(tmp_path, monkeypatch, begun):
    def refuse(**said):
        raise RuntimeError("api_key not\nconfigured")

    monkeypatch.setattr(sys.modules["wandb"], "init", refuse)
    with pytest.raises(ValueError, match=r"api_key not configured.*WANDB_MODE=offline"), WandB(tmp_path, "sets", {}):
        pass


def test_a_run_logs_to_wandb_and_keeps_the_same_when_it_goes_on(tmp_path, begun):
    out = tmp_path / "run"
    words = ["distill", "dm", "--dataset", "digits", "--ipc", "1", "--width", "4", "--real-batch", "4", "--quiet"]
    words += ["--eval-seeds", "0", "--out", str(out), "--wandb", "sets"]
    assert main([*words, "--steps", "2"]) == 0
    assert main([*words, "--steps", "3", "--resume"]) == 0
    assert [[step for step, _ in run.rows] for run in begun] == [[1, 2], [3]]
    assert {run.id for run in begun} == {"id0"}
    assert begun[0].said["config"]["method"]["name"] == "dm"
    assert "wandb" not in json.dumps(json.loads((out / "config.json").read_text()))
