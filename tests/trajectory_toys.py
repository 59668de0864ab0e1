"""What tests of trajectory matching share: tiny networks, golden values, and a student's steps without shortcuts."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.augment import make as make_augment
from jaxdistill.types import Network, Task, Variables

GOLDEN = np.load(Path(__file__).parent / "reference" / "trajectories.npz")  # by experiments/golden/trajectories.py
SHAPE, PLAN = GOLDEN["images"].shape[1:], GOLDEN["plan"].astype(np.int32)
LABELS = {"class": np.repeat(np.eye(3), 2, 0), "logit": GOLDEN["logits"]}
IMAGES = np.random.default_rng(0).normal(size=(3, 2, 2, 2, 1))


def regression(variables, images, train=False):
    del train
    return images.reshape(len(images), -1) @ variables.params["matrix"] + variables.params["offset"], {}


def normalised(variables, images, train=False):
    """Without running averages, as in a trajectory, there is nothing to normalise by but the batch."""
    logits, statistics = regression(variables, images)
    return (logits - logits.mean(0)) / jnp.sqrt(logits.var(0) + 0.1) if train else logits + jnp.nan, statistics


def shapes_of_regression(key):
    del key
    return Variables({"matrix": jnp.zeros((4, 3)), "offset": jnp.zeros(3)}, {})


NETWORKS = {
    "regression": Network(shapes_of_regression, regression, None),
    "batch norm": Network(shapes_of_regression, normalised, None, couples_batch=True),
}
SMALL = Task(network=NETWORKS["regression"], augment=make_augment("none"), image_shape=(2, 2, 1), num_classes=3)
P = 15  # parameters of its network


def loop(network, variables, images, probabilities, plan, rates, held=False):
    """Where the steps end, with nothing kept from differentiation but, if `held`, each step's own parameters."""

    def loss(params, chosen):
        logits, _ = network.apply(Variables(params, variables.statistics), images[chosen], train=True)
        return -jnp.mean(jnp.sum(probabilities[chosen] * jax.nn.log_softmax(logits), -1))

    params = variables.params
    for chosen, rate in zip(plan, rates, strict=True):
        gradient = jax.grad(loss)(jax.lax.stop_gradient(params) if held else params, chosen)
        params = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, gradient)
    return params
