"""How much of the test images a set covers, in the features of networks and in pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdistill.augment.formation import decode
from jaxdistill.commands.train_experts import trained
from jaxdistill.commands.workspace import Bench, augmentation
from jaxdistill.common.names import choose
from jaxdistill.data.feeds import RealData
from jaxdistill.engine.devices import replicate
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.coverage import coverage, halves, radius
from jaxdistill.selection.difficulty import cscore
from jaxdistill.training.inference import BATCH, Answer, embedding, predict, predict_on_host
from jaxdistill.training.proxy import RECIPE
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = ["SPACES", "Cover", "check_cover"]

EPOCHS = 20
OF_KEY = 2
"""Of the evaluation's key: 0 and 1 are what it is split into, 3 is that of looks."""


class _Space(NamedTuple):
    """What an image is turned into before distances are measured."""

    said: str
    """In words."""
    network: Network
    variables: Variables
    answer: Answer


class _Kind(NamedTuple):
    """Of spaces."""

    build: Callable[[Cover, str], _Space]
    """Of the network with a name."""
    of_network: bool = True
    """Whether it makes a difference which network that is."""


class Cover:
    """Coverage of the test split by sets (SelMatch, Lee & Chung, ICML 2024, section 3), in one or several spaces.

    The paper does not say which features these are. By default they are the embedding of a network that is trained on
    the whole training split without augmentation; a test image is the harder, whatever the space, the less confidence
    that network had in its class in the mean over the epochs of that training. Networks are trained when they are first
    asked for, and once, so that all sets that one `Cover` looks at are measured alike.

    Args:
        key: of the evaluation, from which the networks' follows.
        networks: the first is the one whose features are meant where no other is named.
        bench: data and devices.
        spaces: names of `SPACES`, separated by commas; after a colon another network may be named.
        same_class: only neighbours of an image's own class count, of the radius too.
        make: the network of a name.

    Raises:
        UsageError: for a space that there is none of.
    """

    def __init__(
        self,
        key: Key,
        networks: Mapping[str, Network],
        bench: Bench,
        spaces: str = "embedding",
        *,
        same_class: bool = False,
        make: Callable[[str], Mapping[str, Network]],
    ):
        self._key, self._bench, self._same_class = jax.random.fold_in(key, OF_KEY), bench, same_class
        self._usual, first = next(iter(networks.items()))
        self._networks, self._known = {self._usual: first}, {}
        self._asked: dict[str, tuple[str, str]] = {}
        for asked in (part.strip() for part in spaces.split(",") if part.strip()):
            kind, colon, other = asked.partition(":")
            kind = choose(kind, SPACES, "feature space")
            if colon and not SPACES[kind].of_network:
                raise UsageError(f"{kind} are those of no network; say {kind}, not {asked}")
            made = make(other) if colon else {self._usual: first}
            self._networks = {**made, **self._networks}
            self._asked[":".join((kind, *(made if colon else ())))] = kind, next(iter(made))
        if not self._asked:
            raise UsageError(f"name at least one feature space: {', '.join(SPACES)}")

    @property
    def halves(self) -> dict[str, Bool[np.ndarray, " test"]]:
        """Which test images are the ``easy`` half, and which the ``hard`` one."""
        easy = halves(self._difficulty)
        return {"easy": easy, "hard": ~easy}

    def shares(self, chosen: SyntheticSet) -> dict[str, dict[str, float]]:
        """Coverage by a set in each space: of ``all``, of the ``easy`` half and of the ``hard`` one."""
        black, white = self._bench.test.pixel_range
        labels = np.repeat(np.argmax(np.asarray(chosen.labels), axis=-1), chosen.tiles)
        within = (self._bench.test.labels, jnp.asarray(labels)) if self._same_class else ()
        found = {}
        for name, (space, test, near) in self._measured.items():
            rows = _embedded(space.network, space.variables, chosen, (black + white) / 2, space.answer)
            found[name] = coverage(test, rows, near, self._difficulty, *within)._asdict()
        return found

    def results(self, sets: Mapping[str, SyntheticSet]) -> dict[str, Any]:
        """What evaluation.json says as ``coverage`` of sets by name.

        Returns:
            ``features radius shares`` of the first space, and, where there are several, of each other one by its name
            in ``also``.
        """
        shares = {label: self.shares(chosen) for label, chosen in sets.items()}
        only = ", neighbours of the same class only" if self._same_class else ""
        first, *others = (
            {
                "features": space.said + only,
                "radius": float(near),
                "shares": {label: found[name] for label, found in shares.items()},
            }
            for name, (space, _, near) in self._measured.items()
        )
        return first | ({"also": dict(zip(list(self._asked)[1:], others, strict=True))} if others else {})

    @cached_property
    def _measured(self) -> dict[str, tuple[_Space, Float[Array, "test d"], Float[Array, ""]]]:
        """Each space with the test images in it and the radius of the training images."""
        found = {}
        for asked, (kind, name) in self._asked.items():
            space = SPACES[kind].build(self, name)
            see = partial(predict, space.network, space.variables, answer=space.answer)
            labels = self._bench.train.labels if self._same_class else None
            found[asked] = space, see(self._bench.test), radius(see(self._bench.train), labels)
        return found

    @property
    def _difficulty(self) -> Float[Array, " test"]:
        return self._trained(self._usual)[1]

    def _trained(self, name: str) -> tuple[Variables, Float[Array, " test"]]:
        """Where a network stands after its training, and how hard each test image was for it."""
        if name not in self._known:
            self._known[name] = _trained(self._key, self._networks[name], self._bench)
        return self._known[name]

    def _embedding(self, name: str) -> _Space:
        said = f"embedding of {name}, {EPOCHS} epochs on the training split"
        return _Space(said, self._networks[name], self._trained(name)[0], embedding)

    def _random(self, name: str) -> _Space:
        network = self._networks[name]
        begun = replicate(network.init(jax.random.fold_in(self._key, 0)), self._bench.mesh)  # as the trained one begins
        return _Space(f"embedding of {name} as it is initialised", network, begun, embedding)

    def _pixels(self, name: str) -> _Space:
        return _Space("preprocessed pixels", self._networks[name], Variables({}, {}), _flat)


