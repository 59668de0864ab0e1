"""What the trajectory matching methods share: one step of the set towards what experts did on real data.

A student starts where an expert stood after some epochs, is trained on the set for a few steps, and is to end where
the expert stood some epochs later (MTT, Cazenavette et al., CVPR 2022, arXiv:2203.11932, eq. 2 and algorithm 1). The
methods of the family are `match_trajectories` with different parts.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.augment.canvas import as_canvases, random_windows
from jaxdistill.common.promotion import standardised
from jaxdistill.common.sets import by_class, class_set, soft_logits
from jaxdistill.data.trajectories import Segment, Segments, unflatten
from jaxdistill.errors import UsageError
from jaxdistill.methods.partial_update import kept_count, marked
from jaxdistill.training.inference import predict
from jaxdistill.training.unroll import unroll
from jaxdistill.types import Augment, Key, LabelKind, Method, PyTree, SyntheticSet, Task, Variables

__all__ = [
    "Learned",
    "Student",
    "TrajectoryInfo",
    "TrajectoryState",
    "distance",
    "match_trajectories",
    "minibatches",
    "student_loss",
]

_LEAST = 1e-6
"""The least that a step size kept positive can be of its first value."""


class Learned(NamedTuple):
    """What gradients move."""

    images: Float[Array, "classes ipc h w c"]
    rate: Float[Array, ""]
    """The student's step size."""
    logits: Float[Array, "n classes"] | None
    """Labels; None unless they are learned."""


class TrajectoryState(NamedTuple):
    """What is learned, its momentum, and what else the student is trained on."""

    learned: Learned
    velocity: Learned
    frozen: Float[Array, "classes _kept h w c"] | None
    """Images that stand before the learned ones of their class and never change."""
    average: Float[Array, "classes ipc h w c"] | None
    """Moving average of the learned images."""
    averaged: Int[Array, ""] | None
    """Steps in that average; None unless it is corrected for its start."""
    labels: Float[Array, "n classes"] | None
    """Probabilities that an expert gave the images in the last step."""


class TrajectoryInfo(NamedTuple):
    """How near the student came to the expert, and with which step size."""

    loss: Float[Array, ""]
    """Squared distance of the student's end from the target, over that of its start: below 1 it came nearer."""
    grad_norm: Float[Array, ""]
    """Of the images' gradient."""
    step_size: Float[Array, ""]
    """Of the student; learned."""
    applied: Float[Array, ""]
    """1, or 0 for a step that changed nothing because its loss was too high, or no number."""


