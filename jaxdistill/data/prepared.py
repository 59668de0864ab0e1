"""Data sets that TFDS knows, prepared or downloaded by it; both libraries are imported when one is asked for."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from jaxdistill.common import names
from jaxdistill.data.check import DataError, Source
from jaxdistill.data.pictures import reason
from jaxdistill.errors import UsageError

__all__ = ["check_dataset", "read_prepared"]

_TFDS = "tensorflow_datasets"
_ALIKE = 0.75
"""From where on a name is taken for a slip; TFDS has many that are somewhat alike."""


def read_prepared(name: str, data_dir: str | None) -> Source:
    """A data set of TFDS, each training image known by the id that it has there.

    Args:
        name: with a configuration and a version, or without.
        data_dir: where it is prepared.

    Raises:
        DataError: if it cannot be had or used.
    """
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
    wanted = [*kinds, "id"] if isinstance(features.get("id"), tfds.features.Text) else [*kinds]
    options = {
        "decoders": tfds.decode.PartialDecoding(dict.fromkeys(wanted, True)),
        "read_config": tfds.ReadConfig(try_autocache=False, add_tfds_id=True),
        "batch_size": 1000,
    }
    try:
        (train, labels, ids), (images, test_labels, _) = (_collect(builder, part, options) for part in ("train", test))
    except Exception as error:  # TensorFlow has an error for each kind of damage
        raise DataError(f"{name} in {builder.data_dir} is damaged ({reason(error)}); prepare it again") from None
    classes = tuple(features["label"].names)
    rest = ", ".join(f"{splits[part].num_examples:,} of {part}" for part in splits if part not in ("train", test))
    return Source(
        builder.name, train, labels, images, test_labels, classes,
        train_ids=ids, in_order=False, place=f"TFDS in {builder.data_dir}", left_out=rest,
    )  # fmt: skip


def check_dataset(name: str, data_dir: str | None = None) -> None:
    """Refuse a name of no data set that is near one, without TFDS, whose import takes long.

    Raises:
        DataError: if it is such a name.
    """
    head = names.base(name).partition("/")[0]
    places = (data_dir, os.environ.get("TFDS_DATA_DIR"), f"~/{_TFDS}")
    prepared = any(head and (Path(place).expanduser() / head).is_dir() for place in places if place)
    if prepared or names.base(name) in names.DATASETS or head in _of_tfds():
        return
    if hint := names.meant(head, names.DATASETS, names.ALIASES, alike=_ALIKE):
        raise DataError(f"there is no data set or folder '{name}'; {hint}")


def _builder(tfds: Any, name: str, data_dir: str | None) -> Any:
    """What reads a data set of TFDS, prepared."""
    where = f" in {data_dir}" if data_dir else ""
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        if builder.data_path.exists():
            return builder
    except tfds.core.DatasetNotFoundError:
        known = {*names.DATASETS, *tfds.list_builders(with_community_datasets=False)}
        hint = names.meant(name, known) or "see 'jaxdistill list' for some that there are"
        raise DataError(f"there is no data set or folder '{name}'{where}; {hint}") from None
    except Exception as error:
        raise DataError(f"{name} cannot be opened{where} ({reason(error)}); choose or prepare another") from None
    try:
        # Without a network TFDS would try for minutes; here any answer will do.
        with contextlib.suppress(urllib.error.HTTPError):
            urllib.request.urlopen("https://storage.googleapis.com", timeout=10).close()
        builder.download_and_prepare()
        return builder
    except Exception as error:  # every data set's own code and server runs here
        said = f"is not prepared{where} and cannot be downloaded ({reason(error)})"
        raise DataError(f"{name} {said}; give `data_dir`, the folder that holds it as TFDS prepared it") from None


def _collect(builder: Any, split: str, options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, labels and ids: the data set's own where it has some, else the places in its files."""
    count, image = builder.info.splits[split].num_examples, builder.info.features["image"]
    images, labels, end = np.empty((count, *image.shape), image.np_dtype), np.empty(count, np.int64), 0
    ids: list[bytes] = []
    places: list[bytes] = []
    for part in builder.as_dataset(split=split, **options).as_numpy_iterator():
        begin, end = end, end + len(part["label"])
        images[begin:end], labels[begin:end] = part["image"], part["label"]
        ids += list(part.get("id", ()))
        places += list(part["tfds_id"])
    if end != count:
        raise UsageError(f"{end} of {count} examples in {split}")
    return images, labels, np.array(ids if len(set(ids)) == count else places, "S")


def _of_tfds() -> set[str]:
    """Names of TFDS's data sets as far as its files tell them."""
    spec = importlib.util.find_spec(_TFDS)
    places = list(spec.submodule_search_locations or ()) if spec else []
    parts = [Path(place) / part for place in places for part in ("datasets", "image_classification", "url_checksums")]
    return {path.stem for part in parts if part.is_dir() for path in part.iterdir() if path.name[0] not in "._"}
