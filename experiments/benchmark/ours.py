"""The same steps with jaxdistill, compiled."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.augment import make as make_augment
from jaxdistill.inner import sgd_update
from jaxdistill.losses.classification import training_loss
from jaxdistill.methods.dm import DM, dm
from jaxdistill.networks import make as make_network
from jaxdistill.run.resolve import mapper, on_cpu
from jaxdistill.run.sharding import make_mesh
from jaxdistill.types import Batch, SyntheticSet, Task, Variables

__all__ = ["CASES"]

SHAPE = (32, 32, 3)


def train_step(batch: int):
    """One SGD step (momentum, weight decay) of the network on a batch."""
    rng = np.random.default_rng(0)
    network = make_network("convnet", SHAPE, 10)
    images = jnp.asarray(rng.normal(size=(batch, *SHAPE)), jnp.float32)
    labels = jax.nn.one_hot(rng.integers(0, 10, batch), 10)

    def update(variables, velocity):
        def loss(params):
            logits, _ = network.apply(Variables(params, variables.statistics), images, train=True)
            return training_loss(logits, labels, "class")

        value, gradients = jax.value_and_grad(loss)(variables.params)
        params, velocity = sgd_update(
            gradients, variables.params, velocity, rate=jnp.float32(0.01), momentum=0.9, decay=5e-4
        )
        return Variables(params, variables.statistics), velocity, value

    compiled = jax.jit(update, donate_argnums=(0, 1))
    variables = network.init(jax.random.key(0))
    state = [variables, jax.tree.map(jnp.zeros_like, variables.params)]

    def step() -> float:
        *state[:], value = compiled(*state)
        return float(value)

    return step


def dm_step(ipc: int, per_class: int):
    """One step of the method itself, without augmentation (the peer has none)."""
    rng = np.random.default_rng(0)
    mesh = make_mesh()
    at_once = 1 if on_cpu(mesh) else 10
    task = Task(make_network("convnet", SHAPE, 10), make_augment("none"), SHAPE, 10, mapper(mesh, at_once))
    method = dm(DM(per_class=per_class), task)
    real = jnp.asarray(rng.normal(size=(10, per_class, *SHAPE)), jnp.float32)
    batch = Batch(real, jnp.zeros((10, per_class), jnp.int32))
    images = jnp.asarray(rng.normal(size=(10 * ipc, *SHAPE)), jnp.float32)
    state = [method.init(jax.random.key(0), SyntheticSet(images, jnp.repeat(jnp.eye(10), ipc, 0)))]
    compiled = jax.jit(method.step, donate_argnums=1)
    count = itertools.count()

    def step() -> float:
        state[0], info = compiled(jax.random.key(next(count)), state[0], batch)
        return float(info.loss)

    return step


CASES = {"train": train_step, "dm": dm_step}
