"""IDC's sweep against PyTorch, the code's order of updates, NumPy and finite differences, all in float64."""

import dataclasses
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment import make as make_augment
from jaxdistill.augment.formation import decode_images, encode_images, some_tiles
from jaxdistill.augment.transform import Augmented
from jaxdistill.data.feeds import real_data, sample
from jaxdistill.data.trajectories import Bank, RealAndExperts, flatten, unflatten
from jaxdistill.losses import gradients
from jaxdistill.methods.idc import DISTANCES, IDC, idc
from jaxdistill.methods.matching import match_gradients
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find
from jaxdistill.types import Batch, SyntheticSet, Task, Variables

GOLDEN = np.load(Path(__file__).parent / "reference" / "idc.npz")
CLASSES, IPC, *SHAPE = GOLDEN["pixels"].shape
SHAPE = tuple(SHAPE)
BLACK, WHITE = GOLDEN["pixel_range"]
PIXELS = np.random.default_rng(0).uniform(size=(8, 1, *SHAPE))
SMALL = IDC(
    image_lr=1e-3,
    real_batch=5,
    inner_real_images=8,
    inner_batch=4,
    factor=1,
    matches_per_network=2,
    inner_augment="none",
    cutmix=0.0,
)


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


KINDS = {
    "1": {"factor": 1},
    "2": {"factor": 2},
    "multi": {"factor": 2, "decode_type": "multi"},
    "bound": {"factor": 2, "decode_type": "bound", "max_tiles": 6},
}


def task_of(augment="none", classes=CLASSES, golden=True):
    """A task whose every network has the golden weights, or random ones."""
    network = make_network("convnet", SHAPE, classes, width=4, depth=2)

    def init(key):
        variables = network.init(key)
        if not golden:
            return jax.tree.map(lambda leaf: leaf.astype(float), variables)
        body = {}
        for block in range(2):
            body[f"Conv_{block}"] = {"kernel": GOLDEN[f"kernel{block}"], "bias": GOLDEN[f"bias{block}"]}
            body[f"Norm_{block}"] = {"scale": GOLDEN[f"scale{block}"], "bias": GOLDEN[f"shift{block}"]}
        params = {"body": body, "classifier": {"kernel": GOLDEN["dense"], "bias": GOLDEN["dense_bias"]}}
        assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, variables.params)
        return Variables(jax.tree.map(jnp.asarray, params), {})

    pixel_range = tuple(map(tuple, GOLDEN["pixel_range"].tolist()))
    return Task(
        network=network._replace(init=jax.jit(init)),
        augment=make_augment(augment),
        image_shape=SHAPE,
        num_classes=classes,
        pixel_range=pixel_range,
    )


def preprocessed(pixels):
    return jnp.asarray(BLACK + (WHITE - BLACK) * pixels)


def set_of(pixels, formation=1, **options):
    """The preprocessed set of hard classes that has these pixels."""
    classes, ipc = pixels.shape[:2]
    images = preprocessed(pixels).reshape(-1, *pixels.shape[2:])
    return SyntheticSet(images, jnp.repeat(jnp.eye(classes), ipc, 0), formation=formation, **options)


def batch_of(seed=0, classes=8):
    """What the feed of `SMALL` gives, of random images."""
    rng = np.random.default_rng(seed)
    by_class = Batch(preprocessed(rng.uniform(size=(classes, 5, *SHAPE))), jnp.zeros((classes, 5), jnp.int32))
    anywhere = Batch(preprocessed(rng.uniform(size=(8, *SHAPE))), jnp.asarray(rng.integers(0, classes, 8)))
    return by_class, anywhere


def view_of(formation, most=128):
    return lambda key, images: preprocessed(some_tiles(key, images, formation, most, 0.5))


def on_kernels(name):
    return lambda real, own: DISTANCES[name](gradients.kernels(real), gradients.kernels(own))


