"""Expert banks as folders: one sub-folder for each expert, whole or absent, and a card that says what all of them are.

``card.json``, ``preprocess.safetensors`` and, for each expert, ``00000/`` with ``params.npy`` ``[epochs + 1, p]``
(bfloat16 as its bits), ``statistics.npy`` where there is batch normalisation, ``history.npz`` (what the expert said of
each training image in each epoch) and a card of its own.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from jaxdistill.data.digest import digest_of
from jaxdistill.data.preprocess import Preprocess
from jaxdistill.data.trajectories import Bank, unflatten
from jaxdistill.errors import UsageError
from jaxdistill.io import files
from jaxdistill.io.expert_writer import DTYPES, KIND, SCHEMA, Held
from jaxdistill.training.sgd import Seen
from jaxdistill.types import Network, Variables

__all__ = ["BankError", "StoredBank", "load_bank", "open_bank", "read_card", "read_preprocess"]


class BankError(UsageError):
    """A bank that cannot be read or does not fit the run; the message is one sentence."""


class StoredBank(NamedTuple):
    """An expert bank's folder, its trajectories memory-mapped; or one that is in memory alone."""

    folder: Path
    card: dict[str, Any]
    preprocess: Preprocess
    params: tuple[np.ndarray, ...]
    """Each expert's ``[snapshots, p]``."""
    held: tuple[Held, ...] = ()
    """The experts themselves, of a bank that is in no folder."""

    @property
    def epochs(self) -> int:
        """Epochs that each expert was trained for."""
        return self.card["epochs"]

    def digest(self) -> str:
        """What these experts are, as a hash."""
        hashes = [one.card["sha256"] for one in self.held] or [
            _hash_of(self._expert(i)) for i in range(len(self.params))
        ]
        return hashlib.sha256(json.dumps([self.card, hashes], sort_keys=True).encode()).hexdigest()

    def variables(self, network: Network, expert: int, epoch: int = -1) -> Variables:
        """A network as the expert was after an epoch, by default the last, running averages included.

        Args:
            network: the experts'.
            expert: its number.
            epoch: counted from 0, the start; -1 is the last.
        """
        like = jax.eval_shape(network.init, jax.random.key(0))
        params = unflatten(jnp.asarray(self.params[expert][epoch], jnp.float32), like.params)
        if not jax.tree.leaves(like.statistics):
            return Variables(params, like.statistics)
        statistics = self.held[expert].statistics if self.held else _arrays(self._expert(expert) / "statistics.npy")[""]
        return Variables(params, unflatten(jnp.asarray(statistics[epoch]), like.statistics))

    def history(self, expert: int) -> Seen:
        """What an expert said of the training images: arrays ``[epochs, n]``, sorted by class; no margins of experts
        that were trained before those were recorded."""
        stored = self.held[expert].history if self.held else _arrays(self._expert(expert) / "history.npz")
        correct = np.unpackbits(stored["correct"], axis=1, count=stored["error"].shape[1]).astype(bool)
        halves = {name: jnp.asarray(stored[name], jnp.float32) for name in Seen._fields[1:] if name in stored}
        return Seen(jnp.asarray(correct), **halves)

    def _expert(self, number: int) -> Path:
        return self.folder / f"{number:05d}"


def read_card(folder: Path) -> dict[str, Any]:
    """What all experts of a bank share.

    Raises:
        BankError: if the folder is no bank.
    """
    if (folder / "config.json").is_file():
        raise BankError(f"{folder} is a run, not an expert bank; give one that 'jaxdistill experts' made")
    if not (folder / "card.json").is_file():
        raise BankError(f"{folder} is no expert bank (it has no card.json); make one with 'jaxdistill experts'")
    card = _read_json(folder / "card.json")
    kind = card.get("kind", KIND if "recipe" in card else "set")  # the first banks' cards did not say
    if kind != KIND:
        raise BankError(f"{folder} is a {kind!s:.20}, not an expert bank; give one that 'jaxdistill experts' made")
    if card.get("schema") != SCHEMA:
        raise BankError(f"{folder} is of schema {card.get('schema')!r:.40}, this version reads {SCHEMA}; make it again")
    return card


