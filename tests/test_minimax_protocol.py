"""How Minimax Diffusion's sets are judged: augmentation, network and recipes against NumPy re-derivations."""

import dataclasses
import importlib
import itertools
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment import Photo, for_dataset, make
from jaxdistill.augment.photo import jitter, resized_crop
from jaxdistill.evaluation import PROTOCOLS, Protocol, SoftLabels, taught
from jaxdistill.evaluation.protocol import epochs_for
from jaxdistill.networks import ResNetAP10, network
from jaxdistill.networks import make as make_network
from jaxdistill.networks.resnetap import FanOutConv
from jaxdistill.types import Features, Network, SyntheticSet, Variables

COUNT = 3000
QUICK = {"xla_backend_optimization_level": 0}  # compiles faster
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
GREY = np.array([0.299, 0.587, 0.114])
RNG = np.random.default_rng(0)


def compiled(augment, siamese):
    return jax.jit(partial(augment, siamese=siamese), compiler_options=QUICK)


def each(augment, image):
    """The augmentation's results on copies of one image."""
    images = jnp.broadcast_to(jnp.asarray(image, jnp.float32), (COUNT, *image.shape))
    return np.asarray(compiled(augment, False)(jax.random.key(0), images))


# The augmentation.


@pytest.mark.parametrize("window", [(0, 0, 9, 12), (2, 3, 5, 7), (4, 1, 1, 9), (0, 11, 9, 1)])
def test_a_resized_crop_is_the_bilinear_enlargement_of_the_window_alone(window):
    image = RNG.normal(size=(9, 12, 2))
    top, left, *size = window
    expected = image[top : top + size[0], left : left + size[1]]
    for axis, (part, length) in enumerate(zip(size, (9, 12), strict=True)):
        positions = (np.arange(length) + 0.5) * part / length - 0.5  # np.interp holds the border's value beyond it
        expected = np.apply_along_axis(lambda x, at=positions: np.interp(at, np.arange(len(x)), x), axis, expected)
    with jax.enable_x64(True):
        found = resized_crop(jnp.asarray(image), *map(jnp.int64, window))
    np.testing.assert_allclose(found, expected, atol=1e-12)


def windows(augment, height, width):
    """Top, left, height and width of the windows, read off an image of row and column numbers."""
    ramps = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    shown = np.round(each(augment, ramps), 3)
    first, last = shown.min((1, 2)), shown.max((1, 2))
    return np.concatenate([first, last - first + 1], 1).T


def drawn_windows(height, width, rng):
    """The published rule, draw by draw: up to ten areas and aspect ratios until a window fits."""
    for _ in range(10):
        area = height * width * rng.uniform(0.5, 1.0)
        ratio = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            return rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w
    raise AssertionError("unlikely in an image that is almost square")


def test_windows_are_distributed_as_in_the_published_rule():
    height, width = 12, 10
    found, rng = windows(Photo("crop"), height, width), np.random.default_rng(1)
    expected = np.array([drawn_windows(height, width, rng) for _ in range(4 * COUNT)]).T
    np.testing.assert_array_equal(found, np.round(found))
    for ours, theirs in zip(found, expected, strict=True):
        assert set(ours) <= set(theirs)
        for value in set(theirs):
            a, b = np.mean(ours == value), np.mean(theirs == value)
            assert abs(a - b) < 4 * np.sqrt(b / COUNT * 1.25) + 1e-3
    aspects = [np.log(heights / widths) for *_, heights, widths in (found, expected)]
    assert abs(aspects[0].mean() - aspects[1].mean()) < 4 * aspects[1].std() * np.sqrt(1.25 / COUNT)
    assert np.corrcoef(found)[0, 2] == pytest.approx(np.corrcoef(expected)[0, 2], abs=0.1)


def test_where_nothing_fits_the_largest_window_of_an_allowed_ratio_is_taken():
    top, left, height, width = windows(Photo("crop", area=(1.0, 1.0)), 12, 6)
    assert set(zip(height, width, left, strict=True)) == {(8, 6, 0)}
    assert set(top) == set(range(5))


