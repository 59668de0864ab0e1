"""Which modules of the package have their annotations checked while the tests run, and what checks them."""

import functools
import importlib.util
from pathlib import Path

import jax
import numpy as np
from beartype import BeartypeConf, beartype

UNCHECKED = {
    "jaxdistill.settings.config": "tyro stands its own mark in the place of what a command line has to give",
}
"""Modules that the hook leaves out, with the reason."""

_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int will do for a float


def modules():
    """Every module of the package, from its files, by name to its path."""
    (root,) = map(Path, importlib.util.find_spec("jaxdistill").submodule_search_locations)
    paths = {path: path.relative_to(root.parent).with_suffix("").parts for path in sorted(root.rglob("*.py"))}
    return {".".join(parts[:-1] if parts[-1] == "__init__" else parts): path for path, parts in paths.items()}


def checked():
    """The modules to be hooked. A name covers what is below it, so packages of what is left out are left out as well:
    they may hold imports alone, which `tests/test_annotations.py` looks after."""
    return [name for name in modules() if not any(f"{out}.".startswith(f"{name}.") for out in UNCHECKED)]


def check(function):
    """beartype; but a pytree that JAX rebuilds with descriptions of arrays (shapes, places) for leaves is let pass."""
    typed = _beartype(function)
    if function.__name__ != "__init__":
        return typed

    @functools.wraps(function)
    def init(*args, **kwargs):
        if not any(map(_described, [*args[1:], *kwargs.values()])):
            typed(*args, **kwargs)

    return init


def _described(value):
    leaves = value if isinstance(value, tuple) else (value,)
    return any(
        not isinstance(leaf, jax.Array | np.ndarray)
        and (type(leaf) is object or type(leaf).__module__.split(".")[0] in ("jax", "jaxlib"))
        for leaf in leaves
    )
