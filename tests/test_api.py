"""The door for notebooks: the same engine as the command line, in memory."""

import json
import os
import signal
import subprocess
import sys
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxdistill as jd
from jaxdistill.api import runs
from jaxdistill.cli import main
from jaxdistill.data.feeds import ClassBalanced

QUIET = {"progress": False}
SMALL = {"width": 8, **QUIET}
UNJUDGED = ["--dataset", "digits", "--width", "8", "--eval-seeds", "0", "--quiet"]


@pytest.fixture(scope="module")
def digits():
    return jd.load("digits")


@pytest.fixture(scope="module")
def experts(digits):
    return jd.train_experts(digits, count=2, epochs=2, **SMALL)


@pytest.fixture(scope="module")
def run(digits):
    return jd.distill("dm", digits, ipc=1, steps=3, eval_epochs=1, eval_seeds=1, **SMALL)


def images_in(folder):
    return load_file(folder / "set" / "set.safetensors")["images"]


def same(ours, folder):
    np.testing.assert_array_equal(np.asarray(ours.synthetic.images), images_in(folder))


ROWS = np.zeros((20, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("method", "more"),
    [("dm", {"init": "herding", "image_lr": 0.5}), ("idc", {"augment": "none"}), ("kip", {"kernel": "fc1"})],
)
def test_functions_and_commands_make_the_same_sets(method, more, digits, tmp_path):
    words = [word for name, value in more.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = ["distill", method, *UNJUDGED, "--ipc", "1", "--steps", "2", "--seed", "3", *words]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    same(jd.distill(method, digits, 1, steps=2, seed=3, **more, **SMALL), tmp_path / "run")


def test_experts_in_memory_are_those_of_the_command(digits, experts, tmp_path, capsys):
    folder = tmp_path / "experts"
    train = ["experts", "--dataset", "digits", "--count", "2", "--epochs", "2", "--width", "8", "--quiet"]
    assert main([*train, "--out", str(folder)]) == 0
    held = experts.save(tmp_path / "held")
    for number in ("00000", "00001"):
        ours, theirs = (json.loads((place / number / "card.json").read_text()) for place in (held, folder))
        assert ours["sha256"] == theirs["sha256"]
        assert (held / number / "history.npz").is_file()
    assert jd.open(held).epochs == experts.epochs == 2
    options = {"max_start": 1, "student_steps": 2, "expert_epochs": 1, "steps": 2}
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    quiet = ["--eval-seeds", "0", "--quiet", "--out", str(tmp_path / "mtt")]
    command = ["distill", "mtt", "--dataset", "digits", "--ipc", "1", "--experts", str(folder), *words, *quiet]
    assert main(command) == 0
    same(jd.distill("mtt", digits, 1, experts=experts, **options, **QUIET), tmp_path / "mtt")
    assert (
        main(["select", "forgetting", *UNJUDGED, "--ipc", "2", "--experts", str(held), "--out", str(tmp_path / "f")])
        == 0
    )
    same(jd.select("forgetting", digits, 2, experts=experts), tmp_path / "f")
    with pytest.raises(jd.UsageError, match="exists"):
        experts.save(held)


def test_accuracies_are_those_of_the_command(run, digits, tmp_path, capsys):
    words = [*UNJUDGED[:4], "--ipc", "1", "--steps", "3", "--eval-epochs", "1", "--eval-seeds", "1", "--quiet"]
    assert main(["distill", "dm", *words, "--out", str(tmp_path / "run")]) == 0
    theirs = json.loads((tmp_path / "run" / "evaluation.json").read_text())["rows"]
    ours = run.evaluate(progress=False).rows
    assert [row["accuracies"] for row in ours] == [row["accuracies"] for row in theirs]
    table = jd.evaluate(run, digits, epochs=1, seeds=1, progress=False)
    assert [row["accuracies"] for row in table.rows] == [row["accuracies"] for row in theirs]


def test_a_run_goes_on_and_is_the_run_that_was_longer_from_the_start(digits):
    whole = jd.distill("dm", digits, 1, steps=4, **SMALL)
    parts = jd.distill("dm", digits, 1, steps=2, **SMALL).more(2)
    np.testing.assert_array_equal(whole.synthetic.images, parts.synthetic.images)
    np.testing.assert_array_equal(whole.curves["loss"], parts.curves["loss"])
    assert (parts.steps, len(parts.curves["loss"])) == (4, 4)


def test_a_run_that_is_interrupted_returns_what_there_is(digits, monkeypatch):
    class Interrupting(runs.History):
        def __call__(self, chunk):
            super().__call__(chunk)
            if chunk.step >= 1 and chunk.infos is not None:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "History", Interrupting)
        cut = jd.distill("dm", digits, 1, steps=6, chunk=1, **SMALL)
    assert cut.steps < 6
    cut._history = runs.History(cut.curves)
    cut.more()
    assert cut.steps == 6
    whole = jd.distill("dm", digits, 1, steps=6, chunk=1, **SMALL)
    np.testing.assert_array_equal(whole.synthetic.images, cut.synthetic.images)


def test_what_is_saved_is_what_the_command_writes_and_goes_on_with(run, digits, tmp_path, capsys):
    run.evaluate(progress=False)
    folder = run.save(tmp_path / "run")
    names = {path.name for path in folder.iterdir()}
    assert names == {
        "checkpoints", "config.json", "evaluation.json", "metrics.jsonl", "previews", "report.html", "set"
    }  # fmt: skip
    opened = jd.open(folder)
    assert repr(opened) == repr(run)
    assert opened.results["rows"] == run.results["rows"]
    np.testing.assert_allclose(opened.curves["loss"], run.curves["loss"], rtol=1e-6)
    longer = jd.open(folder).more(2)
    assert main(["distill", "dm", "--resume", "--steps", "5", "--out", str(folder)]) == 0
    same(longer, folder)
    with pytest.raises(jd.UsageError, match="open it again"):
        opened.more(2)
    with pytest.raises(jd.UsageError, match="exists"):
        run.save(folder)
    core = jd.select("forgetting", digits, 1, score_epochs=1, score_networks=1, **{"width": 8})
    assert {path.name for path in core.save(tmp_path / "core").iterdir()} == {
        "config.json", "report.html", "scores.npz", "search.json", "set"
    }  # fmt: skip
    assert main(["evaluate", str(tmp_path / "core"), "--seeds", "1", "--epochs", "1", "--json"]) == 0


def test_sets_of_several_sizes_and_spaces_stand_in_one_table(run, digits):
    white = jd.select("random", digits, 2, zca=True)
    table = jd.evaluate(
        {"distilled": run, "white": white, "mine": run.synthetic}, digits, ["convnet", "mlp"], "dsa1000", 1,
        epochs=1, width=8, progress=False,
    )  # fmt: skip
    assert table.sets == ["distilled", "mine", "random (normalised)", "white", "random (whitened)"]
    assert table.networks == ["convnet", "mlp"]
    assert {row["set"]: row["ipc"] for row in table.rows} == {
        "distilled": 1, "mine": 1, "random (normalised)": 1, "white": 2, "random (whitened)": 2
    }  # fmt: skip
    one, other = (table.cell(name, "convnet")["accuracies"] for name in ("distilled", "mine"))
    assert one == other


def test_coverage_stands_in_the_table(run, digits):
    table = jd.evaluate(run, digits, "mlp", seeds=1, epochs=1, coverage=True, progress=False)
    assert table.coverage.keys() == {"dm", "random"}
    head, _, line, *_ = str(table).splitlines()
    assert [text.strip() for text in head.strip("| ").split("|")] == [
        "set", "mlp", "covered", "easier half", "harder half"
    ]  # fmt: skip
    assert line.endswith(f"{100 * table.coverage['dm']['hard']:.1f} |")


def test_scores_of_a_selection_are_those_of_the_data_in_their_order(digits, experts, run, tmp_path):
    core = jd.select("el2n", digits, 1, experts=experts, beta=0.0)
    assert core.scores.shape == digits.source.train_labels.shape
    for label in range(10):
        members = np.flatnonzero(digits.source.train_labels == label)
        hardest = digits.source.train_images[members[core.scores[members].argmax()]] / 255
        np.testing.assert_allclose(core.set.pixels[label], hardest, atol=1e-5)
    np.testing.assert_array_equal(jd.open(core.save(tmp_path / "core")).scores, core.scores)
    assert run.scores is None


class Info(NamedTuple):
    loss: jax.Array


def towards_the_mean(task):
    """The least that is a method: pixels move towards their class's mean."""

    def step(key, state, batch):
        means = batch.images.mean(axis=1, keepdims=True)
        moved = state + 0.5 * (means - state)
        return moved, Info(jnp.sum((state - means) ** 2))

    def init(key, initial):
        return initial.images.reshape(task.num_classes, -1, *task.image_shape)

    def synthetic(state):
        labels = jnp.repeat(jnp.eye(task.num_classes), state.shape[1], axis=0)
        return jd.SyntheticSet(state.reshape(-1, *task.image_shape), labels)

    return jd.Method(init, step, synthetic, ClassBalanced(256))


def test_a_method_of_ones_own_runs_as_the_others_do(digits, tmp_path):
    mine = jd.distill(towards_the_mean, digits, 1, steps=3, **SMALL)
    assert mine.name == "towards_the_mean"
    assert mine.curves["loss"][-1] < mine.curves["loss"][0]
    folder = mine.save(tmp_path / "mine")
    assert "jaxdistill.distill(towards_the_mean, data, ipc=1, steps=3, seed=0)" in (folder / "report.html").read_text()
    np.testing.assert_array_equal(jd.open(folder).synthetic.images, mine.synthetic.images)
    built = towards_the_mean(digits.task(width=8))
    np.testing.assert_array_equal(
        jd.distill(built, digits, 1, steps=3, **SMALL).synthetic.images, mine.synthetic.images
    )
    with pytest.raises(jd.UsageError, match="give some"):
        jd.distill(towards_the_mean, digits, 1)


def test_a_run_begins_where_another_ended(run, digits):
    for start in (run, run.set, run.synthetic):
        begun = jd.distill("dm", digits, 1, steps=0, init=start, **SMALL)
        np.testing.assert_allclose(begun.synthetic.images, run.synthetic.images, atol=1e-5)
    with pytest.raises(jd.UsageError, match="`init` has images of shape"):
        jd.distill("dm", digits, 2, steps=0, init=run, **SMALL)


def test_a_generator_goes_from_run_to_run(digits, tmp_path):
    sizes = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "sampling_steps": 2}
    drawn = jd.distill("dit", digits, 1, steps=1, batch=4, **sizes, **QUIET)
    more = jd.distill("dit", digits, 2, steps=0, generator=drawn, **QUIET)
    assert more.synthetic.images.shape == (20, 8, 8, 1)
    folder = drawn.save(tmp_path / "dit")
    again = jd.distill("dit", digits, 2, steps=0, generator=folder, **QUIET)
    np.testing.assert_array_equal(again.synthetic.images, more.synthetic.images)
    with pytest.raises(jd.UsageError, match="trains no generator"):
        jd.distill("dit", digits, 1, generator=jd.select("random", digits, 1))


