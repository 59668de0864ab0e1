"""Reading data sets: the only part of ``data/`` that touches files and the network."""

from __future__ import annotations

import contextlib
import difflib
import io
import logging
import os
import re
import sys
import urllib.error
import urllib.request
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxdistill.data.check import DataError, Source, checked, divide, from_arrays
from jaxdistill.errors import UsageError

__all__ = ["LISTED", "DataError", "Source", "load", "silence"]

LISTED = ("digits", "mnist", "fashion_mnist", "svhn_cropped", "cifar10", "cifar100")
"""Names with a known preprocessing; any other image classification data set of TFDS works too."""

_IMAGE_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
# No "someone:name": TFDS would fetch and run the code of strangers for it.
_TFDS_NAME = re.compile(r"\w+(/[\w.-]+)?(:\d+\.\d+\.\d+)?")


def load(name: str, data_dir: str | None = None) -> Source:
    """Read a data set.

    Args:
        name: ``digits`` (1,797 images of 8x8 that ship with scikit-learn); the path of an ``.npz`` with ``x_train
            y_train x_test y_test`` (images as integers in 0..255 or floats in [0, 1]); the path of a folder with one
            sub-folder of images for each class, or with such a folder in each of ``train`` and ``test`` (grey where all
            are, and white where they are transparent); or a TFDS name. What comes without a test split gives every
            fifth image of a class to it.
        data_dir: where TFDS keeps prepared data sets.

    Raises:
        DataError: if it cannot be found, read or used.
    """
    name = os.path.expanduser(name)
    try:
        if name == "digits":
            source = _digits()
        elif name.endswith(".npz"):
            source = _npz(Path(name))
        elif name and Path(name).is_dir():
            source = _folder(Path(name))
        elif _TFDS_NAME.fullmatch(name):
            with silence():
                source = _tfds(name, data_dir)
        else:
            raise DataError(f"there is no data set or folder '{name}'; give a folder, an .npz file or a TFDS name")
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror or error}); look at its permissions") from None
    return checked(source)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep what TensorFlow and TFDS print, log and warn from the terminal; errors still reach the caller.

    TensorFlow's C++ writes to the process's standard error whatever it is told, so that is sent elsewhere for a while.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        kept = os.dup(2)
    except OSError:  # closed, and better left on the null device: any file opened next would get its number
        kept = nowhere
    level = logging.root.manager.disable
    with contextlib.suppress(AttributeError, ValueError):  # None or closed
        sys.stderr.flush()
    try:
        os.dup2(nowhere, 2)
        logging.disable(logging.CRITICAL)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        os.dup2(kept, 2)
        for handle in {kept, nowhere} - {2}:
            os.close(handle)


def _digits() -> Source:
    from sklearn.datasets import load_digits

    images, labels = (np.asarray(array) for array in load_digits(return_X_y=True))
    images = (images.reshape(-1, 8, 8, 1) * (255 / 16)).round().astype(np.uint8)
    return divide("digits", images, labels, tuple("0123456789"))


def _npz(path: Path) -> Source:
    wanted = ("x_train", "y_train", "x_test", "y_test")
    if not path.is_file():
        raise DataError(f"there is no file {path}; give the path of an .npz with {' '.join(wanted)}")
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is cut short or not an .npz file; write it again with numpy.savez")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            found = list(stored.files)
            arrays = {key: stored[key] for key in wanted if key in found}
    except Exception as error:  # a damaged zip, an array in it or its header: each has errors of its own
        if "Object arrays" in str(error):
            raise DataError(f"{path} holds ragged or object arrays; save plain arrays of images of one size") from None
        raise DataError(f"{path} is damaged ({_reason(error)}); write it again with numpy.savez") from None
    if missing := ", ".join(key for key in wanted if key not in arrays):
        held = ", ".join(found)[:200] or "nothing"
        raise DataError(f"{path} lacks {missing} (it holds {held}); save all of {', '.join(wanted)}")
    return from_arrays(path.stem, **arrays)


def _folder(path: Path) -> Source:
    if (path / "train").is_dir() and (path / "test").is_dir():
        names = _classes(path / "train")
        unknown = sorted(set(_classes(path / "test")) - set(names))
        if unknown:
            raise DataError(f"{path / 'test' / unknown[0]} has no counterpart in {path / 'train'}; name classes alike")
        train, test = (_images(path / split, names) for split in ("train", "test"))
        return Source(path.name, *train, *test, names)
    names = _classes(path)
    return divide(path.name, *_images(path, names), names)


def _classes(path: Path) -> tuple[str, ...]:
    names = tuple(sorted(child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith(".")))
    if not names:
        raise DataError(f"{path} has no sub-folders; make one for each class")
    return names


