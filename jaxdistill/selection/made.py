"""Images that are made and not picked, and of no more than the data themselves: class means, and noise."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from jaxdistill.common import draws
from jaxdistill.common.sets import class_set
from jaxdistill.data.feeds import RealData
from jaxdistill.selection.base import Nothing, Selection
from jaxdistill.selection.groups import check_ipc
from jaxdistill.types import Key, SyntheticSet

__all__ = ["AVERAGE", "NOISE", "average", "noise"]


def average(key: Key, data: RealData, ipc: int) -> SyntheticSet:
    """The mean image of each class, `ipc` times over (Wang et al., Dataset Distillation, 2018, arXiv:1811.10959).

    Args:
        key: not used.
        data: the training split.
        ipc: images per class.
    """
    del key
    check_ipc(ipc)
    blocks = zip(np.asarray(data.offsets), np.asarray(data.counts), strict=True)
    members = (np.arange(offset, offset + count) for offset, count in blocks)
    means = [np.asarray(data.read(jnp.asarray(indices)).images).mean(axis=0, dtype=np.float64) for indices in members]
    return class_set(jnp.asarray(np.stack(means), jnp.float32)[:, None].repeat(ipc, axis=1))


def noise(key: Key, data: RealData, ipc: int) -> SyntheticSet:
    """Standard normal pixels; of the data only shapes are used.

    Args:
        key: of the pixels.
        data: the training split.
        ipc: images per class.
    """
    check_ipc(ipc)
    return class_set(draws.normal(key, (len(data.counts), ipc, *data.images.shape[1:])))


AVERAGE = Selection("average", Nothing(), average, "Wang et al., 2018", budgets="ipc", real=False)
NOISE = Selection("noise", Nothing(), noise, budgets="ipc", real=False)
