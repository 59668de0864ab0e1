"""Writing that leaves a whole file or folder, or none: a hidden sibling first, then one rename.

The sibling's name is fixed, so that what a killed process left behind is cleared by the next that writes the same.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import uuid
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxdistill.errors import UsageError

__all__ = ["load_arrays", "new_folder", "os_error", "write_bytes", "write_folder", "write_text"]


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file, replacing one that is there.

    Raises:
        OSError: if it cannot be written; what was there before is untouched.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.partial")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8), replacing one that is there; see `write_bytes`."""
    write_bytes(path, text.encode())


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well; never in the place of another.

    Raises:
        FileExistsError: if there is something at `path`, now or when the block ends.
        OSError: if it cannot be written.
    """
    path = Path(path)
    if path.exists():
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}"
    temporary.mkdir()  # with the rights that umask and a setgid folder give, which mkdtemp's would not be
    try:
        yield temporary
        try:
            os.rename(temporary, path)
        except OSError as error:
            if path.exists():
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
            raise error
    finally:
        _clear(temporary)


def load_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz by name, or of an .npy by no name.

    Raises:
        UsageError: if it cannot be read, for whatever reason; the message says which.
    """
    try:
        with Path(path).open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            return {"": stored} if isinstance(stored, np.ndarray) else {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise UsageError(" ".join(str(error).split())[:100] or type(error).__name__) from None


@contextlib.contextmanager
def write_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that becomes `path` when the block ends well, replacing one that is there.

    Raises:
        OSError: if it cannot be written; what was there before is untouched, as it is if the block raises.
    """
    path = Path(path)
    temporary, old = (path.with_name(f".{path.name}.{word}") for word in ("partial", "old"))
    _clear(temporary)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            _clear(old)
            os.replace(path, old)
        try:
            os.replace(temporary, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise
    finally:
        _clear(temporary)
        _clear(old)


def os_error(error: Exception, path: Path) -> OSError:
    """What a library raised while it wrote to `path`, as an OSError: some tell the system's reason in words alone."""
    if isinstance(error, OSError):
        return error
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        if os.strerror(code) in str(error):
            return OSError(code, os.strerror(code), str(path))
    return OSError(errno.EIO, " ".join(str(error).split())[:200] or type(error).__name__, str(path))


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
