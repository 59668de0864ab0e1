"""Which key a step gets, and batches for data that stays on the host, gathered ahead of time by grain's threads."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int

from jaxdistill.errors import UsageError
from jaxdistill.types import Feed, Key, PyTree

__all__ = ["host_batches", "require_grain", "step_keys"]


def step_keys(key: Key, step: Int[Array, ""] | int) -> tuple[Key, Key]:
    """The feed's and the method's key of one step: they depend on the root key and the step alone."""
    key_feed, key_step = jax.random.split(jax.random.fold_in(key, step))
    return key_feed, key_step


def require_grain() -> None:
    """Raise a UsageError if grain is not installed."""
    if importlib.util.find_spec("grain") is None:
        raise UsageError(
            "data larger than the device limit needs grain: run pip install 'jaxdistill[grain]', or raise "
            "--max-device-gib"
        )


def host_batches(feed: Feed, data: Any, key: Key, start: int, stop: int) -> Iterator[PyTree]:
    """Batches of steps `start` to ``stop - 1``: the ones that the loop would draw on the device, in NumPy arrays.

    Args:
        feed: plans on the CPU (indices only), gathers with NumPy.
        data: NumPy arrays or memory maps.
        key: root key of the run.
        start: the first step.
        stop: the step after the last.
    """
    import grain

    cpu = jax.local_devices(backend="cpu")[0]
    root = jax.random.wrap_key_data(jax.device_put(np.asarray(jax.random.key_data(key)), cpu))
    # The plan must not close over what is large: only what it reads is traced.
    small = data.outline()
    plan = jax.jit(lambda step: feed.plan(step_keys(root, step)[0], step, small))

    def batch(step: int) -> PyTree:
        with jax.default_device(cpu):
            indices = jax.tree.map(np.asarray, plan(np.int32(step)))
        return feed.gather(indices, data)

    steps = grain.MapDataset.range(start, stop).map(batch)
    yield from steps.to_iter_dataset(grain.ReadOptions(num_threads=2, prefetch_buffer_size=4))
