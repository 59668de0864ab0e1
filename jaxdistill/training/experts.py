"""Experts: networks trained on the real data, whose trajectories MTT and its family match."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.augment.transform import Augmented
from jaxdistill.common.promotion import standard
from jaxdistill.common.validate import check
from jaxdistill.training.gradients import Training, training_gradient
from jaxdistill.training.sgd import Seen, epoch, sgd
from jaxdistill.types import Augment, Examples, Key, LabelKind, Network, PyTree, Variables

__all__ = ["ExpertRecipe", "expert_epoch", "flat_gradient"]

_TINY = 1e-12


@dataclasses.dataclass(frozen=True)
class ExpertRecipe:
    """How an expert is trained: SGD at a constant step size."""

    learning_rate: float = 0.01
    """Step size of the expert's SGD."""
    batch: int = 256
    """Real images in a step of an expert."""
    momentum: float = 0.0
    """Heavy-ball momentum of the expert's SGD."""
    weight_decay: float = 0.0
    """Weight decay of an expert, as an L2 penalty in its gradient."""
    augment: str = "default"
    """Augmentation of the experts' images: 'default' is the data set's DSA strategy, none is none."""
    rho: float = 0.0
    """Length of the step to sharper parameters whose gradient an expert descends (FTD); 0 is plain training."""
    alpha: float = 0.3
    """How much of the plain gradient's part orthogonal to FTD's is taken away from it; larger is flatter."""
    cutmix: float = 0.0
    """Probability of CutMix in a step of an expert, as the networks that IDC begins with are trained."""

    def __post_init__(self) -> None:
        check(
            self,
            positive=("learning_rate",),
            momenta=("momentum",),
            not_negative=("weight_decay", "rho", "alpha"),
            shares=("cutmix",),
            counts=("batch",),
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Its SGD; the state is the momentum buffers."""
        return sgd(jnp.float32(self.learning_rate), momentum=self.momentum, decay=self.weight_decay)


def flat_gradient(
    network: Network,
    variables: Variables,
    images: Float[Array, "n h w c"],
    labels: Float[Array, "n classes"],
    kind: LabelKind,
    weights: Float[Array, " n"] | None = None,
    *,
    rho: float | Float[Array, ""],
    alpha: float | Float[Array, ""],
) -> Training:
    """What FTD's experts descend (Du et al., CVPR 2023): GSAM with adaptive perturbations, in place of the gradient.

    With g the gradient at t, and h that at ``t + rho t^2 g / ||t g||`` on the same batch (products for each number),
    it is h without `alpha` times the part of g that is orthogonal to h (Zhuang et al., ICLR 2022, arXiv:2203.08065;
    adaptive as Kwon et al., ICML 2021, arXiv:2102.11600). Batch normalisation keeps the averages of the first pass.

    Args:
        network: what is trained.
        variables: where it stands.
        images: a batch.
        labels: what `kind` says.
        kind: the label kind.
        weights: of the images.
        rho: length of the step to the other parameters.
        alpha: factor of the orthogonal part.
    """
    first = training_gradient(network, variables, images, labels, kind, weights)
    plain, params = first.gradient, variables.params
    length = optax.global_norm(jax.tree.map(jnp.multiply, params, plain))
    away = jax.tree.map(lambda p, g: p + rho * p**2 * g / (length + _TINY), params, plain)
    sharp = training_gradient(network, Variables(away, variables.statistics), images, labels, kind, weights).gradient
    norm, sharp_norm = optax.global_norm(plain), optax.global_norm(sharp)
    cosine = _dot(plain, sharp) / (norm * sharp_norm + _TINY)
    along = cosine * norm / (sharp_norm + _TINY)
    return first._replace(gradient=jax.tree.map(lambda g, h: h - alpha * (g - along * h), plain, sharp))


@standard
def expert_epoch(
    key: Key,
    network: Network,
    variables: Variables,
    velocity: PyTree,
    data: Examples,
    recipe: ExpertRecipe,
    augment: Augment,
) -> tuple[Variables, PyTree, Seen]:
    """One epoch of an expert on real data; the arguments are `jaxdistill.training.sgd.epoch`'s, the recipe and its
    augmentation.

    Args:
        key: of the order and the augmentation.
        network: the expert's.
        variables: where it stands.
        velocity: its momentum buffers, zeros at first.
        data: the training split.
        recipe: how it is trained.
        augment: the recipe's augmentation.

    Returns:
        The network, its momentum buffers, and what it said of each example when its turn came.
    """
    flat = partial(flat_gradient, rho=recipe.rho, alpha=recipe.alpha)
    return epoch(
        key, network, variables, velocity, data, optimizer=recipe.optimizer, batch=recipe.batch,
        transform=Augmented(augment, cutmix=recipe.cutmix), gradient=flat if recipe.rho else training_gradient,
    )  # fmt: skip


def _dot(one: PyTree, other: PyTree) -> Float[Array, ""]:
    return sum(jax.tree.leaves(jax.tree.map(partial(jnp.vdot, precision="highest"), one, other)), jnp.zeros(()))
