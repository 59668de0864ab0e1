"""Augmentations against PyTorch's values, their own laws, and the published parameter ranges."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxdistill.augment import DSA, Classic, all_of, for_dataset, make, operations
from jaxdistill.augment.classic import resize_nearest

GOLDEN = dict(np.load(Path(__file__).parent / "reference" / "augment.npz"))
SPATIAL = ["crop", "cutout", "flip", "scale", "rotate"]
KEYS = jax.random.split(jax.random.key(7), 16)


def rotate(image, degrees, align_corners):
    return operations.affine(image, operations.rotation(degrees), align_corners)


OPERATIONS = {
    "brightness": operations.brightness,
    "saturation": operations.saturation,
    "contrast": operations.contrast,
    "shift": partial(operations.shift, reach=(4, 4)),
    "cutout": partial(operations.cutout, size=(4, 5)),
    "flip": operations.flip,
    "scale_corners": operations.scale,
    "scale_edges": operations.scale,
    "rotate_corners": partial(rotate, align_corners=True),
    "rotate_edges": partial(rotate, align_corners=False),
}


def random_images(*shape):
    return jax.random.normal(jax.random.key(1), shape)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operation_and_gradient_equal_pytorch(name):
    @jax.jit
    def evaluate(images, cotangent, *parameters):
        apply = partial(operations.over_batch, OPERATIONS[name])
        output, pull_back = jax.vjp(lambda images: apply(images, *parameters), images)
        shared = apply(images[:1].repeat(3, 0), *(parameter[:1] for parameter in parameters))
        return output, pull_back(cotangent)[0], shared

    parameters = [GOLDEN[f"{name}/parameter{i}"] for i in range(2) if f"{name}/parameter{i}" in GOLDEN]
    with jax.enable_x64(True):
        output, gradient, shared = evaluate(GOLDEN["images"], GOLDEN["cotangent"], *parameters)
    expected = GOLDEN[f"{name}/output"]
    np.testing.assert_allclose(output, expected, atol=1e-12)
    np.testing.assert_allclose(gradient, GOLDEN[f"{name}/gradient"], atol=1e-12)
    np.testing.assert_allclose(shared, expected[:1].repeat(3, 0), atol=1e-12)


def test_same_key_gives_siamese_batches_of_any_size_the_same_transform():
    images = random_images(5, 12, 12, 3)
    augment = partial(DSA(), siamese=True)
    over_keys = jax.jit(jax.vmap(augment, in_axes=(0, None)))
    many, few = over_keys(KEYS, images), over_keys(KEYS, images[:2])
    np.testing.assert_allclose(many[:, :2], few, atol=1e-6)
    assert len(np.unique(np.round(few[:, 0, 5, 5, 0], 4))) > 8  # and the keys do differ
    np.testing.assert_allclose(jax.jit(augment)(KEYS[3], images), many[3], atol=1e-6)


@pytest.mark.parametrize("siamese", [True, False])
@pytest.mark.parametrize(
    "augment", [*map(DSA, ["color", *SPATIAL]), Classic("crop_scale_rotate_noise")], ids=lambda a: a.strategy
)
def test_parameters_are_shared_or_per_image(augment, siamese):
    images = jnp.broadcast_to(random_images(1, 8, 8, 3), (16, 8, 8, 3))
    output = jax.jit(partial(augment, siamese=siamese))(KEYS[0], images)
    assert output.shape == images.shape
    assert output.dtype == images.dtype
    assert np.array_equal(output, np.broadcast_to(output[:1], output.shape)) == siamese


@pytest.mark.parametrize("name", SPATIAL)
def test_spatial_operations_are_linear(name):
    first, second = random_images(2, 4, 8, 8, 1)
    augment = jax.jit(lambda images: DSA(name)(KEYS[1], images, siamese=False))
    np.testing.assert_allclose(augment(2 * first - second), 2 * augment(first) - augment(second), atol=1e-5)
    assert not augment(jnp.zeros_like(first)).any()


@pytest.mark.parametrize("strategy", ["color", "rotate", "color_crop_cutout_flip_scale_rotate"])
def test_double_precision_is_kept_and_gradient_is_that_of_finite_differences(strategy):
    with jax.enable_x64(True):
        images = jnp.array(GOLDEN["images"])
        augment = jax.jit(partial(DSA(strategy), KEYS[2], siamese=False))
        assert augment(images).dtype == jnp.float64
        check_grads(augment, (images,), order=1, modes=["rev"], rtol=1e-6)


def test_colour_ranges():
    grey, colour = jnp.array([1.0, -1.0])[:, None], jnp.array([1.0, -1.0])
    images = jnp.broadcast_to((grey + colour)[None, None], (4000, 1, 2, 2))
    output = np.asarray(DSA("color")(KEYS[0], images, siamese=False))
    offset = output.mean((1, 2, 3))
    factor = (output[:, 0, 0].mean(-1) - output[:, 0, 1].mean(-1)) / 2
    saturation = (output[:, 0, 0, 0] - output[:, 0, 0, 1]) / 2 / factor
    for value, low, high in ((offset, -0.5, 0.5), (factor, 0.5, 1.5), (saturation, 0.0, 2.0)):
        assert low <= value.min() + 1e-5
        assert value.max() <= high + 1e-5
        quartiles = low + (high - low) * np.array([0.25, 0.75])
        np.testing.assert_allclose(np.quantile(value, [0.25, 0.75]), quartiles, atol=0.1)
    assert abs(np.corrcoef([offset, factor, saturation]) - np.eye(3)).max() < 0.08


def test_saturation_leaves_grey_images_alone():
    images = random_images(3, 6, 6, 1)
    np.testing.assert_allclose(
        operations.over_batch(operations.saturation, images, jnp.array([0.0, 0.5, 2.0])), images, atol=1e-6
    )


def test_crop_draws_every_shift_and_fills_with_zero():
    images = jnp.broadcast_to(1 + jnp.arange(64.0).reshape(8, 8, 1), (4000, 8, 8, 1))
    output = np.asarray(DSA("crop", crop=0.25)(KEYS[0], images, siamese=False))
    shifts, counts = np.unique(output[:, 4, 4, 0], return_counts=True)
    expected = {1 + (4 + dy) * 8 + 4 + dx for dy in range(-2, 3) for dx in range(-2, 3)}
    assert set(shifts) == expected
    assert counts.min() > 4000 / 25 * 0.6
    right_two = output[output[:, 4, 4, 0] == 1 + 4 * 8 + 6][0]
    np.testing.assert_array_equal(right_two[:, :6], images[0, :, 2:])
    assert not right_two[:, 6:].any()


@pytest.mark.parametrize(("size", "side"), [(8, 4), (9, 5)])
def test_cutout_box_is_cut_off_at_the_border(size, side):
    output = np.asarray(DSA("cutout")(KEYS[0], jnp.ones((3000, size, size, 1)), siamese=False))[..., 0]
    starts = [centre - side // 2 for centre in range(size + 1 - side % 2)]
    lengths = [len(set(range(start, start + side)) & set(range(size))) for start in starts]
    for axis in (1, 2):
        zeros = (output == 0).any(axis=axis).sum(axis=1)
        np.testing.assert_array_equal(np.unique(zeros), np.unique(lengths))
        assert abs(zeros.mean() - np.mean(lengths)) < 0.1


def test_flip_probability():
    images = jnp.broadcast_to(jnp.array([1.0, 2.0]).reshape(1, 1, 2, 1), (4000, 1, 2, 1))
    flipped = DSA("flip", flip=0.3)(KEYS[0], images, siamese=False)[:, 0, 0, 0] == 2
    assert abs(flipped.mean() - 0.3) < 0.03


def test_scale_and_rotate_ranges():
    ramp = jnp.arange(9.0) - 4
    images = jnp.broadcast_to(ramp[None, None, :, None], (3000, 9, 9, 1))  # each pixel holds its own x
    scaled = np.asarray(DSA("scale")(KEYS[0], images, siamese=False))[:, 4, 5, 0]
    assert 1 / 1.2 - 1e-5 <= scaled.min() < 0.84
    assert 1.19 < scaled.max() <= 1.2 + 1e-5
    turned = np.asarray(DSA("rotate")(KEYS[0], images, siamese=False))
    angles = np.rad2deg(np.arctan2(-turned[:, 5, 4, 0], turned[:, 4, 5, 0]))
    assert -15 - 1e-4 <= angles.min() < -14.8
    assert 14.8 < angles.max() <= 15 + 1e-4


def test_operations_are_drawn_with_equal_frequency():
    config = DSA("color_crop_cutout_flip", saturation=0.0, crop=0.0, flip=1.0)  # settings that identify each
    image = random_images(1, 4, 4, 3)
    keys = jax.random.split(jax.random.key(3), 2000)
    output = np.asarray(jax.jit(jax.vmap(lambda key: config(key, image, siamese=True)))(keys))
    signs = {
        "color": np.ptp(output, axis=-1).max((1, 2, 3)) < 1e-5,
        "crop": (output == np.asarray(image)).all((1, 2, 3, 4)),
        "cutout": (output == 0).any((1, 2, 3, 4)),
        "flip": (output == np.asarray(image)[:, :, ::-1]).all((1, 2, 3, 4)),
    }
    assert (sum(sign.astype(int) for sign in signs.values()) == 1).all()
    for name, sign in signs.items():
        assert abs(sign.mean() - 0.25) < 0.04, name


def test_chain_applies_all_and_only_one_of_the_warps():
    parts = [part.strategy for part in all_of("color_crop_cutout_flip_scale_rotate").parts]
    assert parts == ["flip", "color", "crop_scale_rotate", "cutout"]
    output = make("all:color_cutout")(KEYS[0], random_images(2, 8, 8, 3) + 5, siamese=True)
    assert (output == 0).any()
    assert not np.allclose(output[output != 0], (random_images(2, 8, 8, 3) + 5)[output != 0])


def test_names():
    assert make("crop_flip") is make("crop_flip")
    assert make("crop_flip") == DSA("crop_flip")
    assert make("classic:crop_noise") == Classic("crop_noise")
    assert "flip" not in "".join(for_dataset("default", name) for name in ("mnist", "svhn_cropped", "digits"))
    letters = ("emnist/letters", "kmnist:3.0.1", "omniglot", "usps", "mnist_corrupted/fog")
    assert "flip" not in "".join(for_dataset("each:default", name) for name in letters)
    assert for_dataset("default", "cifar10") == for_dataset("default", "fashion_mnist") == DSA().strategy
    assert for_dataset("all:default-cutout", "cifar10") == "all:color_crop_flip_scale_rotate"
    assert for_dataset("classic:crop_scale", "mnist") == "classic:crop_scale"
    assert for_dataset("none", "mnist") == "none"
    assert for_dataset("default-flip", "mnist") == for_dataset("default", "mnist")
    with pytest.raises(ValueError, match="unknown augmentation 'cutot'"):
        for_dataset("all:default-cutot", "mnist")
    images = random_images(2, 4, 4, 1)
    for name in ("none", "", "all:none", "classic:none"):
        assert make(name)(KEYS[0], images, siamese=False) is images


@pytest.mark.parametrize("name", ["crop_blur", "all:noise", "classic:color", "mixed:crop", "crop__flip"])
def test_unknown_names_are_refused(name):
    with pytest.raises(ValueError, match="unknown augmentation"):
        make(name)


def nearest_by_hand(image, fy, fx):
    """Resize, then pad and cut, as three separate steps on explicit arrays."""
    h, w, c = image.shape
    new_h, new_w = int(fy * h), int(fx * w)
    resized = np.array([[image[i * h // new_h, j * w // new_w] for j in range(new_w)] for i in range(new_h)])
    side = max(h, w, new_h, new_w)
    canvas = np.zeros((side, side, c))
    top, left = (side - new_h) // 2, (side - new_w) // 2
    canvas[top : top + new_h, left : left + new_w] = resized
    top, left = (side - h) // 2, (side - w) // 2
    return canvas[top : top + h, left : left + w]


@pytest.mark.parametrize(("fy", "fx"), [(0.81, 1.19), (1.0, 1.0), (1.13, 1.2), (0.9, 0.8)])
def test_nearest_resize_equals_its_definition(fy, fx):
    image = random_images(11, 14, 2)
    resized = jax.jit(resize_nearest)(image, fy, fx)
    np.testing.assert_array_equal(resized, nearest_by_hand(image, fy, fx))


def test_classic_draws_one_operation_for_each_image():
    images = 5 + jnp.broadcast_to(random_images(1, 8, 8, 1), (600, 8, 8, 1))
    output = np.asarray(jax.jit(partial(Classic("crop_noise"), siamese=False))(KEYS[0], images))
    noisy = (abs(output - images) < 0.01).all((1, 2, 3)) & (output != images).any((1, 2, 3))
    mean = float(images.mean())
    padded = np.pad(np.asarray(images[0]), ((4, 4), (4, 4), (0, 0)), constant_values=mean)
    windows = np.array([padded[y : y + 8, x : x + 8] for y in range(8) for x in range(8)])
    distance = abs(output[:, None] - windows[None]).max((2, 3, 4))
    cropped = distance.min(1) < 1e-4
    assert (noisy ^ cropped).all()
    assert abs(noisy.mean() - 0.5) < 0.08
    assert len(np.unique(distance.argmin(1)[cropped])) > 55  # of 64 windows


def test_classic_crop_and_rotate_fill_with_the_mean():
    images = jnp.full((20, 8, 8, 2), 3.0)
    output = jax.jit(partial(Classic("crop_rotate"), siamese=False))(KEYS[0], images)
    np.testing.assert_allclose(output, images, rtol=1e-6)
