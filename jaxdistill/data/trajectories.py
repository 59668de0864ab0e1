"""Recorded trajectories of experts, and the feeds that draw segments of them, or networks beside real examples."""

from __future__ import annotations

import dataclasses
from typing import ClassVar, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.types import AnyArray, Feed, Key, PyTree

__all__ = [
    "Bank",
    "Begun",
    "RealAndExperts",
    "Segment",
    "Segments",
    "WithExpert",
    "WithNetworks",
    "flatten",
    "unflatten",
]


@flax.struct.dataclass
class Bank:
    """Where experts stood at the start and after each epoch: parameters as vectors of length ``p``.

    Read from a folder by `jaxdistill.io.expert_bank.open_bank`; `flatten` makes the vectors.
    """

    params: Float[AnyArray, "experts snapshots p"] | tuple[Float[AnyArray, "snapshots p"], ...]
    """One array, float32 or bfloat16; also an array for each expert: a memory map, or what it becomes in a trace."""
    experts: int = flax.struct.field(pytree_node=False)
    epochs: int = flax.struct.field(pytree_node=False)
    """Epochs recorded: one fewer than snapshots."""

    def read(self, experts: Int[AnyArray, " b"], epochs: Int[AnyArray, " b"]) -> Float[AnyArray, "b p"]:
        """Parameters of some experts after some epochs, in float32."""
        if isinstance(self.params, tuple):
            chosen = [self.params[expert][epoch] for expert, epoch in zip(experts, epochs, strict=True)]
            return np.stack(chosen).astype(np.float32)
        return self.params[experts, epochs].astype(jnp.float32)

    def outline(self) -> Bank:
        """The same without what only `read` needs."""
        return dataclasses.replace(self, params=np.empty((0, 0, 0)))


@flax.struct.dataclass
class RealAndExperts:
    """What feeds draw from that need both: the training split, and experts."""

    real: RealData
    experts: Bank

    def outline(self) -> RealAndExperts:
        """The same without what only reading needs."""
        return RealAndExperts(self.real.outline(), self.experts.outline())


@dataclasses.dataclass(frozen=True)
class WithExpert:
    """A feed of real data, and beside its batch the parameters of an expert, drawn uniformly, after one of `count`
    epochs from `first` on."""

    feed: Feed
    first: int
    count: int = 1
    source: ClassVar[str] = "both"
    does: ClassVar[str] = "begins with networks out of experts here"

    @property
    def on_device(self) -> bool:
        """Whether real data have to be on the device."""
        return getattr(self.feed, "on_device", False)

    @standard
    def plan(self, key: Key, step: Int[Array, ""], data: RealAndExperts) -> tuple[PyTree, tuple[Array, Array]]:
        """The plan for the real data; an expert, and an epoch.

        Raises:
            UsageError: if the trajectories are too short.
        """
        last, bank = self.first + self.count - 1, data.experts
        if last > bank.epochs:
            raise UsageError(
                f"a network is to be drawn as it was after up to {last} epochs (`pool_from`, `pool_epochs`), and the "
                f"experts have {bank.epochs}; train longer ones, or lower `pool_from`"
            )
        key_feed, key_expert, key_epoch = jax.random.split(key, 3)
        expert = jax.random.randint(key_expert, (1,), 0, bank.experts)
        epoch = jax.random.randint(key_epoch, (1,), self.first, last + 1)
        return self.feed.plan(key_feed, step, data.real), (expert, epoch)

    def gather(self, plan: tuple[PyTree, tuple[AnyArray, AnyArray]], data: RealAndExperts) -> tuple[PyTree, AnyArray]:
        """The real batch, and a vector that `unflatten` makes parameters of."""
        return self.feed.gather(plan[0], data.real), data.experts.read(*plan[1])[0]


class Segment(NamedTuple):
    """Pieces of trajectories: where experts stood, and where some epochs later."""

    start: Float[AnyArray, "b p"]
    target: Float[AnyArray, "b p"]


