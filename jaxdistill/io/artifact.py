"""A set as a folder that anyone can load: ``set.safetensors``, ``card.json`` and ``grid.png``, never a pickle.

Nothing of jaxdistill is needed to use one::

    from safetensors.numpy import load_file           # or safetensors.torch, safetensors.flax
    tensors = load_file("runs/first/set/set.safetensors")
    images, labels = tensors["images"], tensors["labels"]       # [n, h, w, c] in preprocessed space; [n, classes]
    if "preprocess/unwhiten" in tensors:
        flat = images.reshape(len(images), -1) @ tensors["preprocess/unwhiten"] + tensors["preprocess/center"]
        images = flat.reshape(images.shape)
    pixels = images * tensors["preprocess/std"] + tensors["preprocess/mean"]     # 0 is black, 1 white
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import typing
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jaxdistill.data.preprocess import Preprocess
from jaxdistill.errors import UsageError
from jaxdistill.io import files
from jaxdistill.io.pictures import grid, png
from jaxdistill.types import PER_IMAGE, LabelKind, SyntheticSet

__all__ = ["SCHEMA", "ArtifactError", "Stored", "counts", "load_set", "save_set", "size"]

SCHEMA = 1
PREFIX = "preprocess/"
LARGEST_CARD = 2**22
_OF_CANVAS = ("canvas", "windows")
SMALLEST_STD = 1e-10
"""Of a channel that hardly changes; what it is divided by has to stay finite."""


class ArtifactError(UsageError):
    """A set that cannot be read, or a place that cannot be written; the message is one sentence."""


class Stored(NamedTuple):
    """A set with what its images went through and what is known of it: what a set's folder holds."""

    synthetic: SyntheticSet
    preprocess: Preprocess
    card: dict[str, Any]

    @property
    def pixels(self) -> Float[np.ndarray, "n h w c"]:
        """The images as pictures: 0 is black and 1 white, and some may lie beyond."""
        return self.preprocess.invert(np.asarray(self.synthetic.images))

    @property
    def labels(self) -> Float[np.ndarray, "n classes"]:
        """What `SyntheticSet.label_kind` says; one-hot for plain classes."""
        return np.asarray(self.synthetic.labels)

    @property
    def counts(self) -> list[int]:
        """Images of each class."""
        return counts(self.card)

    @property
    def size(self) -> str:
        """How many images, in words."""
        return size(self.card)

    def problem(self) -> str:
        """What keeps the set from being saved or judged, in words; empty if nothing does."""
        card = {"label_kind": self.synthetic.label_kind, **_stored_as(self.synthetic), **self.card}
        return _problem(_arrays(self.synthetic, self.preprocess), {**card, "count": self.synthetic.count})

    def show(self) -> Image.Image:
        """The set as one picture, a row for each class; a notebook draws it."""
        return Image.fromarray(grid(self.pixels, self.card["num_classes"], counts=self.counts))

    def save(self, folder: Path | str) -> None:
        """Write the set's folder, replacing a set that is there; see `save_set`."""
        save_set(Path(folder), self.synthetic, self.preprocess, self.card)

    def __repr__(self) -> str:
        card = self.card
        return f"<{self.size} of {card['dataset']}, {card['num_classes']} classes, by {card['method']}>"

    def _repr_png_(self) -> bytes:
        return png(grid(self.pixels, self.card["num_classes"], counts=self.counts))


def counts(card: dict[str, Any]) -> list[int]:
    """Images of each class, by a set's card."""
    return card.get("counts") or [card["ipc"]] * card["num_classes"]


def size(card: dict[str, Any]) -> str:
    """How many images a set has, in words, by its card."""
    found = counts(card)
    if "counts" in card:
        return f"{sum(found)} images, {min(found)} to {max(found)} per class,"
    return f"{card['ipc']} images per class"


