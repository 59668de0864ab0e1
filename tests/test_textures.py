"""Textures: windows of canvases against NumPy's roll and crop, steps on them, and sets of them judged and kept."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from banks import DATA, SHORT, made, read
from banks import MTT as WORDS
from jax.flatten_util import ravel_pytree
from test_cli import refused
from trajectory_toys import SMALL, P

from jaxdistill.augment.canvas import as_canvases, cut, random_windows, seen, windows
from jaxdistill.augment.formation import decode
from jaxdistill.common.sets import class_set
from jaxdistill.data.preprocess import Preprocess
from jaxdistill.data.trajectories import Segment
from jaxdistill.evaluation import PROTOCOLS, Protocol
from jaxdistill.evaluation.train import evaluate, train
from jaxdistill.io.artifact import ArtifactError, load_set, save_set
from jaxdistill.io.export import export
from jaxdistill.methods import trajectory_matching
from jaxdistill.methods.datm import DATM, datm
from jaxdistill.methods.dm import DM, dm
from jaxdistill.methods.mtt import MTT, mtt
from jaxdistill.methods.tesla import TESLA, tesla
from jaxdistill.testing import SHAPE, toy_data, toy_start, toy_task
from jaxdistill.types import SyntheticSet, Variables

CANVASES = np.random.default_rng(0).normal(size=(6, 4, 4, 1))
TASK = dataclasses.replace(SMALL, pixel_range=((-1.0,), (1.0,)))


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def rolled(image, top, left, shape, xp=np):
    """As the code has it: a circular roll, then the first corner."""
    side = image.shape
    return xp.roll(image, ((side[0] - top) % side[0], (side[1] - left) % side[1]), (0, 1))[: shape[0], : shape[1]]


@pytest.mark.usefixtures("double")
def test_windows_are_rolled_and_cropped():
    rng = np.random.default_rng(1)
    images = rng.normal(size=(30, 6, 9, 2))
    tops, lefts = rng.integers(0, 6, 30), rng.integers(0, 9, 30)
    expected = [rolled(*one, (3, 3)) for one in zip(images, tops, lefts, strict=True)]
    found = windows(jnp.asarray(images), jnp.asarray(tops), jnp.asarray(lefts), (3, 3))
    np.testing.assert_array_equal(found, expected)


def test_windows_are_anywhere_and_of_each_canvas_another():
    numbered = jnp.broadcast_to(jnp.arange(24.0).reshape(1, 4, 6, 1), (2000, 4, 6, 1))
    found = random_windows(jax.random.key(0), numbered, (2, 3))
    corners, counts = np.unique(found[:, 0, 0, 0], return_counts=True)
    np.testing.assert_array_equal(corners, np.arange(24))
    assert counts.min() > 50  # of 83 on average, by nine deviations of each
    assert found.shape == (2000, 2, 3, 1)


def test_a_batch_is_windows_of_all_then_others_of_all():
    """Each with all that belongs to its canvas."""
    flat = np.arange(3.0)[:, None, None, None] * np.ones((3, 4, 4, 1))
    batch = SyntheticSet(flat, np.eye(3), weights=np.arange(3.0), canvas=2, windows=2)
    found = seen(jax.random.key(0), batch)
    assert (found.canvas, found.windows, found.images.shape) == (1, 1, (6, 2, 2, 1))
    np.testing.assert_array_equal(found.images[:, 0, 0, 0], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(found.labels, np.tile(np.eye(3), (2, 1)))
    np.testing.assert_array_equal(found.weights, [0, 1, 2, 0, 1, 2])


def test_images_side_by_side_are_cut_apart_again():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(12, 2, 3, 1)))
    canvases = as_canvases(images, 2)
    np.testing.assert_array_equal(canvases[1], np.block([[[images[4]], [images[5]]], [[images[6]], [images[7]]]]))
    np.testing.assert_array_equal(cut(canvases, 2), images)
    whole = decode(SyntheticSet(canvases, jnp.eye(3), canvas=2, windows=3))
    np.testing.assert_array_equal(whole.images, images)
    np.testing.assert_array_equal(whole.labels, np.eye(3).repeat(4, 0))
    assert (whole.canvas, whole.windows) == (1, 1)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(("transport", "of_each"), [(True, 1), (True, 2), (False, 2)])
def test_a_step_on_windows_is_the_codes(transport, of_each, monkeypatch):
    """Loss, and canvases after the step, against a plain loop over rolled and cropped canvases, differentiated."""
    rng = np.random.default_rng(2)
    tops, lefts = rng.integers(0, 4, (2, 6 * of_each)), rng.integers(0, 4, (2, 6 * of_each))

    def fixed(key, images, siamese):
        """Windows of a step by its number, which is all that its key holds here."""
        number = jax.random.key_data(key)[0]
        return windows(images, jnp.asarray(tops)[number], jnp.asarray(lefts)[number], (2, 2))

    numbered = jax.random.wrap_key_data(jnp.stack([jnp.arange(2, dtype=jnp.uint32)] * 2, axis=1))
    monkeypatch.setattr(trajectory_matching, "_of_windows", lambda task: fixed)
    steps = trajectory_matching.student_loss
    monkeypatch.setattr(
        trajectory_matching,
        "student_loss",
        lambda learned, frozen, student, *rest, **options: steps(
            learned, frozen, student._replace(keys=numbered), *rest, **options
        ),
    )
    start = jnp.asarray(0.5 * rng.normal(size=P))
    target = start + 0.1 * rng.normal(size=P)
    _, tree = ravel_pytree(SMALL.network.init(jax.random.key(0)).params)

    def loss(canvases, rate):
        params = tree(start)
        for top, left in zip(tops, lefts, strict=True):
            places = zip(np.tile(np.arange(6), of_each), top, left, strict=True)
            x = jnp.stack([rolled(canvases[i], row, column, (2, 2), jnp) for i, row, column in places])

            def cross_entropy(params, x=x):
                said = SMALL.network.apply(Variables(params, {}), x, train=True)[0]
                hard = jnp.tile(jnp.eye(3).repeat(2, 0), (of_each, 1))
                return -jnp.mean(jnp.sum(hard * jax.nn.log_softmax(said), -1))

            held = params if transport else jax.lax.stop_gradient(params)
            params = jax.tree.map(lambda p, g: p - rate * g, params, jax.grad(cross_entropy)(held))
        return jnp.sum((ravel_pytree(params)[0] - target) ** 2) / jnp.sum((start - target) ** 2)

    value, (by_canvas, by_rate) = jax.value_and_grad(loss, (0, 1))(jnp.asarray(CANVASES), 0.2)
    options = {"image_lr": 2.0, "student_lr_lr": 0.01, "student_lr": 0.2}
    config = MTT(2, 1, 1, texture_canvas=2, texture_windows=of_each, **options)
    method = trajectory_matching.match_trajectories(config, TASK, mtt(config, TASK).feed, transport=transport)
    initial = SyntheticSet(jnp.asarray(CANVASES), jnp.eye(3).repeat(2, 0), canvas=2)
    state = method.init(jax.random.key(0), initial)
    state, info = method.step(jax.random.key(1), state, Segment(start[None], target[None]))
    np.testing.assert_allclose(info.loss, value, rtol=1e-10)
    result = method.synthetic(state)
    np.testing.assert_allclose(result.images, CANVASES - 2.0 * by_canvas, rtol=1e-9)
    np.testing.assert_allclose(result.learning_rate, 0.2 - 0.01 * by_rate, rtol=1e-9)
    assert (result.canvas, result.windows) == (2, of_each)
    assert np.abs(by_canvas).max() > 1e-3


FLAT = np.arange(6.0).reshape(6, 1, 1, 1) / 3 - 1  # what each window of a canvas of one grey is


@pytest.mark.usefixtures("double")
def test_canvases_of_one_grey_are_images_of_it():
    """The same batches of the student; pixels share what an image's gradient is."""
    rng = np.random.default_rng(3)
    start = jnp.asarray(0.5 * rng.normal(size=(1, P)))
    segment, found = Segment(start, start + 0.1 * jnp.asarray(rng.normal(size=(1, P)))), {}
    for canvas in (1, 2):
        config = MTT(3, 1, 1, 2, image_lr=2.0, student_lr_lr=0.01, student_lr=0.2, texture_canvas=canvas)
        method = mtt(config, TASK)
        side = 2 * canvas
        initial = SyntheticSet(jnp.asarray(FLAT + np.zeros((6, side, side, 1))), jnp.eye(3).repeat(2, 0), canvas=canvas)
        state, info = jax.jit(method.step)(jax.random.key(1), method.init(jax.random.key(0), initial), segment)
        moved = method.synthetic(state)
        found[canvas] = info.loss, moved.learning_rate, np.sum(moved.images - initial.images, axis=(1, 2, 3))
    for one, other in zip(found[1], found[2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)


def test_a_canvas_begins_as_images_side_by_side_with_their_labels():
    images, task = np.random.default_rng(0).normal(size=(3, 8, 2, 2, 1)), TASK
    method = mtt(MTT(texture_canvas=2, texture_windows=3), task)
    assert method.images_per_start == 4
    found = method.synthetic(method.init(jax.random.key(0), class_set(jnp.asarray(images))))
    assert (found.canvas, found.windows, found.label_kind) == (2, 3, "class")
    np.testing.assert_array_equal(cut(found.images, 2), images.astype(np.float32).reshape(-1, 2, 2, 1))
    np.testing.assert_array_equal(found.labels, np.eye(3).repeat(2, 0))
    again = method.synthetic(method.init(jax.random.key(0), found))
    np.testing.assert_array_equal(again.images, found.images)
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(24, 3)), jnp.float32)
    soft = class_set(jnp.asarray(images)).replace(labels=logits, label_kind="logit")
    learned = datm(DATM(texture_canvas=2), task)
    labels = learned.synthetic(learned.init(jax.random.key(0), soft)).labels
    np.testing.assert_allclose(labels, logits.reshape(6, 4, 3).mean(1), rtol=1e-6)
    kept = mtt(MTT(texture_canvas=2, update_share=0.5), task)
    found = kept.synthetic(kept.init(jax.random.key(0), class_set(jnp.asarray(images))))
    np.testing.assert_array_equal(found.selected, [True, False] * 3)


