"""DD's outer gradient against PyTorch and finite differences in float64, and a step against Adam written out."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import CLASSES, SIDE, make_toy

from jaxdistill.augment import make as make_augment
from jaxdistill.common.sets import class_set
from jaxdistill.data.feeds import sample
from jaxdistill.methods.dd import DD, Learned, as_set, dd, outer_gradient
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find, readings
from jaxdistill.types import Batch, SyntheticSet, Task, Variables

GOLDEN = np.load(Path(__file__).parent / "reference" / "dd.npz")  # made by experiments/golden/dd.py
SHAPE = GOLDEN["real"].shape[1:]
KINDS = ("class", "logit")


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def task_of(augment="none"):
    network = make_network("convnet", SHAPE, 3, width=4, depth=2, norm="none")

    def init(key):
        return jax.tree.map(lambda leaf: leaf.astype(float), network.init(key))

    return Task(network=network._replace(init=init), augment=make_augment(augment), image_shape=SHAPE, num_classes=3)


TASK = task_of()


def golden_variables():
    body = {f"Conv_{i}": {"kernel": GOLDEN[f"kernel{i}"], "bias": GOLDEN[f"bias{i}"]} for i in range(2)}
    classifier = {"kernel": GOLDEN["matrix"], "bias": GOLDEN["offset"]}
    return Variables(jax.tree.map(jnp.asarray, {"body": body, "classifier": classifier}), {})


def golden_set(kind):
    logits = jnp.asarray(GOLDEN["logits"]) if kind == "logit" else None
    return Learned(jnp.asarray(GOLDEN["images"]).reshape(3, 4, *SHAPE), jnp.asarray(GOLDEN["raw_rates"]), logits)


@jax.jit
def of(learned):
    real, labels = jnp.asarray(GOLDEN["real"]), jnp.eye(3)[GOLDEN["real_labels"]]
    return outer_gradient(TASK.network, golden_variables(), learned, real, labels)


@pytest.mark.parametrize("kind", KINDS)
def test_loss_and_outer_gradient_equal_pytorchs(kind):
    loss, accuracy, gradient = of(golden_set(kind))
    np.testing.assert_allclose(loss, GOLDEN[f"{kind}_loss"], rtol=1e-12)
    np.testing.assert_allclose(accuracy, GOLDEN[f"{kind}_accuracy"])
    names = ("images", "raw_rates", "logits")[: 3 if kind == "logit" else 2]
    for name, value in zip(names, jax.tree.leaves(gradient), strict=True):
        expected = GOLDEN[f"{kind}_{name}"]
        assert value.dtype == jnp.float64
        assert np.linalg.norm(value.reshape(expected.shape) - expected) < 1e-9 * np.linalg.norm(expected)


@pytest.mark.parametrize("kind", KINDS)
def test_the_outer_gradient_is_the_losss_slope(kind):
    learned = golden_set(kind)
    rng = np.random.default_rng(1)
    gradient = of(learned)[2]
    for number in range(len(jax.tree.leaves(learned))):  # in one kind of what is learned at a time
        leaves, structure = jax.tree.flatten(jax.tree.map(np.zeros_like, learned))
        leaves[number] = rng.normal(size=leaves[number].shape)
        direction = jax.tree.unflatten(structure, leaves)
        ahead, behind = (of(jax.tree.map(lambda x, d, h=h: x + h * d, learned, direction))[0] for h in (1e-6, -1e-6))
        slope = sum(jnp.vdot(g, d) for g, d in zip(jax.tree.leaves(gradient), leaves, strict=True))
        np.testing.assert_allclose((ahead - behind) / 2e-6, slope, rtol=1e-6)


def test_a_step_is_adam_on_the_gradients_mean_over_networks():
    """Two steps equal the rule written out, with the same networks; the step size halves in between."""
    config = DD(
        image_lr=0.1,
        lr_decay_steps=1,
        max_grad_norm=1e-4,
        num_networks=2,
        inner_epochs=2,
        images_per_step=2,
        student_lr=0.3,
    )
    task = task_of("reflect:crop_flip")
    method = dd(config, task)
    batch = Batch(jnp.asarray(GOLDEN["real"]), jnp.asarray(GOLDEN["real_labels"], jnp.int32))
    state = method.init(jax.random.key(0), class_set(golden_set("class").images))
    np.testing.assert_allclose(method.synthetic(state).learning_rate, np.full((2, 2), 0.3))
    flat = [np.asarray(leaf) for leaf in jax.tree.leaves(state.learned)]
    first, second = [0.0, 0.0], [0.0, 0.0]
    step = jax.jit(method.step)
    gradients_of = jax.jit(lambda *given: outer_gradient(task.network, *given))
    for i in (1, 2):
        key_augment, key_networks = jax.random.split(jax.random.key(i))
        real = task.augment(key_augment, batch.images, siamese=False)
        found = [
            gradients_of(task.network.init(key), state.learned, real, jnp.eye(3)[batch.labels])
            for key in jax.random.split(key_networks, 2)
        ]
        loss, accuracy, gradient = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *found)
        gradient = jax.tree.leaves(gradient)
        norm = np.sqrt(sum((g**2).sum() for g in gradient))
        assert norm > config.max_grad_norm
        rate = np.log1p(np.exp(state.learned.raw_rates)).mean()
        state, info = step(jax.random.key(i), state, batch)
        np.testing.assert_allclose(info, (loss, accuracy, norm, rate), rtol=1e-9)
        for j, g in enumerate(gradient):
            g = g * config.max_grad_norm / norm
            first[j], second[j] = 0.5 * first[j] + 0.5 * g, 0.999 * second[j] + 0.001 * g**2
            update = first[j] / (1 - 0.5**i) / (np.sqrt(second[j] / (1 - 0.999**i)) + 1e-8)
            flat[j] = flat[j] - 0.1 * 0.5 ** (i - 1) * update
        for value, expected in zip(jax.tree.leaves(state.learned), flat, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6)


def test_a_set_starts_where_another_ended():
    hard = class_set(golden_set("class").images)
    method = dd(DD(inner_epochs=2, images_per_step=2), TASK)
    for rates in (GOLDEN["raw_rates"] ** 2, [[1e-6, 1.0], [30.0, 200.0]]):
        given = hard.replace(learning_rate=jnp.asarray(rates))
        again = method.synthetic(method.init(jax.random.key(0), given))
        np.testing.assert_allclose(again.learning_rate, rates, rtol=1e-9)
        np.testing.assert_array_equal(again.images, hard.images)
        assert again.label_kind == "class"
    single = method.synthetic(method.init(jax.random.key(0), hard.replace(learning_rate=jnp.asarray(0.2))))
    np.testing.assert_allclose(single.learning_rate, np.full((2, 2), 0.2))
    for rate in (-0.2, 0.0):  # another method may have learned it; here the configured one takes its place
        other = method.synthetic(method.init(jax.random.key(0), hard.replace(learning_rate=jnp.asarray(rate))))
        np.testing.assert_allclose(other.learning_rate, np.full((2, 2), DD.student_lr))


def test_learned_labels_start_near_the_class_and_are_logits():
    method = dd(DD(inner_epochs=2, images_per_step=2, learn_labels=True), TASK)
    first = method.synthetic(method.init(jax.random.key(0), class_set(golden_set("class").images)))
    assert first.label_kind == "logit"
    expected = np.where(np.repeat(np.eye(3), 4, 0) > 0, 0.9, 0.05)
    np.testing.assert_allclose(jax.nn.softmax(first.labels), expected, rtol=1e-6)
    given = as_set(golden_set("logit"))
    again = method.synthetic(method.init(jax.random.key(0), given))
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(given), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
    assert method.init(jax.random.key(0), given).learned.logits is given.labels


def test_the_loss_on_real_images_falls():
    train, _ = make_toy()
    with jax.enable_x64(False):
        train = jax.tree.map(jnp.asarray, train)
        shape = (SIDE, SIDE, 1)
        task = Task(
            network=make_network("mlp", shape, CLASSES, width=16),
            augment=make_augment("none"),
            image_shape=shape,
            num_classes=CLASSES,
        )
        method = dd(DD(image_lr=0.05, real_batch=48), task)
        noise = jax.random.normal(jax.random.key(0), (CLASSES, 1, *shape))

        @jax.jit
        def drive(state):
            def once(state, i):
                key_feed, key_step = jax.random.split(jax.random.fold_in(jax.random.key(1), i))
                return method.step(key_step, state, sample(method.feed, key_feed, i, train))

            return jax.lax.scan(once, state, jnp.arange(150))[1]

        infos = drive(method.init(jax.random.key(0), class_set(noise)))
    assert infos.loss[-10:].mean() < 0.7 * infos.loss[:10].mean()
    assert infos.accuracy[-10:].mean() > 0.8
    assert infos.step_size[-1] > 1.5 * infos.step_size[0]


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"image_lr": 0.0}, "`image_lr` of DD is a positive number"),
        ({"student_lr": -1.0}, "`student_lr` of DD is a positive number"),
        ({"student_lr": float("nan")}, "`student_lr` of DD is a positive number"),
        ({"max_grad_norm": 0.0}, "`max_grad_norm` of DD is a positive number"),
        ({"lr_decay": 0.0}, "`lr_decay` of DD is a positive number"),
        ({"lr_decay_steps": 0}, "`lr_decay_steps` of DD is at least 1"),
        ({"inner_epochs": 0}, "`inner_epochs` of DD is at least 1"),
        ({"num_networks": 0}, "`num_networks` of DD is at least 1"),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(settings, advice):
    with pytest.raises(ValueError, match=advice):
        dd(DD(**settings), TASK)


def test_sets_that_do_not_fit_are_refused_with_a_sentence():
    hard = class_set(golden_set("class").images)
    for config, initial, advice in (
        (DD(images_per_step=3), hard, "let `images_per_step` divide them"),
        (DD(), hard.replace(learning_rate=jnp.ones((3, 2))), "3 x 2 epochs and steps, not 3 x 4"),
        (DD(), hard.replace(label_kind="logit"), "set `learn_labels`"),
        (DD(learn_labels=True), hard.replace(label_kind="probability"), "class labels"),
        (DD(learn_labels=True), SyntheticSet(hard.images, hard.labels, "logit", formation=2), "formation 1"),
    ):
        with pytest.raises(ValueError, match=advice):
            dd(config, TASK).init(jax.random.key(0), initial)


def test_presets_are_the_codes():
    mnist, cifar = find(DD, "mnist", 10), find(DD, "cifar10", 10)
    assert (mnist.config.student_lr, cifar.config.student_lr) == (0.02, 0.001)
    assert (mnist.steps, mnist.config.lr_decay_steps) == (400 * 59, 40 * 59)
    assert (cifar.steps, cifar.config.lr_decay_steps) == (400 * 49, 40 * 49)
    assert (mnist.augment, cifar.augment) == ("none", "reflect:crop_flip")
    assert cifar.published.mean == 36.8
    assert mnist.listed
    assert mnist.published is None
    assert find(DD, "mnist", 1, "fixed-init").published.mean == 94.0
    assert find(DD, "cifar10", 10, "fixed-init").published.mean == 54.0
    assert not find(DD, "mnist", 1).listed
    assert find(DD, "cifar100", 10).augment == "reflect:crop_flip"
    assert {find(DD, name, 10).augment for name in ("svhn_cropped", "kmnist")} == {"none"}, "they are not mirrored"
    for dataset, shape in (("mnist", (28, 28, 1)), ("cifar100", (32, 32, 3)), ("digits", (8, 8, 1)), ("other", SHAPE)):
        for name in readings(DD):
            preset = find(DD, dataset, 10, name)
            options = {"network": "convnet", **preset.network}
            network = make_network(options.pop("network"), shape, 10, **options)
            fixed = network is make_network(preset.network.get("network", "convnet"), shape, 10, **options)
            assert fixed
            assert options["initial"] == "xavier"
            assert ("network_seed" in options) == (name == "fixed-init")
            assert make_augment(preset.augment)
            assert not preset.listed or dataset == "mnist"
