"""What a network says of a whole split, and how uncertain it is by that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data.feeds import real_data
from jaxdistill.selection.outputs import outputs
from jaxdistill.selection.uncertainty import entropy, least_confidence, margin
from jaxdistill.training.inference import each_batch, predict
from jaxdistill.types import Features, Network, Variables


def test_outputs_are_the_networks_for_every_image_in_order():
    rng = np.random.default_rng(6)
    labels = rng.integers(0, 3, 17)
    stored = rng.integers(0, 256, (17, 4, 4, 2)).astype(np.uint8)
    split = real_data(stored, labels, 3, np.array([0.01, 0.02]), np.array([-1.0, 0.5]))
    weights, averages = rng.normal(size=(32, 3)), rng.normal(size=32)

    def features(variables, images, train=False):
        """With normalisation by running averages; in training mode it would give nan."""
        rows = images.reshape(len(images), -1) - (jnp.nan if train else variables.statistics)
        return Features(jax.nn.relu(rows), ())

    def apply(variables, images, train=False):
        return features(variables, images, train).embedding @ variables.params, variables.statistics

    network = Network(lambda key: None, apply, features, couples_batch=True)
    variables = Variables(jnp.asarray(weights, jnp.float32), jnp.asarray(averages, jnp.float32))
    images = stored[np.argsort(labels, kind="stable")] * np.array([0.01, 0.02]) + np.array([-1, 0.5])
    embedding = np.maximum(images.reshape(17, -1) - averages, 0)
    found = outputs(network, variables, split)
    np.testing.assert_allclose(found.embedding, embedding, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.logits, embedding @ weights, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(predict(network, variables, split), found.logits, rtol=1e-5)
    sums = lambda images, labels: {"sum": images.sum((1, 2, 3)), "label": labels}  # noqa: E731
    for size in (5, 17, 500):
        seen = jax.jit(lambda data, size=size: each_batch(sums, data, size))(split)
        np.testing.assert_allclose(seen["sum"], images.sum((1, 2, 3)), rtol=1e-5)
        np.testing.assert_array_equal(seen["label"], np.sort(labels))


@pytest.mark.parametrize("score", [entropy, margin, least_confidence])
def test_uncertainty_equals_that_of_the_probabilities_and_grows_with_doubt(score):
    said = np.random.default_rng(0).normal(size=(40, 3)) * 3
    likely = np.exp(said) / np.exp(said).sum(1, keepdims=True)
    third, second, first = np.sort(likely, axis=1).T
    expected = {
        entropy: -(likely * np.log(likely)).sum(1),
        margin: 1 - (first - second),
        least_confidence: second + third,
    }
    np.testing.assert_allclose(jax.jit(score)(jnp.asarray(said)), expected[score], rtol=1e-5)
    # far beyond where the probability is 1 for a float, and where there is nothing left to tell
    surer = np.array([0, 1, 5, 20, 40, 80, 1e4], np.float32)[:, None] * np.eye(1, 3, dtype=np.float32)
    found = jax.jit(score)(surer)
    assert found.dtype == jnp.float32
    assert (np.diff(found) < 0).all()
    assert found[-1] == 0
    np.testing.assert_allclose(found[0], {entropy: np.log(3), margin: 1, least_confidence: 2 / 3}[score], rtol=1e-6)
