"""neural-tangents on today's JAX (Novak et al., ICLR 2020, arXiv:1912.02803). The only file that imports it.

Its last version, 0.6.5 of 2023, asks for names that JAX has since moved or dropped, and so does not import by itself on
JAX 0.10 to 0.12. Here they are put back while it is imported, and taken away again.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jax
import jax.core
import jax.extend.core
from jax.interpreters import ad

from jaxdistill.errors import UsageError

__all__ = ["stax"]


@functools.cache
def stax() -> ModuleType:
    """``neural_tangents.stax``, imported at the first call.

    Raises:
        UsageError: if neural-tangents is not installed.
    """
    with warnings.catch_warnings(action="ignore"), _restored():
        try:
            import neural_tangents
        except ModuleNotFoundError as error:
            if error.name != "neural_tangents":
                raise
            raise UsageError(
                "Infinite-width kernels need neural-tangents; install it with: pip install 'jaxdistill[kernels]'"
            ) from error
    return neural_tangents.stax


def _lost() -> list[tuple[ModuleType, str, Any]]:
    """The module of JAX in which neural-tangents looks for a name, the name, and what it gets if JAX has it no more."""
    core = jax.extend.core
    return [
        *((jax.core, name, getattr(core, name)) for name in ("Jaxpr", "JaxprEqn", "Literal", "Primitive", "Var")),
        (jax.core, "Value", jax.Array),  # in annotations only
        (ad, "zeros_like_p", core.Primitive("zeros_like")),  # a key in a table for empirical kernels
    ]


def _util() -> ModuleType:
    """What neural-tangents wants of ``jax.util``."""
    module = ModuleType("jax.util")
    vars(module).update(
        safe_map=lambda f, *rows: [f(*row) for row in zip(*rows, strict=True)],
        safe_zip=lambda *rows: list(zip(*rows, strict=True)),
    )
    return module


@contextlib.contextmanager
def _restored() -> Iterator[None]:
    """What JAX lost is there again, and the sub-package ``experimental``, which imports TensorFlow, is an empty stub.

    Afterwards JAX's modules are as they were: nothing that the kernels here compute looks for these names again.
    """
    experimental = "neural_tangents.experimental"
    stubs = {"jax.util": _util(), experimental: ModuleType(experimental)}
    with contextlib.ExitStack() as undo:
        for module, name, value in _lost():
            if not hasattr(module, name):
                setattr(module, name, value)
                undo.callback(delattr, module, name)
        for name in stubs.keys() - sys.modules.keys():
            sys.modules[name] = stubs[name]
            undo.callback(sys.modules.pop, name)
        yield
