"""Nearest neighbours as an evaluation: a set as the reference of a classifier that learns nothing.

Source: the code of dataset distillation (Wang et al., 2018, arXiv:1811.10959), by which it reads sets of real images.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.common.sets import as_probabilities
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.recipe import Recipe
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = ["NearestNeighbours"]

_ENTRIES = 2**24  # of differences of pixels in memory at a time


@dataclasses.dataclass(frozen=True)
class NearestNeighbours(Recipe):
    """Give an image the class that most of its nearest images of the set have, the first of those that have as many.

    Images are compared as they are stored, in preprocessed space. Soft labels vote by their probabilities, which is
    ours; weights of images and learned step sizes are not used.
    """

    neighbours: int = 1
    """How many of the nearest vote."""
    power: float = 2.0
    """Of the norm by which distances are measured: 2 Euclidean, 1 absolute, inf the largest difference of a pixel."""

    stochastic: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.neighbours < 1 or not self.power > 0:
            raise UsageError(
                f"nearest neighbours are at least 1, and their norm has a positive `power`, not {self.neighbours} and "
                f"{self.power}"
            )
        if self.epochs is not None:
            raise UsageError("nearest neighbours train nothing; leave the number of epochs out")

    @property
    def learner(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """How many, in a word."""
        return f"{self.neighbours}-NN"

    @property
    def training(self) -> str:
        """Number and norm, in words."""
        several = f"{self.neighbours} nearest images" if self.neighbours > 1 else "nearest image"
        return f"the class of the {several} of the set, by the {self.power:g}-norm of their difference"

    def fit(self, key: Key, synthetic: SyntheticSet, network: Network) -> Variables:
        """The images, flat, and their votes."""
        del key, network
        if self.neighbours > synthetic.count:
            raise UsageError(
                f"the set has {synthetic.count} images, fewer than `neighbours`, {self.neighbours}; lower that"
            )
        points = synthetic.images.reshape(synthetic.count, -1)
        return Variables((points, as_probabilities(synthetic).labels), {})

    def predict(
        self, network: Network, variables: Variables, images: Float[Array, "n h w c"]
    ) -> Float[Array, "n classes"]:
        """The votes of each image's nearest ones."""
        del network
        points, votes = variables.params

        def of_image(image: Float[Array, " d"]) -> Float[Array, " classes"]:
            apart = jnp.abs(points - image[None])
            # Not the root of the sum, which has the same order.
            far = jnp.max(apart, axis=1) if math.isinf(self.power) else jnp.sum(apart**self.power, axis=1)
            _, nearest = jax.lax.top_k(-far, self.neighbours)
            return jnp.sum(votes[nearest], axis=0)

        size = max(1, _ENTRIES // points.size)
        return jax.lax.map(of_image, images.reshape(len(images), -1), batch_size=min(size, len(images)))
