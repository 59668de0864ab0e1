"""Kernels against recursions in NumPy, a wide network and finite differences; and the way into neural-tangents."""

import json
import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import EIGHT_DEVICES

from jaxdistill.kernels import KERNELS, make
from jaxdistill.kernels.gram import COPIES, gram
from jaxdistill.kernels.tangents import stax
from jaxdistill.types import Kernel

KEY = jax.random.key(0)
BLOCK = ["conv", "relu", "pool"]
LAYERS = {
    "fc1": ["dense", "relu"],
    "fc3": ["dense", "relu"] * 3,
    "convnet": ["conv", "relu", *BLOCK * 3, "flatten"],
    "convnet3": [*BLOCK * 3, "flatten"],
    "conv3": [*["conv", "relu"] * 3, "flatten"],
    "myrtle5": ["conv", "relu", *BLOCK * 2, "conv", "relu", "global"],
    "myrtle7": ["conv", "relu", *BLOCK, "conv", "relu", *BLOCK, *["conv", "relu"] * 2, "global"],
}
SMALL = {"fc1": (2, 2, 3), "fc3": (2, 2, 3), "convnet": (8, 9, 1), "convnet3": (8, 9, 1)}


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def images_of(name, count, seed=0):
    """Among them an image without contrast, a pair of equal ones and a pair of opposite ones."""
    shape = SMALL.get(name.removesuffix("-nngp"), (4, 5, 2))
    images = np.random.default_rng(seed).normal(size=(count, *shape))
    images[0], images[2], images[4] = 0, images[1], -images[3]
    return images


