"""Devices: one mesh over whatever is there, and how a class or a seed axis is spread over it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxdistill.engine.pod import meet
from jaxdistill.errors import UsageError
from jaxdistill.types import AnyArray, PyTree

__all__ = ["begin", "from_first", "make_mesh", "replicate", "replicated", "spread"]

AXIS = "data"


def begin(others: str | None, tell: Callable[[str], None]) -> None:
    """Find the devices, and before that the other processes of a pod.

    Args:
        others: None for this process alone, ``auto`` where the platform knows, or ``HOST:PORT,COUNT,INDEX``.
        tell: told for whom it waits, and how long.

    Raises:
        UsageError: if `others` is none of these, somebody does not come, or JAX's platform is not there.
    """
    if others == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise UsageError(
                f"nothing here says which hosts there are ({error}); give --distributed HOST:PORT,COUNT,INDEX"
            ) from None
    elif others is not None:
        jax.distributed.initialize(*meet(others, tell))
    try:
        jax.devices()
    except Exception as error:  # of each platform's own kind
        asked = jax.config.jax_platforms or "an accelerator"  # pyright: ignore[reportAttributeAccessIssue]
        raise UsageError(
            f"JAX cannot use {asked} here ({' '.join(str(error).split())[:120] or type(error).__name__}); unset "
            "JAX_PLATFORMS, or install jaxdistill[cuda] or jaxdistill[tpu] where there is one"
        ) from None


def make_mesh() -> Mesh:
    """All devices of all processes along one axis."""
    return jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Put a full copy of local arrays and keys (the same in every process) on every device."""

    def place(leaf: AnyArray) -> jax.Array:
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(place(jax.random.key_data(leaf)))
        # From the host: an array of one process's device cannot move to those of another.
        return jax.device_put(np.asarray(leaf), replicated(mesh))

    return jax.tree.map(place, tree)


def from_first(tree: PyTree) -> PyTree:
    """Process 0's host arrays, in every process; collective on a pod, nothing on one host."""
    if jax.process_count() == 1:
        return tree

    def broadcast(leaf: np.ndarray) -> np.ndarray:
        leaf = np.asarray(leaf)
        # As bytes: the broadcast is a sum, in which -0.0 would become 0.0.
        found = multihost_utils.broadcast_one_to_all(np.frombuffer(leaf.tobytes(), np.uint8))
        return np.frombuffer(np.asarray(found).tobytes(), leaf.dtype).reshape(leaf.shape)

    return jax.tree.map(broadcast, tree)


@lru_cache  # equal arguments give the same function, by which compilations are kept
def spread(mesh: Mesh, at_once: int, *, gather: bool = False) -> Callable[..., PyTree]:
    """A mapper like `jaxdistill.types.map_one_by_one` that gives each device its share of the leading axis.

    Each device goes through its share `at_once` entries at a time (`vmap` inside, `lax.map` outside). A count that the
    devices do not divide is padded with repeats of the last entry. On one device nothing but `lax.map` remains.

    Args:
        mesh: from `make_mesh`.
        at_once: entries side by side on one device: more is faster on an accelerator, and takes more memory.
        gather: give every device the whole result, for results that the host reads.
    """

    def local(f: Callable[..., PyTree], entries: PyTree, *shared: PyTree) -> PyTree:
        count = jax.tree.leaves(entries)[0].shape[0]
        size = None if min(at_once, count) == 1 else at_once
        return jax.lax.map(lambda entry: f(entry, *shared), entries, batch_size=size)

    if mesh.size == 1:
        return local

    def mapped(f: Callable[..., PyTree], entries: PyTree, *shared: PyTree) -> PyTree:
        count = jax.tree.leaves(entries)[0].shape[0]
        indices = jnp.minimum(jnp.arange(-(-count // mesh.size) * mesh.size), count - 1)
        padded = jax.tree.map(lambda leaf: leaf[indices], entries)
        share = jax.shard_map(
            partial(local, f),
            mesh=mesh,
            in_specs=(PartitionSpec(AXIS), *(PartitionSpec() for _ in shared)),
            out_specs=PartitionSpec(AXIS),
            check_vma=False,  # nothing is exchanged between devices, so there is no replication to check
        )
        results = jax.tree.map(lambda leaf: leaf[:count], share(padded, *shared))
        return jax.lax.with_sharding_constraint(results, replicated(mesh)) if gather else results

    return mapped
