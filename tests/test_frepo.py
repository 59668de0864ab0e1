"""FRePo: its gradient, its pool, its network and its evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from toys import make_toy, wide_task

from jaxdistill.augment import for_dataset
from jaxdistill.augment import make as make_augment
from jaxdistill.augment.zoom import Zoom
from jaxdistill.common.sets import centred, class_set
from jaxdistill.data.feeds import sample
from jaxdistill.evaluation import PROTOCOLS, FeatureRegression, Regression, evaluate
from jaxdistill.methods.frepo import FRePo, frepo, set_gradient
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find
from jaxdistill.types import Task

SHAPE, CLASSES = (8, 8, 1), 4
KEY = jax.random.key(0)


@pytest.mark.parametrize("flip", [False, True])
def test_the_gradient_is_the_slope_of_the_loss_written_out(flip):
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        task = wide_task((8, 8, 1), norm="none")
        variables = task.network.init(jax.random.key(0))
        embed = jax.jit(lambda images: task.network.features(variables, images).embedding)
        images, labels = rng.normal(size=(6, 8, 8, 1)), rng.normal(size=(6, 3))
        # Distances to the second label that are below a third count, others do not.
        labels[0] = [0.1, 0.0, 2.0]
        real, targets = np.asarray(embed(rng.normal(size=(10, 8, 8, 1)))), rng.normal(size=(10, 3))

        def loss(images, labels):
            ordered = np.sort(labels, 1)
            margin = -np.minimum(ordered[:, -1] - ordered[:, -2], 1 / 3).mean()
            if flip:
                images, labels = np.concatenate([images, images[:, :, ::-1]]), np.concatenate([labels, labels])
            rows = np.asarray(embed(images))
            k = rows @ rows.T
            weights = np.linalg.solve(k + 0.01 * np.trace(k) / len(k) * np.eye(len(k)), labels)
            return 0.5 * ((real @ rows.T @ weights - targets) ** 2).sum(1).mean() + margin

        given = [jnp.asarray(x) for x in (images, labels, real, targets)]
        found = set_gradient(embed, *given, ridge=0.01, flip=flip)
        # What is cast to float32 on the way out bounds the agreement.
        np.testing.assert_allclose(found.error + found.margin, loss(images, labels), rtol=1e-6)
        for gradient, place in ((found.by_images, 0), (found.by_labels, 1)):
            for _ in range(3):
                shift = rng.normal(size=gradient.shape)
                there, back = [[images, labels], [images, labels]]
                there[place], back[place] = there[place] + 1e-6 * shift, back[place] - 1e-6 * shift
                slope = (loss(*there) - loss(*back)) / 2e-6
                np.testing.assert_allclose(np.sum(gradient * shift), slope, rtol=1e-4)


def make_task(steps=None):
    network = make_network("doublenet-bn", SHAPE, CLASSES, width=4, depth=2, norm="none", initial="lecun")
    return Task(network=network, augment=make_augment("none"), image_shape=SHAPE, num_classes=CLASSES, steps=steps)


@pytest.fixture(scope="module")
def stepped():
    """One network, drawn afresh after its third step; five steps from the first image of each class."""
    data = jax.tree.map(jnp.asarray, make_toy()[0])
    start = class_set(data.read(data.offsets[:, None]).images)
    task = make_task(steps=4)
    method = frepo(FRePo(image_lr=0.01, real_batch=16, pool=1, online_steps=2, online_lr=0.01), task)

    @jax.jit
    def step(state, i):
        return method.step(jax.random.key(i), state, sample(method.feed, jax.random.key(i), i, data))

    states, infos = [method.init(jax.random.key(5), start)], []
    for i in range(5):
        state, info = step(states[-1], i)
        states.append(state)
        infos.append(info)
    return task, method, start, states, infos


def test_a_network_takes_one_step_more_than_the_limit_and_is_drawn_afresh(stepped):
    _, _, _, states, _ = stepped
    assert [int(state.pool.ages[0]) for state in states] == [0, 1, 2, 3, 0, 1]
    fresh = states[4].pool
    assert all(not leaf.any() for leaf in jax.tree.leaves(fresh.moments))
    kernel = lambda state: state.pool.variables.params["classifier"]["kernel"]  # noqa: E731
    assert not np.allclose(kernel(states[4]), kernel(states[0]))


def test_the_network_learns_from_the_set_that_it_has_just_improved(stepped):
    task, _, _, states, _ = stepped
    before, after = states[0], states[1]
    member = jax.tree.map(lambda leaf: leaf[0], before.pool)

    def loss(params):
        logits, _ = task.network.apply(member.variables._replace(params=params), after.images, train=True)
        return 0.5 * jnp.mean(jnp.sum((logits - after.labels) ** 2, -1))

    gradient = jax.grad(loss)(member.variables.params)
    updates, _ = optax.adam(0.01).update(gradient, member.moments)
    expected = optax.apply_updates(member.variables.params, updates)
    for one, other in zip(jax.tree.leaves(after.pool.variables.params), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one[0], other, atol=2e-5)


def test_running_averages_are_nine_tenths_the_last_batch(stepped):
    task, _, _, states, _ = stepped
    variables = jax.tree.map(lambda leaf: leaf[0], states[0].pool.variables)
    moved = states[1].pool.variables.statistics["body"]["Norm_0"]
    first = task.network.features(variables, states[1].images).maps[0]
    pooled = first.reshape(-1, 4, 2, 4, 2, 4).mean((2, 4))
    np.testing.assert_allclose(moved["mean"][0], 0.9 * pooled.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)
    assert task.network.momentum == 0.9


def test_the_trust_ratio_is_of_all_images_together_and_the_step_size_decays(stepped):
    """LAMB's step has the length of what it changes times the step size: 0.01 at the beginning, a tenth at the end."""
    _, _, _, states, _ = stepped
    for i, share in ((0, 1.0), (4, 0.1)):
        for name in ("images", "labels"):
            old, new = (getattr(state, name) for state in states[i : i + 2])
            np.testing.assert_allclose(jnp.linalg.norm(new - old), 0.01 * share * jnp.linalg.norm(old), rtol=1e-3)