def minibatches(key: Key, n: int, batch: int, steps: int) -> Int[Array, "steps b"]:
    """Batches of shuffled passes over n images, one after the other; everything in each where `batch` is not smaller.

    A batch that a pass cannot fill takes the rest from the next, so that all have one size.

    Args:
        key: of the shuffles.
        n: images that there are.
        batch: images in each batch.
        steps: batches.
    """
    if batch >= n:
        return jnp.broadcast_to(jnp.arange(n), (steps, n))
    passes = jax.random.split(key, -(-steps * batch // n))
    order = jax.vmap(lambda key: jax.random.permutation(key, n))(passes)
    return order.reshape(-1)[: steps * batch].reshape(steps, batch)


def distance(end: PyTree, start: PyTree, target: PyTree) -> Float[Array, ""]:
    """``|end - target|^2 / |start - target|^2`` over all parameters (MTT, eq. 2).

    Args:
        end: where the student came to.
        start: where it began, with the expert.
        target: where the expert came to.
    """

    def squared(one: PyTree) -> Float[Array, ""]:
        apart = jax.tree.map(lambda a, b: jnp.sum((a - b) ** 2), one, target)
        return sum(jax.tree.leaves(apart), jnp.zeros(()))

    return squared(end) / squared(start)


class Student(NamedTuple):
    """A network that is trained on the set from where an expert stood, and what belongs to its training alone."""

    start: Variables
    target: PyTree
    """Parameters where it is to end."""
    labels: Float[Array, "n classes"]
    """Of the images, unless labels are learned."""
    plan: Int[Array, "steps b"]
    """Images of each step."""
    keys: Key
    """Of each step."""


def student_loss(
    learned: Learned, frozen: Array | None, student: Student, task: Task, kind: LabelKind, *, transport: bool = True
) -> Float[Array, ""]:
    """The `distance` that is left after a student's training, as a function of the set.

    Args:
        learned: images, step size and labels.
        frozen: images before them; see `TrajectoryState`.
        student: where it begins, and where it is to end.
        task: network and augmentation.
        kind: of the labels.
        transport: see `match_trajectories`.
    """
    end = unroll(
        task.network, student.start, _all_images(learned.images, frozen),
        student.labels if learned.logits is None else learned.logits, kind, student.plan,
        jnp.broadcast_to(learned.rate, student.plan.shape[:1]),
        augment=task.augment, keys=student.keys, transport=transport,
    )  # fmt: skip
    return distance(end.params, student.start.params, student.target)


def match_trajectories(
    config: Any,
    task: Task,
    feed: Segments,
    *,
    transport: bool = True,
    average: float | None = None,
    correct_average: bool = False,
    label_lr: float | None = None,
    label_momentum: float = 0.0,
    teacher_labels: bool = False,
) -> Method:
    """Build a method of the family.

    Args:
        config: of MTT's class, which says how the student is trained and with which step sizes the set learns.
        task: network, augmentation and shapes.
        feed: which segments of trajectories; several are matched side by side and their gradients averaged.
        transport: whether gradients are exact (`jaxdistill.training.unroll.unroll`).
        average: decay of a moving average of the images, which is then what is read out.
        correct_average: divide that by its weights, which leaves the first images out.
        label_lr: step size of learned labels; None keeps hard ones.
        label_momentum: of those.
        teacher_labels: label the images anew in each step, by the expert at the segment's end.
    """
    if label_lr is not None and teacher_labels:
        raise UsageError("labels are learned or given by a teacher; choose one of `label_lr` and `teacher_labels`")
    canvas = config.texture_canvas
    if canvas > 1 and teacher_labels:
        raise UsageError("a teacher labels no canvases; leave `texture_canvas` or `teacher_labels` out")
    if canvas > 1 and task.pixel_range is None:
        raise UsageError(
            "textures are of images that are not whitened, where a pixel has no place of its own: give the task its "
            "pixel_range (leave out `zca`), and experts of such images"
        )
    shown = task if canvas == 1 else dataclasses.replace(task, augment=_of_windows(task))
    kind: LabelKind = "logit" if label_lr is not None else "probability" if teacher_labels else "class"
    shapes = jax.eval_shape(task.network.init, jax.random.key(0))
    # In training, batch normalisation looks at the batch alone: running averages are carried and not used.
    statistics = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes.statistics)
    speeds: tuple[Any, ...] = (config.image_lr, config.student_lr_lr, label_lr)
    inertias: tuple[Any, ...] = (config.momentum, config.momentum, None if label_lr is None else label_momentum)
    rates, momenta = Learned(*speeds), Learned(*inertias)

    def init(key: Key, initial: SyntheticSet) -> TrajectoryState:
        del key
        initial, logits, labels = _learned_as(initial, canvas, task.num_classes), None, None
        if kind == "logit":
            logits = initial.labels if initial.label_kind == "logit" else soft_logits(initial.labels)
        elif kind == "probability":
            labels = initial.labels
        if initial.label_kind in ("class", kind):
            initial = dataclasses.replace(initial, label_kind="class")
        images = by_class(initial, task.num_classes)
        kept = kept_count(config.update_share, images.shape[1])
        rate = jnp.asarray(config.student_lr, images.dtype)
        if initial.learning_rate is not None:
            rate = initial.learning_rate.reshape(-1)[0]
        if not config.unconstrained_lr:  # others may have learned one that is not positive
            rate = jnp.where(rate > 0, rate, config.student_lr)
        learned = Learned(images[:, kept:], rate, logits)
        return TrajectoryState(
            learned,
            jax.tree.map(jnp.zeros_like, learned),
            images[:, :kept] if kept else None,
            None if average is None else learned.images,
            jnp.asarray(0) if correct_average else None,
            labels,
        )

    def begin(key: Key, segment: Segment, images: Float[Array, "n h w c"]) -> Student:
        key_plan, key_augment = jax.random.split(key)
        start, target = (unflatten(jnp.asarray(vector), shapes.params) for vector in segment)
        n = images.shape[0]
        if kind == "probability":
            labels = _expert_labels(task, Variables(target, statistics), images)
        else:
            labels = jnp.repeat(jnp.eye(task.num_classes, dtype=images.dtype), n // task.num_classes, axis=0)
        plan = minibatches(key_plan, n, config.syn_batch or n, config.student_steps)
        plan = jnp.tile(plan, (1, config.texture_windows))
        keys = jax.random.split(key_augment, config.student_steps)
        return Student(Variables(start, statistics), target, labels, plan, keys)

    def one(entry: tuple[Key, Segment], learned: Learned, frozen: Array | None) -> tuple[Array, Learned, Array]:
        student = begin(*entry, _all_images(learned.images, frozen))
        value, gradient = jax.value_and_grad(student_loss)(learned, frozen, student, shown, kind, transport=transport)
        return value, gradient, student.labels

    def step(key: Key, state: TrajectoryState, batch: Segment) -> tuple[TrajectoryState, TrajectoryInfo]:
        keys = jax.random.split(key, feed.num_segments)
        # Segments take the place of classes: they are spread over devices in the same way.
        losses, gradients, labels = task.map_classes(one, (keys, batch), state.learned, state.frozen)
        loss, gradient = jax.tree.map(lambda leaf: jnp.mean(leaf, axis=0), (losses, gradients))
        velocity = jax.tree.map(lambda m, v, g: m * v + g, momenta, state.velocity, gradient)
        learned = jax.tree.map(lambda rate, x, v: x - rate * v, rates, state.learned, velocity)
        if not config.unconstrained_lr:
            # A projection, and no function of a free variable: the rate often ends at twenty times its first value,
            # where the slope of one that fits there (an exponential, a softplus) would make its steps as many times
            # longer squared, and unstable.
            learned = learned._replace(rate=jnp.maximum(learned.rate, _LEAST * config.student_lr))
        smooth, averaged = state.average, state.averaged
        if average is not None and smooth is not None and averaged is not None:
            averaged = averaged + 1
            share = _share_of_last(average, averaged).astype(smooth.dtype)
            smooth = (1 - share) * smooth + share * learned.images
        elif average is not None and smooth is not None:
            smooth = average * smooth + (1 - average) * learned.images
        applied = loss <= (jnp.inf if config.max_loss is None else config.max_loss)
        labels = labels[-1] if kind == "probability" else None
        moved = TrajectoryState(learned, velocity, state.frozen, smooth, averaged, labels)
        moved = jax.tree.map(lambda new, old: jnp.where(applied, new, old), moved, state)
        norm = optax.global_norm(gradient.images)
        # Without a limit no step is left out on purpose, and one whose loss is NaN ends the run.
        said = jnp.float32(1 if config.max_loss is None else applied)  # pyright: ignore
        return moved, TrajectoryInfo(loss, norm, state.learned.rate, said)

    def synthetic(state: TrajectoryState) -> SyntheticSet:
        images = state.learned.images if state.average is None else state.average
        found = class_set(_all_images(images, state.frozen).reshape(task.num_classes, -1, *images.shape[2:]))
        labels = {"class": found.labels, "probability": state.labels, "logit": state.learned.logits}[kind]
        found = dataclasses.replace(found, labels=labels, label_kind=kind, learning_rate=state.learned.rate)
        if canvas > 1:
            found = dataclasses.replace(found, canvas=canvas, windows=config.texture_windows)
        return marked(found, config.update_share)

    return standardised(Method(init, step, synthetic, feed, images_per_start=canvas**2))


def _all_images(images: Float[Array, "classes ipc h w c"], frozen: Array | None) -> Float[Array, "n h w c"]:
    """Those that never change and those that are learned, class by class."""
    both = images if frozen is None else jnp.concatenate([frozen, images], axis=1)
    return both.reshape(-1, *both.shape[2:])


def _learned_as(initial: SyntheticSet, canvas: int, num_classes: int) -> SyntheticSet:
    """A start whose images are those that are learned: canvases, or images side by side, whose labels are averaged."""
    if canvas == 1:
        return initial
    if initial.canvas == canvas:
        return dataclasses.replace(initial, canvas=1, windows=1)
    if initial.tiles != 1 or initial.count % (num_classes * canvas**2):
        raise UsageError(
            f"start textures from canvases of `texture_canvas` {canvas}, or from whole images, {canvas**2} of a class "
            "for each canvas"
        )
    labels = initial.labels.reshape(-1, canvas**2, num_classes).mean(axis=1)
    images = as_canvases(jnp.asarray(initial.images), canvas)
    return SyntheticSet(images, labels, initial.label_kind, learning_rate=initial.learning_rate)


def _of_windows(task: Task) -> Augment:
    """The task's augmentation, of a random window of each canvas."""

    def shown(key: Key, images: Float[Array, "n _h _w c"], siamese: bool) -> Float[Array, "n h w c"]:
        key_window, key_augment = jax.random.split(key)
        return task.augment(key_augment, random_windows(key_window, images, task.image_shape[:2]), siamese=siamese)

    return shown


def _share_of_last(decay: float, steps: Int[Array, ""]) -> Float[Array, ""]:
    """Of the newest value in a moving average whose weights, ``decay**age``, are divided by their sum."""
    return (1 - decay) / -jnp.expm1(steps * (math.log(decay) if decay else -math.inf))


def _expert_labels(task: Task, variables: Variables, images: Float[Array, "n h w c"]) -> Float[Array, "n classes"]:
    """Probabilities that a network gives images as they are; batch normalisation looks at all of them."""
    if task.network.couples_batch:
        return jax.nn.softmax(task.network.apply(variables, images, train=True)[0])
    return jax.nn.softmax(predict(task.network, variables, images))
