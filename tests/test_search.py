"""The search for the window: on curves that are known, on data of the published cells' sizes, and as commands do it.

A pixel of each image of the data set of commands is its number in the data set's own order.
"""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cli import refused

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.commands import windows
from jaxdistill.commands import workspace as resolve
from jaxdistill.data.check import hold_out
from jaxdistill.data.feeds import real_data
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.io.artifact import load_set
from jaxdistill.presets import find
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.base import Context
from jaxdistill.selection.curve import Curve, Judged, Searched
from jaxdistill.selection.search import grid, search, set_aside
from jaxdistill.selection.window import window
from jaxdistill.settings.config import BasisConfig

KEY = jax.random.key(3)
CELLS = {
    ("cifar10", 250): (2500, 125), ("cifar10", 500): (1500, 150), ("cifar10", 1000): (1000, 200),
    ("cifar10", 1500): (1000, 300),
    ("cifar100", 25): (400, 20), ("cifar100", 50): (350, 35), ("cifar100", 100): (300, 60),
    ("cifar100", 150): (200, 60),
    ("tiny_imagenet", 50): (400, 40), ("tiny_imagenet", 100): (350, 70),
}  # fmt: skip
"""Where the window of each published cell begins: by the paper's rule, and by the released code's."""


@pytest.mark.parametrize(("dataset", "ipc"), CELLS)
def test_the_published_cells_begin_where_paper_and_code_say(dataset, ipc):
    """Scores as they were published: C-scores, low for what is hard; counts of forgetting, with many ties."""
    size = 5000 if dataset == "cifar10" else 500
    rng = np.random.default_rng(ipc)
    labels = rng.permutation(np.repeat(np.arange(3), size))
    counts = rng.integers(0, 100, 3 * size) / 5
    hardness = counts if dataset == "tiny_imagenet" else 1 - rng.permutation(3 * size) / (3 * size)
    beta = find("selmatch", dataset, ipc).beta
    for start, first in zip(("class_fraction", "ipc_fraction"), CELLS[dataset, ipc], strict=True):
        found = window(hardness, labels, ipc, 3, beta, start)
        for c in range(3):
            ranked = sorted(np.flatnonzero(labels == c).tolist(), key=lambda i: (-hardness[i], i))
            assert found[c].tolist() == ranked[first : first + ipc]


SIZES = (20, 30, 25)
LABELS = np.repeat(np.arange(3), SIZES)


@pytest.fixture(scope="module")
def numbered():
    """Images whose one pixel is their number, and scores that make class c's image i the i-th hardest."""
    data = real_data(np.arange(75, dtype=np.uint8).reshape(75, 1, 1, 1), LABELS, 3, np.ones(1), np.zeros(1))
    return data, -np.concatenate([np.arange(size) for size in SIZES]).astype(float)


def numbers(synthetic):
    return np.asarray(synthetic.images).reshape(3, -1).astype(int)


@pytest.mark.parametrize("planted", [0.0, 0.3, 0.5, 1.0])
def test_the_search_finds_a_window_that_was_planted(planted, numbered):
    """A judge to whom a set is the better the nearer it begins to a place that it alone knows."""
    data, scores = numbered
    aside = set_aside(data, 0.1)
    first = sorted(i for i in range(20) if not aside[i])
    seen, keys = [], []

    def judge(key, synthetic):
        keys.append(jax.random.key_data(key).tolist())
        seen.append(numbers(synthetic))
        begins = first.index(seen[-1][0, 0]) / (len(first) - 4)
        return [1 - abs(begins - planted), 0.9 - abs(begins - planted)]

    found = search(KEY, data, 4, scores, judge, aside, starts=15)
    assert [one.start for one in found.windows] == pytest.approx([i / 18 for i in range(15)]), "of 18 that are left"
    assert found.best.start == pytest.approx(round(14 * planted) / 18)
    assert found.best.accuracies == pytest.approx((1.0, 0.9), abs=0.04)
    assert found.best.std == pytest.approx(0.05)
    assert (found.ipc, found.ratio) == (4, 4 / 20)
    assert len({*map(tuple, keys)}) == 1, "the same networks judge every window"
    left = [np.flatnonzero((c == LABELS) & ~aside) for c in range(3)]
    for one, picked in zip(found.windows, seen, strict=True):
        for c in range(3):
            begin = int(one.start * len(left[c]) + 1e-9)
            assert picked[c].tolist() == left[c][begin : begin + 4].tolist()
    again = search(KEY, data, 4, scores, judge, aside, starts=15)
    assert again == found