def test_jitter_is_the_papers_three_changes_in_any_order():
    pixels, factors = RNG.uniform(size=(4, 5, 3)), (0.7, 1.2, 0.85)
    towards = {  # each goes a part of the way from the image to these
        0: np.zeros_like,
        1: lambda x: np.full_like(x, (x @ GREY).mean()),
        2: lambda x: np.repeat((x @ GREY)[..., None], 3, 2),
    }
    with jax.enable_x64(True):
        found = jitter(jnp.asarray(pixels), *map(jnp.float64, factors))
    for order in itertools.permutations(range(3)):
        expected = pixels
        for number in order:
            expected = factors[number] * expected + (1 - factors[number]) * towards[number](expected)
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_factors_of_jitter_are_drawn_for_each_image_and_on_imagenets_pixels():
    image = RNG.uniform(size=(4, 5, 3))
    found = each(Photo("color", lighting=0.0), (image - MEAN) / STD) * STD + MEAN
    grey = np.repeat((image @ GREY)[..., None], 3, 2)
    parts = np.stack([image.ravel(), grey.ravel(), np.full(image.size, grey.mean())], 1)
    shares, *_ = np.linalg.lstsq(parts, found.reshape(COUNT, -1).T, rcond=None)
    np.testing.assert_allclose(parts @ shares, found.reshape(COUNT, -1).T, atol=1e-5)
    brightness, colourful = shares.sum(0), shares[0] + shares[1]
    factors = np.stack([brightness, colourful / brightness, shares[0] / colourful])
    assert factors.min() > 0.6 - 1e-4
    assert factors.max() < 1.4 + 1e-4
    np.testing.assert_allclose(factors.mean(1), 1.0, atol=0.02)
    np.testing.assert_allclose(np.cov(factors), np.eye(3) * 0.8**2 / 12, atol=0.004)


def test_lighting_adds_a_colour_along_imagenets_axes():
    image = RNG.normal(size=(3, 3, 3))
    added = each(Photo("color", jitter=0.0), image) - image
    np.testing.assert_allclose(added, np.broadcast_to(added[:, :1, :1], added.shape), atol=1e-5)
    colours = added[:, 0, 0] * STD
    axes = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
    along = colours @ np.linalg.inv(axes).T / np.array([0.2175, 0.0188, 0.0045])
    np.testing.assert_allclose(np.cov(along.T), 0.01 * np.eye(3), atol=1e-3)
    np.testing.assert_allclose(along.mean(0), 0.0, atol=0.008)
    assert np.mean(np.abs(along) > 0.1) == pytest.approx(2 * 0.1587, abs=0.02)  # a normal distribution


def test_grey_images_have_their_own_pixels_and_no_lighting():
    image = RNG.uniform(size=(3, 4, 1))
    unlit = each(Photo("color", jitter=0.0), image)
    np.testing.assert_allclose(unlit, np.broadcast_to(image, unlit.shape), atol=1e-6)
    ends = ((-1.0,), (3.0,))
    found = (each(Photo("color", pixel_range=ends), 4 * image - 1) + 1) / 4
    contrast = (found - found.mean((1, 2, 3), keepdims=True)) / (image - image.mean())
    np.testing.assert_allclose(contrast, np.broadcast_to(contrast[:, :1, :1], contrast.shape), rtol=1e-2)
    brightness = found.mean((1, 2, 3)) / image.mean()
    assert 0.6 - 1e-4 < brightness.min() < 0.61
    assert 1.39 < brightness.max() < 1.4 + 1e-4


def test_the_augmentation_is_affine_in_the_pixels():
    first, second = jnp.asarray(RNG.normal(size=(2, 5, 8, 8, 3)), jnp.float32)
    augment = partial(compiled(Photo(), False), jax.random.key(3))
    expected = 0.3 * augment(first) + 0.7 * augment(second)
    np.testing.assert_allclose(augment(0.3 * first + 0.7 * second), expected, atol=1e-4)


