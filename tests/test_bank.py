"""Expert banks: what is written and what it says, what is refused, and runs that draw from one."""

import dataclasses
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file
from test_cli import refused

from jaxdistill import cli
from jaxdistill.cli import main
from jaxdistill.evaluate.train import correct
from jaxdistill.experts import EXPERTS, ExpertRecipe, expert_epoch, expert_preset
from jaxdistill.run import experts as training
from jaxdistill.run.bank import BankError, load_bank, open_bank
from jaxdistill.run.config import DataConfig, NetworkConfig
from jaxdistill.run.folder import hold
from jaxdistill.run.record import record
from jaxdistill.run.resolve import augmentation, only_network, open_bench
from jaxdistill.trajectories import flatten
from jaxdistill.types import Variables

DATA = ["--dataset", "digits", "--quiet"]
NETWORK = ["--network", "mlp", "--width", "8"]
RECIPE = ["--augment", "none", "--learning-rate", "0.1", "--batch", "256", "--momentum", "0.5"]
TRAIN = ["experts", *DATA, *NETWORK, *RECIPE, "--epochs", "2"]
NORMED = ["experts", *DATA, "--width", "8", "--depth", "1", "--epochs", "2", "--preset", "selmatch", "--zca"]
MTT = ["distill", "mtt", *DATA, "--ipc", "1", "--augment", "none", "--eval-seeds", "0", "--checkpoint-seconds", "0"]
SHORT = ["--max-start", "1", "--expert-epochs", "1", "--student-steps", "2", "--steps", "4", "--chunk", "2"]