def read_preprocess(folder: Path) -> Preprocess:
    """What the images of all experts of a bank went through.

    Raises:
        BankError: if it cannot be read, or is not what the card says.
    """
    card = read_card(folder)
    try:
        found = Preprocess(**load((folder / "preprocess.safetensors").read_bytes()))
        digest = card["digests"]["preprocess"]
    except (KeyError, TypeError, ValueError, OSError, SafetensorError) as error:
        raise BankError(f"{folder} is not a bank that can be read ({str(error)[:100]}); make it again") from None
    if digest_of(found.arrays()) != digest:
        raise BankError(f"the preprocessing in {folder} is not what its card was written for; make the bank again")
    return found


def load_bank(folder: Path, count: int | None = None) -> StoredBank:
    """Open a bank; nothing large is read.

    Args:
        folder: where `jaxdistill experts` wrote it.
        count: how many experts, the first ones; by default all that are there.

    Raises:
        BankError: if it is not a bank, is damaged, or has fewer experts.
    """
    folder = Path(folder)
    card = read_card(folder)
    try:
        size = sum(int(np.prod(shape)) for _, shape in card["parameters"])
        shape, dtype = (card["epochs"] + 1, size), DTYPES[card["dtype"]]
    except (KeyError, TypeError, ValueError) as error:
        raise BankError(f"{folder} is not a bank that can be read ({str(error)[:100]}); make it again") from None
    preprocess = read_preprocess(folder)
    found = 0
    while (folder / f"{found:05d}" / "card.json").is_file():
        found += 1
    later = any(path.name > f"{found:05d}" for path in folder.glob("[0-9]*"))
    wanted = count or max(1, found + later)
    if found < wanted:
        raise BankError(
            f"{folder} has {found} whole experts{' before a gap' if later else ''}, not {wanted}; train those that "
            "lack with 'jaxdistill experts --resume --count'"
        )
    params = []
    for number in range(count or found):
        path = folder / f"{number:05d}" / "params.npy"
        try:
            stored = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise BankError(f"{path} cannot be read ({str(error)[:100]}); remove its folder and resume") from None
        if stored.shape != shape or stored.dtype.itemsize != dtype.itemsize:
            raise BankError(f"{path} has shape {stored.shape}, not {shape}; remove its folder and resume")
        params.append(stored.view(dtype))
    return StoredBank(folder, card, preprocess, tuple(params))


def open_bank(stored: StoredBank, limit: float) -> tuple[Bank, bool]:
    """The bank for a run's feed, read into memory and verified if it is not larger than a limit.

    Args:
        stored: the folder.
        limit: bytes.

    Returns:
        The bank, and whether it is still on disk.

    Raises:
        BankError: if it is damaged.
    """
    count, size = len(stored.params), sum(array.nbytes for array in stored.params)
    if size > limit:
        return Bank(stored.params, count, stored.epochs), True
    params = np.stack(stored.params)
    for number, array in enumerate(() if stored.held else params):
        path = stored.folder / f"{number:05d}"
        if hashlib.sha256(array.view(np.uint8)).hexdigest() != _hash_of(path):
            raise BankError(f"{path} is not what its card was written for; remove it and resume 'jaxdistill experts'")
    return Bank(params, count, stored.epochs), False


def _hash_of(expert: Path) -> str:
    card = _read_json(expert / "card.json")
    if not isinstance(card.get("sha256"), str):
        raise BankError(f"{expert / 'card.json'} is damaged; remove its folder and resume 'jaxdistill experts'")
    return card["sha256"]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return files.load_arrays(path)
    except ValueError as error:
        raise BankError(f"{path} cannot be read ({error}); remove its folder and resume") from None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise BankError(f"{path} is damaged; make the bank again") from None
    if not isinstance(found, dict):
        raise BankError(f"{path} is damaged; make the bank again")
    return found
