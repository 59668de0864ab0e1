"""Runs that learn a share of each class: which images are kept, and what sets say of them."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.methods import METHODS
from jaxdistill.methods.partial_update import PartialUpdate, kept_count, marked, only_learned
from jaxdistill.methods.selmatch import SelMatch
from jaxdistill.selection.base import Scores
from jaxdistill.settings.needs import needs
from jaxdistill.types import SyntheticSet

QUICK = {"steps": 2, "width": 8, "eval_seeds": 0, "progress": False}


def test_every_method_that_learns_images_has_it():
    assert {c.__name__ for c in METHODS if not issubclass(c, PartialUpdate)} == {
        c.__name__ for c in METHODS if needs(c).draws
    }
    assert SelMatch().update_share == 0.5
    with pytest.warns(DeprecationWarning, match="alpha is called update_share"):
        assert SelMatch(alpha=0.3).update_share == 0.3


@pytest.mark.parametrize(
    ("share", "ipc", "kept"), [(1.0, 7, 0), (0.5, 7, 4), (0.29, 100, 71), (0.01, 10, 9), (0.0, 3, 3), (0.75, 1, 0)]
)
def test_the_learned_share_is_rounded_down_and_at_least_one(share, ipc, kept):
    assert kept_count(share, ipc) == kept
    ones = jnp.ones((2 * ipc, 2, 2, 1))
    flat, by_class = only_learned(ones, share, 2), only_learned(ones.reshape(2, ipc, 2, 2, 1), share, 2)
    np.testing.assert_array_equal(flat.reshape(by_class.shape), by_class)
    np.testing.assert_array_equal(by_class[:, :, 0, 0, 0], np.tile(np.arange(ipc) >= kept, (2, 1)))
    said = marked(SyntheticSet(ones, jnp.eye(2).repeat(ipc, 0)), share).selected
    assert (said is None) if not kept else said.tolist() == ([True] * kept + [False] * (ipc - kept)) * 2


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The data, and a file that says the darker, the harder."""
    data = jd.load("digits")
    path = tmp_path_factory.mktemp("scores") / "darkness.npy"
    np.save(path, -data.bench.source.train_images.mean((1, 2, 3), dtype=np.float64))
    return data, path


def light(run):
    return np.asarray(run.set.pixels).mean((1, 2, 3)).reshape(10, -1)


@pytest.mark.parametrize("init", ["real", "herding"])
def test_the_hardest_images_of_a_start_are_kept_as_a_score_says(init, digits):
    data, path = digits
    begun = jd.distill("dm", data, 5, **QUICK | {"steps": 0}, init=init, update_share=0.6, scores=path)
    assert (np.diff(light(begun), axis=1) >= -1e-6).all()
    assert (np.ptp(light(begun), axis=1) > 0.01).all()
    plain = jd.distill("dm", data, 5, **QUICK | {"steps": 0}, init=init)
    np.testing.assert_allclose(np.sort(light(plain), axis=1), light(begun), rtol=1e-6)
    run = jd.distill("dm", data, 5, **QUICK, init=init, update_share=0.6, scores=path)
    np.testing.assert_array_equal(run.synthetic.selected.reshape(10, 5), [[True, True, False, False, False]] * 10)
    moved = np.abs(run.synthetic.images - begun.synthetic.images).max((1, 2, 3)) > 0
    np.testing.assert_array_equal(moved, ~np.asarray(run.synthetic.selected))


def test_starts_with_an_order_of_their_own_keep_it(digits, tmp_path):
    data, path = digits
    window = jd.select("forgetting", data, 4, scores=path, beta=0.2, eval_seeds=0, progress=False)
    for init in (window.save(tmp_path / "window"), "forgetting"):
        options = {"init": init} if init != "forgetting" else {"init": init, "beta": 0.2, "scores": path}
        begun = jd.distill("dm", data, 4, **QUICK | {"steps": 0}, update_share=0.5, **options)
        np.testing.assert_allclose(begun.synthetic.images, window.synthetic.images, atol=1e-6)
    for init in ("noise", "average"):
        jd.distill("dm", data, 2, **QUICK, init=init, update_share=0.5)
        with pytest.raises(ValueError, match=f"a start by {init} does not go by"):
            jd.distill("dm", data, 2, **QUICK, init=init, update_share=0.5, score="el2n")


