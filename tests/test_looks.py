"""Looks along a run: by held-out training images, and never by the test images unless they are asked for by name."""

import json

import numpy as np
import pytest

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.commands import workspace as resolve

LOOKED = {"steps": 4, "eval_every": 2, "eval_every_seeds": 1, "eval_epochs": 1, "width": 8, "progress": False}
WORDS = ["--dataset", "digits", "--ipc", "1", "--width", "8", "--eval-epochs", "1", "--eval-seeds", "1", "--quiet"]
EVERY = ["--eval-every", "2", "--eval-every-seeds", "1"]


@pytest.fixture(scope="module")
def digits():
    return jd.load("digits")


def test_looks_never_touch_the_test_images(digits, monkeypatch):
    """They see a test split that nobody can read."""
    usual = jd.distill("dm", digits, 1, **LOOKED)

    class Unreadable:
        pass

    open_bench = resolve.open_bench
    monkeypatch.setattr(
        "jaxdistill.commands.plan.open_bench", lambda *given: open_bench(*given)._replace(test=Unreadable())
    )
    blind = jd.distill("dm", digits, 1, augment="none", **LOOKED)
    assert [row["step"] for row in blind.held_out] == [row["step"] for row in usual.held_out] == [0, 2, 4]
    with pytest.raises(Exception, match="Unreadable"):
        jd.distill("dm", digits, 1, augment="none", legacy_best=True, **LOOKED)


def test_looks_are_seen_in_a_line_and_as_a_curve(digits):
    run = jd.distill("dm", digits, 1, **LOOKED)
    first = run.held_out[0]
    assert repr(run.held_out).startswith(
        f"<accuracy on held-out training images in %: step 0: {100 * first['mean']:.1f} ± "
    )
    assert "<svg" in run.held_out._repr_html_()
    unlooked = jd.select("random", digits, 1).held_out
    assert repr(unlooked) == "<accuracy on held-out training images in %: none>"
    assert "<svg" not in unlooked._repr_html_()


def test_what_is_held_out_is_a_tenth_of_each_class_that_nothing_else_sees(digits):
    run = jd.distill("dm", digits, 1, **LOOKED)
    bench = run._bound.bench
    counts = np.bincount(digits.source.train_labels)
    np.testing.assert_array_equal(bench.held_out.counts, np.round(counts / 10))
    np.testing.assert_array_equal(np.asarray(bench.train.counts) + np.asarray(bench.held_out.counts), counts)
    seen = {image.tobytes() for image in np.asarray(bench.train.images)}
    assert not seen & {image.tobytes() for image in np.asarray(bench.held_out.images)}
    assert run.set.card["hold_out"] == 0.1


def test_the_best_look_is_kept(digits, tmp_path, capsys):
    out = tmp_path / "run"
    words = ["distill", "dm", *WORDS, *EVERY, "--steps", "6", "--keep", "best", "--image-lr", "30"]
    assert main([*words, "--out", str(out)]) == 0
    rows = [json.loads(line) for line in (out / "held_out.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [0, 2, 4, 6]
    best = max(rows, key=lambda row: row["mean"])
    assert json.loads((out / "set" / "card.json").read_text())["kept_step"] == best["step"]
    kept = jd.open(out / "best")
    np.testing.assert_array_equal(jd.open(out).synthetic.images, kept.synthetic.images)
    assert kept.card["held_out_accuracy"] == best["mean"]
    alike = {"hold_out": 0.1, "width": 8, "progress": False}
    again = jd.distill("dm", digits, 1, steps=best["step"], image_lr=30.0, **alike)
    np.testing.assert_array_equal(again.synthetic.images, kept.synthetic.images)
    # A set that was made with less than all images is judged beside random ones of what it had.
    assert main(["evaluate", str(out), "--seeds", "1", "--epochs", "1"]) == 0


def test_a_resumed_run_looks_as_one_that_was_not_cut(tmp_path, capsys):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    words = ["distill", "dm", *WORDS, *EVERY, "--keep", "best", "--checkpoint-seconds", "0"]
    assert main([*words, "--steps", "6", "--out", str(whole)]) == 0
    assert main([*words, "--steps", "3", "--out", str(cut)]) == 0
    assert main(["distill", "dm", "--steps", "6", "--resume", "--out", str(cut)]) == 0
    ours, theirs = (
        [json.loads(line) for line in (out / "held_out.jsonl").read_text().splitlines()] for out in (cut, whole)
    )
    assert [row for row in ours if row["step"] != 3] == theirs


def test_the_papers_habit_is_reported_as_what_it_is(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["distill", "dm", *WORDS, *EVERY, "--legacy-best", "--steps", "4"]
    assert main([*words, "--out", str(out)]) == 0
    rows = [json.loads(line) for line in (out / "held_out.jsonl").read_text().splitlines()]
    assert all("test_mean" in row and "mean" not in row for row in rows)  # nothing had to be held out for it
    results = json.loads((out / "evaluation.json").read_text())
    assert results["legacy_best"]["mean"] == max(row["test_mean"] for row in rows)
    assert "3 looks at the test images: chosen by them" in results["legacy_best"]["said"]
    assert "hold_out" not in json.loads((out / "set" / "card.json").read_text())


def test_experts_that_saw_what_is_held_out_are_refused(digits):
    options = {"count": 1, "epochs": 2, "width": 8, "progress": False}
    matching = {"max_start": 1, "student_steps": 1, "expert_epochs": 1}
    seen = jd.train_experts(digits, **options)
    with pytest.raises(jd.UsageError, match="saw the images that are held out here; train some with `hold_out`"):
        jd.distill("mtt", digits, 1, experts=seen, **matching, **{**LOOKED, "eval_seeds": 0})
    apart = jd.train_experts(digits, hold_out=0.1, **options)
    run = jd.distill("mtt", digits, 1, experts=apart, **matching, **{**LOOKED, "eval_seeds": 0})
    assert len(run.held_out) == 3
