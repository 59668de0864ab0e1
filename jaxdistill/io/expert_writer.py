"""Writing an expert bank; `jaxdistill.io.expert_bank` says what is in it and reads it."""

from __future__ import annotations

import abc
import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, BinaryIO

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save

from jaxdistill.data.digest import digest_of
from jaxdistill.data.preprocess import Preprocess
from jaxdistill.data.trajectories import flatten
from jaxdistill.io import files
from jaxdistill.training.sgd import Seen
from jaxdistill.types import Variables

__all__ = ["DTYPES", "KIND", "SCHEMA", "Held", "Record", "Writer", "digest_of", "record", "save_card"]

SCHEMA = 1
KIND = "experts"
_LARGEST = np.finfo(np.float16).max
DTYPES = {"float32": np.dtype(np.float32), "bfloat16": np.dtype(jnp.bfloat16)}


@contextlib.contextmanager
def record(folder: Path, number: int, card: dict[str, Any]) -> Iterator[Record]:
    """Write one expert; its folder is there when the block has ended well, and not before.

    Args:
        folder: the bank's.
        number: the expert's.
        card: what the bank's card says.
    """
    path = folder / f"{number:05d}"
    with files.write_folder(path) as temporary, (temporary / "params.npy").open("wb") as file:
        writer = Record(temporary, file, card)
        yield writer
        writer.finish()


class Writer(abc.ABC):
    """One expert as it is trained, epoch by epoch: parameters in the bank's type, and what it said of the images."""

    def __init__(self, card: dict[str, Any]):
        self._digest = hashlib.sha256()
        self._dtype = DTYPES[card["dtype"]]
        self._statistics: list[np.ndarray] = []
        self._seen: list[Seen] = []
        self.notes: dict[str, Any] = {}

    def add(self, variables: Variables, seen: Seen | None) -> None:
        """What the expert is after the next epoch, and what it said of the images on the way; nothing of the start."""
        tracked = variables.statistics
        statistics = np.asarray(flatten(tracked)) if jax.tree.leaves(tracked) else None
        self.put(np.asarray(flatten(variables.params)).astype(self._dtype), statistics, seen)

    def put(self, row: np.ndarray, statistics: np.ndarray | None, seen: Seen | None) -> None:
        """Take the expert after the next epoch as vectors; see `add`.

        Args:
            row: the parameters.
            statistics: running averages; None where there are none.
            seen: what the expert said in the epoch; None for the start.
        """
        self._digest.update(row.tobytes())
        self._keep(row)
        if statistics is not None:
            self._statistics.append(statistics)
        if seen is not None:
            self._seen.append(jax.tree.map(np.asarray, seen))

    @abc.abstractmethod
    def _keep(self, row: np.ndarray) -> None:
        """Keep the parameters after one more epoch."""

    def _card(self) -> dict[str, Any]:
        versions = {name: metadata.version(name) for name in ("jaxdistill", "jax", "numpy")}
        return {"sha256": self._digest.hexdigest(), **self.notes, "versions": versions}

    def _history(self) -> dict[str, np.ndarray]:
        """What the expert said, a bit for what is right and half precision for the rest; margins if all epochs have."""
        sides = {name: [getattr(seen, name) for seen in self._seen] for name in Seen._fields}
        known = {name: np.stack(side) for name, side in sides.items() if all(one is not None for one in side)}
        correct = np.packbits(known.pop("correct"), axis=1)
        return {"correct": correct} | {
            name: np.clip(side, -_LARGEST, _LARGEST).astype(np.float16) for name, side in known.items()
        }


class Held(Writer):
    """An expert that stays in memory."""

    def __init__(self, card: dict[str, Any]):
        super().__init__(card)
        self._rows: list[np.ndarray] = []

    def _keep(self, row: np.ndarray) -> None:
        self._rows.append(row)

    @property
    def params(self) -> np.ndarray:
        """``[snapshots, p]``."""
        return np.stack(self._rows)

    @property
    def statistics(self) -> np.ndarray:
        """Running averages of batch normalisation, ``[snapshots, q]``."""
        return np.stack(self._statistics)

    @property
    def history(self) -> dict[str, np.ndarray]:
        """What ``history.npz`` has."""
        return self._history()

    @property
    def card(self) -> dict[str, Any]:
        """The expert's own card."""
        return self._card()

    def write(self, folder: Path, number: int, card: dict[str, Any]) -> None:
        """Write it into a bank's folder.

        Args:
            folder: the bank's.
            number: which expert it is.
            card: the bank's.
        """
        with record(folder, number, card) as writer:
            statistics = self._statistics or [None] * len(self._rows)
            for row, tracked, seen in zip(self._rows, statistics, [None, *self._seen], strict=True):
                writer.put(row, tracked, seen)
            writer.notes |= self.notes


class Record(Writer):
    """An expert's folder in the making."""

    def __init__(self, folder: Path, file: BinaryIO, card: dict[str, Any]):
        super().__init__(card)
        self._folder, self._file = folder, file
        size = sum(int(np.prod(shape)) for _, shape in card["parameters"])
        stored = np.dtype(np.uint16) if self._dtype.itemsize == 2 else self._dtype  # NumPy has no name for bfloat16
        described = {"descr": stored.str, "fortran_order": False, "shape": (card["epochs"] + 1, size)}
        np.lib.format.write_array_header_1_0(file, described)

    def _keep(self, row: np.ndarray) -> None:
        self._file.write(row.tobytes())

    def finish(self) -> None:
        """Write what is left."""
        self._file.flush()
        os.fsync(self._file.fileno())
        if self._statistics:
            np.save(self._folder / "statistics.npy", np.stack(self._statistics))
        if self._seen:
            history: dict[str, Any] = self._history()
            np.savez(self._folder / "history.npz", **history)
        files.write_text(self._folder / "card.json", json.dumps(self._card(), indent=1))


def save_card(folder: Path, card: dict[str, Any], preprocess: Preprocess) -> None:
    """Make a bank's folder, with what all its experts share.

    Args:
        folder: the bank's.
        card: what it says.
        preprocess: how the experts' images were made.

    Raises:
        FileExistsError: if it is there.
    """
    with files.new_folder(folder) as temporary:
        files.write_bytes(temporary / "preprocess.safetensors", save(preprocess.arrays()))
        files.write_text(temporary / "card.json", json.dumps(card, indent=1))
