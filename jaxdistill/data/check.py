"""A data set in memory, and what it must be before anything is done with it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int32, Shaped

from jaxdistill.errors import UsageError

__all__ = ["DataError", "Source", "checked", "divide", "evenly", "from_arrays", "held_out", "hold_out"]

_TEST_SHARE = 5


class DataError(UsageError):
    """Data that cannot be used; the message is one sentence that says what to do."""


class Source(NamedTuple):
    """A data set in memory."""

    name: str
    train_images: Shaped[np.ndarray, "n h w c"]
    """uint8, or float32 in [0, 1]."""
    train_labels: Int32[np.ndarray, " n"]
    test_images: Shaped[np.ndarray, "m h w c"]
    test_labels: Int32[np.ndarray, " m"]
    class_names: tuple[str, ...]
    train_ids: Shaped[np.ndarray, " n"] | None = None
    """What each training image is known by, as bytes; None where there is nothing but its place."""
    in_order: bool = True
    """Whether the training images are in the data set's own order."""
    place: str = ""
    """Where they were read from, in words."""
    left_out: str = ""
    """What was found there and not read, in words."""
    divided: bool = False
    """Whether there was no test split, so that every fifth image of a class is for testing."""

    def summary(self) -> str:
        """What was read, in one line."""
        (h, w, c), classes = self.train_images.shape[1:], len(self.class_names)
        counts = f"{len(self.train_labels):,} training and {len(self.test_labels):,} test images"
        largest = self.train_images.max()
        dark = self.train_images.dtype == np.uint8 and largest < 16
        faint = f", whose largest value is {largest} of 255" if dark else ""
        said = f"read {counts} ({h}x{w}x{c}) of {classes} classes from {self.place or self.name}{faint}"
        said += "; every fifth image of a class is for testing, since there is no test split" if self.divided else ""
        return f"{said}; left out: {self.left_out}" if self.left_out else said


