"""Which data it was: hashes of a data set's parts, kept with what is made of it, and what differs from them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxdistill.data.check import Source

__all__ = [
    "TESTED",
    "WORDS",
    "Digests",
    "differing",
    "digest_of",
    "digest_of_names",
    "digests_of",
    "mismatch",
    "stored_digests",
]

_ROWS = 1024


@dataclasses.dataclass(frozen=True)
class Digests:
    """A hash of each part of a data set; empty where it is not known, as in what older versions wrote."""

    train_images: str = ""
    train_labels: str = ""
    test_images: str = ""
    test_labels: str = ""
    class_names: str = ""


WORDS = {
    "train_images": "the training images",
    "train_labels": "the labels of the training images",
    "test_images": "the test images",
    "test_labels": "the labels of the test images",
    "class_names": "the class names",
}
"""What is hashed of data."""
_TRAINING = ("train_images", "train_labels", "class_names")
TESTED = ("test_images", "test_labels", "class_names")
"""What sets that are judged together have to share."""


def digest_of(arrays: Mapping[str, np.ndarray | np.generic]) -> str:
    """A hash of named arrays, which are not copied: training images may fill half of the memory."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        rows = np.atleast_1d(arrays[name])
        for begin in range(0, len(rows), _ROWS):  # contiguous ones are views, others copied block by block
            digest.update(np.ascontiguousarray(rows[begin : begin + _ROWS]).view(np.uint8).data)
    return digest.hexdigest()


def digests_of(source: Source) -> Digests:
    """Hashes of images (with their shape and type), labels and class names, in the order that they have."""
    return Digests(
        _of_images(source.train_images),
        digest_of({"labels": np.asarray(source.train_labels, np.int64)}),
        _of_images(source.test_images),
        digest_of({"labels": np.asarray(source.test_labels, np.int64)}),
        digest_of_names(source.class_names),
    )


def digest_of_names(names: Sequence[str]) -> str:
    """A hash of class names in their order."""
    return hashlib.sha256("\n".join(map(repr, names)).encode(errors="surrogatepass")).hexdigest()


def stored_digests(card: Mapping[str, Any]) -> Digests:
    """What a card says under ``digests``; parts that it does not name, or not as text, are empty."""
    said = card.get("digests")
    known = {field.name for field in dataclasses.fields(Digests)}
    parts = said.items() if isinstance(said, Mapping) else ()
    return Digests(**{name: text for name, text in parts if name in known and isinstance(text, str)})


def differing(one: Digests, other: Digests, parts: Sequence[str] = tuple(WORDS)) -> list[str]:
    """Which parts differ, in words; what either does not know is taken to be alike.

    Args:
        one: digests of some data.
        other: of others.
        parts: which to compare; by default all.
    """
    pairs = {part: (getattr(one, part), getattr(other, part)) for part in parts}
    return [WORDS[part] for part, (ours, theirs) in pairs.items() if ours and theirs and ours != theirs]


def mismatch(card: Mapping[str, Any], digests: Digests, class_names: Sequence[str], *, test: bool = False) -> str:
    """How the data that a card was written for differ from those that are there, in words; empty where nothing does.

    A card without digests is taken at its word, unless it has the very same classes in another order.

    Args:
        card: ``class_names`` and ``digests``, either or both.
        digests: of the data that are there.
        class_names: theirs.
        test: compare the test images too.
    """
    said, names = stored_digests(card), card.get("class_names")
    names = [str(name) for name in names] if isinstance(names, list) else []
    renamed = said.class_names not in ("", digests.class_names)
    if renamed or (sorted(names) == sorted(class_names) and names != list(class_names)):
        for i, (theirs, ours) in enumerate(zip(names, class_names, strict=False)):
            if theirs != ours:
                return f"class {i} was {theirs!r:.60} and is {ours!r:.60} here"
    differ = differing(said, digests, tuple(WORDS) if test else _TRAINING)
    return f"{' and '.join(differ[:2])} differ" if differ else ""


def _of_images(images: np.ndarray) -> str:
    kind = np.frombuffer(images.dtype.str.encode(), np.uint8)
    return digest_of({"images": images, "shape": np.asarray(images.shape, np.int64), "type": kind})
