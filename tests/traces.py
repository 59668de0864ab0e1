"""Programs of the package that are looked at, not run: from a set to what a method, or an evaluation, makes of it."""

import jax
import jax.numpy as jnp
from test_contract import NETWORKS, SHAPE, make_method, make_task, one_step, source_of, start_of

from jaxdistill.augment import for_dataset
from jaxdistill.augment import make as make_augment
from jaxdistill.evaluation.train import train
from jaxdistill.kernels import make as make_kernel
from jaxdistill.methods import METHODS
from jaxdistill.types import SyntheticSet

KEY = jax.random.key(0)


def method(config, network=NETWORKS[0]):
    """A start, a step of it, and the set that this gives."""
    made = make_method(config, network)
    data = jax.tree.map(jnp.asarray, source_of(made, network))

    def run(start):
        state, info = one_step(made, data, made.init(KEY, start), jnp.int32(0), KEY)
        return made.synthetic(state), info

    return run, start_of(made)


def evaluation(recipe, network=NETWORKS[0]):
    """What a network that learned from a set says of its images."""
    task, start = make_task(network), start_of(make_method(next(iter(METHODS)), network))
    recipe = recipe.bound(lambda name: make_augment(for_dataset(name, "digits")))

    def run(made):
        learned = train(KEY, made, task.network, recipe)
        return recipe.predict(task.network, learned, made.images)

    return run, SyntheticSet(start.images, start.labels, "logit" if recipe.needs_teacher else "class")


def kernel(name):
    """All pairs of some images."""
    made = make_kernel(name, SHAPE)
    return lambda images: made.gram(made.prepare(KEY, images), made.prepare(KEY, images)), jnp.ones((3, *SHAPE))
