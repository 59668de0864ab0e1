"""Names in the spellings of the field: which known one each stands for, and which may be meant by an unknown one."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from types import MappingProxyType

from jaxdistill.errors import UsageError

__all__ = ["ALIASES", "DATASETS", "base", "canonical", "choose", "dataset", "meant"]

DATASETS = (
    "digits", "mnist", "fashion_mnist", "kmnist", "emnist", "svhn_cropped", "cifar10", "cifar100", "cifar10_1",
    "cifar10_corrupted", "stl10", "tiny_imagenet", "imagenette", "imagewoof", "imagefruit", "imagemeow", "imagesquawk",
    "imageyellow", "imagenet10", "imagenet100", "imagenet_resized/64x64", "imagenet_resized/32x32", "imagenet2012",
    "food101", "oxford_flowers102", "oxford_iiit_pet", "caltech101", "cars196", "stanford_dogs", "eurosat", "beans",
    "dtd", "omniglot",
)  # fmt: skip
"""Data sets that papers of the field use, as TFDS or the presets call them."""

ALIASES: Mapping[str, str] = {
    "svhn": "svhn_cropped",
    "fmnist": "fashion_mnist",
    "tinyimagenet200": "tiny_imagenet",
    "imageidc10": "imagenet10",
    "imagenet1k": "imagenet2012",
    "ilsvrc2012": "imagenet2012",
}
"""Other words for some of them."""


def canonical(name: str, known: Collection[str], aliases: Mapping[str, str] = MappingProxyType({})) -> str:
    """The known name that is the same but for case and what is between letters, or the name as it is.

    Args:
        name: as someone spelled it.
        known: the names that there are.
        aliases: other words for them, in small letters and digits.
    """
    if name in known:
        return name
    spelled = {_plain(one): one for one in known} | dict(aliases)
    return spelled.get(_plain(name), name)


def meant(
    name: str, known: Collection[str], aliases: Mapping[str, str] = MappingProxyType({}), *, alike: float = 0.65
) -> str:
    """What may have been meant by a name that is not known, as the end of a sentence; empty where nothing is near.

    Args:
        name: as someone spelled it.
        known: the names that there are.
        aliases: as in `canonical`.
        alike: share of the letters that agree, from where on a name is near.
    """
    spelled = {_plain(one): one for one in known} | dict(aliases)
    near = difflib.get_close_matches(_plain(name), spelled, 3, alike)
    return f"did you mean {' or '.join(dict.fromkeys(spelled[one] for one in near))}?" if near else ""


def choose(name: str, known: Collection[str], what: str) -> str:
    """The known name that is meant.

    Args:
        name: in any spelling.
        known: those that there are.
        what: the kind of thing, for the message.

    Raises:
        UsageError: if there is none.
    """
    found = canonical(name, known)
    if found not in known:
        advice = meant(name, known) or f"choose one of {', '.join(known)}"
        raise UsageError(f"unknown {what} '{name}'; {advice}")
    return found


def dataset(name: str) -> str:
    """A data set's name as TFDS and the presets have it; a configuration and a version after it stay."""
    head, colon, version = name.partition(":")
    first, slash, rest = head.partition("/")
    if not first[:1].isalnum():  # a path
        return name
    found = canonical(head, [one for one in DATASETS if "/" in one]) if slash else head
    if found == head:
        found = canonical(first, DATASETS, ALIASES) + slash + rest
    return found + colon + version


def base(name: str) -> str:
    """The name by which presets and statistics go: without a version."""
    return dataset(name).partition(":")[0]


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
