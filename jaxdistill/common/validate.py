"""Settings out of range, in one sentence that names the field."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jaxdistill.errors import UsageError

__all__ = ["check"]


def check(
    config: Any,
    *,
    positive: Sequence[str] = (),
    shares: Sequence[str] = (),
    momenta: Sequence[str] = (),
    counts: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    choices: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> None:
    """Look through fields of a method's configuration.

    Args:
        config: the configuration.
        positive: finite, above 0.
        shares: from 0 to 1.
        momenta: from 0 to below 1.
        counts: at least 1.
        not_negative: finite, at least 0.
        choices: one of these, for each field.

    Raises:
        UsageError: for the first field that is not what it should be.
    """
    rules = (
        (positive, "a positive number", lambda value: 0 < value < math.inf),
        (shares, "a number from 0 to 1", lambda value: 0 <= value <= 1),
        (momenta, "a number from 0 to below 1", lambda value: 0 <= value < 1),
        (counts, "at least 1", lambda value: value >= 1),
        (not_negative, "a number of at least 0", lambda value: 0 <= value < math.inf),
    )
    for names, wanted, holds in rules:
        for name in names:
            if not holds(value := getattr(config, name)):
                raise UsageError(f"`{name}` of {type(config).__name__} is {wanted}, not {value}")
    for name, known in choices.items():
        if (value := getattr(config, name)) not in known:
            raise UsageError(f"`{name}` of {type(config).__name__} is one of {', '.join(known)}, not {value!r}")
