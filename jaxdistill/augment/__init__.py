"""Differentiable, keyed image augmentations, and their names."""

from __future__ import annotations

import functools

from jaxdistill import names
from jaxdistill.augment.chain import Chain, Each, chain
from jaxdistill.augment.classic import Classic
from jaxdistill.augment.dsa import DSA, OPERATIONS, parse
from jaxdistill.augment.photo import Photo
from jaxdistill.augment.reflect import Reflect
from jaxdistill.augment.zoom import Zoom
from jaxdistill.errors import UsageError
from jaxdistill.types import Augment

__all__ = ["DSA", "STRATEGIES", "Chain", "Classic", "Each", "Photo", "Reflect", "Zoom", "chain", "for_dataset", "make"]

_NO_FLIP = "color_crop_cutout_scale_rotate"
STRATEGIES: dict[str, str] = {"digits": _NO_FLIP, "mnist": _NO_FLIP, "svhn": _NO_FLIP, "svhn_cropped": _NO_FLIP}
"""DSA strategies of the data sets that need their own: a mirrored digit is not a digit."""


def for_dataset(name: str, dataset: str) -> str:
    """The name of an augmentation with ``default`` replaced by the data set's published DSA strategy.

    ``-operation`` after it takes an operation out, if it is there: ``"all:default-cutout"``. The strategy is that with
    flip for all but digits.

    Raises:
        UsageError: if what is to be taken out is no operation.
    """
    base, *removed = name.split("-")
    parse("_".join(removed), tuple(OPERATIONS))
    kind, colon, strategy = base.rpartition(":")
    if strategy == "default":
        strategy = STRATEGIES.get(names.base(dataset), DSA.strategy)
    left = [operation for operation in strategy.split("_") if operation not in removed]
    return kind + colon + "_".join(left)


@functools.cache
def make(name: str) -> Augment:
    """An augmentation by name, the same object for the same name.

    Args:
        name: ``"none"``; a `DSA` strategy such as ``"color_crop_flip"``, one operation per call; ``"each:"`` and a DSA
            strategy for one operation per image (`Each`); ``"all:"`` and one for all of them in each call (`chain`);
            ``"classic:"`` and a `Classic` strategy; ``"photo:"`` and a `Photo` one; ``"reflect:"`` and a `Reflect`
            one; ``"zoom:"`` and a `Zoom` one.

    Raises:
        UsageError: if the name is none of these.

    Example:
        >>> make("crop_flip") == DSA("crop_flip")
        True
    """
    kind, _, strategy = name.rpartition(":")
    makers = {
        "": DSA,
        "each": lambda strategy: Each(DSA(strategy)),
        "all": chain,
        "classic": Classic,
        "photo": Photo,
        "reflect": Reflect,
        "zoom": Zoom,
    }
    if kind not in makers:
        raise UsageError(
            f"unknown augmentation {name!r}: prefix its operations with 'each:', 'all:', 'classic:', 'photo:', "
            "'reflect:', 'zoom:' or nothing"
        )
    return makers[kind](strategy)
