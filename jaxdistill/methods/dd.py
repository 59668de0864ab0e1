"""Dataset distillation, DD (Wang, Zhu, Torralba & Efros, 2018, arXiv:1811.10959), algorithm 1.

Networks begin afresh, from one start (`network_seed`), or as experts that were trained before, on the data themselves
or on others that the set then adapts them to (`pretrained`; section 3.4); the outer loss may take one class for another
(`attack_class`; section 3.5).

Differs from the paper's code: real batches are drawn anew each time, not epoch by epoch; very long gradients can be
shortened (`max_grad_norm`), since a single one would stall Adam for a thousand steps; labels can be learned too
(Sucholutsky & Schonlau, IJCNN 2021, arXiv:1910.02551); networks that are adapted see images as they saw those they were
trained on, where the code normalises each data set by its own constants; experts with batch normalisation are refused,
as there; two classes have two outputs, not one; AlexNet with ImageNet's weights is left out.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from jaxdistill.common.attack import Attack
from jaxdistill.common.promotion import standardised
from jaxdistill.common.renamed import renamed
from jaxdistill.common.sets import by_class, class_set, soft_logits
from jaxdistill.common.validate import check
from jaxdistill.data.feeds import Uniform
from jaxdistill.data.trajectories import Begun, WithNetworks, unflatten
from jaxdistill.errors import UsageError
from jaxdistill.losses.classification import sample_losses
from jaxdistill.methods.partial_update import PartialUpdate, marked, only_learned
from jaxdistill.training.gradients import training_gradient
from jaxdistill.training.unroll import train_in_order
from jaxdistill.types import Batch, Key, Method, Network, PyTree, SyntheticSet, Task, Variables

__all__ = ["DD", "DDInfo", "DDState", "Learned", "as_set", "dd", "outer_gradient"]


@renamed(
    decay="lr_decay",
    decay_steps="lr_decay_steps",
    clip="max_grad_norm",
    network_lr="student_lr",
    epochs="inner_epochs",
    per_step="images_per_step",
    batch="real_batch",
    networks="num_networks",
)
@dataclasses.dataclass(frozen=True)
class DD(PartialUpdate):
    """Learn images, and a step size for each step, such that a network trained on them in order fits real data."""

    image_lr: float = 0.01
    """Adam's step size on pixels, on step sizes before the softplus, and on label logits."""
    lr_decay: float = 0.5
    """Factor of --image-lr after every --lr-decay-steps."""
    lr_decay_steps: int = 2360
    """Steps between two reductions of --image-lr; the code's are 40 epochs of 1,024 images at a time, here of MNIST."""
    max_grad_norm: float | None = 10.0
    """Longest gradient, of all that is learned together; None, as in the code, is no limit."""
    student_lr: float = 0.02
    """Step sizes with which a network is trained on the set, to begin with."""
    inner_epochs: int = 3
    """How often a network goes through the images; each step of each time has a step size of its own."""
    images_per_step: int = 1
    """Images of each class in a step of the network; a divisor of the images per class."""
    real_batch: int = 1024
    """Real images in each step of the set."""
    num_networks: int = 1
    """Networks in each step of the set, whose gradients are averaged."""
    learn_labels: bool = False
    """Learn the labels too, as logits that start at 0.9 for the class."""
    pretrained: bool = False
    """Begin networks as experts (--experts), --num-networks of them drawn anew for each step, and not afresh. The set
    is then judged on experts that it has not seen: those after the first --expert-count, where there are more."""
    pool_epoch: int | None = None
    """With --pretrained, the epoch after which the experts are taken; 0 is where they began, None the last."""
    attack_class: int | None = None
    """Number of a class, from 0, that networks shall take for --target-class after training on the set: the paper's
    malicious attack."""
    target_class: int | None = None
    """Number of the class that --attack-class is to be taken for."""


class Learned(NamedTuple):
    """What Adam moves."""

    images: Float[Array, "classes ipc h w c"]
    raw_rates: Float[Array, "epochs steps"]
    """The step sizes are their softplus, which is positive."""
    logits: Float[Array, "n classes"] | None
    """None unless labels are learned."""


class DDState(NamedTuple):
    """Images, step sizes and labels, and what their optimiser remembers."""

    learned: Learned
    opt_state: optax.OptState


