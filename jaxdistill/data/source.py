"""Reading data sets: the only part of ``data/`` that touches files and the network."""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import socket
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Shaped
from PIL import Image, UnidentifiedImageError

from jaxdistill.data.preprocess import STATISTICS

__all__ = ["LISTED", "DataError", "Source", "load"]

LISTED = ("digits", *STATISTICS)
"""Names with a known preprocessing; any other image classification data set of TFDS works too."""

_TEST_SHARE = 5
_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")


class DataError(ValueError):
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


def load(name: str, data_dir: str | None = None) -> Source:
    """Read a data set.

    Args:
        name: ``digits`` (1,797 images of 8x8 that ship with scikit-learn; every fifth image of a class is a test image);
            the path of an ``.npz`` with ``x_train y_train x_test y_test`` (images as integers in 0..255 or floats in
            [0, 1]); the path of a folder with one sub-folder of images for each class, or with such a folder in each of
            ``train`` and ``test`` (without them, every fifth image of a class is a test image); or a TFDS name.
        data_dir: where TFDS keeps prepared data sets.

    Raises:
        DataError: if it cannot be found, read or used.
    """
    if name == "digits":
        source = _digits()
    elif name.endswith(".npz"):
        source = _npz(Path(name))
    elif Path(name).is_dir():
        source = _folder(Path(name))
    elif os.sep in name:
        raise DataError(f"there is no folder {name}; give an existing folder, an .npz file or the name of a data set")
    else:
        with _silence():
            source = _tfds(name, data_dir)
    return _checked(source)


def _digits() -> Source:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = (digits.images[..., None] * (255 / 16)).round().astype(np.uint8)
    return _divide("digits", images, digits.target.astype(np.int32), tuple("0123456789"))


