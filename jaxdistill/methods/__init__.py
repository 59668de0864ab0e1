"""The methods, one file and one line each."""

from collections.abc import Callable

from jaxdistill.methods.dc import DC, dc
from jaxdistill.methods.dm import DM, dm
from jaxdistill.methods.dsa import DSA, dsa
from jaxdistill.types import Method

__all__ = ["METHODS"]

METHODS: dict[type, Callable[..., Method]] = {DC: dc, DSA: dsa, DM: dm}
"""Configuration class -> builder ``(config, task) -> Method``; the only place where a method is named."""
