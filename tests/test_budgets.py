"""Budgets beside as many images of each class: shares of classes of several sizes, and all classes together."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.commands.judge import _baseline, budget_by
from jaxdistill.data.feeds import real_data
from jaxdistill.errors import UsageError
from jaxdistill.io.artifact import ArtifactError, load_set, save_set
from jaxdistill.io.pictures import grid
from jaxdistill.report import comparison
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.base import Trials
from jaxdistill.selection.budgets import Budget, budget_of, counts_of, select_within
from jaxdistill.selection.ccs import Strata
from jaxdistill.selection.outputs import Outputs
from jaxdistill.selection.search import Ranked
from jaxdistill.selection.window import Difficulty

KEY = jax.random.key(0)
SIZES = (12, 3, 7, 12)
CLASSES = np.repeat(np.arange(4), SIZES)
N = len(CLASSES)
RNG = np.random.default_rng(0)
FEATURES = (RNG.normal(size=(N, 3)) + 2 * CLASSES[:, None]).astype(np.float32)
SCORES = RNG.normal(size=N)
SAID = Outputs(jnp.asarray(FEATURES), jnp.asarray(RNG.normal(size=(N, 4)), jnp.float32))
FAST = {"width": 4, "depth": 1, "eval_epochs": 1, "eval_seeds": 2, "progress": False}


def split(sizes=SIZES):
    """Images that tell their number."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    images = np.broadcast_to(np.arange(len(labels))[:, None, None, None], (len(labels), 2, 2, 1))
    return real_data(images.astype(np.float32), labels, len(sizes), np.ones(1), np.zeros(1))


def inputs_of(selection):
    """What a selection goes by."""
    known = (jnp.asarray(FEATURES), Difficulty(SCORES, 0.1), SAID, Strata(SCORES, 0.1, 3), None)
    known = (Ranked(known[1], SCORES), *known)
    return next(one for one in known if selection.needs.accepts(one))


def numbers(synthetic):
    return np.asarray(synthetic.images)[:, 0, 0, 0].astype(int)


def same(one, other):
    assert one.arrays.keys() == other.arrays.keys()
    for name, leaf in one.arrays.items():
        np.testing.assert_array_equal(leaf, other.arrays[name])


def chosen(name, budget, *inputs):
    selection = SELECTIONS[name]
    return select_within(KEY, selection, split(), budget, *(inputs or (inputs_of(selection),)))


