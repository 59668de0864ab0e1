"""Facility location and graph cut (Iyer & Bilmes, NeurIPS 2013, arXiv:1311.2106), maximised greedily, class by class,
over the similarity of last-layer gradients.

Two images are as similar as DeepCore has it (Guo et al., DEXA 2022, arXiv:2204.08499): half of 1 plus the cosine of
their gradients, which is never negative. A gradient of length 0 has cosine 0 with all, itself included.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.errors import UsageError
from jaxdistill.selection.base import ProxyOutputs, Selection
from jaxdistill.selection.groups import Groups, group, pick_per_class
from jaxdistill.selection.outputs import Gradients, Outputs, along, gradients, gram, mean, squares
from jaxdistill.selection.strategies import picked
from jaxdistill.types import Key

__all__ = ["FACILITY_LOCATION", "GRAPH_CUT", "cut", "facility_location", "graph_cut", "locate"]

AT_ONCE = 64
"""Examples that the lazy algorithm looks at side by side."""


def facility_location(
    key: Key, outputs: Outputs, labels: Int[Array, " n"], ipc: int, num_classes: int
) -> Int[Array, "classes ipc"]:
    """Pick examples so that each of their class is similar to one of them; see `locate`.

    CRAIG is the same by distances instead of cosines, with weights. Deterministic: `key` is there for the common
    signature only. The memory is a float for each pair of examples of the largest class.

    Args:
        key: unused.
        outputs: of one network.
        labels: the class of each example.
        ipc: how many examples of each class are picked.
        num_classes: number of classes.

    Returns:
        Indices in the order they were picked.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, or outputs and labels differ in length.
    """
    del key
    groups = group(outputs.embedding, labels, ipc, num_classes)
    return _located(outputs, jnp.asarray(labels), groups, ipc)


def graph_cut(
    key: Key, outputs: Outputs, labels: Int[Array, " n"], ipc: int, num_classes: int, lam: float = 1.0
) -> Int[Array, "classes ipc"]:
    """Pick examples that are similar to their class, and not to each other; see `cut`.

    Deterministic: `key` is there for the common signature only. Similarities are summed and not stored.

    Args:
        key: unused.
        outputs: of one network.
        labels: the class of each example.
        ipc: how many examples of each class are picked.
        num_classes: number of classes.
        lam: how much similarity to the class counts; above 0.

    Returns:
        Indices in the order they were picked.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, outputs and labels differ in length, or `lam` is
            not above 0.
    """
    del key
    if not lam > 0:
        raise UsageError(f"`lam` must be above 0, not {lam}: without it, picks have nothing to do with their class")
    groups = group(outputs.embedding, labels, ipc, num_classes)
    return _cut(outputs, jnp.asarray(labels), groups, ipc, lam)


@partial(jax.jit, static_argnames="ipc")
def _located(outputs: Outputs, labels: Int[Array, " n"], groups: Groups, ipc: int) -> Int[Array, "classes ipc"]:
    return pick_per_class(partial(locate, ipc=ipc), _units(gradients(outputs, labels)), groups)


@partial(jax.jit, static_argnames="ipc")
def _cut(
    outputs: Outputs, labels: Int[Array, " n"], groups: Groups, ipc: int, lam: float | Float[Array, ""]
) -> Int[Array, "classes ipc"]:
    return pick_per_class(partial(cut, ipc=ipc, lam=lam), _units(gradients(outputs, labels)), groups)


def _units(gradients: Gradients) -> Gradients:
    """Gradients of length 1, or 0."""
    lengths = jnp.sqrt(squares(gradients))[:, None]
    return gradients._replace(error=jnp.where(lengths > 0, gradients.error / jnp.where(lengths > 0, lengths, 1), 0))


def locate(units: Gradients, valid: Bool[Array, " size"], ipc: int) -> Int[Array, " ipc"]:
    """Greedy facility location in one class: each pick adds most to the sum, over all examples, of the largest
    similarity to a pick; of those that add the same it is the first.

    Lazy (Minoux, Accelerated greedy algorithms, 1978): what an example adds falls with every pick, so what it added
    once is a bound from then on, and only those whose bounds are the largest are looked at again, some side by side.
    The picks are those of the plain algorithm, ties included, where rounding does not part what ties.

    Args:
        units: gradients of length 1 of the class's examples.
        valid: which rows are examples, not padding.
        ipc: images per class.
    """
    similar = 0.5 + 0.5 * gram(units, units)

    def pick(
        carry: tuple[Float[Array, " size"], Float[Array, " size"]], _: None
    ) -> tuple[tuple[Float[Array, " size"], Float[Array, " size"]], Int[Array, ""]]:
        largest, bounds = carry

        def look(state: tuple[Float[Array, " size"], Bool[Array, ""]]) -> tuple[Float[Array, " size"], Bool[Array, ""]]:
            _, again = jax.lax.top_k(state[0], min(AT_ONCE, len(valid)))
            gains = jnp.maximum(similar[again] - largest, 0).sum(1)
            bounds = state[0].at[again].set(jnp.where(state[0][again] > -jnp.inf, gains, -jnp.inf))
            return bounds, (jnp.argmax(bounds) == again).any()

        bounds = jax.lax.while_loop(lambda state: ~state[1], look, (bounds, jnp.array(False)))[0]
        chosen = jnp.argmax(bounds)
        return (jnp.maximum(largest, similar[chosen]), bounds.at[chosen].set(-jnp.inf)), chosen

    # Padding is as similar to a pick as can be from the start, so that it gains nothing.
    largest, bounds = (jnp.where(valid, *each).astype(similar.dtype) for each in ((0, jnp.inf), (jnp.inf, -jnp.inf)))
    _, chosen = jax.lax.scan(pick, (largest, bounds), length=ipc)
    return chosen


def cut(units: Gradients, valid: Bool[Array, " size"], ipc: int, lam: float | Float[Array, ""]) -> Int[Array, " ipc"]:
    """Greedy graph cut in one class: each pick adds most to `lam` times the sum of similarities between all examples
    and the picks, minus the sum of those among the picks, each pair in both orders and each pick with itself.

    DeepCore's form; in that of Iyer & Bilmes the second sum has a factor, and the first has none. What all examples add
    is brought up to date after a pick by one row of similarities, so that there is nothing to be lazy about.

    Args:
        units: gradients of length 1 of the class's examples.
        valid: which rows are examples, not padding.
        ipc: images per class.
        lam: see above.
    """
    own = 0.5 + 0.5 * squares(units)
    to_all = valid.sum() * (0.5 + 0.5 * along(units, mean(units, valid)))

    def pick(gains: Float[Array, " size"], _: None) -> tuple[Float[Array, " size"], Int[Array, ""]]:
        chosen = jnp.argmax(gains)
        one = jax.tree.map(lambda leaf: leaf[chosen][None], units)
        return (gains - (1 + gram(one, units)[0])).at[chosen].set(-jnp.inf), chosen

    return jax.lax.scan(pick, jnp.where(valid, lam * to_all - own, -jnp.inf), length=ipc)[1]


FACILITY_LOCATION = Selection(
    "facility_location", ProxyOutputs(), picked(facility_location), "Iyer & Bilmes, NeurIPS 2013"
)
GRAPH_CUT = Selection("graph_cut", ProxyOutputs(), picked(graph_cut), "Iyer & Bilmes, NeurIPS 2013")
