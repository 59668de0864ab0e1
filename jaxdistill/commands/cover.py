"""How much of the test images a set covers, in the features of a network that was trained on all real data."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.augment.formation import decode
from jaxdistill.commands.train_experts import RECIPE, trained
from jaxdistill.commands.workspace import Bench, augmentation
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.coverage import coverage, radius
from jaxdistill.selection.difficulty import cscore
from jaxdistill.training import proxy as features
from jaxdistill.training.gradients import each_image
from jaxdistill.training.inference import BATCH, each_batch
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = ["check_cover", "cover"]

EPOCHS = 20


def cover(key: Key, sets: Mapping[str, SyntheticSet], network: Network, name: str, bench: Bench) -> dict[str, Any]:
    """Coverage of the test split by each set (SelMatch, Lee & Chung, ICML 2024, section 3).

    The paper does not say which features these are. Here they are the embedding of a network that is trained on the
    whole training split without augmentation; a test image is the harder, the less confidence the network had in its
    class in the mean over the epochs of that training.

    Args:
        key: consumed; of the network.
        sets: sets by name.
        network: what is trained.
        name: what it is called.
        bench: data and devices.

    Returns:
        What `jaxdistill.commands.judge.judge` adds to evaluation.json as ``coverage``.

    """
    said: list[np.ndarray] = []

    def tell(epoch: int, variables: Variables, seen: object) -> None:
        if epoch:
            one = jax.tree.map(lambda leaf: leaf[0], variables)
            said.append(np.asarray(_confidence(network, one, bench.test)))

    plain = augmentation("none", bench)
    ends = trained(key, np.arange(1), EPOCHS, network, RECIPE, plain, bench.train, bench.mesh, 1, tell)
    variables = jax.tree.map(lambda leaf: leaf[0], ends)
    embedding = features.Embedding(network, variables)
    train, test = (features.embed(embedding, split) for split in (bench.train, bench.test))
    within, hard = radius(train), cscore(np.stack(said))
    black, white = bench.test.pixel_range
    shares = {}
    for label, chosen in sets.items():
        found = _embedded(network, variables, chosen, (black + white) / 2)
        shares[label] = coverage(test, found, within, hard)._asdict()
    said_of = f"embedding of {name}, {EPOCHS} epochs on the training split"
    return {"features": said_of, "radius": float(within), "shares": shares}


def check_cover(bench: Bench) -> None:
    """Raise a UsageError unless all training images are on the device, where they are compared."""
    if bench.on_host:
        raise UsageError("--coverage compares all training images, and these are too many for the device; leave it out")


def _embedded(
    network: Network, variables: Variables, chosen: SyntheticSet, grey: Float[Array | np.ndarray, " c"]
) -> Float[np.ndarray, "n d"]:
    """The embedding of a set's images as they are trained on; the set stays on the host but for a block at a time."""
    chosen, tiles = jax.tree.map(np.asarray, chosen), chosen.formation**2
    size = min(max(1, BATCH // tiles), chosen.count)
    blocks = np.resize(np.arange(chosen.count), (-(-chosen.count // size), size))  # all of one size, filled up
    found = [np.asarray(_block(network, variables, chosen.take(jnp.asarray(block)), grey)) for block in blocks]
    return np.concatenate(found)[: chosen.count * tiles]


@partial(jax.jit, static_argnums=0)
def _block(
    network: Network, variables: Variables, chosen: SyntheticSet, grey: Float[Array | np.ndarray, " c"]
) -> Float[Array, "n d"]:
    images = decode(chosen, grey).images
    return each_image(lambda images: network.features(variables, images).embedding, images)


@partial(jax.jit, static_argnums=0)
def _confidence(network: Network, variables: Variables, data: RealData) -> Float[Array, " n"]:
    """Probability that a network gives each image's class, a batch at a time."""

    def of_batch(images: Float[Array, "b h w c"], labels: Int[Array, " b"]) -> Float[Array, " b"]:
        said = jax.nn.softmax(network.apply(variables, images)[0])
        return jnp.take_along_axis(said, labels[:, None], axis=-1)[:, 0]

    return each_batch(of_batch, data)