def test_arrays_are_data_and_a_known_name_has_published_statistics(tmp_path):
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 255, (n, 32, 32, 3), np.uint8) for n in (40, 20))
    labels, tested = np.arange(40) % 10, np.arange(20) % 10
    data = jd.Dataset.from_arrays(train, labels, test, tested, name="CIFAR10", class_names="abcdefghij")
    np.testing.assert_allclose(data.preprocess.mean, (0.4914, 0.4822, 0.4465))
    assert data.class_names == tuple("abcdefghij")
    np.savez(tmp_path / "cifar10.npz", x_train=train, y_train=labels, x_test=test, y_test=tested)
    read = jd.load(tmp_path / "cifar10.npz")
    np.testing.assert_array_equal(read.preprocess.mean, data.preprocess.mean)
    with pytest.raises(jd.UsageError, match="class names"):
        jd.Dataset.from_arrays(train, labels, test, tested, class_names=["a"])


def test_held_out_images_are_of_the_training_split(digits):
    held = digits.hold_out(0.2)
    assert len(held.source.train_labels) + len(held.source.test_labels) == len(digits.source.train_labels)
    known = {image.tobytes() for image in digits.source.train_images}
    assert {image.tobytes() for image in held.source.test_images} <= known
    with pytest.raises(jd.UsageError, match="between 0 and 1"):
        digits.hold_out(1.0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"stepz": 3}, "did you mean steps"),
        ({"steps": 1.5}, "`steps` is a whole number, not 1.5"),
        ({"network": "convnett"}, "did you mean convnet"),
        ({"protocol": "dsa100"}, "did you mean"),
        ({"eval_every": 0}, "`eval_every` is a number of steps"),
        ({"trials": 7}, "leave it out"),
        ({"preset": "papre"}, "unknown preset"),
        ({"keep": "best"}, "`eval_every`"),
        ({"legacy_best": True}, "`eval_every`"),
        ({"eval_every_seeds": 3}, "`eval_every`"),
        ({"hold_out": 1.0}, "`hold_out` is a share"),
    ],
)
def test_what_cannot_be_is_said_in_pythons_words(options, says, digits):
    with pytest.raises(jd.UsageError) as told:
        jd.distill("dm", digits, 1, **options)
    assert says in str(told.value)
    assert "--" not in str(told.value)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda data, run: jd.distill("dm", 3, 1), "`data` is a Dataset or a text or a Path, not 3"),
        (lambda data, run: jd.distill("dm", data, "10"), "`ipc` is a whole number, not '10'"),
        (lambda data, run: jd.distill("dm", data, True), "`ipc` is a whole number"),
        (lambda data, run: jd.distill(jd.dm, data, 1), "give its name, 'dm'"),
        (lambda data, run: jd.distill(3, data, 1), "is no method"),
        (lambda data, run: jd.distill("dm", data, 1, init=3), "`init` is a Run"),
        (lambda data, run: jd.distill("dm", data, 1, dataset="mnist"), "no option 'dataset'"),
        (lambda data, run: jd.distill("dm", data, 1, train_images="x"), "no option 'train_images'"),
        (lambda data, run: jd.distill("dm", data, 1, out="x"), "no option 'out'"),
        (lambda data, run: jd.distill("dm", data, 1, keep="bes", eval_every=1), "`keep` is one of 'last', 'best'"),
        (lambda data, run: jd.distill("mtt", data, 1), "make some with jaxdistill.train_experts"),
        (lambda data, run: jd.distill("mtt", data, 1, experts=3), "`experts` is a"),
        (lambda data, run: jd.select(3, data, 1), "`strategy` is a text"),
        (lambda data, run: jd.train_experts(data, count="a"), "`count` is a whole number"),
        (lambda data, run: jd.evaluate(3, data), "not int"),
        (lambda data, run: jd.evaluate([np.zeros((10, 8, 8, 1))], data), "make a SyntheticSet"),
        (lambda data, run: jd.evaluate(run, data, seeds=0), "at least 1"),
        (lambda data, run: jd.evaluate(run, data, network="mlp"), "no option 'network'"),
        (lambda data, run: run.evaluate(seeds=0), "at least 1"),
        (lambda data, run: run.more(1.5), "`steps` is a whole number"),
        (lambda data, run: run.more(0), "at least 1"),
        (lambda data, run: run.save(None), "`folder` is"),
        (lambda data, run: run.save(__file__ + "/run"), "would be below the file"),
        (lambda data, run: data.hold_out("a"), "`share` is a number"),
        (lambda data, run: data.task("mlp", depth=3), "mlp has no `depth`"),
        (lambda data, run: data.wrap((1, 2)), "`synthetic` is a SyntheticSet"),
        (lambda data, run: data.wrap(run.synthetic.replace(images=np.nan * run.synthetic.images)), "NaN"),
        (lambda data, run: jd.Dataset.from_arrays([[1], [2, 3]], [0, 1]), "inhomogeneous"),
        (lambda data, run: jd.Dataset.from_arrays(np.zeros((20, 3, 8, 8)), [0, 1] * 10), "transpose these"),
        (lambda data, run: jd.Dataset.from_arrays(np.zeros((4, 8, 8)), ["a", "b", "a", "b"]), "return_inverse"),
        (lambda data, run: jd.Dataset.from_arrays(np.full((20, 8, 8), 300), [0, 1] * 10), "range from 300 to 300"),
        (lambda data, run: jd.load(3), "`name` is"),
        (lambda data, run: jd.distill(data, "dm", 1), "the method comes first"),
        (lambda data, run: jd.distill("herding", data, 1), "jaxdistill.select('herding', data, ipc)"),
        (lambda data, run: jd.select("dm", data, 1), "jaxdistill.distill('dm', data, ipc)"),
        (lambda data, run: jd.distill("dm", data, 1, out="run"), "`save(folder)`"),
        (lambda data, run: jd.distill("dm", data, 1, sets=2), "once for each `seed`"),
        (lambda data, run: jd.train_experts(data, epoch=3), "did you mean epochs"),
        (lambda data, run: jd.Dataset.from_arrays(ROWS, [0, 1] * 10, class_names=["a", "a"]), "two classes have one"),
        (lambda data, run: jd.Dataset.from_arrays(*2 * (ROWS, [0, 1] * 10)), "are the training images"),
    ],
)
def test_everyday_mistakes_are_told_in_a_sentence(call, says, digits, run):
    with pytest.raises(jd.UsageError) as told:
        call(digits, run)
    assert says in str(told.value)
    assert run.steps == 3