def test_what_is_held_out_lies_in_no_window(numbered):
    data, scores = numbered
    aside, seen = set_aside(data, 0.2), []
    assert [int(aside[c == LABELS].sum()) for c in range(3)] == [4, 6, 5]
    search(KEY, data, 5, scores, lambda _, synthetic: seen.append(numbers(synthetic)) or [0.5], aside)
    assert len(seen) == 11
    assert not {*np.concatenate(seen, axis=None).tolist()} & {*np.flatnonzero(aside).tolist()}
    ends = [[numbers_of[c].tolist() for c in range(3)] for numbers_of in (seen[0], seen[-1])]
    left = [np.flatnonzero((c == LABELS) & ~aside) for c in range(3)]
    assert ends[0] == [row[:5].tolist() for row in left], "the hardest are among them"
    assert ends[1][0] == left[0][-5:].tolist(), "and the easiest of the smallest class"


def test_ties_go_to_the_easier_window(numbered):
    data, scores = numbered
    aside = np.zeros(75, bool)
    means = iter([0.1, 0.7, 0.2, 0.7, 0.3, 0.6])
    found = search(KEY, data, 2, scores, lambda *_: [next(means)], aside, starts=6)
    assert found.best is found.windows[3]


def test_there_are_no_more_windows_than_places():
    assert grid(3, 5, 11) == pytest.approx([0, 0.2, 0.4])
    assert grid(5, 5, 11) == [0.0]
    assert grid(10, 100, 4) == pytest.approx([0, 0.3, 0.6, 0.9])


def test_what_cannot_be_searched_is_told(numbered):
    data, scores = numbered
    aside = set_aside(data, 0.1)
    with pytest.raises(jd.UsageError, match="class 0 has 18 images beside those held out, too few for a window of 19"):
        search(KEY, data, 19, scores, lambda *_: [0.5], aside)
    with pytest.raises(jd.UsageError, match="the window from 0 on was judged to be worth nan"):
        search(KEY, data, 2, scores, lambda *_: [np.nan], aside)


def test_images_are_set_aside_as_a_hold_out_sets_them_aside():
    source = jd.load("digits").source
    _, aside = hold_out(source, 0.1)
    order = np.argsort(source.train_labels, kind="stable")
    data = real_data(source.train_images, source.train_labels, 10, np.ones(1), np.zeros(1))
    chosen = set_aside(data, 0.1)
    expected = aside.train_images[np.argsort(aside.train_labels, kind="stable")]
    np.testing.assert_array_equal(source.train_images[order][chosen], expected)
    part = data.part(chosen)
    np.testing.assert_array_equal(part.images, expected)
    np.testing.assert_array_equal(part.counts, np.bincount(aside.train_labels))
    np.testing.assert_array_equal(part.offsets, np.cumsum(part.counts) - part.counts)
    assert part.largest == max(np.bincount(aside.train_labels))


@pytest.mark.parametrize("epochs", [1000, 500, 250, 167])
def test_the_articles_windows_are_judged_with_one_augmentation(epochs):
    plain, split = PROTOCOLS[f"selmatch{epochs}-dsa"], PROTOCOLS[f"selmatch{epochs}"]
    assert not plain.tells_selected
    assert vars(plain) == {**vars(split), "selected_augment": None}


# As commands do it.

