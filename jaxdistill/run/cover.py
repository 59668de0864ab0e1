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
from jaxdistill.chunks import each_image
from jaxdistill.data.feeds import RealData
from jaxdistill.evaluate.coverage import coverage, radius
from jaxdistill.run.experts import RECIPE, trained
from jaxdistill.run.resolve import Bench, augmentation
from jaxdistill.selection import features
from jaxdistill.selection.difficulty import cscore
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
        What `jaxdistill.run.judge.judge` adds to evaluation.json as ``coverage``.

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
        images = decode(chosen, (black + white) / 2).images
        found = _embedded(network, variables, jnp.asarray(images))
        shares[label] = coverage(test, found, within, hard)._asdict()
    said_of = f"embedding of {name}, {EPOCHS} epochs on the training split"
    return {"features": said_of, "radius": float(within), "shares": shares}


def check_cover(bench: Bench) -> None:
    """Raise a ValueError unless all training images are on the device, where they are compared."""
    if bench.on_host:
        raise ValueError("--coverage compares all training images, and these are too many for the device; leave it out")


@partial(jax.jit, static_argnums=0)
def _embedded(network: Network, variables: Variables, images: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
    return each_image(lambda images: network.features(variables, images).embedding, images)


@partial(jax.jit, static_argnums=0)
def _confidence(network: Network, variables: Variables, data: RealData) -> Float[Array, " n"]:
    """Probability that a network gives each image's class, a batch at a time."""
    size = min(features.BATCH, data.count)

    def of_batch(start: Int[Array, ""]) -> Float[Array, " b"]:
        batch = data.read(jnp.minimum(start + jnp.arange(size), data.count - 1))
        logits = each_image(lambda images: network.apply(variables, images)[0], batch.images)
        return jnp.take_along_axis(jax.nn.softmax(logits), batch.labels[:, None], axis=-1)[:, 0]

    found = jax.lax.map(of_batch, jnp.arange(-(-data.count // size)) * size)
    return found.reshape(-1)[: data.count]