def test_a_call_that_does_not_fit_says_of_what(digits, run):
    with pytest.raises(TypeError, match=r"^distill: missing a required argument: 'ipc'; it takes method, data, ipc, "):
        jd.distill("dm", digits)
    with pytest.raises(TypeError, match=r"^Run\.evaluate: .*; it takes seeds, progress$"):
        run.evaluate(epochs=3)


def test_a_run_is_no_data_set(run, tmp_path):
    folder = run.save(tmp_path / "run")
    for path in (folder, folder / "set"):
        with pytest.raises(jd.UsageError, match="is a run or a set"):
            jd.load(path)


def changed(**parts):
    return lambda task: towards_the_mean(task)._replace(**{name: part(task) for name, part in parts.items()})


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda task: None, "gave nothing and no jaxdistill.Method"),
        (changed(feed=lambda task: None), "the feed of <lambda> is nothing"),
        (changed(step=lambda task: lambda key, state, batch: state), "gives (state, info)"),
        (
            changed(step=lambda task: lambda key, state, batch: (state[0], Info(0.0))),
            "keep structure, shapes and types",
        ),
        (changed(step=lambda task: lambda key, state, batch: (state, {"loss": 0.0})), "`loss` first"),
        (changed(step=lambda task: lambda key, state, batch: (state, Info(state))), "holds scalars"),
        (changed(synthetic=lambda task: lambda state: (state, state)), "gives a jaxdistill.SyntheticSet"),
        (
            changed(synthetic=lambda task: lambda state: jd.SyntheticSet(jnp.zeros((3, 8, 8, 1)), jnp.zeros((3, 10)))),
            "was asked for one like its start",
        ),
    ],
)
def test_mistakes_in_a_method_of_ones_own_are_told_in_a_sentence(build, says, digits):
    with pytest.raises(jd.UsageError) as told:
        jd.distill(build, digits, 1, steps=1, **SMALL)
    assert says in str(told.value)


