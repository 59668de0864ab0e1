"""What every evaluation recipe has."""

from __future__ import annotations

import abc
from typing import ClassVar, Literal

from jaxtyping import Array, Float

from jaxdistill.types import Augment, Key, Network, SyntheticSet, Variables

__all__ = ["Recipe"]


class Recipe(abc.ABC):
    """What a set is judged by: how something learns from it, and then predicts. Subclasses are frozen dataclasses."""

    epochs: int | None
    """How long it learns; None where that follows from the set, or nothing is trained."""
    augment: str = "none"
    """``"default"`` is the data set's DSA strategy, ``"none"`` is none; anything else names an augmentation."""
    selected_augment: str | None = None
    """Augmentation of images that are selected real ones, where those of the set are known; None is `augment`."""
    labels: Literal["native", "hard"] = "native"
    """Learn from the labels as stored, or from their argmax."""
    random: bool = True
    """Whether two evaluations of one set differ."""
    instead: str | None = None
    """What learns, where that is not the network."""
    taught: ClassVar[bool] = False
    """Whether labels have to be a teacher's logits."""

    @property
    @abc.abstractmethod
    def summary(self) -> str:
        """The recipe in words."""

    @abc.abstractmethod
    def fit(
        self,
        key: Key,
        synthetic: SyntheticSet,
        network: Network,
        augment: Augment,
        selected_augment: Augment | None = None,
    ) -> Variables:
        """Learn from a set; pure."""

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raise a UsageError where images of this shape cannot be judged so, before anything else is done."""
        del image_shape

    def predict(
        self, network: Network, variables: Variables, images: Float[Array, "n h w c"]
    ) -> Float[Array, "n classes"]:
        """What was learned, of some images; the largest is the class."""
        return network.apply(variables, images)[0]
