"""Coverage in several feature spaces, along a run, and the accuracies on the easy and on the hard half of the tests."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import make_toy

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.commands import cover
from jaxdistill.commands.cover import SPACES, Cover
from jaxdistill.commands.several import pooled
from jaxdistill.commands.train_experts import trained
from jaxdistill.commands.workspace import augmentation, networks, open_bench
from jaxdistill.evaluation.protocol import Protocol
from jaxdistill.evaluation.train import evaluate, train
from jaxdistill.report.outcome import read
from jaxdistill.report.tables import Table
from jaxdistill.selection import SELECTIONS
from jaxdistill.settings.config import DataConfig, NetworkConfig
from jaxdistill.training.proxy import RECIPE

KEY = jax.random.key(3)
WORDS = ["--dataset", "digits", "--ipc", "2", "--width", "8", "--eval-epochs", "1", "--eval-seeds", "2", "--quiet"]
ALONG = ["--steps", "5", "--eval-every", "2", "--eval-every-seeds", "1", "--image-lr", "30"]
SPACED = ["--coverage", "--coverage-features", "pixels,embedding,random:mlp"]


@pytest.fixture(scope="module")
def bench():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 20)
    images = (rng.integers(0, 90, (60, 4, 4, 1)) + 60 * labels[:, None, None, None]).astype(np.uint8)
    data = jd.Dataset.from_arrays(images, labels, images[::2] + np.uint8(3), labels[::2], name="toy")
    return open_bench(DataConfig("toy"), None, data.source)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(cover, "EPOCHS", 2)


def ready(bench, spaces, *, same_class=False):
    def make(name):
        return networks(name, NetworkConfig(width=8), bench)

    return Cover(KEY, make("mlp"), bench, spaces, same_class=same_class, make=make)


def by_hand(features, bench, chosen, difficulty, *, same_class):
    """Radius, and the shares of all, the easier and the harder half, over all pairs in float64."""
    train, test, rows = (np.asarray(features(part), np.float64) for part in (*read_all(bench), chosen.images))
    labels = [np.asarray(part.labels) for part in (bench.train, bench.test)] + [np.argmax(chosen.labels, -1)]

    def apart(one, other, classes):
        table = np.sqrt(((one[:, None] - other) ** 2).sum(-1))
        return np.where(classes[0][:, None] == classes[1], table, np.inf) if same_class else table

    own = apart(train, train, (labels[0], labels[0])) + np.diag(np.full(len(train), np.inf))
    within = own.min(1).mean()
    covered = apart(test, rows, labels[1:]).min(1) < within
    ranked = sorted(range(len(test)), key=lambda i: (difficulty[i], i))
    half = len(test) // 2
    return within, [covered.mean(), covered[ranked[:half]].mean(), covered[ranked[half:]].mean()]


def read_all(bench):
    return [part.read(jnp.arange(part.count)).images for part in (bench.train, bench.test)]


@pytest.mark.parametrize("same_class", [False, True])
def test_each_space_equals_brute_force(bench, same_class):
    chosen = SELECTIONS["random"](jax.random.key(1), bench.train, 4)
    found = ready(bench, "embedding,pixels,random,embedding:convnet", same_class=same_class)
    results = found.results({"chosen": chosen})
    key, confidence = jax.random.fold_in(KEY, 2), []

    def ends(name):
        network = networks(name, NetworkConfig(width=8), bench)[name]
        seen = []
        trained(
            key, np.arange(1), 2, network, RECIPE, augmentation("none", bench), bench.train, bench.mesh, 1,
            lambda epoch, variables, _: seen.append(jax.tree.map(lambda leaf: jnp.array(leaf[0]), variables)),
        )  # fmt: skip
        return network, seen

    network, seen = ends("mlp")
    for variables in seen[1:]:
        said = np.asarray(jax.nn.softmax(network.apply(variables, read_all(bench)[1])[0]))
        confidence.append(said[np.arange(bench.test.count), np.asarray(bench.test.labels)])
    difficulty = 1 - np.mean(confidence, axis=0)
    other, others = ends("convnet")
    spaces = {
        "embedding": lambda images: network.features(seen[-1], images).embedding,
        "pixels": lambda images: np.asarray(images).reshape(len(images), -1),
        "random": lambda images: network.features(seen[0], images).embedding,
        "embedding:convnet": lambda images: other.features(others[-1], images).embedding,
    }
    said = [results, *results["also"].values()]
    assert ["embedding", *results["also"]] == list(spaces)
    for one, features in zip(said, spaces.values(), strict=True):
        within, shares = by_hand(features, bench, chosen, difficulty, same_class=same_class)
        np.testing.assert_allclose(one["radius"], within, rtol=1e-4)
        np.testing.assert_allclose(list(one["shares"]["chosen"].values()), shares)
        assert one["features"].endswith("of the same class only") == same_class
    assert len({str(one["shares"]) for one in said}) > 1
    assert found.halves["easy"].sum() == bench.test.count // 2
    assert (found.halves["easy"] ^ found.halves["hard"]).all()


def test_one_space_is_said_as_before_and_networks_are_trained_once(bench, monkeypatch):
    counts = []
    monkeypatch.setattr(cover, "trained", lambda *given: counts.append(1) or trained(*given))
    found = ready(bench, "embedding")
    assert not counts
    results = found.results({"one": SELECTIONS["random"](KEY, bench.train, 1)})
    assert {*results} == {"features", "radius", "shares"}
    assert results["features"] == "embedding of mlp, 2 epochs on the training split"
    assert found.shares(SELECTIONS["random"](KEY, bench.train, 1)) == {"embedding": results["shares"]["one"]}
    assert counts == [1]
    assert ready(bench, ",".join(SPACES)).halves["easy"].tolist() == found.halves["easy"].tolist()


def test_spaces_that_there_are_none_of_are_refused(bench):
    with pytest.raises(jd.UsageError, match="unknown feature space 'taste'; choose one of embedding, pixels, random"):
        ready(bench, "embedding,taste")
    with pytest.raises(jd.UsageError, match="pixels are those of no network; say pixels, not pixels:mlp"):
        ready(bench, "pixels:mlp")
    with pytest.raises(jd.UsageError, match="name at least one feature space: embedding, pixels, random"):
        ready(bench, " ,")
    with pytest.raises(jd.UsageError, match="Unknown network 'nothing'"):
        ready(bench, "random:nothing")


@pytest.mark.parametrize("per_call", [1, 2])
def test_accuracies_of_parts_are_those_of_their_examples(per_call):
    train_split, test = (jax.tree.map(jnp.asarray, split) for split in make_toy())
    chosen = SELECTIONS["random"](KEY, train_split, 2)
    network = jd.make_network("mlp", tuple(test.images.shape[1:]), test.counts.shape[0], width=8)
    protocol = Protocol(3, augment="none", learning_rate=0.1)
    rng = np.random.default_rng(0)
    parts = {"some": rng.random(test.count) < 0.3, "more": rng.random(test.count) < 0.8}
    options = {"seeds": 3, "seeds_per_call": per_call}
    found = evaluate(KEY, chosen, network, test, protocol, parts=parts, **options)
    images, labels = test.read(jnp.arange(test.count))
    for seed in range(3):
        variables = train(jax.random.fold_in(KEY, seed), chosen, network, protocol)
        right = np.asarray(network.apply(variables, images)[0].argmax(-1) == labels)
        assert found.accuracies[seed] == right.mean()
        assert {name: one[seed] for name, one in found.parts.items()} == {
            name: right[mask].mean() for name, mask in parts.items()
        }
    plain = evaluate(KEY, chosen, network, test, protocol, **options)
    np.testing.assert_array_equal(plain.accuracies, found.accuracies)
    assert plain.parts == {}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same run without coverage, and with it."""
    out = tmp_path_factory.mktemp("runs")
    words = ["distill", "dm", *WORDS, *ALONG, "--keep", "best"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cover, "EPOCHS", 2)
        assert main([*words, "--out", str(out / "plain")]) == 0
        assert main([*words, *SPACED, "--out", str(out / "covered")]) == 0
    return out / "plain", out / "covered"


