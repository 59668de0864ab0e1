"""Runs that draw from an expert bank: what they take from it, and which ones are refused."""

import json
import shutil

import numpy as np
import pytest
from banks import DATA, MTT, SHORT, TRAIN, contents, flipped, made, read
from safetensors.numpy import load_file
from test_cli import refused
from test_readme import LOADER

from jaxdistill.cli import main
from jaxdistill.data.source import load
from jaxdistill.io.expert_bank import load_bank


@pytest.fixture(scope="module")
def run(bank, tmp_path_factory):
    """A finished run of four steps on two of the experts, with a checkpoint at each look at the loss."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(bank, folder / "bank", ignore=shutil.ignore_patterns("00002"))
    return made(folder / "run", *MTT, *SHORT, "--experts", str(folder / "bank"))


def images_of(folder):
    return load_file(folder / "set" / "set.safetensors")["images"]


def test_a_run_takes_network_and_preprocessing_from_the_bank(run, normed, tmp_path):
    config = json.loads((run / "config.json").read_text())
    bank = run.parent / "bank"
    assert config["network"] == read(bank)["network"]
    assert config["data"]["zca"] is False
    assert config["bank"] == {"experts": str(bank), "expert_count": 2, "digest": load_bank(bank).digest()}
    assert read(run / "set")["experts"] == {"count": 2, "digest": load_bank(bank).digest()}
    other = made(tmp_path / "run", *MTT[:-2], *SHORT[:-4], "--steps", "0", "--experts", str(normed))
    config = json.loads((other / "config.json").read_text())
    assert config["network"] == read(normed)["network"]
    assert config["network"]["norm"] == "batch"
    assert config["data"]["zca"] is True
    assert read(other / "set")["preprocessing"] == "ZCA whitening"
    shown = {}  # by the README's words, which know nothing of whitening but what the file says
    exec(compile(LOADER.replace("runs/first", str(other)), "README.md", "exec"), shown)
    real = load("digits").train_images.reshape(1, -1, 64) / 255
    assert np.abs(shown["pixels"].reshape(10, 1, 64) - real).max(-1).min(-1).max() < 1e-4


def test_a_bank_that_stays_on_disk_gives_the_same_set(run, tmp_path):
    out = made(tmp_path / "run", *MTT, *SHORT, "--experts", str(run.parent / "bank"), "--max-device-gib", "0")
    np.testing.assert_allclose(images_of(out), images_of(run), rtol=1e-5, atol=1e-5)
    losses = [[json.loads(line)["loss"] for line in (r / "metrics.jsonl").read_text().splitlines()] for r in (out, run)]
    assert len(losses[0]) == 4
    np.testing.assert_allclose(*losses, rtol=1e-4)


def test_a_resumed_run_keeps_its_experts_where_some_were_added(run, bank, tmp_path, capsys):
    cut, more, other = tmp_path / "cut", tmp_path / "more", tmp_path / "other"
    shutil.copytree(run, cut)
    shutil.rmtree(max((cut / "checkpoints").iterdir()))
    reached = int(max((cut / "checkpoints").iterdir()).name)
    assert 0 < reached < 4
    shutil.copytree(bank, more)
    again = ["distill", "mtt", "--resume", "--out", str(cut), "--experts"]
    made(other, *TRAIN, "--count", "2", "--seed", "5")
    capsys.readouterr()
    assert "(digest differ)" in refused(capsys, [*again, str(other)], tmp_path)
    assert "expert_count" in refused(capsys, [*again, str(more), "--expert-count", "3"], tmp_path)
    assert len(load_bank(more).params) == 3
    assert main([*again, str(more)]) == 0  # that it was moved does not matter
    assert f"resuming after step {reached}" in capsys.readouterr().err
    assert (cut / "set" / "set.safetensors").read_bytes() == (run / "set" / "set.safetensors").read_bytes()
    assert json.loads((cut / "config.json").read_text())["bank"]["expert_count"] == 2


@pytest.fixture(scope="module")
def strangers(tmp_path_factory):
    """Data sets of as many images of ten classes: one of digits' size, and one of another."""
    folder, rng = tmp_path_factory.mktemp("strangers"), np.random.default_rng(0)
    for side in (8, 6):
        arrays = {f"x_{split}": rng.integers(0, 256, (30, side, side), np.uint8) for split in ("train", "test")}
        np.savez(folder / f"{side}.npz", **arrays, y_train=np.arange(30) % 10, y_test=np.arange(30) % 10)
    return folder


@pytest.mark.parametrize(
    ("which", "words", "says"),
    [
        ("bank", ["--width", "4"], "another network than this run's (--network mlp --width 8"),
        ("bank", ["--network", "convnet"], "another network"),
        ("bank", ["--norm", "batch"], "mlp has no --norm here"),
        ("bank", ["--activation", "sigmoid"], "mlp has no --activation here"),
        ("normed", ["--norm", "instance"], "another network"),
        ("normed", ["--pooling", "max"], "another network"),
        ("bank", ["--zca"], "saw images that were not whitened; leave --zca out"),
        ("normed", ["--no-zca"], "saw images that were whitened; leave --no-zca out"),
        ("bank", ["--statistics", "fitted"], "saw images that were normalised by statistics default; leave"),
        ("bank", ["--dataset", "8.npz"], "were trained on other images"),
        ("bank", ["--dataset", "6.npz"], "were trained on digits, not on data like this"),
        ("bank", ["--max-start", "50"], "need experts of 50 epochs, and these have 2; train longer ones"),
        ("bank", ["--expert-epochs", "3"], "need experts of 3 epochs, and these have 2"),
        (None, [], "mtt matches experts; make some with 'jaxdistill experts' and give them with --experts"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value or "",
)
def test_a_run_that_does_not_fit_its_experts_is_refused(which, words, says, request, strangers, tmp_path, capsys):
    given = [] if which is None else ["--experts", str(request.getfixturevalue(which))]
    words = [str(strangers / word) if word.endswith(".npz") else word for word in words]
    assert says in refused(capsys, [*MTT, *SHORT, *given, *words, "--out", str(tmp_path / "run")], tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["distill", "dm"], "neither dm nor a start by real uses experts; leave --experts out"),
        (["distill", "dm", "--init", "kmeans"], "neither dm nor a start by kmeans uses experts"),
        (["select", "random"], "random uses no experts with these options; leave --experts out"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_experts_that_nothing_uses_are_refused(words, says, normed, tmp_path, capsys):
    words = [*words, *DATA, "--ipc", "1", "--experts", str(normed), "--out", str(tmp_path / "run")]
    assert says in refused(capsys, words, tmp_path)


def test_a_run_reads_no_damaged_bank(bank, tmp_path, capsys):
    shutil.copytree(bank, tmp_path / "bank")
    path = tmp_path / "bank" / "00001" / "params.npy"
    path.write_bytes(flipped(path.read_bytes()))
    words = [*MTT, *SHORT, "--experts", str(tmp_path / "bank"), "--out", str(tmp_path / "run")]
    assert "00001 is not what its card was written for; remove it and resume" in refused(capsys, words, tmp_path)
    shutil.rmtree(path.parent)  # as it says
    made(tmp_path / "bank", "experts", "--resume", "--count", "3", "--quiet")
    assert contents(tmp_path / "bank") == contents(bank)