def test_a_name_is_data_and_lists_are_names(digits):
    by_name = jd.distill("dm", "digits", 1, steps=1, eval_network=["mlp", "convnet"], **SMALL)
    assert by_name.config.evaluation.eval_network == "mlp,convnet"
    assert by_name.more() is by_name


def test_results_stay_where_there_is_nothing_to_go_on_with(run, tmp_path):
    run.evaluate(progress=False)
    folder = run.save(tmp_path / "run")
    opened = jd.open(folder)
    assert opened.more().results["rows"] == run.results["rows"]
    copied = jd.open(jd.open(folder).save(tmp_path / "copy"))
    assert copied.results["rows"] == run.results["rows"]
    mine = jd.distill(towards_the_mean, "digits", 1, steps=1, **SMALL).save(tmp_path / "mine")
    with pytest.raises(jd.UsageError, match="give it to distill again"):
        jd.open(mine).more(2)


def test_things_are_seen_in_a_word_and_in_a_picture(run, digits):
    assert repr(digits) == "<digits: 1,442 training and 355 test images of 8x8x1, 10 classes>"
    assert repr(run).startswith("<dm: 1 images per class of digits after 3 of 3 steps, loss ")
    assert repr(run.set) == "<1 images per class of digits, 10 classes, by dm>"
    assert repr(run.synthetic) == "SyntheticSet(images(10, 8, 8, 1), labels(10, 10), label_kind='class', formation=1)"
    assert repr(run.curves) == "<curves of 3 steps: loss, grad_norm>"
    assert "1,442 training" in digits._repr_html_()
    assert "data:image/png" in digits._repr_html_()
    for one in (run, run.set, digits):
        assert one.show().size[0] > 0
    assert run.set._repr_png_().startswith(b"\x89PNG")
    assert "data:image/png" in run._repr_html_()
    assert "<svg" in run.curves._repr_html_()


