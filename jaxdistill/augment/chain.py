"""Augmentations made of others: one after the other (IDC, arXiv:2205.14959), or one for each image (SelMatch)."""

from __future__ import annotations

import dataclasses

import jax

from jaxdistill.augment.dsa import DSA, OPERATIONS, Images, parse
from jaxdistill.common.promotion import standard
from jaxdistill.types import Key

__all__ = ["Chain", "Each", "all_of"]


@dataclasses.dataclass(frozen=True)
class Chain:
    """Apply each part in turn, with a key of its own; a `jaxdistill.types.Augment`."""

    parts: tuple[DSA, ...]

    @standard
    def __call__(self, key: Key, images: Images, siamese: bool) -> Images:
        """Augment a batch."""
        for number, part in enumerate(self.parts):
            images = part(jax.random.fold_in(key, number), images, siamese)
        return images


@dataclasses.dataclass(frozen=True)
class Each:
    """A draw of its own, operation and all, for each image, where a `DSA` draws one operation for the batch."""

    of: DSA

    @standard
    def __call__(self, key: Key, images: Images, siamese: bool) -> Images:
        """Augment a batch; a siamese one all alike."""
        if siamese:
            return self.of(key, images, siamese=True)
        keys = jax.random.split(key, images.shape[0])
        return jax.vmap(lambda key, image: self.of(key, image[None], siamese=True)[0])(keys, images)


def all_of(strategy: str) -> Chain:
    """All operations of a DSA strategy in each call: flip, color, one of crop, scale and rotate, cutout.

    Raises:
        UsageError: if `strategy` names an unknown operation.
    """
    names = parse(strategy, tuple(OPERATIONS))
    stages = (["flip"], ["color"], ["crop", "scale", "rotate"], ["cutout"])
    chosen = ("_".join(name for name in stage if name in names) for stage in stages)
    return Chain(tuple(DSA(strategy) for strategy in chosen if strategy))
