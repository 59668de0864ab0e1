"""Generators from the command line: trained, shared, fine-tuned, drawn from, read from pre-trained weights."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import in_two_processes
from safetensors.numpy import save_file
from test_cli import refused

from jaxdistill.cli import main
from jaxdistill.diffusion import make
from jaxdistill.io.artifact import load_set
from jaxdistill.io.generators import load_generator

GOLDEN = Path(__file__).parent / "reference"
SIZES = ["--patch-size", "4", "--hidden-size", "16", "--num-layers", "2", "--num-heads", "2", "--diffusion-steps", "20"]
DRAWN = ["--dataset", "digits", "--sampling-steps", "3", "--quiet", "--eval-seeds", "0"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A generator of a few steps."""
    out = tmp_path_factory.mktemp("dit") / "run"
    arguments = ["distill", "dit", *DRAWN, *SIZES, "--ipc", "1", "--steps", "3", "--warmup", "1", "--out", str(out)]
    assert main(arguments) == 0
    return out


def minimax(trained, out, *options):
    given = ["--generator", str(trained), "--batch", "16", "--average", "0.1", "--lr", "0.1"]
    return ["distill", "minimax", *DRAWN, *given, "--out", str(out), *options]


@pytest.fixture(scope="module")
def tuned(trained, tmp_path_factory):
    out = tmp_path_factory.mktemp("minimax") / "run"
    assert main(minimax(trained, out, "--ipc", "3", "--steps", "4", "--checkpoint-seconds", "0")) == 0
    return out


def images_of(run):
    return np.asarray(load_set(run).synthetic.images)


def test_smaller_sets_are_the_first_of_larger_ones(trained, tuned, tmp_path):
    small = tmp_path / "small"
    assert main(minimax(trained, small, "--ipc", "1", "--steps", "4")) == 0
    larger = images_of(tuned).reshape(10, 3, 8, 8, 1)
    np.testing.assert_allclose(images_of(small), larger[:, 0], atol=0.02)  # a rounded shade apart at most
    assert np.abs(larger[:, 0] - larger[:, 1]).max() > 0.1
    assert (tuned / "report.html").is_file()