def arrays(**others):
    """Digits of four classes of several sizes."""
    digits = jd.load("digits").source
    rows = np.concatenate([np.flatnonzero(digits.train_labels == c)[:size] for c, size in enumerate(SIZES)])
    tests = np.flatnonzero(digits.test_labels < 4)[:40]
    return jd.Dataset.from_arrays(
        digits.train_images[rows], digits.train_labels[rows], digits.test_images[tests], digits.test_labels[tests],
        **others,
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- budgets


def test_a_share_is_rounded_in_each_class_and_at_least_one():
    assert budget_of((12, 3, 7, 12), share=0.3) == Budget(3, (4, 1, 2, 4))
    assert budget_of((1000, 2), share=0.001) == Budget(1)
    assert budget_of((10, 10, 10), share=0.34) == Budget(3)
    assert budget_of((25, 15), share=0.5) == Budget(10, (12, 8))  # halves to the even number, as Python's round
    assert budget_of((12, 4), 3, together=True) == Budget(3, total=6)
    assert budget_of((12, 4), share=0.3, together=True) == Budget(3, total=5)


@pytest.mark.parametrize("name", [name for name, one in SELECTIONS.items() if one.budgets == "any"])
def test_each_class_of_a_share_is_what_the_selection_takes_of_it_alone(name):
    """Draws aside, which have keys of their own, this is the selection on the images of one class."""
    selection = SELECTIONS[name]
    found = chosen(name, budget_of(SIZES, share=0.3))
    assert counts_of(found) == (4, 1, 2, 4)
    np.testing.assert_array_equal(found.labels, np.eye(4)[np.repeat(np.arange(4), (4, 1, 2, 4))])
    assert found.selected.all()
    np.testing.assert_array_equal(found.indices, numbers(found))
    assert (CLASSES[numbers(found)] == found.labels.argmax(-1)).all()
    assert len({*numbers(found)}) == 11
    if found.weights is not None:
        assert found.weights.mean() == pytest.approx(1)
    if name in ("random", "kmeans", "ccs"):
        return
    for c, count in enumerate((4, 1, 2, 4)):
        rows = np.flatnonzero(c == CLASSES)
        alone = real_data(np.asarray(split().images)[rows], np.zeros(len(rows), int), 1, np.ones(1), np.zeros(1))
        own = selection.needs.part(inputs_of(selection), CLASSES, np.where(np.arange(4) == c, 0, -1))
        expected = selection(KEY, alone, count, own)
        assert (numbers(expected) == numbers(found)[found.labels.argmax(-1) == c]).all()


def test_a_share_of_equal_classes_is_an_ipc_to_the_bit():
    digits = jd.load("digits").source
    rows = np.concatenate([np.flatnonzero(digits.train_labels == c)[:20] for c in range(3)])
    data = jd.Dataset.from_arrays(digits.train_images[rows], digits.train_labels[rows])
    for name in ("random", "kmeans", "glister"):
        network = {"width": 4, "depth": 1, "feature_epochs": 1} if name == "glister" else {}
        one, other = (jd.select(name, data, **size, **network, progress=False) for size in ({"ipc": 2}, {"share": 0.1}))
        same(one.synthetic, other.synthetic)
        cards = [{key: value for key, value in run.set.card.items() if key != "cost"} for run in (one, other)]
        assert cards[0] == cards[1]


# ------------------------------------------------------------------------------------------- all classes together


def test_scores_of_all_classes_are_one_window():
    found = chosen("el2n", Budget(2, total=8))
    hardest = np.argsort(-SCORES, kind="stable")[int(0.1 * N) :][:8]
    assert {*numbers(found)} == {*hardest}
    assert (np.diff(found.labels.argmax(-1)) >= 0).all()
    assert counts_of(found) == tuple(np.bincount(CLASSES[hardest], minlength=4))


def test_the_last_window_of_an_ipc_has_room_for_the_budget_it_stands_for():
    budget, data = budget_of((10, 10, 10), share=0.37, together=True), split((10, 10, 10))
    assert budget == Budget(4, total=11)
    easiest = Difficulty(np.arange(30.0), 1 - budget.ipc / 10)
    assert select_within(KEY, SELECTIONS["el2n"], data, budget, easiest).count == 11


def test_herding_of_all_classes_follows_the_mean_of_all():
    left, total, mean = {*range(N)}, np.zeros(3), FEATURES.astype(float).mean(0)
    for j in range(1, 9):
        pick = min(left, key=lambda i: np.linalg.norm(j * mean - total - FEATURES[i]))
        left.remove(pick)
        total = total + FEATURES[pick]
    assert {*numbers(chosen("herding", Budget(2, total=8)))} == {*range(N)} - left


def test_k_center_of_all_classes_leaves_no_image_far_from_a_pick():
    rows = FEATURES.astype(float)
    picks = [int(np.linalg.norm(rows - rows.mean(0), axis=1).argmin())]
    for _ in range(7):
        picks.append(int(np.linalg.norm(rows[:, None] - rows[picks], axis=-1).min(1).argmax()))
    assert {*numbers(chosen("kcenter", Budget(2, total=8)))} == {*picks}


def gradients():
    """Of the last layer, one row for each image, with its true class."""
    said = np.asarray(SAID.logits, float)
    p = np.exp(said) / np.exp(said).sum(1, keepdims=True)
    with_bias = np.concatenate([np.ones((N, 1)), FEATURES], axis=1)
    return ((p - np.eye(4)[CLASSES])[:, :, None] * with_bias[:, None]).reshape(N, -1)


def test_craig_of_all_classes_represents_all_gradients_of_the_true_classes():
    found = gradients()
    distances = np.linalg.norm(found[:, None] - found, axis=-1)
    picks = []
    for _ in range(5):
        left = [i for i in range(N) if i not in picks]
        picks.append(min(left, key=lambda i: distances[:, [*picks, i]].min(1).sum()))
    stands_for = np.bincount(distances[:, picks].argmin(1), minlength=5)
    synthetic = chosen("craig", Budget(2, total=5))
    weights = dict(zip(picks, 5 * stands_for / N, strict=True))
    assert {*numbers(synthetic)} == {*picks}
    np.testing.assert_allclose(synthetic.weights, [weights[i] for i in numbers(synthetic)], rtol=1e-5)


def test_gradmatch_of_all_classes_begins_along_the_mean_gradient():
    found = gradients()
    (first,) = numbers(chosen("gradmatch", Budget(1, total=1)))
    assert first == (found @ found.mean(0)).argmax()


def test_glister_of_all_classes_lowers_the_loss_of_the_true_ones():
    """The paper's greedy step, by gradients that are written out."""
    eta, with_bias = 0.01, np.concatenate([np.ones((N, 1)), FEATURES], axis=1).astype(float)
    own, logits, picks = gradients(), np.asarray(SAID.logits, float), []
    for _ in range(6):
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        target = ((p - np.eye(4)[CLASSES])[:, :, None] * with_bias[:, None]).reshape(N, -1).mean(0)
        picks.append(max((i for i in range(N) if i not in picks), key=lambda i: own[i] @ target))
        logits = logits - eta * with_bias @ own[picks[-1]].reshape(4, -1).T
    assert {*numbers(chosen("glister", Budget(2, total=6)))} == {*picks}


def test_random_sets_of_all_classes_are_judged_with_their_true_ones():
    seen = []

    def judge(key, synthetic):
        assert (synthetic.labels.argmax(-1) == CLASSES[numbers(synthetic)]).all()
        seen.append(frozenset(numbers(synthetic).tolist()))
        return float(len(seen) == 3)

    found = chosen("optimised", Budget(2, total=9), Trials(judge, 5))
    assert {*numbers(found)} == seen[2]
    assert len({*seen}) == 5


def test_a_class_may_be_left_empty_and_its_row_of_the_picture_white():
    found = chosen("el2n", Budget(1, total=4), Difficulty(-CLASSES.astype(float)))
    assert counts_of(found) == (4, 0, 0, 0)
    shades = np.linspace(0.1, 0.5, 5, dtype=np.float32)[:, None, None, None]
    picture = grid(np.broadcast_to(shades, (5, 48, 48, 1)), 3, counts=(3, 0, 2))
    values = picture[:, :, 0].reshape(3, 50, 3, 50)[:, 20, :, 20]
    np.testing.assert_array_equal(values, [[26, 51, 76], [255] * 3, [102, 128, 255]])


# ------------------------------------------------------------------------------------------------------- what follows


@pytest.fixture(scope="module")
def runs():
    data = arrays()
    share = jd.select("herding", data, share=0.3, **FAST)
    together = jd.select("el2n", data, 2, unbalanced=True, score_networks=1, score_epochs=2, **FAST)
    return data, share, together


def test_the_random_sets_beside_have_as_many_images(runs):
    data, share, together = runs
    budgets = [budget_by(run.set.card, run.synthetic) for run in (share, together)]
    assert budgets == [Budget(3, (4, 1, 2, 4)), Budget(2, total=8)]
    alike = [_baseline(jax.random.key(i), data.bench, budgets[0]) for i in range(8)]
    assert {counts_of(one) for one in alike} == {(4, 1, 2, 4)}
    free = [_baseline(jax.random.key(i), data.bench, budgets[1]) for i in range(8)]
    assert {one.count for one in free} == {8}
    assert len({counts_of(one) for one in free}) > 1
    for drawn in (alike, free):
        assert len({np.asarray(one.images).tobytes() for one in drawn}) == 8
        assert all((np.diff(one.labels.argmax(-1)) >= 0).all() for one in drawn)


def test_sets_of_several_counts_are_shown_saved_opened_judged_and_compared(runs, tmp_path, capsys):
    data, share, together = runs
    assert share.set.card["counts"] == [4, 1, 2, 4]
    assert together.set.card["counts"] == list(counts_of(together.synthetic))
    assert repr(share) == "<herding: 11 images, 1 to 4 per class, of arrays>"
    assert share.show().size[0] == 4 * 50
    own = share.evaluate(progress=False)
    assert [row["ipc"] for row in own.rows] == [3, 3]
    share.save(tmp_path / "share")
    together.save(tmp_path / "together")
    stored = load_set(tmp_path / "share")
    same(stored.synthetic, share.synthetic)
    page = (tmp_path / "share" / "report.html").read_text()
    assert "11 images in all, 1 to 4 of a class" in page
    assert "--share 0.3" in page
    assert "--ipc 3" not in page.partition("More images")[0]
    opened = jd.open(tmp_path / "share", data)
    assert opened.evaluate(progress=False).rows[0]["accuracies"] == own.rows[0]["accuracies"]
    table = jd.evaluate([opened, together], data, seeds=2, epochs=1, progress=False)
    assert table.sets == ["herding", "el2n", "random beside herding", "random beside el2n"]
    assert main(["compare", *(str(tmp_path / name) for name in ("share", "together"))]) == 0
    compared = comparison.table_of(comparison.compared([tmp_path / "share"]))
    assert {row["ipc"] for row in compared.rows} == {"1 to 4"}
    assert main(["export", str(tmp_path / "share"), "--out", str(tmp_path / "pngs"), "--format", "folder"]) == 0
    assert [len([*folder.iterdir()]) for folder in sorted((tmp_path / "pngs").iterdir())] == [4, 1, 2, 4]
    capsys.readouterr()


def test_a_set_that_is_not_what_its_counts_say_is_refused(runs, tmp_path):
    _, share, _ = runs
    stored, card = share.set, {**share.set.card, "counts": [4, 2, 1, 4]}
    with pytest.raises(ArtifactError, match="not one-hot, class by class"):
        save_set(tmp_path / "other", stored.synthetic, stored.preprocess, card)
    with pytest.raises(ArtifactError, match="11 images are not as many as its counts say of 4 classes"):
        save_set(tmp_path / "other", stored.synthetic, stored.preprocess, {**card, "counts": [4, 2, 4]})
    stored.save(tmp_path / "set")
    path = tmp_path / "set" / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"counts": [12, -1, 0, 0]}))
    with pytest.raises(ArtifactError, match="its counts are not whole numbers"):
        load_set(tmp_path / "set")