@dataclasses.dataclass(frozen=True)
class Segments:
    """Segments of some epochs, of uniformly drawn experts and starts from `min_start` to below a bound.

    The bound grows from `initial_max_start` to `max_start` in the first `grow_steps` steps, as DATM has it (Guo et al.,
    ICLR 2024, section 3.3); with 0 it is `max_start` at once.
    """

    expert_epochs: int
    max_start: int
    min_start: int = 0
    initial_max_start: int = 0
    grow_steps: int = 0
    num_segments: int = 1
    source: ClassVar[str] = "experts"
    does: ClassVar[str] = "matches experts"

    def __post_init__(self) -> None:
        first, last = self.min_start, self.max_start
        bound = self.initial_max_start if self.grow_steps else last
        if min(self.expert_epochs, self.num_segments) < 1 or self.grow_steps < 0 or not 0 <= first < bound <= last:
            raise UsageError(
                f"there are no {self.num_segments} segments of {self.expert_epochs} epochs that start after {first} to "
                f"below {bound} epochs, in the end below {last}; the first start (`min_start`) is below the first "
                "bound (`initial_max_start`), that at most the last one (`max_start`), and the others are at least 1"
            )

    def bound(self, step: int | Int[Array, ""]) -> Int[Array, ""]:
        """Starts are below this."""
        if not self.grow_steps:
            return jnp.asarray(self.max_start)
        first, last = self.initial_max_start, self.max_start
        return jnp.minimum(first + (last - first) * step // self.grow_steps, last)

    @standard
    def plan(self, key: Key, step: Int[Array, ""], data: Bank) -> tuple[Int[Array, " b"], Int[Array, " b"]]:
        """Experts, and the epochs after which their segments start.

        Raises:
            UsageError: if the trajectories are too short.
        """
        last = self.max_start - 1 + self.expert_epochs
        if last > data.epochs:
            raise UsageError(
                f"segments of {self.expert_epochs} epochs (`expert_epochs`) that start up to epoch "
                f"{self.max_start - 1} (below `max_start`) need experts of {last} epochs, and these have "
                f"{data.epochs}; train longer ones, or lower `max_start`"
            )
        key_expert, key_start = jax.random.split(key)
        experts = jax.random.randint(key_expert, (self.num_segments,), 0, data.experts)
        return experts, jax.random.randint(key_start, (self.num_segments,), self.min_start, self.bound(step))

    @standard
    def gather(self, plan: tuple[Int[AnyArray, " b"], Int[AnyArray, " b"]], data: Bank) -> Segment:
        """The segments that the plan names."""
        experts, starts = plan
        return Segment(data.read(experts, starts), data.read(experts, starts + self.expert_epochs))


class Begun(NamedTuple):
    """A batch of real examples, and networks to begin with."""

    real: PyTree
    starts: Float[AnyArray, "b p"]
    """Their parameters."""


@dataclasses.dataclass(frozen=True)
class WithNetworks:
    """Another feed's batch, and some experts as they stood after an epoch, drawn without replacement."""

    real: Feed
    networks: int
    epoch: int = -1
    """0 is where they began, -1 the last."""
    source: ClassVar[str] = "both"
    does: ClassVar[str] = "with `pretrained` begins networks as experts"

    @standard
    def plan(self, key: Key, step: Int[Array, ""], data: RealAndExperts) -> tuple[PyTree, Int[Array, "2 b"]]:
        """The other feed's plan, and which experts, after which epoch.

        Raises:
            UsageError: if there are too few of them, or they are too short.
        """
        experts, epochs = data.experts.experts, data.experts.epochs
        if self.networks > experts:
            raise UsageError(
                f"{self.networks} networks in a step (`num_networks`) are drawn from {experts} experts; train more, or "
                "lower it"
            )
        if self.epoch > epochs:
            raise UsageError(
                f"networks begin as experts after epoch {self.epoch} (`pool_epoch`), and these have {epochs}; take "
                "that at the most"
            )
        key_real, key_networks = jax.random.split(key)
        chosen = jax.random.permutation(key_networks, experts)[: self.networks]
        epoch = jnp.full_like(chosen, self.epoch % (epochs + 1))
        return self.real.plan(key_real, step, data.real), jnp.stack([chosen, epoch])

    @standard
    def gather(self, plan: tuple[PyTree, Int[AnyArray, "2 b"]], data: RealAndExperts) -> Begun:
        """The batch and the networks that the plan names."""
        real, (experts, epochs) = plan
        return Begun(self.real.gather(real, data.real), data.experts.read(experts, epochs))


def flatten(params: PyTree) -> Float[Array, " p"]:
    """A network's parameters as one vector, in the order of `jax.tree.leaves`."""
    return jnp.concatenate([leaf.reshape(-1) for leaf in jax.tree.leaves(params)])


def unflatten(vector: Float[Array, " p"], like: PyTree) -> PyTree:
    """The tree of parameters that `flatten` made a vector of.

    Args:
        vector: of any type.
        like: a tree with the shapes.

    Raises:
        UsageError: if the sizes differ.
    """
    leaves, shape = jax.tree.flatten(like)
    sizes = [leaf.size for leaf in leaves]
    if sum(sizes) != vector.shape[0]:
        raise UsageError(f"the experts have {vector.shape[0]} parameters and this network {sum(sizes)}; use theirs")
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    parts = [vector[end - leaf.size : end].reshape(leaf.shape) for end, leaf in zip(ends, leaves, strict=True)]
    return jax.tree.unflatten(shape, parts)