def test_siamese_batches_share_one_draw_whatever_their_size():
    images = jnp.asarray(RNG.normal(size=(4, 8, 8, 3)), jnp.float32)
    augment = compiled(Photo(), True)
    whole = np.asarray(augment(jax.random.key(3), images))
    np.testing.assert_allclose(augment(jax.random.key(3), images[1:2]), whole[1:2], atol=1e-5)
    copies = augment(jax.random.key(3), jnp.broadcast_to(images[2], images.shape))
    np.testing.assert_array_equal(copies, np.broadcast_to(whole[2], images.shape))
    other = np.asarray(augment(jax.random.key(4), images))
    assert min(np.abs(whole - images).max(), np.abs(other - whole).max()) > 0.1


def test_every_second_image_is_mirrored():
    image = RNG.normal(size=(2, 3, 1)).astype(np.float32)
    found = each(Photo("flip"), image)
    mirrored = (found == image[:, ::-1]).all((1, 2, 3))
    np.testing.assert_array_equal((found == image).all((1, 2, 3)), ~mirrored)
    assert mirrored.mean() == pytest.approx(0.5, abs=0.04)


def test_names():
    assert make("photo:crop_flip") == Photo("crop_flip")
    with pytest.raises(ValueError, match="unknown augmentation 'rotate'"):
        make("photo:rotate")
    for protocol, color in (("minimax", "color_"), ("rded300", "")):
        augment = PROTOCOLS[protocol].augment
        assert make(for_dataset(augment, "imagenette")) == Photo(f"{color}crop_flip")
        assert make(for_dataset(augment, "mnist")) == Photo(f"{color}crop"), "a mirrored digit is not a digit"


# The recipe for hard labels.


