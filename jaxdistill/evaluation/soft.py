"""RDED's evaluation: a network learns a teacher's soft labels with AdamW (Sun et al., CVPR 2024, arXiv:2312.03526).

Minimax Diffusion (Gu et al., CVPR 2024, arXiv:2311.15529) reports ImageNet-1K so. The settings are those of RDED's
released code. Unverified: with which options of it Minimax Diffusion's sets were evaluated.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial
from typing import ClassVar

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.augment.transform import Augmented
from jaxdistill.common.promotion import standard
from jaxdistill.common.sets import as_probabilities
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.recipe import Recipe, function_of
from jaxdistill.training.gradients import each_image
from jaxdistill.training.inference import logits
from jaxdistill.training.sgd import fit, train_step
from jaxdistill.types import Augment, Key, Network, PyTree, SyntheticSet, Variables

__all__ = ["SoftLabels", "taught"]


@standard
def taught(synthetic: SyntheticSet, network: Network, variables: Variables) -> SyntheticSet:
    """The set with a trained network's logits of each image as labels.

    Args:
        synthetic: the set.
        network: the teacher.
        variables: the teacher's.

    Raises:
        UsageError: if the set stores several tiles in an image.
    """
    if synthetic.tiles != 1:
        raise UsageError("a teacher labels whole images; decode the set's tiles first")
    # Not `predict`, whose compiled program would round a small set's labels otherwise than before.
    labels = each_image(partial(logits, network, variables), synthetic.images)
    return dataclasses.replace(synthetic, labels=labels, label_kind="logit")


@dataclasses.dataclass(frozen=True)
class SoftLabels(Recipe):
    """Train fresh networks towards softened logits of a teacher, with AdamW, then test the final weights once.

    The logits are the set's labels (`taught`). Other labels, as those of random images, are learned as they are, by
    cross-entropy without a temperature.

    Deviation: the original asks the teacher anew about each cropped and mixed image; here each whole image has one
    label, and CutMix mixes labels by area. The original also shuffles the quarters of an image, which RDED's are made
    of, and reports the best accuracy of the last fifth of the epochs.
    """

    epochs: int = 300
    """Passes over the set."""
    augment: str | Augment = "photo:default-color-cutout-scale-rotate"
    """See `jaxdistill.augment.make`: resized crop, and flip but for digits."""
    selected_augment: str | Augment | None = dataclasses.field(default=None, kw_only=True)
    """Augmentation of images that are selected real ones, where those of the set are known; None is `augment`."""
    cutmix: float = 1.0
    """Probability of mixing a batch."""
    temperature: float = 20.0
    """What logits are divided by, the teacher's and the network's."""
    batch: int = 100
    """Batch size; the whole set where it is smaller. The code's at 50 images per class; it has 50 at 10 and 10 at 1,
    and twice as many from 100 classes on. The last batch of a pass is filled up from the first."""
    learning_rate: float = 1e-3
    """The first step size, as for ConvNets and ResNets; half a cosine of twice the epochs lowers it to a half."""
    weight_decay: float = 0.01
    """Decoupled weight decay, of arrays with more than one axis."""

    needs_teacher: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch) < 1 or min(self.temperature, self.learning_rate) <= 0:
            raise UsageError(f"this evaluation needs positive epochs, batch, temperature and step size, got {self}")

    @property
    def training(self) -> str:
        """Epochs, temperature and step size, in words."""
        return (
            f"{self.epochs} epochs of AdamW at temperature {self.temperature:g} where labels are logits, step size "
            f"{self.learning_rate} lowered by a cosine to half of it"
        )

    def fit(self, key: Key, synthetic: SyntheticSet, network: Network) -> Variables:
        """Train a fresh network, step after step."""
        temperature = self.temperature if synthetic.label_kind == "logit" else 1.0
        if synthetic.label_kind == "logit":
            synthetic = as_probabilities(dataclasses.replace(synthetic, labels=synthetic.labels / temperature))

        def cooled(variables: Variables, images: Float[Array, "n h w c"], train: bool) -> tuple[Array, PyTree]:
            logits, statistics = network.apply(variables, images, train=train)
            return logits / temperature, statistics

        student, n = network._replace(apply=cooled), synthetic.count
        batch = min(self.batch, n)
        steps = -(-n // batch)  # of an epoch
        optimizer = optax.adamw(
            lambda step: self.learning_rate * jnp.cos(math.pi / 4 * (jnp.asarray(step) // steps) / self.epochs) ** 2,
            weight_decay=self.weight_decay,
            mask=lambda params: jax.tree.map(lambda leaf: leaf.ndim > 1, params),
        )
        apart = None if self.selected_augment is None else function_of(self.selected_augment)
        shown = Augmented(function_of(self.augment), apart, self.cutmix)
        key_init, key_orders, key_steps = jax.random.split(key, 3)

        def advance(i: Int[Array, ""], variables: Variables, opt_state: PyTree) -> tuple[Variables, PyTree]:
            order = jax.random.permutation(jax.random.fold_in(key_orders, i // steps), n)
            drawn = synthetic.take(order[(i % steps * batch + jnp.arange(batch)) % n])
            key = jax.random.fold_in(key_steps, i)
            return train_step(key, student, variables, opt_state, drawn, optimizer=optimizer, transform=shown)[:2]

        return fit(key_init, student, optimizer, self.epochs * steps, advance)
