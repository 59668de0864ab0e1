"""The vocabulary: what a distilled set is, what a method is, and what a method is given.

Axis names used in every annotation of this package:

    ``n``        images of a set, class-major: all of class 0, then all of class 1, ...
    ``classes``  classes of the data set          ``ipc``  images per class
    ``h w c``    height, width, channels          ``d``    feature dimension
    ``b``        examples of one real batch       ``seeds``  independent networks

Images are float32 in *preprocessed* space (`jaxdistill.data.preprocess`) unless a docstring says otherwise.
Keys are typed PRNG keys (`jax.random.key`) and always come first; who receives a key consumes it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol, TypeAlias, runtime_checkable

import flax.struct
import jax
import numpy as np
from jaxtyping import Array, Bool, Float, Int

Key: TypeAlias = jax.Array
"""A typed PRNG key."""
PyTree: TypeAlias = Any
"""Any nest of arrays."""
if TYPE_CHECKING:
    AnyArray: TypeAlias = Any
else:
    AnyArray = Array | np.ndarray
"""On a device or on the host. `jax.numpy` takes both, which no type that a checker reads without running it can say."""
LabelKind: TypeAlias = Literal["class", "probability", "logit", "target"]
"""One-hot classes, probabilities, logits (soft-maxed when used), or real-valued regression targets."""


def per_image(**options: Any) -> Any:
    """A field of a set with an entry for each image: taken, repeated and stored as the images are."""
    return flax.struct.field(metadata={"per_image": True}, **options)


def tiles_of(factor: int, decode_type: str = "single") -> int:
    """How many images each stored one becomes, by ``"single"`` or ``"multi"``."""
    return sum(f**2 for f in range(1 if decode_type == "multi" else factor, factor + 1))


@flax.struct.dataclass
class SyntheticSet:
    """A distilled (or selected) set: what every method improves and every evaluation reads.

    Several of one size may be stacked along leading axes, to be mapped over.
    """

    images: Float[AnyArray, "*sets n h w c"] = per_image()
    """Preprocessed space, class-major order."""
    labels: Float[AnyArray, "*sets n classes"] = per_image()
    """What `label_kind` says; one-hot for plain class labels."""
    label_kind: LabelKind = flax.struct.field(pytree_node=False, default="class")
    weights: Float[AnyArray, "*sets n"] | None = per_image(default=None)
    """Weight of each image in the loss, for core-sets that weigh their samples; None is 1 for each."""
    learning_rate: Float[AnyArray, "*steps"] | None = None
    """Learned together with the images: one step size, or ``[epochs, steps]`` of them for training in stored order."""
    formation: int = flax.struct.field(pytree_node=False, default=1)
    """Each image holds ``formation**2`` tiles that are cut out and upsampled before training."""
    canvas: int = flax.struct.field(pytree_node=False, default=1)
    """Each image is a canvas of a texture, so many times as high and wide as a network's input: what is trained on are
    windows of it, which go on at the opposite border."""
    windows: int = flax.struct.field(pytree_node=False, default=1)
    """Windows of each canvas in a batch, where they are drawn at random."""
    selected: Bool[AnyArray, "*sets n"] | None = per_image(default=None)
    """Which images are as they were selected, or as a start had them and a method kept them; None where no recipe needs
    to know."""
    indices: Int[AnyArray, "*sets n"] | None = per_image(default=None)
    """Which image of the split (`jaxdistill.data.feeds.RealData`) each was selected as; for what is decided while a set
    begins, and not stored."""
    decode_type: Literal["single", "multi"] = flax.struct.field(pytree_node=False, default="single")
    """With ``"multi"`` networks are also trained on the tiles of all smaller factors, whole images among them
    (`jaxdistill.augment.formation`)."""

    @property
    def count(self) -> int:
        """Number of images."""
        return self.images.shape[0]

    @property
    def tiles(self) -> int:
        """Whole images that `jaxdistill.augment.formation.decode` makes of each stored one."""
        return tiles_of(self.formation, self.decode_type) * self.canvas**2

    @property
    def arrays(self) -> dict[str, Any]:
        """Those that there are, by name."""
        fields = (field for field in dataclasses.fields(self) if field.metadata.get("pytree_node", True))
        return {field.name: leaf for field in fields if (leaf := getattr(self, field.name)) is not None}

    def __repr__(self) -> str:
        """Shapes, and not the values of every pixel."""
        shapes = ", ".join(f"{name}{getattr(leaf, 'shape', leaf)}" for name, leaf in self.arrays.items())
        kind = "" if self.decode_type == "single" else f", decode_type={self.decode_type!r}"
        kind += f", canvas={self.canvas}" if self.canvas > 1 else ""
        return f"SyntheticSet({shapes}, label_kind={self.label_kind!r}, formation={self.formation}{kind})"

    def each(self, change: Callable[[AnyArray], AnyArray]) -> SyntheticSet:
        """The set with every array that has an entry for each image changed alike."""
        return dataclasses.replace(self, **{n: change(leaf) for n, leaf in self.arrays.items() if n in PER_IMAGE})

    def take(self, indices: Int[AnyArray, " b"]) -> SyntheticSet:
        """Some of the images with all that belongs to each."""
        return self.each(lambda leaf: leaf[indices])


PER_IMAGE = tuple(field.name for field in dataclasses.fields(SyntheticSet) if "per_image" in field.metadata)
"""Names of the arrays of a set that have an entry for each image."""


@runtime_checkable
class Examples(Protocol):
    """What a network can be trained on: a `SyntheticSet` or `jaxdistill.data.feeds.RealData`."""

    @property
    def count(self) -> int:
        """Number of examples."""
        ...

    def take(self, indices: Int[AnyArray, " b"]) -> SyntheticSet:
        """Some of them."""
        ...


class Variables(NamedTuple):
    """A network's arrays. Opaque but for the split between what is trained and what is tracked."""

    params: PyTree
    """Trained by gradients; a kernel's last axis is its output."""
    statistics: PyTree
    """Running averages of batch normalisation; an empty dict where there are none."""


