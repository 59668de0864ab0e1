"""Trajectory matching in constant memory, TESLA (Cui et al., ICML 2023, arXiv:2211.10586), algorithm 1.

MTT with an approximate gradient: each of the student's training gradients is differentiated as if its parameters did
not depend on the images of earlier steps. The paper calls that exact; what is dropped is the transport of the end's
distance back through the Hessians, so that images come out nearly right while the student's step size is small, and
the step size itself less so (`tests/test_trajectories.py` has figures). Prefer `MTT` unless the student's parameters
at each step do not fit the memory.

Differs from the code: as MTT does; and its factor of 2, which repeats a tuple there, doubles the gradient here, so that
the code's pixels move half as far at the same step size.
"""

from __future__ import annotations

import dataclasses

from jaxdistill.common.renamed import former_names, renamed
from jaxdistill.data.trajectories import Segments
from jaxdistill.methods.mtt import MTT, check_student
from jaxdistill.methods.trajectory_matching import match_trajectories
from jaxdistill.types import Method, Task

__all__ = ["TESLA", "tesla"]


@renamed(**former_names(MTT))
@dataclasses.dataclass(frozen=True)
class TESLA(MTT):
    """MTT with parameters held constant between the student's steps when the gradient is taken."""

    teacher_labels: bool = False
    """Label the images anew in each step, by the expert at the segment's end: for many classes."""


def tesla(config: TESLA, task: Task) -> Method:
    """Build TESLA: MTT whose memory does not grow with the student's steps, and whose gradient is approximate.

    Args:
        config: as MTT's, and who labels the images; `jaxdistill.presets.tesla` has the code's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> import jax
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = tesla(TESLA(student_steps=2, max_start=2), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start()), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Cui, Wang, Si & Hsieh, Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023.
    """
    check_student(config)
    feed = Segments(config.expert_epochs, config.max_start, num_segments=config.num_segments)
    return match_trajectories(config, task, feed, transport=False, teacher_labels=config.teacher_labels)
