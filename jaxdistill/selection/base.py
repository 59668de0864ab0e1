"""What a selection is: a name, what it goes by, and a function that gives a set no method has touched."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.needs import Need
from jaxdistill.types import Key, SyntheticSet

__all__ = ["Selection"]


@dataclasses.dataclass(frozen=True)
class Selection:
    """One way to come by a small set without a method; callable as the commands call it.

    Example:
        >>> import jax
        >>> import jaxdistill as jd
        >>> train = jd.load("digits").train
        >>> jd.SELECTIONS["random"](jax.random.key(0), train, 2).images.shape
        (20, 8, 8, 1)
        >>> jd.SELECTIONS["herding"](jax.random.key(0), train, 2, jd.pixels(train)).images.shape
        (20, 8, 8, 1)
    """

    name: str
    about: str
    """What it takes, and from which paper, in one line."""
    needs: Need
    """What it goes by beside the images."""
    select: Callable[..., SyntheticSet]
    """``select(key, data, ipc, inputs)``, without `inputs` where nothing is needed."""

    @standard
    def __call__(self, key: Key, data: RealData, ipc: int, inputs: Any = None) -> SyntheticSet:
        """A set of `ipc` images of each class.

        Args:
            key: consumed.
            data: the split that is selected from.
            ipc: images per class.
            inputs: what the selection goes by, as its `needs` say; nothing for ``random``, ``average`` and ``noise``.

        Raises:
            UsageError: if `inputs` are of another kind, `ipc` is below 1 or, where it is real images that are picked,
                above the size of a class.
        """
        if not self.needs.accepts(inputs):
            wanted = f", inputs) with {self.needs.inputs}" if self.needs.inputs else ")"
            given = "nothing" if inputs is None else type(inputs).__name__
            raise UsageError(
                f"{self.name} goes by {self.needs.words} and was given {given}; call it as (key, data, ipc{wanted}"
            )
        return self.select(key, data, ipc, *(() if inputs is None else (inputs,)))