def textures(ipc=2, windows=1):
    """Of `toy_data`, whose canvases are training images side by side."""
    method = mtt(MTT(texture_canvas=2, texture_windows=windows), toy_task())
    return method.synthetic(method.init(jax.random.key(0), toy_start(4 * ipc)))


def test_networks_are_shown_windows_where_a_set_is_judged():
    """New ones in each epoch, each with its label, twice as many where two of each are asked for."""
    shown = []

    def look(key, images, siamese):
        jax.debug.callback(lambda images: shown.append(np.asarray(images)), images)
        return images

    numbered = textures(1, windows=2).replace(images=jnp.arange(4 * 256.0).reshape(4, 16, 16, 1) / 1024)
    train(jax.random.key(0), numbered, toy_task().network, Protocol(5, augment=look))
    jax.effects_barrier()
    assert [batch.shape for batch in shown] == [(8, *SHAPE)] * 6
    for batch in shown:
        for image in np.round(batch[..., 0] * 1024).astype(int):
            canvas, top, left = image[0, 0] // 256, image[0, 0] % 256 // 16, image[0, 0] % 16
            whole = np.arange(256).reshape(16, 16) + 256 * canvas
            np.testing.assert_array_equal(image, rolled(whole, top, left, SHAPE[:2]))
        assert sorted(np.round(batch[:, 0, 0, 0] * 1024).astype(int) // 256) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert len({batch.tobytes() for batch in shown}) == 6


def test_canvases_of_one_grey_teach_what_images_of_it_do():
    grey = np.asarray([-1.0, -0.5, 0.5, 1.0], np.float32).reshape(4, 1, 1, 1)
    plain = SyntheticSet(jnp.asarray(grey + np.zeros((4, *SHAPE), np.float32)), jnp.eye(4))
    large = SyntheticSet(jnp.asarray(grey + np.zeros((4, 16, 16, 1), np.float32)), jnp.eye(4), canvas=2, windows=2)
    protocol, network = Protocol(3, augment="none", batch=3), toy_task().network
    ends = [train(jax.random.key(0), one, network, protocol).params for one in (plain, large)]
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-6), *ends)


