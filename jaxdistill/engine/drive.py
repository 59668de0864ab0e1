"""A run under way: the loop with everything that watches it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

from jax.sharding import Mesh
from rich.console import Console

from jaxdistill.engine.device_info import machine
from jaxdistill.engine.loop import Chunk, Looked, run
from jaxdistill.engine.signals import asked
from jaxdistill.errors import RunFailedError
from jaxdistill.types import AnyMethod, Key, PyTree, SyntheticSet

__all__ = ["Driven", "Feeding", "RunFailedError", "Stopped", "drive", "say"]


class Feeding(NamedTuple):
    """What the method's feed draws from."""

    source: Any
    on_host: bool
    """Where it stays; else it is on all devices."""


class Driven(NamedTuple):
    """How far a run got."""

    state: PyTree
    done: int
    """Steps."""
    spent: dict[str, float]
    """Seconds of all its parts."""

    def cost(self) -> dict[str, Any]:
        """What the run cost, as a card has it."""
        rate = self.done / self.spent["seconds"] if self.spent["seconds"] else 0.0
        return {"steps": self.done, **self.spent, "steps_per_second": rate, **machine()}


class Stopped(KeyboardInterrupt):
    """A run was asked to stop, and did after a whole step."""

    def __init__(self, driven: Driven):
        self.driven = driven
        super().__init__()


def say(console: Console, line: str) -> None:
    """One plain line."""
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def drive(
    begun: Driven,
    steps: int,
    method: AnyMethod,
    feeding: Feeding,
    key: Key,
    mesh: Mesh,
    *,
    every: int = 100,
    sinks: Sequence[AbstractContextManager[Any]] = (),
    save: Callable[[Driven, bool], None] = lambda driven, last: None,
    look: Callable[[PyTree], tuple[Looked, SyntheticSet]] | None = None,
    look_every: int = 1,
    grace: bool = True,
) -> Driven:
    """Loop to the last step with all that watches, or until someone asks to stop.

    Args:
        begun: where the run stands.
        steps: of the whole run.
        method: what is run.
        feeding: what it is fed.
        key: root key of the run, on all devices.
        mesh: devices.
        every: most steps in one chunk.
        sinks: what is shown each chunk, of this process.
        save: told how far the run is after each chunk, and whether nothing comes after it.
        look: looks at the set of a state, and gives that too: before the first step, every `look_every` steps and
            after the last; in every process of a pod.
        look_every: steps between two looks.
        grace: whether a second signal ends the process; see `jaxdistill.engine.signals.asked`.

    Raises:
        Stopped: if a signal asked for it; what was done by then is in it.
        NonFiniteError: see `jaxdistill.engine.loop.run`.
    """
    state, done, spent = begun
    with contextlib.ExitStack() as stack:
        stop = stack.enter_context(asked(ends=grace))
        listeners = [stack.enter_context(sink) for sink in sinks]
        start = Chunk(done, state, None, 0.0, 0.0)
        if look is not None and not done:
            start = start._replace(looked=look(state))
        for sink in listeners:
            sink(start)
        options = {"mesh": mesh, "start": done, "every": every, "on_host": feeding.on_host}
        options["stops"] = None if look is None else look_every
        for chunk in run(method, feeding.source, key, state, steps, **options):
            state, done = chunk.state, chunk.step
            spent = {name: value + getattr(chunk, name) for name, value in spent.items()}
            if look is not None and (done % look_every == 0 or done == steps):
                chunk = chunk._replace(looked=look(state))
            # Sinks first: what a checkpoint is ahead of would be missing for good after a kill in between.
            for sink in listeners:
                sink(chunk)
            driven = Driven(state, done, spent)
            save(driven, done == steps or bool(stop))
            if stop:
                raise Stopped(driven)
    return Driven(state, done, spent)