OWN = np.random.default_rng(0).permutation(np.repeat(np.arange(3), (24, 20, 30)))
FAST = ["--network", "mlp", "--width", "8", "--eval-seeds", "0", "--quiet"]


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """A data set of patterns under noise, and a file of scores."""
    rng, folder = np.random.default_rng(1), tmp_path_factory.mktemp("data")
    patterns = rng.integers(0, 256, (3, 8, 8))
    images = np.clip(patterns[OWN] + rng.normal(0, 60, (74, 8, 8)), 0, 255).astype(np.uint8)
    images[:, 0, 0] = 3 * np.arange(74)
    test = np.clip(patterns[[0, 1, 2] * 4] + rng.normal(0, 60, (12, 8, 8)), 0, 255).astype(np.uint8)
    np.savez(folder / "toy.npz", x_train=images, y_train=OWN, x_test=test, y_test=[0, 1, 2] * 4)
    np.save(folder / "scores.npy", rng.permutation(74).astype(float))
    return folder


def words(given, out, *options, command="select forgetting", ipc=4):
    fixed = ["--dataset", str(given / "toy.npz"), "--ipc", str(ipc), "--scores", str(given / "scores.npy"), *FAST]
    return [*command.split(), *fixed, "--out", str(out), *map(str, options)]


def unscored(words):
    """Without the file of scores."""
    place = words.index("--scores")
    return words[:place] + words[place + 2 :]


def picks(folder, ipc=4):
    stored = load_set(folder)
    pixels = stored.preprocess.invert(np.asarray(stored.synthetic.images))[:, 0, 0, 0]
    return (pixels * 255 / 3).round().astype(int).reshape(3, ipc)


def windowed(given, beta, ipc=4, *, turned=False):
    """By hand: the window of each class of all training images."""
    scores = (-1 if turned else 1) * np.load(given / "scores.npy")
    ranked = [sorted(np.flatnonzero(c == OWN), key=lambda i: (-scores[i], i)) for c in range(3)]
    begins = [int(beta * len(row) + 1e-9) for row in ranked]
    return np.array([row[begin : begin + ipc] for row, begin in zip(ranked, begins, strict=True)])


def found_in(folder):
    return json.loads((folder / "search.json").read_text())


@pytest.fixture
def judged(monkeypatch):
    """Every set that is judged, and what it is judged by."""
    calls, accuracy = [], windows.accuracy

    def judge(key, synthetic, network, split, *others, **options):
        calls.append((synthetic, split))
        return accuracy(key, synthetic, network, split, *others, **options)

    monkeypatch.setattr(windows, "accuracy", judge)
    return calls


def numbers_of(images, bench):
    """Which images of the data set these are: preprocessed ones, or a split's own."""
    pixels = images if images.dtype == np.uint8 else 255 * bench.preprocess.invert(np.asarray(images))
    return {*(np.asarray(pixels)[:, 0, 0, 0] / 3).round().astype(int).tolist()}


def test_windows_that_so_few_images_do_not_tell_apart_are_counted():
    windows = [Judged(start, (mean,)) for start, mean in ((0.0, 0.5), (0.2, 0.79), (0.4, 0.8), (0.6, 0.75))]
    curve = Curve(1, 0.1, tuple(windows))
    assert curve.near(16) == 2  # a standard error of 0.1
    assert curve.near(100) == 1  # of 0.04
    assert curve.near(10_000) == 0


def test_by_default_a_selection_by_scores_takes_the_window_that_held_out_images_choose(given, judged, tmp_path, capsys):
    out = tmp_path / "run"
    assert main([word for word in words(given, out) if word != "--quiet"]) == 0
    found, bench = found_in(out), resolve.open_bench(jd.load(given / "toy.npz").config)
    assert [row["start"] for row in found["rows"]] == pytest.approx([i * 14 / 5 / 18 for i in range(6)])
    assert {len(row["accuracies"]) for row in found["rows"]} == {1}
    best = max(row["mean"] for row in found["rows"])
    assert [row["best"] for row in found["rows"]].count(True) == 1
    chosen = next(row for row in found["rows"] if row["best"])
    assert (chosen["mean"], chosen["start"]) == (best, found["beta"])
    np.testing.assert_array_equal(picks(out), windowed(given, found["beta"]))
    card = json.loads((out / "set" / "card.json").read_text())
    assert card["window"] == {"beta": found["beta"], "chosen_by": found["said"]}
    assert f"beta {found['beta']:.3g} was chosen by held-out training images: {best:.1%} of 7 of them" in found["said"]
    assert found["said"] in " ".join(capsys.readouterr().err.split())
    assert json.loads((out / "config.json").read_text())["basis"]["beta"] is None
    # What is held out is held out, and it alone tests.
    assert len(judged) == 6
    (tested,) = {id(split): numbers_of(np.asarray(split.images), bench) for _, split in judged}.values()
    assert len(tested) == found["held_out"] == 7
    assert not tested & set.union(*(numbers_of(synthetic.images, bench) for synthetic, _ in judged))