def _images(path: Path, names: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    files = [
        (file, label)
        for label, name in enumerate(names)
        for file in sorted((path / name).glob("[!.]*"))
        if file.suffix.lower() in _IMAGE_ENDINGS and file.is_file()
    ]
    if not files:
        raise DataError(f"the sub-folders of {path} hold no images; they should end in {', '.join(_IMAGE_ENDINGS)}")
    images: list[np.ndarray] = []
    for file, _ in files:
        images.append(_picture(file))
        sizes = [f"{image.shape[1]}x{image.shape[0]}" for image in (images[-1], images[0])]
        if sizes[0] != sizes[1]:
            raise DataError(f"{file} is {sizes[0]} but {files[0][0]} is {sizes[1]}; bring all images to one size")
    channels = max(image.shape[2] for image in images)
    stacked = np.concatenate([np.broadcast_to(image, (1, *image.shape[:2], channels)) for image in images])
    return stacked, np.array([label for _, label in files])


def _picture(file: Path) -> np.ndarray:
    """A file as uint8 ``[h w c]``, with one channel where it has no colour."""
    try:
        with Image.open(file) as image:
            if image.mode.startswith("I;16") or (image.mode, image.format) == ("I", "PNG"):
                pixels = np.asarray(image) / 257  # 16 bits; pillow would cut them off at 255
                return pixels.round().astype(np.uint8)[..., None]
            if image.mode not in ("I", "F"):
                grey, opaque = image.mode in ("1", "L", "LA"), image
                if image.mode.endswith("A") or "transparency" in image.info:
                    opaque = Image.new("RGBA", image.size, "white")
                    opaque.alpha_composite(image.convert("RGBA"))
                return np.atleast_3d(np.asarray(opaque.convert("L" if grey else "RGB")))
    except Exception as error:  # each of pillow's decoders has errors of its own
        raise DataError(f"{file} cannot be read as an image ({_reason(error)}); repair or remove it") from None
    raise DataError(f"{file} has pixels without a fixed range; save it with 8 or 16 bits")


def _reason(error: Exception) -> str:
    """Someone else's error in a few words."""
    return " ".join(str(getattr(error, "reason", error)).split())[:160] or type(error).__name__


def _tfds(name: str, data_dir: str | None) -> Source:
    try:
        import tensorflow as tf
        import tensorflow_datasets as tfds
    except ImportError:
        raise DataError(
            f"{name} would come from TFDS, which is not installed; run pip install 'jaxdistill[tfds]', or give digits, "
            "an .npz file or a folder of images"
        ) from None
    with contextlib.suppress(RuntimeError):  # too late where TensorFlow is in use already
        tf.config.set_visible_devices([], "GPU")  # it would take the memory that JAX needs
    tfds.disable_progress_bar()
    builder = _builder(tfds, name, data_dir)
    splits = builder.info.splits
    test = "test" if "test" in splits else "validation"
    kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
    features: dict[str, Any] = dict(getattr(builder.info.features, "items", dict)())  # a lone feature has no parts
    if not all(isinstance(features.get(key), kinds[key]) for key in kinds) or not {"train", test} <= set(splits):
        raise DataError(f"{name} is not an image classification data set with a train and a test split; choose another")
    if None in features["image"].shape:
        raise DataError(f"the images of {name} differ in size; bring them to one size and give them as a folder")
    options = {
        "decoders": tfds.decode.PartialDecoding(dict.fromkeys(kinds, True)),
        "read_config": tfds.ReadConfig(try_autocache=False),
        "batch_size": 1000,
    }
    try:
        train, labels = _collect(builder, "train", options)
        return Source(builder.name, train, labels, *_collect(builder, test, options), tuple(features["label"].names))
    except Exception as error:  # TensorFlow has an error for each kind of damage
        raise DataError(f"{name} in {builder.data_dir} is damaged ({_reason(error)}); prepare it again") from None


def _builder(tfds: Any, name: str, data_dir: str | None) -> Any:
    """What reads a data set of TFDS, prepared."""
    where = f" in {data_dir}" if data_dir else ""
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if builder.data_path.exists():
            return builder
    except tfds.core.DatasetNotFoundError:
        near = difflib.get_close_matches(name, {*LISTED, *tfds.list_builders(with_community_datasets=False)}, 3)
        hint = f"did you mean {' or '.join(near)}?" if near else "see 'jaxdistill list' for some that there are"
        raise DataError(f"there is no data set or folder '{name}'{where}; {hint}") from None
    except Exception as error:
        raise DataError(f"{name} cannot be opened{where} ({_reason(error)}); choose or prepare another") from None
    try:
        # Without a network TFDS would try for minutes; here any answer will do.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen("https://storage.googleapis.com", timeout=10).close()
        builder.download_and_prepare()
        return builder
    except Exception as error:  # every data set's own code and server runs here
        reason = f"is not prepared{where} and cannot be downloaded ({_reason(error)})"
        raise DataError(f"{name} {reason}; give `data_dir`, the folder that holds it as TFDS prepared it") from None


def _collect(builder: Any, split: str, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    count, image = builder.info.splits[split].num_examples, builder.info.features["image"]
    images, labels, end = np.empty((count, *image.shape), image.np_dtype), np.empty(count, np.int64), 0
    for part in builder.as_dataset(split=split, **options).as_numpy_iterator():
        begin, end = end, end + len(part["label"])
        images[begin:end], labels[begin:end] = part["image"], part["label"]
    if end != count:
        raise UsageError(f"{end} of {count} examples in {split}")
    return images, labels