def looks(run):
    return [json.loads(line) for line in (run / "held_out.jsonl").read_text().splitlines()]


def test_coverage_changes_nothing_else(runs):
    plain, covered = (json.loads((run / "evaluation.json").read_text()) for run in runs)
    for one, other in zip(plain["rows"], covered["rows"], strict=True):
        assert one["accuracies"] == other["accuracies"]
        assert {*other} - {*one} == {"halves"}
    assert "coverage" not in plain
    assert plain["kept_step"] == covered["kept_step"]
    assert [{**row, "coverage": None} for row in looks(runs[0])] == [
        {**row, "coverage": None} for row in looks(runs[1])
    ]
    np.testing.assert_array_equal(*(jd.open(run).synthetic.images for run in runs))


def test_halves_make_the_whole(runs):
    found = json.loads((runs[1] / "evaluation.json").read_text())
    total = found["test_images"]
    easy = total // 2
    for row in found["rows"]:
        halves = row["halves"]
        for whole, one, other in zip(
            row["accuracies"], halves["easy"]["accuracies"], halves["hard"]["accuracies"], strict=True
        ):
            counts = one * easy, other * (total - easy)
            np.testing.assert_allclose(counts, np.round(counts), atol=1e-9)
            assert round(counts[0]) + round(counts[1]) == round(whole * total)
        assert halves["hard"]["mean"] == np.mean(halves["hard"]["accuracies"])
        assert halves["easy"]["std"] == np.std(halves["easy"]["accuracies"])