def test_the_search_never_touches_the_test_images(given, monkeypatch):
    """It sees a test split that nobody can read."""

    class Unreadable:
        pass

    options = {"scores": given / "scores.npy", "eval_seeds": 0, "network": "mlp", "width": 8, "progress": False}
    usual = jd.select("forgetting", given / "toy.npz", 4, **options)
    open_bench = resolve.open_bench
    monkeypatch.setattr(
        "jaxdistill.commands.plan.open_bench", lambda *given: open_bench(*given)._replace(test=Unreadable())
    )
    blind = jd.select("forgetting", given / "toy.npz", 4, **options)
    assert blind.search == usual.search
    assert len(blind.search) == 6


def test_python_and_the_command_line_find_one_curve(given, tmp_path):
    more = [
        "--search",
        "--search-starts",
        "4",
        "--search-networks",
        "2",
        "--search-epochs",
        "6",
        "--search-ratios",
        "0.5",
    ]
    assert main(words(given, tmp_path / "run", *more)) == 0
    options = {"scores": given / "scores.npy", "eval_seeds": 0, "network": "mlp", "width": 8, "progress": False}
    options |= {"search_starts": 4, "search_networks": 2, "search_epochs": 6, "search_ratios": (0.5,), "search": True}
    run = jd.select("forgetting", given / "toy.npz", 4, **options)
    found = found_in(tmp_path / "run")
    assert run.search == found["rows"]
    assert [row["ipc"] for row in run.search] == [4] * 4 + [10] * 4
    assert [row["best"] for row in run.search[4:]].count(True) == 1
    assert (found["networks"], found["beta"]) == (2, run.set.card["window"]["beta"])
    assert found["protocol"].startswith("6 epochs")
    assert repr(run.search) == f"<{found['said']}>"
    assert run.search._repr_html_().count("<svg") >= 2
    run.save(tmp_path / "saved")
    assert found_in(tmp_path / "saved") == found
    opened = jd.open(tmp_path / "run")
    assert opened.search == run.search
    assert opened.search.said == run.search.said
    given_beta = jd.select(
        "forgetting",
        given / "toy.npz",
        4,
        **{**options, "beta": 0.2}
        | dict.fromkeys(("search_starts", "search_networks", "search_epochs"))
        | {"search": False, "search_ratios": ()},
    )
    assert given_beta.search == []


def test_images_that_a_run_holds_out_choose_and_all_others_are_searched(given, judged, tmp_path):
    out = tmp_path / "run"
    whole = words(given, out, "--hold-out", "0.25", "--score-networks", "1", "--score-epochs", "2")
    assert main(unscored(whole)) == 0
    bench = resolve.open_bench(jd.load(given / "toy.npz").config)
    seen = set.union(*(numbers_of(synthetic.images, bench) for synthetic, _ in judged))
    tested = numbers_of(np.asarray(judged[0][1].images), bench)
    assert len(tested) == found_in(out)["held_out"] == 6 + 5 + 8
    assert not tested & (seen | {*picks(out).ravel().tolist()})
    assert found_in(out)["rows"][-1]["start"] == pytest.approx(11 / 15), "the easiest of all that are left"


def test_a_beta_that_is_given_is_taken(given, judged, tmp_path):
    for beta in ("0", "0.5"):
        out = tmp_path / beta
        assert main(words(given, out, "--beta", beta)) == 0
        np.testing.assert_array_equal(picks(out), windowed(given, float(beta)))
        assert not (out / "search.json").exists()
        assert "window" not in json.loads((out / "set" / "card.json").read_text())
    assert judged == []


