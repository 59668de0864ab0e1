"""Sets that a generator draws, and the parameters that methods change in one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, UInt32

from jaxdistill.diffusion.sample import Sampling, sample
from jaxdistill.diffusion.schedule import respaced
from jaxdistill.errors import UsageError
from jaxdistill.types import Generator, Key, PyTree, SyntheticSet, Task

__all__ = ["chosen_of", "drawer", "image_keys", "merged", "needed"]


def needed(task: Task, config: Sampling) -> Generator:
    """The task's generator, which can be drawn from in this way.

    Raises:
        UsageError: if it has none, or it cannot.
    """
    if task.generator is None:
        raise UsageError("this method draws its set from a generator; give the task one")
    generator = task.generator()
    respaced(generator.schedule, config.sampling_steps)
    return generator


def image_keys(key: Key, classes: int, ipc: int) -> UInt32[Array, "classes ipc _words"]:
    """The key of each image as numbers; those of a smaller set are the first of a larger one's.

    Args:
        key: of the whole set.
        classes: how many there are.
        ipc: images per class.
    """

    def of_class(number: Int[Array, ""]) -> UInt32[Array, "ipc _words"]:
        key_class = jax.random.fold_in(key, number)
        each = jax.vmap(lambda index: jax.random.fold_in(key_class, index))(jnp.arange(ipc))
        return jax.random.key_data(each)

    return jax.vmap(of_class)(jnp.arange(classes))


def drawer(generator: Generator, task: Task, config: Sampling) -> Callable[[Key, PyTree, int], SyntheticSet]:
    """What draws sets of a generator, in blocks of images: see `jaxdistill.types.GenerativeMethod`.

    Args:
        generator: what is drawn from, with whatever parameters.
        task: of which classes, and where the blocks are drawn.
        config: how.
    """
    classes = task.num_classes

    def block(entry: tuple[UInt32[Array, "b _words"], Int[Array, " b"]], params: PyTree) -> Float[Array, "b h w c"]:
        keys, labels = entry
        drawn = sample(jax.random.wrap_key_data(keys), generator, params, labels, config)
        return generator.decode(params, drawn)

    def draw(key: Key, params: PyTree, ipc: int) -> SyntheticSet:
        # By what the generator calls a class, so that it has the same images whatever stands beside it.
        keys = image_keys(key, max(generator.labels) + 1, ipc)[jnp.asarray(generator.labels)]
        labels = jnp.repeat(jnp.arange(classes), ipc)
        size = min(config.draw_batch, classes * ipc)
        padded = jnp.minimum(jnp.arange(-(-classes * ipc // size) * size), classes * ipc - 1).reshape(-1, size)
        images = task.map_blocks(block, (keys.reshape(-1, keys.shape[-1])[padded], labels[padded]), params)
        images = images.reshape(-1, *images.shape[2:])[: classes * ipc]
        return SyntheticSet(images, jax.nn.one_hot(labels, classes))

    return draw


def chosen_of(params: PyTree, chosen: Callable[[str], bool]) -> dict[str, Any]:
    """The model's parameters whose name, ``a/b/c``, is chosen, by name."""
    return {name: leaf for name, leaf in flatten_dict(params["model"], sep="/").items() if chosen(name)}


def merged(params: PyTree, some: PyTree) -> PyTree:
    """The parameters with some of the model's replaced."""
    return {**params, "model": unflatten_dict({**flatten_dict(params["model"], sep="/"), **some}, sep="/")}
