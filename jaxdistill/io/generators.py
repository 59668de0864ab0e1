"""Generators as folders that runs can share: ``generator.safetensors`` and a card."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jaxdistill.common.names import choose
from jaxdistill.diffusion import Architecture
from jaxdistill.diffusion.sample import Sampling
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.io import files
from jaxdistill.io.records import build
from jaxdistill.types import PyTree

__all__ = [
    "MEMORY",
    "Drawn",
    "GeneratorError",
    "StoredGenerator",
    "generator_card",
    "generator_in_memory",
    "load_generator",
    "save_generator",
    "write_generator",
]

SCHEMA, KIND = 1, "generator"
MEMORY = Path("memory")
"""What stands for the folder of what is in none."""


class GeneratorError(UsageError):
    """A generator that cannot be read or does not fit the run; the message is one sentence."""


@dataclasses.dataclass(frozen=True)
class Drawn:
    """How sets are drawn from a generator, and judged."""

    sampling: Sampling
    protocol: str
    eval_network: str | None = None
    eval_size: int | None = None

    def __post_init__(self) -> None:
        choose(self.protocol, PROTOCOLS, "protocol")
        if not isinstance(self.eval_network, str | None):
            raise UsageError(f"no network has the name {self.eval_network}")


class StoredGenerator(NamedTuple):
    """What a generator's folder holds."""

    folder: Path
    architecture: Architecture
    image_shape: tuple[int, int, int]
    classes: int
    digest: str
    params: PyTree
    """None where the card alone was read."""
    drawn: Drawn | None
    """None for one of which that is not known."""
    card: dict[str, Any]

    @property
    def label_names(self) -> list[str] | None:
        """What its labels are called, one for each of its classes; None where that is not known."""
        names = self.card.get("label_names")
        known = isinstance(names, list) and len(names) == self.classes and all(isinstance(name, str) for name in names)
        return names if known else None


def generator_in_memory(
    params: PyTree,
    architecture: Architecture,
    image_shape: tuple[int, int, int],
    classes: int,
    said: dict[str, Any],
    drawn: Drawn | None = None,
) -> StoredGenerator:
    """A generator with its card, as its folder has them.

    Args:
        params: of `jaxdistill.types.Generator`.
        architecture: its sizes.
        image_shape: of what it draws.
        classes: how many its label table has.
        said: whatever else is worth knowing.
        drawn: how sets are drawn from it and judged: the defaults of runs that are given it.
    """
    digest = hashlib.sha256(_bytes_of(params)).hexdigest()
    card = {
        "schema": SCHEMA,
        "kind": KIND,
        **said,
        **({} if drawn is None else {"drawn": dataclasses.asdict(drawn)}),
        "architecture": dataclasses.asdict(architecture),
        "image_shape": list(image_shape),
        "classes": classes,
        "versions": {name: metadata.version(name) for name in ("jaxdistill", "jax", "numpy")},
        "sha256": digest,
    }
    return StoredGenerator(MEMORY, architecture, image_shape, classes, digest, params, drawn, card)


def save_generator(
    folder: Path,
    params: PyTree,
    architecture: Architecture,
    image_shape: tuple[int, int, int],
    classes: int,
    said: dict[str, Any],
    drawn: Drawn | None = None,
    *,
    new: bool = False,
) -> None:
    """Write the folder whole.

    Args:
        folder: usually ``RUN/generator``; one that is there is replaced.
        params: see `generator_in_memory`, also for what follows.
        architecture: its sizes.
        image_shape: of what it draws.
        classes: how many its label table has.
        said: whatever else is worth knowing.
        drawn: how sets are drawn from it and judged.
        new: refuse to replace one.

    Raises:
        OSError: if it cannot be written; what was there before is untouched.
    """
    write_generator(folder, generator_in_memory(params, architecture, image_shape, classes, said, drawn), new=new)


def write_generator(folder: Path, generator: StoredGenerator, *, new: bool = False) -> None:
    """Write one that has its parameters and its card; see `save_generator`.

    Args:
        folder: where to.
        generator: with parameters and card.
        new: refuse a folder that is there, and do not replace it.
    """
    with (files.new_folder if new else files.write_folder)(folder) as temporary:
        files.write_bytes(temporary / "generator.safetensors", _bytes_of(generator.params))
        files.write_text(temporary / "card.json", json.dumps(generator.card, indent=1))


def _bytes_of(params: PyTree) -> bytes:
    return save({name: np.asarray(leaf, order="C") for name, leaf in flatten_dict(params, sep="/").items()})


def generator_card(folder: Path) -> StoredGenerator:
    """What a generator's card says; its parameters are not read.

    Raises:
        GeneratorError: if there is no such card.
    """
    return _read(Path(folder), whole=False)


def load_generator(folder: Path) -> StoredGenerator:
    """Read a generator's folder, or that of a run.

    Raises:
        GeneratorError: if anything in it is missing, damaged, or not what the card says.
    """
    return _read(Path(folder), whole=True)


def _read(folder: Path, *, whole: bool) -> StoredGenerator:
    if (folder / "generator").is_dir():
        folder = folder / "generator"
    if not (folder / "card.json").is_file() or not (folder / "generator.safetensors").is_file():
        raise GeneratorError(
            f"{folder} holds no generator (card.json, generator.safetensors); train one with 'jaxdistill distill dit'"
        )
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        if (card["kind"], card["schema"]) != (KIND, SCHEMA):
            raise UsageError(f"it is a {card['kind']!s:.20} of schema {card['schema']!s:.20}")
        params = _arrays(folder / "generator.safetensors", card["sha256"]) if whole else None
        architecture = build(Architecture, card["architecture"])
        h, w, c = card["image_shape"]
        if not all(type(size) is int and size > 0 for size in (h, w, c, card["classes"])):
            raise UsageError("its sizes are not positive whole numbers")
        drawn = build(Drawn, card["drawn"]) if "drawn" in card else None
        sizes = (h, w, c), card["classes"]
        return StoredGenerator(folder, architecture, *sizes, card["sha256"], params, drawn, card)
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)[:100]
        raise GeneratorError(f"{folder} holds no generator that can be read ({reason}); make it again") from None


def _arrays(path: Path, digest: str) -> PyTree:
    tensors = path.read_bytes()
    if hashlib.sha256(tensors).hexdigest() != digest:
        raise UsageError("its arrays are not those that its card was written for")
    try:
        arrays = load(tensors)
    except KeyError as error:  # a type that NumPy lacks
        raise UsageError(f"its arrays are of type {error}, not float32") from None
    return {"autoencoder": {}, **unflatten_dict(arrays, sep="/")}