SPACES = {
    "embedding": _Kind(Cover._embedding),
    "pixels": _Kind(Cover._pixels, of_network=False),
    "random": _Kind(Cover._random),
}
"""Where distances can be measured: the embedding of a trained network, pixels, the embedding of an untrained one."""


def check_cover(bench: Bench) -> None:
    """Raise a UsageError unless all training images are on the device, where they are compared."""
    if bench.on_host:
        raise UsageError("--coverage compares all training images, and these are too many for the device; leave it out")


def _trained(key: Key, network: Network, bench: Bench) -> tuple[Variables, Float[Array, " test"]]:
    said: list[np.ndarray] = []

    def tell(epoch: int, variables: Variables, seen: object) -> None:
        if epoch:
            one = jax.tree.map(lambda leaf: leaf[0], variables)
            said.append(np.asarray(_confidence(network, one, bench.test)))

    plain = augmentation("none", bench)
    ends = trained(key, np.arange(1), EPOCHS, network, RECIPE, plain, bench.train, bench.mesh, 1, tell)
    return jax.tree.map(lambda leaf: leaf[0], ends), cscore(np.stack(said))


def _flat(network: Network, variables: Variables, images: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
    del network, variables
    return images.reshape(images.shape[0], -1)


def _embedded(
    network: Network,
    variables: Variables,
    chosen: SyntheticSet,
    grey: Float[Array | np.ndarray, " c"],
    answer: Answer = embedding,
) -> Float[np.ndarray, "n d"]:
    """The embedding of a set's images as they are trained on; the set stays on the host but for a block at a time."""
    chosen = jax.tree.map(np.asarray, chosen)
    decoded = jax.jit(lambda block: decode(block, grey).images)

    def read(block: Int[np.ndarray, " size"]) -> Float[Array, "tiles h w c"]:
        return decoded(chosen.take(jnp.asarray(block)))

    size = min(max(1, BATCH // chosen.tiles), chosen.count)
    return predict_on_host(network, variables, read, chosen.count, size, answer)


def _confidence(network: Network, variables: Variables, data: RealData) -> Float[Array, " n"]:
    """Probability that a network gives each image's class."""
    said = jax.nn.softmax(predict(network, variables, data))
    return jnp.take_along_axis(said, jnp.asarray(data.labels)[:, None], axis=-1)[:, 0]