@pytest.mark.parametrize(
    ("ipc", "epochs"), [(1, 3000), (2, 2000), (10, 2000), (11, 1500), (50, 1500), (100, 1000), (500, 500), (501, 300)]
)
def test_epochs_and_drops_are_the_papers(ipc, epochs):
    assert epochs_for(10 * ipc, 10) == epochs
    fewer = int((2 / 3) * epochs)  # as IDC's code has it
    assert epochs_for(100 * ipc, 100) == fewer - fewer % 100
    for number in (epochs, fewer - fewer % 100):
        protocol = dataclasses.replace(PROTOCOLS["minimax"], epochs=number)
        assert protocol.drop_epochs == (2 * number // 3, 5 * number // 6)
        rates = [float(protocol.rate(jnp.float32(1.0), jnp.int32(i))) for i in range(number) if i % 100 == 0]
        expected = [0.2 ** sum(i >= first for first in protocol.drop_epochs) for i in range(number) if i % 100 == 0]
        np.testing.assert_allclose(rates, expected, rtol=1e-6)


def test_the_papers_recipe():
    protocol = PROTOCOLS["minimax"]
    assert (protocol.learning_rate, protocol.momentum, protocol.weight_decay) == (0.01, 0.9, 5e-4)
    assert (protocol.batch, protocol.cutmix, protocol.restart, protocol.drop) == (64, 1.0, False, 0.2)
    assert "3,000 to 300 epochs" in protocol.summary
    assert "times 0.2 after 67% and 83% of them" in protocol.summary
    with pytest.raises(ValueError, match="epochs >= 0"):
        dataclasses.replace(protocol, epochs=-1)


D, C = 4, 3


def linear():
    def init(key):
        return Variables({"w": jax.random.normal(key, (D, C)), "b": jnp.ones(C)}, {})

    def apply(variables, images, train=False):
        del train
        return images.reshape(images.shape[0], -1) @ variables.params["w"] + variables.params["b"], {}

    return Network(init, apply, lambda variables, images, train=False: Features(images.reshape(len(images), -1), ()))


NETWORK = linear()
IMAGES = RNG.normal(size=(6, 2, 2, 1)).astype(np.float32)
HARD = SyntheticSet(jnp.asarray(IMAGES), jnp.eye(C).repeat(2, 0))
SOFT = dataclasses.replace(HARD, labels=jnp.asarray(RNG.normal(size=(6, C)) * 30, jnp.float32), label_kind="logit")


def test_a_recipe_without_epochs_takes_those_of_the_set(monkeypatch):
    module = importlib.import_module("jaxdistill.evaluation.protocol")  # the package has a function of its name
    monkeypatch.setattr(module, "epochs_for", lambda count, classes: count // classes + 1)
    recipe = Protocol(None, augment="none", learning_rate=0.3, batch=4, restart=False, drops=(0.5,))
    found = recipe.fit(jax.random.key(1), HARD, NETWORK)
    expected = dataclasses.replace(recipe, epochs=3).fit(jax.random.key(1), HARD, NETWORK)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


# The recipe for a teacher's labels.


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_adamw(key, labels, temperature, *, epochs, batch, rate, decay):
    """AdamW on the divergence from the labels, decay of the matrix alone, half a cosine that ends at a half."""
    key_init, key_orders, _ = jax.random.split(key, 3)
    params = {name: np.asarray(value, np.float64) for name, value in NETWORK.init(key_init).params.items()}
    first, second = ({name: np.zeros_like(value) for name, value in params.items()} for _ in range(2))
    x, step = IMAGES.reshape(6, -1), 0
    for i in range(epochs):
        order = np.asarray(jax.random.permutation(jax.random.fold_in(key_orders, i), 6))
        order = np.concatenate([order, order])  # the last batch is filled up
        eta = rate * 0.5 * (1 + math.cos(math.pi * i / epochs / 2))
        for begin in range(0, 6, batch):
            chosen, step = order[begin : begin + batch], step + 1
            residual = softmax((x[chosen] @ params["w"] + params["b"]) / temperature) - labels[chosen]
            gradients = {"w": x[chosen].T @ residual, "b": residual.sum(0)}
            for name, gradient in gradients.items():
                gradient = gradient / batch / temperature
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                move = first[name] / (1 - 0.9**step) / (np.sqrt(second[name] / (1 - 0.999**step)) + 1e-8)
                params[name] = params[name] - eta * (move + (decay if name == "w" else 0.0) * params[name])
    return params


@pytest.mark.parametrize(("synthetic", "temperature"), [(SOFT, 20.0), (HARD, 1.0)], ids=["logits", "classes"])
def test_soft_labels_are_learned_by_adamw_at_their_temperature(synthetic, temperature):
    recipe = SoftLabels(epochs=5, augment="none", batch=4, cutmix=0.0, learning_rate=0.1, weight_decay=0.5)
    key = jax.random.key(2)
    found = recipe.fit(key, synthetic, NETWORK).params
    labels = np.asarray(synthetic.labels, np.float64)
    labels = softmax(labels / 20) if synthetic is SOFT else labels
    expected = numpy_adamw(key, labels, temperature, epochs=5, batch=4, rate=0.1, decay=0.5)
    for name in "wb":
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=1e-4)


def test_rdeds_recipe():
    recipe = PROTOCOLS["rded300"]
    assert (recipe.epochs, recipe.batch, recipe.learning_rate, recipe.weight_decay) == (300, 100, 1e-3, 0.01)
    assert (recipe.temperature, recipe.cutmix) == (20.0, 1.0)
    assert "AdamW at temperature 20 where labels are logits" in recipe.summary
    with pytest.raises(ValueError, match="positive epochs, batch, temperature"):
        SoftLabels(temperature=0.0)


def test_a_teacher_labels_whole_images():
    variables = NETWORK.init(jax.random.key(5))
    labelled = taught(HARD, NETWORK, variables)
    expected = IMAGES.reshape(6, -1) @ np.asarray(variables.params["w"]) + 1
    np.testing.assert_allclose(labelled.labels, expected, rtol=1e-5, atol=1e-5)
    assert labelled.label_kind == "logit"
    with pytest.raises(ValueError, match="decode"):
        taught(dataclasses.replace(HARD, formation=2), NETWORK, variables)


# The network.


def numpy_resnet(params, x):
    """ResNetAP-10 as IDC's code describes it, on float64 images."""

    def conv(x, kernel):
        size = len(kernel)
        padded = np.pad(x, ((0, 0), *[(size // 2, size // 2)] * 2, (0, 0)))
        seen = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))
        return np.einsum("nhwcij,ijco->nhwo", seen, kernel)

    def normalised(x, norm):
        moments = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
        return (x - moments[0]) / np.sqrt(moments[1] + 1e-5) * norm["scale"] + norm["bias"]

    def pooled(x, size):
        n, h, w, c = x.shape[0], x.shape[1] // size, x.shape[2] // size, x.shape[3]
        return x[:, : h * size, : w * size].reshape(n, h, size, w, size, c).mean((2, 4))

    body, kernel = params["body"], lambda part, i: part[f"FanOutConv_{i}"]["kernel"]
    side = x.shape[1]
    x = np.maximum(normalised(conv(x, kernel(body, 0)), body["Norm_0"]), 0)
    x = pooled(x, 4 if side > 128 else 2 if side > 64 else 1)
    for stage in range(4):
        block, factor = body[f"Block_{stage}"], 2 if stage else 1
        y = pooled(np.maximum(normalised(conv(x, kernel(block, 0)), block["Norm_0"]), 0), factor)
        y = normalised(conv(y, kernel(block, 1)), block["Norm_1"])
        if stage:
            x = normalised(pooled(conv(x, kernel(block, 2)), 2), block["Norm_2"])
        x = np.maximum(x + y, 0)
    return x.mean((1, 2)) @ params["classifier"]["kernel"] + params["classifier"]["bias"]


@pytest.mark.parametrize(("side", "stem"), [(13, 3), (66, 3), (130, 7)])
def test_resnet10ap_equals_its_description(side, stem):
    net = network(ResNetAP10(2), (side, side, 3), 4)
    shapes = jax.eval_shape(net.init, jax.random.key(0)).params
    rng = np.random.default_rng(side)
    params = jax.tree.map(lambda leaf: rng.normal(size=leaf.shape), shapes)
    assert params["body"]["FanOutConv_0"]["kernel"].shape == (stem, stem, 3, 2)
    images = rng.normal(size=(2, side, side, 3))
    with jax.enable_x64(True):
        apply = jax.jit(net.apply, compiler_options=QUICK)
        found, _ = apply(Variables(jax.tree.map(jnp.asarray, params), {}), jnp.asarray(images))
    np.testing.assert_allclose(found, numpy_resnet(params, images), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("name", "side", "count"),
    [  # of the released code's networks
        ("resnet10ap", 32, 4_903_242),
        ("resnet10ap", 128, 4_903_242),
        ("resnet10ap", 224, 4_910_922),
        ("convnet", 224, 754_570),
    ],
)
def test_the_papers_networks_have_as_many_parameters_as_the_originals(name, side, count):
    options = {"depth": 6} if name == "convnet" else {}
    variables = jax.eval_shape(make_network(name, (side, side, 3), 10, **options).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == count


@pytest.mark.parametrize(("size", "features"), [(1, 64), (3, 32)])
def test_resnet10ap_starts_from_weights_by_fan_out(size, features):
    layer = FanOutConv(features, size=size, padding=0)
    kernel = np.asarray(layer.init(jax.random.key(0), jnp.zeros((1, 4, 4, 90)))["params"]["kernel"])
    slack = 4 / math.sqrt(kernel.size)
    assert kernel.std() == pytest.approx(math.sqrt(2 / (size**2 * features)), rel=slack)
    assert np.mean(kernel**4) == pytest.approx(3 * kernel.var() ** 2, rel=6 * slack)  # a normal distribution