def _divide(name: str, images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> Source:
    """Every fifth example of each class, in the order given, is for testing."""
    rank = np.zeros(len(labels), int)
    for label in np.unique(labels):
        rank[labels == label] = np.arange((labels == label).sum())
    test = rank % _TEST_SHARE == _TEST_SHARE - 1
    return Source(name, images[~test], labels[~test], images[test], labels[test], class_names)


def _npz(path: Path) -> Source:
    if not path.is_file():
        raise DataError(f"there is no file {path}; give the path of an .npz with x_train y_train x_test y_test")
    wanted = ("x_train", "y_train", "x_test", "y_test")
    try:
        with np.load(path, allow_pickle=False) as stored:
            missing = [key for key in wanted if key not in stored.files]
            if missing:
                found = ", ".join(stored.files) or "nothing"
                raise DataError(
                    f"{path} lacks {', '.join(missing)} (it holds {found}); save all of {', '.join(wanted)}"
                )
            arrays = {key: stored[key] for key in wanted}
    except DataError:
        raise
    except ValueError as error:
        if "pickle" not in str(error).lower():
            raise DataError(f"{path} is damaged ({error}); write it again") from None
        raise DataError(f"{path} holds ragged or object arrays; save plain arrays of images of one size") from None
    except (OSError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise DataError(f"{path} is damaged or not an .npz file ({error}); write it again") from None
    images = {}
    for key in ("x_train", "x_test"):
        images[key] = arrays[key][..., None] if arrays[key].ndim == 3 else arrays[key]
    labels = {key: _integers(arrays[key], f"{key} of {path}") for key in ("y_train", "y_test")}
    names = tuple(str(i) for i in range(int(labels["y_train"].max(initial=-1)) + 1))
    return Source(path.stem, images["x_train"], labels["y_train"], images["x_test"], labels["y_test"], names)


def _integers(labels: np.ndarray, what: str) -> np.ndarray:
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"{what} has shape {labels.shape} and type {labels.dtype}; give one integer for each image")
    if labels.size and not 0 <= labels.min() <= labels.max() < 2**31:
        raise DataError(f"{what} has labels from {labels.min()} to {labels.max()}; number the classes from 0")
    return labels.astype(np.int32)


def _folder(path: Path) -> Source:
    if (path / "train").is_dir() and (path / "test").is_dir():
        names = _classes(path / "train")
        unknown = sorted(set(_classes(path / "test")) - set(names))
        if unknown:
            raise DataError(f"{path / 'test' / unknown[0]} has no counterpart in {path / 'train'}; name classes alike")
        train, test = (_images(path / split, names) for split in ("train", "test"))
        return Source(path.name, *train, *test, names)
    names = _classes(path)
    return _divide(path.name, *_images(path, names), names)


def _classes(path: Path) -> tuple[str, ...]:
    names = tuple(sorted(child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")))
    if not names:
        raise DataError(f"{path} has no sub-folders; make one for each class")
    return names


def _images(path: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    files = [
        (file, label)
        for label, name in enumerate(names)
        for file in sorted((path / name).glob("*"))
        if file.suffix.lower() in _IMAGE_ENDINGS
    ]
    if not files:
        raise DataError(f"the sub-folders of {path} hold no images; they should end in {', '.join(_IMAGE_ENDINGS)}")
    images: list[np.ndarray] = []
    grey = True
    for file, _ in files:
        try:
            with Image.open(file) as image:
                single = image.mode in ("1", "L", "I", "F", "LA", "I;16")
                images.append(np.asarray(image.convert("L" if single else "RGB")))
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
            raise DataError(f"{file} cannot be read as an image; repair or remove it") from None
        grey &= single
        if images[-1].shape[:2] != images[0].shape[:2]:
            sizes = [f"{i.shape[1]}x{i.shape[0]}" for i in (images[-1], images[0])]
            raise DataError(f"{file} is {sizes[0]} but {files[0][0]} is {sizes[1]}; bring all images to one size")
    if grey:
        stacked = np.stack(images)[..., None]
    else:
        stacked = np.stack([i if i.ndim == 3 else np.repeat(i[..., None], 3, -1) for i in images])
    return stacked, np.array([label for _, label in files], np.int32)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """TensorFlow's C++ writes to the process's standard error whatever it is told; send that elsewhere for a while."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _tfds(name: str, data_dir: str | None) -> Source:
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds

        tf.config.set_visible_devices([], "GPU")  # it would take the memory that JAX needs
    except ImportError:
        raise DataError(
            f"{name} would come from TFDS, which is not installed; run pip install 'jaxdistill[tfds]', or give digits, "
            "an .npz file or a folder of images"
        ) from None
    tf.get_logger().setLevel("ERROR")
    tfds.disable_progress_bar()
    where = f" in {data_dir}" if data_dir else ""
    try:
        builder = tfds.builder(name, data_dir=data_dir, try_gcs=False)
    except (tfds.core.registered.DatasetNotFoundError, ValueError, ImportError):
        near = difflib.get_close_matches(name, {*LISTED, *tfds.list_builders()}, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see 'jaxdistill list' for some that there are"
        raise DataError(f"there is no data set '{name}'; {hint}") from None
    if not builder.data_path.exists():
        try:
            _reachable()
            builder.download_and_prepare()
        except Exception as error:  # every data set's own code and server runs here
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
            raise DataError(
                f"{name} is not prepared{where} and cannot be downloaded ({reason}); give --data-dir, the folder that "
                "holds it as TFDS prepared it"
            ) from None
    features, splits = builder.info.features, builder.info.splits
    test = next((split for split in ("test", "validation") if split in splits), None)
    if not {"image", "label"} <= set(features or ()) or "train" not in splits or test is None:
        raise DataError(f"{name} is not an image classification data set with a train and a test split; choose another")
    shape = features["image"].shape
    if None in shape:
        raise DataError(f"the images of {name} differ in size; bring them to one size and give them as a folder")
    halves = []
    for split in ("train", test):
        count = splits[split].num_examples
        images, labels = np.empty((count, *shape), np.uint8), np.empty(count, np.int32)
        at = 0
        for part in builder.as_dataset(split=split, as_supervised=True, batch_size=1000).as_numpy_iterator():
            images[at : at + len(part[1])], labels[at : at + len(part[1])] = part
            at += len(part[1])
        halves += [images, labels]
    return Source(name, *halves, tuple(features["label"].names))


def _reachable() -> None:
    """Fail at once on a machine without a network, where TFDS would retry for minutes."""
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    if not urllib.request.getproxies():
        socket.getaddrinfo("storage.googleapis.com", 443)


def _checked(source: Source) -> Source:
    """The source in its final types, after everything that could be wrong with it was looked at."""
    classes = len(source.class_names)
    splits = {
        "training": (source.train_images, source.train_labels),
        "test": (source.test_images, source.test_labels),
    }
    ready = []
    for split, (images, labels) in splits.items():
        what = f"the {split} images of {source.name}"
        if images.ndim != 4 or images.shape[-1] not in (1, 3):
            raise DataError(f"{what} have shape {images.shape}; give [count height width], with 1 or 3 channels last")
        if len(images) == 0 or len(images) != len(labels):
            raise DataError(f"there are {len(images)} {split} images and {len(labels)} labels; give one label for each")
        if images.shape[1] != images.shape[2]:
            raise DataError(f"{what} are {images.shape[2]}x{images.shape[1]}; crop or resize them to squares")
        if labels.max() >= classes:
            raise DataError(
                f"a {split} label is {labels.max()}, but there are {classes} classes in training; remove it"
            )
        ready += [_stored(images, what), labels]
    if source.train_images.shape[1:] != source.test_images.shape[1:]:
        raise DataError(f"training and test images of {source.name} differ in size; bring them to one size")
    counts = np.bincount(source.train_labels, minlength=classes)
    if classes < 2:
        raise DataError(f"{source.name} has {classes} class; at least two are needed")
    if counts.min() == 0:
        empty = source.class_names[int(counts.argmin())]
        raise DataError(f"class {empty} of {source.name} has no training images; number the classes without gaps")
    return Source(source.name, *ready, source.class_names)


def _stored(images: np.ndarray, what: str) -> np.ndarray:
    """uint8 as it is; floats as float32 in [0, 1]."""
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind in "iu" and 0 <= images.min() <= images.max() <= 255:
        return images.astype(np.uint8)
    if images.dtype.kind != "f":
        raise DataError(f"{what} have type {images.dtype}; give integers in 0..255 or floats in [0, 1]")
    if not np.isfinite(images).all():
        raise DataError(f"{what} hold NaN or infinite values; remove those images")
    if images.min() < 0 or images.max() > 1:
        raise DataError(f"{what} range from {images.min():.3g} to {images.max():.3g}; scale them to [0, 1]")
    return images.astype(np.float32)