def test_nothing_is_written_unless_it_is_asked_for(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = jd.distill("dm", digits, 1, steps=2, eval_every=1, eval_epochs=1, eval_every_seeds=1, **SMALL)
    core = jd.select("forgetting", digits, 1, score_epochs=1, score_networks=1, width=8)
    jd.train_experts(digits, count=1, epochs=1, **SMALL)
    jd.evaluate([run, core], digits.hold_out(0.5), epochs=1, seeds=1, other_data=True, **SMALL)
    run.show(), run.curves, repr(run)
    assert not list(tmp_path.iterdir())


def test_the_import_loads_the_pure_core_alone():
    program = "import sys, jaxdistill; print({'orbax', 'tyro', 'jinja2'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_everything_public_is_there():
    for name in jd.__all__:
        assert getattr(jd, name) is not None
    assert set(jd.__all__) <= set(dir(jd))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = jd.nothing


def test_a_run_that_was_stopped_is_not_taken_for_a_whole_one(digits, tmp_path, monkeypatch, capsys):
    options = {"steps": 6, "log_every": 1, "eval_seeds": 1, "eval_epochs": 1, **SMALL}

    class Interrupting(runs.History):
        def __call__(self, chunk):
            super().__call__(chunk)
            if chunk.infos is not None:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "History", Interrupting)
        cut = jd.distill("dm", digits, 1, **options)
    cut._history = runs.History(cut.curves)
    cut.evaluate(progress=False)
    folder = cut.save(tmp_path / "cut")
    assert not (folder / "evaluation.json").exists()
    assert f"stopped after {cut.steps} of 6 steps" in cut.set.card["setting"]
    assert f"learned in {cut.steps} of 6 steps" in (folder / "report.html").read_text()
    assert main(["distill", "dm", "--resume", "--quiet", "--out", str(folder)]) == 0
    whole = jd.distill("dm", digits, 1, **options)
    same(whole, folder)
    theirs = json.loads((folder / "evaluation.json").read_text())["rows"]
    assert [row["accuracies"] for row in whole.evaluate(progress=False).rows] == [row["accuracies"] for row in theirs]


