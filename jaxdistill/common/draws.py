"""Random arrays, drawn flat.

JAX draws the same numbers for a shape as for as many in a row, but XLA's CPU compiler takes seconds for some shapes of
three and more axes, and a fraction of one for a row: a network's initial weights were most of what compiling it took.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
from jaxtyping import Array, Float

from jaxdistill.types import Key

__all__ = ["normal", "truncated_normal", "uniform"]


def uniform(
    key: Key, shape: Sequence[int], dtype: Any = float, low: float = 0.0, high: float = 1.0
) -> Float[Array, ...]:
    """`jax.random.uniform`.

    Args:
        key: of the draw.
        shape: of the array.
        dtype: its type; the default float.
        low: the least value.
        high: above all values.
    """
    return jax.random.uniform(key, (math.prod(shape),), dtype, low, high).reshape(shape)


def normal(key: Key, shape: Sequence[int], dtype: Any = float) -> Float[Array, ...]:
    """`jax.random.normal`.

    Args:
        key: of the draw.
        shape: of the array.
        dtype: its type; the default float.
    """
    return jax.random.normal(key, (math.prod(shape),), dtype).reshape(shape)


def truncated_normal(key: Key, shape: Sequence[int], dtype: Any = float) -> Float[Array, ...]:
    """`jax.random.truncated_normal` between -2 and 2.

    Args:
        key: of the draw.
        shape: of the array.
        dtype: its type; the default float.
    """
    return jax.random.truncated_normal(key, -2.0, 2.0, (math.prod(shape),), dtype).reshape(shape)
