"""A folder of pictures as a data set: a sub-folder for each class, or such folders in one for each split."""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from jaxdistill.data.check import DataError, Source, divide

__all__ = ["cropped", "read_folder", "reason"]

_TRAIN = ("train", "training")
_TEST = ("test", "testing", "val", "valid", "validation")
_ANNOTATIONS = "val_annotations.txt"
"""How Tiny-ImageNet says the classes of its validation images, which lie in one folder."""
_NO_PICTURES = {"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"}
"""What pillow knows, but needs another program for."""


class _Found(NamedTuple):
    """The files of a split."""

    files: list[tuple[Path, int]]
    """With the number of the class."""
    left_out: Counter[str]
    """How many files of which kind are there besides."""


def read_folder(path: Path, wanted: tuple[str, ...] | None = None, size: int | None = None) -> Source:
    """A folder's images, in the order of classes, folders and file names, each known by its path.

    The splits are ``train`` and ``test``, or ``val``, ``valid`` or ``validation`` where there is no ``test`` whose
    classes can be told; without one, every fifth image of a class is for testing.

    Args:
        path: the folder.
        wanted: the classes that are read, by their folders' names; by default all.
        size: side that images are brought to (`cropped`); by default they have to be of one size.

    Raises:
        DataError: if it cannot be used.
        OSError: if it cannot be read.
    """
    if (path / "set.safetensors").is_file() or (path / "set" / "card.json").is_file():
        raise DataError(f"{path} is a run or a set, not a data set; open it with jaxdistill.open")
    splits = {child.name.lower(): child for child in _folders(path)}
    train = next((splits[name] for name in _TRAIN if name in splits), None)
    others = [splits[name] for name in _TEST if name in splits]
    if train is None or not _folders(train) or (not others and _holds_images(train)):
        names = _classes(path, wanted)
        found = _search(path, names, only=wanted is not None)
        images, labels, ids = _read(path, found, size)
        source = divide(path.name, images, labels, names, ids)
        return source._replace(place=str(path), left_out=_said(found.left_out))
    names, only = _classes(train, wanted), wanted is not None
    test = next((split for split in others if _tells_classes(split, names)), None)
    if test is None and others:
        raise DataError(f"{others[0]} does not say the classes of its images; make a sub-folder for each class in it")
    found = _search(train, names, only=only)
    images, labels, ids = _read(train, found, size)
    left_out = found.left_out + Counter(map(_kind, _files(path)))
    left_out.update(f"{folder.name}/" for folder in _folders(path) if folder not in (train, test))
    if test is None:
        source = divide(path.name, images, labels, names, ids)
        return source._replace(place=str(train), left_out=_said(left_out))
    found = _annotated(test, names) if (test / _ANNOTATIONS).is_file() else _search(test, names, only=only)
    test_images, test_labels, _ = _read(test, found, size)
    return Source(
        path.name, images, labels, test_images, test_labels, names,
        train_ids=ids, place=f"{path} ({train.name} and {test.name})", left_out=_said(left_out + found.left_out),
    )  # fmt: skip


def reason(error: Exception) -> str:
    """Someone else's error in a few words."""
    return " ".join(str(getattr(error, "reason", error)).split())[:160] or type(error).__name__


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _classes(path: Path, wanted: tuple[str, ...] | None) -> tuple[str, ...]:
    names = tuple(child.name for child in _folders(path))
    if not names:
        raise DataError(f"{path} has no sub-folders; make one for each class")
    if lacking := sorted({*(wanted or ())} - {*names}):
        raise DataError(
            f"{path} has no sub-folder {lacking[0]}, one of the `classes` asked for; give a folder that has"
        )
    return names if wanted is None else wanted


def _tells_classes(split: Path, names: tuple[str, ...]) -> bool:
    """Whether a split has more than a folder of all its images, as those have that are for a contest."""
    inside = {child.name for child in _folders(split)}
    return (split / _ANNOTATIONS).is_file() or bool(inside - ({"images"} - set(names)))


def _search(path: Path, names: tuple[str, ...], *, only: bool) -> _Found:
    """All images below the classes' folders, however deep; whether there may be other folders is said by `only`."""
    unknown = sorted({child.name for child in _folders(path)} - set(names))
    if unknown and not only:
        raise DataError(f"{path / unknown[0]} has no counterpart among the training classes; name classes alike")
    found = _Found([], Counter(_kind(file) for file in _files(path)))
    for label, name in enumerate(names):
        for root, _, files in sorted(os.walk(path / name)):
            if any(part.startswith(".") for part in Path(root).relative_to(path / name).parts):
                continue
            for file in sorted(file for file in files if not file.startswith(".")):
                if Path(file).suffix.lower() in _endings():
                    found.files.append((Path(root) / file, label))
                else:
                    found.left_out[_kind(Path(file))] += 1
    return found