def test_what_a_run_began_with_is_on_its_card_and_asked_for_again(run, digits, experts, tmp_path):
    begun = jd.distill("dm", digits, 1, steps=1, init=run, **SMALL)
    assert begun.config.init == "memory"
    folder = begun.save(tmp_path / "begun")
    assert jd.open(folder).more(1).steps == 2
    held = digits.hold_out(0.2)
    apart = jd.distill("dm", held, 1, steps=1, **SMALL).save(tmp_path / "apart")
    with pytest.raises(jd.UsageError, match="begun with other data"):
        jd.open(apart).more(1)
    assert jd.open(apart, held).more(1).steps == 2
    saved = experts.save(tmp_path / "experts")
    options = {"max_start": 1, "student_steps": 1, "expert_epochs": 1, "steps": 1}
    matched = jd.distill("mtt", digits, 1, experts=saved, **options, **QUIET)
    assert matched.config.bank.experts == saved
    assert jd.open(matched.save(tmp_path / "mtt")).more(1).steps == 2
    remembered = jd.distill("mtt", digits, 1, experts=experts, **options, **QUIET)
    folder = remembered.save(tmp_path / "remembered")
    with pytest.raises(jd.UsageError, match=r"give them, or the folder that they were saved in, to jaxdistill.open"):
        jd.open(folder).more(1)
    assert jd.open(folder, experts=experts).more(1).steps == 2
    assert jd.open(folder, experts=saved).more(1).steps == 2
    chosen = jd.select("herding", digits, 1, experts=experts, features="embedding")
    assert chosen.set.card["features"] == "embedding of the first expert at its end"


