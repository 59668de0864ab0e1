"""Where the images of a run's set come from: they are what is learned, or a generator that is learned draws them."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import jax
import numpy as np
from jax.sharding import Mesh

from jaxdistill.engine.devices import replicate, replicated
from jaxdistill.types import AnyMethod, GenerativeMethod, Key, Method, PyTree, SyntheticSet

__all__ = ["DrawnImages", "LearnedImages", "images_of"]


@dataclasses.dataclass(frozen=True)
class LearnedImages:
    """Those that a method changes step by step."""

    method: Method
    key: Key
    """Of what the first state holds."""
    at_hand: ClassVar[bool] = True
    """Whether they are there after each step, to be shown: to draw them takes as long as many steps."""

    @property
    def per_start(self) -> int:
        """How many whole images a start has for each one."""
        return self.method.images_per_start

    def begin(self, start: SyntheticSet | None) -> PyTree:
        """The state before the first step."""
        return jax.jit(self.method.init)(self.key, start)

    def set_of(self, state: PyTree) -> SyntheticSet:
        """The set, from local copies: on a pod, process 0 does this alone."""
        return jax.tree.map(np.asarray, jax.jit(self.method.synthetic)(jax.tree.map(np.asarray, state)))

    def shapes(self, state: PyTree) -> SyntheticSet:
        """The set without its numbers."""
        return jax.eval_shape(self.method.synthetic, state)

    def generator(self, state: PyTree) -> PyTree | None:
        """Parameters of the generator that is learned; there is none."""
        del state


@dataclasses.dataclass(frozen=True)
class DrawnImages:
    """Those that a method's generator draws."""

    method: GenerativeMethod
    key: Key
    """Of a fresh generator, and of the images."""
    ipc: int
    mesh: Mesh
    at_hand: ClassVar[bool] = False
    per_start: ClassVar[int] = 0

    def begin(self, start: SyntheticSet | None) -> PyTree:
        """The state before the first step, which has no start; not compiled, since parameters would be constants."""
        del start
        return self.method.init(jax.random.split(self.key)[0])

    def set_of(self, state: PyTree) -> SyntheticSet:
        """The set, drawn by all devices together: elsewhere its digits might be others."""
        draw = jax.jit(self.method.draw, static_argnums=2, out_shardings=replicated(self.mesh))
        key = replicate(jax.random.split(self.key)[1], self.mesh)
        return jax.tree.map(np.asarray, draw(key, self.method.params(state), self.ipc))

    def shapes(self, state: PyTree) -> SyntheticSet:
        """The set without its numbers."""
        return jax.eval_shape(lambda key: self.method.draw(key, self.method.params(state), self.ipc), self.key)

    def generator(self, state: PyTree) -> PyTree | None:
        """Parameters of the generator that is learned."""
        return jax.tree.map(np.asarray, self.method.params(state))


def images_of(method: AnyMethod, key: Key, ipc: int, mesh: Mesh) -> LearnedImages | DrawnImages:
    """What a method makes a set's images by.

    Args:
        method: what is run.
        key: the method's.
        ipc: images per class.
        mesh: devices.
    """
    return DrawnImages(method, key, ipc, mesh) if isinstance(method, GenerativeMethod) else LearnedImages(method, key)