def made(out, *words):
    assert main([*words, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def bank(tmp_path_factory):
    return made(tmp_path_factory.mktemp("experts") / "bank", *TRAIN, "--count", "3")


@pytest.fixture(scope="module")
def normed(tmp_path_factory):
    """One expert with batch normalisation on whitened images."""
    return made(tmp_path_factory.mktemp("experts") / "normed", *NORMED, "--learning-rate", "0.1", "--count", "1")


@pytest.fixture(scope="module")
def bench():
    return open_bench(DataConfig("digits"))


@pytest.fixture(scope="module")
def network(bench):
    return only_network(NetworkConfig("mlp", 8), bench)


def experts_of(folder):
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def read(path):
    return json.loads((path / "card.json").read_text())


def contents(folder):
    """Every file of the experts but the seconds they took."""
    files = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.np*")}
    cards = {path.name: {k: v for k, v in read(path).items() if k != "seconds"} for path in experts_of(folder)}
    return files, cards


def whole(folder):
    """Every expert that is there is all there."""
    for path in experts_of(folder):
        assert {file.name for file in path.iterdir()} == {"params.npy", "history.npz", "card.json"}
        params = np.load(path / "params.npy")
        assert hashlib.sha256(params.tobytes()).hexdigest() == read(path)["sha256"]
        assert len(np.load(path / "history.npz")["error"]) == len(params) - 1
    return len(experts_of(folder))


@pytest.mark.parametrize(("which", "files"), [("bank", []), ("normed", ["statistics.npy"])])
def test_a_bank_is_what_its_card_says(which, files, request, bench):
    folder = request.getfixturevalue(which)
    card = read(folder)
    numbers = [f"{i:05d}" for i in range(len(experts_of(folder)))]
    assert {path.name for path in folder.iterdir()} == {"card.json", "preprocess.safetensors", *numbers}
    assert (card["epochs"], card["seed"], card["dtype"], card["network"]["width"]) == (2, 0, "float32", 8)
    assert card["data"] == {"dataset": "digits", "zca": which == "normed"}
    assert card["whitened"] == card["data"]["zca"]
    sizes = sum(int(np.prod(shape)) for _, shape in card["parameters"])
    stored = load_bank(folder)
    assert ("whiten" in load_file(folder / "preprocess.safetensors")) == card["whitened"]
    np.testing.assert_array_equal(stored.preprocess.mean, np.zeros(1) if card["whitened"] else bench.preprocess.mean)
    for path, params in zip(experts_of(folder), stored.params, strict=True):
        assert {file.name for file in path.iterdir()} == {"params.npy", "history.npz", "card.json", *files}
        assert params.shape == (3, sizes)
        assert params.dtype == np.float32
        np.testing.assert_array_equal(params, np.load(path / "params.npy"))
        if files:
            assert np.load(path / "statistics.npy").shape == (3, card["statistics"])
    seen = stored.history(0)
    assert [leaf.shape for leaf in seen] == [(2, bench.train.count)] * 3
    assert [leaf.dtype for leaf in seen] == [bool, np.float32, np.float32]
    last = stored.history(len(stored.params) - 1).correct[-1].mean()
    assert read(path)["train_accuracy"] == pytest.approx(float(last), abs=1e-6)


def test_snapshots_and_history_are_the_initial_network_and_each_epoch(bank, bench, network):
    """Of expert 1, by the key of the seed and its number alone."""
    stored = load_bank(bank)
    key = jax.random.fold_in(jax.random.key(0), 1)
    variables = network.init(key)
    np.testing.assert_allclose(stored.params[1][0], flatten(variables.params), rtol=1e-6)
    velocity = jax.tree.map(jnp.zeros_like, variables.params)
    recipe = ExpertRecipe(0.1, 256, 0.5, augment="none")
    assert read(bank)["recipe"] == dataclasses.asdict(recipe)
    step = jax.jit(lambda key, v, m: expert_epoch(key, network, v, m, bench.train, recipe, augmentation("none", bench)))
    history = jax.tree.map(np.asarray, stored.history(1))
    for epoch in range(2):
        before = flatten(variables.params)
        variables, velocity, seen = step(jax.random.fold_in(key, 1 + epoch), variables, velocity)
        moved = np.linalg.norm(flatten(variables.params) - before)
        assert np.linalg.norm(stored.params[1][epoch + 1] - flatten(variables.params)) < 1e-4 * moved
        assert (history.correct[epoch] == seen.correct).mean() > 0.999
        np.testing.assert_allclose(history.confidence[epoch], seen.confidence, rtol=2**-11, atol=1e-4)
        np.testing.assert_allclose(history.error[epoch], seen.error, rtol=2**-11, atol=1e-4)


def test_an_expert_is_the_same_whatever_the_count_and_is_never_trained_again(bank, tmp_path):
    out = made(tmp_path / "bank", *TRAIN, "--count", "2")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    made(out, "experts", "--resume", "--count", "3", "--quiet")  # all else is as it was
    assert contents(out) == contents(bank)
    assert len({read(path)["sha256"] for path in experts_of(out)}) == 3
    assert (out / "card.json").read_bytes() == (bank / "card.json").read_bytes()
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = made(tmp_path / "other", *TRAIN, "--count", "1", "--seed", "1")
    assert load_bank(other).digest() != load_bank(bank, 1).digest() != load_bank(bank).digest()
    assert np.abs(load_bank(other).params[0] - load_bank(bank).params[0]).max() > 0.01


@pytest.mark.slow
def test_an_expert_is_the_same_whatever_is_trained_beside_it(bank, tmp_path):
    out = made(tmp_path / "bank", *TRAIN, "--count", "3", "--experts-at-once", "2")
    for one, other in zip(load_bank(out).params, load_bank(bank).params, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_bfloat16_is_half_the_size_and_rounded(bank, tmp_path):
    half = made(tmp_path / "half", *TRAIN, "--count", "1", "--dtype", "bfloat16")
    exact = np.load(bank / "00000" / "params.npy")
    bits = exact.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype(np.uint16)  # to nearest, ties to even
    np.testing.assert_array_equal(np.load(half / "00000" / "params.npy"), rounded)
    sizes = [(folder / "00000" / "params.npy").stat().st_size - 128 for folder in (half, bank)]
    assert 2 * sizes[0] == sizes[1]
    read, on_disk = open_bank(load_bank(half), limit=2**20)
    assert not on_disk
    found = read.read(np.array([0, 0]), np.array([2, 0]))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, (rounded[[2, 0]].astype(np.uint32) << 16).view(np.float32))


def test_batch_normalisation_comes_back_with_its_averages(normed):
    stored = load_bank(normed)
    bench = open_bench(DataConfig("digits", zca=True))
    network = only_network(NetworkConfig(width=8, depth=1, norm="batch"), bench)
    count = jax.jit(lambda variables: correct(network, variables, bench.test))
    end, begin = stored.variables(network, 0), stored.variables(network, 0, 0)
    assert int(count(end)) / bench.test.count == read(normed / "00000")["test_accuracy"]
    assert int(count(end)) > 0.3 * bench.test.count, "it has learned something"
    for one, other in zip(jax.tree.leaves(end.statistics), jax.tree.leaves(begin.statistics), strict=True):
        assert np.abs(one - other).min() > 0, "every average has moved"
    assert int(count(Variables(end.params, begin.statistics))) != int(count(end))


@pytest.mark.parametrize("dataset", ["digits", "cifar10"])
def test_presets_give_what_is_not_given(dataset, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(cli, "train_experts", lambda config, console: asked.append(config))
    for preset in EXPERTS:
        made(tmp_path / "bank", "experts", "--dataset", dataset, "--preset", preset, "--batch", "99")
        papers = expert_preset(preset, dataset)
        assert asked[-1].recipe == dataclasses.replace(papers.recipe, batch=99)
        assert asked[-1].network == NetworkConfig(**papers.network)
        assert asked[-1].data.zca == (dataset in papers.whitened)
    rhos, augments, norms = zip(*((c.recipe.rho, c.recipe.augment, c.network.norm) for c in asked), strict=True)
    assert rhos == (0, 0.01, 0.01, 0)
    assert augments == ("default", "default", "default", "none")
    assert norms == ("instance", "instance", "instance", "batch")
    assert [config.epochs for config in asked] == [50, 50, 100, 100]


def test_an_expert_that_fails_leaves_nothing(bank, tmp_path):
    variables = Variables({"all": jnp.zeros(sum(int(np.prod(shape)) for _, shape in read(bank)["parameters"]))}, {})

    def fail():
        with record(tmp_path, 0, read(bank)) as writer:
            writer.add(variables, None)
            raise RuntimeError("it stopped")

    with pytest.raises(RuntimeError, match="it stopped"):
        fail()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--resume", "--epochs", "3"], "another kind (epochs differ)"),
        (["--resume", "--width", "4"], "another kind (network, parameters differ)"),
        (["--resume", "--learning-rate", "0.2"], "another kind (recipe differ)"),
        (["--resume", "--seed", "1"], "another kind (seed differ)"),
        (["--resume", "--dtype", "bfloat16"], "another kind (dtype differ)"),
        (["--resume", "--zca"], "differ); leave the arguments out"),
        (["--resume", "--preset", "ftd"], "another kind (preset differ)"),
        ([], "add to it with --resume"),
        (["--count", "0"], "--count"),
        (["--resume", "--count", "-1"], "--count"),
        (["--epochs", "0"], "--epochs"),
        (["--experts-at-once", "0"], "--experts-at-once"),
        (["--preset", "dc"], "unknown preset 'dc' of experts; choose one of mtt, ftd, datm, selmatch"),
        (["--learning-rate", "-1"], "learning_rate"),
        (["--momentum", "1"], "momentum"),
        (["--network", "transformer9"], "transformer9"),
        (["--augment", "twirl"], "twirl"),
        (["--unheard", "1"], "--unheard"),
        (["--device-gib", "0"], "raise --device-gib"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(words, says, bank, capsys):
    stamps = {path: path.stat().st_mtime_ns for path in bank.rglob("*")}
    resumed = "--resume" in words
    start = ["experts", "--quiet"] if resumed else [*TRAIN, "--count", "3"]
    out = bank if resumed or not words else bank.parent / "new"
    assert says in refused(capsys, [*start, *words, "--out", str(out)], bank.parent)
    assert {path: path.stat().st_mtime_ns for path in bank.rglob("*")} == stamps


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders that are no banks."""
    place = tmp_path_factory.mktemp("folders")
    (place / "work").mkdir()
    (place / "work" / "thesis.txt").write_text("mine")
    made(place / "core", "select", "random", *DATA, "--ipc", "1", "--eval-seeds", "0")
    return place


@pytest.mark.parametrize("name", ["work", "core", "core/set", "nowhere"])
def test_a_folder_that_is_no_bank_is_refused(name, folders, capsys, tmp_path):
    folder = folders / name
    with pytest.raises(BankError, match=rf"{name} (is no expert bank|is not a bank that can be read)"):
        load_bank(folder)
    commands = [[*MTT, "--experts", str(folder), "--out", str(tmp_path / "run")]]
    if folder.exists():
        words = ([*TRAIN], [*TRAIN, "--resume"], ["experts", "--quiet", "--resume"])
        commands += [[*some, "--out", str(folder)] for some in words]
    for command in commands:
        said = refused(capsys, command, folders)
        assert str(folder) in said
        assert ";" in said, "it says what to do"
    if not folder.exists():
        assert "--dataset" in refused(capsys, ["experts", "--resume", "--out", str(folder)], folders)


def test_more_experts_than_there_are_is_refused(bank, capsys, tmp_path):
    with pytest.raises(BankError, match="has 3 whole experts, not 4; train those that"):
        load_bank(bank, 4)
    assert len(load_bank(bank, 2).params) == 2
    words = [*MTT, *SHORT, "--experts", str(bank), "--out", str(tmp_path / "run"), "--expert-count"]
    assert "has 3 whole experts, not 4" in refused(capsys, [*words, "4"], tmp_path)
    assert "--expert-count is at least 1" in refused(capsys, [*words, "0"], tmp_path)
    empty = tmp_path / "empty"
    shutil.copytree(bank, empty, ignore=shutil.ignore_patterns("0000*"))
    with pytest.raises(BankError, match="has 0 whole experts"):
        load_bank(empty)


def changed(**values):
    """A card with other values; None leaves one out."""
    said = lambda card: {k: v for k, v in {**card, **values}.items() if v is not None}  # noqa: E731
    return lambda data: json.dumps(said(json.loads(data))).encode()


def flipped(data):
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


def halved(data):
    return data[: len(data) // 2]


DAMAGE = {
    "params halved": ("00001/params.npy", halved),
    "params empty": ("00001/params.npy", lambda data: b""),
    "params one byte": ("00001/params.npy", flipped),
    "params of another expert": ("00001/params.npy", lambda data: data[:128] + data[128:][::-1]),
    "card halved": ("card.json", halved),
    "card a list": ("card.json", lambda data: b"[1, 2]"),
    "card not text": ("card.json", lambda data: b"\xff\xfe"),
    "card of another schema": ("card.json", changed(schema=2)),
    "card of more epochs": ("card.json", changed(epochs=5)),
    "card of another type": ("card.json", changed(dtype="bfloat16")),
    "card of no type": ("card.json", changed(dtype="float8")),
    "card without parameters": ("card.json", changed(parameters=None)),
    "card without digests": ("card.json", changed(digests=None)),
    "preprocessing halved": ("preprocess.safetensors", halved),
    "preprocessing one byte": ("preprocess.safetensors", flipped),
    "expert's card halved": ("00001/card.json", halved),
    "expert's card without hash": ("00001/card.json", lambda data: b"{}"),
    "history halved": ("00001/history.npz", halved),
    "history empty": ("00001/history.npz", lambda data: b""),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_bank_is_refused_with_a_sentence(kind, bank, tmp_path):
    copy = tmp_path / "bank"
    shutil.copytree(bank, copy)
    name, change = DAMAGE[kind]
    (copy / name).write_bytes(change((copy / name).read_bytes()))

    def used():
        stored = load_bank(copy)
        stored.digest()
        open_bank(stored, limit=2**30)
        stored.history(1)

    with pytest.raises(BankError, match=str(copy)) as error:
        used()
    assert "\n" not in str(error.value)
    assert ";" in str(error.value), "it says what to do"
    gc.collect()  # a file that was left open is complained of now, and not in another test


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
    other = made(tmp_path / "run", *MTT, *SHORT, "--steps", "0", "--experts", str(normed))
    config = json.loads((other / "config.json").read_text())
    assert config["network"] == read(normed)["network"]
    assert config["network"]["norm"] == "batch"
    assert config["data"]["zca"] is True
    assert read(other / "set")["preprocessing"] == "ZCA whitening"


def test_a_bank_that_stays_on_disk_gives_the_same_set(run, tmp_path):
    out = made(tmp_path / "run", *MTT, *SHORT, "--experts", str(run.parent / "bank"), "--device-gib", "0")
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
        ("bank", ["--norm", "batch"], "another network"),
        ("bank", ["--activation", "sigmoid"], "another network"),
        ("normed", ["--norm", "instance"], "another network"),
        ("normed", ["--pooling", "max"], "another network"),
        ("bank", ["--zca"], "saw images that were not whitened; leave --zca out"),
        ("normed", ["--no-zca"], "saw images that were whitened; leave --no-zca out"),
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


def test_a_run_reads_no_damaged_bank(bank, tmp_path, capsys):
    shutil.copytree(bank, tmp_path / "bank")
    path = tmp_path / "bank" / "00001" / "params.npy"
    path.write_bytes(flipped(path.read_bytes()))
    words = [*MTT, *SHORT, "--experts", str(tmp_path / "bank"), "--out", str(tmp_path / "run")]
    assert "00001 is not what its card was written for; remove it and resume" in refused(capsys, words, tmp_path)
    shutil.rmtree(path.parent)  # as it says
    made(tmp_path / "bank", "experts", "--resume", "--count", "3", "--quiet")
    assert contents(tmp_path / "bank") == contents(bank)


def test_what_is_said_of_a_missing_card_helps_to_have_it_again(bank, tmp_path):
    shutil.copytree(bank, tmp_path / "bank")
    (tmp_path / "bank" / "00002" / "card.json").unlink()
    with pytest.raises(
        BankError, match="has 2 whole experts, not 3; train those that lack with 'jaxdistill experts --resume --count'"
    ):
        load_bank(tmp_path / "bank", 3)
    made(tmp_path / "bank", "experts", "--resume", "--count", "3", "--quiet")
    assert contents(tmp_path / "bank") == contents(bank)


def test_a_second_command_is_kept_out_of_a_bank(bank, tmp_path, capsys):
    shutil.copytree(bank, tmp_path / "bank")
    words = ["experts", "--quiet", "--resume", "--count", "4", "--out", str(tmp_path / "bank")]
    with hold(tmp_path / "bank", "card.json"):
        assert "another command is at work" in refused(capsys, words, tmp_path)
    assert main(words) == 0
    assert whole(tmp_path / "bank") == 4


def test_of_two_commands_that_make_a_bank_at_once_neither_takes_the_others_experts(bank, tmp_path, monkeypatch, capsys):
    """The other one is done between this one's look at the folder and its making of it."""
    out, make = tmp_path / "bank", training.save_card

    def late(*arguments):
        shutil.copytree(bank, out)
        make(*arguments)

    monkeypatch.setattr(training, "save_card", late)
    status = main([*TRAIN, "--count", "1", "--out", str(out)])
    assert contents(out) == contents(bank)
    assert status == 2
    assert capsys.readouterr().err.count("\n") == 1


def started(out, *before):
    """A process of its own that trains experts until it is killed; it finds compiled programs where tests keep them."""
    kept = {"JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
    words = [*before, sys.executable, "-m", "jaxdistill", *TRAIN, "--count", "500", "--resume", "--out", str(out)]
    environment = {**os.environ, **kept, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_full_disk_is_told_in_a_sentence(bank, tmp_path):
    del bank  # whose programs are compiled
    room = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = f"mount -t tmpfs -o size=16k tmpfs {tmp_path}"
    if shutil.which("unshare") is None or subprocess.run([*room, mount], capture_output=True, check=False).returncode:
        pytest.skip("needs a small file system of its own")
    process = started(tmp_path / "bank", *room, f'{mount} && exec "$@"', "sh")
    said = process.communicate(timeout=300)[1]
    assert process.returncode == 2, said
    assert "free some space" in said
    assert said.count("\n") == 1


def kill_and_resume(tmp_path, moments, capsys):
    """Kill the training at each moment, ``(experts more, seconds after them)``, and let it be completed at last."""
    out, reached = tmp_path / "cut", [0]
    for more, delay in moments:
        process = started(out)
        while process.poll() is None and (not out.exists() or len(experts_of(out)) < reached[-1] + more):
            time.sleep(0.002)
        assert process.poll() is None, process.communicate()
        if more and not reached[-1]:
            assert main(["experts", "--quiet", "--resume", "--out", str(out)]) == 2
            assert "another command is at work" in capsys.readouterr().err
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        reached.append(whole(out))
        assert reached[-1] >= reached[-2] + more
    count = str(reached[-1] + 2)
    made(out, "experts", "--quiet", "--resume", "--count", count)
    assert whole(out) == int(count)
    assert not [path for path in out.parent.rglob(".*")], "something half-written was left behind"
    assert contents(out) == contents(made(tmp_path / "whole", *TRAIN, "--count", count))


def test_a_bank_whose_making_is_killed_holds_whole_experts_and_can_be_completed(bank, tmp_path, capsys):
    del bank  # whose programs are compiled
    rng = random.Random()
    kill_and_resume(tmp_path, [(more, rng.uniform(0, 0.1)) for more in (0, 1, 2)], capsys)


@pytest.mark.slow
def test_a_bank_whose_making_is_killed_many_times(bank, tmp_path, capsys):
    del bank
    rng = random.Random(1)
    kill_and_resume(tmp_path, [(rng.randrange(1, 4), rng.uniform(0, 0.2)) for _ in range(12)], capsys)