def test_what_draws_no_windows_is_given_those_that_tile_a_canvas():
    found, test = textures(), jax.tree.map(jnp.asarray, toy_data()[1])
    assert all(recipe.draws_windows == (type(recipe) is Protocol) for recipe in PROTOCOLS.values())
    for recipe in (PROTOCOLS["krr"], dataclasses.replace(PROTOCOLS["dd"], epochs=1)):
        results = [
            evaluate(jax.random.key(0), one, toy_task().network, test, recipe, seeds=1).mean
            for one in (found, decode(found))
        ]
        assert results[0] == results[1]


def plain_transform():
    return Preprocess(np.zeros(1, np.float32), np.ones(1, np.float32))


CARD = {"method": "mtt", "dataset": "toys", "class_names": list("abcd"), "ipc": 2, "seed": 0, "cost": {}}


def test_a_set_of_canvases_is_kept_and_exported(tmp_path):
    found = textures(windows=3)
    save_set(tmp_path / "set", found, plain_transform(), CARD)
    card, stored = read(tmp_path / "set"), load_set(tmp_path / "set")
    assert (card["image_shape"], card["canvas"], card["windows"]) == ([8, 8, 1], 2, 3)
    assert (stored.synthetic.canvas, stored.synthetic.windows) == (2, 3)
    np.testing.assert_array_equal(stored.synthetic.images, found.images)
    export(stored, "npz", tmp_path / "as.npz")
    export(stored, "npz", tmp_path / "cut.npz", decoded=True)
    whole, apart = np.load(tmp_path / "as.npz"), np.load(tmp_path / "cut.npz")
    assert (whole["images"].shape, int(whole["canvas"]), int(whole["windows"])) == ((8, 16, 16, 1), 2, 3)
    assert (apart["images"].shape, "canvas" in apart) == ((32, 8, 8, 1), False)
    np.testing.assert_array_equal(apart["images"], cut(found.images, 2))
    export(stored, "folder", tmp_path / "folder")
    assert len(list((tmp_path / "folder").rglob("*.png"))) == 32


