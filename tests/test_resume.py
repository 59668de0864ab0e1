"""Runs that are cut anywhere end in the same bits; damaged checkpoints are passed over; devices do not matter."""

import json
import random
import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import EIGHT_DEVICES, finish, in_two_processes, started
from safetensors.numpy import load_file

from jaxdistill.cli import main
from jaxdistill.io import checkpoint

RUN = ["distill", "dm", "--dataset", "digits", "--ipc", "2", "--width", "8", "--real-batch", "16", "--log-every", "2"]
EVALUATION = ["--eval-seeds", "2", "--eval-epochs", "3"]


def words(out, *options):
    return [*RUN, *options, "--out", str(out), "--quiet"]


def bits(out):
    return (out / "set" / "set.safetensors").read_bytes()


def lines_of(out):
    path = out / "metrics.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def cut_and_resume(tmp_path, moments):
    """Kill a run at each moment, ``(step, seconds after it)``, resuming it in between; returns the steps reached."""
    options = ["--steps", "60", "--checkpoint-seconds", "0", *EVALUATION]
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main(words(whole, *options)) == 0
    reached = []
    for step, delay in moments:
        process = started(words(cut, *options, "--resume"))
        while lines_of(cut) < step and process.poll() is None:
            time.sleep(0.002)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached.append(lines_of(cut))
    assert main(words(cut, *options, "--resume")) == 0
    assert bits(cut) == bits(whole)
    assert (cut / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()
    rows = [json.loads((run / "evaluation.json").read_text())["rows"] for run in (cut, whole)]
    assert [row["accuracies"] for row in rows[0]] == [row["accuracies"] for row in rows[1]]
    assert not [path for path in cut.iterdir() if path.name.startswith(".")], "temporary files were left behind"
    return reached


def test_a_killed_run_ends_in_the_same_bits(tmp_path):
    reached = cut_and_resume(tmp_path, [(8, 0.01)])
    assert 8 <= reached[0] < 60


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_in_the_same_bits(tmp_path):
    rng = random.Random(0)
    moments = [(step, rng.uniform(0, 0.1)) for step in sorted(rng.randrange(60) for _ in range(9))]
    reached = cut_and_resume(tmp_path, [*moments, (60, 1.0)])  # the last one while networks are being trained
    assert len(set(reached)) > 4


def test_an_interrupted_run_saves_what_it_has_and_keeps_others_out_of_its_folder(tmp_path, capsys):
    out, long = tmp_path / "run", ["--steps", "100000", "--eval-seeds", "0"]
    process = started(words(out, *long))
    while lines_of(out) < 4 and process.poll() is None:
        time.sleep(0.01)
    assert main(words(out, *long, "--resume")) == 2
    assert "another command is at work" in capsys.readouterr().err
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 1, said
    assert "--resume" in said
    assert [path.name for path in (out / "checkpoints").iterdir()] == [f"{lines_of(out):08d}"]


def test_a_torn_checkpoint_is_passed_over_and_said_so(tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--steps", "12", "--checkpoint-seconds", "0", "--eval-seeds", "0", "--out", str(out)]
    assert main([*RUN, *options]) == 0
    before = bits(out)
    folders = sorted((out / "checkpoints").iterdir())
    assert len(folders) >= 2
    for path in folders[-1].rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    capsys.readouterr()
    assert main([*RUN, *options, "--resume"]) == 0
    said = capsys.readouterr().err
    assert f"checkpoint {int(folders[-1].name)} cannot be read" in said.replace("\n", " ")
    assert f"resuming after step {int(folders[-2].name)}" in said
    assert bits(out) == before


def test_a_checkpoint_with_other_content_is_not_taken(tmp_path):
    state = {"images": jnp.arange(6.0), "count": jnp.int32(3)}
    abstract = jax.eval_shape(lambda: state)
    assert checkpoint.restore(tmp_path / "none", abstract, pytest.fail) is None
    for step in range(1, 6):
        checkpoint.save(
            tmp_path, step, jax.tree.map(lambda leaf, step=step: leaf + step, state), {"seconds": 2.0 * step}
        )
    assert sorted(int(p.name) for p in tmp_path.iterdir()) == [3, 4, 5]
    step, found, notes = checkpoint.restore(tmp_path, abstract, pytest.fail)
    assert (step, notes) == (5, {"seconds": 10.0})
    np.testing.assert_array_equal(found["images"], np.arange(6.0) + 5)
    digest = next((tmp_path / "00000005" / "digest").glob("metadata*"))
    digest.write_text(digest.read_text().replace('"sha256": "', '"sha256": "0'))
    warnings = []
    assert checkpoint.restore(tmp_path, abstract, warnings.append)[0] == 4
    assert len(warnings) == 1
    assert "not what was written" in warnings[0]


@pytest.fixture(scope="module")
def on_one_device(tmp_path_factory):
    out = tmp_path_factory.mktemp("one") / "run"
    assert main([*RUN, "--steps", "5", *EVALUATION, "--out", str(out), "--quiet"]) == 0
    return out


def same(out, other):
    images = [load_file(run / "set" / "set.safetensors")["images"] for run in (out, other)]
    np.testing.assert_allclose(*images, rtol=1e-5, atol=1e-5)
    rows = [json.loads((run / "evaluation.json").read_text())["rows"] for run in (out, other)]
    for one, two in zip(*rows, strict=True):
        np.testing.assert_allclose(one["accuracies"], two["accuracies"], atol=2 / 300)


def test_eight_devices_give_the_set_and_the_accuracies_of_one(on_one_device, tmp_path):
    out = tmp_path / "run"
    finish(started(words(out, "--steps", "5", *EVALUATION), **EIGHT_DEVICES))
    assert "8 x" in json.loads((out / "set" / "card.json").read_text())["cost"]["device"]
    same(on_one_device, out)


def test_two_processes_give_the_result_of_one_and_the_first_alone_writes(on_one_device, tmp_path):
    out, said = in_two_processes([*RUN, "--steps", "5", *EVALUATION, "--quiet"], tmp_path)
    assert "test accuracy" not in said[1]  # (the collectives greet on standard output)
    same(on_one_device, out)
