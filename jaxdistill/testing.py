"""A problem small enough for an example or a test: noisy patterns of four classes, and what a method is given there.

What you add can be tried in a few lines: the Example of each method takes two steps, of one batch and with one key, and
looks whether the loss falls.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.augment import make as make_augment
from jaxdistill.data.feeds import RealData, real_data, sample
from jaxdistill.data.trajectories import Bank, RealAndExperts, flatten
from jaxdistill.diffusion import Architecture
from jaxdistill.diffusion import make as make_generator
from jaxdistill.kernels import make as make_kernel
from jaxdistill.networks import make as make_network
from jaxdistill.training.experts import ExpertRecipe, expert_epoch
from jaxdistill.types import AnyMethod, Generator, PyTree, SyntheticSet, Task, Variables

__all__ = ["CLASSES", "SHAPE", "toy_batch", "toy_data", "toy_experts", "toy_start", "toy_task"]

CLASSES, SHAPE = 4, (8, 8, 1)
_PIXELS = ((-4.0,), (4.0,))


def toy_data() -> tuple[RealData, RealData]:
    """A training split of 12 examples a class and a test split of 25, always the same, on the host."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(CLASSES, *SHAPE))

    def split(per_class: int) -> RealData:
        labels = np.repeat(np.arange(CLASSES), per_class)
        images = (patterns[labels] + 0.7 * rng.normal(size=(len(labels), *SHAPE))).astype(np.float32)
        return real_data(images, labels, CLASSES, np.ones(1), np.zeros(1))

    return split(12), split(25)


def toy_task(
    network: str = "mlp", augment: str = "none", *, kernel: str | None = None, params: PyTree | None = None
) -> Task:
    """A task for methods of every kind: it has a generator beside the network, and images keep to a range.

    Args:
        network: its name, of those in `jaxdistill.networks.NETWORKS`; it is 8 wide.
        augment: the augmentation's, as `jaxdistill.augment.make` takes it.
        kernel: a kernel's name, for methods that have one instead of the network.
        params: what its generator has learned; by default that is fresh.

    Example:
        >>> task = toy_task()
        >>> variables = task.network.init(jax.random.key(0))
        >>> task.network.apply(variables, toy_start().images)[0].shape
        (4, 4)
    """

    def generator() -> Generator:
        sizes = Architecture(patch_size=4, hidden_size=8, num_layers=1, num_heads=2, diffusion_steps=60)
        return make_generator(sizes, SHAPE, _PIXELS, CLASSES, params=params)

    return Task(
        network=make_network(network, SHAPE, CLASSES, width=8),
        augment=make_augment(augment),
        image_shape=SHAPE,
        num_classes=CLASSES,
        kernel=None if kernel is None else make_kernel(kernel, SHAPE),
        generator=generator,
        pixel_range=_PIXELS,
    )


def toy_start(ipc: int = 1) -> SyntheticSet:
    """The first `ipc` training images of each class, as a set to start from."""
    train, _ = jax.tree.map(jnp.asarray, toy_data())
    return train.take((train.offsets[:, None] + jnp.arange(ipc)).reshape(-1))


def toy_experts(task: Task, epochs: int = 4) -> Bank:
    """Two trajectories of the task's network, each epoch a single step on all of the training split."""
    data, recipe = jax.tree.map(jnp.asarray, toy_data()[0]), ExpertRecipe(learning_rate=0.2)

    @jax.jit
    def trajectory(key: jax.Array) -> jax.Array:
        def once(carry: tuple[Variables, PyTree], key: jax.Array) -> tuple[PyTree, jax.Array]:
            variables, velocity, _ = expert_epoch(key, task.network, *carry, data, recipe, task.augment)
            return (variables, velocity), flatten(variables.params)

        key_network, key_epochs = jax.random.split(key)
        variables = task.network.init(key_network)
        start = variables, jax.tree.map(jnp.zeros_like, variables.params)
        _, path = jax.lax.scan(once, start, jax.random.split(key_epochs, epochs))
        return jnp.concatenate([flatten(variables.params)[None], path])

    return Bank(np.stack([trajectory(jax.random.key(number)) for number in range(2)]), 2, epochs)


def toy_batch(method: AnyMethod, task: Task | None = None) -> PyTree:
    """What the method's feed draws for its first step, of the toy data, of the toy experts, or both.

    Args:
        method: any; only its feed matters.
        task: that it was built for, whose network the experts train; the default `toy_task`.
    """
    sources = {
        "real": lambda: toy_data()[0],
        "experts": lambda: toy_experts(task or toy_task()),
        "both": lambda: RealAndExperts(toy_data()[0], toy_experts(task or toy_task())),
    }
    return jax.tree.map(jnp.asarray, sample(method.feed, jax.random.key(0), 0, sources[method.feed.source]()))