@cache
def small():
    """`SMALL` on random networks for eight classes: the task, the method, its step, and the matching in that step."""
    task = task_of(classes=8, golden=False)
    method = idc(SMALL, task)

    @jax.jit
    def match(key, variables, images, real):
        return match_gradients(key, task, variables, images, real, on_kernels("mse"), view_of(1))

    return task, method, jax.jit(method.step), match


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((f"{name}{kind}", {**KINDS[kind], "distance": name}) for name in ("mse", "l1") for kind in KINDS),
        *((name, {"factor": 2, "match": name, "distance": "l1"}) for name in ("embedding", "map")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sweep_is_pytorchs_gradient(name, settings):
    method = idc(dataclasses.replace(SMALL, **settings), task_of())
    state = method.init(jax.random.key(0), set_of(GOLDEN["pixels"], settings["factor"]))
    np.testing.assert_allclose(state.images, GOLDEN["pixels"], rtol=1e-12)
    real = Batch(preprocessed(GOLDEN["real"]), jnp.zeros((CLASSES, 5), jnp.int32))
    moved, info = jax.jit(method.step)(jax.random.key(1), state, (real, batch_of(classes=CLASSES)[1]))
    np.testing.assert_allclose(info.loss, GOLDEN[f"{name}_distances"].sum(), rtol=1e-9)
    expected = GOLDEN[f"{name}_gradient"]
    np.testing.assert_allclose(info.grad_norm, np.linalg.norm(expected), rtol=1e-9)
    displacement = -2 * 1e-3 * expected  # the whole series of a momentum of one half
    error = moved.images - state.images - displacement
    for label in range(CLASSES):
        assert np.linalg.norm(error[label]) < 1e-9 * np.linalg.norm(displacement[label])


def test_the_gradient_is_the_slope_through_tiles_and_augmentation():
    task = task_of("all:color_crop_cutout")
    variables, real = task.network.init(jax.random.key(0)), preprocessed(GOLDEN["real"])
    pixels = jnp.asarray(GOLDEN["pixels"])

    @jax.jit
    def of(pixels):
        return match_gradients(jax.random.key(3), task, variables, pixels, real, on_kernels("mse"), view_of(2, most=5))

    direction = np.random.default_rng(1).normal(size=pixels.shape)
    _, gradient = of(pixels)
    ahead, behind = (jnp.sum(of(pixels + sign * 1e-6 * direction)[0]) for sign in (1, -1))
    assert np.abs(gradient).max() > 0
    np.testing.assert_allclose((ahead - behind) / 2e-6, np.sum(gradient * direction), rtol=1e-5)


def test_a_sweep_is_the_codes_class_after_class_with_one_momentum_buffer():
    """Eight classes: at its turn, a class of the code's is where ours is but for the tail of the series, 2**-8."""
    task, method, step, match = small()
    start = 0.4 + 0.2 * PIXELS
    state = method.init(jax.random.key(0), set_of(start))
    images, velocity = start.copy(), np.zeros_like(start)
    for sweep in range(4):
        key, batch = jax.random.key(sweep), batch_of(sweep)
        key_network, key_match, _ = jax.random.split(key, 3)
        variables = state.variables if int(state.matched) else task.network.init(key_network)
        for label in range(8):
            if sweep:
                ours, theirs = (np.asarray(x)[label] - start[label] for x in (state.images, images))
                assert np.linalg.norm(ours - theirs) < 2.0**-7 * np.linalg.norm(theirs)
            _, gradient = match(key_match, variables, jnp.asarray(images), batch[0].images)
            velocity *= 0.5
            velocity[label] += gradient[label]
            images -= SMALL.image_lr * velocity
        state, _ = step(key, state, batch)


def test_the_network_sees_real_images_and_is_replaced_when_it_has_served():
    task, method, step, _ = small()
    states = [method.init(jax.random.key(0), set_of(PIXELS))]
    for i in range(3):
        states.append(step(jax.random.key(i), states[-1], batch_of(i))[0])
    assert [int(state.matched) for state in states] == [0, 1, 0, 1]

    def loss(params, images, labels):
        logits, _ = task.network.apply(Variables(params, {}), images)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels])

    @jax.jit
    def trained(variables, velocity, key, batch):
        """Heavy-ball SGD with coupled decay on two batches of four; the pass's order is its only draw."""
        key_shuffle, _ = jax.random.split(jax.random.split(key, 3)[2])
        order = jax.random.permutation(key_shuffle, 8)
        params = variables.params
        for indices in (order[:4], order[4:]):
            gradient = jax.grad(loss)(params, batch.images[indices], batch.labels[indices])
            velocity = jax.tree.map(lambda v, g, p: 0.9 * v + g + 5e-4 * p, velocity, gradient, params)
            params = jax.tree.map(lambda p, v: p - 0.01 * v, params, velocity)
        return params, velocity

    def check(state, variables, velocity, i):
        expected = trained(variables, velocity, jax.random.key(i), batch_of(i)[1])
        found = state.variables.params, state.velocity
        # the step size is a float32 in the pass over the data
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-8), found, expected)

    zeros = jax.tree.map(jnp.zeros_like, states[0].velocity)
    for i in (0, 2):
        fresh = task.network.init(jax.random.split(jax.random.key(i), 3)[0])
        check(states[i + 1], fresh, zeros, i)
    check(states[2], states[1].variables, states[1].velocity, 1)


