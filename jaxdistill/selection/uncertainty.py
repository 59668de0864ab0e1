"""How uncertain a trained network is of each image: larger is less certain (Coleman et al., Selection via Proxy, ICLR
2020, arXiv:1906.11829).

All three are computed from the odds of the less likely classes against the most likely one. Where the network is all
but certain, probabilities are rounded to 1 and their differences to 0; those odds still tell such images apart.
"""

from __future__ import annotations

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.selection.base import Scores, Selection
from jaxdistill.selection.window import by_difficulty
from jaxdistill.training.inference import predict

__all__ = ["ENTROPY", "LEAST_CONFIDENCE", "MARGIN", "entropy", "least_confidence", "margin"]


def entropy(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
    """Entropy of the probabilities, in nats."""
    behind = _behind(logits)
    odds = jnp.exp(behind)
    total = odds.sum(-1)
    return jnp.log1p(total) - jnp.where(odds > 0, odds * behind, 0).sum(-1) / (1 + total)


def margin(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
    """One minus the difference between the two largest probabilities."""
    odds = jnp.exp(_behind(logits))
    total = odds.sum(-1)
    return (total + odds.max(-1)) / (1 + total)


def least_confidence(logits: Float[Array, "n classes"]) -> Float[Array, " n"]:
    """One minus the largest probability."""
    total = jnp.exp(_behind(logits)).sum(-1)
    return total / (1 + total)


def _behind(logits: Float[Array, "n classes"]) -> Float[Array, "n others"]:
    """How far the logits of all classes but the most likely one are below it."""
    descending = -jnp.sort(-logits, axis=-1)
    return descending[:, 1:] - descending[:, :1]


def _of_logits(score: Callable[[Float[Array, "n classes"]], Float[Array, " n"]]) -> Scores:
    return Scores(lambda model: score(predict(model.network, model.variables, model.data)), asks_network=True)


ENTROPY = Selection("entropy", _of_logits(entropy), by_difficulty, "Coleman et al., ICLR 2020")
MARGIN = Selection("margin", _of_logits(margin), by_difficulty, "Coleman et al., ICLR 2020")
LEAST_CONFIDENCE = Selection(
    "least_confidence", _of_logits(least_confidence), by_difficulty, "Coleman et al., ICLR 2020"
)
