"""FRePo's evaluations: a network trained by regression with Adam, and a ridge regression on the features that it then
has (Zhou, Nezhadarya & Ba, NeurIPS 2022)."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.augment.transform import augmented
from jaxdistill.common.sets import centred
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.recipe import Recipe, function_of
from jaxdistill.kernels.gram import gram
from jaxdistill.kernels.regression import LINEAR
from jaxdistill.losses.ridge import coefficients, precisely
from jaxdistill.training.gradients import each_image
from jaxdistill.training.inference import embedding
from jaxdistill.training.sgd import fit, train_step
from jaxdistill.types import Augment, Key, Network, PyTree, SyntheticSet, Variables

__all__ = ["FeatureRegression", "Regression"]

_STEPS = {10: 1_000, 100: 2_000, 200: 20_000, 400: 5_000, 500: 5_000, 1_000: 10_000, 2_000: 40_000, 5_000: 40_000}


@dataclasses.dataclass(frozen=True)
class Regression(Recipe):
    """Train fresh networks on centred labels by the squared error, with Adam, then test the final weights once.

    The step size rises linearly, then falls by half a cosine to a hundredth. Batches come in a fixed order.
    """

    epochs: int | None = None
    """Passes over the set; by default what the released code has for its number of images, between its numbers by
    interpolation (linear in the logarithm)."""
    augment: str | Augment = "zoom:default"
    """See `jaxdistill.augment.make`."""
    selected_augment: str | Augment | None = dataclasses.field(default=None, kw_only=True)
    """Augmentation of images that are selected real ones, where those of the set are known; None is `augment`."""
    batch: int = 500
    """Batch size; the whole set where it is smaller."""
    learning_rate: float = 3e-4
    """The largest step size."""
    warmup: int = 500
    """Steps until the largest step size is reached, half of all steps at the most."""
    last: float = 0.01
    """Share of the largest step size that is left at the end."""

    def __post_init__(self) -> None:
        if (self.epochs is not None and self.epochs < 1) or self.batch < 1 or self.learning_rate <= 0:
            raise UsageError(
                f"this evaluation needs epochs and batch of at least 1 and a positive step size, got {self.epochs}, "
                f"{self.batch} and {self.learning_rate}"
            )

    @property
    def training(self) -> str:
        """Length, loss and step size, in words."""
        length = "1,000 steps and more by the number of images" if self.epochs is None else f"{self.epochs} epochs"
        return (
            f"{length} of Adam on the squared error of centred labels with step size {self.learning_rate} after "
            f"{self.warmup} steps of warm-up, lowered by a cosine to {self.last} of it"
        )

    def steps(self, count: int) -> int:
        """Steps for a set of so many images."""
        if self.epochs is not None:
            return self.epochs * math.ceil(count / self.batch)
        return round(float(np.interp(np.log(count), np.log(list(_STEPS)), list(_STEPS.values()))))

    def fit(self, key: Key, synthetic: SyntheticSet, network: Network) -> Variables:
        """Train a fresh network, step after step."""
        synthetic = dataclasses.replace(synthetic, labels=centred(synthetic), label_kind="target")
        n, augment = synthetic.count, function_of(self.augment)
        apart = None if self.selected_augment is None else function_of(self.selected_augment)
        steps, batch = self.steps(n), min(self.batch, n)
        warmup, end = min(self.warmup, steps // 2), self.last * self.learning_rate
        optimizer = optax.adam(optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, warmup, steps, end))
        key_init, key_steps = jax.random.split(key)

        def shown(key: Key, batch: SyntheticSet) -> SyntheticSet:
            return dataclasses.replace(batch, images=augmented(key, batch, augment, apart))

        def advance(i: Int[Array, ""], variables: Variables, opt_state: PyTree) -> tuple[Variables, PyTree]:
            drawn = synthetic.take((i * batch + jnp.arange(batch)) % n)
            key = jax.random.fold_in(key_steps, i)
            return train_step(key, network, variables, opt_state, drawn, optimizer=optimizer, transform=shown)[:2]

        return fit(key_init, network, optimizer, steps, advance)


@dataclasses.dataclass(frozen=True)
class FeatureRegression(Regression):
    """Train fresh networks as `Regression` does, then predict by a ridge regression on their features: FRePo's column
    of the kernel regression.

    The set is the support, with its mirror images where the augmentation mirrors, as in the released code. Differs from
    it in that the regression is solved in float64.
    """

    ridge: float = dataclasses.field(default=1e-6, kw_only=True)
    """Penalty, relative to the mean of the kernel's diagonal."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.ridge < math.inf:
            raise UsageError(f"`ridge` is a positive number, not {self.ridge}")

    @property
    def training(self) -> str:
        """The network's training, and the penalty, in words."""
        return f"ridge regression with penalty {self.ridge} on the features of a network after {super().training}"

    def fit(self, key: Key, synthetic: SyntheticSet, network: Network) -> Variables:
        """Train a fresh network; by which factors its features then predict stands beside its running averages."""
        trained = super().fit(key, synthetic, network)
        images, labels = synthetic.images, centred(synthetic)
        if "flip" in getattr(function_of(self.augment), "strategy", ""):
            images, labels = jnp.concatenate([images, images[:, :, ::-1]]), jnp.concatenate([labels, labels])
        rows = each_image(lambda images: embedding(network, trained, images), images)

        @precisely
        def factors(rows: Array, labels: Array) -> Array:
            return rows.T @ coefficients(gram(LINEAR, rows, rows), labels, self.ridge)

        return Variables(trained.params, (trained.statistics, factors(rows, labels)))

    def predict(
        self, network: Network, variables: Variables, images: Float[Array, "n h w c"]
    ) -> Float[Array, "n classes"]:
        """The regression's predictions."""
        statistics, factors = variables.statistics
        seen = embedding(network, Variables(variables.params, statistics), images)
        return jnp.matmul(seen, factors, precision="highest")
