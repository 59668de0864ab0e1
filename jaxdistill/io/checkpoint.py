"""Checkpoints: arrays and a step, written by orbax, verified when read. The only file that knows orbax."""

from __future__ import annotations

import hashlib
import logging
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxdistill.data.source import silence
from jaxdistill.io import files
from jaxdistill.types import AnyArray, PyTree

__all__ = ["restore", "save"]

KEEP = 3
SETTLE = 0.5
"""Seconds after a failed save in which the threads that write the other arrays fail too."""

logging.getLogger("absl").setLevel(logging.ERROR)


def save(folder: Path, step: int, state: PyTree, notes: dict[str, float] | None = None) -> None:
    """Write the state after `step` steps, atomically, and keep the newest few. Call it in process 0 alone.

    Next to the arrays goes their digest, since a file system may tear what a rename made visible, and `notes`.

    Args:
        folder: of the checkpoints.
        step: steps that were taken.
        state: any pytree of arrays.
        notes: numbers that go with it.

    Raises:
        OSError: if it cannot be written, as on a full disk; the checkpoints before it are untouched.
    """
    arrays = jax.tree.map(np.asarray, state)
    target = folder / f"{step:08d}"
    if target.exists():  # left behind unreadable by an earlier run
        shutil.rmtree(target)
    _sweep(folder)
    items = ocp.args.Composite(
        state=ocp.args.StandardSave(dict(enumerate_leaves(arrays))),
        digest=ocp.args.JsonSave({"sha256": _digest(arrays), "notes": notes or {}}),
    )
    with silence():  # orbax's threads print tracebacks of what is raised here anyway
        try:
            with _checkpointer() as checkpointer:
                checkpointer.save(target.absolute(), items)
        except Exception as error:
            time.sleep(SETTLE)
            _sweep(folder)
            raise files.os_error(error, folder) from error
    for old in _steps(folder)[:-KEEP]:
        shutil.rmtree(folder / f"{old:08d}")


def restore(folder: Path, like: PyTree, warn: Callable[[str], None]) -> tuple[int, PyTree, dict[str, float]] | None:
    """The newest checkpoint that is whole, as ``(step, state of NumPy arrays, notes)``; None where there is none.

    Args:
        folder: where `save` wrote.
        like: shapes and types that the state must have (from `jax.eval_shape`).
        warn: told in one sentence about each checkpoint that is passed over.
    """
    template = dict(enumerate_leaves(like))
    for step in reversed(_steps(folder)):
        try:
            with _checkpointer() as checkpointer:
                items = ocp.args.Composite(state=ocp.args.StandardRestore(template), digest=ocp.args.JsonRestore())
                found = checkpointer.restore((folder / f"{step:08d}").absolute(), items)
            leaves = [np.asarray(found["state"][name]) for name in template]
            state = jax.tree.unflatten(jax.tree.structure(like), leaves)
            if _digest(state) == found["digest"]["sha256"]:
                return step, state, found["digest"]["notes"]
            problem = "its content is not what was written"
        except Exception as error:  # orbax and its storage raise many kinds for a damaged file
            problem = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        warn(f"checkpoint {step} cannot be read ({problem}); falling back to the one before")
    return None


def enumerate_leaves(tree: PyTree) -> list[tuple[str, AnyArray | jax.ShapeDtypeStruct]]:
    """The leaves, arrays or what describes them, under names that do not depend on the containers' types."""
    return [(f"leaf{i:04d}", leaf) for i, leaf in enumerate(jax.tree.leaves(tree))]


def _sweep(folder: Path) -> None:
    """Remove what a save that was cut has left."""
    for path in folder.glob("*.orbax-checkpoint-tmp*"):
        shutil.rmtree(path, ignore_errors=True)


def _checkpointer() -> ocp.Checkpointer:
    # Every process reads for itself and process 0 alone writes, so none must wait for the others.
    process = jax.process_index()
    options = ocp.options.MultiprocessingOptions(process, {process}, barrier_sync_key_prefix=f"alone{process}")
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=options),
        state=ocp.StandardCheckpointHandler(multiprocessing_options=options),
        digest=ocp.JsonCheckpointHandler(multiprocessing_options=options),
    )
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _steps(folder: Path) -> list[int]:
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit()) if folder.is_dir() else []


def _digest(tree: PyTree) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()
