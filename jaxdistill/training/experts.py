"""Experts: networks trained on the real data, whose trajectories MTT and its family match."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.augment.transform import Augmented
from jaxdistill.common.promotion import standard
from jaxdistill.common.validate import check
from jaxdistill.errors import UsageError
from jaxdistill.training.gradients import Training, training_gradient
from jaxdistill.training.sgd import Seen, epoch, sgd
from jaxdistill.types import Augment, Examples, Key, LabelKind, Network, PyTree, Variables

__all__ = ["EXPERTS", "ExpertPreset", "ExpertRecipe", "expert_epoch", "expert_preset", "flat_gradient"]

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

    def __post_init__(self) -> None:
        check(
            self,
            positive=("learning_rate",),
            momenta=("momentum",),
            not_negative=("weight_decay", "rho", "alpha"),
            counts=("batch",),
        )

    @property
    def optimizer(self) -> optax.GradientTransformation:
        """Its SGD; the state is the momentum buffers."""
        return sgd(jnp.float32(self.learning_rate), momentum=self.momentum, decay=self.weight_decay)


class ExpertPreset(NamedTuple):
    """A paper's experts."""

    recipe: ExpertRecipe
    network: Mapping[str, Any] = MappingProxyType({})
    """Fields of `jaxdistill.settings.config.NetworkConfig` where it is not the plain ConvNet."""
    epochs: int = 50
    count: int = 100
    zca: bool = False
    """Whether the images are whitened."""
    statistics: str = "default"
    """What channels are normalised by: a name for `jaxdistill.data.preprocess.constants`."""


_FLAT = ExpertRecipe(rho=0.01, alpha=0.3)
EXPERTS: dict[str, ExpertPreset] = {
    "mtt": ExpertPreset(ExpertRecipe()),
    "ftd": ExpertPreset(_FLAT),
    "datm": ExpertPreset(_FLAT, epochs=100),
    "selmatch": ExpertPreset(ExpertRecipe(augment="none"), {"norm": "batch"}, epochs=100),
}
"""MTT's and TESLA's; FTD's; DATM's; those of SelMatch's code. What depends on the cell is in `expert_preset`."""
_Cells = dict[str, dict[str, tuple[int, ...] | None]]  # preset -> data set -> images per class, None for any number
_SUBSETS = tuple(f"image{subset}" for subset in ("nette", "woof", "fruit", "meow", "squawk", "yellow"))
_WHITENED: _Cells = {
    "mtt": {"cifar10": (1, 10), "cifar100": (1, 50)},
    "ftd": {"cifar10": None, "cifar100": None},
    "datm": {"cifar10": None, "cifar100": None, "tiny_imagenet": None},
}
_FLATTER: _Cells = {  # alpha 1
    "ftd": {"cifar10": (50,), "cifar100": None, "tiny_imagenet": None, **dict.fromkeys(_SUBSETS)}
}
_STATISTICS = {  # MTT's code normalises CIFAR-100 as CIFAR-10, and SelMatch's took that over
    ("mtt", "cifar100"): "cifar10",
    ("selmatch", "cifar100"): "cifar10",
    ("selmatch", "tiny_imagenet"): "tiny_imagenet-selmatch",
}


def expert_preset(name: str, dataset: str, ipc: int | None = None) -> ExpertPreset:
    """A paper's experts for a cell of its table.

    FTD's alpha is 1, but 0.3 for CIFAR-10 at one and ten images per class; and MTT whitens some cells of a data set and
    not others. Digits is ours: its epochs of 1,442 images would be 6 steps, so that batches are smaller and the step
    size is larger.

    Args:
        name: whose.
        dataset: its name.
        ipc: images per class of the set that is to be distilled; without it what goes for most cells, MTT's unwhitened.

    Raises:
        UsageError: if there is no such preset.
    """
    if name not in EXPERTS:
        raise UsageError(f"unknown preset '{name}' of experts; choose one of {', '.join(EXPERTS)}")
    preset = EXPERTS[name]
    recipe = preset.recipe
    if dataset == "digits":
        recipe = dataclasses.replace(recipe, batch=64, learning_rate=0.03)
    if _among(_FLATTER, name, dataset, ipc):
        recipe = dataclasses.replace(recipe, alpha=1.0)
    return preset._replace(
        recipe=recipe,
        zca=_among(_WHITENED, name, dataset, ipc),
        statistics=_STATISTICS.get((name, dataset), "default"),
    )


def _among(cells: _Cells, name: str, dataset: str, ipc: int | None) -> bool:
    sizes = cells.get(name, {}).get(dataset, ())
    return sizes is None or ipc in sizes


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

    Returns:
        The network, its momentum buffers, and what it said of each example when its turn came.
    """
    flat = partial(flat_gradient, rho=recipe.rho, alpha=recipe.alpha)
    return epoch(
        key, network, variables, velocity, data, optimizer=recipe.optimizer, batch=recipe.batch,
        transform=Augmented(augment), gradient=flat if recipe.rho else training_gradient,
    )  # fmt: skip


def _dot(one: PyTree, other: PyTree) -> Float[Array, ""]:
    return sum(jax.tree.leaves(jax.tree.map(partial(jnp.vdot, precision="highest"), one, other)), jnp.zeros(()))