def test_a_method_does_not_start_from_it(runs):
    data, share, _ = runs
    said = r"`init` has 1 to 4 images of a class, and methods need as many of each; start from a set .* `ipc`"
    with pytest.raises(UsageError, match=said):
        jd.distill("dm", data, 2, init=share, steps=1, width=4, progress=False)


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("random", {}, "say how many images are selected: give `ipc` .* or `share`"),
        ("random", {"ipc": 1, "share": 0.1}, "both say how many images are selected; give one of them"),
        ("random", {"share": 0.0}, "above 0 and at most 1, not 0.0"),
        ("random", {"ipc": 9, "unbalanced": True}, "34 training images, fewer than `ipc` 9 for each of 4 .* to 8"),
        ("average", {"ipc": 2, "unbalanced": True}, "average makes as many images of each class"),
        ("centroids", {"share": 0.3}, "centroids takes .* 1 of one and 4 of another; give `ipc`$"),
        ("glister", {"share": 0.3}, "glister takes .*; give `ipc`, or add `unbalanced`$"),
    ],
)
def test_what_cannot_be_is_refused(name, size, said, runs):
    with pytest.raises(UsageError, match=said):
        jd.select(name, runs[0], **size, **FAST)


def test_recipes_that_take_as_many_images_of_each_class_refuse_others(runs):
    data, *others = runs
    said = "a step takes as many images of each class"
    with pytest.raises(UsageError, match=said):
        jd.select("random", data, share=0.3, **FAST | {"protocol": "dd", "eval_seeds": 1})
    for run in others:
        with pytest.raises(UsageError, match=said):
            jd.evaluate(run, data, protocol="dd", seeds=1, progress=False)


def test_help_leaves_out_what_a_selection_cannot_do(capsys):
    for name, there in (("craig", True), ("average", False)):
        with pytest.raises(SystemExit):
            main(["select", name, "--help"])
        assert ("--unbalanced" in capsys.readouterr().out) == there


def test_from_the_command_line_and_again(tmp_path, capsys):
    words = ["select", "random", "--dataset", "digits", "--eval-seeds", "0", "--quiet", "--out", str(tmp_path / "run")]
    assert main([*words, "--ipc", "1", "--share", "0.1"]) == 2
    assert "give one of them" in capsys.readouterr().err
    assert main([*words, "--share=0.02", "--unbalanced"]) == 0
    first = load_set(tmp_path / "run")
    assert first.synthetic.count == round(0.02 * 1442)
    assert first.card["unbalanced"]
    assert main([*words, "--share=0.02", "--unbalanced", "--resume"]) == 0
    same(load_set(tmp_path / "run").synthetic, first.synthetic)