def test_the_network_is_trained_as_configured(monkeypatch):
    told = {}

    def epoch(key, network, variables, velocity, real, **options):
        told.update(options, labels=real.take(jnp.arange(real.count)).labels.shape)
        return variables, velocity, None

    monkeypatch.setattr(sys.modules[IDC.__module__], "epoch", epoch)
    config = dataclasses.replace(SMALL, train_augment="crop", cutmix=0.3, weight_decay=0.1, network_momentum=0.7)
    method = idc(config, small()[0])
    state = jax.eval_shape(method.init, jax.random.key(0), set_of(PIXELS))
    jax.eval_shape(method.step, jax.random.key(0), state, batch_of())
    move, velocity = told.pop("optimizer").update(2.0, 3.0, 5.0)
    assert velocity == pytest.approx(0.7 * 3 + 2 + 0.1 * 5)
    assert float(move) == pytest.approx(-0.01 * velocity)
    assert told == {"batch": 4, "transform": Augmented(make_augment("crop"), cutmix=0.3), "labels": (8, 8)}


def real_split(classes=8):
    """As many real images as `batch_of` has of a class, and five more that make a smaller batch."""
    rng = np.random.default_rng(7)
    labels = np.concatenate([np.arange(classes), rng.integers(0, classes, 5)])
    images = np.asarray(preprocessed(rng.uniform(size=(len(labels), *SHAPE))), np.float32)
    return real_data(images, labels, classes, np.ones(SHAPE[-1]), np.zeros(SHAPE[-1]))


def test_a_network_is_trained_on_all_real_images_before_its_first_match():
    task, _, _, match = small()
    method = idc(dataclasses.replace(SMALL, pretrain_epochs=2), task)
    data = jax.tree.map(jnp.asarray, real_split())
    (by_class, anywhere), whole = jax.tree.map(jnp.asarray, sample(method.feed, jax.random.key(0), 0, data))
    assert by_class.images.shape[0] == 8
    assert anywhere.images.shape[0] == 8
    np.testing.assert_array_equal(whole.images, data.images)
    state = method.init(jax.random.key(0), set_of(PIXELS))
    step = jax.jit(method.step)
    moved, info = step(jax.random.key(3), state, (batch_of(), data))

    key_network, key_match, _ = jax.random.split(jax.random.key(3), 3)
    key_network, key_epochs = jax.random.split(key_network)
    images, labels = data.images.astype(float), jax.nn.one_hot(data.labels, 8)

    def loss(params, chosen):
        logits, _ = task.network.apply(Variables(params, {}), images[chosen])
        return -jnp.mean(jnp.sum(labels[chosen] * jax.nn.log_softmax(logits), -1))

    params = task.network.init(key_network).params
    velocity = jax.tree.map(jnp.zeros_like, params)
    for key in jax.random.split(key_epochs, 2):
        order = jax.random.permutation(jax.random.split(key)[0], 13)
        for chosen in (order[:4], order[4:8], order[8:12], order[12:]):
            gradient = jax.grad(loss)(params, chosen)
            velocity = jax.tree.map(lambda v, g, p: 0.9 * v + g + 5e-4 * p, velocity, gradient, params)
            params = jax.tree.map(lambda p, v: p - 0.01 * v, params, velocity)
    expected, _ = match(key_match, Variables(params, {}), jnp.asarray(PIXELS), batch_of()[0].images)
    np.testing.assert_allclose(info.loss, expected.sum(), rtol=1e-5)
    _, plain = small()[2](jax.random.key(3), state, batch_of())
    assert abs(plain.loss / info.loss - 1) > 1e-3, "a fresh one is farther away"
    again = step(jax.random.key(4), moved, (batch_of(), jax.tree.map(lambda leaf: leaf * 0, data)))[1]
    assert np.isfinite(again.loss), "until it is replaced it is not trained so again"
    same = step(jax.random.key(4), moved, (batch_of(), data))[1]
    assert again.loss == same.loss


