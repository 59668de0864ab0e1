"""Training and evaluation against a NumPy re-derivation on a linear network, whose gradient is written by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment.formation import decode, decode_images
from jaxdistill.data.feeds import real_data
from jaxdistill.evaluation import PROTOCOLS, Protocol, evaluate
from jaxdistill.evaluation.train import correct, train
from jaxdistill.losses.classification import sample_losses
from jaxdistill.training.gradients import each_image, training_gradient
from jaxdistill.training.sgd import epoch, sgd
from jaxdistill.types import Features, Network, SyntheticSet, Variables

C, D = 3, 4


def linear():
    def init(key):
        return Variables({"w": jax.random.normal(key, (D, C)), "b": jnp.zeros(C)}, {})

    def apply(variables, images, train=False):
        del train
        return images.reshape(images.shape[0], -1) @ variables.params["w"] + variables.params["b"], {}

    return Network(init, apply, lambda variables, images, train=False: Features(images.reshape(len(images), -1), ()))


NETWORK = linear()


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def synthetic():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(7, 2, 2, 1)).astype(np.float32)
    return SyntheticSet(jnp.asarray(images), jnp.eye(C)[jnp.array([0, 0, 0, 1, 1, 2, 2])])


def numpy_train(w, b, x, y, epochs, *, rate, momentum, decay, drop_epoch, drop):
    """Full-batch heavy-ball SGD with coupled decay, the buffer emptied when the step size drops."""
    vw, vb = np.zeros_like(w), np.zeros_like(b)
    for i in range(epochs + 1):
        if i == drop_epoch:
            vw, vb = np.zeros_like(w), np.zeros_like(b)
        eta = rate * (drop if i >= drop_epoch else 1.0)
        residual = (softmax(x @ w + b) - y) / len(x)
        vw = momentum * vw + x.T @ residual + decay * w
        vb = momentum * vb + residual.sum(0) + decay * b
        w, b = w - eta * vw, b - eta * vb
    return w, b


def test_training_under_a_protocol_is_the_papers_sgd(synthetic):
    protocol = Protocol(epochs=9, augment="none", learning_rate=0.3, weight_decay=0.01, drop=0.1)
    key = jax.random.key(3)
    found = train(key, synthetic, NETWORK, protocol)
    start = NETWORK.init(jax.random.split(key)[0])
    w, b = (np.asarray(start.params[k], np.float64) for k in "wb")
    x = np.asarray(synthetic.images, np.float64).reshape(7, -1)
    w, b = numpy_train(
        w, b, x, np.asarray(synthetic.labels), 9, rate=0.3, momentum=0.9, decay=0.01, drop_epoch=6, drop=0.1
    )
    np.testing.assert_allclose(found.params["w"], w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.params["b"], b, rtol=1e-4, atol=1e-5)


def test_the_papers_drop_epochs():
    assert PROTOCOLS["dsa1000"].drop_epochs == (502,)  # 0..501 at the full step size
    assert PROTOCOLS["dc300"].drop_epochs == (152,)
    assert PROTOCOLS["idc1000"].drop_epochs == (666, 833)
    assert float(PROTOCOLS["dc300"].rate(0.01, 151)) == pytest.approx(0.01)
    assert float(PROTOCOLS["dc300"].rate(0.01, 152)) == pytest.approx(0.001)


def test_an_epoch_visits_every_image_once_with_its_last_small_batch(synthetic):
    """With a zero step size nothing changes between batches, so the velocity is the sum of the batches' gradients."""
    variables = NETWORK.init(jax.random.key(0))
    zeros = jax.tree.map(jnp.zeros_like, variables.params)
    _, velocity, seen = epoch(
        jax.random.key(1), NETWORK, variables, zeros, synthetic,
        optimizer=sgd(jnp.float32(0.0), momentum=1.0), batch=3, transform=lambda key, batch: batch,
    )  # fmt: skip
    x, y = np.asarray(synthetic.images).reshape(7, -1), np.asarray(synthetic.labels)
    residual = softmax(x @ np.asarray(variables.params["w"])) - y
    order = np.asarray(jax.random.permutation(jax.random.split(jax.random.key(1))[0], 7))
    assert sorted(order.tolist()) == list(range(7))
    expected = sum(x[i].T @ residual[i] / len(i) for i in (order[:3], order[3:6], order[6:]))
    np.testing.assert_allclose(velocity["w"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(seen.error, np.linalg.norm(residual, axis=1), rtol=1e-4)
    label = y.argmax(1)
    np.testing.assert_allclose(seen.confidence, (residual + y)[np.arange(7), label], rtol=1e-3)
    np.testing.assert_array_equal(seen.correct, (residual + y).argmax(1) == label)
    logits = x @ np.asarray(variables.params["w"])
    others = np.where(np.arange(logits.shape[1]) == label[:, None], -np.inf, logits)
    np.testing.assert_allclose(seen.margin, logits[np.arange(7), label] - others.max(1), rtol=1e-3, atol=1e-5)


def test_losses_of_every_label_kind():
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(5, C)), rng.normal(size=(5, C))
    log_p = np.log(softmax(logits))
    hard = np.eye(C)[[0, 1, 2, 0, 1]]
    cases = {
        "class": (hard, -(hard * log_p).sum(-1)),
        "probability": (softmax(labels), -(softmax(labels) * log_p).sum(-1)),
        "logit": (labels, -(softmax(labels) * log_p).sum(-1)),
        "target": (labels, 0.5 * ((logits - labels) ** 2).sum(-1)),
    }
    for kind, (given, expected) in cases.items():
        found = sample_losses(jnp.asarray(logits), jnp.asarray(given), kind)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("n", [3, 8, 21])
def test_the_gradient_in_chunks_is_that_of_the_whole_batch(n):
    """Softmax regression, whose gradient is written by hand, for fewer, as many and more images than a chunk holds."""
    rng = np.random.default_rng(n)
    images = jnp.asarray(rng.normal(size=(n, 2, 2, 1)), jnp.float32)
    weights = rng.uniform(size=n).astype(np.float32)
    labels = softmax(rng.normal(size=(n, C))).astype(np.float32)
    variables = NETWORK.init(jax.random.key(0))
    x, given_labels = np.asarray(images).reshape(n, -1), jnp.asarray(labels)
    residual = softmax(x @ np.asarray(variables.params["w"])) - labels
    for given, factor in ((None, np.ones(n)), (jnp.asarray(weights), weights)):
        whole = jax.jit(lambda g: training_gradient(NETWORK, variables, images, given_labels, "probability", g))(given)
        found = whole.gradient
        np.testing.assert_allclose(softmax(np.asarray(whole.logits)), residual + labels, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found["w"], x.T @ (residual * factor[:, None]) / n, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found["b"], (residual * factor[:, None]).sum(0) / n, rtol=1e-4, atol=1e-6)


def test_each_image_is_the_function_on_all():
    images = jnp.asarray(np.random.default_rng(0).normal(size=(21, 2, 2, 1)), jnp.float32)
    f = lambda images: {"sum": images.sum((1, 2)), "copy": images}  # noqa: E731
    for count in (3, 8, 21):
        found = jax.jit(lambda images: each_image(f, images))(images[:count])
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, f(images[:count]))