def test_judging_an_opened_run_asks_for_nothing_that_made_it(digits, experts, tmp_path):
    """Neither its experts nor a method of one's own; only for data that no name leads to."""
    options = {"max_start": 1, "student_steps": 1, "expert_epochs": 1, "steps": 1}
    whole = jd.distill("mtt", digits, 1, experts=experts, **options, **QUIET, eval_epochs=1)
    opened = jd.open(whole.save(tmp_path / "mtt"))
    table = opened.evaluate(seeds=1, progress=False)
    assert table.rows[0]["accuracies"] == whole.evaluate(seeds=1, progress=False).rows[0]["accuracies"]
    kept = jd.open(opened.save(tmp_path / "judged"))
    assert kept.results["rows"][0]["accuracies"] == table.rows[0]["accuracies"]
    assert kept.set.card["evaluation"] == kept.results
    same(kept, tmp_path / "mtt")
    assert list((tmp_path / "judged" / "previews").iterdir())
    mine = jd.distill(towards_the_mean, digits, 1, steps=1, **SMALL, eval_epochs=1).save(tmp_path / "mine")
    assert len(jd.open(mine).evaluate(seeds=1, progress=False).rows) == 2
    arrays = jd.Dataset.from_arrays(digits.source.train_images, digits.source.train_labels, name="mine")
    unnamed = jd.distill("dm", arrays, 1, steps=1, **SMALL, eval_epochs=1).save(tmp_path / "arrays")
    for ask in (lambda run: run.evaluate(seeds=1, progress=False), lambda run: run.more(1)):
        with pytest.raises(jd.UsageError, match=r"give them to jaxdistill.open as its `data`"):
            ask(jd.open(unnamed))
    assert jd.open(unnamed, arrays).evaluate(seeds=1, progress=False).rows


def test_a_run_that_fails_keeps_what_it_had(digits):
    run = jd.distill("dm", digits, 1, steps=2, **SMALL)
    before = np.asarray(run.synthetic.images)

    whole = run._plan

    def broken(key, state, batch):
        after, info = whole.method.step(key, state, batch)
        return after, info._replace(loss=jnp.nan * info.loss)

    run._plan = whole._replace(method=whole.method._replace(step=broken))
    with pytest.raises(jd.RunFailedError, match="not finite"):
        run.more(2)
    run._plan = whole
    assert (run.steps, len(run.curves["loss"])) == (2, 2)
    np.testing.assert_array_equal(run.synthetic.images, before)
    again = jd.distill("dm", digits, 1, steps=4, **SMALL)
    np.testing.assert_array_equal(run.more(2).synthetic.images, again.synthetic.images)


def test_recipes_and_networks_of_ones_own_say_everything_themselves(run, digits):
    recipe, net = jd.Protocol(1, augment="none"), jd.make_network("mlp", (8, 8, 1), 10, width=8)
    table = jd.evaluate(run, digits, {"net": net}, recipe, 1, progress=False)
    assert table.networks == ["net"]
    for options, says in (({"epochs": 3}, "says its epochs itself"), ({"width": 8}, "made already")):
        with pytest.raises(jd.UsageError, match=says):
            jd.evaluate(run, digits, {"net": net}, recipe, 1, progress=False, **options)
