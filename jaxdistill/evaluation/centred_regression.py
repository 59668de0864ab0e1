"""RFAD's evaluation on networks: what a wide network says beyond its first weights (Loo et al., NeurIPS 2022)."""

from __future__ import annotations

import dataclasses
import math

import jax
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.common.sets import centred
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.recipe import Recipe
from jaxdistill.training.gradients import each_image
from jaxdistill.training.inference import logits
from jaxdistill.training.sgd import fit, sgd, train_step
from jaxdistill.types import Key, Network, PyTree, SyntheticSet, Variables

__all__ = ["RFAD_SIZES", "CentredRegression"]

Row = tuple[int, float, float, float]
RFAD_SIZES: dict[str, tuple[Row, ...]] = {
    "cifar10": ((1, 1e-3, 8.0, 0.0), (10, 1e-3, 2.0, 0.0), (50, 1e-2, 2.0, 0.0)),
    "cifar100": ((1, 0.1, 8.0, 0.0), (10, 0.1, 2.0, 0.0)),
    "svhn": ((1, 1e-3, 16.0, 0.0), (10, 1e-2, 8.0, 0.0), (50, 1e-2, 2.0, 0.0)),
    "mnist": ((1, 1e-3, 8.0, 1e-3), (10, 1e-2, 8.0, 1e-3), (50, 1e-2, 8.0, 0.0)),
    "fashion": ((1, 1e-3, 8.0, 0.0), (10, 1e-2, 8.0, 1e-3), (50, 1e-3, 2.0, 0.0)),
}
"""`CentredRegression.by_size` of the data sets, as the released code has them."""


@dataclasses.dataclass(frozen=True)
class CentredRegression(Recipe):
    """Train fresh networks with SGD so that what they say beyond their first weights fits the set's centred labels.

    The labels are multiplied by a factor, the squared error divided by its square. Deviations: the last iterate is
    tested, where the code stops by accuracies on training images; the labels of batches smaller than the set have the
    factor too, which the code leaves out there alone.
    """

    epochs: int | None = None
    """Passes over the set; by default as many as make `steps`."""
    steps: int = 20_000
    """The most that the code takes."""
    by_size: tuple[Row, ...] = RFAD_SIZES["cifar10"]
    """Images per class, step size, factor of the labels, and penalty of how far the weights are from their first; of
    larger and larger sets. A set goes by the last that is for no more images than it has."""
    batch: int = 513
    """Batch size, drawn with replacement; the whole set where it is smaller."""
    momentum: float = 0.9
    """Heavy-ball momentum."""

    def __post_init__(self) -> None:
        if (self.epochs is not None and self.epochs < 1) or min(self.batch, self.steps, len(self.by_size)) < 1:
            raise UsageError(
                f"this evaluation needs epochs, steps and batch of at least 1 and one row of `by_size`, got "
                f"{self.epochs}, {self.steps}, {self.batch} and {self.by_size}"
            )

    @property
    def training(self) -> str:
        """Length, loss and what goes by the set's size, in words."""
        length = f"{self.steps:,} steps" if self.epochs is None else f"{self.epochs} epochs"
        rows = "; ".join(
            f"from {ipc} images of a class on step size {rate}, labels times {factor:g}"
            + (f", penalty {decay}" if decay else "")
            for ipc, rate, factor, decay in self.by_size
        )
        return f"{length} of SGD on the squared error of centred labels, less what the first weights say ({rows})"

    def row(self, ipc: int) -> Row:
        """That of `by_size` for so many images per class."""
        return next((row for row in self.by_size[::-1] if row[0] <= ipc), self.by_size[0])

    def fit(self, key: Key, synthetic: SyntheticSet, network: Network) -> Variables:
        """Train a fresh network, step after step; the first weights stay beside the last."""
        (n, classes), labels = synthetic.labels.shape, centred(synthetic)
        _, rate, factor, decay = self.row(n // classes)
        batch = min(self.batch, n)
        steps = self.steps if self.epochs is None else self.epochs * math.ceil(n / batch)
        key_init, key_steps = jax.random.split(key)
        first = network.init(jax.random.clone(key_init))
        # The difference from the first weights fits the labels where the network fits their sum.
        said = each_image(lambda images: logits(network, first, images), synthetic.images)
        sums = dataclasses.replace(synthetic, labels=factor * labels + said, label_kind="target")

        def pulled(gradient: PyTree, params: PyTree) -> PyTree:
            # The loss is the mean over classes, too, of the square and not of its half.
            scale = 2 / (classes * factor**2)
            return jax.tree.map(lambda g, p, p0: scale * g + 2 * decay * (p - p0), gradient, params, first.params)

        optimizer = optax.chain(optax.stateless(pulled), sgd(rate, momentum=self.momentum))

        def advance(i: Int[Array, ""], variables: Variables, opt_state: PyTree) -> tuple[Variables, PyTree]:
            key = jax.random.fold_in(key_steps, i)
            drawn = sums if batch == n else sums.take(jax.random.randint(key, (batch,), 0, n))
            return train_step(
                key, network, variables, opt_state, drawn, optimizer=optimizer, transform=lambda key, batch: batch
            )[:2]

        last = fit(key_init, network, optimizer, steps, advance)
        return Variables((last.params, first.params), (last.statistics, first.statistics))

    def predict(
        self, network: Network, variables: Variables, images: Float[Array, "n h w c"]
    ) -> Float[Array, "n classes"]:
        """What the network says less what it said at first."""
        last, first = (Variables(*parts) for parts in zip(variables.params, variables.statistics, strict=True))
        return logits(network, last, images) - logits(network, first, images)