def _annotated(path: Path, names: tuple[str, ...]) -> _Found:
    """The images that a file names with their classes."""
    files, numbers = [], {name: label for label, name in enumerate(names)}
    for line in (path / _ANNOTATIONS).read_text(encoding="utf-8").splitlines():
        file, name = [*line.split("\t"), ""][:2]
        if name not in numbers:
            raise DataError(f"{path / _ANNOTATIONS} names a class {name[:60]!r} that is not in training; remove it")
        files.append((path / "images" / file, numbers[name]))
    return _Found(files, Counter())


def _files(path: Path) -> Iterator[Path]:
    return (child for child in path.iterdir() if child.is_file() and not child.name.startswith("."))


def _holds_images(path: Path) -> bool:
    return any(file.suffix.lower() in _endings() for file in _files(path))


@functools.cache
def _endings() -> frozenset[str]:
    """Of the files that pillow reads."""
    known = Image.registered_extensions()  # which first makes it know all its formats
    return frozenset(end for end, form in known.items() if form in Image.OPEN and form not in _NO_PICTURES)


def _kind(file: Path) -> str:
    """What a file that is left out is counted as."""
    ending = file.suffix.lower() or "without ending"
    return f"{ending} outside of the classes" if ending in _endings() else ending


def _said(left_out: Counter[str]) -> str:
    kinds = [f"{count} {kind}" if count > 1 else kind for kind, count in left_out.most_common(5)]
    more = len(left_out) - len(kinds)
    return ", ".join([*kinds, *([f"{more} other kinds"] if more else [])])


def _read(path: Path, found: _Found, size: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, their classes, and their paths as ids."""
    if not found.files:
        raise DataError(
            f"the sub-folders of {path} hold no images; they should end in .png, .jpg or another that pillow reads"
        )
    images: list[np.ndarray] = []
    first = found.files[0][0]
    for file, _ in found.files:
        image = _picture(file)
        images.append(image if size is None else cropped(image, size))
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (images[-1], images[0])]
        if sizes[0] != sizes[1]:
            raise DataError(
                f"{file} is {sizes[0]} but {first} is {sizes[1]}; bring all images to one size, or give `size`"
            )
    channels = max(image.shape[2] for image in images)
    stacked = np.concatenate([np.broadcast_to(image, (1, *image.shape[:2], channels)) for image in images])
    ids = [os.fsencode(file.relative_to(path).as_posix()) for file, _ in found.files]
    return stacked, np.array([label for _, label in found.files]), np.array(ids, "S")


def cropped(image: UInt8[np.ndarray, "h w c"], size: int) -> UInt8[np.ndarray, "size size c"]:
    """The middle of an image as a square: halved by means while it is twice as large, then shrunk (or enlarged) by
    cubics until its shorter side fits, as ADM's and DiT's code does (Dhariwal & Nichol, NeurIPS 2021).

    Args:
        image: one or three channels.
        size: side of the square.
    """
    picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
    while min(picture.size) >= 2 * size:
        picture = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.BOX)
    scale = size / min(picture.size)
    sides = round(picture.width * scale), round(picture.height * scale)
    pixels = np.atleast_3d(np.asarray(picture.resize(sides, Image.Resampling.BICUBIC)))
    top, left = ((side - size) // 2 for side in pixels.shape[:2])
    return pixels[top : top + size, left : left + size]


def _picture(file: Path) -> np.ndarray:
    """A file as uint8 ``[h w c]``, the way up that it is to be seen, with one channel where it has no colour."""
    try:
        with Image.open(file) as stored:
            form, image = stored.format, stored
            with contextlib.suppress(Exception), warnings.catch_warnings():  # whoever wrote it may not know EXIF
                warnings.simplefilter("ignore")
                image = ImageOps.exif_transpose(stored)
            if image.mode.startswith("I;16") or (image.mode, form) in (("I", "PNG"), ("I", "PPM")):
                pixels = np.asarray(image) / 257  # 16 bits; pillow would cut them off at 255
                return pixels.round().astype(np.uint8)[..., None]
            if image.mode not in ("I", "F"):
                grey, opaque = image.mode in ("1", "L", "LA"), image
                if image.mode.endswith("A") or "transparency" in image.info:
                    opaque = Image.new("RGBA", image.size, "white")
                    opaque.alpha_composite(image.convert("RGBA"))
                return np.atleast_3d(np.asarray(opaque.convert("L" if grey else "RGB")))
    except Exception as error:  # each of pillow's decoders has errors of its own
        raise DataError(f"{file} cannot be read as an image ({reason(error)}); repair or remove it") from None
    raise DataError(f"{file} has pixels without a fixed range; save it with 8 or 16 bits")
