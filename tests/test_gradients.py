"""Distances between gradients against NumPy, closed forms and finite differences, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.losses.gradients import absolute, absolute_mean, cosine, kernels, output_cosine, squared, weights
from jaxdistill.methods.dc import DISTANCES

SHAPES = {"kernel": (3, 3, 2, 4), "affine": (5, 5, 4), "dense": (6, 3), "bias": (4,)}
OUTPUTS = 4 + 4 + 3
EVERY = [output_cosine, cosine, squared, absolute, absolute_mean]


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def draw(seed):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.normal(size=shape)) for name, shape in SHAPES.items()}


with jax.enable_x64(True):
    REAL, OWN = draw(0), draw(1)


def rows(leaf):
    """One row for each output."""
    return leaf.reshape(-1, leaf.shape[-1]).T


def test_dc_compares_outputs_of_all_but_vectors():
    expected = 0.0
    for name in ("kernel", "affine", "dense"):
        for a, b in zip(rows(REAL[name]), rows(OWN[name]), strict=True):
            expected += 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-6)
    np.testing.assert_allclose(DISTANCES["output"](REAL, OWN), expected, rtol=1e-12)
    changed = {**OWN, "bias": OWN["bias"] + 1}
    assert DISTANCES["output"](REAL, changed) == DISTANCES["output"](REAL, OWN)


def test_the_other_two_of_dc_compare_everything():
    a, b = (jnp.concatenate([leaf.ravel() for leaf in side.values()]) for side in (REAL, OWN))
    np.testing.assert_allclose(DISTANCES["mse"](REAL, OWN), ((a - b) ** 2).sum(), rtol=1e-12)
    expected = 1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-6)
    np.testing.assert_allclose(DISTANCES["cos"](REAL, OWN), expected, rtol=1e-12)


def test_idcs_distances():
    difference = np.abs(REAL["kernel"] - OWN["kernel"])
    real, own = kernels(REAL), kernels(OWN)
    np.testing.assert_allclose(squared(real, own), (difference**2).sum(), rtol=1e-12)
    np.testing.assert_allclose(absolute(real, own), difference.sum(), rtol=1e-12)
    np.testing.assert_allclose(absolute_mean(real, own), rows(difference).mean(1).sum(), rtol=1e-12)
    vectors = [REAL["bias"]], [OWN["bias"]]
    np.testing.assert_allclose(absolute_mean(*vectors), np.abs(REAL["bias"] - OWN["bias"]).sum(), rtol=1e-12)


def test_closed_forms():
    opposite = jax.tree.map(jnp.negative, REAL)
    matrices, others = weights(REAL), weights(opposite)
    assert len(matrices) == 3
    np.testing.assert_allclose(output_cosine(matrices, matrices), 0, atol=1e-5)
    np.testing.assert_allclose(output_cosine(matrices, others), 2 * OUTPUTS, rtol=1e-5)
    np.testing.assert_allclose(output_cosine(weights(jax.tree.map(lambda x: 3 * x, REAL)), matrices), 0, atol=1e-5)
    np.testing.assert_allclose(cosine(REAL, opposite), 2, rtol=1e-5)
    np.testing.assert_allclose(squared(REAL, opposite), sum(4 * (leaf**2).sum() for leaf in REAL.values()), rtol=1e-12)
    for distance in (cosine, squared, absolute, absolute_mean):
        np.testing.assert_allclose(distance(REAL, REAL), 0, atol=1e-5)


@pytest.mark.parametrize("distance", EVERY)
def test_the_gradient_is_the_slope(distance):
    direction = draw(2)
    gradient = jax.grad(distance, argnums=1)(REAL, OWN)
    ahead, behind = (
        distance(REAL, jax.tree.map(lambda x, d, sign=sign: x + sign * 1e-6 * d, OWN, direction)) for sign in (1, -1)
    )
    slope = sum(jax.tree.leaves(jax.tree.map(lambda g, d: jnp.sum(g * d), gradient, direction)))
    np.testing.assert_allclose((ahead - behind) / 2e-6, slope, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dead_outputs_are_at_distance_one_and_their_gradient_is_finite(dtype):
    """Only the inner product has a slope at a gradient of zero: PyTorch's norm has none there."""
    real, own = (jnp.asarray(side["dense"], dtype) for side in (REAL, OWN))
    for dead_real, dead_own in ((False, True), (True, False), (True, True)):
        a = real.at[:, 0].set(0) if dead_real else real
        b = own.at[:, 0].set(0) if dead_own else own
        value, gradient = jax.value_and_grad(output_cosine, argnums=1)([a], [b])
        np.testing.assert_allclose(value, 1 + output_cosine([real[:, 1:]], [own[:, 1:]]), rtol=1e-6)
        np.testing.assert_allclose(gradient[0][:, 0], 0 if dead_real else -a[:, 0] / 1e-6, rtol=1e-6)
        assert np.isfinite(gradient[0]).all()
    nothing = jax.tree.map(jnp.zeros_like, [real, own])
    value, gradient = jax.value_and_grad(cosine, argnums=1)(nothing, nothing)
    assert value == 1
    assert not any(leaf.any() for leaf in gradient)
