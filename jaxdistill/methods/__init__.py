"""The methods, one file and one line each."""

from collections.abc import Callable

from jaxdistill.methods.dm import DM, dm
from jaxdistill.types import Method

__all__ = ["METHODS"]

METHODS: dict[type, Callable[..., Method]] = {DM: dm}
"""Configuration class -> builder ``(config, task) -> Method``; the only place where a method is named."""
