"""A network that is only there to look at images, for selections; and pixels, which do without."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.augment import make
from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.training.experts import ExpertRecipe, expert_epoch
from jaxdistill.training.sgd import fit
from jaxdistill.types import Key, Network, PyTree, Variables

__all__ = ["RECIPE", "pixels", "train_proxy"]

RECIPE = ExpertRecipe(momentum=0.9, weight_decay=5e-4, augment="none")
"""How such a network is trained."""


@standard
def pixels(data: RealData) -> Float[Array, "n d"]:
    """Flattened preprocessed images."""
    images = data.read(jnp.arange(data.labels.shape[0])).images
    return images.reshape(images.shape[0], -1)


@partial(jax.jit, static_argnames=("network", "epochs"))
def train_proxy(key: Key, network: Network, data: RealData, epochs: int) -> Variables:
    """Train a network on the whole training set by `RECIPE`.

    Its keys are not those of an expert by the same recipe, which are drawn by the expert's number.

    Args:
        key: consumed.
        network: what is trained.
        data: the training split.
        epochs: passes over it.
    """
    key_init, key_epochs = jax.random.split(key)

    def advance(i: Int[Array, ""], variables: Variables, opt_state: PyTree) -> tuple[Variables, PyTree]:
        key = jax.random.fold_in(key_epochs, i)
        return expert_epoch(key, network, variables, opt_state, data, RECIPE, make(RECIPE.augment))[:2]

    return fit(key_init, network, RECIPE.optimizer, epochs, advance)
