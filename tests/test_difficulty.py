"""Scores of difficulty against tables and gradients written out, and windows against a sort by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxdistill.data.feeds import real_data
from jaxdistill.networks import make as make_network
from jaxdistill.selection import difficulty
from jaxdistill.selection.difficulty import GRADIENTS, aum, cscore, el2n, forgetting, grand, grand_last
from jaxdistill.selection.window import window
from jaxdistill.training.gradients import training_gradient
from jaxdistill.types import Features, Network, Variables

CORRECT = {  # one string per example: is it right (x) in each of 6 epochs, and its count
    "xxxxxx": 0,
    "x.x.x.": 3,
    ".xx.xx": 1,
    ".....x": 0,
    "x.....": 1,
    ".x.x..": 2,
    "......": 6,
}
TABLE = np.array([[mark == "x" for mark in row] for row in CORRECT]).T
LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(3), [10, 14, 12]))
READINGS = ("class_fraction", "ipc_fraction")


def test_forgetting_counts_the_epochs_that_turn_right_to_wrong():
    np.testing.assert_array_equal(forgetting(TABLE), list(CORRECT.values()))
    np.testing.assert_array_equal(jax.jit(forgetting)(jnp.asarray(TABLE)), list(CORRECT.values()))


@pytest.mark.parametrize("epochs", [1, 2, 3, 6])
def test_what_no_network_learned_stays_the_hardest_in_a_mean(epochs):
    """Against every history there is of that length, in two networks at once."""
    histories = (np.arange(2**epochs)[:, None] >> np.arange(epochs) & 1).astype(bool).T
    scores = forgetting(histories)
    first, second = np.meshgrid(scores, scores, indexing="ij")
    means = (first + second) / 2
    assert np.isfinite(means).all()
    assert means[0, 0] > np.delete(means.ravel(), 0).max()


def test_el2n_is_the_epochs_error():
    error = np.random.default_rng(0).random((3, 5)).astype(np.float32)
    for epoch in range(3):
        np.testing.assert_array_equal(el2n(error, epoch), error[epoch])
    for epoch in (-1, 3):
        with pytest.raises(ValueError, match=f"no epoch {epoch} among the 3 recorded"):
            el2n(jnp.asarray(error), epoch)


def test_cscore_is_high_for_what_is_learned_late():
    confidence = np.array([[0.2, 0.1, 0.5], [0.9, 0.1, 0.5], [1.0, 0.7, 0.5]], np.float32)
    np.testing.assert_allclose(cscore(confidence), [0.3, 0.7, 0.5], rtol=1e-6)


def examples(rng, shape=(2, 2, 1), n=7):
    """A split whose images are stored as bytes, and its preprocessed images written out."""
    labels = np.sort(np.arange(n) % 3)
    images = rng.integers(0, 256, (n, *shape)).astype(np.uint8)
    scale, shift = np.full(shape[-1], 0.01), np.full(shape[-1], -1.0)
    return real_data(images, labels, 3, scale, shift), images * 0.01 - 1, labels


def test_grand_is_the_length_of_each_examples_own_gradient():
    """Softmax regression on inputs that running averages normalise; in training mode it would give nan."""
    rng = np.random.default_rng(1)
    data, images, labels = examples(rng)
    w, b, mean = rng.normal(size=(4, 3)), rng.normal(size=3), rng.normal(size=4)

    def apply(variables, images, train=False):
        inputs = images.reshape(len(images), -1) - (jnp.nan if train else variables.statistics)
        return inputs @ variables.params["w"] + variables.params["b"], variables.statistics

    network = Network(lambda key: None, apply, lambda *_: Features(jnp.zeros((1, 1)), ()), couples_batch=True)
    expected = []
    for image, label in zip(images.reshape(7, -1) - mean, labels, strict=True):
        logits = image @ w + b
        residual = np.exp(logits) / np.exp(logits).sum() - np.eye(3)[label]
        expected.append(np.sqrt((np.outer(image, residual) ** 2).sum() + (residual**2).sum()))
    variables = Variables({"w": jnp.asarray(w, jnp.float32), "b": jnp.asarray(b, jnp.float32)}, jnp.asarray(mean))
    np.testing.assert_allclose(grand(network, variables, data), expected, rtol=1e-5)


def test_grand_of_a_network_with_batch_normalisation_is_the_jacobians_row_lengths():
    rng = np.random.default_rng(2)
    data, images, labels = examples(rng, (8, 8, 1), 6)
    network = make_network("convnet", (8, 8, 1), 3, width=4, depth=1, norm="batch")
    params, statistics = network.init(jax.random.key(0))
    statistics = jax.tree.map(lambda leaf: leaf + rng.random(leaf.shape).astype(np.float32), statistics)

    @jax.jacrev
    def jacobian(params):
        logits, _ = network.apply(Variables(params, statistics), jnp.asarray(images, jnp.float32))
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels)

    squares = sum((np.asarray(leaf) ** 2).reshape(6, -1).sum(1) for leaf in jax.tree.leaves(jax.jit(jacobian)(params)))
    np.testing.assert_allclose(grand(network, Variables(params, statistics), data), np.sqrt(squares), rtol=1e-4)


def test_aum_is_the_negative_mean_margin_and_asks_for_one():
    margin = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    np.testing.assert_allclose(aum(margin), [-sum(row[i] for row in margin) / 4 for i in range(5)], rtol=1e-5)
    with pytest.raises(ValueError, match=r"before margins were recorded.*train experts anew"):
        aum(None)


def conv(norm="instance"):
    return make_network("convnet", (8, 8, 1), 3, width=4, depth=2, norm=norm)


@pytest.mark.parametrize("memory", [GRADIENTS, 1, 40_000])
def test_grand_is_what_one_example_at_a_time_gives_whatever_the_memory(memory, monkeypatch):
    """Of more examples than are worked on at a time, of which the last are not as many."""
    monkeypatch.setattr(difficulty, "GRADIENTS", memory)
    jax.clear_caches()
    data, images, labels = examples(np.random.default_rng(3), (8, 8, 1), 301)
    network = conv()
    variables = network.init(jax.random.key(0))
    alone = jax.jit(
        lambda image, label: optax.global_norm(
            training_gradient(network, variables, image[None], jax.nn.one_hot(label[None], 3), "class", train=False)[0]
        )
    )
    expected = [alone(jnp.asarray(image, jnp.float32), label) for image, label in zip(images, labels, strict=True)]
    np.testing.assert_allclose(grand(network, variables, data), expected, rtol=2e-4)


@pytest.mark.parametrize("name", ["convnet", "mlp", "lenet", "doublenet", "resnet10ap"])
def test_last_layers_grand_is_the_length_of_its_part_of_the_gradient(name):
    data, images, labels = examples(np.random.default_rng(4), (32, 32, 3), 3)
    network = make_network(name, (32, 32, 3), 3)
    variables = jax.jit(network.init)(jax.random.key(0))
    found = grand_last(network, variables, data)
    assert found.shape == (3,)
    for image, label, length in zip(images, labels, found, strict=True):
        image, label = jnp.asarray(image, jnp.float32)[None], jax.nn.one_hot(label[None], 3)
        whole = training_gradient(network, variables, image, label, "class", train=False).gradient
        np.testing.assert_allclose(length, optax.global_norm(whole["classifier"]), rtol=1e-4)


def window_by_hand(scores, ipc, beta, start):
    rows = []
    for c in range(3):
        ranked = sorted((i for i in range(len(LABELS)) if LABELS[i] == c), key=lambda i: (-scores[i], i))
        # in integers: beta is a multiple of 1 / 100
        begin = round(beta * 100) * (len(ranked) if start == "class_fraction" else ipc) // 100
        rows.append(ranked[begin : begin + ipc])
    return rows


@pytest.mark.parametrize("start", READINGS)
@pytest.mark.parametrize("values", [4, 1000])  # with many ties, and with few
def test_windows_equal_a_sort_by_hand(start, values):
    scores = np.random.default_rng(values).integers(0, values, 36).astype(np.float32)
    for ipc, beta in [(1, 0.0), (1, 0.9), (3, 0.29), (4, 0.3), (5, 0.5), (5, 0.07), (10, 0.0)]:
        found = window(scores, LABELS, ipc, 3, beta, start)
        np.testing.assert_array_equal(found, window_by_hand(scores, ipc, beta, start))


def test_the_readings_differ_as_selmatch_and_its_code_do():
    """CIFAR-10 at 500 images per class: beta 0.3 starts at 1500 in the paper and at 150 in the code."""
    labels = np.repeat(np.arange(2), 5000)
    scores = -np.tile(np.arange(5000.0), 2)
    assert window(scores, labels, 500, 2, 0.3)[1].tolist() == list(range(6500, 7000))
    assert window(scores, labels, 500, 2, 0.3, "ipc_fraction")[1].tolist() == list(range(5150, 5650))


def test_both_ends_are_the_hardest_and_the_easiest_of_each_class():
    """Ids in the order of the split: the hardest of class c are those given a large score, by construction."""
    hardest = np.array([np.flatnonzero(c == LABELS)[[8, 1, 5]] for c in range(3)])
    easiest = np.array([np.flatnonzero(c == LABELS)[[3, 0, 9]] for c in range(3)])
    scores = np.random.default_rng(0).uniform(1, 2, 36)
    scores[hardest], scores[easiest] = [9, 8, 7], [0.3, 0.2, 0.1]
    np.testing.assert_array_equal(window(jnp.asarray(scores), jnp.asarray(LABELS), 3, 3), hardest)
    for c in range(3):
        of_class = np.flatnonzero(c == LABELS)
        found = window(scores[of_class], np.zeros_like(of_class), 3, 1, 1 - 3 / len(of_class))
        np.testing.assert_array_equal(of_class[found[0]], easiest[c])


def test_a_product_just_below_a_whole_number_counts_as_it():
    assert 0.29 * 100 < 29
    assert window(-np.arange(100.0), np.zeros(100, int), 1, 1, 0.29)[0, 0] == 29


@pytest.mark.parametrize("start", READINGS)
def test_a_window_beyond_the_end_names_the_largest_beta_that_fits(start):
    scores = -np.arange(36.0)
    with pytest.raises(
        ValueError, match=r"^class 0 has 10 images, too few for 7 after a share of 0\.9; the l"
    ) as error:
        window(scores, LABELS, 7, 3, 0.9, start)
    largest = float(str(error.value).split()[-1])
    easiest = np.flatnonzero(LABELS == 0)[-7:]
    np.testing.assert_array_equal(window(scores, LABELS, 7, 3, largest, start)[0], easiest)
    with pytest.raises(ValueError, match="the largest `beta` that fits"):
        window(scores, LABELS, 7, 3, largest + 1 / 7, start)


def test_unusable_arguments_are_refused():
    scores = np.zeros(36)
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        window(scores, LABELS, 0, 3)
    with pytest.raises(ValueError, match="class 0 has 10 images, too few to select 11"):
        window(scores, LABELS, 11, 3)
    with pytest.raises(ValueError, match="35 scores for 36 images"):
        window(scores[1:], LABELS, 2, 3)
    with pytest.raises(ValueError, match="score of image 4 is not a number"):
        window(np.where(np.arange(36) == 4, np.nan, scores), LABELS, 2, 3)
    for beta in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"must be between 0 and 1, not {beta}"):
            window(scores, LABELS, 2, 3, beta)
