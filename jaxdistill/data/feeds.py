"""Real data on the device (or the host), and the feeds that draw batches from it."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Integer, Shaped

from jaxdistill.common import draws
from jaxdistill.common.promotion import standard
from jaxdistill.errors import UsageError
from jaxdistill.types import AnyArray, Batch, Feed, Key, PyTree, SyntheticSet

__all__ = ["Both", "ClassBalanced", "Part", "RealData", "Uniform", "Whole", "real_data", "sample"]


@flax.struct.dataclass
class RealData:
    """One split, sorted by class so that a class is a contiguous block. Build it with `real_data`.

    Images keep the type they are stored in (uint8 is a quarter of the memory); `read` gives preprocessed float32.
    """

    images: Shaped[AnyArray, "_n h w _c"]
    """As many as labels; none of them in an `outline`."""
    labels: Int[AnyArray, " n"]
    offsets: Int[AnyArray, " classes"]
    """First index of each class."""
    counts: Int[AnyArray, " classes"]
    """Examples of each class; at least 1 in a training split."""
    scale: Float[AnyArray, " c"]
    shift: Float[AnyArray, " c"]
    """Preprocessed image = stored image * scale + shift."""
    largest: int = flax.struct.field(pytree_node=False)
    """The largest of `counts`; static, because shapes depend on it."""

    def __repr__(self) -> str:
        """Shapes, and not the values of every pixel."""
        return f"RealData(images{tuple(self.images.shape)}, {self.counts.shape[0]} classes)"

    @standard
    def read(self, indices: Int[AnyArray, "*lead"]) -> Batch:
        """Preprocessed images and labels at `indices`."""
        images = self.images[indices].astype("float32") * self.scale + self.shift
        return Batch(images, self.labels[indices])  # pyright: ignore[reportArgumentType]

    @property
    def count(self) -> int:
        """Number of examples."""
        return self.labels.shape[0]

    def take(self, indices: Int[AnyArray, " b"]) -> SyntheticSet:
        """Some of them, preprocessed, as a set of hard classes."""
        batch = self.read(indices)
        return SyntheticSet(batch.images, jax.nn.one_hot(batch.labels, self.counts.shape[0]))

    def part(self, chosen: Bool[np.ndarray, " n"]) -> RealData:
        """The split of some of its examples."""
        counts = np.add.reduceat(chosen, np.asarray(self.offsets), dtype=np.int32)
        (rows,) = np.nonzero(chosen)
        offsets = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
        return RealData(
            self.images[rows], self.labels[rows], offsets, counts, self.scale, self.shift, largest=int(counts.max())
        )

    def outline(self) -> RealData:
        """The same without what only `read` needs."""
        return dataclasses.replace(self, images=np.empty((0, 0, 0, 0)))

    @property
    def pixel_range(self) -> tuple[Float[AnyArray, " c"], Float[AnyArray, " c"]]:
        """Black and white in preprocessed space, for images that were not whitened."""
        largest = 255.0 if np.issubdtype(self.images.dtype, np.integer) else 1.0
        return self.shift, self.shift + largest * self.scale


def real_data(
    images: Shaped[np.ndarray, "n h w c"],
    labels: Integer[np.ndarray, " n"],
    num_classes: int,
    scale: Float[np.ndarray, " c"],
    shift: Float[np.ndarray, " c"],
    *,
    complete: bool = True,
) -> RealData:
    """Sort a split by class (NumPy arrays; the caller places them on a device, or leaves them on the host).

    Args:
        images: as stored.
        labels: class numbers.
        num_classes: how many classes there are.
        scale: factor of a stored channel.
        shift: what is added then; see `RealData`.
        complete: each class has to have an example.

    Raises:
        UsageError: if a class has no example, unless not `complete` (a test split may lack one).
    """
    counts = np.bincount(np.asarray(labels, np.int64), minlength=num_classes).astype(np.int32)
    if complete and counts.min() == 0:
        raise UsageError(f"class {int(counts.argmin())} has no examples; remove it or add some")
    order = np.argsort(labels, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(counts)[:-1]]).astype(np.int32)
    if np.array_equal(order, np.arange(len(order))):  # already sorted: keep a memory map a memory map
        order = slice(None)
    scale, shift = (np.asarray(x, np.float32) for x in (scale, shift))
    return RealData(
        images[order], labels[order].astype(np.int32), offsets, counts, scale, shift, largest=int(counts.max())
    )


@standard
def sample(feed: Feed, key: Key, step: Int[Array, ""] | int, data: Any) -> PyTree:
    """The batch of one step: what `feed` plans, gathered.

    Args:
        feed: the method's.
        key: of the draw.
        step: number of the step.
        data: what the feed's `source` says.
    """
    return feed.gather(feed.plan(key, jnp.asarray(step), data), data)


@dataclasses.dataclass(frozen=True)
class Part:
    """Some of a split's examples, which a network is trained on in place of all."""

    data: RealData
    indices: Int[AnyArray, " n"]
    """Which."""

    @property
    def count(self) -> int:
        """Number of examples."""
        return self.indices.shape[0]

    def take(self, indices: Int[AnyArray, " b"]) -> SyntheticSet:
        """Some of them, as `RealData.take` gives them."""
        return self.data.take(self.indices[indices])


