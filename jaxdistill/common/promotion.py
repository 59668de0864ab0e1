"""Programs that forbid implicit promotion of types and ranks: what this package computes does not take part in that."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import wraps
from typing import ParamSpec, TypeVar

import jax

__all__ = ["standard", "standardised", "usual"]

P, R, Parts = ParamSpec("P"), TypeVar("R"), TypeVar("Parts")
_MARK = "_in_standard_modes"


@contextlib.contextmanager
def usual() -> Iterator[None]:
    """JAX's default modes, whatever ``JAX_NUMPY_DTYPE_PROMOTION`` and ``JAX_NUMPY_RANK_PROMOTION`` say."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def standard(f: Callable[P, R]) -> Callable[P, R]:
    """`f` in the modes that it was written for: biases are added along the last axis, numbers take an array's type.

    They hold while `f` is traced or run, and for nothing around it. optax and neural-tangents could not do without.
    """
    if hasattr(f, _MARK):
        return f

    @wraps(f)
    def usually(*args: P.args, **kwargs: P.kwargs) -> R:
        with usual():
            return f(*args, **kwargs)

    setattr(usually, _MARK, True)
    return usually


def standardised(parts: Parts) -> Parts:
    """A NamedTuple or dataclass of functions and other things, with each function as `standard` has it."""
    named = parts._asdict() if isinstance(parts, tuple) else vars(parts)  # pyright: ignore
    return type(parts)(**{name: standard(part) if callable(part) else part for name, part in named.items()})
