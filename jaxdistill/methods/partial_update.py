"""Partial updates: some images of each class stay as they are, and the others are learned beside them.

Source: SelMatch (Lee & Chung, ICML 2024, arXiv:2406.18561), section 4, where real images that are too hard to be
learned are kept and trajectories are matched. Here every method that learns images has them.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.common.validate import check
from jaxdistill.types import SyntheticSet

__all__ = ["PartialUpdate", "kept_count", "marked", "only_learned"]


@dataclasses.dataclass(frozen=True)
class PartialUpdate:
    """What the configuration of every method that learns images has."""

    update_share: float = dataclasses.field(default=1.0, kw_only=True)
    """Share of the images of each class that is learned: the last ones of the start, rounded down, at least one unless
    it is 0. The others never change, and every loss sees all. Their labels are learned where labels are."""

    def __post_init__(self) -> None:
        check(self, shares=("update_share",))


def kept_count(share: float, ipc: int) -> int:
    """How many images of each class stay as they are: the first ones.

    Args:
        share: `PartialUpdate.update_share`.
        ipc: images per class.
    """
    # What should be whole may come out just below it: 0.29 * 100 is 28.999999999999996.
    return ipc - (max(1, int(share * ipc + 1e-9)) if share else 0)


def only_learned(images: Float[Array, "*lead h w c"], share: float, num_classes: int) -> Float[Array, "*lead h w c"]:
    """Numbers of each image, such as its gradient, with zeros for the images that stay as they are.

    Momentum and Adam move nothing where all gradients were 0, and what is moved by -0 does not change by a bit.

    Args:
        images: ``[n h w c]`` or ``[classes ipc h w c]``.
        share: `PartialUpdate.update_share`.
        num_classes: number of classes.
    """
    pixels = images.shape[-3:]
    by_class = images.reshape(num_classes, -1, *pixels)
    kept = kept_count(share, by_class.shape[1])
    return by_class.at[:, :kept].set(0).reshape(images.shape) if kept else images


def marked(synthetic: SyntheticSet, share: float) -> SyntheticSet:
    """The set that says which of its images stayed as they were; as it is where none did.

    Args:
        synthetic: of as many images of each class.
        share: `PartialUpdate.update_share`.
    """
    ipc = synthetic.count // synthetic.labels.shape[-1]
    kept = kept_count(share, ipc)
    return dataclasses.replace(synthetic, selected=jnp.arange(synthetic.count) % ipc < kept) if kept else synthetic
