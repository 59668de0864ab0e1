"""CCS on scores made by hand, index for index, and by the score of another selection from the command line."""

import json

import jax
import numpy as np
import pytest
from test_basis import LABELS as TOY
from test_basis import bank, dataset, picks, saved, words  # noqa: F401
from test_cli import refused

from jaxdistill.cli import main
from jaxdistill.common import draws
from jaxdistill.errors import UsageError
from jaxdistill.selection.ccs import ccs, share_out
from jaxdistill.settings.config import BasisConfig
from jaxdistill.settings.starts import SCORES

KEY = jax.random.key(0)


def chosen(scores, labels, ipc, key=KEY, **options):
    found = ccs(key, np.asarray(scores, float), np.asarray(labels), ipc, max(labels) + 1, **options)
    return [set(row.tolist()) for row in found]


def test_the_smallest_stratum_comes_first_and_what_it_lacks_goes_to_the_others():
    """By hand: each stratum in turn an even share of what is left, and no more than it has."""
    for budget, sizes, expected in (
        (6, [2, 9, 4], [2, 2, 2]),
        (8, [1, 9, 4], [1, 4, 3]),
        (9, [1, 9, 2], [1, 6, 2]),
        (7, [0, 5, 5, 0], [0, 3, 4, 0]),
        (2, [3, 3, 3, 3], [0, 0, 1, 1]),
        (12, [3, 3, 3, 3], [3, 3, 3, 3]),
    ):
        assert share_out(budget, np.array(sizes)).tolist() == expected


def test_what_is_drawn_is_known_where_strata_are_taken_whole():
    """Two classes, mixed; the hardest quarter is left out, and of those that tie the first."""
    #         strata of class 0, whose scores are 0 to 8 after the cut: [0, 2) [2, 4) [4, 6) [6, 8]
    scores = [0, 9, 5, 1, 8, 5, 2, 5, 9, 5, 1.9, 5, 7, 5, 4, 5, 6]
    labels = [0, 0, 1, 0, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0]
    first, second = chosen(scores, labels, 6, beta=0.25, strata=4)
    # Left of class 0: 0 3 10 | 6 | 14 | 4 12 16, of which 1 + 1 + 2 + 2: the two of three that are drawn first.
    drawn = np.asarray(draws.uniform(KEY, (17,)))
    expected = {
        6,
        14,
        *sorted((0, 3, 10), key=lambda i: drawn[i])[:2],
        *sorted((4, 12, 16), key=lambda i: drawn[i])[:2],
    }
    assert first == expected
    # Class 1 has 7 images that are all alike: the first is left out, and there is one stratum.
    assert second == {5, 7, 9, 11, 13, 15}


def test_draws_are_uniform_within_a_stratum_and_strata_have_their_shares():
    scores, labels = np.r_[np.zeros(8), np.ones(4) * 10], np.zeros(12, int)
    keys = jax.random.split(KEY, 300)
    found = np.stack([np.asarray(ccs(key, scores, labels, 4, 1, strata=5))[0] for key in keys])
    assert ((found < 8).sum(1) == 2).all()
    assert (np.diff(found >= 8, axis=1) >= 0).all(), "from easy to hard"
    counts = np.bincount(found.ravel(), minlength=12)
    expected = np.r_[np.full(8, 75), np.full(4, 150)]
    assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_borders_belong_to_the_harder_stratum_and_the_largest_score_to_the_last():
    scores, labels = [0, 1, 2, 3, 4], [0] * 5
    for number in range(9):
        key = jax.random.key(number)
        (two,) = chosen(scores, labels, 2, key, strata=2)
        assert len(two & {0, 1}) == len(two & {2, 3, 4}) == 1
        (three,) = chosen(scores, labels, 3, key, strata=4)
        assert three > {1, 2}, "the easiest of the three strata of one image is asked first, for less than one"
    assert chosen(scores, labels, 5, strata=2) == [{0, 1, 2, 3, 4}]


def test_what_makes_no_sense_is_refused():
    scores, labels = np.arange(6.0), np.zeros(6, int)
    for bad, said in (
        ({"strata": 0}, "must be at least 1, not 0"),
        ({"beta": 0.5}, "class 0 has 6 images, too few for 4 after a share of 0.5; the largest `beta`"),
        ({"beta": -1}, "must be between 0 and 1, not -1"),
    ):
        with pytest.raises(UsageError, match=said):
            ccs(KEY, scores, labels, 4, 1, **bad)
    with pytest.raises(UsageError, match="5 scores for 6 images"):
        ccs(KEY, scores[1:], labels, 4, 1)
    for value, said in ((np.nan, "image 2 is not a number"), (np.inf, "image 2 is infinite")):
        with pytest.raises(UsageError, match=said):
            ccs(KEY, np.where(np.arange(6) == 2, value, scores), labels, 4, 1)


def test_a_score_is_named_by_the_selection_that_goes_by_it():
    assert set(SCORES) >= {"forgetting", "el2n", "grand", "cscore", "entropy", "margin", "least_confidence"}
    assert all(BasisConfig(score=name).scored is needs for name, needs in SCORES.items())
    for name in ("herding", "ccs", "nothing"):
        with pytest.raises(UsageError, match=f"unknown score '{name}'; choose one of forgetting, el2n"):
            BasisConfig(score=name)


def test_scores_of_a_file_are_read_as_the_named_score_has_them(dataset, tmp_path):  # noqa: F811
    """C-scores are high for what is easy, and are left as such."""
    given = np.random.default_rng(2).permutation(60).astype(np.float64) / 60
    path = saved(tmp_path, given)
    for score, hardness in (("cscore", 1 - given), ("el2n", given)):
        options = ["--scores", path, "--score", score, "--beta", "0.5", "--strata", "1"]
        assert main(words("ccs", dataset, tmp_path / score, *options, ipc=8)) == 0
        for number, row in enumerate(picks(tmp_path / score, 8)):
            of_class = np.flatnonzero(number == TOY)
            easy = of_class[np.argsort(-hardness[of_class], kind="stable")][len(of_class) // 2 :]
            assert {*row} <= {*easy}
        np.testing.assert_allclose(np.load(tmp_path / score / "scores.npz")["scores"], given, rtol=1e-12)
    config = json.loads((tmp_path / "cscore" / "config.json").read_text())
    assert (config["basis"]["score"], config["basis"]["strata"]) == ("cscore", 1)


def test_scores_of_experts_are_those_of_the_named_selection(dataset, bank, tmp_path):  # noqa: F811
    for name, options in (("el2n", []), ("ccs", ["--score", "el2n"])):
        assert main(words(name, dataset, tmp_path / name, "--experts", bank, *options)) == 0
    one, other = (np.load(tmp_path / name / "scores.npz")["scores"] for name in ("el2n", "ccs"))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--score", "herding"], "unknown score 'herding'; choose one of"),
        (["--strata", "0"], "--strata is at least 1, not 0"),
        (["--window-start", "ipc_fraction"], "ccs does not go by --window-start"),
        (["--scores", "given.npy", "--score-epochs", "3"], "ccs does not go by --score-epochs"),
    ],
)
def test_options_that_make_no_sense_or_are_not_read_are_refused(options, said, dataset, tmp_path, capsys):  # noqa: F811
    assert said in refused(capsys, words("ccs", dataset, tmp_path / "run", *options), tmp_path)


def test_a_selection_by_one_score_reads_no_other(dataset, tmp_path, capsys):  # noqa: F811
    said = refused(capsys, words("el2n", dataset, tmp_path / "run", "--score", "cscore"), tmp_path)
    assert "el2n does not go by --score" in said
