"""Selection and trajectory matching, SelMatch (Lee & Chung, ICML 2024, arXiv:2406.18561), section 4.

MTT of which only a share of the images moves: the set starts as a window of real images, neither the hardest nor the
easiest of their class (``--init cscore --beta 0.3``); its harder part is kept as it is and its easier part is learned.
Experts have batch normalisation and no augmentation (``jaxdistill experts --preset selmatch``).

Differs from the code: as MTT does; and the window starts at a share of the class, as in the paper, not at a share of
the images per class (``--window-start ipc_fraction``); crops of Tiny-ImageNet's selected images go up to an eighth of
the side, as for CIFAR, not 4 pixels.
"""

from __future__ import annotations

import dataclasses

from jaxdistill.common.renamed import former_names, renamed
from jaxdistill.data.trajectories import Segments
from jaxdistill.methods.mtt import MTT, check_student
from jaxdistill.methods.trajectory_matching import match_trajectories
from jaxdistill.types import Method, Task

__all__ = ["SelMatch", "selmatch"]


@renamed(**former_names(MTT), alpha="update_share")
@dataclasses.dataclass(frozen=True)
class SelMatch(MTT):
    """MTT that learns some images of each class and keeps the others, real ones, as they are."""

    update_share: float = dataclasses.field(default=0.5, kw_only=True)
    """Share of the images of each class that is learned: the last ones of the start, which are the easier ones of its
    window, rounded down, at least one unless it is 0. The others never change."""


def selmatch(config: SelMatch, task: Task) -> Method:
    """Build SelMatch: MTT on the last images of each class, all of which the student is trained on.

    Args:
        config: as MTT's, and the share that is learned; `jaxdistill.presets.selmatch` has the paper's settings.
        task: the experts' network, augmentation of the student's batches, and shapes.

    Example:
        >>> import jax
        >>> from jaxdistill.testing import toy_batch, toy_start, toy_task
        >>> method = selmatch(SelMatch(student_steps=2, max_start=2), toy_task())
        >>> step, batch = jax.jit(method.step), toy_batch(method)
        >>> state, first = step(jax.random.key(1), method.init(jax.random.key(0), toy_start(2)), batch)
        >>> state, second = step(jax.random.key(1), state, batch)  # the same draws
        >>> bool(second.loss < first.loss)
        True

    References:
        Lee & Chung, SelMatch: Effectively Scaling Up Dataset Distillation via Selection-Based Initialization and
        Partial Updates by Trajectory Matching, ICML 2024.
    """
    check_student(config)
    feed = Segments(config.expert_epochs, config.max_start, num_segments=config.num_segments)
    return match_trajectories(config, task, feed)
