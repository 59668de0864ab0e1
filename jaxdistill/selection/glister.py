"""GLISTER: examples on which a step lowers the validation loss most (Killamsetty et al., AAAI 2021, arXiv:2012.10630,
algorithm 2, greedy with the Taylor approximation of each gain), with gradients of the last layer.

Deviation: as many picks in each class. The constraint is on the greedy choice alone: every pick is the best of all
classes that still want one, one step is shared by all picks, and the validation loss is that of all classes, as in the
paper's objective. Class by class, each with its own step and validation images, is another way to balance; but a
step on one class alone lowers the loss of that class by calling everything so, and then little is left to choose by.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.selection.base import ProxyOutputs, Selection
from jaxdistill.selection.groups import group
from jaxdistill.selection.outputs import Gradients, Outputs, Weighed, along, gradients, mean, weighed
from jaxdistill.types import Key

__all__ = ["GLISTER", "glister"]


def glister(
    key: Key,
    outputs: Outputs,
    labels: Int[Array, " n"],
    ipc: int,
    num_classes: int,
    eta: float = 0.01,
    validation: tuple[Outputs, Int[Array, " v"]] | None = None,
) -> Weighed:
    """Pick examples whose gradient agrees with that of the validation loss after a step on the picks so far.

    The step is one of gradient descent on the last layer: its gradients are those of the network as it stands, and the
    gradient of the validation loss is taken anew after every pick, exactly, from the logits as the step moved them.
    Deterministic: `key` is there for the common signature only. The memory is that of a few logits for each example;
    each of the ``num_classes * ipc`` picks looks at all embeddings.

    Args:
        key: unused.
        outputs: of one network, which the paper asks again as it trains.
        labels: the class of each example.
        ipc: how many examples of each class are picked.
        num_classes: number of classes.
        eta: step size on the gradient of each pick; the paper takes that of training.
        validation: outputs of the same network for other images, and their classes. By default the examples
            themselves, with which the paper's objective is to lower the training loss.

    Returns:
        Indices in the order they were picked; all weights are 1.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, or outputs and labels differ in length.
    """
    del key
    group(outputs.embedding, labels, ipc, num_classes)
    held_out, held_labels = (outputs, labels) if validation is None else validation
    indices = _greedy(outputs, jnp.asarray(labels), held_out, jnp.asarray(held_labels), ipc, num_classes, eta)
    return Weighed(indices, jnp.ones(indices.shape, outputs.logits.dtype))


@partial(jax.jit, static_argnames=("ipc", "num_classes"))
def _greedy(
    outputs: Outputs,
    labels: Int[Array, " n"],
    validation: Outputs,
    validation_labels: Int[Array, " v"],
    ipc: int,
    num_classes: int,
    eta: float | Float[Array, ""],
) -> Int[Array, "classes ipc"]:
    candidates = gradients(outputs, labels)
    everything = jnp.ones(len(validation_labels), bool)

    def pick(carry: tuple, _: None) -> tuple[tuple, Int[Array, ""]]:
        logits, free, wanted = carry
        after = gradients(validation._replace(logits=logits), validation_labels)
        # A fence, because XLA otherwise lays the mean out as its maker likes it, and on a CPU the next product, with
        # all embeddings, then takes six times as long.
        gains = along(candidates, jax.lax.optimization_barrier(mean(after, everything)))
        chosen = jnp.argmax(jnp.where(free & (wanted[labels] > 0), gains, -jnp.inf))
        logits = logits + _moved(jax.tree.map(lambda leaf: leaf[chosen], candidates), validation.embedding, eta)
        return (logits, free.at[chosen].set(False), wanted.at[labels[chosen]].add(-1)), chosen

    start = validation.logits, jnp.ones(len(labels), bool), jnp.full(num_classes, ipc)
    _, chosen = jax.lax.scan(pick, start, length=num_classes * ipc)
    by_class = jnp.argsort(labels[chosen], stable=True)
    return chosen[by_class].reshape(num_classes, ipc)


def _moved(
    gradient: Gradients, embedding: Float[Array, "v d"], eta: float | Float[Array, ""]
) -> Float[Array, "v classes"]:
    """How logits change where the last layer takes a step against one gradient, whose factors are vectors."""
    reach = 1 + jnp.matmul(embedding, gradient.embedding, precision="highest")
    return -eta * reach[:, None] * gradient.error


GLISTER = Selection(
    "glister", ProxyOutputs(tuning=("glister_eta", "eta"), validated=True), weighed(glister),
    "Killamsetty et al., AAAI 2021", budgets="unbalanced",
)  # fmt: skip
