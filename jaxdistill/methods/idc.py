"""Gradient matching of stored tiles, IDC (Kim et al., ICML 2022, arXiv:2205.14959); IDC-I without tiles.

Differs from the code: the classes of a sweep are done at once (see `idc`); batch normalisation matches with running
averages, not with the statistics of one class; real images are drawn anew for each sweep, not epoch by epoch; starts
are random images, not the first ones of each class; pixels are clipped at the start and on reading out as well;
training before the first match keeps the last, smaller batch of an epoch. ImageNet-100's five processes of twenty
classes are one here, which all classes share.
Sets by `decode_type` ``"multi"`` are trained on by that as well, those by ``"bound"`` by the factor alone, as the
code's own evaluation has it. Left out: matching biases and the classifier, features of other blocks than the last, and
speech.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.augment import make as augmentation
from jaxdistill.augment.formation import DecodeType, encode_images, some_tiles, tile_shape
from jaxdistill.augment.transform import Augmented
from jaxdistill.common.promotion import standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.common.sets import class_set
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import Both, ClassBalanced, RealData, Uniform, Whole
from jaxdistill.data.trajectories import WithExpert, unflatten
from jaxdistill.errors import UsageError
from jaxdistill.losses import gradients
from jaxdistill.methods.matching import match_distributions, match_gradients
from jaxdistill.methods.partial_update import PartialUpdate, marked, only_learned
from jaxdistill.networks.layers import flatten
from jaxdistill.training.sgd import epoch, sgd
from jaxdistill.types import Features, Key, Method, PyTree, SyntheticSet, Task, Variables

__all__ = ["IDC", "IDCInfo", "IDCState", "idc"]

Metric: TypeAlias = Literal["mse", "l1", "l1_mean", "cos"]
Matched: TypeAlias = Literal["gradient", "embedding", "map"]

DISTANCES = {
    "mse": gradients.squared,
    "l1": gradients.absolute,
    "l1_mean": gradients.absolute_mean,
    "cos": gradients.output_cosine,
}


@renamed(
    per_class="real_batch",
    matches="matches_per_network",
    real_images="inner_real_images",
    network_lr="inner_lr",
    network_momentum="inner_momentum",
    weight_decay="inner_weight_decay",
    batch="inner_batch",
    train_augment="inner_augment",
    formation="factor",
    most="max_tiles",
)
@dataclasses.dataclass(frozen=True)
class IDC(PartialUpdate):
    """Match the gradients of real images and of tiles, several to a stored image, on networks that see real images."""

    image_lr: float = 5e-3
    """Step size on pixels in [0, 1]; distances are sums, so it belongs to `distance` and to the network's width."""
    momentum: float = 0.5
    """Momentum of the pixels' SGD in the code; here a class moves ``1 / (1 - momentum)`` times as far."""
    real_batch: int = 64
    """Real images per class and step."""
    matches_per_network: int = 100
    """Steps of the set with one network, which is trained after each; pixels are clipped when it is replaced."""
    inner_real_images: int = 2_000
    """Real images that the network is trained on after a match, rounded up to whole batches."""
    inner_lr: float = 0.01
    """Step size with which the network is trained on real images."""
    inner_momentum: float = 0.9
    """Momentum with which the network is trained on real images."""
    inner_weight_decay: float = 5e-4
    """Weight decay with which the network is trained on real images."""
    inner_batch: int = 64
    """Real images in a step of the network."""
    inner_augment: str = "all:color_crop"
    """Augmentation of the real images that the network is trained on, its operations named: in the code that of
    matching, without cutout where there is CutMix."""
    cutmix: float = 0.5
    """Probability of CutMix in a step of the network on real images."""
    distance: Metric = "mse"
    """Distance of the gradients of convolution kernels: squared or absolute differences, their mean for each output, or
    cosines for each output."""
    factor: int = 2
    """Tiles on a side of a stored image, ``factor**2`` in all; 1 is IDC-I."""
    max_tiles: int = 128
    """Most tiles of a class in one match, drawn at random where it has more."""
    decode_type: DecodeType = "single"
    """Which tiles a match sees: of `factor` (single); those of all smaller ones too, the whole image among them
    (multi); or of `factor` as far as `max_tiles` goes, and of smaller ones for the other images (bound). Networks are
    trained on sets by multi likewise, on those by bound as on those by single."""
    match: Matched = "gradient"
    """What is matched: gradients of convolution kernels, by `distance`, or means of a class's features, by squared
    differences: the embedding, as the code has it for ConvNets, or the last block's map, as for ResNets."""
    pretrain_epochs: int = 0
    """Epochs on all real images, on the device, that a network is trained for before its first match."""
    pool_from: int | None = None
    """Begin with a network out of the experts that are given, as it was after so many epochs, and not with a fresh one;
    None has no experts."""
    pool_epochs: int = 1
    """From how many epochs of the experts, `pool_from` and the next ones, such a network is drawn."""


