"""A diffusion transformer trained from scratch, and what it draws: Minimax Diffusion's baseline and its start.

The network is DiT (Peebles & Xie, ICCV 2023, arXiv:2212.09748). The settings are ours, for small data: the paper's
generator was trained on ImageNet. Of a generator that is there already, no steps at all draw a set.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.common.promotion import standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import Uniform
from jaxdistill.diffusion.denoise import PRECISIONS, check_blocks, denoise
from jaxdistill.diffusion.draw import chosen_of, drawer, merged, needed
from jaxdistill.diffusion.sample import Sampling
from jaxdistill.errors import UsageError
from jaxdistill.types import Batch, GenerativeMethod, Key, PyTree, Task

__all__ = ["DiT", "DiTInfo", "DiTState", "dit"]

_SMALL = Sampling(guidance=1.5)


@renamed(batch="real_batch", drop="label_dropout", average="ema_decay", blocks="microbatches")
@dataclasses.dataclass(frozen=True)
class DiT:
    """Train a generator, and draw the set from it."""

    lr: float = 1e-3
    """AdamW's step size, raised over the first steps and lowered by a cosine to a tenth over the run."""
    warmup: int = 100
    """Steps over which the step size is raised."""
    real_batch: int = 128
    """Real images per step."""
    label_dropout: float = 0.1
    """Share of labels that are withheld in training, for guidance."""
    ema_decay: float = 0.999
    """Decay of the averaged parameters, which are what is kept: how much they hold on to at each step; less at
    first."""
    autoencoder_steps: int = 0
    """The first so many steps train the autoencoder, where the generator has one."""
    microbatches: int = 1
    """Blocks that a batch goes through the generator in: more take less memory, and are spread over devices."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the generator computes in while it learns: bfloat16 takes half the memory, and parameters, gradients and
    averages stay float32."""
    sampling: Sampling = _SMALL


class DiTState(NamedTuple):
    """The generator, and its average, of which sets are drawn."""

    params: PyTree
    average: dict[str, Array]
    """Of the model's."""
    opt_state: tuple[optax.OptState, optax.OptState]
    """Of the model and of the autoencoder."""
    count: Int[Array, ""]


class DiTInfo(NamedTuple):
    """How well the generator denoises."""

    loss: Float[Array, ""]
    """Of the autoencoder, while that is trained."""
    grad_norm: Float[Array, ""]


def dit(config: DiT, task: Task) -> GenerativeMethod:
    """Build the training of a generator; the set is drawn from its averaged parameters.

    Args:
        config: step size, batch, average, and how the set is drawn.
        task: its generator (a function that makes one), an augmentation and, for the decay of the step size, steps;
            its network is not used.

    Raises:
        UsageError: for settings out of range, or a task without a generator.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_task
        >>> method = dit(DiT(real_batch=8, warmup=0), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0)), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

        To tune what it has learned, build a method on ``toy_task(params=method.params(state))``.

    References:
        Peebles & Xie, Scalable Diffusion Models with Transformers, ICCV 2023.
    """
    check(
        config, positive=("lr",), momenta=("ema_decay",), shares=("label_dropout",),
        counts=("real_batch", "microbatches"),
        not_negative=("warmup", "autoencoder_steps"), choices={"precision": PRECISIONS},
    )  # fmt: skip
    check_blocks(config.real_batch, config.microbatches)
    generator, first = needed(task, config.sampling), config.autoencoder_steps
    compress = generator.compress
    if generator.trained and first:
        raise UsageError("this generator was trained before; leave `autoencoder_steps` out")
    if compress is None and first:
        raise UsageError("there is no autoencoder to train; leave `autoencoder_steps` out, or give `latents`")
    if task.steps == 0 and not generator.trained:
        raise UsageError("nothing is trained in 0 steps; give some, or a `generator` to draw from")
    if task.steps is not None and 0 < task.steps <= first:
        raise UsageError(f"all {task.steps} steps would train the autoencoder; lower `autoencoder_steps`")
    if compress is not None and not first and not generator.trained:
        raise UsageError("latents need an autoencoder; say how long to train it with `autoencoder_steps`")
    rate = config.lr
    if task.steps is not None:
        total = max(task.steps - first, config.warmup + 1)
        first_rate = config.lr / (config.warmup + 1)  # no step is of size 0
        rate = optax.warmup_cosine_decay_schedule(first_rate, config.lr, config.warmup, total, config.lr / 10)
    optimiser = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.0))
    of_autoencoder = optax.adam(config.lr)

    def init(key: Key) -> DiTState:
        params = generator.init(key)
        model = chosen_of(params, lambda name: True)
        moments = optimiser.init(model), of_autoencoder.init(params["autoencoder"] if first else {})
        average = jax.tree.map(jnp.copy, model)  # no array twice in a state, so that it can be donated
        return DiTState(params, average, moments, jnp.zeros((), jnp.int32))

    def learn(key: Key, state: DiTState, batch: Batch) -> tuple[DiTState, DiTInfo]:
        key_encode, key_denoise = jax.random.split(key)
        clean = generator.encode(state.params, key_encode, batch.images)

        def loss(model: dict[str, Array]) -> Float[Array, ""]:
            found = denoise(
                key_denoise, generator, merged(state.params, model), clean, batch.labels,
                drop=config.label_dropout, map_blocks=task.map_blocks, blocks=config.microbatches,
                precision=config.precision,
            )  # fmt: skip
            return jnp.mean(found.error)

        model = chosen_of(state.params, lambda name: True)
        value, gradient = jax.value_and_grad(loss)(model)
        updates, moments = optimiser.update(gradient, state.opt_state[0], model)
        model = optax.apply_updates(model, updates)
        # The first steps leave little of the random beginning in the average.
        since = state.count - first
        hold = jnp.minimum(config.ema_decay, (1 + since) / (10 + since))
        average: Any = optax.incremental_update(model, state.average, 1 - hold)
        params, moments = merged(state.params, model), (moments, state.opt_state[1])
        info = DiTInfo(value, optax.global_norm(gradient))
        return DiTState(params, average, moments, state.count + 1), info

    def learn_latents(key: Key, state: DiTState, batch: Batch) -> tuple[DiTState, DiTInfo]:
        params = state.params["autoencoder"]
        assert compress is not None
        (value, tracked), gradient = jax.value_and_grad(compress, has_aux=True)(params, key, batch.images, state.count)
        updates, moments = of_autoencoder.update(gradient, state.opt_state[1], params)
        params = {**state.params, "autoencoder": optax.apply_updates(tracked, updates)}
        info = DiTInfo(value, optax.global_norm(gradient))
        return state._replace(params=params, opt_state=(state.opt_state[0], moments), count=state.count + 1), info

    def step(key: Key, state: DiTState, batch: Batch) -> tuple[DiTState, DiTInfo]:
        key_augment, key_learn = jax.random.split(key)
        batch = batch._replace(images=task.augment(key_augment, batch.images, siamese=False))
        if not first:
            return learn(key_learn, state, batch)
        return jax.lax.cond(state.count < first, learn_latents, learn, key_learn, state, batch)

    def params(state: DiTState) -> PyTree:
        return merged(state.params, state.average)

    draw = drawer(generator, task, config.sampling)
    return standardised(GenerativeMethod(init, step, params, Uniform(config.real_batch), draw, paced=True))