def step(layer, covariances, tangent):
    """One layer, of the covariances ``[p, p']`` of two images with each other and of each with itself; and the NTK."""
    variances = [np.einsum("hwhw->hw", own) for own in covariances[1:]]
    pairs = [variances, [variances[0]] * 2, [variances[1]] * 2]

    def relu(cov, pair):
        scale = np.sqrt(np.multiply.outer(*pair))
        angle = np.arccos(np.clip(cov / scale, -1, 1))
        value = scale * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
        return value, (np.pi - angle) / (2 * np.pi)

    def patches(cov):
        (h, w), padded = cov.shape[:2], np.pad(cov, 1)
        return sum(padded[i : i + h, j : j + w, i : i + h, j : j + w] for i in range(3) for j in range(3)) / 9

    def pool(cov):
        h, w = (size // 2 for size in cov.shape[:2])
        return cov[: 2 * h, : 2 * w, : 2 * h, : 2 * w].reshape((h, 2, w, 2) * 2).mean((1, 3, 5, 7))

    if layer == "relu":
        values, slopes = zip(*(relu(cov, pair) for cov, pair in zip(covariances, pairs, strict=True)), strict=True)
        return list(values), tangent * slopes[0]
    if layer in ("dense", "conv"):
        mix = patches if layer == "conv" else lambda cov: cov
        covariances = [2 * mix(cov) + 0.01 for cov in covariances]
        return covariances, 2 * mix(tangent) + covariances[0]
    one = {
        "pool": pool,
        "flatten": lambda cov: np.full((1, 1, 1, 1), np.einsum("hwhw->hw", cov).mean()),
        "global": lambda cov: np.full((1, 1, 1, 1), cov.mean()),
    }[layer]
    return [one(cov) for cov in covariances], one(tangent)


def by_hand(name, x, y):
    """NNGP and NTK of one pair of images."""
    if name.startswith("fc"):
        x, y = x.reshape(1, 1, -1), y.reshape(1, 1, -1)
    covariances = [np.einsum("hwc,ijc->hwij", a, b) / x.shape[-1] for a, b in ((x, y), (x, x), (y, y))]
    tangent = np.zeros_like(covariances[0])
    for layer in [*LAYERS[name], "dense"]:
        covariances, tangent = step(layer, covariances, tangent)
    return covariances[0].item(), tangent.item()


@pytest.mark.parametrize("name", LAYERS)
def test_kernels_equal_their_recursions_and_are_positive(name):
    images = images_of(name, 5)
    expected = np.array([[by_hand(name, x, y) for y in images] for x in images])
    pair = [make(name + suffix, images.shape[1:]) for suffix in ("-nngp", "")]

    @jax.jit
    def both(images):
        rows = [kernel.prepare(KEY, images) for kernel in pair]
        return [kernel.gram(r, r[1:]) for kernel, r in zip(pair, rows, strict=True)]

    for found, values in zip(both(images), np.moveaxis(expected, -1, 0), strict=True):
        assert found.dtype == np.float64
        np.testing.assert_allclose(found, values[:, 1:], rtol=1e-7)
        symmetric = np.asarray(found)[1:]
        np.testing.assert_allclose(symmetric, symmetric.T, rtol=1e-12)
        assert np.linalg.eigvalsh(symmetric)[0] > -1e-12 * symmetric.trace()


def test_the_nngp_is_that_of_a_wide_network():
    rng, width = np.random.default_rng(0), 200_000
    images = rng.normal(0, 0.1, (4, 12))
    hidden = np.maximum(images @ rng.normal(0, np.sqrt(2 / 12), (12, width)) + rng.normal(0, 0.1, width), 0)
    samples = 2 * hidden[:, None] * hidden + 0.01
    error = samples.std(-1) / np.sqrt(width)
    found = jax.jit(make("fc1-nngp", (2, 2, 3)).gram)(images, images)
    assert (abs(found - samples.mean(-1)) < 4 * error).all()
    assert (4 * error < 0.3 * 0.1**2).all()  # or a missing bias would not be missed


@pytest.mark.parametrize("name", ["fc3", "fc1-nngp", "myrtle5"])
def test_gradients_are_slopes_where_images_are_equal_too(name):
    """The NTK has a kink there, whose two sides the gradient is the mean of, as a central difference is."""
    x, y = images_of(name, 5), images_of(name, 5, seed=1)
    kernel = make(name, x.shape[1:])
    rng = np.random.default_rng(2)
    weights = rng.normal(size=(5, 10))

    @jax.jit
    @partial(jax.value_and_grad, has_aux=True)
    def differentiate(pair, weights):
        x, both = kernel.prepare(KEY, pair[0]), kernel.prepare(KEY, jnp.concatenate(pair))
        matrix = kernel.gram(x, both)
        return jnp.sum(weights * matrix), matrix

    (_, matrix), gradients = differentiate((x, y), weights)
    for place, gradient in enumerate(gradients):
        shift = np.zeros((2, *x.shape))
        shift[place] = 1e-5 * rng.normal(size=x.shape)
        ahead, behind = (differentiate((x + d * shift[0], y + d * shift[1]), weights)[0][0] for d in (1, -1))
        np.testing.assert_allclose((ahead - behind) / 2, np.sum(gradient * shift[place]), rtol=1e-4)

    with jax.enable_x64(False):
        (_, short), shorts = differentiate((x, y), weights)
    assert short.dtype == jnp.float32
    np.testing.assert_allclose(short, matrix, atol=2e-6 * abs(matrix).max())
    for gradient, single in zip(gradients, shorts, strict=True):
        np.testing.assert_allclose(single, gradient, atol=2e-6 * abs(gradient).max())


def inner_products(sizes=None):
    """A kernel of rows in a dict, which notes the shapes that it is asked for."""

    def inner(a, b):
        if sizes is not None:
            sizes.append((a["left"].shape[0], b["left"].shape[0]))
        return jnp.tanh(a["left"] @ b["left"].T) * (a["right"][:, None] - b["right"])

    return Kernel(lambda key, images: images, inner, pair_size=3)


def rows_of(count, seed):
    rng = np.random.default_rng(seed)
    return {"left": jnp.asarray(rng.normal(size=(count, 4))), "right": jnp.asarray(rng.normal(size=count))}


@pytest.mark.parametrize(("n", "m", "pairs", "tile"), [
    (7, 5, 35, (7, 5)), (7, 5, 6, (2, 3)), (7, 5, 15, (3, 5)), (3, 20, 12, (3, 4)), (2, 3, 0, (1, 1)),
])  # fmt: skip
def test_tiles_make_the_matrix_and_keep_to_the_limit(n, m, pairs, tile):
    sizes, a, b = [], rows_of(n, 0), rows_of(m, 1)
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(n, m)))

    @partial(jax.jit, static_argnums=0)
    def differentiate(kernel, a, b):
        def total(a, b):
            matrix = gram(kernel, a, b, limit=COPIES * 3 * pairs) if kernel is noted else kernel.gram(a, b)
            return jnp.sum(weights * matrix), matrix

        return jax.value_and_grad(total, (0, 1), has_aux=True)(a, b)

    noted = inner_products(sizes)
    found, expected = (jax.tree.leaves(differentiate(kernel, a, b)) for kernel in (noted, inner_products()))
    assert set(sizes) == {tile}
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-12, atol=1e-14)


def test_a_gradient_in_tiles_keeps_no_more_than_its_tile():
    kernel, rows = make("fc1", (2, 2, 3)), jnp.zeros((256, 12))

    def memory(limit):
        gradient = jax.jit(jax.grad(lambda rows: gram(kernel, rows, rows, limit=limit).sum()))
        return gradient.lower(rows).compile().memory_analysis().temp_size_in_bytes / 8

    assert memory(COPIES * 256**2) > 5 * 256**2
    assert memory(COPIES * 32**2) < 3 * 256**2  # the matrix, and what the sum sends back