class Features(NamedTuple):
    """What a network computes below its classifier."""

    embedding: Float[Array, "n d"]
    """Flattened input of the classifier."""
    maps: tuple[Float[Array, "n _h _w _c"], ...]
    """Post-activation, pre-pooling maps, one per convolutional block, first block first."""


class Network(NamedTuple):
    """A classifier as pure functions.

    ``apply(variables, images, train=False)`` gives ``(logits [n classes], statistics)``;
    ``features(variables, images, train=False)`` gives `Features`. ``train`` only matters to batch normalisation: batch
    statistics when true, running averages when false. The returned statistics are the updated running averages.
    """

    init: Callable[[Key], Variables]
    apply: Callable[..., tuple[Float[Array, "n classes"], PyTree]]
    features: Callable[..., Features]
    couples_batch: bool = False
    """Whether, in training, one image's output depends on the others of its batch (batch normalisation)."""
    momentum: float = 0.1
    """Share of the way that running averages go towards a batch's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generator:
    """A class-conditional diffusion model as pure functions of its parameters.

    ``apply(params, noisy [n h w c], times [n], labels [n])`` gives a prediction of noise or velocity, and as many
    outputs again for the variances if `learned_variance`. ``encode(params, key, images)`` makes of preprocessed images
    what is diffused, ``decode(params, latents)`` images again, cut off at black and white.
    """

    init: Callable[[Key], PyTree]
    """Fresh parameters, or those that were learned before: ``{"model": ..., "autoencoder": ...}``."""
    apply: Callable[..., Float[Array, "n h w _outputs"]]
    encode: Callable[..., Float[Array, "n _h _w _c"]]
    decode: Callable[..., Float[Array, "n h w c"]]
    latent_shape: tuple[int, int, int]
    """What is diffused: pixels from -1 to 1, or an autoencoder's latents."""
    labels: tuple[int, ...]
    """What each class of the data set is called by `apply`."""
    null: int
    """What `apply` calls no class at all."""
    schedule: Any
    """A `jaxdistill.diffusion.schedule.Schedule`."""
    prediction: Literal["noise", "velocity"] = "noise"
    learned_variance: bool = False
    bounded: bool = True
    """Whether what is diffused lies in [-1, 1], so that samplers may cut off there."""
    trained: bool = False
    """Whether `init` gives parameters that were learned before."""
    compress: Callable[..., tuple[Float[Array, ""], PyTree]] | None = None
    """``compress(autoencoder, key, images, step)``: the loss of the autoencoder's parameters, and those with what is
    tracked and not learned brought up to date; None where pixels are diffused."""


class Kernel(NamedTuple):
    """A kernel of pairs of images, as pure functions."""

    prepare: Callable[[Key, Float[Array, "n h w c"]], PyTree]
    """What `gram` takes of images, in rows; a kernel that draws networks draws them by the key, others ignore it."""
    gram: Callable[[PyTree, PyTree], Float[Array, "n m"]]
    """Of all pairs of two sets of rows, in the rows' type."""
    pair_size: int = 1
    """Numbers that a pair takes while it is computed; see `jaxdistill.kernels.gram`."""


@runtime_checkable
class Augment(Protocol):
    """A differentiable, keyed image augmentation."""

    def __call__(self, key: Key, images: Float[Array, "n h w c"], siamese: bool) -> Float[Array, "n h w c"]:
        """Augment; with `siamese` one draw of every parameter serves the whole batch, so that two calls with the same
        key transform two batches alike. Without it parameters are drawn for each image.

        Args:
            key: of every draw.
            images: in preprocessed space.
            siamese: draw once for the whole batch.
        """
        ...