def test_networks_come_out_of_the_experts_at_the_epochs_that_are_named():
    task, _, _, match = small()
    like = task.network.init(jax.random.key(0)).params
    size = flatten(like).shape[0]
    paths = 0.1 * np.random.default_rng(0).normal(size=(3, 6, size)).astype(np.float32)
    source = RealAndExperts(jax.tree.map(jnp.asarray, real_split()), Bank(jnp.asarray(paths), 3, 5))
    method = idc(dataclasses.replace(SMALL, pool_from=2, pool_epochs=3), task)
    drawn = []
    for i in range(60):
        batch, vector = sample(method.feed, jax.random.key(i), 0, source)
        drawn += [tuple(np.argwhere((paths == vector).all(-1))[0])]
    assert {*drawn} == {(expert, epoch) for expert in range(3) for epoch in (2, 3, 4)}
    plain = sample(small()[1].feed, jax.random.key(0), 0, source.real)
    assert jax.tree.map(jnp.shape, batch) == jax.tree.map(jnp.shape, plain)
    state = method.init(jax.random.key(0), set_of(PIXELS))
    _, info = jax.jit(method.step)(jax.random.key(3), state, (batch_of(), jnp.asarray(paths[1, 4])))
    params = jax.tree.map(lambda leaf: leaf.astype(float), unflatten(jnp.asarray(paths[1, 4]), like))
    key_match = jax.random.split(jax.random.key(3), 3)[1]
    expected, _ = match(key_match, Variables(params, {}), jnp.asarray(PIXELS), batch_of()[0].images)
    np.testing.assert_allclose(info.loss, expected.sum(), rtol=1e-9)
    far = idc(dataclasses.replace(SMALL, pool_from=4, pool_epochs=3), task)
    with pytest.raises(ValueError, match=r"after up to 6 epochs .* and the experts have 5; train longer ones"):
        sample(far.feed, jax.random.key(0), 0, source)


def test_a_pool_of_networks_that_batch_normalise_is_refused():
    task = dataclasses.replace(task_of(), network=make_network("convnet-bn", SHAPE, CLASSES, width=4, depth=2))
    with pytest.raises(ValueError, match="no running averages of batch normalisation"):
        idc(dataclasses.replace(SMALL, pool_from=1), task)


def test_a_set_says_how_networks_are_to_be_trained_on_it():
    """On tiles by all factors as the code's own evaluation has them, but not on fewer where there was a bound."""
    for kind, said in (("single", "single"), ("multi", "multi"), ("bound", "single")):
        for factor in (1, 2):
            method = idc(dataclasses.replace(SMALL, factor=factor, decode_type=kind), task_of())
            found = method.synthetic(method.init(jax.random.key(0), set_of(GOLDEN["pixels"], factor)))
            assert (found.formation, found.decode_type) == (factor, said if factor > 1 else "single")


def test_pixels_are_clipped_at_the_start_for_a_new_network_and_on_reading_out():
    task, method, step, match = small()
    wild = 3 * PIXELS - 1
    state = method.init(jax.random.key(0), set_of(wild))
    np.testing.assert_allclose(state.images, wild.clip(0, 1), atol=1e-12)
    wild = jnp.asarray(wild)
    for used, start in ((1, wild), (0, jnp.clip(wild, 0, 1))):
        now = state._replace(images=wild, matched=state.matched + used)
        key_network, key_match, _ = jax.random.split(jax.random.key(5), 3)
        variables = state.variables if used else task.network.init(key_network)
        moved, info = step(jax.random.key(5), now, batch_of())
        distances, gradient = match(key_match, variables, start, batch_of()[0].images)
        np.testing.assert_allclose(info.loss, distances.sum(), rtol=1e-9)
        np.testing.assert_allclose(moved.images, start - 2e-3 * gradient, rtol=1e-9, atol=1e-12)
        read = method.synthetic(moved)
        expected = preprocessed(np.clip(moved.images, 0, 1)).reshape(read.images.shape)
        np.testing.assert_allclose(read.images, expected, rtol=1e-12)


