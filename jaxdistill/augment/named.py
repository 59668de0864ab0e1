"""Differentiable, keyed image augmentations, and their names."""

from __future__ import annotations

import functools

from jaxdistill.augment.chain import Chain, Each, all_of
from jaxdistill.augment.classic import Classic
from jaxdistill.augment.dsa import DSA, OPERATIONS, parse
from jaxdistill.augment.photo import Photo
from jaxdistill.augment.pixels import Pixels
from jaxdistill.augment.reflect import Reflect
from jaxdistill.augment.zoom import Zoom
from jaxdistill.common import names
from jaxdistill.errors import UsageError
from jaxdistill.types import Augment

__all__ = [
    "DSA",
    "STRATEGIES",
    "Chain",
    "Classic",
    "Each",
    "Photo",
    "Pixels",
    "Reflect",
    "Zoom",
    "all_of",
    "for_dataset",
    "make",
]

_NO_FLIP = "color_crop_cutout_scale_rotate"
_DIGITS = ("digits", "mnist", "mnist_corrupted", "usps", "svhn", "svhn_cropped")
_LETTERS = ("emnist", "kmnist", "cmaterdb", "omniglot")
STRATEGIES: dict[str, str] = dict.fromkeys((*_DIGITS, *_LETTERS), _NO_FLIP)
"""DSA strategies of the data sets that need their own: a mirrored digit or letter is none."""
_OWN = {"zoom": {"fashion_mnist": _NO_FLIP}}
"""Where an augmentation's paper has another strategy for a data set: FRePo does not mirror clothes, DSA does."""


def for_dataset(name: str, dataset: str) -> str:
    """The name of an augmentation with ``default`` replaced by the data set's published DSA strategy.

    ``-operation`` after it takes an operation out, if it is there: ``"all:default-cutout"``. The strategy is that with
    flip for all but digits and letters, and after ``zoom:``, which is FRePo's, for all but those and Fashion-MNIST.
    The version and the variant in a data set's name (``"emnist/letters:3.1.0"``) do not matter.

    Raises:
        UsageError: if what is to be taken out is no operation.
    """
    base, *removed = name.split("-")
    parse("_".join(removed), tuple(OPERATIONS))
    kind, colon, strategy = base.rpartition(":")
    if strategy == "default":
        known = names.base(dataset).partition("/")[0]
        strategy = _OWN.get(kind, {}).get(known) or STRATEGIES.get(known, DSA.strategy)
    left = [operation for operation in strategy.split("_") if operation not in removed]
    return kind + colon + "_".join(left)


@functools.cache
def make(name: str) -> Augment:
    """An augmentation by name, the same object for the same name.

    Args:
        name: ``"none"``; a `DSA` strategy such as ``"color_crop_flip"``, one operation per call; ``"each:"`` and a DSA
            strategy for one operation per image (`Each`); ``"all:"`` and one for all of them in each call (`all_of`);
            ``"classic:"`` and a `Classic` strategy; ``"photo:"`` and a `Photo` one; ``"pixels:"`` and a `Pixels` one;
            ``"reflect:"`` and a `Reflect` one; ``"zoom:"`` and a `Zoom` one.

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
        "all": all_of,
        "classic": Classic,
        "photo": Photo,
        "pixels": Pixels,
        "reflect": Reflect,
        "zoom": Zoom,
    }
    if kind not in makers:
        raise UsageError(
            f"unknown augmentation {name!r}: prefix its operations with 'each:', 'all:', 'classic:', 'photo:', "
            "'pixels:', 'reflect:', 'zoom:' or nothing"
        )
    return makers[kind](strategy)
