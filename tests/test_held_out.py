"""Consistency and memorisation: parts that leave out and show every image, loops in NumPy, and planted images."""

import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from test_basis import context
from test_cli import refused

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.commands.workspace import open_bench
from jaxdistill.data.feeds import Part
from jaxdistill.networks import make as make_network
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.base import Parted
from jaxdistill.selection.held_out import consistency, memorisation, parts
from jaxdistill.settings.config import BasisConfig, DataConfig
from jaxdistill.training.experts import expert_epoch
from jaxdistill.training.inference import predict
from jaxdistill.training.proxy import RECIPE

KEY = jax.random.key(0)


def drawn(counts, share, networks, key=KEY):
    found = parts(key, np.array(counts), share, networks)
    saw = np.zeros((networks, sum(counts)), bool)
    np.put_along_axis(saw, found, True, axis=1)
    assert (saw.sum(1) == found.shape[1]).all(), "no image twice"
    return saw


@pytest.mark.parametrize("share", [0.05, 0.25, 0.5, 0.7, 0.9])
def test_parts_leave_every_image_out_and_show_it_and_take_the_same_share_of_each_class(share):
    sizes = [*itertools.product([2, 3, 5, 8, 13], repeat=2), (100, 7), (178, 183, 181)]
    for counts in sizes:
        ends = np.cumsum(counts)
        for networks in (40, 47):
            saw = drawn(counts, share, networks)
            for end, count in zip(ends, counts, strict=True):
                of_class = saw[:, end - count : end].sum(1)
                assert (of_class == min(max(round(share * count), 1), count - 1)).all()
            assert saw.any(0).all()
            assert (~saw).any(0).all()


def test_the_fewest_networks_are_two_for_halves_and_four_for_seven_tenths():
    for share, fewest in ((0.5, 2), (0.7, 4), (0.3, 4), (0.9, 10), (0.8, 5)):
        saw = drawn((100, 40), share, fewest)
        assert saw.any(0).all()
        assert (~saw).any(0).all()
        with pytest.raises(
            jd.UsageError, match=f"`subset_share` {share} it takes {fewest} networks .* is {fewest - 1}"
        ):
            drawn((100, 40), share, fewest - 1)
    with pytest.raises(jd.UsageError, match="class 1 has one image"):
        drawn((4, 1, 4), 0.5, 4)


def test_a_part_alone_is_uniform_and_differs_between_groups_and_keys():
    saw = drawn((30, 20), 0.5, 400)
    assert (abs(saw.mean(0) - 0.5) < 1e-9).all(), "complements in pairs"
    together = (saw[::2, :30].astype(float).T @ saw[::2, :30])[~np.eye(30, dtype=bool)] / 200
    assert abs(together.mean() - 15 * 14 / (30 * 29)) < 1e-9
    assert together.std() < 2 * np.sqrt(0.24 * 0.76 / 200)
    assert not np.array_equal(saw[0], saw[2])
    assert not np.array_equal(saw, drawn((30, 20), 0.5, 400, jax.random.key(1)))
    np.testing.assert_array_equal(saw, drawn((30, 20), 0.5, 400))