def test_names_make_kernels_once():
    for name in KERNELS:
        kernel = make(name, (28, 28, 1))
        assert kernel is make(name, image_shape=(28, 28, 1))
        assert kernel.pair_size == (1 if name.startswith(("fc", "rfad")) else 28**4)
    assert make("conv3", (28, 28, 1)).pair_size == 28**2  # no pooling: pairs of equal positions alone
    assert make("fc1", (8, 8, 1)) is not make("fc1", (8, 8, 3))
    for name in ("fc0", "fc", "conv0", "rbf", "convnet-ntk"):
        with pytest.raises(ValueError, match=f"unknown kernel '{name}'; use one of fc1, .*, or fcD for D hidden"):
            make(name, (28, 28, 1))
    with pytest.raises(ValueError, match="images of 8x8 or more, not 7x9"):
        make("convnet", (7, 9, 1))
    make("myrtle10", (4, 4, 1))


def test_kernels_need_the_extra(monkeypatch):
    stax.cache_clear()
    monkeypatch.setitem(sys.modules, "neural_tangents", None)
    with pytest.raises(ValueError, match=r"install it with: pip install 'jaxdistill\[kernels\]'"):
        make("fc97", (2, 2, 1))


ELSEWHERE = """
import json, sys
import jax, jax.core, numpy as np
from jax.interpreters import ad
from jaxdistill.kernels import make, tangents
from jaxdistill.kernels.gram import gram
from jaxdistill.engine.devices import make_mesh, spread

if hasattr(jax.core, "Value"):
    del jax.core.Value  # as from a JAX that has dropped it
spaces = jax.core, ad
before = [dict(vars(space)) for space in spaces]
lost, make_util, failed = tangents._lost(), tangents._util, {}
for name in [*(name for _, name, _ in lost), "safe_map"]:
    tangents._lost = lambda: [entry for entry in lost if entry[1] != name]
    if name == "safe_map":
        tangents._util = lambda: type(jax)("jax.util")
    try:
        tangents.stax()
    except (ImportError, AttributeError) as error:
        failed[name] = str(error)
    for module in [module for module in sys.modules if module.startswith("neural_tangents")]:
        del sys.modules[module]
tangents._lost, tangents._util = lambda: lost, make_util

kernel, mapper = make("fc1", (2, 2, 3)), spread(make_mesh(), 1)

@jax.jit
def differentiate(a, b):
    total = lambda a, b: (gram(kernel, a, b, map_rows=mapper, limit=8 * 12) ** 2).sum()
    return jax.value_and_grad(total, (0, 1))(a, b)

with jax.enable_x64(True):
    rows = np.random.default_rng(0).normal(size=(22, 12))
    found = jax.tree.map(lambda leaf: np.asarray(leaf).tolist(), differentiate(rows, rows[:7]))
print(json.dumps({
    "devices": jax.device_count(), "found": found, "failed": failed,
    "left": [module for module in ("tensorflow", "jax.util", "neural_tangents.experimental") if module in sys.modules],
    "same": before == [dict(vars(space)) for space in spaces],
}))
"""


def test_the_way_in_is_narrow_and_eight_devices_give_the_matrix_of_one():
    command = [sys.executable, "-W", "error", "-c", ELSEWHERE]
    done = subprocess.run(command, env={**os.environ, **EIGHT_DEVICES}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    for name in ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var", "Value", "zeros_like_p", "safe_map"):
        assert name in result["failed"].pop(name)  # each is needed, and missed by its name
    assert result["failed"] == {}
    assert result["left"] == []
    assert result["same"]
    assert result["devices"] == 8
    kernel, rows = make("fc1", (2, 2, 3)), np.random.default_rng(0).normal(size=(22, 12))
    expected = jax.value_and_grad(lambda a, b: (kernel.gram(a, b) ** 2).sum(), (0, 1))(rows, rows[:7])
    np.testing.assert_allclose(result["found"][0], expected[0], rtol=1e-12)
    for found, gradient in zip(result["found"][1], expected[1], strict=True):
        np.testing.assert_allclose(found, gradient, atol=1e-12 * abs(gradient).max())


def test_random_features_estimate_the_kernel_of_infinite_width():
    """8 networks of 256 channels, 4 times: within a tenth."""
    images = jax.random.normal(jax.random.key(0), (5, 8, 8, 2))
    exact, estimate = (make(name, (8, 8, 2)) for name in ("convnet3-nngp", "rfad"))
    rows = exact.prepare(jax.random.key(1), images)
    expected = np.asarray(jax.jit(exact.gram)(rows, rows))
    drawn = jax.jit(lambda key: estimate.gram(*[estimate.prepare(key, images)] * 2))
    found = np.stack([drawn(key) for key in jax.random.split(jax.random.key(2), 4)])
    np.testing.assert_allclose(found.mean(0), expected, rtol=0.1)
    assert np.abs(found[0] - found[1]).max() > 0


def test_a_kernel_without_pooling_takes_memory_by_the_pixel():
    kernel, images = make("conv2", (16, 16, 1)), jnp.zeros((4, 16, 16, 1))
    memory = jax.jit(kernel.gram).lower(images, images).compile().memory_analysis().temp_size_in_bytes / 8
    assert memory < COPIES * 4 * 4 * kernel.pair_size
