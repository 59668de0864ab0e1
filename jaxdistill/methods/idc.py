"""Gradient matching of stored tiles, IDC (Kim et al., ICML 2022, arXiv:2205.14959); IDC-I without tiles.

Differs from the code: the classes of a sweep are done at once (see `idc`); batch normalisation matches with running
averages, not with the statistics of one class; real images are drawn anew for each sweep, not epoch by epoch; starts
are random images, not the first ones of each class; pixels are clipped at the start and on reading out as well. Sets
of tiles of several sizes and training before the first match are left out, and with them ImageNet's cells, whose
ResNetAP-10 and data are not here.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.augment import make as augmentation
from jaxdistill.augment.formation import encode_images, some_tiles, tile_shape
from jaxdistill.augment.transform import Augmented
from jaxdistill.common.promotion import standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.common.sets import class_set
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import Both, ClassBalanced, Uniform
from jaxdistill.errors import UsageError
from jaxdistill.losses import gradients
from jaxdistill.methods.matching import match_gradients
from jaxdistill.methods.partial_update import PartialUpdate, marked, only_learned
from jaxdistill.training.sgd import epoch, sgd
from jaxdistill.types import Batch, Key, Method, PyTree, SyntheticSet, Task, Variables

__all__ = ["IDC", "IDCInfo", "IDCState", "idc"]

Metric: TypeAlias = Literal["mse", "l1", "l1_mean", "cos"]


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
        tiles = some_tiles(key, images, config.factor, config.max_tiles, fill=0.5)
        return low + (high - low) * tiles  # pyright: ignore[reportReturnType]

    def begin(key: Key, *_: PyTree) -> tuple[Variables, PyTree]:
        variables = task.network.init(key)
        return variables, inner.init(variables.params)

    def init(key: Key, initial: SyntheticSet) -> IDCState:
        low, high = ends(initial.images)
        stored = (_stored(initial, task.num_classes, config.factor) - low) / (high - low)
        images = jnp.clip(stored, 0, 1).reshape(task.num_classes, -1, *task.image_shape)
        return IDCState(images, *begin(key), jnp.zeros((), int))

    def step(key: Key, state: IDCState, batch: tuple[Batch, Batch]) -> tuple[IDCState, IDCInfo]:
        key_network, key_match, key_train = jax.random.split(key, 3)
        by_class, anywhere = batch
        fresh = state.matched == 0
        variables, velocity = jax.lax.cond(
            fresh, begin, lambda _, *network: network, key_network, state.variables, state.velocity
        )
        images = jnp.where(fresh, jnp.clip(state.images, 0, 1), state.images)
        distances, gradient = match_gradients(key_match, task, variables, images, by_class.images, distance, view)
        gradient = only_learned(gradient, config.update_share, task.num_classes)
        real = SyntheticSet(anywhere.images, jax.nn.one_hot(anywhere.labels, task.num_classes))
        variables, velocity, _ = epoch(
            key_train,
            task.network,
            variables,
            velocity,
            real,
            optimizer=inner,
            batch=config.inner_batch,
            transform=shown,
        )
        info = IDCInfo(jnp.sum(distances), optax.global_norm(gradient))  # pyright: ignore[reportArgumentType]
        return IDCState(
            images - rate * gradient, variables, velocity, (state.matched + 1) % config.matches_per_network
        ), info

    def synthetic(state: IDCState) -> SyntheticSet:
        low, high = ends(state.images)
        found = class_set(low + (high - low) * jnp.clip(state.images, 0, 1), config.factor)
        return marked(found, config.update_share)

    batches = -(-config.inner_real_images // config.inner_batch)
    feed = Both(ClassBalanced(config.real_batch), Uniform(batches * config.inner_batch))
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
        not_negative=("inner_weight_decay",),
        shares=("cutmix",),
        counts=("real_batch", "matches_per_network", "inner_real_images", "inner_batch", "factor", "max_tiles"),
        choices={"distance": DISTANCES},
    )
    tile_shape(*task.image_shape[:2], config.factor)
    if not jax.eval_shape(lambda key: gradients.kernels(task.network.init(key).params), jax.random.key(0)):
        raise UsageError("IDC matches gradients of convolution kernels, of which this network has none; take another")


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