class DDInfo(NamedTuple):
    """How well networks do that were trained on the set."""

    loss: Float[Array, ""]
    """Cross-entropy of the real batch after training on the set, averaged over networks."""
    accuracy: Float[Array, ""]
    """Share of the real batch that is then classified correctly."""
    grad_norm: Float[Array, ""]
    step_size: Float[Array, ""]
    """Mean of the learned ones."""


def as_set(learned: Learned) -> SyntheticSet:
    """The set that is learned."""
    hard = class_set(learned.images)
    labels, kind = (hard.labels, "class") if learned.logits is None else (learned.logits, "logit")
    return dataclasses.replace(hard, labels=labels, label_kind=kind, learning_rate=jax.nn.softplus(learned.raw_rates))


def outer_gradient(
    network: Network,
    variables: Variables,
    learned: Learned,
    real: Float[Array, "b h w c"],
    labels: Float[Array, "b classes"],
) -> tuple[Float[Array, ""], Float[Array, ""], Learned]:
    """Loss and accuracy on real images after training on the set, and the loss's gradient in all that is learned.

    Reverse mode through all steps, but in two parts: the real images, of which there are many, are gone through in
    chunks for the gradient at the trained weights, and only that is pulled back through the training.

    Args:
        network: batch normalisation uses, on real images, the running averages that training left.
        variables: where training starts.
        learned: the set.
        real: constant.
        labels: one-hot.
    """

    def trained_on(learned: Learned) -> Variables:
        return train_in_order(network, variables, as_set(learned), jax.nn.softplus(learned.raw_rates))

    trained, pull_back = jax.vjp(trained_on, learned)
    found = training_gradient(network, trained, real, labels, "class", train=False)
    # No cotangent for the running averages: the networks let no gradient through them.
    (gradient,) = pull_back(Variables(found.gradient, jax.tree.map(jnp.zeros_like, trained.statistics)))
    accuracy = jnp.mean(jnp.argmax(found.logits, -1) == jnp.argmax(labels, -1))
    return jnp.mean(sample_losses(found.logits, labels, "class")), accuracy, gradient


def dd(config: DD, task: Task) -> Method:
    """Build DD: each step trains a fresh network on the set, and moves the set down the real images' loss.

    Args:
        config: step sizes and loops; `jaxdistill.presets.dd` has the code's.
        task: network, augmentation of the real images and shapes. A network whose ``init`` is constant
            (``network_seed`` of `jaxdistill.networks.make`) makes this the paper's fixed initialisation. With
            `pretrained` a step's batch is a `jaxdistill.data.trajectories.Begun`.

    Example:
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = dd(DD(real_batch=16, image_lr=0.1), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Wang, Zhu, Torralba & Efros, Dataset Distillation, arXiv:1811.10959.
    """
    limits = () if config.max_grad_norm is None else ("max_grad_norm",)
    check(
        config,
        positive=("image_lr", "lr_decay", "student_lr", *limits),
        counts=("lr_decay_steps", "inner_epochs", "images_per_step", "real_batch", "num_networks"),
    )
    attack = _attack(config, task.num_classes)
    _check_pool(config, task.network)
    rate = optax.exponential_decay(config.image_lr, config.lr_decay_steps, config.lr_decay, staircase=True)
    shorten = optax.identity() if config.max_grad_norm is None else optax.clip_by_global_norm(config.max_grad_norm)
    optimiser = optax.chain(shorten, optax.adam(rate, b1=0.5))

    def as_network(start: Float[Array, " p"]) -> Variables:
        like = jax.eval_shape(task.network.init, jax.random.key(0))
        return Variables(unflatten(start, like.params), like.statistics)

    def init(key: Key, initial: SyntheticSet) -> DDState:
        del key
        logits = None
        if config.learn_labels and initial.label_kind == "logit":
            logits, initial = initial.labels, dataclasses.replace(initial, label_kind="class")
        elif config.learn_labels:
            logits = soft_logits(initial.labels)
        elif initial.label_kind == "logit":
            raise UsageError("this set has learned labels; set `learn_labels` to go on from it")
        images = by_class(initial, task.num_classes)
        learned = Learned(images, _raw_rates(config, initial, images.shape[1]), logits)
        return DDState(learned, optimiser.init(learned))  # pyright: ignore[reportArgumentType]

    def step(key: Key, state: DDState, batch: Batch | Begun) -> tuple[DDState, DDInfo]:
        key_augment, key_networks = jax.random.split(key)
        # Networks take the place of classes: they are spread over devices in the same way.
        if isinstance(batch, Begun):
            examples, starts, begin = batch.real, batch.starts, as_network
        else:
            examples, starts, begin = batch, jax.random.split(key_networks, config.num_networks), task.network.init
        real = task.augment(key_augment, examples.images, siamese=False)
        wanted = examples.labels if attack is None else attack.relabelled(examples.labels)
        labels = jax.nn.one_hot(wanted, task.num_classes, dtype=real.dtype)

        def one(start: Array, learned: Learned, real: Array, labels: Array) -> PyTree:
            return outer_gradient(task.network, begin(start), learned, real, labels)

        found = task.map_classes(one, starts, state.learned, real, labels)
        loss, accuracy, gradient = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), found)
        by_images = only_learned(gradient.images, config.update_share, task.num_classes)
        gradient = gradient._replace(images=by_images)
        updates, opt_state = optimiser.update(gradient, state.opt_state)
        learned = jax.tree.map(jnp.add, state.learned, updates)
        step_size = jnp.mean(jax.nn.softplus(state.learned.raw_rates))
        info = DDInfo(loss, accuracy, optax.global_norm(gradient), step_size)  # pyright: ignore[reportArgumentType]
        return DDState(learned, opt_state), info  # pyright: ignore[reportArgumentType]

    def synthetic(state: DDState) -> SyntheticSet:
        return marked(as_set(state.learned), config.update_share)

    feed = Uniform(config.real_batch)
    if config.pretrained:
        feed = WithNetworks(feed, config.num_networks, -1 if config.pool_epoch is None else config.pool_epoch)
    return standardised(Method(init, step, synthetic, feed))


