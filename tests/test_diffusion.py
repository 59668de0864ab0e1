"""Schedules, the training loss and samplers, beside NumPy and values of the original code (experiments/golden)."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.diffusion import Architecture, make
from jaxdistill.diffusion import schedule as schedules
from jaxdistill.diffusion.attention import attend
from jaxdistill.diffusion.denoise import denoise, log_variance_of, variational
from jaxdistill.diffusion.draw import image_keys
from jaxdistill.diffusion.sample import Sampling, sample
from jaxdistill.types import Generator

GOLDEN = Path(__file__).parent / "reference" / "diffusion.npz"
SHAPE = (4, 4, 2)


@pytest.mark.parametrize("name", schedules.SCHEDULES)
def test_a_schedule_keeps_variance_and_a_step_back_undoes_a_step(name):
    full = schedules.make(name, 100)
    np.testing.assert_allclose(full.signal**2 + full.noise**2, 1, rtol=1e-12)
    assert (np.diff(full.signal) < 0).all()
    for schedule in (full, schedules.respaced(full, 7)):
        assert schedule.signal_before[0] == 1
        np.testing.assert_array_equal(schedule.signal_before[1:], schedule.signal[:-1])
        # q(x_{t-1} | x_0) is the posterior's mean over q(x_t | x_0): the mean and the variance agree.
        np.testing.assert_allclose(
            schedule.from_clean + schedule.from_noisy * schedule.signal, schedule.signal_before, rtol=1e-9
        )
        variance = np.exp(schedule.log_variance[1:]) + (schedule.from_noisy * schedule.noise)[1:] ** 2
        np.testing.assert_allclose(variance, schedule.noise_before[1:] ** 2, rtol=1e-9)
    few = schedules.respaced(full, 7)
    np.testing.assert_array_equal(few.times, np.round(np.linspace(0, 99, 7)))
    np.testing.assert_allclose(few.signal, full.signal[few.times], rtol=1e-12)


def test_what_is_no_schedule():
    with pytest.raises(ValueError, match="unknown noise schedule 'square'; choose one of linear, cosine"):
        schedules.make("square")
    with pytest.raises(ValueError, match="sampling takes 2 to 10 steps, not 11"):
        schedules.respaced(schedules.make("linear", 10), 11)


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def test_predictions_say_the_same():
    """Of noise and of velocity, in float64."""
    with jax.enable_x64(True):
        schedule, steps = schedules.make("cosine", 50), jnp.array([0, 20, 45])
        clean, noise = drawn(0, 3, *SHAPE), drawn(1, 3, *SHAPE)
        noisy = schedules.mix(schedule, clean, noise, steps)
        signal, sigma = (schedules.at(part, steps) for part in (schedule.signal, schedule.noise))
        velocity = signal * noise - sigma * clean
        for prediction, output in (("noise", noise), ("velocity", velocity)):
            found = schedules.clean_of(schedule, prediction, noisy, output, steps)
            np.testing.assert_allclose(found, clean, atol=1e-5)  # a schedule's numbers are float32
        np.testing.assert_allclose(schedules.noise_of(schedule, noisy, clean, steps), noise, atol=1e-5)


def toy(apply, **options):
    """A generator of two classes that is a function."""
    settings = {"prediction": "noise", "schedule": schedules.make("cosine", 20), **options}
    return Generator(
        init=lambda key: {}, apply=apply, encode=lambda params, key, images: images, decode=lambda params, x: x,
        latent_shape=SHAPE, labels=(0, 1), null=2, **settings,
    )  # fmt: skip


def test_the_loss_is_the_error_of_each_image():
    """A model that says zero is as wrong as what it was to predict is large."""
    silent = toy(lambda params, noisy, times, labels: jnp.zeros_like(noisy))
    clean, labels = drawn(0, 400, *SHAPE).astype(jnp.float32), jnp.zeros(400, jnp.int32)
    found = denoise(jax.random.key(0), silent, {}, clean, labels, drop=0.0)
    assert found.error.shape == (400,)
    np.testing.assert_allclose(found.error.mean(), 1, atol=0.05)  # standard normal noise
    # Times are uniform: this model takes x_t / signal_t for the clean image.
    errors = np.mean(np.asarray(found.clean - clean) ** 2, axis=(1, 2, 3))
    schedule = silent.schedule
    assert np.median(errors) == pytest.approx(np.median((schedule.noise / schedule.signal) ** 2), rel=0.3)


def test_labels_are_withheld_and_renamed():
    seen = []

    def apply(params, noisy, times, labels):
        seen.append(labels)
        return jnp.zeros_like(noisy)

    clean, labels = jnp.zeros((300, *SHAPE)), jnp.arange(300) % 2
    denoise(jax.random.key(0), dataclasses.replace(toy(apply), labels=(7, 5), null=9), {}, clean, labels, drop=0.3)
    found = np.asarray(seen[0])
    kept = found != 9
    assert 0.2 < 1 - kept.mean() < 0.4
    np.testing.assert_array_equal(found[kept], np.where(np.arange(300) % 2, 5, 7)[kept])


def test_blocks_change_nothing():
    model = make(Architecture(hidden_size=16, num_layers=1, num_heads=2), SHAPE, ((-1.0, -1.0), (1.0, 1.0)), 2)
    params = model.init(jax.random.key(0))
    clean, labels = drawn(0, 6, *SHAPE).astype(jnp.float32), jnp.arange(6) % 2

    @jax.jit
    def both(params):
        def loss(params, blocks):
            found = denoise(jax.random.key(1), model, params, clean, labels, drop=0.1, blocks=blocks)
            return found.error.mean() + found.clean.mean()

        return [jax.value_and_grad(loss)(params, blocks) for blocks in (1, 3)]

    for one, other in zip(*(jax.tree.leaves(found) for found in both(params)), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_learned_variances_are_the_original_s():
    """The numbers of experiments/golden/diffusion.py, in float64; a schedule is used in float32."""
    stored = np.load(GOLDEN)
    with jax.enable_x64(True):
        schedule = schedules.make("linear")
        clean, noise, output, noisy = (jnp.asarray(stored[name]) for name in ("clean", "noise", "output", "noisy"))
        times, steps = (jnp.asarray(stored[name]) for name in ("times", "steps"))
        np.testing.assert_allclose(schedules.mix(schedule, clean, noise, times), noisy, rtol=1e-5, atol=1e-6)
        predicted, place = jnp.split(output, 2, axis=-1)
        found = schedules.clean_of(schedule, "noise", noisy, predicted, times)
        np.testing.assert_allclose(found, stored["predicted"], rtol=1e-4, atol=1e-3)
        bits = variational(schedule, clean, noisy, found, place, times)
        np.testing.assert_allclose(bits, stored["vb"], rtol=2e-3)
        few = schedules.respaced(schedule, 50)
        np.testing.assert_array_equal(few.times, stored["short_times"])
        np.testing.assert_allclose(np.exp(few.log_beta), stored["short_betas"], rtol=1e-9)
        seen = schedules.clean_of(few, "noise", noisy, predicted, steps)
        np.testing.assert_allclose(seen, stored["step_pred_xstart"], rtol=1e-4, atol=1e-3)
        mean = schedules.posterior(few, noisy, seen, steps)
        np.testing.assert_allclose(mean, stored["step_mean"], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(log_variance_of(few, place, steps), stored["step_log_variance"], rtol=1e-4)


def test_a_variance_lies_between_its_ends():
    schedule, steps = schedules.make("linear", 10), jnp.array([3])
    for place, expected in ((-1.0, schedule.log_variance[3]), (1.0, schedule.log_beta[3])):
        found = log_variance_of(schedule, jnp.full((1, *SHAPE), place), steps)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def perfect(target):
    """The noise prediction of a model that knows the one image of each class, and black for no class."""
    schedule = schedules.make("cosine", 20)
    images = jnp.concatenate([target, jnp.zeros((1, *SHAPE))])

    def apply(params, noisy, times, labels):
        return schedules.noise_of(schedule, noisy, images[labels], times)

    return toy(apply, schedule=schedule)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim"])
def test_a_perfect_model_draws_its_image(sampler):
    target = jnp.tanh(drawn(3, 2, *SHAPE).astype(jnp.float32))
    keys = jax.random.split(jax.random.key(0), 4)
    classes = jnp.array([0, 1, 1, 0])

    def draw(guidance, keys=keys, classes=classes, **options):
        return sample(keys, perfect(target), {}, classes, Sampling(sampler, 8, guidance, **options))

    found = draw(1.0)
    np.testing.assert_allclose(found, target[classes], atol=2e-3)
    # Nothing for a class is what no class draws.
    np.testing.assert_allclose(draw(0.0), 0, atol=2e-3)
    np.testing.assert_allclose(draw(0.5), target[classes] / 2, atol=2e-2)
    # The first channel guided, the second as it is with a class.
    one = draw(0.0, guided_channels=1)
    np.testing.assert_allclose(one[..., 0], 0, atol=2e-3)
    np.testing.assert_allclose(one[..., 1], target[classes][..., 1], atol=2e-3)


def test_an_image_depends_on_its_key_and_class_alone():
    model = make(Architecture(hidden_size=16, num_layers=1, num_heads=2), SHAPE, ((-1.0, -1.0), (1.0, 1.0)), 2)
    params = jax.tree.map(
        lambda leaf: leaf + 0.1 * jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), model.init(jax.random.key(0))
    )
    config, classes = Sampling(sampling_steps=4, guidance=2.0), jnp.array([0, 0, 1])
    draw = jax.jit(lambda keys, classes: sample(keys, model, params, classes, config))
    keys = jax.random.wrap_key_data(image_keys(jax.random.key(5), 2, 3).reshape(-1, 2))
    found = draw(keys[:3], classes)
    np.testing.assert_array_equal(found, draw(keys[:3], classes))
    np.testing.assert_allclose(found[::-1], draw(keys[:3][::-1], classes[::-1]), atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_smaller_sets_are_the_first_of_larger_ones():
    small, large = (image_keys(jax.random.key(5), 3, ipc) for ipc in (2, 5))
    np.testing.assert_array_equal(small, large[:, :2])
    assert len(np.unique(large.reshape(15, -1), axis=0)) == 15


def test_pixels_go_to_the_unit_range_and_back_in_8_bits():
    model = make(Architecture(hidden_size=16, num_heads=2), SHAPE, ((-2.0, -1.0), (3.0, 1.0)), 2)
    levels = np.random.default_rng(0).integers(0, 256, (2, *SHAPE)) / 255
    images = jnp.asarray(levels * [5.0, 2.0] + [-2.0, -1.0], jnp.float32)
    encoded = model.encode({}, jax.random.key(0), images)
    np.testing.assert_allclose(encoded, 2 * levels - 1, atol=1e-6)
    np.testing.assert_allclose(model.decode({}, encoded), images, atol=1e-6)
    np.testing.assert_allclose(model.decode({}, encoded + 1e-3), images, atol=1e-6)
    np.testing.assert_allclose(model.decode({}, jnp.full((1, *SHAPE), 7.0))[0, 0, 0], [3.0, 1.0])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patch_size": 3}, "4x4 .* is not a whole number of patches of 3"),
        ({"hidden_size": 18}, "`hidden_size` is a multiple of 4 and of the `num_heads`, 4, not 18"),
        ({"num_heads": 3, "hidden_size": 16}, "`hidden_size` is a multiple of 4 and of the `num_heads`, 3, not 16"),
        ({"schedule": "square"}, "unknown noise schedule"),
        ({"learned_variance": True}, "variances are learned where `prediction` is noise only"),
    ],
)
def test_architectures_that_do_not_fit(options, said):
    with pytest.raises(ValueError, match=said):
        make(Architecture(**options), SHAPE, ((-1.0, -1.0), (1.0, 1.0)), 2)


def test_whitened_images_have_no_black():
    with pytest.raises(ValueError, match="leave `zca` out"):
        make(Architecture(), SHAPE, None, 2)


def test_attention_is_the_librarys_and_keeps_float64():
    """A bias of all keys changes nothing: what is left of its gradient shows the type of the softmax."""
    arrays = [jax.random.normal(key, (3, 5, 2, 4)) for key in jax.random.split(jax.random.key(0), 3)]
    np.testing.assert_allclose(attend(*arrays), jax.nn.dot_product_attention(*arrays), atol=1e-6)
    with jax.enable_x64(True):
        query, keys, value = (jnp.asarray(array, jnp.float64) for array in arrays)
        slope = jax.grad(lambda bias: jnp.sum(value * attend(query, keys + bias, value)))(jnp.zeros((2, 4)))
        assert slope.dtype == jnp.float64
        assert np.abs(slope).max() < 1e-12
