"""How large a step gradient descent on a squared error bears, by the network's empirical neural tangent kernel.

Source: Jacot, Gabriel & Hongler, NeurIPS 2018 (arXiv:1806.07572), for the kernel; Lee et al., NeurIPS 2020
(arXiv:2007.15801), for the largest step.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.types import Network, PyTree, Variables

__all__ = ["empirical_ntk", "largest_step"]

_EPSILON = 1e-12


def empirical_ntk(network: Network, variables: Variables, images: Float[Array, "n h w c"]) -> Float[Array, "n n"]:
    """Inner products of the gradients of a network's outputs, of which each image has one: their sum over classes,
    divided by the root of their number.

    Its mean over initial weights is the kernel of a single output. One gradient is in memory at a time, and a forward
    pass of all images in its direction gives a row; batch normalisation takes its running averages.

    Args:
        network: any.
        variables: where it stands.
        images: in preprocessed space.
    """

    def output(params: PyTree, images: Float[Array, "m h w c"]) -> Float[Array, " m"]:
        logits = network.apply(Variables(params, variables.statistics), images)[0]
        return logits.sum(axis=-1) / math.sqrt(logits.shape[-1])

    def row(image: Float[Array, "h w c"]) -> Float[Array, " n"]:
        gradient = jax.grad(lambda params: output(params, image[None])[0])(variables.params)
        return jax.jvp(lambda params: output(params, images), (variables.params,), (gradient,))[1]

    return jax.lax.map(row, images)


def largest_step(network: Network, variables: Variables, images: Float[Array, "n h w c"]) -> Float[Array, ""]:
    """The largest stable step size of plain gradient descent on half the squared error, in the mean over images and
    classes: ``2 n classes / lambda``, with the largest eigenvalue of `empirical_ntk`.

    Args:
        network: what is to be trained.
        variables: where it stands.
        images: n of those that it is meant for; their labels do not matter.
    """
    kernel = empirical_ntk(network, variables, images)
    classes = jax.eval_shape(network.apply, variables, images)[0].shape[-1]
    largest = jnp.linalg.eigvalsh((kernel + kernel.T) / 2)[-1]
    return 2 * images.shape[0] * classes / (largest + _EPSILON)
