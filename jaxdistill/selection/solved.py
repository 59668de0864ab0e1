"""Label solve: random real images with the labels that are best for a kernel (Nguyen et al., arXiv:2011.00050)."""

from __future__ import annotations

import dataclasses

import jax

from jaxdistill import types
from jaxdistill.data.feeds import RealData
from jaxdistill.kernels import regression
from jaxdistill.selection.base import Kernel, Selection
from jaxdistill.selection.strategies import picked
from jaxdistill.selection.uniform import uniform
from jaxdistill.types import Key, SyntheticSet

__all__ = ["LABEL_SOLVE", "label_solve"]


def label_solve(key: Key, data: RealData, ipc: int, kernel: types.Kernel) -> SyntheticSet:
    """Random real images, with regression targets for labels: see `jaxdistill.kernels.regression.label_solve`.

    Args:
        key: of the images, and of a kernel that draws networks.
        data: the training split.
        ipc: images per class.
        kernel: of the regression that the labels solve.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class.
    """
    key_images, key_kernel = jax.random.split(key)
    chosen = picked(uniform)(key_images, data, ipc)
    labels = regression.label_solve(key_kernel, kernel, chosen.images, data)
    return dataclasses.replace(chosen, labels=labels, label_kind="target")


LABEL_SOLVE = Selection("label_solve", Kernel(), label_solve, "Nguyen et al., ICLR 2021", budgets="ipc")
