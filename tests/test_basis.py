"""What selections go by: scores from a file, from experts and from own training, each for the image it belongs to.

A pixel of each image of these data is its number in the data set's own order, in which classes are mixed.
"""

import gc
import itertools
import json
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cli import refused

from jaxdistill.cli import main
from jaxdistill.commands.plan import Bound
from jaxdistill.commands.selection_inputs import context_of, in_files_order, inputs_of, stand_in
from jaxdistill.commands.workspace import open_bench
from jaxdistill.data.check import held_out
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.io.artifact import load_set
from jaxdistill.io.expert_bank import StoredBank, load_bank
from jaxdistill.io.expert_writer import Held
from jaxdistill.networks import make as make_network
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.base import Experts, Scores
from jaxdistill.selection.difficulty import grand
from jaxdistill.selection.window import Difficulty
from jaxdistill.settings.as_json import from_json, to_json
from jaxdistill.settings.config import BasisConfig, DataConfig, NetworkConfig, RunConfig
from jaxdistill.training.sgd import Seen

SIZES = (24, 16, 20)
LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(3), SIZES))
EPOCHS = 40
SCORES = [name for name, selection in SELECTIONS.items() if isinstance(selection.needs, Scores)]
OF_EXPERTS = [name for name in SCORES if SELECTIONS[name].needs.takes_experts]
NETWORK = ["--network", "mlp", "--width", "8"]
PLAIN = [
    "--momentum",
    "0.9",
    "--weight-decay",
    "5e-4",
    "--augment",
    "none",
    "--learning-rate",
    "0.01",
    "--batch",
    "256",
]
"""As networks are trained that are there for scores alone."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """60 images of three patterns that are easily told apart, and a few that are of another class's pattern."""
    rng = np.random.default_rng(1)
    patterns = rng.integers(0, 256, (3, 8, 8))
    shown = np.where(np.arange(60) % 9 == 4, (LABELS + 1) % 3, LABELS)
    images = np.clip(patterns[shown] + rng.normal(0, 40, (60, 8, 8)), 0, 255).astype(np.uint8)
    images[:, 0, 0] = 4 * np.arange(60)
    path = tmp_path_factory.mktemp("data") / "toy.npz"
    np.savez(path, x_train=images, y_train=LABELS, x_test=patterns.astype(np.uint8), y_test=np.arange(3))
    return path


@pytest.fixture(scope="module")
def bench(dataset):
    return open_bench(DataConfig(str(dataset)))