class Batch(NamedTuple):
    """Real examples for one step; the leading axes are the feed's."""

    images: Float[AnyArray, "*lead h w c"]
    labels: Int[AnyArray, "*lead"]


@runtime_checkable
class Feed(Protocol):
    """What a method's batch is, as data: which examples (`plan`), then the examples themselves (`gather`).

    `plan` is pure and small (indices only), so it can be traced inside a scan over data on the device and evaluated
    ahead of time for data that stays on the host; `gather` accepts JAX and NumPy arrays alike. Both routes therefore
    give the same batch for the same key and step. `step` is there for schedules.
    """

    source: ClassVar[str]
    """What `data` is: ``"real"`` is the training split (`jaxdistill.data.feeds.RealData`), ``"experts"`` a
    `jaxdistill.data.trajectories.Bank`, ``"both"`` a `jaxdistill.data.trajectories.RealAndExperts`. All give
    themselves without their large arrays as ``outline()``. One that needs real data on the device has a true
    ``on_device``."""

    def plan(self, key: Key, step: Int[Array, ""], data: Any) -> PyTree:
        """Integer arrays that name the examples of this step.

        Args:
            key: of the draw.
            step: number of the step, for schedules.
            data: what the feed's `source` says, or its outline.
        """
        ...

    def gather(self, plan: PyTree, data: Any) -> PyTree:
        """The batch that the plan names."""
        ...


class Method(NamedTuple):
    """A distillation method: pure functions over pytrees, and what it wants to be fed.

    State is what the next step needs; Info is what a human wants to see: a NamedTuple of scalars, ``loss`` first.
    Both keep structure, shape and dtype from step to step. Only a step whose Info says that it was not ``applied``, and
    which changed nothing, may have a loss that is not finite. The step counter and the root key belong to the loop.
    """

    init: Callable[[Key, SyntheticSet], PyTree]
    """The state before the first step, of the set that it starts from."""
    step: Callable[[Key, PyTree, PyTree], tuple[PyTree, Any]]
    """State and Info after a step with a batch of the feed."""
    synthetic: Callable[[PyTree], SyntheticSet]
    """The set of a state."""
    feed: Feed
    images_per_start: int = 1
    """`init` also takes so many whole images for each one that it will store, and makes them its tiles."""
    paced: bool = False
    """Whether what a step does depends on `Task.steps`, by a schedule: then a run cannot go on to more of them."""


class GenerativeMethod(NamedTuple):
    """A method that trains a generator, of which sets are drawn; states and Infos are as those of a `Method`."""

    init: Callable[[Key], PyTree]
    step: Callable[[Key, PyTree, PyTree], tuple[PyTree, Any]]
    params: Callable[[PyTree], PyTree]
    """The parameters of a state's generator, as `Generator.init` gives them."""
    feed: Feed
    draw: Callable[[Key, PyTree, int], SyntheticSet]
    """``draw(key, params, ipc)`` gives a set; a smaller one of the same key has the first images of a larger one."""
    paced: bool = False
    """See `Method`."""


AnyMethod: TypeAlias = Method | GenerativeMethod
"""What can be run: both are fed and step in the same way."""


def map_one_by_one(f: Callable[..., PyTree], entries: PyTree, *shared: PyTree) -> PyTree:
    """``f(entry, *shared)`` for each entry of the leading axis of `entries`, stacked; one after the other.

    What `f` uses of other arrays is passed as `shared`, not closed over: a mapper that spreads the entries over devices
    has to place it on each of them.

    Args:
        f: of one entry and what is shared.
        entries: arrays with the same leading axis.
        shared: other arrays that `f` uses, whole in each call.
    """
    return jax.lax.map(lambda entry: f(entry, *shared), entries)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """Everything that a method is told about the problem; the same for all methods."""

    network: Network
    augment: Augment
    image_shape: tuple[int, int, int]
    num_classes: int
    map_classes: Callable[..., PyTree] = map_one_by_one
    """How a method goes over the class axis, with the signature of `map_one_by_one`. How many classes run at once, and
    on which devices, is decided by whoever builds the task (`jaxdistill.engine.devices`)."""
    kernel: Kernel | None = None
    """What takes the network's place in kernel methods."""
    generator: Callable[[], Generator] | None = None
    """What takes it in generative ones; made when it is asked for, since not all images fit one."""
    steps: int | None = None
    """How many there will be in all, for schedules; None leaves them where they begin."""
    pixel_range: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """What the pixels 0 and 1 are in preprocessed space, by channel, for methods that keep images in [0, 1]; None where
    that is not a matter of channels (whitening)."""
    map_blocks: Callable[..., PyTree] = map_one_by_one
    """As `map_classes`, for blocks that take what memory there is: each device has its share, one after the other."""