@pytest.mark.parametrize("ipc", [19, 20])
def test_where_none_can_be_held_out_the_easiest_window_is_taken(given, judged, tmp_path, ipc):
    out = tmp_path / "run"
    assert main(words(given, out, ipc=ipc)) == 0
    np.testing.assert_array_equal(picks(out, ipc), windowed(given, 1 - ipc / 20, ipc))
    assert "the easiest window is taken" in found_in(out)["said"]
    assert judged == found_in(out)["rows"] == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--search --beta 0.3", "leave --beta or --search out"),
        ("--search-starts 1", "--search-starts is a number of windows, at least 2, not 1"),
        ("--search-networks 0", "--search-networks and --search-epochs are at least 1"),
        ("--search-epochs 0", "--search-networks and --search-epochs are at least 1"),
        ("--search-ratios 0.1 1.5", "--search-ratios are shares of a class"),
        ("--search-ratios 0.95", "class 1 has 18 images beside those held out, too few for a window of 19"),
        ("--beta 0.3 --search-starts 4", "does not go by --search-starts here"),
        ("--beta 1.5", "--beta is a share from 0 to 1"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(options, says, given, tmp_path, capsys):
    assert says in refused(capsys, words(given, tmp_path / "run", *options.split()), tmp_path)


def test_sizes_that_have_no_room_are_told_before_networks_are_trained(given, judged, tmp_path, capsys):
    refused(capsys, words(given, tmp_path / "run", "--search-ratios", "0.2", "0.95"), tmp_path)
    assert judged == []


def test_where_the_mean_of_a_budget_has_no_room_beside_held_out_images_the_easiest_window_is_taken(given, tmp_path):
    whole = words(given, tmp_path / "run", "--hold-out", "0.1", "--share", "0.95")
    place, scores = whole.index("--ipc"), whole.index("--scores")
    assert scores == place + 2
    options = ["--score-networks", "1", "--score-epochs", "1"]
    assert main([*whole[:place], *whole[scores + 2 :], *options]) == 0
    assert "the easiest window is taken: there are too few images for several" in found_in(tmp_path / "run")["said"]


def test_a_budget_whose_mean_has_no_room_is_searched_by_its_share_of_the_smallest_class(tmp_path):
    """Classes of 10 and 100, of which a fifth is 2 and 20: 11 in the mean, and 9 are left of the first."""
    labels = np.repeat([0, 1], [10, 100])
    images = np.random.default_rng(0).integers(0, 256, (110, 8, 8), np.uint8)
    np.savez(tmp_path / "uneven.npz", x_train=images, y_train=labels, x_test=images[8:12], y_test=labels[8:12])
    np.save(tmp_path / "scores.npy", np.arange(110.0))
    asked = (
        f"select window --dataset {tmp_path / 'uneven.npz'} --share 0.2 --scores {tmp_path / 'scores.npy'} --width 8"
    )
    quick = f"--search-epochs 1 --search-networks 1 --search-starts 3 --eval-seeds 0 --quiet --out {tmp_path / 'run'}"
    assert main([*asked.split(), *quick.split()]) == 0
    found = found_in(tmp_path / "run")
    assert [row["ipc"] for row in found["rows"]] == [2, 2, 2]
    assert found["said"].endswith("; those are of 2 images of each class, which the set does not have")
    assert load_set(tmp_path / "run").synthetic.labels.sum(0).tolist() == [2, 20]


def test_a_selection_without_scores_has_no_window_to_search(given, tmp_path, capsys):
    plain = unscored(words(given, tmp_path / "run", "--search", command="select random"))
    assert "random does not go by --search" in refused(capsys, plain, tmp_path)


def test_a_quick_search_trains_on_a_quarter_of_what_scoring_does_at_the_most(given, tmp_path):
    assert main(words(given, tmp_path / "run")) == 0
    epochs = int(found_in(tmp_path / "run")["protocol"].split()[0])
    assert epochs == 0.25 * 5 * 20 * 74 // (6 * 12)
    assert main(words(given, tmp_path / "longer", "--search-epochs", "40")) == 0
    assert found_in(tmp_path / "longer")["protocol"].startswith("40 epochs")


@pytest.mark.parametrize("method", ["dm", "idc"])
def test_a_start_by_scores_is_searched_for_as_well(method, given, tmp_path):
    """Of as many images as the method begins with: the tiles of four for each of IDC's."""
    out = tmp_path / "run"
    start = ["--init", "forgetting", "--steps", "0", *(["--network", "convnet"] if method == "idc" else [])]
    assert main(words(given, out, *start, command=f"distill {method}", ipc=2)) == 0
    found = found_in(out)
    assert {row["ipc"] for row in found["rows"]} == {2 if method == "dm" else 8}
    card = json.loads((out / "set" / "card.json").read_text())
    assert card["window"] == {"beta": found["beta"], "chosen_by": found["said"]}
    if method == "dm":
        np.testing.assert_array_equal(picks(out, 2), windowed(given, found["beta"], 2))
    before = (out / "set" / "set.safetensors").read_bytes()
    assert main(["distill", method, "--resume", "--out", str(out), "--quiet"]) == 0
    assert (out / "set" / "set.safetensors").read_bytes() == before
    assert json.loads((out / "set" / "card.json").read_text())["window"] == card["window"]


def test_the_report_draws_the_curve_and_tells_a_damaged_one(given, tmp_path, capsys):
    out = tmp_path / "run"
    assert main(words(given, out, "--search-ratios", "0.5", "--search-starts", "3")) == 0
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Where the window begins" in page
    assert "10 per class (50 %)" in page
    assert page.count('<path class="run run') == 2
    rows = found_in(out)["rows"]
    assert all(f"{100 * row['mean']:.1f}" in page for row in rows)
    (out / "search.json").write_text('{"said": "so", "rows": [{"ipc": 1}]}')
    assert main(["report", str(out)]) == 2
    assert "its rows are no windows" in capsys.readouterr().err


def test_the_selection_window_searches_thoroughly_by_the_score_that_is_named(given, judged, tmp_path):
    out = tmp_path / "run"
    assert main(words(given, out, "--search-epochs", "3", "--score", "cscore", command="select window")) == 0
    found = found_in(out)
    assert len(found["rows"]) == 11
    assert {len(row["accuracies"]) for row in found["rows"]} == {found["networks"]} == {3}
    scores = np.load(given / "scores.npy")
    np.testing.assert_array_equal(np.load(out / "scores.npz")["scores"], scores)
    np.testing.assert_array_equal(picks(out), windowed(given, found["beta"], turned=True))
    config = json.loads((out / "config.json").read_text())
    assert (config["basis"]["score"], config["basis"]["beta"]) == ("cscore", None)
    before = (out / "set" / "set.safetensors").read_bytes()
    assert main(["select", "window", "--resume", "--out", str(out), "--quiet"]) == 0
    assert (out / "set" / "set.safetensors").read_bytes() == before
    # Another selection by that score finds the same window where it is asked to search as thoroughly.
    assert main(words(given, tmp_path / "same", "--search-epochs", "3", "--search", command="select cscore")) == 0
    assert found_in(tmp_path / "same")["rows"] == found["rows"]


def test_a_window_trains_as_long_as_the_recipe_says(given, monkeypatch, tmp_path):
    asked = []

    def accuracy(key, synthetic, network, split, bench, recipe, networks, **options):
        del key, synthetic, network, split, bench, options
        asked.append((recipe.epochs, recipe.selected_augment))
        return SimpleNamespace(accuracies=np.full(networks, 0.5))

    monkeypatch.setattr(windows, "accuracy", accuracy)
    assert main(words(given, tmp_path / "run", "--protocol", "selmatch500", command="select window")) == 0
    assert asked == [(500, None)] * 11
    assert main(words(given, tmp_path / "other", "--beta", "0.2", command="select window")) == 0
    np.testing.assert_array_equal(picks(tmp_path / "other"), windowed(given, 0.2))
    assert len(asked) == 11


def test_a_published_cell_keeps_its_beta_unless_a_search_is_asked_for():
    asked = dict.fromkeys(Context._fields)
    asked |= {"given_scores": lambda: np.arange(5.0) / 5, "search": lambda scores, much: Searched(0.7, f"{much}")}
    basis = BasisConfig(beta=find("selmatch", "cifar10", 500).beta, score="cscore", scores=Path("there.npy"))
    for init in ("cscore", "window"):
        found = [
            SELECTIONS[init].needs.build(Context(**{**asked, "options": dataclasses.replace(basis, **changes)}))
            for changes in ({}, {"search": True}, {"beta": None})
        ]
        found = found if init == "cscore" else [one.difficulty for one in found]
        assert [one.beta for one in found] == [0.3, 0.7, 0.7]
        assert [one.search and one.search.said for one in found] == [None, "True", str(init == "window")]


def test_selmatch_starts_from_a_window_that_was_searched_for(bank, tmp_path):
    """As a start by name, and from the run of a selection: the frozen images are its hardest."""
    fast = ["--dataset", "digits", "--ipc", "4", "--eval-seeds", "0", "--quiet", "--experts", str(bank)]
    searched = ["--score", "cscore", "--protocol", "digits100", "--search-starts", "3"]
    searched += ["--search-networks", "1", "--search-epochs", "2"]
    matched = ["--max-start", "1", "--expert-epochs", "1", "--student-steps", "2", "--augment", "none", "--steps", "2"]
    first, named, from_run = (tmp_path / name for name in ("first", "named", "from_run"))
    assert main(["select", "window", *fast, *searched, "--out", str(first)]) == 0
    start = ["distill", "selmatch", *matched, "--alpha", "0.5"]
    assert main([*start, *fast, *searched, "--search", "--init", "window", "--out", str(named)]) == 0
    assert main([*start, *fast, "--init", str(first), "--out", str(from_run)]) == 0
    selected = np.asarray(load_set(first).synthetic.images).reshape(10, 4, 8, 8)
    for folder in (named, from_run):
        made = load_set(folder).synthetic
        images = np.asarray(made.images).reshape(10, 4, 8, 8)
        np.testing.assert_allclose(images[:, :2], selected[:, :2], atol=1e-6)  # a run's are read as pixels
        assert np.asarray(made.selected).reshape(10, 4)[0].tolist() == [True, True, False, False]
        assert np.abs(images[:, 2:] - selected[:, 2:]).max() > 0
    assert found_in(named) == found_in(first)
    assert load_set(named).card["window"]["beta"] == found_in(named)["beta"]
    # The first images of each class are the hardest of the window.
    scores = 1 - np.load(first / "scores.npz")["scores"]
    data = resolve.open_bench(jd.load("digits").config)
    order = np.argsort(data.source.train_labels, kind="stable")
    begin = found_in(first)["beta"]
    picked = window(scores[order], np.asarray(data.train.labels), 4, 10, begin)
    expected = np.asarray(data.train.read(jnp.asarray(picked)).images).reshape(10, 4, 8, 8)
    np.testing.assert_allclose(selected, expected, atol=1e-6)


@pytest.mark.parametrize("budget", [["--share", "0.2"], ["--share", "0.95"], ["--ipc", "20", "--unbalanced"]])
def test_budgets_of_which_classes_differ_have_a_window_too(given, tmp_path, budget):
    """The mean number of images is searched for, and what is left out leaves enough of each class, or of all."""
    out = tmp_path / "run"
    whole = words(given, out, *budget)
    place = whole.index("--ipc")
    assert main(whole[:place] + whole[place + 2 :]) == 0
    beta, scores = found_in(out)["beta"], np.load(given / "scores.npy")
    groups = [np.flatnonzero(c == OWN) for c in range(3)] if "--share" in budget else [np.arange(74)]
    taken = [round(float(budget[1]) * len(row)) for row in groups] if "--share" in budget else [60]
    expected = []
    for row, count in zip(groups, taken, strict=True):
        ranked = row[np.lexsort((row, -scores[row]))]
        begin = int(beta * len(row) + 1e-9)
        assert begin + count <= len(row)
        expected += ranked[begin : begin + count].tolist()
    stored = load_set(out)
    pixels = stored.preprocess.invert(np.asarray(stored.synthetic.images))[:, 0, 0, 0]
    assert sorted((pixels * 255 / 3).round().astype(int).tolist()) == sorted(expected)
