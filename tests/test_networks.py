"""Networks against PyTorch's values in float64, and what the literature says about them."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxdistill.networks import (
    MLP,
    NETWORKS,
    VGG11,
    AlexCifarNet,
    AlexNet,
    ConvNet,
    DenseNet,
    EfficientNet,
    LeNet,
    ResNet,
    ResNet18,
    ViT,
    default_depth,
    make,
    network,
)
from jaxdistill.networks.alexcifarnet import local_response, overlapping_max
from jaxdistill.networks.layers import Norm
from jaxdistill.types import Variables

GOLDEN = np.load(Path(__file__).parent / "reference/networks.npz")  # made by experiments/golden/networks.py
CLASSES, IMAGES = 5, 3

# The bodies of the golden script, by its names.
CASES = {
    "convnet instance": ((8, 8, 3), ConvNet(4, 2)),
    "convnet batch": ((8, 8, 3), ConvNet(4, 2, "batch")),
    "convnet layer": ((8, 8, 3), ConvNet(4, 2, "layer")),
    "convnet group": ((8, 8, 3), ConvNet(8, 2, "group")),
    "convnet none": ((8, 8, 3), ConvNet(4, 2, "none")),
    "convnet leakyrelu max odd": ((9, 7, 3), ConvNet(4, 2, "instance", "leakyrelu", "max")),
    "convnet swish none": ((6, 6, 3), ConvNet(4, 2, "instance", "swish", "none")),
    "convnet sigmoid avg odd": ((9, 7, 3), ConvNet(4, 1, "instance", "sigmoid", "avg")),
    "convnet padded": ((28, 28, 1), ConvNet(4, 3)),
    "mlp": ((6, 5, 2), MLP(7)),
    "lenet": ((16, 16, 3), LeNet()),
    "lenet padded": ((28, 28, 1), LeNet()),
    "alexnet": ((8, 8, 3), AlexNet(4)),
    "alexnet padded": ((28, 28, 1), AlexNet(4)),
    "alexcifarnet": ((12, 8, 3), AlexCifarNet(8)),
    "alexcifarnet padded": ((28, 28, 1), AlexCifarNet(4)),
    "vgg11 instance padded": ((28, 28, 1), VGG11(2)),
    "vgg11 batch": ((32, 32, 3), VGG11(2, "batch")),
    "resnet18 instance": ((32, 32, 3), ResNet18(2)),
    "resnet18 batch odd": ((13, 13, 3), ResNet18(4, "batch")),
    "resnet18-s2 batch": ((64, 64, 3), ResNet18(2, "batch", stride=2)),
    "resnet18ap instance": ((32, 32, 3), ResNet18(2, average_pool=True)),
    "resnet18ap batch": ((16, 16, 3), ResNet18(4, "batch", average_pool=True)),
    "resnet18ap grey": ((28, 28, 1), ResNet18(2, "batch", average_pool=True)),
    "alexnet batch": ((8, 8, 3), AlexNet(4, "batch")),
    "resnet10 batch": ((16, 16, 3), ResNet(4, "batch", blocks=(1, 1, 1, 1), fan_out=True)),
    "resnet50 instance": ((8, 8, 3), ResNet(2, blocks=(2, 1), bottleneck=True)),
    "resnet18-imagenet batch odd": ((37, 37, 3), ResNet(2, "batch", blocks=(1, 1), fan_out=True, imagenet=True)),
    "densenet121 batch": ((8, 8, 3), DenseNet(2, "batch", (2, 1))),
    "efficientnet-b0 batch": ((28, 28, 3), EfficientNet(8, "batch", (1, 2, 1, 0, 0, 0, 1))),
    "vit": ((8, 12, 3), ViT(8, 2, 2, 3)),
}


def draw(path, shape):
    """As in the golden script."""
    numbers = np.random.default_rng(zlib.crc32(path.encode())).uniform(-1, 1, shape)
    match path.split("/")[-1]:
        case "kernel":
            return numbers * np.sqrt(3 / np.prod(shape[:-1]))
        case "scale" | "var":
            return 1 + numbers / 2
    return numbers / 2


def paths(tree):
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def fill(tree):
    values = [jnp.asarray(draw(path, leaf.shape)) for path, leaf in paths(tree).items()]
    return jax.tree.unflatten(jax.tree.structure(tree), values)


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients_equal_pytorch(name):
    shape, body = CASES[name]
    net = network(body, shape, CLASSES)
    with jax.enable_x64():
        variables = Variables(*map(fill, jax.eval_shape(net.init, jax.random.key(0))))
        images = jnp.asarray(draw(f"images {name}", (IMAGES, *shape)))

        @jax.jit
        def everything(variables, images):
            def loss(params, images):
                logits, statistics = net.apply(variables._replace(params=params), images, train=True)
                return -jnp.diagonal(jax.nn.log_softmax(logits)[:, :IMAGES]).mean(), (logits, statistics)

            gradients, (logits, statistics) = jax.grad(loss, (0, 1), has_aux=True)(variables.params, images)
            maps = net.features(variables, images, train=True).maps
            evaluated, unchanged = net.apply(variables._replace(statistics=statistics), images)
            return gradients, logits, statistics, maps, evaluated, unchanged

        (by_params, by_images), logits, statistics, maps, evaluated, unchanged = everything(variables, images)

    np.testing.assert_allclose(logits, GOLDEN[f"{name}: logits"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(evaluated, GOLDEN[f"{name}: evaluated"], rtol=0, atol=1e-9)
    long = paths(by_params) | paths(statistics) | {f"map {number}": value for number, value in enumerate(maps)}
    long["images"] = by_images
    assert len(long) == len(GOLDEN[f"{name}: summaries"])
    for path, golden in zip(sorted(long), GOLDEN[f"{name}: summaries"], strict=True):
        value = np.asarray(long[path])
        ours = np.array([np.linalg.norm(value), (value * draw(f"probe {path}", value.shape)).sum()])
        # A bias just before a normalisation of its channel has gradient zero: compare with the size of the others.
        np.testing.assert_allclose(ours, golden, rtol=0, atol=1e-9 * max(golden[0], 1e-2), err_msg=path)
    jax.tree.map(np.testing.assert_array_equal, unchanged, statistics)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "count"),
    [
        ("convnet", (32, 32, 3), 10, 320_010),
        ("convnet", (32, 32, 3), 100, 504_420),
        ("convnet", (28, 28, 1), 10, 317_706),
        ("convnet4", (28, 28, 1), 10, 455_562),  # not padded to 32 pixels: 3x3 are left
        ("resnet18", (32, 32, 3), 10, 11_173_962),
        ("resnet18-s2", (64, 64, 3), 200, 11_271_432),
        ("resnet18ap", (32, 32, 3), 10, 11_250_762),
        ("resnet18ap", (28, 28, 1), 10, 11_213_770),
        ("lenet", (28, 28, 1), 10, 61_706),
        ("alexcifarnet", (32, 32, 3), 10, 1_756_426),
        ("alexnet", (32, 32, 3), 10, 1_872_202),
        ("resnet10", (32, 32, 3), 10, 1_228_970),
        ("resnet34", (32, 32, 3), 10, 21_282_122),
        ("resnet50", (32, 32, 3), 10, 23_520_842),
        ("resnet18-imagenet", (224, 224, 3), 1000, 11_689_512),  # these three and efficientnet-b0 as in torchvision too
        ("resnet34-imagenet", (224, 224, 3), 1000, 21_797_672),
        ("resnet50-imagenet", (224, 224, 3), 1000, 25_557_032),
        ("densenet121", (32, 32, 3), 10, 1_000_618),
        ("efficientnet-b0", (224, 224, 3), 1000, 5_288_548),
        ("vit", (32, 32, 3), 10, 9_523_722),
    ],
)
def test_parameter_counts(name, shape, classes, count):
    variables = jax.eval_shape(make(name, shape, classes).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == count
    assert variables.statistics == {}


def test_initial_distribution_is_pytorchs():
    params = jax.jit(make("convnet", (32, 32, 3), 100, norm="batch").init)(jax.random.key(0)).params
    fan_in = {"body/Conv_0": 27, "body/Conv_1": 1152, "body/Conv_2": 1152, "classifier": 2048}
    for path, value in paths(params).items():
        layer, kind = path.rsplit("/", 1)
        if "Norm" in layer:
            np.testing.assert_array_equal(value, 1.0 if kind == "scale" else 0.0)
            continue
        bound, slack = 1 / math.sqrt(fan_in[layer]), 5 / math.sqrt(value.size)
        assert 0.9 * bound < jnp.abs(value).max() <= bound
        assert jnp.std(value) == pytest.approx(bound / math.sqrt(3), rel=slack)
        assert abs(float(value.mean())) < slack * bound


def test_alexnet_has_the_originals_parameters_with_batch_normalisation_too():
    variables = jax.eval_shape(make("alexnet-bn", (32, 32, 3), 10).init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params)) == 1_872_202 + 2 * (128 + 192 + 256 + 192 + 192)


# Deviations of the initial weights: uniform in PyTorch's layers, else normal.
STARTS = {
    "resnet10-bn/body/FanOutConv_0": ("normal", math.sqrt(2 / (9 * 32))),
    "resnet10-bn/body/Block_3/FanOutConv_2": ("normal", math.sqrt(2 / 256)),
    "resnet18-imagenet/body/FanOutConv_0": ("normal", math.sqrt(2 / (49 * 64))),
    "resnet18-imagenet/classifier": ("uniform", 1 / math.sqrt(3 * 512)),
    "efficientnet-b0-bn/body/Inverted_14/Depthwise_0": ("uniform", 1 / math.sqrt(3 * 25)),
    "vit/body/places": ("normal", 1),
    "vit/body/Attention_0/Dense_0": ("uniform", 1 / math.sqrt(3 * 512)),
}


@pytest.mark.parametrize("where", STARTS)
def test_initial_distributions_of_the_other_networks(where):
    """Of one array each; what the others are drawn by is not computed."""
    (kind, deviation), (name, path) = STARTS[where], where.split("/", 1)

    def drawn(key):
        found = paths(make(name, (32, 32, 3), 10).init(key).params)
        return found.get(f"{path}/kernel", found.get(path))

    value = np.asarray(jax.jit(drawn)(jax.random.key(0)))
    slack = 6 / math.sqrt(value.size)
    assert value.std() == pytest.approx(deviation, rel=slack)
    assert abs(value.mean()) < slack * deviation
    assert np.mean(value**4) == pytest.approx({"normal": 3, "uniform": 9 / 5}[kind] * deviation**4, rel=6 * slack)


SMALL = {
    "efficientnet": ((6, 6, 1), EfficientNet(8, "batch", (0, 0, 1, 0, 0, 0, 0))),
    "vit": ((4, 8, 1), ViT(4, 1, 2, 2)),
}


@pytest.mark.parametrize("name", SMALL)  # the layers that no other network has
def test_gradients_through_gradients_equal_finite_differences(name):
    """As methods take them: the images' gradient of the length of the weights' gradient."""
    shape, body = SMALL[name]
    net = network(body, shape, CLASSES)
    with jax.enable_x64():
        variables = Variables(*map(fill, jax.eval_shape(net.init, jax.random.key(0))))
        images, direction = (jnp.asarray(draw(f"{what} {name}", (IMAGES, *shape))) for what in ("images", "direction"))

        @jax.jit
        def length(images):
            def loss(params):
                logits, _ = net.apply(variables._replace(params=params), images, train=True)
                return -jnp.diagonal(jax.nn.log_softmax(logits)[:, :IMAGES]).mean()

            return sum((leaf**2).sum() for leaf in jax.tree.leaves(jax.grad(loss)(variables.params)))

        step = 1e-6
        slope = (jax.jit(jax.grad(length))(images) * direction).sum()
        ahead, behind = (length(images + sign * step * direction) for sign in (1, -1))
        np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-5)


def test_xavier_is_glorots_normal_distribution():
    net = make("convnet", (32, 32, 3), 100, norm="batch", initial="xavier")
    variables = jax.jit(net.init)(jax.random.key(0))
    fans = {
        "body/Conv_0": (27, 1152),
        "body/Conv_1": (1152, 1152),
        "body/Conv_2": (1152, 1152),
        "classifier": (2048, 100),
    }
    seen = []
    for path, value in paths(variables.params).items():
        layer, kind = path.rsplit("/", 1)
        if kind != "kernel":
            np.testing.assert_array_equal(value, 1.0 if kind == "scale" else 0.0)
            continue
        std, slack = math.sqrt(2 / sum(fans[layer])), 5 / math.sqrt(value.size)
        assert jnp.std(value) == pytest.approx(std, rel=slack)
        assert abs(float(value.mean())) < slack * std
        assert jnp.mean(value**4) == pytest.approx(3 * std**4, rel=5 * slack)  # a normal distribution, not truncated
        seen.append(value.ravel()[:100] / std)
    assert len(seen) == 4
    assert abs(np.corrcoef(seen) - np.eye(4)).max() < 0.5  # each kernel has a key of its own


def test_a_network_with_a_seed_always_starts_from_the_weights_of_that_seed():
    of_seed, free = make("mlp", (4, 4, 1), 3, network_seed=7), make("mlp", (4, 4, 1), 3)
    init = jax.jit(of_seed.init)
    first, second = init(jax.random.key(0)), init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, first, second)
    jax.tree.map(np.testing.assert_array_equal, first, jax.jit(free.init)(jax.random.key(7)))
    assert of_seed is make("mlp", (4, 4, 1), 3, network_seed=7)
    assert of_seed is not make("mlp", (4, 4, 1), 3, network_seed=8)


@pytest.mark.parametrize("size", [7, 8])
def test_overlapping_maxima_and_local_response_equal_their_definitions(size):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, size, 5, 6))
    rows, columns = range(0, size, 2), range(0, 5, 2)
    window = lambda i, j: x[:, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].max((1, 2))  # noqa: E731
    expected = np.stack([np.stack([window(i, j) for j in columns], 1) for i in rows], 1)
    squares = np.stack([(x[..., max(c - 2, 0) : c + 2] ** 2).sum(-1) / 4 for c in range(6)], -1)
    with jax.enable_x64():
        np.testing.assert_array_equal(overlapping_max(jnp.asarray(x)), expected)
        np.testing.assert_allclose(local_response(jnp.asarray(x)), x / (1 + 0.001 / 9 * squares) ** 0.75, rtol=1e-12)
        # Hundreds, or the normalisation would be too weak for its curvature to be seen.
        both = lambda x: overlapping_max(local_response(300 * x)) ** 2 / 1e4  # noqa: E731
        check_grads(jax.jit(both), (jnp.asarray(x[:1, :, :3]),), order=2, modes=("rev",), eps=1e-6, rtol=1e-4)


DEEP = ("resnet34", "resnet50", "resnet34-imagenet", "resnet50-imagenet", "densenet121", "efficientnet-b0")
OTHERS = [*NETWORKS, "convnet-bn", "vgg11-bn", "resnet18-bn", "resnet18ap-bn", "alexnet-bn"]


@pytest.mark.parametrize(
    ("name", "shape"),
    [(name, shape) for name in OTHERS for shape in [(32, 32, 3), (28, 28, 1)] if name not in DEEP or shape[2] == 1],
)
def test_interface(name, shape):
    net = make(name, shape, 7, width=8)
    variables = jax.eval_shape(net.init, jax.random.key(0))
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    for train in (False, True):
        logits, statistics = jax.eval_shape(lambda v, x, train=train: net.apply(v, x, train), variables, images)
        assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)
        assert jax.tree.map(lambda a: (a.shape, a.dtype), statistics) == jax.tree.map(
            lambda a: (a.shape, a.dtype), variables.statistics
        )
    features = jax.eval_shape(net.features, variables, images)
    assert features.embedding.shape == (2, variables.params["classifier"]["kernel"].shape[0])
    assert all(value.ndim == 4 for value in features.maps)
    assert net.couples_batch == name.endswith("-bn") == bool(jax.tree.leaves(variables.statistics))
    assert net is make(name, shape, 7, width=8)


def test_logits_are_the_classifier_on_the_embedding():
    net = make("convnet", (8, 8, 1), 4, width=8)
    variables = jax.jit(net.init)(jax.random.key(1))
    images = jax.random.normal(jax.random.key(2), (3, 8, 8, 1))
    classifier = variables.params["classifier"]
    embedding = jax.jit(net.features)(variables, images).embedding
    expected = embedding @ classifier["kernel"] + classifier["bias"]
    np.testing.assert_allclose(jax.jit(net.apply)(variables, images)[0], expected, atol=1e-6)


def test_bfloat16_keeps_its_type_and_the_values():
    net = make("convnet-bn", (8, 8, 3), 4, width=16)
    variables = jax.jit(net.init)(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    train = jax.jit(lambda variables, images: net.apply(variables, images, train=True))
    exact, _ = train(variables, images)
    half = variables._replace(params=jax.tree.map(lambda a: a.astype(jnp.bfloat16), variables.params))
    logits, statistics = train(half, images.astype(jnp.bfloat16))
    assert logits.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(statistics))
    np.testing.assert_allclose(logits.astype(jnp.float32), exact, atol=0.05)


def test_constant_image_has_finite_gradients():
    """The difference of squares rounds to or below zero there."""
    net = make("convnet", (8, 8, 3), 4, width=4)
    variables = jax.jit(net.init)(jax.random.key(0))
    gradient = jax.jit(jax.grad(lambda x: net.apply(variables, x)[0].sum()))(jnp.full((1, 8, 8, 3), 1e3))
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("name", "shape", "sides", "embedding"),
    [
        ("resnet18", (32, 32, 3), [32, 16, 8, 4], 512),
        ("resnet18-bn", (64, 64, 3), [64, 32, 16, 8], 512),
        ("resnet18-s2", (64, 64, 3), [32, 16, 8, 4], 512),
        ("resnet18-s2-bn", (64, 64, 3), [32, 16, 8, 4], 512),
        ("resnet18ap", (32, 32, 3), [32, 16, 8, 4], 4 * 4 * 512),
        ("resnet18ap-bn", (28, 28, 1), [28, 14, 7, 3], 3 * 3 * 512),
        ("resnet10ap", (32, 32, 3), [32, 16, 8, 4], 512),
        ("resnet10", (32, 32, 3), [32, 16, 8, 4], 256),
        ("resnet18-imagenet", (224, 224, 3), [56, 28, 14, 7], 512),
    ],
)
def test_maps_and_embeddings_of_residual_networks(name, shape, sides, embedding):
    net = make(name, shape, 10)
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    features = jax.eval_shape(net.features, jax.eval_shape(net.init, jax.random.key(0)), images)
    assert [value.shape[1:3] for value in features.maps] == [(side, side) for side in sides]
    assert features.embedding.shape == (2, embedding)


def test_default_depth():
    assert [default_depth(size) for size in (8, 16, 28, 32, 64, 128, 224)] == [2, 2, 3, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("name", "shape", "options", "advice"),
    [
        ("covnet", (32, 32, 3), {}, "did you mean convnet"),
        ("mlp-bn", (32, 32, 3), {}, "use mlp"),
        ("convnet", (32, 32, 3), {"norm": "spectral"}, "instance, batch"),
        ("convnet", (32, 32, 3), {"activation": "gelu"}, "relu, sigmoid"),
        ("convnet", (32, 32, 3), {"pooling": "sum"}, "avg, max"),
        ("convnet", (32, 32, 3), {"initial": "kaiming"}, "torch, xavier"),
        ("convnet", (32, 32, 3), {"network_seed": -1}, "from 0 to"),
        ("convnet", (32, 32, 3), {"depth": 0}, "at least 1"),
        ("convnet", (8, 8, 1), {"depth": 4}, "larger images"),
        ("convnet", (8, 8, 1), {"norm": "group", "width": 6}, "divisible by 4"),
        ("vgg11", (8, 8, 1), {}, "larger images"),
        ("lenet", (8, 8, 1), {}, "larger images"),
        ("alexnet", (4, 4, 3), {}, "larger images"),
        ("vit", (30, 30, 3), {}, "multiple"),
        ("vit-bn", (32, 32, 3), {}, "use vit"),
    ],
)
def test_unusable_choices(name, shape, options, advice):
    with pytest.raises(ValueError, match=advice):
        make(name, shape, 10, **options)


@pytest.mark.parametrize("kind", ["instance", "batch", "layer", "group"])
def test_a_deviation_far_below_the_mean_is_normalised(kind):
    """Mean 10, deviation 0.01: of the difference of the squares' mean and the mean's square nothing would be left."""
    images = jnp.asarray(10 + 0.01 * np.random.default_rng(0).normal(size=(4, 32, 32, 8)), jnp.float32)
    layer = Norm(kind)
    variables = layer.init(jax.random.key(0), images, train=True)
    found, _ = layer.apply(variables, images, train=True, mutable=["batch_stats"])
    axes = {"instance": (1, 2), "batch": (0, 1, 2), "layer": (1, 2, 3), "group": (1, 2)}[kind]
    wide = np.asarray(images, np.float64)
    if kind == "group":
        wide = wide.reshape(4, 32, 32, 4, 2).transpose(0, 3, 1, 2, 4).reshape(4, 4, -1)
        expected = (wide - wide.mean(-1, keepdims=True)) / np.sqrt(wide.var(-1, keepdims=True) + 1e-5)
        expected = expected.reshape(4, 4, 32, 32, 2).transpose(0, 2, 3, 1, 4).reshape(images.shape)
    else:
        expected = (wide - wide.mean(axes, keepdims=True)) / np.sqrt(wide.var(axes, keepdims=True) + 1e-5)
    assert np.linalg.norm(found - expected) < 2e-4 * np.linalg.norm(expected)