def test_learned_step_size_and_hard_labels_are_used_where_the_protocol_says(synthetic):
    key = jax.random.key(0)
    soft = synthetic.replace(labels=3.0 * synthetic.labels, label_kind="logit", learning_rate=jnp.float32(0.2))
    protocol = Protocol(epochs=3, augment="none", learning_rate=0.05)

    def weights(chosen, **changes):
        return train(key, chosen, NETWORK, dataclasses.replace(protocol, **changes)).params["w"]

    np.testing.assert_allclose(weights(soft, labels="hard"), weights(synthetic), rtol=1e-5)
    assert np.abs(weights(soft) - weights(synthetic)).max() > 1e-3
    np.testing.assert_allclose(weights(soft, learned_rate=True), weights(soft, learning_rate=0.2), rtol=1e-5)
    np.testing.assert_array_equal(weights(synthetic, learned_rate=True), weights(synthetic))


def test_accuracy_counts_every_test_image_once():
    rng = np.random.default_rng(0)
    images = rng.normal(size=(1203, 2, 2, 1)).astype(np.float32)  # not a multiple of the batch
    variables = NETWORK.init(jax.random.key(0))
    labels = rng.integers(0, C, 1203)
    data = jax.tree.map(jnp.asarray, real_data(images, labels, C, np.ones(1), np.zeros(1)))
    predicted = (images.reshape(1203, -1) @ np.asarray(variables.params["w"])).argmax(-1)
    for whole in (False, True):
        found = correct(lambda images: NETWORK.apply(variables, images)[0], data, whole=whole)
        assert int(found) == (predicted == labels).sum()


def test_evaluation_keeps_every_seed_however_they_are_grouped(synthetic):
    rng = np.random.default_rng(0)
    data = real_data(rng.normal(size=(60, 2, 2, 1)).astype(np.float32), np.arange(60) % C, C, np.ones(1), np.zeros(1))
    options = {"network": NETWORK, "data": data, "protocol": Protocol(epochs=5, augment="none")}
    one = evaluate(jax.random.key(0), synthetic, seeds=5, seeds_per_call=1, **options)
    three = evaluate(jax.random.key(0), [synthetic] * 5, seeds=5, seeds_per_call=3, **options)
    assert one.accuracies.shape == (5,)
    np.testing.assert_allclose(one.accuracies, three.accuracies)
    assert len(set(one.accuracies)) > 1
    assert one.std == pytest.approx(np.std(one.accuracies))
    fewer = evaluate(jax.random.key(0), synthetic, seeds=2, **options)
    np.testing.assert_array_equal(fewer.accuracies, one.accuracies[:2])
    with pytest.raises(ValueError, match="one set, or one for each of the 5 seeds"):
        evaluate(jax.random.key(0), [synthetic] * 2, seeds=5, **options)


def test_formation_one_is_the_identity_and_two_cuts_tiles():
    images = jnp.arange(2 * 4 * 4).reshape(2, 4, 4, 1).astype(jnp.float32)
    assert decode_images(images, 1) is images
    blocks = jnp.repeat(jnp.repeat(jnp.arange(4.0).reshape(2, 2), 2, 0), 2, 1)[None, :, :, None]  # 4 constant quarters
    np.testing.assert_allclose(
        decode_images(blocks, 2), np.broadcast_to(np.arange(4.0)[:, None, None, None], (4, 4, 4, 1))
    )
    assert decode_images(jnp.ones((1, 5, 5, 2)), 2).shape == (4, 5, 5, 2)
    decoded = decode(SyntheticSet(images, jnp.eye(2), weights=jnp.array([1.0, 2.0]), formation=2))
    assert decoded.images.shape == (8, 4, 4, 1)
    np.testing.assert_array_equal(decoded.labels.argmax(-1), [0] * 4 + [1] * 4)
    np.testing.assert_array_equal(decoded.weights, [1.0] * 4 + [2.0] * 4)