def _attack(config: DD, num_classes: int) -> Attack | None:
    """Which class shall be taken for which; None where none is."""
    pair = config.attack_class, config.target_class
    if pair == (None, None):
        return None
    if None in pair or pair[0] == pair[1] or not {*pair} <= {*range(num_classes)}:
        raise UsageError(
            f"`attack_class` and `target_class` of DD are two different classes from 0 to {num_classes - 1}, not "
            f"{pair[0]} and {pair[1]}; give both, or neither"
        )
    return Attack(*pair)  # pyright: ignore[reportArgumentType]


def _check_pool(config: DD, network: Network) -> None:
    if config.pool_epoch is not None and (config.pool_epoch < 0 or not config.pretrained):
        raise UsageError(
            f"`pool_epoch` of DD is an epoch of experts from 0, with `pretrained`, not {config.pool_epoch}; leave it "
            "out for the last, or for fresh networks"
        )
    if config.pretrained and jax.tree.leaves(jax.eval_shape(network.init, jax.random.key(0)).statistics):
        raise UsageError(
            "networks that begin as experts (`pretrained`) have no batch normalisation, whose averages are not drawn "
            "with them; take experts with another `norm`"
        )


def _raw_rates(config: DD, initial: SyntheticSet, ipc: int) -> Float[Array, "epochs steps"]:
    """What has the first step sizes as its softplus: those of the set, or the same one for each step."""
    if ipc % config.images_per_step:
        raise UsageError(
            f"{ipc} images per class cannot be shared out, {config.images_per_step} a step; let `images_per_step` "
            "divide them"
        )
    shape = (config.inner_epochs, ipc // config.images_per_step)
    given = initial.learning_rate
    if given is None:
        given = jnp.asarray(config.student_lr, initial.images.dtype)
    if given.shape not in ((), shape):
        raise UsageError(
            f"the set to start from has step sizes for {' x '.join(map(str, given.shape))} epochs and steps, not "
            f"{shape[0]} x {shape[1]}; choose `inner_epochs` and `images_per_step` to fit"
        )
    # Other methods may have learned one that is not positive; at a tiny one the softplus has no slope to leave it by.
    rates = jnp.broadcast_to(jnp.where(given > 0, given, config.student_lr), shape)
    return rates + jnp.log(-jnp.expm1(-rates))