def test_the_row_of_a_look_is_the_coverage_of_its_set(runs, tmp_path, capsys):
    found, rows = json.loads((runs[1] / "evaluation.json").read_text()), looks(runs[1])
    assert [row["step"] for row in rows] == [0, 2, 4, 5]
    kept = next(row for row in rows if row["step"] == found["kept_step"])
    shares = {"pixels": found["coverage"]["shares"]["dm"]}
    shares |= {name: one["shares"]["dm"] for name, one in found["coverage"]["also"].items()}
    assert {*shares} == {"pixels", "embedding", "random:mlp"}
    assert kept["coverage"] == shares
    assert len({str(row["coverage"]) for row in rows}) > 1
    # By its own the set on disk is found to cover as much.
    again = tmp_path / "again.json"
    words = ["evaluate", str(runs[1]), "--seeds", "1", "--epochs", "1", *SPACED, "--out", str(again), "--json"]
    assert main(words) == 0
    said = json.loads(capsys.readouterr().out)
    assert next(iter(said["coverage"]["shares"].values())) == shares["pixels"]
    # And the last set of a run that keeps it, as much as its last look says.
    last = jd.distill("dm", jd.load("digits"), 2, steps=5, eval_every=5, eval_every_seeds=1, eval_epochs=1, width=8,
                      image_lr=30.0, coverage=True, progress=False)  # fmt: skip
    last.evaluate(seeds=1, progress=False)
    assert last.held_out[-1]["step"] == 5
    assert last.held_out[-1]["coverage"]["embedding"] == last.results["coverage"]["shares"]["dm"]


def test_the_page_shows_spaces_halves_and_the_way_there(runs, capsys):
    page = (runs[1] / "report.html").read_text()
    for text in ("preprocessed pixels", "embedding of mlp as it is initialised", "nothing was chosen by them",
                 "test images covered (pixels), %", "Percent correct on each half"):  # fmt: skip
        assert text in page
    assert "Coverage" not in (runs[0] / "report.html").read_text()
    assert [step for step, _ in read(runs[1]).covered["embedding"]] == [0, 2, 4, 5]


def test_a_torn_look_is_left_out(runs, tmp_path):
    (tmp_path / "config.json").write_bytes((runs[1] / "config.json").read_bytes())
    lines = (runs[1] / "held_out.jsonl").read_text().splitlines()
    torn = [json.dumps({"step": 1, "coverage": {"pixels": {"all": "much"}}}), '{"step": 3, "coverage": 1}']
    (tmp_path / "held_out.jsonl").write_text("\n".join([*lines, *torn, lines[0][:30]]))
    assert [step for step, _ in read(tmp_path).covered["pixels"]] == [0, 2, 4, 5]


def test_halves_of_several_sets_are_pooled(runs):
    found = json.loads((runs[1] / "evaluation.json").read_text())
    row = pooled([found, found])["rows"][0]
    one = found["rows"][0]["halves"]["easy"]
    assert row["halves"]["easy"]["accuracies"] == one["accuracies"] * 2
    np.testing.assert_allclose(row["halves"]["easy"]["mean"], one["mean"])
    assert "halves" not in pooled([json.loads((runs[0] / "evaluation.json").read_text())] * 2)["rows"][0]


def test_halves_are_columns(runs):
    pytest.importorskip("pandas")
    found = json.loads((runs[1] / "evaluation.json").read_text())
    table = Table(found["rows"]).to_pandas()
    assert table["mean_hard"].tolist() == [row["halves"]["hard"]["mean"] for row in found["rows"]]
    assert "halves" not in table
