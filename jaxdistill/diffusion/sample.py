"""Drawing from a diffusion model: ancestral or DDIM steps, with guidance; each image by a key of its own."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.common import draws
from jaxdistill.common.validate import check
from jaxdistill.diffusion import schedule as schedules
from jaxdistill.diffusion.denoise import log_variance_of
from jaxdistill.diffusion.schedule import at
from jaxdistill.errors import UsageError
from jaxdistill.types import Generator, Key, PyTree

__all__ = ["PAPERS", "SAMPLERS", "Sampling", "sample"]

SAMPLERS = ("ancestral", "ddim")


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How a generator is drawn from."""

    sampler: str = "ancestral"
    """How images are drawn from noise: ancestral (Ho et al., NeurIPS 2020), or ddim (Song et al., ICLR 2021), which
    adds no noise on the way."""
    sampling_steps: int = 50
    """Steps in which an image is drawn, spread evenly over those that the generator was trained with."""
    guidance: float = 4.0
    """Strength of the classifier-free guidance: 0 is the prediction without a class, 1 that with it, more goes
    beyond."""
    guided_channels: int | None = None
    """Guide the first so many channels alone, as DiT does with 3 of 4; by default all."""
    draw_batch: int = 32
    """Images that are drawn side by side; fewer take less memory."""

    def __post_init__(self) -> None:
        counts = ("sampling_steps", "draw_batch")
        check(self, not_negative=("guidance",), counts=counts, choices={"sampler": SAMPLERS})
        if self.guided_channels is not None and self.guided_channels < 0:
            raise UsageError(f"`guided_channels` is a number of channels, not {self.guided_channels}")


PAPERS = Sampling(guided_channels=3)
"""Minimax Diffusion's, of the released DiT as it is and of those that it tunes."""


def sample(
    keys: Key,
    generator: Generator,
    params: PyTree,
    classes: Int[Array, " n"],
    config: Sampling,
) -> Float[Array, "n h w c"]:
    """Draw an image (or latent) of each class; a key and class give the same one whatever stands beside them.

    Args:
        keys: one for each image.
        generator: the model.
        params: its parameters.
        classes: of the data set.
        config: steps and guidance.

    Raises:
        UsageError: if the generator has fewer steps than are to be taken.
    """
    schedule = schedules.respaced(generator.schedule, config.sampling_steps)
    shape, n = generator.latent_shape, classes.shape[0]
    labels = jnp.asarray(generator.labels)[classes]
    times = jnp.asarray(schedule.times)

    def drawn(number: Int[Array, ""]) -> Float[Array, "n h w c"]:
        return jax.vmap(lambda key: draws.normal(jax.random.fold_in(key, number), shape, jnp.float32))(keys)

    def output(noisy: Float[Array, "n h w c"], steps: Int[Array, " n"]) -> Float[Array, "n h w _outputs"]:
        if config.guidance == 1:
            return generator.apply(params, noisy, times[steps], labels)
        both = jnp.concatenate([labels, jnp.full_like(labels, generator.null)])
        found = generator.apply(params, jnp.tile(noisy, (2, 1, 1, 1)), jnp.tile(times[steps], 2), both)
        with_class, without = found[:n], found[n:]
        channels = shape[-1] if config.guided_channels is None else min(config.guided_channels, shape[-1])
        guided = without + config.guidance * (with_class - without)
        # Variances, and channels that are not guided, are those with the class.
        return jnp.concatenate([guided[..., :channels], with_class[..., channels:]], axis=-1)

    def back(noisy: Float[Array, "n h w c"], step: Int[Array, ""]) -> tuple[Float[Array, "n h w c"], None]:
        steps = jnp.full((n,), step)
        found = output(noisy, steps)
        predicted, place = found[..., : shape[-1]], found[..., shape[-1] :]
        clean = schedules.clean_of(schedule, generator.prediction, noisy, predicted, steps)
        clean = jnp.clip(clean, -1, 1) if generator.bounded else clean
        if config.sampler == "ddim":
            noise = schedules.noise_of(schedule, noisy, clean, steps)
            return at(schedule.signal_before, steps) * clean + at(schedule.noise_before, steps) * noise, None
        # Without learned variances, those of the posterior: the smaller of the usual two, better in few steps.
        log_variance = at(schedule.log_variance, steps)
        if generator.learned_variance:
            log_variance = log_variance_of(schedule, place, steps)
        spread = jnp.where(step > 0, jnp.exp(0.5 * log_variance), 0.0)
        return schedules.posterior(schedule, noisy, clean, steps) + spread * drawn(step), None

    start = drawn(jnp.asarray(schedule.steps))
    found, _ = jax.lax.scan(back, start, jnp.arange(schedule.steps - 1, -1, -1))
    return found
