"""Kernel ridge regression against NumPy, KIP on top of it, and its evaluation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import make_toy

from jaxdistill.augment import make as make_augment
from jaxdistill.common.sets import centred, class_set
from jaxdistill.data.feeds import ClassBalanced, sample
from jaxdistill.evaluation import PROTOCOLS, KernelRidge, evaluate
from jaxdistill.kernels import make as make_kernel
from jaxdistill.kernels.regression import label_solve, support_gradient
from jaxdistill.losses.ridge import coefficients, label_margin, penalised, precisely, squared_error
from jaxdistill.methods.kip import KIP, kip, kip_loss
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find, readings
from jaxdistill.types import SyntheticSet, Task

SHAPE, CLASSES, RIDGE = (8, 8, 1), 4, 1e-3
FC1 = make_kernel("fc1", SHAPE)


def fc1(a, b):
    """The NTK of one hidden layer in NumPy: weights of variance 2, biases of 0.01."""
    q, qa, qb = (2 * x / a.shape[1] + 0.01 for x in (a @ b.T, (a * a).sum(1), (b * b).sum(1)))
    lengths = np.sqrt(np.outer(qa, qb))
    cosine = q / lengths
    cosine[cosine > 1 - 1e-12] = 1  # an image with itself, whose angle is otherwise rounding
    angle = np.arccos(cosine)
    ntk = q * (np.pi - angle) / (2 * np.pi)
    nngp = lengths / (2 * np.pi) * (np.sin(angle) + (np.pi - angle) * cosine)
    return 2 * ntk + 2 * nngp + 0.01


def regress(support, labels, rows, ridge=RIDGE):
    k_ss = fc1(support, support)
    return fc1(rows, support) @ np.linalg.solve(k_ss + ridge * np.trace(k_ss) / len(k_ss) * np.eye(len(k_ss)), labels)


@jax.jit
def found_by(support, labels, real, targets):
    return support_gradient(FC1, support, labels, real, targets, ridge=RIDGE, loss=kip_loss)


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    support, real = rng.normal(size=(8, 64)), rng.normal(size=(20, 64))
    labels, targets = rng.normal(size=(8, CLASSES)), rng.normal(size=(20, CLASSES))
    return support, labels, real, targets


def test_predictions_and_their_gradient_are_those_of_numpy(problem):
    support, labels, real, targets = problem
    narrow = [jnp.asarray(x, jnp.float32) for x in problem]
    found = found_by(*narrow)
    assert {leaf.dtype for leaf in found} == {jnp.dtype("float32")}
    np.testing.assert_allclose(found.predictions, regress(support, labels, real), rtol=1e-4, atol=1e-5)

    def loss(support, labels):
        return 0.5 * ((regress(support, labels, real) - targets) ** 2).mean()

    np.testing.assert_allclose(found.loss, loss(support, labels), rtol=1e-5)
    rng, step = np.random.default_rng(1), 1e-5
    for gradient, place in ((found.by_support, 0), (found.by_labels, 1)):
        for _ in range(3):
            shift = rng.normal(size=gradient.shape)
            ends = [[support, labels], [support, labels]]
            ends[0][place], ends[1][place] = (ends[0][place] + sign * step * shift for sign in (1, -1))
            slope = (loss(*ends[0]) - loss(*ends[1])) / (2 * step)
            np.testing.assert_allclose((gradient * shift).sum(), slope, rtol=1e-4, atol=1e-7)


def test_the_gradient_is_finite_where_images_are_the_same(problem):
    support, labels, real, targets = (jnp.asarray(x, jnp.float32) for x in problem)
    doubled = support.at[1].set(support[0])
    found = found_by(doubled, labels, real.at[0].set(support[2]), targets)
    assert all(np.isfinite(leaf).all() for leaf in found)


def test_a_penalty_that_float32_cannot_bear():
    rows = np.random.default_rng(0).normal(size=(200, 5)).astype(np.float32)
    labels = np.random.default_rng(1).normal(size=(200, 2)).astype(np.float32)
    solve = lambda rows, labels: coefficients(rows @ rows.T, labels, 1e-9)  # noqa: E731
    assert not np.isfinite(solve(jnp.asarray(rows), jnp.asarray(labels))).all()
    found = jax.jit(precisely(solve))(rows, labels)
    wide = rows.astype(np.float64)
    k = wide @ wide.T
    expected = np.linalg.solve(k + 1e-9 * np.trace(k) / 200 * np.eye(200), labels)
    # As a whole: of a matrix of condition 1e9 the digits of a small entry are those of the processor's kernels.
    assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


def test_one_hot_features_without_penalty_give_class_means():
    features = jnp.eye(3)[jnp.array([0, 0, 1, 2])]
    targets = jnp.array([1.0, 3.0, 5.0, 7.0])[:, None]
    predictor = features.T @ coefficients(features @ features.T + 1e-6 * jnp.eye(4), targets, 0.0)
    np.testing.assert_allclose(predictor[:, 0], [2, 5, 7], rtol=1e-4)
    np.testing.assert_allclose(penalised(jnp.diag(jnp.array([1.0, 3.0])), 0.5), [[2, 0], [0, 4]])


def test_losses_in_closed_form():
    assert float(squared_error(jnp.array([[1.0, 2.0], [0.0, 0.0]]), jnp.zeros((2, 2)))) == 1.25
    labels = jnp.array([[0.9, 0.1, 0.0, 0.0], [0.3, 0.2, 0.0, 0.0]])
    np.testing.assert_allclose(label_margin(labels), -(0.25 + 0.1) / 2, rtol=1e-6)


def test_labels_become_targets_whatever_they_were():
    hard = class_set(np.zeros((2, 1, 2, 2, 1), np.float32))
    np.testing.assert_allclose(centred(hard), [[0.5, -0.5], [-0.5, 0.5]])
    logits = dataclasses.replace(hard, labels=jnp.array([[0.0, jnp.log(3.0)]] * 2), label_kind="logit")
    np.testing.assert_allclose(centred(logits)[0], [-0.25, 0.25], atol=1e-6)
    targets = dataclasses.replace(hard, label_kind="target")
    np.testing.assert_array_equal(centred(targets), hard.labels)
    with pytest.raises(ValueError, match="formation 1"):
        centred(dataclasses.replace(hard, formation=2))


def test_solved_labels_are_those_of_numpy_and_the_best():
    data, _ = make_toy()
    data = jax.tree.map(jnp.asarray, data)
    images = data.read(jnp.arange(0, 48, 6)).images
    found = np.asarray(label_solve(jax.random.key(0), FC1, images, data, ridge=RIDGE), np.float64)
    support, real = (np.asarray(x, np.float64).reshape(len(x), -1) for x in (images, data.images))
    targets = np.eye(CLASSES)[np.asarray(data.labels)] - 1 / CLASSES
    k_ss, k_ts = fc1(support, support), fc1(real, support)
    inner = k_ts.T @ k_ts
    wide = lambda k: k + RIDGE * np.trace(k) / len(k) * np.eye(len(k))  # noqa: E731
    np.testing.assert_allclose(found, wide(k_ss) @ np.linalg.solve(wide(inner), k_ts.T @ targets), rtol=1e-4, atol=1e-5)

    def error(labels):
        weights = np.linalg.solve(wide(k_ss), labels)
        return ((k_ts @ weights - targets) ** 2).sum() + RIDGE * np.trace(inner) / len(inner) * (weights**2).sum()

    for shift in np.random.default_rng(0).normal(size=(5, *found.shape)):
        assert error(found) < min(error(found + 1e-2 * shift), error(found - 1e-2 * shift))
    with pytest.raises(ValueError, match="at least as many real images"):
        label_solve(jax.random.key(0), FC1, jnp.zeros((49, *SHAPE)), data)


@pytest.fixture(scope="module")
def task():
    network = make_network("convnet", SHAPE, CLASSES, width=8, depth=2)
    return Task(network=network, augment=make_augment("none"), image_shape=SHAPE, num_classes=CLASSES, kernel=FC1)


@pytest.mark.parametrize("learn_labels", [False, True])
def test_kip_learns_images_and_labels_only_when_asked(task, learn_labels):
    data, test = (jax.tree.map(jnp.asarray, split) for split in make_toy())
    start = class_set(jax.random.normal(jax.random.key(1), (CLASSES, 1, *SHAPE)))
    method = kip(KIP(image_lr=0.02, real_batch=8, learn_labels=learn_labels), task)

    @jax.jit
    def distil(state):
        def step(state, i):
            key = jax.random.fold_in(jax.random.key(0), i)
            return method.step(key, state, sample(method.feed, key, i, data))

        return jax.lax.scan(step, state, jnp.arange(40))

    state, infos = distil(method.init(jax.random.key(0), start))
    assert infos.loss[-5:].mean() < 0.7 * infos.loss[:5].mean()
    found = method.synthetic(state)
    assert found.label_kind == "target"
    assert np.array_equal(found.labels, centred(start)) is not learn_labels
    judged = [
        evaluate(jax.random.key(0), chosen, task.network, test, PROTOCOLS["krr"], seeds=1).mean
        for chosen in (start, found)
    ]
    assert judged[1] > judged[0] + 0.2


def test_the_evaluation_predicts_as_numpy_does_and_draws_nothing(problem, task):
    support, labels, _, _ = problem
    test = jax.tree.map(jnp.asarray, make_toy()[1])
    images = np.asarray(support, np.float32).reshape(-1, *SHAPE)
    synthetic = SyntheticSet(jnp.asarray(images), jnp.asarray(labels, jnp.float32), label_kind="target")
    recipe = KernelRidge(ridge=RIDGE)
    assert not recipe.stochastic
    assert KernelRidge("rfad").stochastic
    predicted = regress(support, labels, np.asarray(test.images, np.float64).reshape(100, -1)).argmax(1)
    result = evaluate(
        jax.random.key(3),
        synthetic,
        task.network,
        jax.tree.map(jnp.asarray, test),
        recipe,
        seeds=2,
    )
    np.testing.assert_allclose(result.accuracies, (predicted == test.labels).mean())


def test_kip_needs_a_kernel_and_settings_in_range(task):
    with pytest.raises(ValueError, match="kernel"):
        kip(KIP(), dataclasses.replace(task, kernel=None))
    with pytest.raises(ValueError, match="ridge"):
        kip(KIP(ridge=0.0), task)


@pytest.mark.parametrize(("classes", "each"), [(2, 2500), (10, 500), (100, 50), (200, 25), (7000, 1)])
@pytest.mark.parametrize("dataset", ["cifar10", "cifar100", "tiny_imagenet", "a_folder"])
def test_a_step_of_the_presets_has_5000_images_whatever_the_data_are_called(task, dataset, classes, each):
    for name in readings(KIP):
        config = find(KIP, dataset, 1, name).config
        assert kip(config, dataclasses.replace(task, num_classes=classes)).feed == ClassBalanced(each)
    assert kip(KIP(real_batch=7), dataclasses.replace(task, num_classes=classes)).feed == ClassBalanced(7)
    with pytest.raises(ValueError, match="`real_batch` of KIP is at least 1"):
        kip(KIP(real_batch=0), task)


def test_presets_are_the_notebooks():
    cell = find(KIP, "cifar10", 10)
    assert (cell.config, cell.steps, cell.listed) == (KIP(0.04), 300, True)
    assert cell.published.mean == 46.7
    assert find(KIP, "mnist", 10).config.image_lr == 0.01
    conv = find(KIP, "cifar100", 1, "conv")
    assert (conv.zca, conv.steps) == (True, 50_000)
    assert conv.network["kernel"] == "convnet"