@dataclasses.dataclass(frozen=True)
class ClassBalanced:
    """`per_class` examples of every class, without replacement; the whole class where there are fewer.

    The batch is images ``[classes b h w c]`` and labels ``[classes b]``, with b at most the size of the largest class;
    a class of fewer than b examples repeats them in turn.
    """

    per_class: int
    source: ClassVar[str] = "real"

    @standard
    def plan(self, key: Key, step: Int[Array, ""], data: RealData) -> Int[AnyArray, "classes b"]:
        """Indices into the split."""
        del step
        scores = draws.uniform(key, (data.counts.shape[0], data.largest))
        scores = jnp.where(jnp.arange(data.largest) < data.counts[:, None], scores, -1.0)
        b = min(self.per_class, data.largest)
        _, order = jax.lax.top_k(scores, b)
        turn = jnp.arange(b) % jnp.minimum(data.counts, b)[:, None]
        return data.offsets[:, None] + jnp.take_along_axis(order, turn, axis=1)

    def gather(self, plan: Int[AnyArray, "classes b"], data: RealData) -> Batch:
        """The planned examples, preprocessed."""
        return data.read(plan)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """`batch` examples of the whole split, without replacement (all of it in turn where it is smaller)."""

    batch: int
    source: ClassVar[str] = "real"

    @standard
    def plan(self, key: Key, step: Int[Array, ""], data: RealData) -> Int[Array, " b"]:
        """Indices into the split."""
        del step
        total = data.labels.shape[0]
        return jax.random.permutation(key, total)[jnp.arange(self.batch) % total]

    def gather(self, plan: Int[AnyArray, " b"], data: RealData) -> Batch:
        """The planned examples, preprocessed."""
        return data.read(plan)


@dataclasses.dataclass(frozen=True)
class Whole:
    """The split itself, for what goes through all of it within a step; it has to be on the device (`on_device`)."""

    source: ClassVar[str] = "real"
    on_device: ClassVar[bool] = True

    def plan(self, key: Key, step: Int[Array, ""], data: RealData) -> tuple[()]:
        """Nothing is drawn."""
        del key, step, data
        return ()

    def gather(self, plan: tuple[()], data: RealData) -> RealData:
        """The split, without a copy."""
        del plan
        return data


@dataclasses.dataclass(frozen=True)
class Both:
    """Two feeds side by side; the batch is the pair of theirs."""

    first: Feed
    second: Feed
    source: ClassVar[str] = "real"

    @property
    def on_device(self) -> bool:
        """Whether one of them needs the data on the device."""
        return any(getattr(feed, "on_device", False) for feed in (self.first, self.second))

    def plan(self, key: Key, step: Int[Array, ""], data: RealData) -> tuple[PyTree, PyTree]:
        """The plans of the two."""
        key_first, key_second = jax.random.split(key)
        return self.first.plan(key_first, step, data), self.second.plan(key_second, step, data)

    def gather(self, plan: tuple[PyTree, PyTree], data: RealData) -> tuple[PyTree, PyTree]:
        """The batches of the two."""
        return self.first.gather(plan[0], data), self.second.gather(plan[1], data)
