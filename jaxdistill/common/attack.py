"""One class taken for another: the malicious attack of dataset distillation (Wang et al., 2018, arXiv:1811.10959,
section 3.5), as labels."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.types import SyntheticSet

__all__ = ["Attack"]


class Attack(NamedTuple):
    """Which class networks shall take for which, by their numbers."""

    attacked: int
    target: int

    def relabelled(self, labels: Int[Array, " b"]) -> Int[Array, " b"]:
        """Class numbers with the target in the place of the attacked class."""
        return jnp.where(labels == self.attacked, jnp.asarray(self.target, labels.dtype), labels)

    def of_set(self, synthetic: SyntheticSet) -> SyntheticSet:
        """A set whose labels say so too: what attacks without learning anything, as random images do in the code."""
        labels: Float[Array, "n classes"] = jnp.asarray(synthetic.labels)
        labels = labels.at[:, self.target].add(labels[:, self.attacked]).at[:, self.attacked].set(0)
        return dataclasses.replace(synthetic, labels=labels)

    def parts(self, labels: Int[np.ndarray, " n"]) -> dict[str, Int[np.ndarray, " n"]]:
        """What the code reports beside the accuracy, as `jaxdistill.evaluation.evaluate` takes it: ``fooled``, the
        share of the attacked class that is taken for the target, ``others``, the accuracy on all other classes, and
        ``modified``, that of all with the labels of the attack."""
        attacked = labels == self.attacked
        return {
            "fooled": np.where(attacked, self.target, -1),
            "others": np.where(attacked, -1, labels),
            "modified": np.where(attacked, self.target, labels),
        }