def test_scores_equal_loops_over_networks():
    rng = np.random.default_rng(0)
    said = Parted(drawn((9, 6), 0.7, 9), rng.random((9, 15)) > 0.4)
    for i in range(15):
        inside = [bool(said.correct[k, i]) for k in range(9) if said.saw[k, i]]
        outside = [bool(said.correct[k, i]) for k in range(9) if not said.saw[k, i]]
        assert consistency(said)[i] == pytest.approx(1 - sum(outside) / len(outside))
        assert memorisation(said)[i] == pytest.approx(sum(inside) / len(inside) - sum(outside) / len(outside))
    never = said._replace(correct=np.zeros((9, 15), bool))
    assert (consistency(never) == 1).all()
    assert (memorisation(never) == 0).all()


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Three classes of 24: twelve of a pattern, nine copies of one noise, and three noises that are there once."""
    rng = np.random.default_rng(1)
    patterns = rng.integers(0, 256, (3, 8, 8))
    kinds = np.tile(np.repeat(["pattern", "copy", "once"], [12, 9, 3]), 3)
    images = np.empty((72, 8, 8), np.uint8)
    for label in range(3):
        rows = slice(24 * label, 24 * label + 24)
        copy = np.broadcast_to(rng.integers(0, 256, (8, 8)), (9, 8, 8))
        own = np.clip(patterns[label] + rng.normal(0, 20, (12, 8, 8)), 0, 255)
        images[rows] = np.concatenate([own, copy, rng.integers(0, 256, (3, 8, 8))])
    mixed = rng.permutation(72)
    path = tmp_path_factory.mktemp("data") / "planted.npz"
    labels = np.repeat(np.arange(3), 24)
    np.savez(path, x_train=images[mixed], y_train=labels[mixed], x_test=patterns.astype(np.uint8), y_test=np.arange(3))
    return path, kinds[mixed]


def test_what_is_there_once_is_memorised_and_what_has_copies_is_not(planted):
    path, kinds = planted
    options = {"network": "mlp", "width": 64, "score_networks": 12, "score_epochs": 60, "subset_share": 0.5}
    names = ("memorisation", "consistency")
    found = {name: jd.select(name, path, 1, progress=False, **options).scores for name in names}
    once = kinds == "once"
    assert found["memorisation"][once].mean() > 0.4
    assert abs(found["memorisation"][~once]).max() < 0.2
    assert found["consistency"][~once].min() > 0.8, "as C-scores, high for what others teach"
    assert found["consistency"][once].mean() < 0.6


def test_mislabelled_digits_are_the_hardest():
    """A few networks; of each class all wrong labels are among the hardest."""
    source = jd.load("digits").source
    rng = np.random.default_rng(2)
    labels = source.train_labels.copy()
    wrong = rng.choice(len(labels), 30, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 10, 30)) % 10
    data = jd.Dataset.from_arrays(source.train_images, labels, source.test_images, source.test_labels)
    for name in ("consistency", "aum"):
        scores = jd.select(name, data, 1, width=16, score_networks=4, score_epochs=20, progress=False).scores
        hardness = 1 - scores if name == "consistency" else scores
        right = np.setdiff1d(np.arange(len(labels)), wrong)
        assert np.median(hardness[wrong]) >= np.quantile(hardness[right], 0.97), name
        above = (hardness[wrong, None] > hardness[right]).mean() + (hardness[wrong, None] == hardness[right]).mean() / 2
        assert above > 0.95, name


def test_networks_see_their_parts_alone(planted):
    """One epoch of two of them, against `expert_epoch` on the images themselves."""
    bench = open_bench(DataConfig(str(planted[0])))
    network = make_network("mlp", bench.image_shape, 3, width=8)
    basis = BasisConfig(score_networks=2, score_epochs=1, subset_share=0.5)
    said = context(basis, bench, network, None, KEY).parted()
    key_parts, key = jax.random.split(KEY)
    members = parts(key_parts, np.asarray(bench.train.counts), 0.5, 2)
    for number in range(2):
        own = jax.random.fold_in(key, number)
        start = network.init(own)
        still = jax.tree.map(np.zeros_like, start.params)
        some = bench.train.take(members[number])
        end, _, seen = expert_epoch(
            jax.random.fold_in(own, 1), network, start, still, some, RECIPE, jd.make_augment("none")
        )
        assert seen.error.shape == (36,)
        right = np.asarray(predict(network, end, bench.train)).argmax(-1) == bench.train.labels
        np.testing.assert_array_equal(said.correct[number], right)
        np.testing.assert_array_equal(np.flatnonzero(said.saw[number]), np.sort(members[number]))
    part = Part(bench.train, members[0])
    np.testing.assert_array_equal(part.take(np.arange(3)).images, bench.train.take(members[0][:3]).images)
    assert part.count == 36


@pytest.mark.parametrize("name", ["consistency", "memorisation"])
def test_experts_are_not_asked_and_bad_shares_are_refused(name, planted, bank, tmp_path, capsys):
    words = ["select", name, "--dataset", "digits", "--ipc", "1", "--out", str(tmp_path / "run")]
    said = refused(capsys, [*words, "--experts", str(bank)], tmp_path)
    assert f"{name} uses no experts with these options" in said
    for share in ("0", "1", "-1"):
        said = refused(capsys, [*words, "--subset-share", share], tmp_path)
        assert "--subset-share is a share above 0 and below 1" in said
    said = refused(capsys, [*words, "--score-networks", "3"], tmp_path)
    assert "with --subset-share 0.7 it takes 4 networks" in said
    assert not SELECTIONS[name].needs.uses_experts(BasisConfig())
    assert "subset_share" not in SELECTIONS[name].needs.reads(BasisConfig(scores=Path("there.npy")), False)


def test_a_run_leaves_scores_that_select_the_same_images_again(planted, tmp_path):
    words = ["--dataset", str(planted[0]), "--ipc", "2", "--beta", "0", "--eval-seeds", "0", "--quiet"]
    words += ["--network", "mlp"]
    options = ["--width", "8", "--score-networks", "4", "--score-epochs", "5", "--subset-share", "0.5"]
    for name in ("consistency", "memorisation"):
        first, again = tmp_path / name, tmp_path / f"{name} again"
        assert main(["select", name, *words, *options, "--out", str(first)]) == 0
        left = np.load(first / "scores.npz")
        assert (left["name"], left["made"]) == (
            name, "mean over 4 networks of 5 epochs, each trained on 0.5 of every class",
        )  # fmt: skip
        scores = ["--width", "8", "--scores", str(first / "scores.npz"), "--out", str(again)]
        assert main(["select", name, *words, *scores]) == 0
        np.testing.assert_array_equal(np.load(again / "scores.npz")["scores"], left["scores"])
        one, other = (jd.open(run).synthetic.images for run in (first, again))
        np.testing.assert_array_equal(one, other)
