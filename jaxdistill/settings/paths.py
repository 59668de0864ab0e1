"""Names of data as absolute paths, so that what is stored means the same file from any other working directory."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TypeVar

from jaxdistill.common import names
from jaxdistill.settings.config import Distill, Select
from jaxdistill.settings.starts import STARTS

__all__ = ["absolute", "place"]

Run = TypeVar("Run", bound=Distill | Select)


def place(name: str) -> str:
    """A data set's name as it is known, or the absolute path of a file or folder, with ``~`` expanded."""
    path = os.path.expanduser(name)
    # Neither begins the name of a data set of TFDS, which may have a slash inside.
    is_path = path.endswith(".npz") or path.startswith((os.sep, f".{os.sep}", f"..{os.sep}"))
    return os.path.abspath(path) if name and (is_path or os.path.exists(path)) else names.dataset(name)


def absolute(config: Run) -> Run:
    """The configuration with absolute paths in place of relative ones; where the run itself lies is left alone."""
    data_dir = None if config.data.data_dir is None else _path(config.data.data_dir)
    changes = {
        "data": dataclasses.replace(config.data, dataset=place(config.data.dataset), data_dir=data_dir),
        "bank": dataclasses.replace(config.bank, experts=_some(config.bank.experts)),
        "basis": dataclasses.replace(config.basis, scores=_some(config.basis.scores)),
    }
    if isinstance(config, Distill):
        generator = dataclasses.replace(config.generator, generator=_some(config.generator.generator))
        is_path = config.init not in STARTS and os.path.exists(_path(config.init))
        changes |= {"generator": generator, "init": _path(config.init) if is_path else config.init}
    return dataclasses.replace(config, **changes)


def _path(path: str | Path) -> str:
    return os.path.abspath(os.path.expanduser(path))


def _some(path: Path | None) -> Path | None:
    return None if path is None else Path(_path(path))