def test_labels_start_scaled_and_stay_unless_learned(stepped):
    task, _, start, states, _ = stepped
    scaled = centred(start) / np.sqrt(CLASSES / 10)
    np.testing.assert_allclose(states[0].labels, scaled, rtol=1e-6)
    fixed = frepo(FRePo(real_batch=16, pool=2, online_steps=10, learn_labels=False), task)
    state = fixed.init(jax.random.key(0), start)
    np.testing.assert_array_equal(state.pool.ages, [0, 5])
    data = jax.tree.map(jnp.asarray, make_toy()[0])
    state, _ = jax.jit(fixed.step)(jax.random.key(0), state, sample(fixed.feed, jax.random.key(0), 0, data))
    np.testing.assert_array_equal(state.labels, scaled)


def test_the_network_is_the_papers():
    network = make_network("doublenet", (32, 32, 3), 10, norm="none", initial="lecun")
    variables = jax.eval_shape(network.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(variables.params["body"])) == 1_478_912
    assert variables.params["classifier"]["kernel"].shape == (8192, 10)
    small = make_network("doublenet", (8, 8, 3), 10, norm="none", initial="lecun").init(jax.random.key(0)).params
    second = small["body"]["Conv_1"]
    np.testing.assert_allclose(second["kernel"].std(), np.sqrt(1 / (9 * 128)), rtol=0.02)
    assert not second["bias"].any()


def test_the_evaluation_has_the_released_lengths_and_learns():
    recipe = Regression()
    assert [recipe.steps(n) for n in (10, 100, 500, 1000, 5000)] == [1000, 2000, 5000, 10000, 40000]
    assert 1000 < recipe.steps(30) < 2000
    assert Regression(epochs=3).steps(1000) == 6
    data, test = (jax.tree.map(jnp.asarray, split) for split in make_toy())
    start = class_set(data.read(data.offsets[:, None] + jnp.arange(4)).images)
    network = make_network("doublenet", SHAPE, CLASSES, width=4, depth=2, norm="none", initial="lecun")
    recipe = Regression(epochs=60, augment="zoom:crop_scale", learning_rate=0.01)
    assert evaluate(jax.random.key(0), start, network, test, recipe, seeds=1).mean > 0.5


def test_zooms_show_a_window_and_colours_keep_to_their_range():
    ramp = jnp.broadcast_to(jnp.arange(16.0)[:, None, None], (64, 16, 16, 1)) + 1
    seen = np.asarray(Zoom("scale")(jax.random.key(0), ramp, siamese=False))
    rows = seen[:, 4:12, 8, 0]
    steps = np.diff(rows, axis=1)[(rows > 1.5).all(1) & (rows < 15.5).all(1)]
    assert len(steps) > 30
    zooms = 1 / steps.mean(1)
    assert (np.ptp(steps, axis=1) < 1e-4).all()
    assert 0.8 <= zooms.min() < 0.87
    assert 1.15 < zooms.max() <= 1.25
    flat = jnp.ones((200, 4, 4, 3))
    offsets = np.asarray(Zoom("color")(jax.random.key(1), flat, siamese=False))[:, 0, 0, 0] - 1
    assert -0.25 <= offsets.min() < -0.2 < 0.2 < offsets.max() <= 0.25
    noise = jax.random.normal(jax.random.key(2), (200, 8, 8, 1))
    factors = np.asarray(Zoom("color")(jax.random.key(3), noise, siamese=False)).std((1, 2, 3)) / noise.std((1, 2, 3))
    assert np.exp(-0.25) <= factors.min() + 1e-5 < 0.85 < 1.2 < factors.max() <= np.exp(0.25) + 1e-5


