"""Optimised random images: one of the best of many random sets (Wang et al., Dataset Distillation, 2018,
arXiv:1811.10959)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.base import RandomSets, Selection, Trials
from jaxdistill.selection.groups import check_ipc
from jaxdistill.selection.strategies import real_set
from jaxdistill.selection.uniform import uniform
from jaxdistill.types import Key, SyntheticSet

__all__ = ["OPTIMISED", "optimised"]

BEST = 5
"""One in so many sets is among the best."""


def optimised(key: Key, data: RealData, ipc: int, trials: Trials) -> SyntheticSet:
    """A random one of the best fifth of many random sets of real images.

    The expected accuracy is thus the mean of the best fifth, which the paper reports, and other keys give other sets.

    Args:
        key: consumed; each trial has its own key to draw a set, and another one to judge it.
        data: the split that is drawn from.
        ipc: how many images of each class are drawn.
        trials: how to judge a set, and how many to draw.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, there are fewer than 5 trials, or a judgement is
            not a number.
    """
    check_ipc(ipc)
    if trials.count < BEST:
        raise UsageError(f"the best fifth of {trials.count} random sets is less than one of them; try at least {BEST}")
    key_draw, key_judge, key_choose = jax.random.split(key, 3)
    draws, judgements = (jax.random.split(k, trials.count) for k in (key_draw, key_judge))
    labels = jnp.asarray(data.labels)

    def draw(number: int) -> Int[Array, "classes ipc"]:
        return uniform(draws[number], labels, ipc, len(data.counts))

    found = np.array([trials.judge(judgements[i], real_set(data, draw(i))) for i in range(trials.count)], np.float64)
    if np.isnan(found).any():
        raise UsageError(f"trial {int(np.isnan(found).argmax())} was judged to be worth nan; judge trials by numbers")
    best = np.argsort(-found, kind="stable")[: trials.count // BEST]
    return real_set(data, draw(int(best[jax.random.randint(key_choose, (), 0, len(best))])))


OPTIMISED = Selection("optimised", RandomSets(), optimised, "Wang et al., 2018", budgets="unbalanced")
