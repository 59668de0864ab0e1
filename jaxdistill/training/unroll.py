"""Gradient steps on given batches, and how their end depends on the batches: the heart of DD, MTT and its family."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.common.sets import by_step
from jaxdistill.errors import UsageError
from jaxdistill.training.gradients import training_gradient, training_slope
from jaxdistill.types import Augment, Key, LabelKind, Network, PyTree, SyntheticSet, Variables

__all__ = ["train_in_order", "unroll"]


class _How(NamedTuple):
    network: Network
    kind: LabelKind
    augment: Augment | None
    transport: bool


def unroll(
    network: Network,
    variables: Variables,
    images: Float[Array, "n h w c"],
    labels: Float[Array, "n classes"],
    kind: LabelKind,
    plan: Int[Array, "steps b"],
    rates: Float[Array, " steps"],
    *,
    augment: Augment | None = None,
    keys: Key | None = None,
    transport: bool = True,
) -> Variables:
    """Plain gradient steps, to be differentiated in reverse: in where they start, images, labels and step sizes.

    With t_j the parameters before step j, g_j the training gradient there and r_j the step size, the steps are
    ``t_{j+1} = t_j - r_j g_j``, and a cotangent l_{j+1} of t_{j+1} is taken back by the slope ``s = <l_{j+1}, g_j>``::

        by images, by labels: -r_j ds     by r_j: -s     l_j = l_{j+1} - r_j ds/dt_j

    The gradients are exact. Kept are the parameters before each step; everything else is computed anew, so that memory
    grows with the number of steps by one copy of the parameters each.

    Args:
        network: what is trained, in training mode.
        variables: where it starts. No gradient passes through running averages.
        images: the set.
        labels: what `kind` says.
        kind: the label kind.
        plan: which images are in the batch of each step.
        rates: step sizes.
        augment: of each batch, with draws for each image.
        keys: a key for each step, for `augment`; needed with it.
        transport: without it l_j is l_{j+1}, as if each g_j did not depend on earlier steps: an approximation (TESLA,
            Cui et al., ICML 2023), whose memory does not grow with the number of steps.
    """
    if augment is not None and keys is None:
        raise UsageError("an augmentation needs keys, one for each step; give both, or neither")
    how = _How(network, kind, augment, transport)
    keys = jnp.zeros((plan.shape[0], 0)) if keys is None else keys
    return _unroll(how, variables, images, labels, plan, keys, rates)


def train_in_order(
    network: Network, variables: Variables, synthetic: SyntheticSet, rates: Float[Array, "epochs steps"]
) -> Variables:
    """`unroll` over a set's images in stored order, a share of every class in each step, epoch after epoch (DD).

    Args:
        network: what is trained.
        variables: where it starts.
        synthetic: the set.
        rates: step size of each step of each epoch.
    """
    plan = jnp.tile(by_step(synthetic, rates.shape[1]), (rates.shape[0], 1))
    return unroll(network, variables, synthetic.images, synthetic.labels, synthetic.label_kind, plan, rates.reshape(-1))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _unroll(how: _How, variables: Variables, images, labels, plan, keys, rates) -> Variables:
    return _forward(how, variables, images, labels, plan, keys, rates)[0]


def _forward(how: _How, variables: Variables, images, labels, plan, keys, rates, keep: bool = False):
    """Where the steps end, and the parameters before each of them if they are to be kept."""

    def update(variables: Variables, step) -> tuple[Variables, PyTree]:
        chosen, key, rate = step
        return _update(how, variables, _batch(how, key, images[chosen]), labels[chosen], rate), (
            variables.params if keep else None
        )

    return jax.lax.scan(update, variables, (plan, keys, rates))


def _batch(how: _How, key: Key, images: Float[Array, "b _h _w c"]) -> Float[Array, "b h w c"]:
    # Both passes see the batch under one draw: using the key again is what is meant.
    return images if how.augment is None else how.augment(jax.random.clone(key), images, siamese=False)


def _update(how: _How, variables: Variables, images, labels, rate) -> Variables:
    found = training_gradient(how.network, variables, images, labels, how.kind)
    params = jax.tree.map(lambda p, g: p - (rate * g).astype(p.dtype), variables.params, found.gradient)
    return Variables(params, found.statistics)


def _keep(how: _How, variables: Variables, *given):
    end, before = _forward(how, variables, *given, keep=how.transport)
    return end, (before, variables, given)


def _back(how: _How, kept, cotangent: Variables):
    before, start, (images, labels, plan, keys, rates) = kept

    def back(carry, step):
        variables, direction, by_images, by_labels = carry
        params, chosen, key, rate = step
        if how.transport:
            variables = Variables(params, start.statistics)
        batch, to_images = jax.vjp(partial(_batch, how, key), images[chosen])
        slope = training_slope(how.network, variables, batch, labels[chosen], how.kind, direction, params=how.transport)
        by_images = by_images.at[chosen].add(-rate * to_images(slope.by_images)[0])
        by_labels = by_labels.at[chosen].add(-rate * slope.by_labels)
        if how.transport:
            direction = jax.tree.map(lambda old, h: old - (rate * h).astype(old.dtype), direction, slope.by_params)
        else:
            variables = _update(how, variables, batch, labels[chosen], rate)
        return (variables, direction, by_images, by_labels), -slope.value

    carry = (start, cotangent.params, jnp.zeros_like(images), jnp.zeros_like(labels))
    # Without transport the order does not matter, and in that of training nothing needs to have been kept.
    steps = (before, plan, keys, rates)
    (_, direction, by_images, by_labels), by_rates = jax.lax.scan(back, carry, steps, reverse=how.transport)
    nothing = jax.tree.map(jnp.zeros_like, start.statistics)
    return Variables(direction, nothing), by_images, by_labels, None, None, by_rates.astype(rates.dtype)


_unroll.defvjp(_keep, _back)