def test_boxes_of_zooms_lie_inside_and_shifts_are_of_parts_of_pixels():
    ones = jnp.ones((2_000, 8, 12, 1))
    holes = np.asarray(Zoom("cutout")(jax.random.key(0), ones, siamese=False))[..., 0] == 0
    assert (holes.sum((1, 2)) == 2 * 3).all()
    assert holes.any(0).all(), "the border too"
    ramp = jnp.broadcast_to(jnp.arange(16.0)[:, None, None], (200, 16, 16, 1)) + 1
    seen = np.asarray(Zoom("crop")(jax.random.key(1), ramp, siamese=False))
    moved = seen[:, 8, 8, 0] - 9
    assert -2 <= moved.min() < -1.9 < 1.9 < moved.max() <= 2
    assert len(np.unique(moved)) == 200
    np.testing.assert_allclose(seen, np.clip(np.arange(16)[None, :, None, None] + moved[:, None, None, None], 0, 15)
                               + np.ones_like(ramp), rtol=1e-5)  # fmt: skip


@pytest.mark.parametrize("operation", ["crop", "scale", "rotate"])
def test_zooms_show_the_border_beyond_the_image(operation):
    ones = jnp.ones((50, 8, 8, 2))
    np.testing.assert_allclose(Zoom(operation)(jax.random.key(0), ones, siamese=False), ones, rtol=1e-5)
    image = jax.random.normal(jax.random.key(1), (50, 8, 8, 1))
    seen = Zoom(operation)(jax.random.key(2), image, siamese=False)
    assert (jnp.abs(seen - image).max((1, 2, 3)) > 1e-3).all()


@pytest.mark.parametrize("strategy", ["zoom:scale", "zoom:scale_flip"])
def test_the_regression_on_features_is_numpys_with_mirror_images_where_the_augmentation_has_them(strategy):
    data, test = (jax.tree.map(jnp.asarray, split) for split in make_toy())
    start = class_set(data.read(data.offsets[:, None] + jnp.arange(3)).images)
    network = make_network("doublenet", SHAPE, CLASSES, width=4, depth=2, norm="none", initial="lecun")
    options = {"epochs": 5, "augment": strategy, "learning_rate": 0.01}
    recipe = FeatureRegression(**options, ridge=1e-3)
    found = recipe.fit(KEY, start, network)
    trained = Regression(**options).fit(KEY, start, network)
    for one, other in zip(jax.tree.leaves(found.params), jax.tree.leaves(trained.params), strict=True):
        np.testing.assert_array_equal(one, other)
    images, labels = start.images, np.asarray(centred(start), np.float64)
    if "flip" in strategy:
        images, labels = jnp.concatenate([images, images[:, :, ::-1]]), np.concatenate([labels, labels])
    rows, seen = (np.asarray(network.features(trained, x).embedding, np.float64) for x in (images, test.images))
    k = rows @ rows.T
    weights = np.linalg.solve(k + 1e-3 * np.trace(k) / len(k) * np.eye(len(k)), labels)
    wanted = seen @ rows.T @ weights
    np.testing.assert_allclose(recipe.predict(network, found, test.images), wanted, rtol=1e-3, atol=1e-4)
    assert "penalty 0.001" in recipe.summary
    assert evaluate(KEY, start, network, test, recipe, seeds=1).mean > 0.5
    with pytest.raises(ValueError, match="`ridge` is a positive number"):
        FeatureRegression(ridge=0.0)


def test_presets_are_the_released_codes():
    cell = find(FRePo, "cifar100", 10)
    assert (cell.config.flip, cell.zca, cell.steps, cell.listed) == (False, True, 500_000, False)
    assert find(FRePo, "fashion_mnist", 1).listed
    assert find(FRePo, "svhn_cropped", 1).config.flip is False
    assert find(FRePo, "cifar100", 1).config.flip
    assert all(find(FRePo, "cifar10", ipc).config.flip for ipc in (1, 5, 50))
    assert not find(FRePo, "tiny_imagenet", 10).config.flip
    assert not find(FRePo, "imagenet_resized/64x64", 1).config.flip
    assert not find(FRePo, "mnist", 1).config.flip
    birds = find(FRePo, "caltech_birds2011", 1)
    assert birds.zca
    assert birds.config.flip


DATASETS = ("mnist", "fashion_mnist", "digits", "svhn_cropped", "kmnist", "cifar10", "imagenette")


@pytest.mark.parametrize("dataset", DATASETS)
def test_what_is_mirrored_while_distilling_is_mirrored_in_the_evaluation_and_nothing_else(dataset):
    """The released code mirrors neither digits nor clothes; DSA, whose strategy other recipes have, the latter."""
    strategy = for_dataset(PROTOCOLS["frepo"].augment, dataset)
    mirrored = dataset in ("cifar10", "imagenette")
    assert strategy.startswith("zoom:color_crop_cutout")
    assert ("flip" in strategy) == find(FRePo, dataset, 1).config.flip == mirrored
    image = jax.random.normal(KEY, (1, 8, 8, 1))
    seen = jax.vmap(lambda key: make_augment(strategy)(key, image, siamese=False)[0])(jax.random.split(KEY, 200))
    assert (seen == image[:, :, ::-1]).all((1, 2, 3)).any() == mirrored


def test_sets_too_large_to_be_whitened_are_not():
    for dataset in ("imagenette", "imagewoof"):
        assert not find(FRePo, dataset, 1).zca