def divide(
    name: str,
    images: Shaped[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    class_names: tuple[str, ...],
    ids: Shaped[np.ndarray, " n"] | None = None,
) -> Source:
    """A source of images that come without a test split: every fifth of each class, in the order given, is for testing.

    Args:
        name: of the data set.
        images: all of them.
        labels: their class numbers.
        class_names: in the order of the numbers.
        ids: what else tells the images apart; by default nothing.

    Raises:
        DataError: if that leaves nothing for testing.
    """
    rank = np.zeros(len(labels), int)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    test = rank % _TEST_SHARE == _TEST_SHARE - 1
    if not test.any():
        raise DataError(f"no class of {name} has {_TEST_SHARE} images, so that none is left for testing; add some")
    train_ids = None if ids is None else ids[~test]
    return Source(name, images[~test], labels[~test], images[test], labels[test], class_names, train_ids, divided=True)


def hold_out(source: Source, share: float) -> tuple[Source, Source]:
    """Set a share of each class's training images aside, evenly spread over their order; the test images stay.

    Args:
        source: all of them.
        share: from 0 to below 1; at least one image of each class is set aside.

    Returns:
        The source without them, and one whose training images they are.

    Raises:
        DataError: if a class has none left.
    """
    aside = held_out(source, share)
    return _part(source, ~aside), _part(source, aside)


def held_out(source: Source, share: float) -> Bool[np.ndarray, " n"]:
    """Which training images `hold_out` sets aside.

    Args:
        source: all of them.
        share: of each class.

    Raises:
        DataError: if a class has none left.
    """
    aside = np.zeros(len(source.train_labels), bool)
    for label, name in enumerate(source.class_names):
        (rows,) = np.nonzero(source.train_labels == label)
        count = max(1, round(share * len(rows)))
        if count >= len(rows):
            raise DataError(f"class {name} has {len(rows)} training images, of which none would be left; hold out less")
        aside[rows[evenly(count, len(rows))]] = True
    return aside


def evenly(count: int, among: int) -> Int[np.ndarray, " count"]:
    """Places of so many things that are evenly spread over more."""
    return ((np.arange(count) + 0.5) * among / count).astype(int)


def _part(source: Source, rows: np.ndarray) -> Source:
    ids = None if source.train_ids is None else source.train_ids[rows]
    images, labels = source.train_images[rows], source.train_labels[rows]
    return source._replace(train_images=images, train_labels=labels, train_ids=ids)


def from_arrays(
    name: str,
    x_train: Shaped[np.ndarray, "*images"],
    y_train: Shaped[np.ndarray, "*labels"],
    x_test: Shaped[np.ndarray, "*more_images"] | None = None,
    y_test: Shaped[np.ndarray, "*more_labels"] | None = None,
) -> Source:
    """A source of plain arrays: images ``[n h w]`` or ``[n h w c]``, labels ``[n]`` or ``[n 1]``.

    Args:
        name: what it is called.
        x_train: training images.
        y_train: their classes.
        x_test: test images; without any, see `divide`.
        y_test: their classes.

    Raises:
        DataError: if the labels are anything but integers from 0 on, without gaps in training.
    """
    train, labels = _with_channels(x_train), _integers(y_train, f"y_train of {name}")
    present = np.unique(labels)
    if not np.array_equal(present, np.arange(len(present))):
        gap = int((present != np.arange(len(present))).argmax())
        raise DataError(f"y_train of {name} lacks class {gap} but has larger ones; number the classes without gaps")
    names = tuple(str(label) for label in present)
    if x_test is None and y_test is None:
        if len(train) != len(labels):
            raise DataError(f"the training images of {name} are {len(train)}, but their labels {len(labels)}")
        return divide(name, train, labels, names)
    if x_test is None or y_test is None:
        raise DataError(f"{name} has test images without labels, or labels without images; give both or neither")
    return Source(name, train, labels, _with_channels(x_test), _integers(y_test, f"y_test of {name}"), names)


def _with_channels(images: np.ndarray) -> np.ndarray:
    return images[..., None] if images.ndim == 3 else images


def checked(source: Source) -> Source:
    """The source in its final types, after everything that could be wrong with it was looked at.

    Args:
        source: integer labels; images of any type.

    Raises:
        DataError: if images or labels cannot be used.
    """
    name, classes = source.name, len(source.class_names)
    train = _split(source.train_images, source.train_labels, classes, f"the training images of {name}")
    test = _split(source.test_images, source.test_labels, classes, f"the test images of {name}")
    one, other = train.shape[1:], test.shape[1:]
    if one != other:
        raise DataError(f"training images of {name} have shape {one} and test images {other}; bring them to one shape")
    if classes < 2:
        raise DataError(f"{name} has a single class; at least two are needed")
    counts = np.bincount(source.train_labels.astype(np.int64), minlength=classes)
    if counts.min() == 0:
        empty = source.class_names[int(counts.argmin())]
        raise DataError(f"class {empty} of {name} has no training images; add some or remove the class")
    labels, test_labels = (array.astype(np.int32) for array in (source.train_labels, source.test_labels))
    return source._replace(train_images=train, train_labels=labels, test_images=test, test_labels=test_labels)


def _split(images: np.ndarray, labels: np.ndarray, classes: int, what: str) -> np.ndarray:
    """The images of a split as they are stored."""
    if images.ndim != 4 or images.shape[-1] not in (1, 3):
        raise DataError(
            f"{what} have shape {images.shape}; give [count height width], with 1 or 3 channels last{_first(images)}"
        )
    if images.size == 0:
        raise DataError(f"{what} are empty (shape {images.shape}); give some of each class")
    if len(images) != len(labels):
        raise DataError(f"{what} are {len(images)}, but their labels {len(labels)}; give one label for each")
    if images.shape[1] != images.shape[2]:
        raise DataError(f"{what} are {images.shape[2]}x{images.shape[1]}; crop or resize them to squares")
    if labels.min() < 0 or labels.max() >= classes:
        wrong = labels.min() if labels.min() < 0 else labels.max()
        raise DataError(f"{what} have a label {wrong}, but the classes are 0 to {classes - 1}; remove that image")
    return _stored(images, what)


def _first(images: np.ndarray) -> str:
    """Advice for images that have their channels where PyTorch has them."""
    first = images.ndim == 4 and images.shape[1] in (1, 3)
    return "; transpose these by (0, 2, 3, 1), which have them first" if first else ""


def _stored(images: np.ndarray, what: str) -> np.ndarray:
    """uint8 as it is; floats as float32 in [0, 1]."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind in "iu" and 0 <= images.min() <= images.max() <= 255:
        return images.astype(np.uint8)
    if images.dtype.kind in "iu":
        raise DataError(
            f"{what} have type {images.dtype} and range from {images.min()} to {images.max()}; give integers in 0..255 "
            "or floats in [0, 1]"
        )
    if images.dtype.kind == "V":
        raise DataError(
            f"{what} have a type that NumPy does not know ({images.dtype}: bfloat16 or another small float); give "
            "float32 in [0, 1]"
        )
    if images.dtype.kind != "f":
        raise DataError(f"{what} have type {images.dtype}; give integers in 0..255 or floats in [0, 1]")
    if not np.isfinite(images).all():
        raise DataError(f"{what} hold NaN or infinite values; remove those images")
    if images.min() < 0 or images.max() > 1:
        raise DataError(f"{what} range from {images.min():.3g} to {images.max():.3g}; scale them to [0, 1]")
    return images.astype(np.float32)


def _how(labels: np.ndarray) -> str:
    """How these labels become integers, if that is plain."""
    if labels.ndim == 2 and labels.shape[1] > 1 and labels.dtype.kind in "fiub":
        return ", as labels.argmax(1) does"
    if labels.dtype.kind in "US":
        return ", as numpy.unique(labels, return_inverse=True)[1] does"
    return ", as labels.astype(int) does" if labels.ndim == 1 and labels.dtype.kind == "f" else ""


def _integers(labels: np.ndarray, what: str) -> np.ndarray:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{what} has shape {labels.shape} and type {labels.dtype}; give one integer for each image{_how(labels)}"
        )
    if labels.size and not 0 <= labels.min() <= labels.max() < 2**31:
        raise DataError(f"{what} has labels from {labels.min()} to {labels.max()}; number the classes from 0")
    return labels
