"""CAL: contrastive examples, of which a network says otherwise than of images that look alike to it (Margatina et al.,
EMNLP 2021, arXiv:2109.03764, algorithm 1).

As the paper has it, the largest divergence is the most wanted; DeepCore (Guo et al., DEXA 2022) takes the smallest, of
the divergence in both directions. Deviation: neighbours are of the image's own class, as there, and not any labelled
images, since the choice is one among images of a class.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.selection.base import ProxyModel, Scores, Selection
from jaxdistill.selection.groups import Groups, group
from jaxdistill.selection.outputs import Outputs, outputs
from jaxdistill.selection.window import by_difficulty

__all__ = ["CAL", "cal"]


def cal(outputs: Outputs, labels: Int[Array, " n"], num_classes: int, neighbours: int = 10) -> Float[Array, " n"]:
    """Mean Kullback-Leibler divergence of the probabilities of an example from those of its neighbours.

    Neighbours are nearest by the distance of embeddings; of those that tie the first. The memory is a float for each
    pair of examples of the largest class.

    Args:
        outputs: of one network.
        labels: the class of each example.
        num_classes: number of classes.
        neighbours: how many; all others, where a class has no more. Alone in its class an example has divergence 0.

    Returns:
        For each example the mean over its neighbours b of ``sum p_b log(p_b / p)``.

    Raises:
        UsageError: if a class has no examples, or outputs and labels differ in length.
    """
    return _cal(outputs, group(outputs.embedding, labels, 1, num_classes), neighbours)


@partial(jax.jit, static_argnames="neighbours")
def _cal(outputs: Outputs, groups: Groups, neighbours: int) -> Float[Array, " n"]:
    logs, size = jax.nn.log_softmax(outputs.logits), groups.members.shape[1]

    def of_class(one: Groups) -> Float[Array, " size"]:
        valid, rows = jnp.arange(size) < one.counts, outputs.embedding[one.members]
        lengths = (rows**2).sum(1)
        distances = lengths[:, None] + lengths - 2 * jnp.matmul(rows, rows.T, precision="highest")
        apart = jnp.where(valid & ~jnp.eye(size, dtype=bool), distances, jnp.inf)
        nearness, nearest = jax.lax.top_k(-apart, min(neighbours, size - 1))
        own, near = logs[one.members], logs[one.members][nearest]
        divergence = (jnp.exp(near) * (near - own[:, None])).sum(-1)
        there = nearness > -jnp.inf
        return jnp.where(there, divergence, 0).sum(1) / jnp.maximum(there.sum(1), 1)

    found = jax.lax.map(of_class, groups)
    places = jnp.where(jnp.arange(size) < groups.counts[:, None], groups.members, len(logs))
    return jnp.zeros(len(logs), found.dtype).at[places].set(found, mode="drop")


def _of(model: ProxyModel) -> Float[Array, " n"]:
    data = model.data
    return cal(outputs(model.network, model.variables, data), jnp.asarray(data.labels), len(data.counts))


CAL = Selection("cal", Scores(_of, asks_network=True), by_difficulty, "Margatina et al., EMNLP 2021")
