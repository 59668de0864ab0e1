"""One run under way: the loop with everything that watches it."""

from __future__ import annotations

import contextlib
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh
from rich.console import Console

from jaxdistill.methods import METHODS
from jaxdistill.run import artifact, checkpoint, sinks
from jaxdistill.run.config import Distill
from jaxdistill.run.loop import Chunk, NonFiniteError, run
from jaxdistill.run.machine import machine
from jaxdistill.run.resolve import Bench
from jaxdistill.run.sharding import from_first, replicate, replicated
from jaxdistill.run.signals import asked
from jaxdistill.types import Key, Method, PyTree, SyntheticSet

__all__ = ["Feeding", "RunFailedError", "drive", "last_set", "say"]

PREVIEWS = 6


class RunFailedError(RuntimeError):
    """A run that began and could not end well; the message is one sentence."""


class Feeding(NamedTuple):
    """What the method's feed draws from."""

    source: Any
    on_host: bool
    """Where it stays; else it is on all devices."""


def say(console: Console, line: str) -> None:
    """One plain line."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def drive(
    config: Distill,
    method: Method,
    bench: Bench,
    feeding: Feeding,
    state: PyTree,
    done: int,
    spent: dict[str, float],
    key: Key,
    folder: Path,
    console: Console,
) -> tuple[PyTree, dict[str, Any]]:
    """Loop to the last step with all sinks, saving checkpoints.

    Returns:
        The last state, and what the run cost, `spent` by its earlier parts included.
    """
    saved = time.monotonic()
    writes = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(asked())
        listening = _sinks(config, method, bench, done, folder, console) if writes else []
        listeners = [stack.enter_context(sink) for sink in listening]
        for sink in listeners:
            sink(Chunk(done, state, None, 0.0, 0.0))
        options = {"mesh": bench.mesh, "start": done, "every": config.run.chunk, "on_host": feeding.on_host}
        try:
            for chunk in run(method, feeding.source, replicate(key, bench.mesh), state, config.steps, **options):
                state, done = chunk.state, chunk.step
                spent = {name: value + getattr(chunk, name) for name, value in spent.items()}
                # Sinks first: what a checkpoint is ahead of would be missing for good after a kill in between.
                for sink in listeners:
                    sink(chunk)
                due = time.monotonic() - saved >= config.run.checkpoint_seconds or done == config.steps or stop
                if writes and due:
                    checkpoint.save(folder / "checkpoints", done, state, spent)
                    saved = time.monotonic()
                if stop:
                    raise KeyboardInterrupt
        except NonFiniteError as error:
            raise RunFailedError(
                f"{error} of {folder} with {config.method}; start again with a smaller step size "
                "(the last good checkpoint, if there is one, is kept)"
            ) from None
    rate = config.steps / spent["seconds"] if spent["seconds"] else 0.0
    return state, {"steps": config.steps, **spent, "steps_per_second": rate, **machine()}


def read_out(method: Method, state: PyTree) -> SyntheticSet:
    """The set, from local copies: on a pod, process 0 does this alone."""
    return jax.tree.map(np.asarray, jax.jit(method.synthetic)(jax.tree.map(np.asarray, state)))


def last_set(method: Method, state: PyTree, folder: Path, mesh: Mesh) -> SyntheticSet:
    """The set of the last state. One that is drawn is drawn once, by all devices together: again, or elsewhere, its
    digits might be others."""
    if method.learned is None:
        return read_out(method, state)
    if bool(from_first(np.int32((folder / "evaluation.json").exists()))):
        shapes = jax.eval_shape(method.synthetic, state)
        there = artifact.load_set(folder).synthetic if jax.process_index() == 0 else None
        return from_first(there or jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes))
    return jax.tree.map(np.asarray, jax.jit(method.synthetic, out_shardings=replicated(mesh))(state))


def _sinks(config: Distill, method: Method, bench: Bench, done: int, folder: Path, console: Console) -> list[Any]:
    name = f"{METHODS[type(config.method)].__name__} on {Path(config.data.dataset).name}"
    listening: list[Any] = [sinks.Metrics(folder / "metrics.jsonl", done)]
    if method.learned is None:  # to draw a set from a generator takes as long as many steps
        every = max(1, config.steps // PREVIEWS)
        show = partial(read_out, method), bench.preprocess.invert, bench.num_classes, every
        listening.append(sinks.Previews(folder / "previews", *show))
    if not config.run.quiet:
        listening.append(sinks.Progress(config.steps, done, name, console))
    return listening + sinks.elsewhere(config, folder)