def test_a_start_of_whole_images_becomes_tiles_and_a_set_of_tiles_is_taken_as_it_is():
    rng = np.random.default_rng(0)
    whole = rng.uniform(size=(CLASSES, 8, *SHAPE))
    method = idc(dataclasses.replace(SMALL, factor=2), task_of())
    assert method.images_per_start == 4
    first = method.synthetic(method.init(jax.random.key(0), set_of(whole)))
    assert first.formation == 2
    assert first.images.shape == (CLASSES * 2, *SHAPE)
    np.testing.assert_array_equal(first.labels.argmax(-1), [0, 0, 1, 1, 2, 2])
    encoded = encode_images(preprocessed(whole).reshape(-1, *SHAPE), 2)
    np.testing.assert_allclose(first.images, encoded, rtol=1e-12)
    again = method.synthetic(method.init(jax.random.key(0), first))
    np.testing.assert_allclose(again.images, first.images, rtol=1e-12)


def test_other_starts_are_refused():
    method = idc(dataclasses.replace(SMALL, factor=2), task_of())
    few = np.zeros((CLASSES, 6, *SHAPE))  # not a multiple of 4
    for wrong in (set_of(few), set_of(few, formation=3), set_of(few, formation=2, label_kind="logit")):
        with pytest.raises(ValueError, match="start IDC with formation 2 from a set of hard classes"):
            method.init(jax.random.key(0), wrong)


def test_most_of_the_tiles_are_drawn_without_repeats():
    images = jnp.asarray(GOLDEN["pixels"][0])
    whole = decode_images(images, 2, 0.5)
    np.testing.assert_array_equal(some_tiles(jax.random.key(0), images, 2, 8), whole)
    seen = set()
    for i in range(20):
        drawn = np.asarray(some_tiles(jax.random.key(i), images, 2, 3))
        indices = [int(np.abs(np.asarray(whole) - tile).sum((1, 2, 3)).argmin()) for tile in drawn]
        np.testing.assert_array_equal(drawn, whole[np.array(indices)])
        assert len(set(indices)) == 3
        seen |= set(indices)
    assert seen == set(range(8))


