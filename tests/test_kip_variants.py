"""KIP's other presets: real images augmented as pixels, labels learned; and how long a kernel will take."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from jaxdistill.augment import Pixels, make, operations
from jaxdistill.cli import main
from jaxdistill.commands.estimate import kernel_time, spelled
from jaxdistill.commands.plan import Given, prepare
from jaxdistill.commands.workspace import augmentation, open_bench
from jaxdistill.data.preprocess import fit
from jaxdistill.methods.kip import KIP
from jaxdistill.presets import find, readings
from jaxdistill.settings import cell
from jaxdistill.settings.config import DataConfig, Distill, RunConfig

KEY = jax.random.key(0)


def pixels_of(count, shape=(9, 7, 3), seed=0):
    return np.random.default_rng(seed).uniform(size=(count, *shape)).astype(np.float32)


@pytest.mark.parametrize("shift", [(0.0, 0.0), (1.0, -2.0), (2.3, 0.7), (20.0, -20.0)])
@pytest.mark.parametrize("degrees", [0.0, 25.0, -90.0])
def test_moved_images_are_those_of_scipy_with_the_border_carried_on(degrees, shift):
    image = pixels_of(1)[0]
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])  # of (y, x)
    xy = matrix[::-1, ::-1]
    centre = (np.array(image.shape[:2]) - 1) / 2
    offset = centre + np.array(shift) - matrix @ centre
    expected = np.stack(
        [ndimage.affine_transform(image[..., c], matrix, offset, order=1, mode="nearest") for c in range(3)], -1
    )
    found = operations.moved(jnp.asarray(image), jnp.asarray(xy), jnp.asarray(shift))
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_a_channel_shift_is_one_number_cut_off_at_the_images_own_ends():
    image = pixels_of(1)[0] * 0.5 + 0.2
    found = np.asarray(operations.channel_shift(jnp.asarray(image), jnp.float32(0.3)))
    np.testing.assert_allclose(found, np.minimum(image + 0.3, image.max()), rtol=1e-6)
    assert (found == image.max()).sum() > 10
    np.testing.assert_allclose(operations.channel_shift(jnp.asarray(image), jnp.float32(-5.0)), image.min())


@pytest.mark.parametrize("zca", [False, True])
def test_pixels_are_augmented_before_they_are_preprocessed(zca):
    raw = pixels_of(60, (6, 6, 2))
    fitted = fit(raw, zca=zca)
    plain = Pixels("rotate_shift_channel_flip")
    inside = dataclasses.replace(plain, preprocess=fitted)
    images = fitted.apply(raw[:8])
    found = inside(KEY, jnp.asarray(images), siamese=False)
    expected = fitted.apply(np.asarray(plain(jax.random.clone(KEY), jnp.asarray(fitted.invert(images)), siamese=False)))
    np.testing.assert_allclose(found, expected, atol=2e-4)
    assert np.abs(found - images).mean() > 0.1
    apart = plain(jax.random.clone(KEY), jnp.asarray(images), siamese=False)
    assert np.abs(found - apart).mean() > 1e-2  # which is not what whitened images give


def test_operations_of_pixels_are_drawn_for_each_image_within_their_ranges():
    image = np.zeros((200, 21, 21, 1), np.float32)
    image[:, 10, 10] = 1.0
    moved = np.asarray(Pixels("shift", shift=0.1)(KEY, jnp.asarray(image), siamese=False))
    centre = (moved[..., 0] * np.arange(21)[:, None]).sum((1, 2)) - 10
    assert 2.0 < np.abs(centre).max() <= 2.1 + 1e-5
    assert len({*centre.round(4).tolist()}) > 150
    together = np.asarray(Pixels("shift")(jax.random.clone(KEY), jnp.asarray(image), siamese=True))
    assert np.ptp(together, axis=0).max() == 0
    flipped = np.asarray(Pixels("flip")(jax.random.clone(KEY), jnp.asarray(pixels_of(1)).repeat(400, 0), siamese=False))
    share = (flipped[:, 0, 0, 0] == pixels_of(1)[0, 0, 0, 0]).mean()
    assert 0.4 < share < 0.6
    np.testing.assert_array_equal(Pixels("none")(jax.random.clone(KEY), jnp.asarray(image), siamese=False), image)
    turned = np.asarray(Pixels("rotate", rotate=0.0)(jax.random.clone(KEY), jnp.asarray(image), siamese=False))
    np.testing.assert_allclose(turned, image, atol=1e-6)
    with pytest.raises(ValueError, match="unknown augmentation 'colour'"):
        make("pixels:shift_colour")


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "made.npz"
    images, labels = (255 * pixels_of(60, (8, 8, 3))).astype(np.uint8), np.arange(60) % 3
    np.savez(path, x_train=images, y_train=labels, x_test=images[:30], y_test=labels[:30])
    return str(path)


def test_the_augmentation_of_a_run_knows_what_its_images_went_through(arrays):
    for zca in (False, True):
        bench = open_bench(DataConfig(arrays, zca=zca))
        assert augmentation("pixels:rotate", bench).preprocess.equals(bench.preprocess)


@pytest.mark.parametrize(("reading", "labels", "augment"), [
    ("conv", False, "none"), ("labels", True, "none"), ("aug", False, "pixels:rotate_shift_channel_flip"),
    ("labels-aug", True, "pixels:rotate_shift_channel_flip"), ("conv3", False, "none"),
])  # fmt: skip
def test_readings_of_convolutional_kernels(reading, labels, augment):
    preset = find(KIP, "cifar10", 10, reading)
    assert (preset.config.learn_labels, preset.augment, preset.steps) == (labels, augment, 50_000)
    assert preset.zca is (reading != "conv3")
    assert preset.network["kernel"] == ("convnet3" if reading == "conv3" else "convnet")
    assert find(KIP, "mnist", 10, reading).augment == ("pixels:rotate_shift" if augment != "none" else "none")
    listed = [ipc for ipc in (1, 10, 50) if find(KIP, "cifar10", ipc, reading).listed]
    assert listed == ([50] if reading == "conv3" else [])


def test_the_reading_of_finite_networks_trains_the_papers():
    preset = find(KIP, "cifar10", 10, "nn")
    assert readings(KIP)[0] == "notebook"
    assert (preset.protocol, preset.eval_network, preset.steps) == ("kip-nn", None, 1_000)
    assert preset.network == {"network": "convnet4", "kernel": "convnet", "width": 1024, "initial": "kernel"}
    assert preset.published is None


def test_labels_and_augmentation_of_a_preset_run(arrays, tmp_path, capsys):
    words = ["distill", "kip", "--dataset", arrays, "--ipc", "1", "--preset", "labels-aug", "--kernel", "conv1"]
    more = ["--steps", "1", "--real-batch", "4", "--zca", "--protocol", "kip-nn", "--eval-network", "convnet4"]
    end = ["--width", "4", "--initial", "kernel", "--eval-epochs", "2", "--eval-seeds", "1"]
    assert main([*words, *more, *end, "--out", str(tmp_path / "run")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert re.search(r"note: a step asks the kernel conv1 for 45 pairs of images; by a few of them it takes", said)


def plan_of(arrays, **network):
    preset = find(KIP, "made", 2, "conv")
    fields = cell.fields(preset, arrays)
    fields["network"] = dataclasses.replace(fields["network"], **network)
    fields["method"] = KIP(real_batch=4)
    return prepare(Distill(**fields, run=RunConfig("unused"), ipc=2, preset="conv"), Given())


def test_the_time_of_a_run_is_that_of_its_pairs(arrays, monkeypatch):
    monkeypatch.setattr("jaxdistill.commands.estimate.seconds_per_pair", lambda kernel, images: (2.0, 3.0))
    found = kernel_time(plan_of(arrays, kernel="convnet"), 1_000)
    pairs = 6 * (6 + 3 * 4)
    assert (
        f"for {pairs} pairs of images; by a few of them it takes about 0:09:00, and 1,000 steps about 6 days" in found
    )
    assert f"the evaluation {spelled((1 + 5) * 6 * (6 + 30) * 2.0)}" in found
    assert kernel_time(plan_of(arrays, kernel="fc1"), 1_000) is None
    assert kernel_time(plan_of(arrays, kernel="convnet"), 0) is None
    assert spelled(0.2) == "less than a second"
