"""What every evaluation recipe is: settings, how something learns from a set by them, and how that predicts."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import jax
from jaxtyping import Array, Float

from jaxdistill.augment import make
from jaxdistill.errors import UsageError
from jaxdistill.training.inference import logits
from jaxdistill.types import Augment, Key, Network, SyntheticSet, Variables

__all__ = ["CROP_AND_FLIP", "Recipe", "function_of"]

CROP_AND_FLIP = "all:default-color-cutout-scale-rotate"
"""What SelMatch's evaluation does to selected real images; the flip only where the data set has one."""

_SHARED = {
    "momentum": "momentum {}",
    "weight_decay": "weight decay {}",
    "batch": "batches of up to {}",
    "augment": "augmentation {}",
    "selected_augment": "of selected real images {}",
    "cutmix": "CutMix with probability {}",
}
"""Settings that several recipes have, in words."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(abc.ABC):
    """What a set is judged by. A recipe is a frozen dataclass that adds its settings, `training` and `fit`."""

    labels: Literal["native", "hard"] = "native"
    """Learn from the labels as stored, or from their argmax."""
    epochs: int | None = None
    """How long it learns; None where that follows from the set, or nothing is trained."""
    size: int | None = None
    """Side that images of the set, after tiles were cut out, and test images are resized to; None leaves them."""
    learner: ClassVar[str] = "network"
    """What learns from a set: ``"network"``, or the name of what takes its place."""
    stochastic: ClassVar[bool] = True
    """Whether two evaluations of one set differ."""
    needs_teacher: ClassVar[bool] = False
    """Whether labels have to be a teacher's logits."""
    draws_windows: ClassVar[bool] = False
    """Whether a canvas is shown by new windows each time; of others, `fit` is given the windows that tile it."""
    probes: ClassVar[int] = 0
    """Real images that it looks at before it learns, without their labels and not those of the set: `fit` takes them as
    a further argument, ``aside``, and does without where there are none."""
    by_class: ClassVar[bool] = False
    """Whether a step takes as many images of each class, so that a set has to have as many."""

    @property
    def tells_selected(self) -> bool:
        """Whether it makes a difference which images of a set are selected real ones."""
        return getattr(self, "selected_augment", None) is not None

    def combined(self) -> Recipe:
        """The recipe with SelMatch's combined augmentation: crop and flip alone for images that are selected real ones.

        Raises:
            UsageError: if it augments nothing.
        """
        if not hasattr(self, "selected_augment") or getattr(self, "augment", "none") == "none":
            raise UsageError("this recipe augments no images; leave the combined augmentation out")
        changes: dict[str, Any] = {"selected_augment": CROP_AND_FLIP}
        return self if self.tells_selected else dataclasses.replace(self, **changes)

    def equal(self) -> Recipe:
        """The recipe that trains on tiles for fewer epochs, so that a set with some costs what one without costs.

        Raises:
            UsageError: if it is none of so many epochs.
        """
        if not hasattr(self, "equal_compute"):
            raise UsageError("this recipe is not one of so many epochs of SGD; leave equal computing out")
        changes: dict[str, Any] = {"equal_compute": True}
        return dataclasses.replace(self, **changes)

    def on_tiles(self, tiles: int, count: int, classes: int) -> Recipe:
        """The recipe for a set of which each stored image became so many: itself, but where computing is to be equal.

        Args:
            tiles: images that each stored one became.
            count: of all of them.
            classes: among which they are shared out.
        """
        del tiles, count, classes
        return self

    @property
    @abc.abstractmethod
    def training(self) -> str:
        """How it learns, in words, without what `summary` adds."""

    @abc.abstractmethod
    def fit(self, key: Key, synthetic: SyntheticSet, network: Network) -> Variables:
        """Learn from a set of whole images; pure.

        Args:
            key: of the initial weights and all draws.
            synthetic: the set.
            network: what is trained on it.
        """

    def predict(
        self, network: Network, variables: Variables, images: Float[Array, "n h w c"]
    ) -> Float[Array, "n classes"]:
        """What was learned, of some images; the largest is the class.

        Args:
            network: what was trained.
            variables: what `fit` gave.
            images: in preprocessed space.
        """
        return logits(network, variables, images)

    def sized(self, images: Float[Array, "n h w c"]) -> Float[Array, "n _h _w c"]:
        """Images at the recipe's size: bilinear, over as many pixels as one of the result is wide, as pillow has it."""
        n, h, w, c = images.shape
        if self.size in (None, h) and self.size in (None, w):
            return images
        return jax.image.resize(images, (n, self.size, self.size, c), "linear")

    def shape(self, image_shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """What networks see of images of a shape."""
        return image_shape if self.size is None else (self.size, self.size, image_shape[2])

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """Raise a UsageError where images of this shape cannot be judged so, before anything else is done."""
        del image_shape

    def bound(self, make: Callable[[str], Augment]) -> Recipe:
        """The recipe for a data set: its augmentations are what `make` makes of their names."""
        fields = {name: getattr(self, name, None) for name in ("augment", "selected_augment")}
        made = {name: make(value) for name, value in fields.items() if isinstance(value, str)}
        return dataclasses.replace(self, **made)

    @property
    def summary(self) -> str:
        """The recipe in words."""
        settings = {name: getattr(self, name, None) for name in _SHARED}
        said = [
            "no augmentation" if (name, value) == ("augment", "none") else _SHARED[name].format(value)
            for name, value in settings.items()
            if value or (value is not None and name != "cutmix")
        ]
        resized = [] if self.size is None else [f"images resized to {self.size} pixels"]
        hard = ["the most likely class of each label"] * (self.labels == "hard")
        return ", ".join([self.training, *said, *resized, *hard])


def function_of(augment: str | Augment) -> Augment:
    """A recipe's augmentation as a function.

    Raises:
        UsageError: if it is the name of one that goes by the data set.
    """
    if not isinstance(augment, str):
        return augment
    if "default" in augment:
        raise UsageError(f"the augmentation {augment} goes by the data set; say by which with `Recipe.bound`")
    return make(augment)