@pytest.mark.parametrize(
    ("sentence", "settings"),
    [
        ("a positive number", {"image_lr": (0.0, np.inf), "inner_lr": (-1.0,)}),
        ("from 0 to below 1", {"momentum": (1.0,), "inner_momentum": (1.5,)}),
        ("of at least 0", {"inner_weight_decay": (-1e-4,)}),
        ("from 0 to 1", {"cutmix": (-0.1, 1.2)}),
        (
            "at least 1",
            dict.fromkeys(
                ("real_batch", "matches_per_network", "inner_real_images", "inner_batch", "factor", "max_tiles"), (0,)
            ),
        ),
        ("from 0 to 1", {"cutmix": (2.0,)}),
        ("of at least 0", {"pretrain_epochs": (-1,), "pool_from": (-2,)}),
        ("at least 1", {"pool_epochs": (0,)}),
        ("one of single, multi, bound", {"decode_type": ("double",)}),
        ("one of gradient, embedding, map", {"match": ("features",)}),
        ("too small for 9x9 tiles", {"factor": (9,)}),
        ("unknown augmentation", {"inner_augment": ("melt",)}),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(sentence, settings):
    for setting, value in ((setting, value) for setting, values in settings.items() for value in values):
        with pytest.raises(ValueError, match=sentence):
            idc(dataclasses.replace(SMALL, **{setting: value}), task_of())


def test_networks_without_kernels_and_whitened_images_are_refused():
    with pytest.raises(ValueError, match="give the task its pixel_range"):
        idc(SMALL, dataclasses.replace(task_of(), pixel_range=None))
    with pytest.raises(ValueError, match="convolution kernels"):
        idc(SMALL, dataclasses.replace(task_of(), network=make_network("mlp", SHAPE, CLASSES)))
    with pytest.raises(ValueError, match="no maps to be matched"):
        idc(
            dataclasses.replace(SMALL, match="map"),
            dataclasses.replace(task_of(), network=make_network("mlp", SHAPE, CLASSES)),
        )


def test_tiles_of_each_factor_have_to_fit():
    """Of 4 pixels each of four tiles has one, and of three the last would have none."""
    task = dataclasses.replace(task_of(), image_shape=(4, 4, 2), network=make_network("convnet", (4, 4, 2), 3, depth=1))
    idc(dataclasses.replace(SMALL, factor=4), task)
    with pytest.raises(ValueError, match="too small for 3x3 tiles"):
        idc(dataclasses.replace(SMALL, factor=4, decode_type="multi"), task)


ALL = "color_crop_cutout"


@pytest.mark.parametrize(
    ("cell", "config", "augment", "protocol", "published"),
    [
        (("cifar10", 1, "idc"), ("mse", 5e-4, 2000, 0.5, 2), ALL, "idc1000", (50.6, None)),
        (("cifar10", 10, "idc"), ("mse", 5e-3, 2000, 0.5, 2), ALL, "idc1000", (67.5, 0.5)),
        (("cifar10", 50, "idc-i"), ("mse", 2.5e-2, 2000, 0.5, 1), ALL, "idc1000", (69.5, None)),
        (("cifar100", 20, "idc"), ("mse", 1e-2, 2000, 0.5, 2), ALL, "idc1000", (49.0, None)),
        (("svhn_cropped", 1, "idc"), ("mse", 5e-4, 500, 0.5, 2), ALL, "idc1000", (68.5, None)),
        (("svhn_cropped", 1, "idc-i"), ("mse", 5e-4, 500, 0.5, 1), ALL, "idc1000-cutout", (46.7, None)),
        (("mnist", 10, "idc"), ("l1", 1e-4, 500, 0.0, 2), "color_crop", "idc1000-plain", (98.4, None)),
        (("mnist", 10, "idc-i"), ("l1", 1e-4, 500, 0.5, 1), ALL, "idc1000", (98.0, None)),
        (("fashion_mnist", 1, "idc"), ("l1", 7.65625e-6, 500, 0.5, 2), ALL, "idc1000", (81.0, None)),
        (("fashion_mnist", 50, "idc"), ("l1", 3.828125e-4, 500, 0.5, 2), ALL, "idc1000", (86.2, None)),
    ],
)
def test_presets_are_the_codes(cell, config, augment, protocol, published):
    preset = find(IDC, *cell)
    found = preset.config
    assert (found.distance, found.inner_real_images, found.cutmix, found.factor) == (config[0], *config[2:])
    assert found.image_lr == pytest.approx(config[1])
    assert (preset.augment, preset.protocol, preset.init, preset.steps) == (f"all:{augment}", protocol, "real", 200_000)
    assert (found.real_batch, found.matches_per_network, found.max_tiles, found.inner_batch) == (64, 100, 128, 64)
    assert found.inner_augment == "all:color_crop"
    assert preset.published[:2] == published
    assert preset.listed


@pytest.mark.parametrize(("dataset", "rate"), [("imagenet10", 3e-3), ("imagenet100", 1e-3)])
def test_presets_of_photographs_are_the_codes(dataset, rate):
    for ipc, kind in ((10, "single"), (20, "bound")):
        preset = find(IDC, dataset, ipc, "idc")
        assert preset.listed
        assert (preset.config.factor, preset.config.decode_type) == (3, kind)
        assert preset.config.image_lr == pytest.approx(rate * ipc / 10)
        assert (preset.network["network"], preset.steps) == ("resnet10ap", 50_000)
        assert find(IDC, dataset, ipc, "idc-i").config.decode_type == "single"


@pytest.mark.parametrize("cell", [("cifar100", 50), ("some_other", 10), ("digits", 1)])
def test_other_cells_are_not_listed(cell):
    preset = find(IDC, *cell)
    assert not preset.listed
    assert preset.published is None
