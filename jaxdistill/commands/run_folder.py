"""The folder of a run: made whole or not at all, never overwritten, and continued only by the run it belongs to."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import fcntl
import json
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np

from jaxdistill.data.digest import Digests, differing
from jaxdistill.engine.devices import from_first
from jaxdistill.errors import UsageError
from jaxdistill.io import files
from jaxdistill.settings.as_json import from_json, to_json
from jaxdistill.settings.config import Distill, Select
from jaxdistill.settings.paths import absolute

WHERE = ("data_dir", "max_device_gib", "experts", "generator", "digests")
"""Where the data lie does not make another run; which data, experts or generator it is is said by digests, and of the
data those are compared when the data are read."""

CHANGED = {"digest": "the experts", "generator_digest": "the parameters of the generator"}
"""What it is that has another digest."""

BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What a lock that another holds is refused with; other errors are of file systems that have no locks."""
Run = TypeVar("Run", bound=Distill | Select)

__all__ = ["check_data", "check_folder", "check_more", "extend", "hold", "open_folder", "stored_config", "undone"]


def check_folder(config: Distill | Select) -> None:
    """See that the run may use its folder, before anything costly is done; on a pod, process 0 decides for all.

    Raises:
        UsageError: if the folder exists and is not resumed, or belongs to another configuration.
    """
    problem = _problem(config) if jax.process_index() == 0 else ""
    if bool(from_first(np.int32(bool(problem)))):
        raise UsageError(problem or "process 0 refused the output folder; see its message")


def check_data(config: Run, digests: Digests) -> Run:
    """The configuration with its data named; a run that is resumed has to have those that it began with.

    Raises:
        UsageError: if they are others.
    """
    problem = ""
    if jax.process_index() == 0 and config.run.out.exists():
        found = from_json(stored_config(config.run.out) or {}, config.run)
        differ = differing(found.data.digests, digests)
        if differ and not config.run.other_data:
            problem = (
                f"{config.run.out} was begun with other data ({', '.join(differ)} differ); give it those again, choose "
                "another --out, or add --other-data if it is to go on with these"
            )
    if bool(from_first(np.int32(bool(problem)))):
        raise UsageError(problem or "process 0 refused the data; see its message")
    return dataclasses.replace(config, data=dataclasses.replace(config.data, digests=digests))


@contextlib.contextmanager
def open_folder(config: Distill | Select) -> Iterator[Path]:
    """The run's folder, which is created with its config.json in one rename unless it is there; see `undone`.

    Raises:
        UsageError: if another command got there first.
    """
    folder = config.run.out
    new = not jax.process_index() and not folder.exists()
    if new:
        try:
            with files.new_folder(folder) as temporary:
                files.write_text(temporary / "config.json", json.dumps(to_json(config), indent=1))
        except FileExistsError:
            if not folder.exists():
                raise UsageError(f"{folder} would be below a file; choose another --out") from None
            raise UsageError(f"{folder} was made by another command just now; choose another --out") from None
    with undone(folder, new=new, unless=("checkpoints/[0-9]*", "set/card.json")):
        yield folder


def check_more(config: Distill, name: str, *, paced: bool) -> None:
    """See that a run which is to have more steps than it was begun with would have begun in the same way.

    That it has the same configuration, or is not there yet, `check_folder` has seen.

    Args:
        config: the run with its new number of steps.
        name: of its method.
        paced: `Method.paced`.

    Raises:
        UsageError: if what its method does in a step depends on their number.
    """
    before = int(from_first(np.int32(_begun(config) if jax.process_index() == 0 else 0)))
    if paced and before != config.steps:
        raise UsageError(
            f"the steps of {name} follow a schedule of {before} steps, so that this run cannot go on to "
            f"{config.steps}; begin another with --init {config.run.out}"
        )


def extend(config: Distill) -> None:
    """Give a run that is there its larger number of steps: what was judged is not its result any more.

    Raises:
        UsageError: if another command is at work in it.
    """
    folder = config.run.out
    if jax.process_index() or _begun(config) == config.steps:
        return
    with hold(folder):  # which ends here: the file that is locked is replaced
        (folder / "evaluation.json").unlink(missing_ok=True)
        files.write_text(folder / "config.json", json.dumps(to_json(config), indent=1))


@contextlib.contextmanager
def undone(folder: Path, *, new: bool, unless: Sequence[str]) -> Iterator[None]:
    """Remove a folder where this fails before there is anything in it to go on from: it would be in the way.

    Args:
        folder: which.
        new: whether this command has made it; others' are left alone.
        unless: patterns of what is worth keeping.
    """
    try:
        yield
    except BaseException:
        if new and not any(True for pattern in unless for _ in folder.glob(pattern)):
            shutil.rmtree(folder, ignore_errors=True)
        raise


@contextlib.contextmanager
def hold(folder: Path, name: str = "config.json") -> Iterator[None]:
    """Keep other commands out of a folder by a lock on one of its files, which ends with this process in any case.

    Raises:
        UsageError: if another command is at work in it.
    """
    if jax.process_index():
        yield
        return
    with (folder / name).open("r+b") as file:  # NFS makes a lock of POSIX of it, for which a file is open for writing
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in BUSY:
                raise UsageError(
                    f"another command is at work in {folder}; wait for it, or choose another --out"
                ) from None
            why = f"{folder} cannot be locked ({error.strerror or error}); see that no other command works in it"
            print(f"note: {why}", file=sys.stderr)
        yield


def stored_config(folder: Path) -> dict | None:
    """What config.json holds; None where there is none.

    Raises:
        UsageError: if it cannot be read.
    """
    path = folder / "config.json"
    if not path.is_file():
        return None
    with contextlib.suppress(ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    raise UsageError(f"{path} is damaged; choose another --out")


def _problem(config: Distill | Select) -> str:
    folder = config.run.out
    if not folder.exists():
        return ""
    if not config.run.resume:
        return f"{folder} exists; choose another --out, or continue that run with --resume"
    stored = stored_config(folder)
    if stored is None:
        return f"{folder} is not a run (it has no config.json); choose another --out"
    before = from_json(stored, config.run)
    names = _differing(config, before)
    if names == ["steps"] and isinstance(config, Distill) and isinstance(before, Distill):
        fewer = f"{folder} was begun with {before.steps} steps, which may become more and not fewer"
        return "" if config.steps > before.steps else fewer
    if names:
        changed = "".join(f": {what} are not those of then" for name, what in CHANGED.items() if name in names)
        return (
            f"{folder} was begun with another configuration ({', '.join(names)} differ){changed}; "
            "give the same arguments, or leave them out, or choose another --out"
        )
    return ""


def _begun(config: Distill) -> int:
    """The number of steps that a run was begun with; this one's where it is not there yet."""
    stored = stored_config(config.run.out)
    return config.steps if stored is None else stored["steps"]


def _differing(config: Distill | Select, before: Distill | Select) -> list[str]:
    """Names of the fields that make another run."""
    ours, theirs = (_flat(to_json(absolute(run))) for run in (config, before))
    return sorted(name for name in ours | theirs if ours.get(name) != theirs.get(name))


def _flat(nested: dict) -> dict:
    plain = {}
    for name, value in nested.items():
        if name not in WHERE:
            plain |= _flat(value) if isinstance(value, dict) else {name: value}
    return plain
