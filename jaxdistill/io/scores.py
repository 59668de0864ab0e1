"""Scores of training images in files: each for the image it belongs to, known by its id or its label, not its place."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxdistill.data.digest import Digests, digests_of
from jaxdistill.data.source import Source
from jaxdistill.errors import UsageError
from jaxdistill.io.files import load_arrays, write_bytes

__all__ = ["count_in", "name_in", "read_scores", "save_scores"]

_NUMBER = re.compile(rb"(?:train_)?(\d+)")
"""An id that says where an image stands in its data set's original order, as CIFAR's ids in TFDS do."""


SHOWN, ENDS, LARGEST = 10, 5, 64
"""Of the hardest and the easiest images that are kept with scores: classes, images of each, and pixels across."""


def read_scores(path: Path, source: Source, digests: Digests | None = None, *, other_data: bool = False) -> np.ndarray:
    """Scores in the order of the training images, float64.

    Args:
        path: an .npy, in the data set's original order; or an .npz with ``scores``, and with what tells whose they are:
            ``labels`` in the same order, ``ids`` as TFDS (or, for a folder, the files' names) has them, or both.
        source: the data.
        digests: theirs; made here where they are not given.
        other_data: take scores that say that they are of other images.

    Raises:
        UsageError: if it cannot be read, or it cannot be told, or is told otherwise, that they are of these images.
    """
    try:
        arrays = load_arrays(path)
    except ValueError as error:
        raise UsageError(f"the scores in {path} cannot be read ({error}); give an .npy or .npz") from None
    ids, labels = arrays.pop("ids", None), arrays.pop("labels", None)
    if "scores" not in arrays and len(arrays) != 1:
        held = ", ".join(arrays)[:100] or "none"
        raise UsageError(f"{path} does not say which of its arrays are scores (it holds {held}); name them scores")
    count, found = len(source.train_labels), arrays.get("scores", next(iter(arrays.values())))
    if found.dtype.kind not in "iufb":
        raise UsageError(f"the scores in {path} cannot be read (their type is {found.dtype}); give numbers")
    if found.shape != (count,) or not np.isfinite(found).all():
        raise UsageError(
            f"{path} does not hold {count} finite numbers, one for each training image in the data set's own order "
            f"(its shape is {found.shape}); give other scores"
        )
    digest = str(arrays["digest"]) if "scores" in arrays and "digest" in arrays and not other_data else ""
    if digest and digest != (digests or digests_of(source)).train_images:
        raise UsageError(
            f"the scores in {path} are of other training images than those of {source.name}; give scores of these, or "
            "add --other-data if that is meant"
        )
    for name, array in (("ids", ids), ("labels", labels)):
        if array is not None and array.size != count:
            raise UsageError(f"{path} has {array.size} {name} for {count} scores; give one for each")
    orders = _places(path, source, labels is not None) if ids is None else [_places_by_id(path, ids.ravel(), source)]
    said = source.train_labels[np.argsort(orders[0])] if labels is None else labels.ravel()
    agree = [int(np.sum(said[order] == source.train_labels)) for order in orders]
    if max(agree) < count:
        raise UsageError(
            f"the labels in {path} are those of {max(agree):,} of {count:,} training images of {source.name} in their "
            "order; give scores of these images, with ids that say which is which where their order is another"
        )
    return np.asarray(found, np.float64)[orders[agree.index(count)]]


def count_in(path: Path) -> int:
    """How many scores a file holds; 0 where that cannot be told."""
    with contextlib.suppress(UsageError, ValueError):
        arrays = load_arrays(path)
        return arrays.get("scores", next(iter(arrays.values()))).size
    return 0


def name_in(path: Path) -> str:
    """Which score a file says that it holds; empty where it does not say, or cannot be read."""
    with contextlib.suppress(UsageError):
        return str(load_arrays(path).get("name", ""))
    return ""


def save_scores(
    path: Path,
    scores: np.ndarray,
    source: Source,
    digests: Digests | None = None,
    *,
    hardness: np.ndarray | None = None,
    name: str = "",
    made: str = "",
) -> None:
    """Write scores in the order of the training images, with what `read_scores` tells those by and what pages show.

    Args:
        path: of the file.
        scores: one for each training image.
        source: the data set.
        digests: its; made here where they are not given.
        hardness: the scores, turned so that larger is harder; by default they are that.
        name: of the score.
        made: how they came about, in words.
    """
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {} if source.train_ids is None else {"ids": source.train_ids}
    arrays |= {"digest": (digests or digests_of(source)).train_images, "name": name, "made": made}
    arrays |= _ends(scores if hardness is None else hardness, source)
    np.savez(buffer, scores=scores, labels=source.train_labels, **arrays)
    write_bytes(path, buffer.getvalue())


def _ends(hardness: np.ndarray, source: Source) -> dict[str, np.ndarray]:
    """The hardest images of some classes, the hardest first, and the easiest, the easiest first.

    ``shown`` says which classes, at most `SHOWN` that are spread evenly; ``hardest`` and ``easiest`` are uint8
    ``[classes images h w c]``, at most `ENDS` of a class, as small as `LARGEST` pixels where they are larger.
    """
    classes = len(source.class_names)
    shown = np.linspace(0, classes - 1, min(classes, SHOWN)).round().astype(int)
    of_class = (np.flatnonzero(source.train_labels == label) for label in shown)
    ranked = [members[np.argsort(-hardness[members], kind="stable")] for members in of_class]
    count = min(ENDS, *map(len, ranked))
    hardest, easiest = (np.stack([row[::turn][:count] for row in ranked]) for turn in (1, -1))
    pictures = {"hardest": _small(source.train_images[hardest]), "easiest": _small(source.train_images[easiest])}
    return {"shown": shown, **pictures}


def _small(images: np.ndarray) -> np.ndarray:
    """Images as bytes, by means of blocks where they are large."""
    *lead, h, w, c = images.shape
    down, across = (min(-(-max(h, w) // LARGEST), side) for side in (h, w))
    whole = images[..., : h // down * down, : w // across * across, :]
    blocks = whole.reshape(*lead, h // down, down, w // across, across, c).mean((-4, -2))
    return np.clip(blocks if images.dtype == np.uint8 else 255 * blocks, 0, 255).round().astype(np.uint8)


def _places(path: Path, source: Source, labelled: bool) -> list[np.ndarray]:
    """Where in a file without ids the scores of the training images may stand, the likeliest first."""
    as_read, original = np.arange(len(source.train_labels)), _original(source.train_ids)
    if source.in_order:
        return [as_read]
    if original is None and not labelled:
        raise UsageError(
            f"whose scores are in {path} cannot be told, since TFDS shuffles {source.name} and keeps no ids of it; "
            "give an .npz with scores and their labels, in the order that TFDS has"
        )
    return [order for order in (original, as_read if labelled else None) if order is not None]


def _places_by_id(path: Path, ids: np.ndarray, source: Source) -> np.ndarray:
    """Where in a file with ids the score of each training image stands."""
    ours = source.train_ids
    if ids.dtype.kind in "iu":  # places in the original order
        ours = np.arange(len(source.train_labels)) if source.in_order else _original(ours)
    elif ids.dtype.kind == "U":
        ids = np.char.encode(ids, "utf-8")
    if ours is None or ids.dtype.kind not in "iuS":
        raise UsageError(f"{path} knows images by ids, and those of {source.name} have none; leave the ids out")
    order = np.argsort(ids, kind="stable")
    found = order[np.minimum(np.searchsorted(ids, ours, sorter=order), len(ids) - 1)]
    if len(np.unique(ids)) < len(ids) or not np.array_equal(ids[found], ours):
        raise UsageError(f"the ids in {path} are not those of the training images of {source.name}; give their scores")
    return found


def _original(ids: np.ndarray | None) -> np.ndarray | None:
    """Where each image stands in its data set's original order, if the ids say so."""
    matches = [] if ids is None else [_NUMBER.fullmatch(text) for text in ids.tolist()]
    if not matches or None in matches:
        return None
    places = np.array([int(match[1]) for match in matches if match])
    return places if np.array_equal(np.sort(places), np.arange(len(places))) else None
