"""The autoencoder's loss against NumPy and its own slope, its latents, its sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.diffusion.autoencoder import Autoencoder, Posterior, loss, sample, unit_factor

KEY = jax.random.key(0)
TINY = Autoencoder(channels=1, widths=(2, 2), blocks=1, groups=1, latent_channels=2)
IMAGES = np.sin(np.arange(2 * 6 * 4) ** 1.2).reshape(2, 6, 4, 1)
jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles twice as fast


class Known(Autoencoder):
    """Encodes to given moments and decodes to given images plus the sum of the latents."""

    def encode(self, params, images):
        del images
        return Posterior(params["mean"], params["log_variance"])

    def decode(self, params, latents):
        return params["images"] + latents.sum()


@pytest.fixture(scope="module")
def params():
    return jit(TINY.init)(KEY)


@pytest.mark.parametrize("squared", [False, True])
def test_the_loss_is_the_formula(squared):
    rng = np.random.default_rng(0)
    mean, log_variance = rng.normal(size=(2, 2, 3, 2, 4)).astype(np.float32)
    rebuilt = rng.normal(size=IMAGES.shape).astype(np.float32)
    known = {"mean": jnp.asarray(mean), "log_variance": jnp.asarray(log_variance), "images": jnp.asarray(rebuilt)}
    total, info = loss(KEY, Known(), known, jnp.asarray(IMAGES, jnp.float32), weight=0.1, squared=squared)
    latents = mean + np.exp(log_variance / 2) * np.asarray(jax.random.normal(KEY, mean.shape))
    difference = IMAGES - rebuilt - latents.sum()
    error = np.mean(difference**2 if squared else np.abs(difference))
    variance = np.exp(log_variance)
    divergence = np.mean([0.5 * (v + m * m - 1 - np.log(v)).sum() for m, v in zip(mean, variance, strict=True)])
    np.testing.assert_allclose(info.error, error, rtol=1e-5)
    np.testing.assert_allclose(info.divergence, divergence, rtol=1e-5)
    np.testing.assert_allclose(total, error + 0.1 * divergence / 24, rtol=1e-5)


def test_a_sample_has_the_moments_that_it_was_told():
    posterior = Posterior(jnp.full((50, 10, 10, 2), 3.0), jnp.full((50, 10, 10, 2), 2 * np.log(0.5)))
    drawn = sample(KEY, posterior)
    np.testing.assert_allclose([drawn.mean(), drawn.std()], [3, 0.5], rtol=0.02)
    np.testing.assert_allclose((drawn * unit_factor(drawn)).var(), 1, rtol=1e-5)


def test_descent_follows_the_slope(params):
    """Of the whole loss, latents drawn and all."""
    with jax.enable_x64(True):
        images = jnp.asarray(IMAGES)
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, float), params)
        of = functools.partial(loss, autoencoder=TINY, weight=1e-2, squared=True)

        @jit
        def descend(params, rate):
            (value, _), gradient = jax.value_and_grad(lambda p: of(KEY, params=p, images=images), has_aux=True)(params)
            return jax.tree.map(lambda p, g: p - rate * g, params, gradient), gradient, value

        params, _, start = descend(params, 0.1)
        _, gradient, here = descend(params, 0.1)
        norm = sum(float(np.sum(np.square(g))) for g in jax.tree.leaves(gradient))
        step = 1e-5 / norm
        (ahead, _, _), (behind, _, _) = descend(params, step), descend(params, -step)
        slope = (descend(behind, 0.0)[2] - descend(ahead, 0.0)[2]) / (2 * step)
        np.testing.assert_allclose(slope, norm, rtol=1e-3)
        for _ in range(40):
            params, _, end = descend(params, 0.1)
        assert float(start) > float(here)
        assert float(end) < 0.2 * float(start)
        assert all(np.any(np.asarray(g) != 0) for g in jax.tree.leaves(gradient))


def test_a_fresh_one_is_within_pytorchs_bounds(params):
    residual, norm = params["encoder"]["level_0_block_0"]["conv1"], params["decoder"]["norm_out"]
    bound = 1 / np.sqrt(3 * 3 * 2)
    assert 0.8 * bound < np.abs(residual["kernel"]).max() < bound > np.abs(residual["bias"]).max() > 0
    assert np.all(norm["scale"] == 1)
    assert np.all(norm["bias"] == 0)
    leaves = [np.ravel(leaf) for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert len(np.unique(np.concatenate(leaves))) == sum(map(len, leaves))


def test_stable_diffusions_is_as_large_as_it_is():
    shapes = jax.eval_shape(Autoencoder().init, KEY)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 83_653_863
    posterior = jax.eval_shape(Autoencoder().encode, shapes, jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32))
    assert posterior.mean.shape == posterior.log_variance.shape == (1, 32, 32, 4)
    assert jax.eval_shape(Autoencoder().decode, shapes, posterior.mean).shape == (1, 256, 256, 3)


def test_sizes_that_do_not_fit_are_refused(params):
    for shape in ((1, 5, 4, 1), (1, 4, 5, 1), (1, 4, 4, 3)):
        with pytest.raises(ValueError, match=r"takes 1 channels and sides that are multiples of 2, not .*; resize"):
            TINY.encode(params, jnp.zeros(shape))
    with pytest.raises(ValueError, match="multiples of the 4 groups"):
        Autoencoder(widths=(8, 6), groups=4)
    with pytest.raises(ValueError, match="at least one level"):
        Autoencoder(widths=())