def save_set(folder: Path, synthetic: SyntheticSet, preprocess: Preprocess, card: dict[str, Any]) -> None:
    """Write the folder whole, replacing one that is there.

    Args:
        folder: usually ``RUN/set``.
        synthetic: the set.
        preprocess: what its images went through; stored with it, so that the raw data are not needed.
        card: ``method dataset class_names ipc seed cost`` and whatever else is worth knowing, ``counts`` of a set
            whose classes have not all ``ipc`` images among it; shapes, kinds, versions and the hash are added.

    Raises:
        ArtifactError: if `load_set` would refuse it, as for values that are not finite, or if something else than a set
            is in the way; nothing is written then.
        OSError: if the folder cannot be written; what was there before is untouched.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / "set.safetensors").is_file():  # it may be somebody's work
        raise ArtifactError(f"{folder} exists and is not a set; choose another place")
    arrays = _arrays(synthetic, preprocess)
    tensors = save(arrays)
    h, w, c = arrays["images"].shape[1:]
    card = {
        **card,
        "schema": SCHEMA,
        "num_classes": arrays["labels"].shape[1],
        "image_shape": [h // synthetic.canvas, w // synthetic.canvas, c],
        "count": len(arrays["images"]),
        "label_kind": synthetic.label_kind,
        **_stored_as(synthetic),
        "preprocessing": "ZCA whitening" if preprocess.whiten is not None else "mean and std per channel",
        "versions": {name: metadata.version(name) for name in ("jaxdistill", "jax", "numpy")},
        "sha256": hashlib.sha256(tensors).hexdigest(),
    }
    if problem := _problem(arrays, card):
        raise ArtifactError(f"the set cannot be saved in {folder}: {problem}; start again with other settings")
    with files.write_folder(folder) as temporary:
        files.write_bytes(temporary / "set.safetensors", tensors)
        files.write_text(temporary / "card.json", json.dumps(card, indent=1))
        picture = grid(preprocess.invert(arrays["images"]), card["num_classes"], counts=counts(card))
        files.write_bytes(temporary / "grid.png", png(picture))


def _stored_as(synthetic: SyntheticSet) -> dict[str, int | str]:
    """How whole images are made of those that are stored, as a card says it."""
    of_tiles = {} if synthetic.decode_type == "single" else {"decode_type": synthetic.decode_type}
    of_canvas = {name: getattr(synthetic, name) for name in _OF_CANVAS} if synthetic.canvas > 1 else {}
    return {"formation": synthetic.formation, **of_tiles, **of_canvas}


def _arrays(synthetic: SyntheticSet, preprocess: Preprocess) -> dict[str, np.ndarray]:
    """Everything that is stored, by name."""
    kept = dataclasses.replace(synthetic, indices=None).arrays
    arrays = kept | {PREFIX + name: value for name, value in preprocess.arrays().items()}
    return {name: np.asarray(value, np.float32, order="C") for name, value in arrays.items()}


def load_set(folder: Path) -> Stored:
    """Read a set's folder, or that of a run. Safe with a stranger's: sizes and types are checked, nothing is executed.

    Raises:
        ArtifactError: if anything in it is missing, damaged, or not what the card says.
    """
    folder = Path(folder)
    if (folder / "set").is_dir():
        folder = folder / "set"
    path = folder / "set.safetensors"
    if not (folder / "card.json").is_file() or not path.is_file():
        what = "holds no set (card.json and set.safetensors)"
        if not folder.exists():
            what = "holds no set (there is no such folder)"
        elif (folder / "01" / "config.json").is_file():
            raise ArtifactError(f"{folder} holds several runs (01, 02 ...); give one of them")
        elif (folder / "preprocess.safetensors").is_file():
            what = "is an expert bank, not a set"
        raise ArtifactError(f"{folder} {what}; give a finished run or its set folder")
    card = _card(folder / "card.json")
    if path.stat().st_size > _most_bytes(card):
        raise ArtifactError(f"{path} is far larger than its card says; copy the set again")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != card["sha256"]:
        raise ArtifactError(f"{path} is not the file its card was written for; copy the set again")
    try:
        arrays = load(data)
    except KeyError as error:  # a type that NumPy lacks
        raise ArtifactError(f"{path} holds arrays of type {error}, and sets are of float32; ask who made it") from None
    except (SafetensorError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({str(error)[:200]!r}); copy the set again") from None
    if problem := _problem(arrays, card):
        raise ArtifactError(f"the set in {folder} cannot be used: {problem}; copy it again or ask who made it")
    transform = Preprocess(**{k: arrays[PREFIX + k] for k in Preprocess._fields if PREFIX + k in arrays})
    fields = {name: jax.numpy.asarray(arrays[name]) for name in arrays if not name.startswith(PREFIX)}
    if "selected" in fields:  # numbers in the file
        fields["selected"] = fields["selected"] > 0
    kinds = {name: card[name] for name in ("label_kind", "formation", "decode_type", *_OF_CANVAS) if name in card}
    return Stored(SyntheticSet(**fields, **kinds), transform, card)


def _card(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > LARGEST_CARD:
            raise UsageError("it is too large")
        card = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(card, dict) or not all(isinstance(card[key], list) for key in ("image_shape", "class_names")):
            raise UsageError("it is not an object with the lists image_shape and class_names")
        if card["schema"] != SCHEMA:
            raise UsageError(f"its schema is {card['schema']!r:.40}, this version reads {SCHEMA}")
        whole = ("schema", "num_classes", "count", "formation", "ipc")
        sizes = [*(card[key] for key in whole), *card["image_shape"], *(card.get(key, 1) for key in _OF_CANVAS)]
        if not all(type(size) is int and 0 < size < 2**31 for size in sizes) or len(card["image_shape"]) != 3:
            raise UsageError("its sizes are not positive whole numbers")
        numbers = card.get("counts", [])
        if not isinstance(numbers, list) or not all(type(count) is int and 0 <= count < 2**31 for count in numbers):
            raise UsageError("its counts are not whole numbers")
        if card["label_kind"] not in typing.get_args(LabelKind):
            raise UsageError(f"its label kind is {card['label_kind']!r:.40}")
        if card.get("decode_type", "single") not in ("single", "multi"):
            raise UsageError(f"its decode type is {card['decode_type']!r:.40}")
        texts = (card["sha256"], card["dataset"], *card["class_names"])
        if not all(isinstance(text, str) for text in texts) or len(card["class_names"]) != card["num_classes"]:
            raise UsageError("its names are not one text for each class")
        return card
    except (ValueError, KeyError, RecursionError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ArtifactError(f"{path} is not the card of a set ({reason}); copy the set again") from None


def _shapes(card: dict[str, Any]) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Shapes of the arrays that a set must have, and of those that it may have."""
    n, classes, (h, w, c), k = card["count"], card["num_classes"], card["image_shape"], card.get("canvas", 1)
    must = {"images": (n, k * h, k * w, c), "labels": (n, classes), PREFIX + "mean": (c,), PREFIX + "std": (c,)}
    may = {PREFIX + "center": (h * w * c,)} | {name: (n,) for name in PER_IMAGE if name not in must}
    return must, may | {PREFIX + name: (h * w * c, h * w * c) for name in ("whiten", "unwhiten")}


