"""How a set is judged: the papers' evaluation recipes as data."""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

__all__ = ["PROTOCOLS", "Protocol"]


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Train fresh networks on the set alone with SGD, then test the final weights once on the whole test set.

    The epoch counter runs from 0 to `epochs` inclusive, as in the original code, so ``epochs + 1`` epochs are run.
    Last-iterate accuracy only: nothing is chosen by the test set.
    """

    epochs: int
    """E of the papers."""
    augment: str = "default"
    """``"default"`` is the data set's DSA strategy, ``"none"`` is none; anything else names an augmentation."""
    batch: int = 256
    """Batch size; the whole set where it is smaller. The last, smaller batch is kept."""
    learning_rate: float = 0.01
    """Step size; where `learned_rate` is true, only for sets that carry none."""
    learned_rate: bool = False
    """Use the (first) step size that was learned with the set, if there is one."""
    momentum: float = 0.9
    """Heavy-ball momentum; its buffer is emptied at each drop of the step size."""
    weight_decay: float = 5e-4
    """Coupled L2 penalty on every parameter."""
    drop: float = 0.1
    """Factor of the step size after epoch ``epochs // 2 + 1``."""
    labels: Literal["native", "hard"] = "native"
    """Train on the labels as stored, or on their argmax."""

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch < 1 or self.learning_rate <= 0:
            raise ValueError(
                f"an evaluation needs epochs >= 0, batch >= 1 and a positive learning rate, got {self.epochs}, "
                f"{self.batch} and {self.learning_rate}"
            )

    @property
    def drop_epoch(self) -> int:
        """First epoch trained at the lower step size."""
        return self.epochs // 2 + 2

    def rate(self, base: Float[Array, ""], epoch: Int[Array, ""]) -> Float[Array, ""]:
        """Step size of an epoch."""
        return base * jnp.where(epoch >= self.drop_epoch, self.drop, 1.0)


PROTOCOLS: dict[str, Protocol] = {
    "dc300": Protocol(300, augment="none"),
    "dc1000-mnist": Protocol(1000, augment="classic:crop_scale_rotate"),
    "dc1000-bn": Protocol(1000, augment="classic:crop_noise"),
    "dsa1000": Protocol(1000),
    "datadam1800": Protocol(1800, batch=64),
    "mtt1000": Protocol(1000, learned_rate=True),
    "datm1000": Protocol(1000, batch=128, learned_rate=True),
}
"""The papers' recipes by name: DC plain, for MNIST, and for batch-norm networks; DSA, DM and DC-BENCH; DataDAM's code;
MTT, TESLA and FTD; DATM. The last two train a set at the step size that was learned with it; random images, which have
none, at `learning_rate`. Recipes that need more (CutMix, cosine schedules, kernels) come with their methods."""
