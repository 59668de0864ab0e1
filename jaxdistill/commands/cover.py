"""How much of the test images a set covers, in the features of a network that was trained on all real data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.augment.formation import decode
from jaxdistill.commands.train_experts import trained
from jaxdistill.commands.workspace import Bench, augmentation
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.coverage import coverage, radius
from jaxdistill.selection.difficulty import cscore
from jaxdistill.training.inference import BATCH, embedding, predict, predict_on_host
from jaxdistill.training.proxy import RECIPE
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
    train, test = (predict(network, variables, split, embedding) for split in (bench.train, bench.test))
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
    chosen = jax.tree.map(np.asarray, chosen)
    decoded = jax.jit(lambda block: decode(block, grey).images)

    def read(block: Int[np.ndarray, " size"]) -> Float[Array, "tiles h w c"]:
        return decoded(chosen.take(jnp.asarray(block)))

    size = min(max(1, BATCH // chosen.formation**2), chosen.count)
    return predict_on_host(network, variables, read, chosen.count, size, embedding)


def _confidence(network: Network, variables: Variables, data: RealData) -> Float[Array, " n"]:
    """Probability that a network gives each image's class."""
    said = jax.nn.softmax(predict(network, variables, data))
    return jnp.take_along_axis(said, jnp.asarray(data.labels)[:, None], axis=-1)[:, 0]
