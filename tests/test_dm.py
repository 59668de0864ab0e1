"""DM's distance and gradient against PyTorch, NumPy and finite differences, all in float64."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment import make as make_augment
from jaxdistill.losses.embeddings import mean_embedding_distance
from jaxdistill.methods.dm import DM, dm
from jaxdistill.methods.matching import match_distributions
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find
from jaxdistill.types import SyntheticSet, Task, Variables

GOLDEN = np.load(Path(__file__).parent / "reference" / "dm.npz")
SHAPE = GOLDEN["real"].shape[2:]


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def task_of(norm, augment="none"):
    network = make_network("convnet", SHAPE, 3, width=4, depth=2, norm=norm)
    return Task(network=network, augment=make_augment(augment), image_shape=SHAPE, num_classes=3)


def variables_of(task):
    """The golden weights in the network's own tree."""
    variables = task.network.init(jax.random.key(0))
    body = dict(variables.params["body"])
    for block in range(2):
        body[f"Conv_{block}"] = {"kernel": GOLDEN[f"kernel{block}"], "bias": GOLDEN[f"bias{block}"]}
        body[f"Norm_{block}"] = {"scale": GOLDEN[f"scale{block}"], "bias": GOLDEN[f"shift{block}"]}
    return Variables(jax.tree.map(jnp.asarray, {**variables.params, "body": body}), variables.statistics)


def distance_and_gradient(*arguments):
    """What DM asks for."""
    distances, gradient = match_distributions(*arguments)
    return distances[:, 0], gradient


@partial(jax.jit, static_argnums=0)
def of(task, synthetic=GOLDEN["synthetic"]):
    return distance_and_gradient(
        jax.random.key(0), task, variables_of(task), jnp.asarray(synthetic), jnp.asarray(GOLDEN["real"])
    )


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_distance_and_gradient_equal_pytorchs(norm):
    distances, gradient = of(task_of(norm))
    assert distances.dtype == jnp.float64
    np.testing.assert_allclose(distances, GOLDEN[f"{norm}_distances"], rtol=1e-9)
    error = np.linalg.norm(gradient - GOLDEN[f"{norm}_gradient"]) / np.linalg.norm(GOLDEN[f"{norm}_gradient"])
    assert error < 1e-9


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_the_gradient_is_the_slope_under_augmentation(norm):
    task = task_of(norm, "color_crop_cutout_flip_scale_rotate")
    synthetic = jnp.asarray(GOLDEN["synthetic"])
    direction = np.random.default_rng(1).normal(size=synthetic.shape)
    _, gradient = of(task, synthetic)
    step = 1e-6
    ahead, behind = (jnp.sum(of(task, synthetic + sign * step * direction)[0]) for sign in (1, -1))
    np.testing.assert_allclose((ahead - behind) / (2 * step), np.sum(gradient * direction), rtol=1e-5)


def test_one_class_at_a_time_is_all_at_once():
    task = task_of("instance", "color_crop")
    coupled = dataclasses.replace(task, network=task.network._replace(couples_batch=True))
    for one, other in zip(of(task), of(coupled), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_distance_is_a_sum_of_squares_over_features():
    rng = np.random.default_rng(0)
    real, synthetic = rng.normal(size=(3, 5, 7)), rng.normal(size=(3, 2, 7))
    expected = [((real[c].mean(0) - synthetic[c].mean(0)) ** 2).sum() for c in range(3)]
    np.testing.assert_allclose(mean_embedding_distance(jnp.asarray(real), jnp.asarray(synthetic)), expected, rtol=1e-12)
    shuffled = synthetic[:, ::-1]
    np.testing.assert_allclose(mean_embedding_distance(jnp.asarray(shuffled), jnp.asarray(synthetic)), 0, atol=1e-25)


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_a_distance_of_ones_own_is_matched(norm):
    """Of spreads, and of two kinds of vectors, beside the same by hand."""
    task, real = task_of(norm), jnp.asarray(GOLDEN["real"])
    variables, synthetic = variables_of(task), jnp.asarray(GOLDEN["synthetic"])
    means = lambda features: (features.embedding, features.maps[0].mean((1, 2)))  # noqa: E731

    def spread(real, synthetic):
        return jnp.sum((real.var(0) - synthetic.var(0)) ** 2)

    def by_hand(synthetic):
        seen = [
            means(task.network.features(variables, images.reshape(-1, *SHAPE), train=True))
            for images in (real, synthetic)
        ]
        of_real, of_set = ([vectors.reshape(3, -1, vectors.shape[-1]) for vectors in each] for each in seen)
        found = jnp.asarray([[spread(a[c], b[c]) for a, b in zip(of_real, of_set, strict=True)] for c in range(3)])
        return jnp.sum(found * jnp.asarray([1.0, 0.5])), found

    found, gradient = jax.jit(
        lambda synthetic: match_distributions(
            jax.random.key(0), task, variables, synthetic, real, features=means, distance=spread, weights=(1.0, 0.5)
        )
    )(synthetic)
    slope, expected = jax.jit(jax.grad(by_hand, has_aux=True))(synthetic)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(gradient, slope, rtol=1e-7, atol=1e-12)


def test_a_step_is_heavy_ball_on_the_gradient():
    """Two steps of the method equal the update rule written out, with the same networks."""
    from jaxdistill.types import Batch

    task = task_of("instance")
    method = dm(DM(image_lr=0.3, momentum=0.5), task)
    batch = Batch(jnp.asarray(GOLDEN["real"]), jnp.zeros((3, 5), jnp.int32))
    images, velocity = jnp.asarray(GOLDEN["synthetic"]), 0.0
    state = method.init(jax.random.key(0), SyntheticSet(images.reshape(6, *SHAPE), jnp.repeat(jnp.eye(3), 2, 0)))
    for i in range(2):
        key = jax.random.key(i)
        key_network, key_classes = jax.random.split(key)
        variables = task.network.init(key_network)
        distances, gradient = distance_and_gradient(key_classes, task, variables, images, batch.images)
        velocity = 0.5 * velocity + gradient
        images = images - 0.3 * velocity
        state, info = method.step(key, state, batch)
        np.testing.assert_allclose(info.loss, distances.sum(), rtol=1e-9)
        np.testing.assert_allclose(info.grad_norm, np.linalg.norm(gradient), rtol=1e-9)
    np.testing.assert_allclose(state.images, images, rtol=1e-9)


def test_bad_settings_are_refused_with_a_sentence():
    with pytest.raises(ValueError, match="`image_lr` of DM is a positive number"):
        dm(DM(image_lr=0.0), task_of("instance"))
    with pytest.raises(ValueError, match="`real_batch` of DM is at least 1, not 0"):
        dm(DM(real_batch=0), task_of("instance"))


def test_presets_are_the_papers():
    assert find(DM, "cifar10", 10).published.mean == 48.9
    assert find(DM, "cifar10", 100).config.image_lr == 10.0
    assert find(DM, "cifar10", 50).config.image_lr == 1.0
    assert not find(DM, "fashion_mnist", 10).listed
    assert find(DM, "fashion_mnist", 10).published is None
    assert find(DM, "tiny_imagenet", 10).published.mean == 12.9
    assert not find(DM, "some_other", 10).listed
