"""The same steps with jaxdistill, compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.augment import make as make_augment
from jaxdistill.chunks import training_gradient
from jaxdistill.inner import sgd_update
from jaxdistill.methods.dm import DM, dm
from jaxdistill.networks import make as make_network
from jaxdistill.run.resolve import on_cpu
from jaxdistill.run.sharding import make_mesh, spread
from jaxdistill.types import Batch, SyntheticSet, Task, Variables

__all__ = ["CASES"]

SHAPE = (32, 32, 3)


STEPS = 3


def steps_of(update, state):
    """A call of a few steps in one loop on the device, as runs make it."""
    compiled = jax.jit(lambda state: jax.lax.fori_loop(0, STEPS, update, state), donate_argnums=0)
    held = [state]

    def call() -> None:
        held[0] = jax.block_until_ready(compiled(held[0]))

    call.steps = STEPS
    return call


def train_step(batch: int):
    """One SGD step (momentum, weight decay) of the network on a batch."""
    rng = np.random.default_rng(0)
    network = make_network("convnet", SHAPE, 10)
    images = jnp.asarray(rng.normal(size=(batch, *SHAPE)), jnp.float32)
    labels = jax.nn.one_hot(rng.integers(0, 10, batch), 10)

    def update(_, carry):
        variables, velocity = carry
        gradients, statistics = training_gradient(network, variables, images, labels, "class")
        params, velocity = sgd_update(
            gradients, variables.params, velocity, rate=jnp.float32(0.01), momentum=0.9, decay=5e-4
        )
        return Variables(params, statistics), velocity

    variables = network.init(jax.random.key(0))
    return steps_of(update, (variables, jax.tree.map(jnp.zeros_like, variables.params)))


def dm_step(ipc: int, per_class: int):
    """One step of the method itself, without augmentation (the peer has none)."""
    rng = np.random.default_rng(0)
    mesh = make_mesh()
    at_once = 1 if on_cpu(mesh) else 10
    task = Task(make_network("convnet", SHAPE, 10), make_augment("none"), SHAPE, 10, spread(mesh, at_once))
    method = dm(DM(per_class=per_class), task)
    real = jnp.asarray(rng.normal(size=(10, per_class, *SHAPE)), jnp.float32)
    batch = Batch(real, jnp.zeros((10, per_class), jnp.int32))
    images = jnp.asarray(rng.normal(size=(10 * ipc, *SHAPE)), jnp.float32)
    state = method.init(jax.random.key(0), SyntheticSet(images, jnp.repeat(jnp.eye(10), ipc, 0)))
    return steps_of(lambda i, state: method.step(jax.random.key(i), state, batch)[0], state)


CASES = {"train": train_step, "dm": dm_step}
