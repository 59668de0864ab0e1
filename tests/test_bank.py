"""Expert banks: what training writes, and what it refuses."""

import dataclasses
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from banks import DATA, NETWORK, TRAIN, contents, experts_of, made, read, whole
from safetensors.numpy import load_file
from test_cli import refused

from jaxdistill.cli import entry as cli
from jaxdistill.cli import main
from jaxdistill.commands import train_experts as training
from jaxdistill.commands.run_folder import hold
from jaxdistill.commands.workspace import augmentation, only_network, open_bench
from jaxdistill.data.trajectories import flatten
from jaxdistill.evaluation.train import correct
from jaxdistill.io.expert_bank import load_bank, open_bank
from jaxdistill.io.expert_writer import record
from jaxdistill.presets.experts import EXPERTS, expert_preset
from jaxdistill.settings.config import DataConfig, NetworkConfig
from jaxdistill.training.experts import ExpertRecipe, expert_epoch
from jaxdistill.types import Variables


@pytest.fixture(scope="module")
def bench():
    return open_bench(DataConfig("digits"))


@pytest.fixture(scope="module")
def network(bench):
    return only_network(NetworkConfig("mlp", 8), bench)


@pytest.mark.parametrize(("which", "files"), [("bank", []), ("normed", ["statistics.npy"])])
def test_a_bank_is_what_its_card_says(which, files, request, bench):
    folder = request.getfixturevalue(which)
    card = read(folder)
    numbers = [f"{i:05d}" for i in range(len(experts_of(folder)))]
    assert {path.name for path in folder.iterdir()} == {"card.json", "preprocess.safetensors", *numbers}
    assert (card["epochs"], card["seed"], card["dtype"], card["network"]["width"]) == (2, 0, "float32", 8)
    assert card["data"] == {"dataset": "digits", "zca": which == "normed", "statistics": "default"}
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
    assert [leaf.shape for leaf in seen] == [(2, bench.train.count)] * 4
    assert [leaf.dtype for leaf in seen] == [bool, np.float32, np.float32, np.float32]
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
        np.testing.assert_allclose(history.margin[epoch], seen.margin, rtol=2**-11, atol=1e-3)


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
    out = made(tmp_path / "bank", *TRAIN, "--count", "3", "--parallel-experts", "2")
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
    count = jax.jit(lambda held: correct(lambda images: network.apply(held, images)[0], bench.test))
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
        assert asked[-1].data.zca == papers.zca
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
        (["--resume", "--statistics", "fitted"], "another kind (statistics differ)"),
        (["--resume", "--zca"], "differ); leave the arguments out"),
        (["--resume", "--preset", "ftd"], "another kind (preset differ)"),
        ([], "add to it with --resume"),
        (["--count", "0"], "--count"),
        (["--resume", "--count", "-1"], "--count"),
        (["--epochs", "0"], "--epochs"),
        (["--parallel-experts", "0"], "--parallel-experts"),
        (["--preset", "dc"], "unknown preset 'dc' of experts; choose one of mtt, ftd, datm, selmatch"),
        (["--learning-rate", "-1"], "--learning-rate"),
        (["--momentum", "1"], "momentum"),
        (["--network", "transformer9"], "transformer9"),
        (["--augment", "twirl"], "twirl"),
        (["--unheard", "1"], "--unheard"),
        (["--max-device-gib", "0"], "raise --max-device-gib"),
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


@pytest.mark.parametrize(("recipe", "again"), [(["--momentum", "0"], 0), (["--momentum", "0.5"], 1)])
def test_experts_are_trained_longer(recipe, again, tmp_path, monkeypatch, capsys):
    """As if they had been from the start; those with momentum, which is not kept, begin anew."""
    words = ["experts", *DATA, *NETWORK, "--count", "2", "--augment", "none", *recipe]
    whole, grown = tmp_path / "whole", tmp_path / "grown"
    assert main([*words, "--epochs", "4", "--out", str(whole)]) == 0
    assert main([*words, "--epochs", "2", "--out", str(grown)]) == 0
    begun, begin = [], training._begin
    monkeypatch.setattr(training, "_begin", lambda *given: begun.append(given) or begin(*given))
    assert main(["experts", "--resume", "--out", str(grown)]) == 0
    assert len(experts_of(grown)) == 2  # none is added unless it is said
    longer = ["experts", "--epochs", "4", "--count", "3", "--resume", "--out", str(grown)]
    assert main(longer) == 2
    assert "add --longer" in capsys.readouterr().err
    assert main([*longer, "--longer"]) == 0
    assert len(begun) == 1 + 2 * again  # the third expert is new in any case
    assert read(grown)["epochs"] == 4
    for number in ("00000", "00001"):
        ours, theirs = (read(out / number)["sha256"] for out in (grown, whole))
        assert ours == theirs
        histories = [dict(np.load(out / number / "history.npz")) for out in (grown, whole)]
        assert all(np.array_equal(histories[0][name], histories[1][name]) for name in histories[0])
    assert len(experts_of(grown)) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "grown"}
    capsys.readouterr()
    for more, says in ((["--epochs", "3"], "how many more"), (["--epochs", "5", "--batch", "9"], "another kind")):
        assert main(["experts", *more, "--resume", "--longer", "--out", str(grown)]) == 2
        assert says in capsys.readouterr().err
