"""DeepFool active learning: images that little has to be added to for another prediction (Ducoffe & Precioso, 2018,
arXiv:1802.09841), by DeepFool (Moosavi-Dezfooli et al., CVPR 2016, arXiv:1511.04599, algorithm 2)."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxdistill.data.feeds import RealData
from jaxdistill.selection.base import Scores, Selection
from jaxdistill.selection.window import by_difficulty
from jaxdistill.training.inference import each_batch
from jaxdistill.types import Network, Variables

__all__ = ["DEEPFOOL", "deepfool"]

OVERSHOOT = 0.02
"""By how much DeepFool steps across a boundary to see that it is one."""
AT_ONCE = 50
"""Images whose logits are differentiated side by side, each in every pixel."""


@partial(jax.jit, static_argnames=("network", "rounds"))
def deepfool(network: Network, variables: Variables, data: RealData, rounds: int = 50) -> Float[Array, " n"]:
    """Length of the smallest change of each image that DeepFool finds for another prediction, in preprocessed pixels.

    In every round the network is taken for linear, and the image moved to the nearest boundary. For a linear network
    the first round is exact. Batch normalisation uses its running averages.

    Args:
        network: what was trained.
        variables: where it stands.
        data: the split; a length for each of its images, in its order.
        rounds: most rounds. An image that has kept its prediction by then has the length of the change so far; one
            that came to where no pixel changes the logits, a length that is far beyond any.
    """

    def logits(image: Float[Array, "h w c"]) -> Float[Array, " classes"]:
        return network.apply(variables, image[None])[0][0]

    def length(image: Float[Array, "h w c"]) -> Float[Array, ""]:
        first = logits(image)
        predicted = jnp.argmax(first)

        def step(state: tuple) -> tuple:
            change, _, _, number = state
            moved = image + (1 + OVERSHOOT) * change
            said, slopes = logits(moved), jax.jacrev(logits)(moved)
            behind, towards = said[predicted] - said, (slopes - slopes[predicted]).reshape(len(said), -1)
            steep = jnp.sqrt((towards**2).sum(1))
            others = (jnp.arange(len(said)) != predicted) & (steep > 0)
            far = jnp.where(others, jnp.abs(behind) / jnp.where(others, steep, 1), jnp.inf)
            nearest = jnp.argmin(far)
            found = others[nearest]
            scale = jnp.where(found, far[nearest] / jnp.where(found, steep[nearest], 1), 0)
            change = change + scale * towards[nearest].reshape(image.shape)
            there = jnp.argmax(logits(image + (1 + OVERSHOOT) * change)) != predicted
            return change, ~found, there, number + 1

        def unfinished(state: tuple) -> Bool[Array, ""]:
            _, stuck, there, number = state
            return ~(stuck | there) & (number < rounds)

        start = jnp.zeros(image.shape, first.dtype), jnp.array(False), jnp.array(False), 0
        change, stuck, _, _ = jax.lax.while_loop(unfinished, step, start)
        return jnp.where(stuck, jnp.sqrt(jnp.finfo(change.dtype).max), jnp.sqrt((change**2).sum()))

    return each_batch(lambda images, *_: jax.vmap(length)(images), data, AT_ONCE)


DEEPFOOL = Selection(
    "deepfool", Scores(lambda model: -deepfool(model.network, model.variables, model.data), asks_network=True),
    by_difficulty, "Ducoffe & Precioso, 2018",
)  # fmt: skip