def test_a_resumed_run_is_the_same_run(trained, tuned, tmp_path):
    cut = tmp_path / "cut"
    assert main(minimax(trained, cut, "--ipc", "3", "--steps", "4", "--checkpoint-seconds", "0")) == 0
    newest = sorted((cut / "checkpoints").iterdir())[-1]
    for path in sorted(newest.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    newest.rmdir()
    (cut / "generator" / "generator.safetensors").unlink()
    assert main(["distill", "minimax", "--out", str(cut), "--resume"]) == 0
    np.testing.assert_array_equal(images_of(cut), images_of(tuned))
    for name in ("generator/generator.safetensors", "metrics.jsonl"):
        assert (cut / name).read_bytes() == (tuned / name).read_bytes()


def test_what_was_tuned_is_a_generator_to_draw_from_and_to_tune(trained, tuned, tmp_path):
    drawn, again = tmp_path / "drawn", tmp_path / "again"
    # No step at all, by the same seed and in the same way: the same set.
    assert main(["distill", "dit", *DRAWN, "--generator", str(tuned), "--steps", "0", "--ipc", "3", "--out", str(drawn),
                 "--guidance", "1.5"]) == 0  # fmt: skip
    np.testing.assert_allclose(images_of(drawn), images_of(tuned), atol=0.02)
    assert main(minimax(tuned, again, "--ipc", "1", "--steps", "1")) == 0
    before, after = (load_generator(run).params["model"] for run in (tuned, again))
    assert jax.tree.structure(before) == jax.tree.structure(after)
    assert "gamma_qkv" not in load_generator(trained).params["model"]["block_00"]
    assert "gamma_qkv" in before["block_00"]
    assert "gamma_qkv" not in before["block_01"]


def test_a_generator_is_drawn_from_and_judged_as_it_was_unless_told_otherwise(trained, tmp_path):
    """By dit and by minimax, whose presets have guidance 1.5, ancestral steps and digits100 for digits."""

    def ran(name, method, *options):
        words = [*DRAWN[:2], "--quiet", "--eval-seeds", "0", "--ipc", "1", "--out", str(tmp_path / name)]
        assert main(["distill", method, *words, *options]) == 0
        return json.loads((tmp_path / name / "config.json").read_text())

    kept = {"sampler": "ddim", "sampling_steps": 4, "guidance": 4.0, "guided_channels": 1, "draw_batch": 5}
    options = [word for name, value in kept.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    judged = ["--protocol", "dc300", "--eval-network", "mlp,convnet"]
    made = ran("made", "minimax", "--generator", str(trained), "--steps", "1", "--batch", "4", *options, *judged)
    assert made["method"]["sampling"] == kept
    given = ["--generator", str(tmp_path / "made")]
    for method, steps in (("dit", "0"), ("minimax", "0")):
        found = ran(method, method, *given, "--steps", steps)
        assert found["method"]["sampling"] == kept
        assert (found["evaluation"]["protocol"], found["evaluation"]["eval_network"]) == ("dc300", "mlp,convnet")
        np.testing.assert_allclose(images_of(tmp_path / method), images_of(tmp_path / "made"), atol=0.02)
    other = ran("other", "dit", *given, "--steps", "0", "--guidance", "1.5", "--protocol", "dsa1000")
    assert other["method"]["sampling"] == {**kept, "guidance": 1.5}
    assert (other["evaluation"]["protocol"], other["evaluation"]["eval_network"]) == ("dsa1000", "mlp,convnet")
    again = ran("again", "dit", "--generator", str(tmp_path / "other"), "--steps", "0")
    assert again["method"]["sampling"] == {**kept, "guidance": 1.5}, "what was drawn last is drawn next"
    card = tmp_path / "made" / "generator" / "card.json"
    card.write_text(json.dumps({name: part for name, part in json.loads(card.read_text()).items() if name != "drawn"}))
    old = ran("old", "dit", *given, "--steps", "0", "--sampling-steps", "3")
    assert (old["method"]["sampling"]["sampler"], old["method"]["sampling"]["guidance"]) == ("ancestral", 1.5)
    assert (old["evaluation"]["protocol"], old["evaluation"]["eval_network"]) == ("digits100", None)


def test_a_set_is_drawn_by_all_devices_of_all_processes(trained, tmp_path):
    words = ["draw", str(trained), *DRAWN, "--ipc", "3", "--draw-batch", "4"]
    assert main([*words, "--out", str(tmp_path / "one")]) == 0
    out, _ = in_two_processes(words, tmp_path)
    np.testing.assert_allclose(images_of(out), images_of(tmp_path / "one"), atol=0.02)  # a rounded shade apart at most


def test_generators_that_do_not_fit(trained, tmp_path, capsys):
    out = tmp_path / "out"

    def said(arguments):
        return refused(capsys, [*arguments, "--ipc", "1", "--out", str(out)], tmp_path)

    tune = ["distill", "minimax", *DRAWN]
    assert "name the generator first" in said(["draw", *DRAWN])
    assert "train one with 'jaxdistill distill dit'" in said(tune)
    assert "holds no generator" in said([*tune, "--generator", str(tmp_path / "none")])
    given = [*tune, "--generator", str(trained)]
    assert "another architecture; leave its options out" in said([*given, "--hidden-size", "32"])
    assert "starts from a generator and not from images" in said([*given, "--init", "real"])
    assert "--class-ids which of them each is" in said([*given, "--class-ids", "1", "2"])
    assert "numbers from 0 to 9, a different one" in said([*given, "--class-ids", *"123456789", "10"])
    assert "a different one for each" in said([*given, "--class-ids", *"1123456789"])
    assert "sampling takes 2 to 20 steps, not 21" in said([*given, "--sampling-steps", "21"])
    assert "leave --zca out" in said([*given, "--zca"])
    assert "leave --generator and its options out" in said(["distill", "dm", *DRAWN[:2], "--generator", str(trained)])
    assert "leave --generator and its options out" in said(["distill", "dm", *DRAWN[:2], "--patch-size", "4"])
    assert "give --generator too" in said(["distill", "dit", *DRAWN, "--class-ids", "1"])
    x, y = np.zeros((40, 4, 4, 1), np.uint8), np.arange(40) % 10
    np.savez(tmp_path / "small.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    small = [*given, "--dataset", str(tmp_path / "small.npz")]
    assert "draws images of 8x8x1, the data set has 4x4x1" in said(small)


def test_a_damaged_generator(trained, tmp_path, capsys):
    folder = tmp_path / "generator"
    folder.mkdir()
    for name in ("card.json", "generator.safetensors"):
        (folder / name).write_bytes((trained / "generator" / name).read_bytes())
    assert load_generator(folder).classes == 10
    card = json.loads((folder / "card.json").read_text())
    arguments = ["distill", "minimax", *DRAWN, "--ipc", "1", "--generator", str(folder), "--out", str(tmp_path / "out")]
    for content, reason in (
        ("{", "holds no generator that can be read"),
        (json.dumps({**card, "kind": "set"}), "it is a set of schema 1"),
        (json.dumps({**card, "sha256": "0"}), "not those that its card was written for"),
        (json.dumps({**card, "architecture": {"unheard": 1}}), "unheard"),
        (json.dumps({**card, "drawn": {**card["drawn"], "sampling": {"guidance": -1.0}}}), "guidance of Sampling"),
        (json.dumps({**card, "drawn": {**card["drawn"], "protocol": "none"}}), "unknown protocol 'none'"),
        (json.dumps({**card, "drawn": {**card["drawn"], "eval_network": 5}}), "holds no generator that can be read"),
        (json.dumps({name: card[name] for name in card if name != "classes"}), "it lacks 'classes'"),
    ):
        (folder / "card.json").write_text(content)
        assert reason in refused(capsys, arguments, tmp_path)


def test_pre_trained_weights(tmp_path, capsys):
    """DiT's and the autoencoder's of tests/reference, tiny ones: read, drawn from, refused where they do not fit."""
    files = {name: tmp_path / f"{name}.safetensors" for name in ("dit", "autoencoder")}
    for name, file in files.items():
        stored = np.load(GOLDEN / f"{name}.npz")
        weights = [key for key in stored.files if key.startswith("weights/")]
        save_file({key.removeprefix("weights/"): stored[key].astype(np.float32) for key in weights}, file)
    out = tmp_path / "generator"
    arguments = ["convert", str(files["dit"]), "--heads", "4", "--image-size", "16", "--groups", "4", "--out", str(out)]
    arguments += ["--autoencoder", str(files["autoencoder"]), "--decoder", str(files["autoencoder"])]
    assert main(arguments) == 0
    found = load_generator(out)
    assert (found.image_shape, found.classes, found.architecture.learned_variance) == ((16, 16, 3), 5, True)
    assert found.params["autoencoder"]["factor"] == np.float32(0.18215)
    assert (found.drawn.sampling.guidance, found.drawn.sampling.guided_channels) == (4.0, 3), "as the paper draws"
    assert (found.drawn.protocol, found.drawn.eval_network) == ("minimax", "resnet10ap,convnet,resnet18-imagenet")
    assert found.drawn.eval_size is None, "smaller ones are judged as they are"
    # What it says is what the original says, with both of its blocks' scales.
    stored = np.load(GOLDEN / "dit.npz")
    generator = make(found.architecture, (16, 16, 3), ((0.0,) * 3, (1.0,) * 3), 5, params=found.params)
    params = generator.init(jax.random.key(0))
    said = generator.apply(
        params, jnp.asarray(stored["noisy"], jnp.float32), jnp.asarray(stored["times"]), jnp.asarray(stored["labels"])
    )
    np.testing.assert_allclose(said, stored["scaled"], atol=2e-3)

    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (30, 16, 16, 3), dtype=np.uint8), np.arange(30) % 2
    np.savez(tmp_path / "data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    data = ["--dataset", str(tmp_path / "data.npz"), "--ipc", "2", *DRAWN[2:]]
    tune = ["distill", "minimax", *data, "--generator", str(out), "--class-ids", "3", "1"]
    tune += ["--batch", "4", "--steps", "2", "--out", str(tmp_path / "run")]
    assert main(tune) == 0
    images = images_of(tmp_path / "run")
    assert images.shape == (4, 16, 16, 3)
    assert images.std() > 0.01
    moved = load_generator(tmp_path / "run")
    # Only the labels that were asked for, and none, and nothing of the autoencoder.
    table = np.abs(moved.params["model"]["label_table"] - found.params["model"]["label_table"]).sum(axis=1) > 1e-4
    assert set(np.flatnonzero(table)) <= {1, 3, 5}
    assert set(np.flatnonzero(table)) & {1, 3}
    jax.tree.map(np.testing.assert_array_equal, moved.params["autoencoder"], found.params["autoencoder"])

    capsys.readouterr()
    again = [*arguments[:-4], "--out", str(tmp_path / "b")]
    assert "exists" in refused(capsys, arguments, tmp_path).lower()
    assert "give --autoencoder too" in refused(capsys, [*again, "--decoder", str(files["dit"])], tmp_path)
    assert "an autoencoder" in refused(capsys, [*again, "--autoencoder", str(files["dit"])], tmp_path)
    odd = [*again[:4], "--image-size", "17", *again[6:], "--autoencoder", str(files["autoencoder"])]
    assert "multiples of 2" in refused(capsys, odd, tmp_path)
    assert "a DiT" in refused(capsys, ["convert", str(files["autoencoder"]), "--out", str(tmp_path / "b")], tmp_path)
    assert "nothing is not a file" in refused(capsys, ["convert", "nothing", "--out", str(tmp_path / "b")], tmp_path)
    (tmp_path / "torn").write_bytes(files["dit"].read_bytes()[:100])
    assert "is damaged or not a safetensors file" in refused(
        capsys, ["convert", str(tmp_path / "torn"), "--out", str(tmp_path / "b")], tmp_path
    )