def test_scores_are_of_networks_where_there_is_no_file_and_refused_where_nothing_is_kept(digits):
    data, path = digits
    jd.distill("dm", data, 2, **QUICK, update_share=0.5, score="el2n", score_networks=1, score_epochs=1)
    for options in ({"scores": path}, {"score": "el2n"}, {"score_networks": 1}):
        for ipc, share in ((2, 1.0), (1, 0.5), (2, 0.0)):  # all are learned, or all are kept
            with pytest.raises(ValueError, match="a start by real does not go by"):
                jd.distill("dm", data, ipc, **QUICK, update_share=share, **options)
    with pytest.raises(ValueError, match="`update_share` of DM is a number from 0 to 1, not 2"):
        jd.distill("dm", data, 2, **QUICK, update_share=2.0)
    with pytest.raises(ValueError, match="does not go by `beta`"):
        jd.distill("dm", data, 2, **QUICK, update_share=0.5, scores=path, beta=0.3)


def test_a_share_is_said_to_differ_from_the_paper(tmp_path, capsys):
    out = tmp_path / "run"
    options = "--dataset digits --ipc 2 --steps 1 --width 8 --eval-seeds 1 --eval-epochs 1"
    scores = "--update-share 0.5 --score-networks 1 --score-epochs 1 --eval-combined"
    assert main([*f"distill dm {options} {scores} --out {out}".split()]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["method"]["update_share"] == 0.5
    assert config["evaluation"]["eval_combined"] is True
    said = json.loads((out / "evaluation.json").read_text())["protocol"]["summary"]
    assert "of selected real images all:default-color-cutout-scale-rotate" in said
    assert jd.open(out).synthetic.selected.sum() == 10
    assert main([*f"evaluate {out} --protocol dsa1000 --combined --epochs 1 --seeds 1".split()]) == 0
    assert main([*f"evaluate {out} --protocol dc300 --combined --seeds 1".split()]) == 2
    assert "augments no images" in capsys.readouterr().err


def test_a_window_that_a_preset_has_is_said_to_be_where_a_search_is_asked_for(digits):
    experts = jd.train_experts(digits[0], count=1, epochs=2, width=8, progress=False)
    with pytest.raises(ValueError, match=r"the preset's `beta` 0\.5 says where the window begins; add `search` to let"):
        jd.distill("selmatch", digits[0], 5, experts=experts, init="window", search_starts=3, **QUICK)


def test_a_start_by_the_score_that_keeps_trains_networks_once(digits, monkeypatch):
    """CCS draws at random within strata: its images are put in order by the scores that it went by."""
    asked = []
    monkeypatch.setattr(
        Scores, "hardness", lambda self, context: asked.append(1) or np.arange(context.data.count) * 1.0
    )
    run = jd.distill("dm", digits[0], 4, **QUICK, init="ccs", score="el2n", update_share=0.5)
    assert asked == [1]
    assert run.synthetic.selected.sum() == 20


def test_a_start_that_is_no_real_images_is_said_to_be_kept(tmp_path, capsys):
    words = "--dataset digits --ipc 2 --steps 0 --width 8 --eval-seeds 0 --init noise --update-share 0.5"
    assert main([*f"distill dm {words} --out {tmp_path / 'noise'}".split()]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "the first images of each class of the start (noise) are kept as they are" in said


def test_a_report_says_what_was_kept(digits, tmp_path):
    for share, said in ((0.5, "but for 2 of each class, kept as the start had them,"), (1.0, "")):
        run = jd.distill("dm", digits[0], 4, **QUICK, init="noise", update_share=share)
        page = " ".join((run.save(tmp_path / str(share)) / "report.html").read_text().split())
        assert said in page
        assert ("kept as the start" in page) == bool(said)