def _most_bytes(card: dict[str, Any]) -> int:
    """More than this no honest file has, step sizes and header included."""
    must, may = _shapes(card)
    return 4 * sum(math.prod(shape) for shape in (must | may).values()) + 2**24


def _problem(arrays: dict[str, np.ndarray], card: dict[str, Any]) -> str:
    """What is wrong with the arrays, seen by themselves and with the card; empty if nothing is."""
    must, may = _shapes(card)
    n, classes, of_class = card["count"], card["num_classes"], counts(card)
    whitening = {PREFIX + name for name in ("center", "whiten", "unwhiten")} & arrays.keys()
    if missing := must.keys() - arrays.keys():
        return f"it lacks {', '.join(sorted(missing))}"
    if unknown := arrays.keys() - must.keys() - may.keys() - {"learning_rate"}:
        return f"it holds {min(unknown)!r:.60}, which no set has"
    if len(whitening) not in (0, 3):
        return "its whitening is incomplete"
    if whitening and card.get("canvas", 1) > 1:
        return "its canvases are whitened, and a whitened pixel has its place"
    if n != sum(of_class) or len(of_class) != classes:
        said = "as many as its counts say" if "counts" in card else f"{card['ipc']} for each"
        return f"{n} images are not {said} of {classes} classes"
    if card["formation"] > min(card["image_shape"][:2]):
        return f"its images are too small for {card['formation']}x{card['formation']} tiles"
    for name, array in arrays.items():
        shape = (must | may).get(name, array.shape)
        if array.shape != shape:
            return f"{name} has shape {array.shape} where the card says {shape}"
        if array.dtype != np.float32 or array.size == 0:
            return f"{name} is {array.dtype} of shape {array.shape}, not float32"
        if not np.isfinite(array).all():
            return f"{name} holds NaN or infinite values"
    if arrays[PREFIX + "std"].min() < SMALLEST_STD:
        return f"{PREFIX}std is not positive"
    labels, kind = arrays["labels"], card["label_kind"]
    if kind == "class" and not (
        (labels[np.arange(n), np.repeat(np.arange(classes), of_class)] == 1).all() and np.count_nonzero(labels) == n
    ):
        return "its labels are not one-hot, class by class"
    if kind == "probability" and (labels.min() < 0 or np.abs(labels.sum(1) - 1).max() > 1e-3):
        return "its labels are not probabilities"
    return ""
