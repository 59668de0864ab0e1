"""What a diffusion model is trained by: its error at a random time, and the image that it saw there."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.common import draws
from jaxdistill.diffusion import schedule as schedules
from jaxdistill.diffusion.schedule import Schedule, at
from jaxdistill.errors import UsageError
from jaxdistill.types import Generator, Key, PyTree, map_one_by_one

__all__ = ["PRECISIONS", "Denoised", "check_blocks", "denoise", "log_variance_of", "variational"]

PRECISIONS = ("float32", "bfloat16")
_STEP = 1 / 255
"""Half the distance of two shades of 8 bits in [-1, 1]."""


class Denoised(NamedTuple):
    """What came of a batch, for each image."""

    error: Float[Array, " n"]
    """Mean squared error of the prediction, and the variational term where variances are learned."""
    clean: Float[Array, "n h w c"]
    """The image that the prediction implies, not clipped."""


class _Draws(NamedTuple):
    steps: Int[Array, " n"]
    noise: Float[Array, "n h w c"]
    labels: Int[Array, " n"]


def denoise(
    key: Key,
    generator: Generator,
    params: PyTree,
    clean: Float[Array, "n h w c"],
    labels: Int[Array, " n"],
    *,
    drop: float,
    map_blocks: Callable[..., PyTree] = map_one_by_one,
    blocks: int = 1,
    precision: str = "float32",
) -> Denoised:
    """Noise images each at a time of its own, and have the model say what was added (Ho et al., NeurIPS 2020, eq. 14).

    Args:
        key: for times, noise and dropped labels.
        generator: the model.
        params: its parameters.
        clean: what is diffused.
        labels: classes of the data set.
        drop: share of images whose label is withheld, for guidance without a classifier (Ho & Salimans, 2021).
        map_blocks: how to go over blocks of images; see `jaxdistill.types.Task.map_blocks`.
        blocks: how many there are; has to divide the number of images.
        precision: one of `PRECISIONS`: what the model computes in, forward and back. Parameters stay as they are, and
            so do gradients, their sum over blocks, and what follows from the prediction.
    """
    key_step, key_noise, key_drop = jax.random.split(key, 3)
    n, schedule = len(labels), generator.schedule
    withheld = jax.random.uniform(key_drop, (n,)) < drop
    drawn = _Draws(
        jax.random.randint(key_step, (n,), 0, schedule.steps),
        draws.normal(key_noise, clean.shape, clean.dtype),
        jnp.where(withheld, generator.null, jnp.asarray(generator.labels)[labels]),
    )

    def block(entry: tuple[Float[Array, "b h w c"], _Draws], params: PyTree) -> Denoised:
        clean, (steps, noise, labels) = entry
        noisy = schedules.mix(schedule, clean, noise, steps)
        if precision == "bfloat16":
            params = jax.tree.map(lambda leaf: leaf.astype(precision), params)
            output = generator.apply(params, noisy.astype(precision), jnp.asarray(schedule.times)[steps], labels)
            output = output.astype(noisy.dtype)
        else:
            output = generator.apply(params, noisy, jnp.asarray(schedule.times)[steps], labels)
        predicted = output[..., : clean.shape[-1]]
        target = noise
        if generator.prediction == "velocity":
            target = at(schedule.signal, steps) * noise - at(schedule.noise, steps) * clean
        error = jnp.mean((predicted - target) ** 2, axis=(1, 2, 3))
        found = schedules.clean_of(schedule, generator.prediction, noisy, predicted, steps)
        if generator.learned_variance:
            place = output[..., clean.shape[-1] :]
            error = error + variational(schedule, clean, noisy, jax.lax.stop_gradient(found), place, steps)
        return Denoised(error, found)

    if blocks == 1:
        return block((clean, drawn), params)
    entries = jax.tree.map(lambda leaf: leaf.reshape(blocks, -1, *leaf.shape[1:]), (clean, drawn))
    # Nothing of a block is kept for the way back: memory is that of one.
    found = map_blocks(jax.checkpoint(block), entries, params)
    return jax.tree.map(lambda leaf: leaf.reshape(n, *leaf.shape[2:]), found)


def check_blocks(batch: int, blocks: int) -> None:
    """See that a batch can be divided.

    Raises:
        UsageError: if not.
    """
    if batch % blocks:
        raise UsageError(f"a batch of {batch} cannot go in {blocks} equal blocks; choose `microbatches` that divide it")


def log_variance_of(
    schedule: Schedule, place: Float[Array, "n h w c"], steps: Int[Array, " n"]
) -> Float[Array, "n h w c"]:
    """The log variance of a reverse step, between its smallest (-1) and its largest (1) (Nichol & Dhariwal, eq. 15).

    Args:
        schedule: the noise's.
        place: where between the two, from -1 to 1.
        steps: noise level of each image.
    """
    share = (place + 1) / 2
    return share * at(schedule.log_beta, steps) + (1 - share) * at(schedule.log_variance, steps)


def variational(
    schedule: Schedule,
    clean: Float[Array, "n h w c"],
    noisy: Float[Array, "n h w c"],
    found: Float[Array, "n h w c"],
    place: Float[Array, "n h w c"],
    steps: Int[Array, " n"],
) -> Float[Array, " n"]:
    """The variational bound's term of one step, in bits per number (Nichol & Dhariwal, ICML 2021, sec. 3.1).

    It is the divergence of the model's reverse step from the true one; at the first step the code length of the image
    in 8 bits.

    Args:
        schedule: the diffusion.
        clean: the images.
        noisy: with noise.
        found: what the model takes for the clean images.
        place: where its variances lie, see `log_variance_of`.
        steps: of each image.
    """
    true, mean = (schedules.posterior(schedule, noisy, image, steps) for image in (clean, found))
    log_true, log_found = at(schedule.log_variance, steps), log_variance_of(schedule, place, steps)
    ratio, apart = jnp.exp(log_true - log_found), (true - mean) ** 2 * jnp.exp(-log_found)
    divergence = 0.5 * (log_found - log_true - 1 + ratio + apart)
    # The probability of the interval of values that 8 bits round to the image's; outermost shades reach to infinity.
    below, above = ((clean - mean + side) * jnp.exp(-0.5 * log_found) for side in (-_STEP, _STEP))
    low = jnp.where(clean < -0.999, 0.0, _normal_below(below))
    high = jnp.where(clean > 0.999, 1.0, _normal_below(above))
    length = -jnp.log(jnp.maximum(high - low, 1e-12))
    terms = jnp.where((steps == 0)[:, None, None, None], length, divergence)
    return jnp.mean(terms, axis=(1, 2, 3)) / math.log(2)


def _normal_below(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The share of a normal distribution below x, as the original approximates it."""
    return 0.5 * (1 + jnp.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
