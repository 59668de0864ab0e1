"""The one loop: it drives every method, a compiled chunk of steps at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdistill.data.feeds import sample
from jaxdistill.engine.devices import from_first, replicate, replicated
from jaxdistill.engine.host_batches import host_batches, step_keys
from jaxdistill.types import AnyMethod, Key, PyTree, SyntheticSet

__all__ = ["MOST_LOST", "Chunk", "Looked", "NonFiniteError", "run"]

MOST_LOST = 100
"""Steps in a row whose loss is not finite, each of which a method has left out, after which a run is given up."""


class Looked(NamedTuple):
    """What a look saw: accuracies in [0, 1], one for each network, and which shares of the test images are covered."""

    accuracies: list[float]
    """On held-out training images; empty where none are held out."""
    test: list[float]
    """On the test images; empty unless they are looked at (`EvaluationConfig.legacy_best`)."""
    coverage: Mapping[str, Mapping[str, float]] = MappingProxyType({})
    """By feature space: of ``all`` test images, of the ``easy`` and the ``hard`` half; empty unless asked for."""

    def row(self, step: int) -> dict[str, Any]:
        """As a line of ``held_out.jsonl`` has it."""
        row: dict[str, Any] = {"step": step}
        for name, found in (("accuracies", self.accuracies), ("test", self.test)):
            if found:
                prefix = "" if name == "accuracies" else "test_"
                row |= {name: found, f"{prefix}mean": float(np.mean(found)), f"{prefix}std": float(np.std(found))}
        return row | ({"coverage": self.coverage} if self.coverage else {})


class Chunk(NamedTuple):
    """What a sink is shown after some steps. `state` is only valid until the next chunk is asked for."""

    step: int
    """Steps done so far."""
    state: PyTree
    infos: Any
    """The method's Info with NumPy arrays, one entry for each step of this chunk."""
    seconds: float
    """Wall time of this chunk, compilation apart."""
    compile_seconds: float
    """Time to trace and compile; zero but for the first chunk."""
    looked: tuple[Looked, SyntheticSet] | None = None
    """What a look after it saw, and at which set; None where none was due."""


class NonFiniteError(RuntimeError):
    """The loss or the state became infinite or NaN."""

    def __init__(self, step: int):
        self.step = step
        super().__init__(f"the loss or the set is not finite after step {step}")


def run(
    method: AnyMethod,
    data: Any,
    key: Key,
    state: PyTree,
    steps: int,
    *,
    mesh: Mesh,
    start: int = 0,
    every: int = 100,
    stops: int | None = None,
    chunk_seconds: float = 2.0,
    on_host: bool = False,
) -> Iterator[Chunk]:
    """Run steps ``start + 1`` to `steps`, yielding after each chunk.

    Step i uses ``fold_in(key, i)`` whatever the chunks: a run that is cut anywhere and resumed is the same run. A chunk
    is one device call over a number of steps that is a run-time value, so that there is one compilation, and so that
    its length can follow the clock: about `chunk_seconds`, at most `every` steps.

    Args:
        method: what is run.
        data: what the method's feed draws from; on the device, or on the host if `on_host`.
        key: root key of the run, on all devices.
        state: donated; on all devices.
        steps: total number of steps.
        mesh: devices.
        start: steps done already.
        every: most steps in one chunk.
        stops: a chunk ends after each multiple of so many steps.
        chunk_seconds: wanted wall time of a chunk.
        on_host: batches are drawn and gathered on the host ahead of time, and a chunk is one step.

    Raises:
        NonFiniteError: after the chunk in which the loss or the state stopped being finite; it is not yielded. A step
            that says of itself that it changed nothing (`applied` is 0) may have any loss, but not `MOST_LOST` of them
            in a row.
    """
    if start >= steps:
        return
    every = 1 if on_host else min(every, steps)  # not what is left: a resumed run is to compile the same program
    batches = host_batches(method.feed, data, key, start, steps) if on_host else None
    source = replicate(next(batches), mesh) if batches else data
    began = time.perf_counter()
    advance = _compile(method, source, key, state, every, mesh, drawn=on_host)
    compile_seconds = time.perf_counter() - began
    done, count, lost = start, 1, 0
    while done < steps:
        began = time.perf_counter()
        state, infos, finite = advance(state, key, np.int32(done), np.int32(count), source)
        if batches and done + count < steps:
            source = replicate(next(batches), mesh)  # while the device works
        infos = jax.tree.map(lambda leaf, n=count: np.asarray(leaf)[:n], infos)  # waits for the device
        seconds = time.perf_counter() - began
        sound, lost = _sound(infos, lost)
        sound = np.append(sound, bool(finite))
        if not sound.all():
            raise NonFiniteError(done + min(int(sound.argmin()) + 1, count))
        done += count
        yield Chunk(done, state, infos, seconds, compile_seconds)
        compile_seconds = 0.0
        wanted = from_first(np.int32(count * min(chunk_seconds / max(seconds, 1e-6), 8.0)))
        count = max(1, min(every, steps - done, int(wanted), *(() if stops is None else (stops - done % stops,))))


def _sound(infos: Any, lost: int) -> tuple[np.ndarray, int]:
    """After which steps a run may go on, and how many of the last ones in a row had no finite loss.

    Args:
        infos: of some steps.
        lost: how many of the last ones before them.
    """
    sound = np.isfinite(infos.loss)
    applied = np.broadcast_to(getattr(infos, "applied", 1), sound.shape) != 0
    for i in range(len(sound)):
        lost = 0 if sound[i] else lost + 1
        sound[i] = sound[i] or (not applied[i] and lost < MOST_LOST)
    return sound, lost


def _compile(
    method: AnyMethod, source: Any, key: Key, state: PyTree, every: int, mesh: Mesh, *, drawn: bool
) -> Callable[..., tuple[PyTree, Any, jax.Array]]:
    """Compile ``advance(state, key, done, count, source) -> (state, infos [every], whether the state is finite)``."""

    def one(state: PyTree, key: Key, step: jax.Array, source: Any) -> tuple[PyTree, PyTree]:
        key_feed, key_step = step_keys(key, step)
        batch = source if drawn else sample(method.feed, key_feed, step, source)
        return method.step(key_step, state, batch)

    def advance(state: PyTree, key: Key, done: jax.Array, count: jax.Array, source: Any):
        _, info = jax.eval_shape(one, state, key, done, source)
        infos = jax.tree.map(lambda leaf: jnp.zeros((every, *leaf.shape), leaf.dtype), info)

        def body(i: jax.Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            state, infos = carry
            state, info = one(state, key, done + i, source)
            return state, jax.tree.map(lambda buffer, value: buffer.at[i].set(value), infos, info)

        state, infos = jax.lax.fori_loop(0, count, body, (state, infos))
        checked = [
            jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(state) if jnp.issubdtype(leaf.dtype, jnp.inexact)
        ]
        return state, infos, jnp.stack(checked).all()

    whole = replicated(mesh)
    compiled = jax.jit(advance, donate_argnums=0, out_shardings=whole)
    return compiled.lower(state, key, np.int32(0), np.int32(1), source).compile()