def test_whitened_canvases_are_no_set(tmp_path):
    whitening = {"center": np.zeros(64), "whiten": np.eye(64), "unwhiten": np.eye(64)}
    transform = plain_transform()._replace(**{name: value.astype(np.float32) for name, value in whitening.items()})
    with pytest.raises(ArtifactError, match="its canvases are whitened, and a whitened pixel has its place"):
        save_set(tmp_path / "set", textures(), transform, CARD)


def test_what_cannot_be_a_texture_is_refused():
    for settings, advice in (
        ({"texture_canvas": 0}, "`texture_canvas` of MTT is at least 1"),
        ({"texture_canvas": 2, "texture_windows": 0}, "`texture_windows` of MTT is at least 1"),
        ({"texture_windows": 2}, "`texture_windows` are of canvases; give `texture_canvas` too, or leave it out"),
    ):
        with pytest.raises(ValueError, match=advice):
            mtt(MTT(**settings), TASK)
    with pytest.raises(ValueError, match=r"textures are of images that are not whitened.*leave out `zca`"):
        mtt(MTT(texture_canvas=2), dataclasses.replace(TASK, pixel_range=None))
    with pytest.raises(ValueError, match="a teacher labels no canvases"):
        tesla(TESLA(texture_canvas=2, teacher_labels=True), TASK)
    three = mtt(MTT(texture_canvas=3), toy_task())
    for start in (textures(), toy_start(4)):
        with pytest.raises(ValueError, match="canvases of `texture_canvas` 3, or from whole images, 9 of a class"):
            three.init(jax.random.key(0), start)
    with pytest.raises(ValueError, match="whole images of hard classes"):
        dm(DM(), toy_task()).init(jax.random.key(0), textures())


def test_a_run_from_experts_to_a_judged_set_and_on(bank, tmp_path, capsys):
    words = [*WORDS[:-4], *SHORT, "--experts", str(bank), "--texture-canvas", "2", "--eval-seeds", "1"]
    run = made(tmp_path / "run", *words, "--eval-epochs", "2")
    stored = load_set(run)
    assert (stored.synthetic.images.shape, stored.synthetic.canvas) == ((10, 16, 16, 1), 2)
    rows = json.loads((run / "evaluation.json").read_text())["rows"]
    assert {row["set"] for row in rows} == {"mtt", "random"}
    assert "is a canvas as large as 4 images" in (run / "report.html").read_text(encoding="utf-8")
    further = made(tmp_path / "further", *words[:-2], "--eval-seeds", "0", "--init", str(run))
    assert load_set(further).synthetic.canvas == 2
    capsys.readouterr()
    words = ["--ipc", "1", "--steps", "1", "--width", "8", "--init", str(run), "--out", str(tmp_path / "no")]
    plain = ["distill", "dm", *DATA, *words]
    assert "--texture-canvas 2" in refused(capsys, plain, tmp_path)
