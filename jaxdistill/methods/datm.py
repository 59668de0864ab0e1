"""Difficulty-aligned trajectory matching, DATM (Guo et al., ICLR 2024, arXiv:2310.05773), section 3.

MTT with starts out of a range of the experts' epochs that fits the size of the set and may grow, labels that are
learned as logits, and images to begin with that experts classify correctly. Experts are FTD's, trained for longer
(``jaxdistill experts --preset datm``).

Differs from the code: as MTT does; and labels of a start whose images have hard ones begin at a probability of 0.9.
"""

from __future__ import annotations

import dataclasses

from jaxdistill.common.renamed import former_names, renamed
from jaxdistill.common.validate import check
from jaxdistill.data.trajectories import Segments
from jaxdistill.methods.mtt import MTT, check_student
from jaxdistill.methods.trajectory_matching import match_trajectories
from jaxdistill.types import Method, Task

__all__ = ["DATM", "datm"]


@renamed(**former_names(MTT), first_bound="initial_max_start")
@dataclasses.dataclass(frozen=True)
class DATM(MTT):
    """MTT with starts of a difficulty that fits the size of the set, and learned soft labels."""

    max_start: int = 40
    """The student starts after fewer epochs of the expert than this in the last steps (T+)."""
    max_loss: float | None = 1.0
    """Leave everything as it is after a step whose loss is above this: the student ended farther than it began."""
    min_start: int = 0
    """The student starts after at least so many epochs of the expert (T-)."""
    initial_max_start: int = 20
    """The student starts after fewer epochs of the expert than this in the first step (T)."""
    grow_steps: int = 2000
    """Steps in which --initial-max-start grows to --max-start; with 0 it is that at once."""
    label_lr: float = 2.0
    """Step size on label logits."""
    label_momentum: float = 0.9
    """Momentum of the SGD on label logits."""
    transport: bool = True
    """Exact gradients; without it those of TESLA, of images, labels and step size alike, in memory that does not grow
    with the student's steps."""


def datm(config: DATM, task: Task) -> Method:
    """Build DATM: MTT whose feed draws starts of the wanted difficulty, and whose labels are learned too.

    Args:
        config: as MTT's, with the range of starts and the labels; `jaxdistill.presets.datm` has the code's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> import jax
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = datm(DATM(student_steps=2, max_start=2, grow_steps=0), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Guo et al., Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, ICLR 2024.
    """
    check_student(config)
    check(
        config,
        positive=("label_lr",),
        momenta=("label_momentum",),
        counts=("initial_max_start",) if config.grow_steps else (),
        not_negative=("min_start", "grow_steps"),
    )
    feed = Segments(
        config.expert_epochs,
        config.max_start,
        min_start=config.min_start,
        initial_max_start=config.initial_max_start,
        grow_steps=config.grow_steps,
        num_segments=config.num_segments,
    )
    return match_trajectories(
        config,
        task,
        feed,
        transport=config.transport,
        label_lr=config.label_lr,
        label_momentum=config.label_momentum,
    )