class IDCState(NamedTuple):
    """The tiled images, and the network whose gradients are matched."""

    images: Float[Array, "classes ipc h w c"]
    """Pixels, black 0 and white 1; outside of that between two clippings."""
    variables: Variables
    """The network in training."""
    velocity: PyTree
    """Its momentum buffers."""
    matched: Int[Array, ""]
    """Matches it has been used for; a fresh one is drawn at 0."""


class IDCInfo(NamedTuple):
    """How far the gradients of real images and tiles are apart."""

    loss: Float[Array, ""]
    """Summed over classes (the code prints it divided by their number)."""
    grad_norm: Float[Array, ""]


def idc(config: IDC, task: Task) -> Method:
    """Build IDC: each step is a sweep over the classes, after which the network is trained on real images.

    Args:
        config: step sizes, loops and formation; `jaxdistill.presets.idc` has the code's.
        task: network, augmentation, shapes, and what pixels are in preprocessed space.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = idc(IDC(real_batch=8, inner_real_images=16, inner_augment="none", factor=1), toy_task("convnet"))
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Kim et al., Dataset Condensation via Efficient Synthetic-Data Parameterization, ICML 2022.
    """
    _check(config, task)
    black, white = np.asarray(task.pixel_range)
    # Deviation: the code has one momentum buffer for all images, which goes on moving a class while the others have
    # their turn. Until its next turn a class has moved by 1 + m + ... + m**(classes - 1) times its gradient; the whole
    # series, taken at once, differs by m**classes, and lets the classes run side by side.
    rate = config.image_lr / (1 - config.momentum)
    shown = Augmented(augmentation(config.inner_augment), cutmix=config.cutmix)
    inner = sgd(jnp.float32(config.inner_lr), momentum=config.inner_momentum, decay=config.inner_weight_decay)

    def distance(real: PyTree, synthetic: PyTree) -> Float[Array, ""]:
        return DISTANCES[config.distance](gradients.kernels(real), gradients.kernels(synthetic))

    def ends(images: Array) -> tuple[np.ndarray, np.ndarray]:
        """Black and white in the images' own type, which a program with float64 would else widen."""
        return black.astype(images.dtype), white.astype(images.dtype)

    def view(key: Key, images: Float[Array, "ipc h w c"]) -> Float[Array, "n h w c"]:
        low, high = ends(images)
        tiles = some_tiles(key, images, config.factor, config.max_tiles, fill=0.5, decode_type=config.decode_type)
        return low + (high - low) * tiles  # pyright: ignore[reportReturnType]

    def features(found: Features) -> tuple[Float[Array, "n _d"], ...]:
        return ((found.embedding if config.match == "embedding" else flatten(found.maps[-1])),)

    def compared(
        key: Key, variables: Variables, images: Float[Array, "classes ipc h w c"], real: Float[Array, "classes b h w c"]
    ) -> tuple[Float[Array, "classes ..."], Float[Array, "classes ipc h w c"]]:
        if config.match == "gradient":
            return match_gradients(key, task, variables, images, real, distance, view)
        return match_distributions(key, task, variables, images, real, features=features, view=view, train=False)

    def trained(
        key: Key, variables: Variables, velocity: PyTree, real: SyntheticSet | RealData
    ) -> tuple[Variables, PyTree]:
        return epoch(
            key, task.network, variables, velocity, real, optimizer=inner, batch=config.inner_batch, transform=shown
        )[:2]

    def begin(
        key: Key, vector: Float[Array, " p"] | None = None, whole: RealData | None = None
    ) -> tuple[Variables, PyTree]:
        """A network before its first match: fresh, or with an expert's parameters, then trained on real images."""
        key_network, key_epochs = jax.random.split(key) if whole is not None else (key, key)
        variables = task.network.init(key_network)
        if vector is not None:
            params = unflatten(vector, variables.params)
            params = jax.tree.map(lambda new, old: new.astype(old.dtype), params, variables.params)
            variables = variables._replace(params=params)
        network = variables, inner.init(variables.params)
        if whole is None:
            return network
        keys = jax.random.split(key_epochs, config.pretrain_epochs)
        return jax.lax.scan(lambda network, key: (trained(key, *network, whole), None), network, keys)[0]

    def init(key: Key, initial: SyntheticSet) -> IDCState:
        low, high = ends(initial.images)
        stored = (_stored(initial, task.num_classes, config.factor) - low) / (high - low)
        images = jnp.clip(stored, 0, 1).reshape(task.num_classes, -1, *task.image_shape)
        return IDCState(images, *begin(key), jnp.zeros((), int))

    def step(key: Key, state: IDCState, batch: PyTree) -> tuple[IDCState, IDCInfo]:
        key_network, key_match, key_train = jax.random.split(key, 3)
        vector = whole = None
        if config.pool_from is not None:
            batch, vector = batch
        if config.pretrain_epochs:
            batch, whole = batch
        by_class, anywhere = batch
        fresh = state.matched == 0
        variables, velocity = jax.lax.cond(
            fresh,
            lambda key, *_: begin(key, vector, whole),
            lambda _, *network: network,
            key_network, state.variables, state.velocity,
        )  # fmt: skip
        images = jnp.where(fresh, jnp.clip(state.images, 0, 1), state.images)
        distances, gradient = compared(key_match, variables, images, by_class.images)
        gradient = only_learned(gradient, config.update_share, task.num_classes)
        real = SyntheticSet(anywhere.images, jax.nn.one_hot(anywhere.labels, task.num_classes))
        variables, velocity = trained(key_train, variables, velocity, real)
        info = IDCInfo(jnp.sum(distances), optax.global_norm(gradient))  # pyright: ignore[reportArgumentType]
        return IDCState(
            images - rate * gradient, variables, velocity, (state.matched + 1) % config.matches_per_network
        ), info

    def synthetic(state: IDCState) -> SyntheticSet:
        low, high = ends(state.images)
        found = class_set(low + (high - low) * jnp.clip(state.images, 0, 1), config.factor)
        if config.factor > 1 and config.decode_type == "multi":
            found = dataclasses.replace(found, decode_type="multi")
        return marked(found, config.update_share)

    batches = -(-config.inner_real_images // config.inner_batch)
    feed = Both(ClassBalanced(config.real_batch), Uniform(batches * config.inner_batch))
    if config.pretrain_epochs:
        feed = Both(feed, Whole())
    if config.pool_from is not None:
        feed = WithExpert(feed, config.pool_from, config.pool_epochs)
    return standardised(Method(init, step, synthetic, feed, images_per_start=config.factor**2))


def _check(config: IDC, task: Task) -> None:
    if task.pixel_range is None:
        raise UsageError(
            "IDC works on pixels: give the task its pixel_range, which whitened images do not have (leave out `zca`)"
        )
    check(
        config,
        positive=("image_lr", "inner_lr"),
        momenta=("momentum", "inner_momentum"),
        not_negative=("inner_weight_decay", "pretrain_epochs") + ("pool_from",) * (config.pool_from is not None),
        shares=("cutmix",),
        counts=(
            "real_batch", "matches_per_network", "inner_real_images", "inner_batch", "factor", "max_tiles",
            "pool_epochs",
        ),
        choices={
            "distance": DISTANCES,
            "decode_type": get_args(DecodeType),
            "match": get_args(Matched),
        },
    )  # fmt: skip
    for factor in range(config.factor if config.decode_type == "single" else 1, config.factor + 1):
        tile_shape(*task.image_shape[:2], factor)

    def read(key: Key) -> tuple[list[Array], tuple[Array, ...]]:
        """Kernels and maps of the network, one of which has to be there."""
        variables = task.network.init(key)
        found = task.network.features(variables, jnp.zeros((1, *task.image_shape)))
        return gradients.kernels(variables.params), found.maps

    kernels, maps = jax.eval_shape(read, jax.random.key(0))
    if config.match == "gradient" and not kernels:
        raise UsageError("IDC matches gradients of convolution kernels, of which this network has none; take another")
    if config.match == "map" and not maps:
        raise UsageError("this network has no maps to be matched; choose another, or `match` its embedding")
    if config.pool_from is not None and task.network.couples_batch:
        raise UsageError(
            "a pool of experts has no running averages of batch normalisation, which IDC matches with; take a network "
            "with another `norm`, or leave `pool_from` out"
        )


def _stored(initial: SyntheticSet, num_classes: int, formation: int) -> Float[Array, "n h w c"]:
    """The images of a set of tiles; whole images become tiles."""
    tiles = formation**2 if initial.formation == 1 else 1
    if (
        initial.label_kind != "class"
        or initial.formation not in (1, formation)
        or initial.canvas != 1
        or initial.images.shape[0] % (num_classes * tiles)
    ):
        raise UsageError(
            f"start IDC with formation {formation} from a set of hard classes of that formation, or from whole images, "
            f"{formation**2} of a class for each one to be stored"
        )
    return encode_images(initial.images, formation) if tiles > 1 else initial.images
