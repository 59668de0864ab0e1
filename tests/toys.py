"""Small problems that tests share."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.augment import make as make_augment
from jaxdistill.networks import make as make_network
from jaxdistill.testing import CLASSES as CLASSES
from jaxdistill.testing import SHAPE
from jaxdistill.testing import toy_data as make_toy  # noqa: F401
from jaxdistill.types import Task

SIDE = SHAPE[0]


def wide_task(shape, norm="instance", augment="none", depth=2):
    """3 classes and a tiny ConvNet that draws its weights as float64, so that nothing is rounded on the way."""
    network = make_network("convnet", shape, 3, width=4, depth=depth, norm=norm)
    wide = lambda key: jax.tree.map(lambda x: x.astype(jnp.float64), network.init(key))  # noqa: E731
    return Task(network=network._replace(init=wide), augment=make_augment(augment), image_shape=shape, num_classes=3)


def assert_close(one, other, tolerance):
    """Each pair of leaves differs by at most this share of the second one's length."""
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.linalg.norm(a - b) <= tolerance * np.linalg.norm(b)
