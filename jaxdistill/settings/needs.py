"""What a method needs beside the data, asked of the method itself."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxdistill.augment import make as make_augment
from jaxdistill.diffusion import Architecture
from jaxdistill.diffusion import make as make_generator
from jaxdistill.errors import UsageError
from jaxdistill.methods import METHODS
from jaxdistill.networks import make as make_network
from jaxdistill.types import GenerativeMethod, Generator, Kernel, Task

__all__ = ["Needs", "needs"]

_SHAPE, _CLASSES = (8, 8, 1), 2
_BLACK_AND_WHITE = ((-1.0,), (1.0,))


class Needs(NamedTuple):
    """What there has to be for a method, and what it can take."""

    experts: bool = False
    """It is fed by experts."""
    kernel: bool = False
    """A kernel takes the network's place."""
    draws: bool = False
    """Its set is drawn from a generator."""
    generator: bool = False
    """That generator has to be there: one that is not trained yet is refused."""

    @property
    def words(self) -> str:
        """In a word or two, for a table."""
        named = [("experts", self.experts), ("a kernel", self.kernel), ("a generator", self.generator)]
        found = " and ".join(word for word, asked in named if asked) or "nothing"
        return f"{found} (trains a generator)" if self.draws and not self.generator else found


@functools.cache
def needs(kind: type) -> Needs:
    """What a method needs: it is built for a small problem, with and without each thing; nothing is computed.

    Args:
        kind: its configuration class, a key of `jaxdistill.methods.METHODS`.
    """
    generator = make_generator(Architecture(), _SHAPE, _BLACK_AND_WHITE, _CLASSES)
    trained = dataclasses.replace(generator, trained=True)
    task = Task(
        network=make_network("convnet", _SHAPE, _CLASSES, width=8), augment=make_augment("none"),
        image_shape=_SHAPE, num_classes=_CLASSES,
        kernel=Kernel(lambda key, images: images, lambda rows, columns: jnp.zeros((len(rows), len(columns)))),
        generator=_giver(trained), pixel_range=_BLACK_AND_WHITE,
    )  # fmt: skip
    try:
        method = METHODS[kind](kind(), task)
    except UsageError:  # this problem is none for it, and what it would need otherwise is not known
        return Needs()
    draws = isinstance(method, GenerativeMethod)
    return Needs(
        experts=method.feed.source == "experts",
        kernel=_refused(kind, dataclasses.replace(task, kernel=None)),
        draws=draws,
        generator=draws and _refused(kind, dataclasses.replace(task, generator=_giver(generator))),
    )


def _giver(generator: Generator) -> Any:
    return lambda: generator


def _refused(kind: type, task: Task) -> bool:
    try:
        METHODS[kind](kind(), task)
    except UsageError:
        return True
    return False