def made(out, dataset, *options):
    words = ["--dataset", str(dataset), *NETWORK, *PLAIN, *options, "--count", "1", "--quiet"]
    assert main(["experts", *words, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def bank(dataset, tmp_path_factory):
    out = tmp_path_factory.mktemp("experts") / "bank"
    words = ["--dataset", str(dataset), "--count", "2", "--epochs", str(EPOCHS), *NETWORK, *PLAIN, "--quiet"]
    assert main(["experts", *words, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def network(bench):
    return make_network("mlp", bench.image_shape, 3, width=8)


def context(basis, bench, network, stored, key):
    config = SimpleNamespace(basis=basis, network=NetworkConfig())
    return context_of(Bound(config, bench, network, {}, PROTOCOLS["digits100"], {}, stored), key)


def scores(strategy, config, bench, network, stored, key):
    return SELECTIONS[strategy].needs.hardness(context(config, bench, network, stored, key))


def for_file(strategy, found, bench):
    return in_files_order(SELECTIONS[strategy].needs.scores_of(Difficulty(found)), bench)


def words(strategy, dataset, out, *options, ipc=2):
    fixed = ["--dataset", str(dataset), "--ipc", str(ipc), "--eval-seeds", "0", "--quiet", "--out", str(out)]
    network = [] if "--experts" in options else NETWORK
    return ["select", strategy, *fixed, *network, *map(str, options)]


def picks(out, ipc=2):
    """Numbers of the images of a run's set, class by class."""
    stored = load_set(out)
    pixels = stored.preprocess.invert(np.asarray(stored.synthetic.images))[:, 0, 0, 0]
    return (pixels * 255 / 4).round().astype(int).reshape(3, ipc)


def hardest(found, ipc=2, skipped=(0, 0, 0)):
    """By hand: of each class the images with the largest scores, after some that are left out; ties in their order."""
    ranked = [sorted(np.flatnonzero(c == LABELS), key=lambda i: (-found[i], i)) for c in range(3)]
    return np.array([row[skip : skip + ipc] for row, skip in zip(ranked, skipped, strict=True)])


def saved(tmp_path, found, name="given.npy"):
    np.save(tmp_path / name, found)
    return tmp_path / name


@pytest.mark.parametrize("strategy", SCORES)
def test_scores_from_a_file_are_those_of_the_images_in_the_data_sets_order(strategy, dataset, tmp_path):
    given = np.random.default_rng(2).permutation(60).astype(np.float32)
    hardness = -given if strategy in ("cscore", "consistency") else given  # C-scores are high for what is easy
    path = saved(tmp_path, given)
    assert main(words(strategy, dataset, tmp_path / "run", "--scores", path, "--beta", "0")) == 0
    np.testing.assert_array_equal(picks(tmp_path / "run"), hardest(hardness))


def test_archives_windows_and_their_readings(dataset, tmp_path):
    given = np.random.default_rng(3).integers(0, 9, 60)  # with ties
    np.savez(tmp_path / "one.npz", anything=given)
    np.savez(tmp_path / "several.npz", labels=LABELS, scores=given)
    for name, options, skipped in (
        ("one.npz", ["--beta", "0.25"], [size // 4 for size in SIZES]),
        ("several.npz", ["--beta", "0.75", "--window-start", "ipc_fraction"], [3, 3, 3]),
    ):
        run = tmp_path / name.removesuffix(".npz")
        assert main(words("el2n", dataset, run, "--scores", tmp_path / name, *options, ipc=4)) == 0
        np.testing.assert_array_equal(picks(run, 4), hardest(given, 4, skipped))


def test_a_distillation_starts_from_the_hardest_of_a_file(dataset, tmp_path):
    given = np.random.default_rng(4).permutation(60)
    options = ["--scores", saved(tmp_path, given), "--beta", "0.5", "--init", "forgetting", "--steps", "0"]
    select = words("random", dataset, tmp_path / "run", *options)
    assert main(["distill", "dm", *select[2:]]) == 0
    np.testing.assert_array_equal(picks(tmp_path / "run"), hardest(given, 2, [size // 2 for size in SIZES]))
    np.testing.assert_array_equal(np.load(tmp_path / "given.npy"), given)


def damaged(kind, path):
    """A file of scores with something wrong."""
    good = np.arange(60.0)
    arrays = {"short": good[:-1], "flat": good[:, None], "words": np.array(["x"] * 60), "objects": good.astype(object)}
    if kind in arrays:
        np.save(path, arrays[kind], allow_pickle=True)
    elif kind in ("nan", "inf"):
        np.save(path, np.where(np.arange(60) == 7, float(kind), good))
    elif kind in ("cut .npz", "no array"):
        with path.open("wb") as file:
            np.savez(file, **({} if kind == "no array" else {"scores": good}))
        if kind == "cut .npz":
            path.write_bytes(path.read_bytes()[:-40])
    elif kind == "cut .npy":
        np.save(path, good)
        path.write_bytes(path.read_bytes()[:-40])
    elif kind != "missing":
        path.write_text({"empty": "", "text": "1, 2, 3"}[kind])
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("short", "60 finite numbers"),
        ("flat", "60 finite numbers"),
        ("nan", "finite"),
        ("inf", "finite"),
        *((kind, "cannot be read") for kind in ("words", "objects", "text", "cut .npy", "missing")),
        *((kind, "cannot be read") for kind in ("empty", "cut .npz")),
    ],
)
def test_unusable_files_are_refused_with_a_sentence(kind, says, dataset, tmp_path, capsys):
    path = damaged(kind, tmp_path / "given.npy")
    said = refused(capsys, words("forgetting", dataset, tmp_path / "run", "--scores", path), tmp_path)
    assert says in said
    assert str(path) in said
    gc.collect()  # a file that was left open is complained of now, and not in another test


def by_hand(strategy, seen, network, variables, bench):
    """Scores of one network, from what it said in each epoch or where it stood after the last of them."""
    if strategy == "forgetting":
        events = [sum(a and not b for a, b in itertools.pairwise(row)) for row in seen.correct.T]
        return [count if row.any() else len(row) for count, row in zip(events, seen.correct.T, strict=True)]
    if strategy == "grand":
        return grand(network, variables, bench.train)
    if strategy == "grand_last":
        images, labels = bench.train.read(np.arange(60))
        said = np.exp(np.asarray(network.apply(variables, images)[0], np.float64))
        error = said / said.sum(1, keepdims=True) - np.eye(3)[labels]
        rows = np.asarray(network.features(variables, images).embedding, np.float64)
        return [np.linalg.norm(np.outer(e, [1, *row])) for e, row in zip(error, rows, strict=True)]
    if strategy == "aum":
        return -seen.margin.mean(0)
    if strategy in ("entropy", "margin", "least_confidence"):
        said = np.exp(np.asarray(network.apply(variables, bench.train.read(np.arange(60)).images)[0], np.float64))
        said = np.sort(said / said.sum(1, keepdims=True))
        if strategy == "entropy":
            return -(said * np.log(said)).sum(1)
        return 1 - said[:, -1] + (said[:, -2] if strategy == "margin" else 0)
    if strategy in ("cal", "deepfool"):
        return {"cal": diverging, "deepfool": unsteady}[strategy](network, variables, bench)
    return seen.error[-1] if strategy == "el2n" else 1 - seen.confidence.mean(0)


def diverging(network, variables, bench):
    """How far what is said of the ten nearest of its class is from what is said of an image."""
    images, labels = bench.train.read(np.arange(60)).images, np.asarray(bench.train.labels)
    rows = np.asarray(network.features(variables, images).embedding, np.float64)
    logs = np.asarray(jax.nn.log_softmax(np.asarray(network.apply(variables, images)[0], np.float64)))
    found = []
    for i in range(60):
        others = [j for j in np.flatnonzero(labels == labels[i]) if j != i]
        near = sorted(others, key=lambda j: ((rows[j] - rows[i]) ** 2).sum())[:10]
        found.append(np.mean([(np.exp(logs[j]) * (logs[j] - logs[i])).sum() for j in near]))
    return found


def unsteady(network, variables, bench):
    """Minus the length of the way to another prediction, in steps to where a plane would be."""
    logits = jax.jit(lambda image: network.apply(variables, image[None])[0][0])
    slopes = jax.jit(jax.jacfwd(lambda image: network.apply(variables, image[None])[0][0]))
    found = []
    for image in bench.train.read(np.arange(60)).images:
        change, first = np.zeros(image.shape), int(logits(image).argmax())
        for _ in range(50):
            there = (image + 1.02 * change).astype(np.float32)
            said, towards = np.asarray(logits(there)), np.asarray(slopes(there))
            if said.argmax() != first:
                break
            behind, towards = said[first] - said, towards - towards[first]
            steep = np.sqrt((towards**2).sum((1, 2, 3)))
            if not steep.any():  # no unit is on
                change = np.sqrt(np.finfo(np.float32).max)
                break
            far = [np.inf if k == first else behind[k] / steep[k] for k in range(3)]
            change = change + min(far) / steep[np.argmin(far)] * towards[np.argmin(far)]
        found.append(-np.linalg.norm(change))
    return found


@pytest.mark.parametrize("epochs", [3, EPOCHS])
@pytest.mark.parametrize("strategy", OF_EXPERTS)
def test_scores_of_experts_are_means_of_what_each_recorded(strategy, epochs, bank, bench, network):
    """Of which el2n and grand look at the epoch that is named."""
    stored = load_bank(bank)
    found = scores(strategy, BasisConfig(score_epochs=epochs), bench, network, stored, jax.random.key(0))
    expected = []
    for i in range(len(stored.params)):
        seen = jax.tree.map(np.asarray, stored.history(i))
        early = seen._replace(error=seen.error[:epochs])
        expected.append(by_hand(strategy, early, network, stored.variables(network, i, epochs), bench))
    assert len(expected) == 2
    assert len(np.unique(found)) > 2
    np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("strategy", OF_EXPERTS)
def test_own_training_gives_the_scores_of_experts_of_its_recipe(strategy, bank, bench, network):
    key, config = jax.random.key(0), BasisConfig(score_networks=2, score_epochs=EPOCHS)  # 0 is the bank's seed
    own = scores(strategy, config, bench, network, None, key)
    stored = scores(strategy, config, bench, network, load_bank(bank), key)
    np.testing.assert_allclose(own, stored, rtol=2e-3, atol=2e-3)  # histories are stored in half precision
    if strategy == "forgetting":
        np.testing.assert_array_equal(own, stored)


def test_experts_score_the_images_that_are_hard_to_learn(bank, bench, network):
    """Which are those of another class's pattern."""
    found = 1 - for_file(
        "cscore", scores("cscore", BasisConfig(), bench, network, load_bank(bank), jax.random.key(0)), bench
    )
    strange = np.arange(60) % 9 == 4
    assert found[strange].min() > found[~strange].mean()
    assert found[strange].mean() > found[~strange].mean() + 0.1


def test_c_scores_are_written_as_such(bank, bench, network):
    """Mean confidence in the label, in the data set's own order; and they are read again without losing a bit."""
    stored = load_bank(bank)
    found = scores("cscore", BasisConfig(), bench, network, stored, jax.random.key(0))
    written = for_file("cscore", found, bench)
    confidence = np.mean([np.asarray(stored.history(i).confidence).mean(0) for i in range(2)], axis=0)
    np.testing.assert_allclose(written[np.argsort(LABELS, kind="stable")], confidence, atol=1e-6)
    assert written.min() > 0
    np.testing.assert_array_equal(1 - written[np.argsort(LABELS, kind="stable")], found)


@pytest.mark.parametrize("strategy", OF_EXPERTS)
def test_networks_are_read_only_for_scores_that_ask_them(strategy, bank, bench, network, monkeypatch):
    read = []
    variables = StoredBank.variables
    monkeypatch.setattr(StoredBank, "variables", lambda *given: read.append(given[2]) or variables(*given))
    scores(strategy, BasisConfig(), bench, network, load_bank(bank), jax.random.key(0))
    assert read == ([] if strategy in ("forgetting", "el2n", "cscore", "aum") else [0, 1])


def test_experts_without_margins_say_all_but_aum_and_stay_without(dataset, bank, bench, network, tmp_path, capsys):
    """As they were before margins were recorded; trained longer, they have none of their first epochs."""
    old = shutil.copytree(bank, tmp_path / "old")
    for path in old.glob("*/history.npz"):
        arrays = dict(np.load(path))
        del arrays["margin"]
        np.savez(path, **arrays)
    assert load_bank(old).digest() == load_bank(bank).digest()
    for strategy in OF_EXPERTS:
        if strategy != "aum":
            banks, key = map(load_bank, (old, bank)), jax.random.key(0)
            found = [scores(strategy, BasisConfig(), bench, network, one, key) for one in banks]
            np.testing.assert_array_equal(*found)
    said = refused(capsys, words("aum", dataset, tmp_path / "run", "--experts", old), tmp_path)
    assert "trained before margins were recorded" in said
    assert "train experts anew" in said
    plain = made(tmp_path / "plain", dataset, "--epochs", "2", "--momentum", "0")
    arrays = dict(np.load(plain / "00000" / "history.npz"))
    del arrays["margin"]
    np.savez(plain / "00000" / "history.npz", **arrays)
    assert main(["experts", "--resume", "--longer", "--epochs", "3", "--quiet", "--out", str(plain)]) == 0
    assert load_bank(plain).history(0).margin is None
    assert load_bank(plain).history(0).error.shape == (3, 60)


def test_margins_beyond_half_precision_are_its_largest():
    writer = Held({"dtype": "float32"})
    margin = np.array([1e6, -1e6, 2.5], np.float32)
    writer.put(np.zeros(1, np.float32), None, Seen(margin > 0, margin * 0, margin * 0, margin))
    np.testing.assert_array_equal(writer.history["margin"], [[65504, -65504, 2.5]])


@pytest.mark.parametrize("strategy", ["kmeans", "forgetting"])
def test_a_stand_in_gives_sets_of_the_same_shapes(strategy, bench, network):
    given = bench.source.train_labels.astype(float)  # of no use, and no training
    real = jnp.asarray(np.random.default_rng(5).normal(size=(60, 4)), jnp.float32)
    by = Difficulty(given, 0.2) if strategy in SCORES else real
    instead = stand_in(strategy, context(BasisConfig(beta=0.2), bench, network, None, jax.random.key(0)))
    one, other = (SELECTIONS[strategy](jax.random.key(1), bench.train, 2, inputs) for inputs in (by, instead))
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert [(a.shape, a.dtype) for a in jax.tree.leaves(one)] == [(b.shape, b.dtype) for b in jax.tree.leaves(other)]


def test_a_resumed_run_scores_nothing_again_unless_its_checkpoints_are_lost(dataset, bank, tmp_path, monkeypatch):
    out, asked = tmp_path / "run", []
    options = ["--init", "el2n", "--experts", bank, "--steps", "1", "--augment", "none", "--checkpoint-seconds", "0"]
    compute = Scores.hardness
    monkeypatch.setattr(Scores, "hardness", lambda *given: asked.append("el2n") or compute(*given))
    assert main(["distill", "dm", *words("", dataset, out, *options)[2:]]) == 0
    assert asked == ["el2n"]
    made = (out / "set" / "set.safetensors").read_bytes()
    again = ["distill", "dm", "--resume", "--out", str(out), "--quiet"]
    assert main(again) == 0
    assert asked == ["el2n"]
    assert (out / "set" / "set.safetensors").read_bytes() == made
    (stored,) = (out / "checkpoints").iterdir()
    shutil.rmtree(stored / "state")
    assert main(again) == 0
    assert asked == ["el2n", "el2n"]
    assert (out / "set" / "set.safetensors").read_bytes() == made


@pytest.mark.parametrize("strategy", OF_EXPERTS)
def test_a_run_leaves_scores_that_select_the_same_images_again(strategy, dataset, bank, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    assert main(words(strategy, dataset, first, "--experts", bank, "--beta", "0.2")) == 0
    left = np.load(first / "scores.npz")["scores"]
    assert left.shape == (60,)
    assert main(words(strategy, dataset, again, "--scores", first / "scores.npz", "--beta", "0.2")) == 0
    np.testing.assert_array_equal(picks(again), picks(first))
    np.testing.assert_array_equal(np.load(again / "scores.npz")["scores"], left)


def test_scores_that_say_which_they_are_are_not_read_the_other_way_round(dataset, bank, tmp_path, capsys):
    left = tmp_path / "left"
    assert main(words("cscore", dataset, left, "--experts", bank, "--beta", "0.2")) == 0
    options = ["--scores", left / "scores.npz", "--beta", "0.2"]
    capsys.readouterr()
    for strategy in ("forgetting", "window", "ccs"):
        said = refused(capsys, words(strategy, dataset, tmp_path / "run", *options), tmp_path)
        assert "are those of cscore, in which low is hard" in said
        assert "--score cscore" in said
    assert main(words("window", dataset, tmp_path / "named", *options, "--score", "cscore")) == 0
    np.testing.assert_array_equal(picks(tmp_path / "named"), picks(left))


def test_a_selection_by_own_training_needs_no_experts(dataset, tmp_path):
    out = tmp_path / "run"
    options = ["--score-networks", "2", "--score-epochs", str(EPOCHS), "--beta", "0.25"]
    assert main(words("forgetting", dataset, out, *options)) == 0
    left = np.load(out / "scores.npz")["scores"]
    assert ((2 * left) % 1 == 0).all(), "counts of two networks"
    assert len(np.unique(left)) > 2
    np.testing.assert_array_equal(picks(out), hardest(left, 2, [size // 4 for size in SIZES]))
    before = (out / "set" / "set.safetensors").read_bytes()
    config = from_json(json.loads((out / "config.json").read_text()), RunConfig(out))
    assert (config.basis.score_networks, config.basis.beta) == (2, 0.25)
    assert main(["select", "forgetting", "--resume", "--out", str(out), "--quiet"]) == 0
    assert (out / "set" / "set.safetensors").read_bytes() == before


def test_experts_and_scores_are_kept_in_the_configuration_and_do_not_go_together(dataset, bank, tmp_path, capsys):
    path, out, other = saved(tmp_path, np.arange(60)), tmp_path / "run", tmp_path / "other"
    assert main(words("el2n", dataset, out, "--experts", bank)) == 0
    assert main(words("el2n", dataset, other, "--scores", path, "--beta", "0")) == 0
    plain, given = (json.loads((run / "config.json").read_text()) for run in (out, other))
    assert plain["bank"]["expert_count"] == 2
    assert plain["network"] == load_bank(bank).card["network"]
    one, two = from_json(plain, RunConfig(out)), from_json(given, RunConfig(other))
    assert (one.bank.experts, two.basis.scores) == (bank, path)
    assert [to_json(config) for config in (one, two)] == [plain, given]
    np.testing.assert_array_equal(picks(other), hardest(np.arange(60)))
    capsys.readouterr()
    both = words("el2n", dataset, tmp_path / "both", "--experts", bank, "--scores", path)
    assert "uses no experts with these options" in refused(capsys, both, tmp_path)


@pytest.mark.parametrize(
    "strategy", [name for name, selection in SELECTIONS.items() if isinstance(selection.needs, Experts)]
)
def test_what_asks_experts_is_refused_without_and_labels_with_them(strategy, dataset, bank, tmp_path, capsys):
    said = refused(capsys, words(strategy, dataset, tmp_path / "run"), tmp_path)
    assert f"{strategy} asks experts" in said
    assert "--experts" in said
    assert main(words(strategy, dataset, tmp_path / "run", "--experts", bank, ipc=3)) == 0
    stored = load_set(tmp_path / "run").synthetic
    assert stored.label_kind == "logit"
    numbers = picks(tmp_path / "run", 3)
    assert (LABELS[numbers] == np.arange(3)[:, None]).all()
    assert len(np.unique(numbers)) == 9
    network, experts = make_network("mlp", (8, 8, 1), 3, width=8), load_bank(bank)
    said = [np.asarray(network.apply(experts.variables(network, i), stored.images)[0]) for i in range(2)]
    if strategy == "labelled":
        np.testing.assert_allclose(stored.labels, said[0], rtol=1e-4, atol=1e-4)
    else:
        np.testing.assert_array_equal(stored.labels.argmax(-1), np.repeat(np.arange(3), 3))
        assert (np.abs(np.asarray(stored.labels) - said[0]).max(-1) > 1e-3).any(), "a mean, not one expert's"


def test_a_set_of_real_images_says_that_they_are_selected(dataset, tmp_path):
    out = tmp_path / "run"
    assert main(words("random", dataset, out)) == 0
    found = load_set(out).synthetic.selected
    assert found.dtype == bool
    assert found.tolist() == [True] * 6
    assert main(["distill", "dm", *words("random", dataset, tmp_path / "made", "--steps", "0")[2:]]) == 0
    assert load_set(tmp_path / "made").synthetic.selected is None


def test_embeddings_are_of_a_network_that_was_trained(dataset, bench, network):
    pixels = inputs_of("kcenter", context(BasisConfig(), bench, network, None, jax.random.key(3)))
    np.testing.assert_allclose(pixels, bench.train.read(np.arange(60)).images.reshape(60, -1), rtol=1e-5)
    config = BasisConfig(features="embedding", feature_epochs=30)
    rows = np.asarray(inputs_of("kcenter", context(config, bench, network, None, jax.random.key(3))))
    assert rows.shape == (60, 8)
    labels, shown = np.sort(LABELS), (np.arange(60) % 9 != 4)[np.argsort(LABELS, kind="stable")]
    means = np.stack([rows[shown & (labels == c)].mean(0) for c in range(3)])
    nearest = np.linalg.norm(rows[:, None] - means, axis=-1).argmin(1)
    assert (nearest == labels)[shown].mean() > 0.9, "classes part in what it learned"


def test_scores_of_all_images_go_with_some_that_are_held_out(dataset, bench, tmp_path):
    """Of those that are left, as scores of these alone do."""
    given, left = np.random.default_rng(3).permutation(60).astype(float), ~held_out(bench.source, 0.3)
    found = []
    for name, scores in (("whole", given), ("left", given[left])):
        path = saved(tmp_path, scores, f"{name}.npy")
        options = ("--hold-out", "0.3", "--scores", path, "--beta", "0")
        assert main(words("el2n", dataset, tmp_path / name, *options)) == 0
        np.testing.assert_array_equal(np.load(tmp_path / name / "scores.npz")["scores"], given[left])
        found.append(picks(tmp_path / name))
    np.testing.assert_array_equal(*found)
    np.testing.assert_array_equal(found[0], hardest(np.where(left, given, -1)))
