"""Minimax Diffusion (Gu et al., CVPR 2024, arXiv:2311.15529).

A diffusion model is fine-tuned on the data set so that what it draws is like the real images of a class (pull the least
similar pair together) and unlike itself (push the most similar pair apart); the set is drawn from its averaged
parameters. Differs from the code: an image's key follows from its class and number, so that smaller sets are the first
of larger ones; a step's images are drawn anew, not in epochs; the average holds frozen parameters once.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.common.promotion import standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import Uniform
from jaxdistill.diffusion.denoise import PRECISIONS, check_blocks, denoise
from jaxdistill.diffusion.draw import chosen_of, drawer, merged, needed
from jaxdistill.diffusion.memory import Memory, diversity, empty_memory, mean_of, push, representativeness
from jaxdistill.diffusion.sample import PAPERS, Sampling
from jaxdistill.errors import UsageError
from jaxdistill.types import Batch, GenerativeMethod, Key, PyTree, Task

__all__ = ["Minimax", "MinimaxInfo", "MinimaxState", "minimax"]

TUNED = {
    "scales": lambda name: name.endswith("bias") or "gamma" in name or name == "label_table",
    "all": lambda name: True,
}
"""Which parameters learn: biases, scales and the table of labels (DiffFit), or all."""


@renamed(
    batch="real_batch",
    drop="label_dropout",
    average="ema_decay",
    blocks="microbatches",
    memory="memory_size",
    tune="trainable",
    centred="center",
)
@dataclasses.dataclass(frozen=True)
class Minimax:
    """Fine-tune a generator to draw images that are representative and diverse; the code's batch is 8, ours larger."""

    lr: float = 1e-3
    """AdamW's step size, constant."""
    real_batch: int = 64
    """Real images per step."""
    representativeness: float = 0.002
    """Weight of the loss that pulls the least similar pair of a real and a predicted image together."""
    diversity: float = 0.008
    """Weight of the loss that pushes the most similar pair of predicted images apart."""
    memory_size: int = 64
    """Real images, and predicted ones, that are remembered of each class."""
    trainable: str = "scales"
    """Which parameters learn: scales (biases, scale factors and the labels' table) or all."""
    center: bool = False
    """Subtract the mean remembered real image before images are compared: pixels have a background in common."""
    ema_decay: float = 0.9999
    """Decay of the averaged parameters, which are what is kept: how much they hold on to at each step."""
    label_dropout: float = 0.1
    """Share of labels that are withheld in training, for guidance."""
    microbatches: int = 1
    """Blocks that a batch goes through the generator in, their gradients added up: more take less memory, and are
    spread over devices. Terms and memories are the whole batch's, as with one."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """What the generator computes in while it learns: bfloat16 takes half the memory, and parameters, gradients and
    averages stay float32."""
    sampling: Sampling = PAPERS


class MinimaxState(NamedTuple):
    """The generator, its average, and what is remembered of each class."""

    params: PyTree
    """The generator's, those that learn and those that do not."""
    average: dict[str, Array]
    """Of those that learn."""
    opt_state: optax.OptState
    real: Memory
    predicted: Memory
    """What the generator saw in noisy images."""


class MinimaxInfo(NamedTuple):
    """The loss and its three terms."""

    loss: Float[Array, ""]
    denoising: Float[Array, ""]
    representativeness: Float[Array, ""]
    """Before its weight in the loss."""
    diversity: Float[Array, ""]
    """Before its weight in the loss."""
    grad_norm: Float[Array, ""]


def minimax(config: Minimax, task: Task) -> GenerativeMethod:
    """Build Minimax Diffusion.

    Args:
        config: weights of the terms, memory, step size and how the set is drawn.
        task: its generator (a function that makes one, with parameters that were learned: see
            `jaxdistill.methods.dit.dit`) and an augmentation for the real images; its network is not used.

    Raises:
        UsageError: for settings out of range, or a task without a generator.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_task
        >>> trained = toy_task().generator().init(jax.random.key(2))  # stands for one that was
        >>> method = minimax(Minimax(real_batch=8, memory_size=4), toy_task(params=trained))
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0)), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.denoising < first.denoising)  # the other terms grow with what is remembered
        True

    References:
        Gu et al., Efficient Dataset Distillation via Minimax Diffusion, CVPR 2024.
    """
    check(
        config, positive=("lr",), momenta=("ema_decay",), shares=("label_dropout",),
        counts=("real_batch", "memory_size", "microbatches"), not_negative=("representativeness", "diversity"),
        choices={"trainable": TUNED, "precision": PRECISIONS},
    )  # fmt: skip
    check_blocks(config.real_batch, config.microbatches)
    generator, chosen = needed(task, config.sampling), TUNED[config.trainable]
    optimiser = optax.adamw(config.lr, weight_decay=0.0)
    if not generator.trained:
        raise UsageError(
            "minimax fine-tunes a generator; train one with 'jaxdistill distill dit' and give `generator` (params= of "
            "make_generator in Python)"
        )
    size = generator.latent_shape[0] * generator.latent_shape[1] * generator.latent_shape[2]

    def init(key: Key) -> MinimaxState:
        params = generator.init(key)
        tuned = chosen_of(params, chosen)
        real, predicted = (empty_memory(task.num_classes, config.memory_size, size) for _ in range(2))
        average = jax.tree.map(jnp.copy, tuned)  # no array twice in a state, so that it can be donated
        return MinimaxState(params, average, optimiser.init(tuned), real, predicted)

    def step(key: Key, state: MinimaxState, batch: Batch) -> tuple[MinimaxState, MinimaxInfo]:
        key_augment, key_encode, key_denoise = jax.random.split(key, 3)
        images = task.augment(key_augment, batch.images, siamese=False)
        clean = generator.encode(state.params, key_encode, images)
        centre = mean_of(state.real) if config.center else 0.0

        def loss(tuned: dict[str, Array]) -> tuple[Float[Array, ""], tuple[Array, Array, Array, Array]]:
            found = denoise(
                key_denoise, generator, merged(state.params, tuned), clean, batch.labels,
                drop=config.label_dropout, map_blocks=task.map_blocks, blocks=config.microbatches,
                precision=config.precision,
            )  # fmt: skip
            seen = found.clean.reshape(-1, size)
            error = jnp.mean(found.error)
            alike = representativeness(seen, batch.labels, state.real, centre)
            close = diversity(seen, batch.labels, state.predicted, centre)
            total = error + config.representativeness * alike + config.diversity * close
            return total, (error, alike, close, seen)

        tuned = chosen_of(state.params, chosen)
        (total, (*terms, seen)), gradient = jax.value_and_grad(loss, has_aux=True)(tuned)
        updates, opt_state = optimiser.update(gradient, state.opt_state, tuned)
        tuned = optax.apply_updates(tuned, updates)
        average: Any = optax.incremental_update(tuned, state.average, 1 - config.ema_decay)
        # After the loss: what is compared is never itself.
        real = push(state.real, clean.reshape(-1, size), batch.labels)
        predicted = push(state.predicted, seen, batch.labels)
        params = merged(state.params, tuned)
        info = MinimaxInfo(total, *terms, optax.global_norm(gradient))  # pyright: ignore[reportCallIssue]
        return MinimaxState(params, average, opt_state, real, predicted), info

    def params(state: MinimaxState) -> PyTree:
        return merged(state.params, state.average)

    draw = drawer(generator, task, config.sampling)
    return standardised(GenerativeMethod(init, step, params, Uniform(config.real_batch), draw))
