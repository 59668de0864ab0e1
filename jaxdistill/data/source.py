"""Reading data sets, with `pictures` and `prepared` the only parts of ``data/`` that touch files and the network."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxdistill.common import names
from jaxdistill.data.check import DataError, Source, checked, divide, from_arrays
from jaxdistill.data.imagenet import classes_of
from jaxdistill.data.pictures import read_folder, reason
from jaxdistill.data.prepared import check_dataset, read_prepared
from jaxdistill.errors import UsageError

__all__ = ["LISTED", "DataError", "Source", "load", "silence"]

LISTED = ("digits", "mnist", "fashion_mnist", "svhn_cropped", "cifar10", "cifar100")
"""Names with a known preprocessing; any other image classification data set of TFDS works too."""

# No "someone:name": TFDS would fetch and run the code of strangers for it.
_TFDS_NAME = re.compile(r"\w+(/[\w.-]+)?(:\d+\.\d+\.\d+)?")


def load(
    name: str,
    data_dir: str | None = None,
    *,
    classes: str | None = None,
    phase: int | None = None,
    size: int | None = None,
) -> Source:
    """Read a data set.

    Args:
        name: ``digits`` (1,797 images of 8x8 that ship with scikit-learn); the path of an ``.npz`` with ``x_train
            y_train`` and, if there is a test split, ``x_test y_test`` (images as integers in 0..255 or floats in
            [0, 1]); the path of a folder with one sub-folder of images for each class, or with such a folder in each of
            ``train`` and ``test`` (grey where all are, and white where they are transparent); or a TFDS name. What
            comes without a test split gives every fifth image of a class to it.
        data_dir: where TFDS keeps prepared data sets.
        classes: of a folder whose classes are called by ImageNet's ids, those of a list
            (`jaxdistill.data.imagenet.SUBSETS`), by which the data set is called then.
        phase: some of the list; see `jaxdistill.data.imagenet.classes_of`.
        size: side that a folder's images are brought to.

    Raises:
        DataError: if it cannot be found, read or used.
        UsageError: for a list, or part of one, that there is not.
    """
    name = os.path.expanduser(name)
    if phase is not None and classes is None:
        raise UsageError("a `phase` is a part of a list of `classes`; say of which")
    wanted = None if classes is None else classes_of(classes, phase)
    if (wanted or size) and not Path(name).is_dir():
        which = "`classes` are chosen" if wanted else "a `size` is given"
        raise DataError(f"{which} for folders of images, and {name} is none; leave that out")
    try:
        if name.endswith(".npz"):
            source = _npz(Path(name))
        elif name and Path(name).is_dir():
            source = read_folder(Path(name), wanted, size)
            source = source if classes is None else source._replace(name=classes)
        elif (name := names.dataset(name)) == "digits":
            source = _digits()
        elif _TFDS_NAME.fullmatch(name):
            check_dataset(name, data_dir)
            with silence():
                source = read_prepared(name, data_dir)
        else:
            raise DataError(f"there is no data set or folder '{name}'; give a folder, an .npz file or a TFDS name")
    except OSError as error:
        raise DataError(f"{name} cannot be read ({error.strerror or error}); look at its permissions") from None
    return checked(source._replace(name=names.base(source.name)))


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
    return divide("digits", images, labels, tuple("0123456789"))._replace(place="scikit-learn", divided=False)


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
        raise DataError(f"{path} is damaged ({reason(error)}); write it again with numpy.savez") from None
    needed = wanted[:2] if set(arrays) == {*wanted[:2]} else wanted  # without a test split it is divided
    if missing := ", ".join(key for key in needed if key not in arrays):
        held = ", ".join(found)[:200] or "nothing"
        advice = f"save {' and '.join(wanted[:2])}, and {' and '.join(wanted[2:])} where there is a test split"
        raise DataError(f"{path} lacks {missing} (it holds {held}); {advice}")
    rest = ", ".join(key for key in found if key not in wanted)[:200]
    return from_arrays(path.stem, **arrays)._replace(place=str(path), left_out=rest)
