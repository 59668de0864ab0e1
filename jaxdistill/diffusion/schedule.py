"""Noise schedules: how much of an image and how much noise there is at each time of the diffusion.

All is computed in float64 with NumPy, once, and used as float32 constants. A time is an index, 0 is the least noise.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.errors import UsageError

__all__ = ["SCHEDULES", "Prediction", "Schedule", "clean_of", "make", "mix", "noise_of", "posterior", "respaced"]

Prediction: TypeAlias = Literal["noise", "velocity"]
"""What a network predicts: the noise, or ``sqrt(abar) noise - sqrt(1 - abar) image`` (Salimans & Ho, ICLR 2022)."""


class Schedule(NamedTuple):
    """A diffusion ``q(x_t | x_0) = N(signal_t x_0, noise_t^2)`` of some steps."""

    times: Int[np.ndarray, " steps"]
    """What a network is told at each step: its time in the schedule that it was trained with."""
    signal: Float[np.ndarray, " steps"]
    """``sqrt(abar_t)``."""
    noise: Float[np.ndarray, " steps"]
    """``sqrt(1 - abar_t)``."""
    signal_before: Float[np.ndarray, " steps"]
    """``sqrt(abar_{t-1})``, 1 for the first."""
    noise_before: Float[np.ndarray, " steps"]
    """``sqrt(1 - abar_{t-1})``, 0 for the first."""
    from_clean: Float[np.ndarray, " steps"]
    """Weight of x_0 in the mean of ``q(x_{t-1} | x_t, x_0)``."""
    from_noisy: Float[np.ndarray, " steps"]
    """Weight of x_t in it."""
    log_variance: Float[np.ndarray, " steps"]
    """Its log variance, of the first step (where it is -inf) that of the second."""
    log_beta: Float[np.ndarray, " steps"]
    """The log variance of ``q(x_t | x_{t-1})``: the largest that a reverse step may have."""

    @property
    def steps(self) -> int:
        """How many there are."""
        return len(self.times)


def make(name: str, steps: int = 1000) -> Schedule:
    """A schedule by name.

    ``"linear"``: variances from 1e-4 to 0.02 (Ho et al., NeurIPS 2020), scaled where there are not 1,000 steps.
    ``"cosine"``: ``abar`` falls as a squared cosine (Nichol & Dhariwal, ICML 2021, eq. 17), variances at most 0.999.

    Raises:
        UsageError: if there is no such schedule, or fewer than two steps.
    """
    if name not in SCHEDULES:
        raise UsageError(f"unknown noise schedule '{name}'; choose one of {', '.join(SCHEDULES)}")
    if steps < 2:
        raise UsageError(f"a diffusion has at least 2 steps, not {steps}")
    if name == "linear":
        betas = np.linspace(1e-4, 0.02, steps) * (1000 / steps)
    else:
        level = np.cos((np.arange(steps + 1) / steps + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = 1 - level[1:] / level[:-1]
    return _of(np.cumprod(1 - np.minimum(betas, 0.999)), np.arange(steps))


SCHEDULES = ("linear", "cosine")


def respaced(schedule: Schedule, count: int) -> Schedule:
    """The same diffusion in `count` of its steps, evenly spread from its first to its last.

    Raises:
        UsageError: if there are not so many.
    """
    if not 2 <= count <= schedule.steps:
        raise UsageError(f"sampling takes 2 to {schedule.steps} steps, not {count}")
    kept = np.round(np.linspace(0, schedule.steps - 1, count)).astype(int)
    return _of(schedule.signal.astype(np.float64)[kept] ** 2, schedule.times[kept])


def _of(level: Float[np.ndarray, " steps"], times: Int[np.ndarray, " steps"]) -> Schedule:
    before = np.append(1.0, level[:-1])
    betas = 1 - level / before
    variance = betas * (1 - before) / (1 - level)
    return Schedule(
        times.astype(np.int32), np.sqrt(level), np.sqrt(1 - level), np.sqrt(before), np.sqrt(1 - before),
        betas * np.sqrt(before) / (1 - level), (1 - before) * np.sqrt(1 - betas) / (1 - level),
        np.log(np.append(variance[1], variance[1:])), np.log(betas),
    )  # fmt: skip


def at(numbers: Float[np.ndarray, " steps"], steps: Int[Array, " n"]) -> Float[Array, "n 1 1 1"]:
    """One of a schedule's fields at the step of each image."""
    return jnp.asarray(numbers, jnp.float32)[steps][:, None, None, None]


def mix(
    schedule: Schedule, clean: Float[Array, "n h w c"], noise: Float[Array, "n h w c"], steps: Int[Array, " n"]
) -> Float[Array, "n h w c"]:
    """Images with the noise of their steps.

    Args:
        schedule: the noise's.
        clean: the images.
        noise: standard normal.
        steps: noise level of each image.
    """
    return at(schedule.signal, steps) * clean + at(schedule.noise, steps) * noise


def clean_of(
    schedule: Schedule,
    prediction: Prediction,
    noisy: Float[Array, "n h w c"],
    output: Float[Array, "n h w c"],
    steps: Int[Array, " n"],
) -> Float[Array, "n h w c"]:
    """The image that a prediction implies, not clipped.

    Args:
        schedule: the noise's.
        prediction: what the output means.
        noisy: what the model saw.
        output: what it said.
        steps: noise level of each image.
    """
    signal, noise = at(schedule.signal, steps), at(schedule.noise, steps)
    if prediction == "velocity":
        return signal * noisy - noise * output
    return (noisy - noise * output) / signal


def noise_of(
    schedule: Schedule, noisy: Float[Array, "n h w c"], clean: Float[Array, "n h w c"], steps: Int[Array, " n"]
) -> Float[Array, "n h w c"]:
    """The noise that is in noisy images if these are the clean ones.

    Args:
        schedule: the noise's.
        noisy: images with their noise.
        clean: the same without.
        steps: noise level of each image.
    """
    return (noisy - at(schedule.signal, steps) * clean) / at(schedule.noise, steps)


def posterior(
    schedule: Schedule, noisy: Float[Array, "n h w c"], clean: Float[Array, "n h w c"], steps: Int[Array, " n"]
) -> Float[Array, "n h w c"]:
    """Mean of the image one step before, given this one and the clean one.

    Args:
        schedule: the noise's.
        noisy: images with their noise.
        clean: the same without.
        steps: noise level of each image.
    """
    return at(schedule.from_clean, steps) * clean + at(schedule.from_noisy, steps) * noisy
