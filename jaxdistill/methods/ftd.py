"""Flat trajectory distillation, FTD (Du et al., CVPR 2023, arXiv:2211.11004), section 3.

MTT with experts that were trained towards flat minima (``jaxdistill experts --preset ftd``), and with a moving average
of the images as the result.

Differs from the code: as MTT does; and the average is judged by fresh networks, not by ones that were first trained on
the images themselves.
"""

from __future__ import annotations

import dataclasses

from jaxdistill.common.renamed import former_names, renamed
from jaxdistill.common.validate import check
from jaxdistill.data.trajectories import Segments
from jaxdistill.errors import UsageError
from jaxdistill.methods.mtt import MTT, check_student
from jaxdistill.methods.trajectory_matching import match_trajectories
from jaxdistill.types import Method, Task

__all__ = ["FTD", "ftd"]


@renamed(**former_names(MTT), average="ema_decay")
@dataclasses.dataclass(frozen=True)
class FTD(MTT):
    """MTT for flat experts, whose result is a moving average of the images."""

    ema_decay: float | None = 0.9995
    """Decay of the moving average of the images, which starts at the first ones and is not corrected for that unless
    by `ema_correction`; None takes the images."""
    ema_correction: bool = False
    """Correct the average for its start: the first images leave it, and its weights are divided by their sum."""


def ftd(config: FTD, task: Task) -> Method:
    """Build FTD: MTT with an average; the flatness is the experts'.

    Args:
        config: as MTT's, and the average; `jaxdistill.presets.ftd` has the paper's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> import jax
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = ftd(FTD(student_steps=2, max_start=2), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Du, Jiang, Tan, Zhou & Li, Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation, CVPR
        2023.
    """
    check_student(config)
    averaged = () if config.ema_decay is None else ("ema_decay",)
    if config.ema_correction and not averaged:
        raise UsageError("`ema_correction` is of an average; give `ema_decay`, or leave it out")
    check(config, shares=averaged, momenta=averaged if config.ema_correction else ())
    feed = Segments(config.expert_epochs, config.max_start, num_segments=config.num_segments)
    return match_trajectories(config, task, feed, average=config.ema_decay, correct_average=config.ema_correction)
