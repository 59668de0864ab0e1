"""Matching training trajectories, MTT (Cazenavette et al., CVPR 2022, arXiv:2203.11932), algorithm 1.

Differs from the code: the step size cannot become negative (`unconstrained_lr` is the code's form); experts are drawn
anew each step, not file by file; the rest of a pass over the set that does not fill a batch is filled from the next
one, not a small batch; a canvas of a texture begins as real images side by side, which is what the code says before a
line that cannot run, so that there only noise is a start.
"""

from __future__ import annotations

import dataclasses

from jaxdistill.common.renamed import renamed
from jaxdistill.common.validate import check
from jaxdistill.data.trajectories import Segments
from jaxdistill.errors import UsageError
from jaxdistill.methods.partial_update import PartialUpdate
from jaxdistill.methods.trajectory_matching import match_trajectories
from jaxdistill.types import Method, Task

__all__ = ["MTT", "check_student", "mtt"]


@renamed(
    batch="syn_batch",
    rate="student_lr",
    rate_lr="student_lr_lr",
    raw_rate="unconstrained_lr",
    skip_above="max_loss",
    segments="num_segments",
)
@dataclasses.dataclass(frozen=True)
class MTT(PartialUpdate):
    """Train a student on the set from where an expert stood, and move the set so that it ends where the expert did."""

    student_steps: int = 30
    """Steps of the student on the set in each step of the set (N)."""
    expert_epochs: int = 2
    """Epochs of the expert that the student's steps stand for (M)."""
    max_start: int = 20
    """The student starts after fewer epochs of the expert than this (T)."""
    syn_batch: int | None = None
    """Images in a step of the student; None takes all of the set."""
    image_lr: float = 100.0
    """Step size on pixels; the loss is relative, so that its gradients are small."""
    student_lr_lr: float = 1e-5
    """Step size on the student's step size."""
    student_lr: float = 0.01
    """Step size of the student, to begin with; a set to start from that has learned one brings its own."""
    momentum: float = 0.5
    """Momentum of the SGD on pixels and on the student's step size."""
    unconstrained_lr: bool = False
    """Let the student's step size become negative, as in the code. By default a step that would take it to zero or
    below ends at a millionth of the first step size; all others are the code's."""
    max_loss: float | None = None
    """Leave everything as it is after a step whose loss is above this; None never does."""
    num_segments: int = 1
    """Pieces of experts' trajectories in a step, whose gradients are averaged; several devices take them side by
    side."""
    texture_canvas: int = dataclasses.field(default=1, kw_only=True)
    """Learn textures: each image is a canvas so many times as high and wide, and networks are trained on random windows
    that go on at the opposite border. 1 learns images."""
    texture_windows: int = dataclasses.field(default=1, kw_only=True)
    """Windows of each canvas in a step of the student, and in a batch where the set is judged."""


def check_student(config: MTT) -> None:
    """Look through the fields that the whole family has.

    Raises:
        UsageError: for the first one that is not what it should be.
    """
    positive = ("image_lr", "student_lr_lr", "student_lr")
    check(
        config,
        positive=(*positive, "max_loss") if config.max_loss is not None else positive,
        momenta=("momentum",),
        counts=(
            "student_steps",
            "expert_epochs",
            "max_start",
            "num_segments",
            "texture_canvas",
            "texture_windows",
            *(("syn_batch",) if config.syn_batch is not None else ()),
        ),
    )
    if config.texture_windows > 1 and config.texture_canvas == 1:
        raise UsageError("`texture_windows` are of canvases; give `texture_canvas` too, or leave it out")


def mtt(config: MTT, task: Task) -> Method:
    """Build MTT: the gradient goes through all of the student's steps, exactly, keeping its parameters at each.

    Args:
        config: how the student is trained and the set learns; `jaxdistill.presets.mtt` has the code's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> import jax
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = mtt(MTT(student_steps=2, max_start=2), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Cazenavette, Wang, Torralba, Efros & Zhu, Dataset Distillation by Matching Training Trajectories, CVPR 2022.
    """
    check_student(config)
    feed = Segments(config.expert_epochs, config.max_start, num_segments=config.num_segments)
    return match_trajectories(config, task, feed)
