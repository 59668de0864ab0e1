"""GRAD-MATCH: a few weighted examples whose gradient is that of all (Killamsetty et al., ICML 2021, arXiv:2103.00123,
algorithm 2), with gradients of the last layer, class by class.

Deviations: the penalty is relative to the length of gradients; there are always `ipc` picks, also where the tolerance
of the paper would stop earlier; and weights are scaled to mean 1.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.errors import UsageError
from jaxdistill.selection.base import ProxyOutputs, Selection
from jaxdistill.selection.groups import Groups, group
from jaxdistill.selection.outputs import (
    Gradients,
    Outputs,
    Weighed,
    along,
    gradients,
    gram,
    mean,
    squares,
    weigh_per_class,
    weighed,
)
from jaxdistill.types import Key

__all__ = ["GRADMATCH", "gradmatch", "nonnegative", "pursue"]


def gradmatch(
    key: Key,
    outputs: Outputs,
    labels: Int[Array, " n"],
    ipc: int,
    num_classes: int,
    lam: float = 0.1,
    validation: tuple[Outputs, Int[Array, " v"]] | None = None,
) -> Weighed:
    """Pick and weigh examples by orthogonal matching pursuit of the mean gradient of their class.

    Deterministic: `key` is there for the common signature only. The memory is that of `ipc` numbers for each example.
    Weights are scaled to mean 1 in each class. That keeps the direction of the class's gradient and the weights within
    the class relative to each other. It gives up the length of the gradient, and with it how much one class pulls
    compared with another: all classes count alike, as in training on equally many real images of each.

    Args:
        key: unused.
        outputs: of one network, which the paper asks again as it trains.
        labels: the class of each example.
        ipc: how many examples of each class are picked.
        num_classes: number of classes.
        lam: penalty on squared weights, as a share of the class's mean squared gradient length. The paper's 0.5 is in
            units of its networks' gradients, whose scale grows with the width of the last layer and shrinks in
            training. A share stays what it is: at 0.1 the weight of an example whose gradient is a third as long as
            is typical comes out as about half of what the fit alone would have, and that of longer ones hardly changes.
        validation: outputs of the same network for other images, and their classes, of which the mean gradient of each
            class is matched, as the paper does under class imbalance. By default the examples themselves.

    Returns:
        Indices in the order they were picked, and weights. A pick that a later one made superfluous keeps its place
        with weight 0; a class where all weights are 0 (the mean gradient vanishes) gets ones.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class, outputs and labels differ in length, `lam` is not
            above 0, or there is no validation image of a class.
    """
    del key
    if not lam > 0:
        raise UsageError(f"`lam` must be above 0, not {lam}: equal examples have no unique weights without a penalty")
    groups, held_out = group(outputs.embedding, labels, ipc, num_classes), None
    if validation is not None:
        said, of = validation
        counts = np.bincount(np.asarray(of), minlength=num_classes)
        if not counts.all():
            raise UsageError(f"there is no validation image of class {int(counts.argmin())}; give some of each class")
        held_out = gradients(said, jnp.asarray(of)), group(said.embedding, of, 1, num_classes)
    return _gradmatch(outputs, jnp.asarray(labels), groups, ipc, lam, held_out)


@partial(jax.jit, static_argnames="ipc")
def _gradmatch(
    outputs: Outputs,
    labels: Int[Array, " n"],
    groups: Groups,
    ipc: int,
    lam: float | Float[Array, ""],
    held_out: tuple[Gradients, Groups] | None,
) -> Weighed:
    return weigh_per_class(partial(pursue, ipc=ipc, lam=lam), gradients(outputs, labels), groups, held_out)


def pursue(
    gradients: Gradients,
    valid: Bool[Array, " size"],
    held_out: Gradients | None = None,
    valid_held_out: Bool[Array, " held"] | None = None,
    *,
    ipc: int,
    lam: float | Float[Array, ""],
) -> tuple[Int[Array, " ipc"], Float[Array, " ipc"]]:
    """Orthogonal matching pursuit in one class: picks, and weights as they solve the problem, unscaled.

    Each round picks the example along which ``|sum_j w_j g_j - mean g|^2 + penalty |w|^2`` falls most steeply, and
    solves for all weights, none of them negative.

    Args:
        gradients: of the class's examples.
        valid: which rows are examples, not padding.
        held_out: of other images of the class, whose mean gradient is matched instead.
        valid_held_out: which of their rows are images.
        ipc: images per class.
        lam: penalty of large weights, relative to the mean squared length of the gradients.
    """
    matched = (gradients, valid) if held_out is None or valid_held_out is None else (held_out, valid_held_out)
    targets = along(gradients, mean(*matched))
    penalty = lam * jnp.sum(jnp.where(valid, squares(gradients), 0)) / valid.sum()

    def pick(carry: tuple, number: Int[Array, ""]) -> tuple[tuple, None]:
        chosen, weights, products, free = carry
        new = jnp.argmax(jnp.where(free, targets - jnp.matmul(weights, products, precision="highest"), -jnp.inf))
        chosen = chosen.at[number].set(new)
        row = gram(jax.tree.map(lambda leaf: leaf[new][None], gradients), gradients)[0]
        products = products.at[number].set(row)
        among = products[:, chosen] + penalty * jnp.eye(ipc, dtype=row.dtype)
        weights = nonnegative(among, targets[chosen], jnp.arange(ipc) <= number, weights)
        return (chosen, weights, products, free.at[new].set(False)), None

    zeros = jnp.zeros((ipc, len(valid)), targets.dtype)
    start = jnp.zeros(ipc, int), zeros[:, 0], zeros, valid
    (chosen, weights, _, _), _ = jax.lax.scan(pick, start, jnp.arange(ipc))
    return chosen, weights


def nonnegative(
    matrix: Float[Array, "k k"], target: Float[Array, " k"], allowed: Bool[Array, " k"], start: Float[Array, " k"]
) -> Float[Array, " k"]:
    """Minimise ``w matrix w / 2 - target w`` over weights w that are not negative, and 0 where not allowed.

    The active-set method of Lawson & Hanson (Solving Least Squares Problems, 1974, chapter 23), with k by k systems.
    Exact but for rounding: it ends after finitely many rounds, here after 3 k at the latest, as rounding may go in
    circles. Weights are feasible and no worse than `start` at any time.

    Args:
        matrix: positive definite where allowed; what stands elsewhere is not looked at.
        target: linear term.
        allowed: which weights there are.
        start: feasible weights, best the solution of a similar problem.
    """
    k = len(target)
    smallest = 10 * jnp.finfo(target.dtype).eps * jnp.max(jnp.where(allowed, jnp.abs(target), 0))

    def unconstrained(active: Bool[Array, " k"]) -> Float[Array, " k"]:
        system = jnp.where(active[:, None] & active, matrix, jnp.eye(k, dtype=matrix.dtype))
        return jnp.linalg.solve(system, jnp.where(active, target, 0))

    def improve(carry: tuple) -> tuple:
        weights, active, _, rounds = carry
        wanted = unconstrained(active)
        # As far towards what is wanted as no weight turns negative; those that stop it are held at 0.
        stopping = active & (wanted <= 0)
        shares = jnp.where(stopping, weights / jnp.where(stopping & (weights > 0), weights - wanted, 1), 1)
        share = shares.min()
        active &= ~(stopping & (shares <= share))
        weights = jnp.where(active, weights + share * (wanted - weights), 0)
        slopes = jnp.where(allowed & ~active, target - jnp.matmul(matrix, weights, precision="highest"), -jnp.inf)
        solved = ~stopping.any()
        done = solved & (slopes.max() <= smallest)
        active = active.at[jnp.argmax(slopes)].max(solved & ~done)
        return weights, active, done, rounds + 1

    start = jnp.where(allowed, start, 0)
    carry = start, start > 0, jnp.array(False), 0
    return jax.lax.while_loop(lambda carry: ~carry[2] & (carry[3] < 3 * k), improve, carry)[0]


GRADMATCH = Selection(
    "gradmatch",
    ProxyOutputs(tuning=("gradmatch_lam", "lam"), validated=True),
    weighed(gradmatch),
    "Killamsetty et al., ICML 2021",
)
