"""The steps of DC and DSA written out, and their draws, settings and presets, in float64."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import assert_close, wide_task

from jaxdistill.augment import make as make_augment
from jaxdistill.common.sets import class_set
from jaxdistill.losses.gradients import output_cosine, squared
from jaxdistill.losses.gradients import weights as matrices
from jaxdistill.methods.dc import DC, dc
from jaxdistill.methods.dsa import DSA, dsa
from jaxdistill.methods.matching import match_gradients
from jaxdistill.presets import find
from jaxdistill.presets.dc import loops
from jaxdistill.types import Batch, Network, Task, Variables

GOLDEN = np.load(Path(__file__).parent / "reference" / "dc.npz")
REAL, SYNTHETIC = GOLDEN["real"], GOLDEN["synthetic"]
SHAPE = REAL.shape[2:]


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def linear_task(augment, **options):
    """A network that compiles in no time, for what is not about networks."""
    init = lambda key: Variables(jax.random.normal(key, (int(np.prod(SHAPE)), 3)), {})  # noqa: E731
    apply = lambda variables, images, train: (images.reshape(len(images), -1) @ variables.params, {})  # noqa: E731
    return Task(
        network=Network(init, apply, lambda *_: None), augment=augment, image_shape=SHAPE, num_classes=3, **options
    )


def start_and_batches(steps):
    rng = np.random.default_rng(5)
    batches = [Batch(jnp.asarray(rng.normal(size=(3, 4, *SHAPE))), jnp.zeros((3, 4), jnp.int32)) for _ in range(steps)]
    return jnp.asarray(SYNTHETIC), batches


@pytest.mark.parametrize("rule", ["faithful", "sensible"])
def test_three_steps_written_out(rule):
    """Two matches of one network and one of the next: momentum goes on, the network is trained only in between."""
    rate = 2.0**-4
    task = wide_task(SHAPE, "batch", depth=1)
    method = dc(
        DC(image_lr=0.2, momentum=0.5, matches_per_network=2, inner_epochs=3, inner_lr=rate, bn_statistics=rule), task
    )
    images, batches = start_and_batches(3)
    state = method.init(jax.random.key(0), class_set(images))
    step = jax.jit(method.step)
    labels = jnp.repeat(jnp.arange(3), 2)

    def cross_entropy(params, statistics, images, labels, train):
        logits, statistics = task.network.apply(Variables(params, statistics), images, train=train)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(labels)), labels]), statistics

    gradient_of = jax.grad(cross_entropy, has_aux=True)

    @jax.jit
    @jax.value_and_grad
    def slope(images, variables, real, label):
        sides = (gradient_of(*variables, x, jnp.full(len(x), label), False)[0] for x in (real, images))
        return output_cosine(*(matrices(side) for side in sides))

    forward = jax.jit(partial(task.network.apply, train=True))
    train = jax.jit(lambda variables, images: gradient_of(*variables, images, labels, True))
    velocity, variables = jnp.zeros_like(images), None
    for i, batch in enumerate(batches):
        key = jax.random.key(i)
        if i != 1:
            variables = task.network.init(jax.random.split(key, 3)[0])
        before = variables.statistics
        after = forward(variables, batch.images.reshape(-1, *SHAPE))[1]
        variables = frozen = Variables(variables.params, after)
        if rule == "sensible":
            frozen = Variables(variables.params, jax.tree.map(lambda a, b: (b - 0.9 * a) / 0.1, before, after))
        slopes = [slope(images[c], frozen, batch.images[c], c) for c in range(3)]
        value, gradient = sum(value for value, _ in slopes), jnp.stack([gradient for _, gradient in slopes])
        velocity = 0.5 * velocity + gradient
        images = images - 0.2 * velocity
        if i != 1:
            for _ in range(3):
                gradients, statistics = train(variables, images.reshape(-1, *SHAPE))
                params = jax.tree.map(lambda p, g: p - rate * g, variables.params, gradients)
                variables = Variables(params, statistics)
        state, info = step(key, state, batch)
        np.testing.assert_allclose(info.loss, value, rtol=1e-8)
        np.testing.assert_allclose(info.grad_norm, np.linalg.norm(gradient), rtol=1e-8)
        assert_close(state.images, images, 1e-9)
        assert_close(state.variables, variables, 1e-7)
        assert state.matched == (i + 1) % 2


def test_a_class_has_one_draw_for_its_real_and_synthetic_images():
    """Seen from within: an augmentation that notes what it is called with."""
    calls = []

    def augment(key, images, siamese):
        calls.append((tuple(np.asarray(jax.random.key_data(key))), len(images), siamese))
        return images

    def in_python(f, entries, *shared):
        results = [f(jax.tree.map(lambda leaf, i=i: leaf[i], entries), *shared) for i in range(3)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *results)

    task = linear_task(augment, map_classes=in_python)
    variables = task.network.init(jax.random.key(1))
    match_gradients(jax.random.key(0), task, variables, jnp.asarray(SYNTHETIC), jnp.asarray(REAL[:, :4]), squared)
    drawn = {}
    for key, size, siamese in calls:
        assert siamese
        drawn.setdefault(key, []).append(size)
    assert [sorted(sizes) for sizes in drawn.values()] == [[2, 4]] * 3


def test_the_network_is_trained_on_augmented_images_each_with_its_own_draw():
    def siamese_of(matches):
        seen = []

        def augment(key, images, siamese):
            seen.append(siamese)
            return images

        images, batches = start_and_batches(1)
        method = dsa(DSA(matches_per_network=matches), linear_task(augment))
        state = jax.eval_shape(method.init, jax.random.key(0), class_set(images))
        jax.eval_shape(method.step, jax.random.key(0), state, batches[0])
        return set(seen)

    assert siamese_of(1) == {True}
    assert siamese_of(2) == {True, False}


def test_dsa_without_augmentation_is_dc():
    images, batches = start_and_batches(1)

    def after(method):
        state = method.init(jax.random.key(0), class_set(images))
        return jax.jit(method.step)(jax.random.key(1), state, batches[0])

    plain, other = linear_task(make_augment("none")), linear_task(make_augment("color"))
    expected = after(dc(DC(matches_per_network=2), plain))
    assert_close(after(dsa(DSA(matches_per_network=2), plain)), expected, 0)
    assert np.abs(after(dsa(DSA(matches_per_network=2), other))[0].images - expected[0].images).max() > 1e-4


def test_loops_are_the_codes_and_interpolated_between():
    stated = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10), 100: (100, 2)}
    assert {ipc: loops(ipc) for ipc in stated} == stated
    assert loops(5) == (5, 50)
    assert loops(15) == (15, 38)
    assert loops(75) == (75, 6)
    assert loops(500) == (50, 10)


def test_presets_are_the_papers():
    preset = find(DC, "cifar10", 10)
    assert (preset.config.matches_per_network, preset.config.inner_epochs, preset.steps) == (10, 50, 10_000)
    assert (preset.init, preset.augment, preset.protocol) == ("noise", "none", "dc300")
    assert (preset.config.image_lr, preset.config.momentum, preset.config.inner_lr) == (0.1, 0.5, 0.01)
    assert (preset.config.real_batch, preset.config.inner_batch) == (256, 256)
    assert preset.published.mean == 44.9
    assert preset.listed
    assert find(DC, "cifar10", 1).steps == 1_000
    assert find(DC, "mnist", 50).protocol == "dc1000-mnist"
    assert find(DC, "digits", 10).steps == 1_000
    assert not find(DC, "cifar100", 50).listed, "the paper's table has a dash there"
    assert find(DC, "cifar100", 50).published is None
    assert not find(DC, "cifar10", 20).listed
    assert not find(DC, "cifar10", 500).listed

    preset = find(DSA, "svhn_cropped", 1)
    assert isinstance(preset.config, DSA)
    assert (preset.init, preset.augment, preset.protocol) == ("real", "default", "dsa1000")
    assert preset.published.mean == 27.5
    assert find(DSA, "mnist", 10).protocol == "dsa1000"
    assert find(DSA, "cifar10", 100).config.matches_per_network == 100
    assert find(DSA, "cifar10", 50).steps == 50_000
    assert not find(DSA, "some_other", 10).listed


def test_bad_settings_are_refused_with_a_sentence():
    for settings, sentence in (
        ({"image_lr": 0.0}, "`image_lr` of {} is a positive number, not 0.0"),
        ({"image_lr": float("inf")}, "`image_lr` of {} is a positive number, not inf"),
        ({"inner_lr": -1.0}, "`inner_lr` of {} is a positive number"),
        ({"momentum": 1.0}, "`momentum` of {} is a number from 0 to below 1"),
        ({"real_batch": 0}, "`real_batch` of {} is at least 1, not 0"),
        ({"matches_per_network": 0}, "`matches_per_network` of {} is at least 1"),
        ({"inner_epochs": 0}, "`inner_epochs` of {} is at least 1"),
        ({"inner_batch": 0}, "`inner_batch` of {} is at least 1"),
    ):
        for config, build in ((DC, dc), (DSA, dsa)):
            with pytest.raises(ValueError, match=sentence.format(config.__name__)):
                build(config(**settings), wide_task(SHAPE))
