"""KIP's evaluation on networks of finite width: regression by SGD at a share of the largest stable step size.

Source: Nguyen, Novak, Xiao & Lee, NeurIPS 2021 (arXiv:2107.13034); the authors' notebook, after Lee et al., NeurIPS
2020 (arXiv:2007.15801).
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxdistill.common.sets import centred
from jaxdistill.common.validate import check
from jaxdistill.evaluation.recipe import Recipe
from jaxdistill.training.sgd import sgd, train_step
from jaxdistill.training.stability import largest_step
from jaxdistill.types import Key, Network, PyTree, SyntheticSet, Variables

__all__ = ["StableRegression", "buffered"]


@dataclasses.dataclass(frozen=True)
class StableRegression(Recipe):
    """Train fresh networks on centred labels by half the squared error, in the mean over images and classes.

    The paper's network is ``convnet4`` of width 1,024 with initial weights as its kernel has them (``initial`` is
    ``kernel``); factor and penalty were searched for each set. The step size falls to 0 by half a cosine. Nothing is
    augmented.
    """

    probes: ClassVar[int] = 50
    steps: int = 5_000
    """Steps; `epochs` takes their place where it is given, a step being as many epochs as a batch has of the set's
    images, one at the least."""
    factor: float = 1.0
    """The first step size, as a share of the largest stable one at the initial weights
    (`jaxdistill.training.stability.largest_step`, of images that are not learned from)."""
    l2: float = 1e-3
    """Half of it times the sum of all squared parameters is added to the loss."""
    batch: int = 100
    """Images a step, drawn as `buffered` has it, also from a set that has not as many."""
    momentum: float = 0.9
    """Heavy-ball momentum, which the largest stable step size does not take into account."""

    def __post_init__(self) -> None:
        check(self, positive=("factor",), not_negative=("l2",), counts=("steps", "batch"), momenta=("momentum",))

    @property
    def training(self) -> str:
        """Length, loss, step size and penalty, in words."""
        length = f"{self.steps} steps" if self.epochs is None else f"{self.epochs} epochs"
        return (
            f"{length} of SGD on the squared error of centred labels with {self.factor} times the step size that "
            f"{self.probes} images' empirical NTK allows, lowered by a cosine to 0, penalty {self.l2} on squared "
            "parameters"
        )

    def length(self, count: int) -> int:
        """Steps on a set of so many images."""
        return self.steps if self.epochs is None else self.epochs * math.ceil(count / self.batch)

    def fit(
        self,
        key: Key,
        synthetic: SyntheticSet,
        network: Network,
        aside: Float[Array, "probes h w c"] | None = None,
    ) -> Variables:
        """Train a fresh network, step after step.

        Args:
            key: of the initial weights and all draws.
            synthetic: the set.
            network: what is trained on it.
            aside: real images for the step size; by default the first `probes` of the set.
        """
        key_init, key_draws = jax.random.split(key)
        variables, steps = network.init(key_init), self.length(synthetic.count)
        largest = largest_step(network, variables, synthetic.images[: self.probes] if aside is None else aside)
        drawn = buffered(key_draws, synthetic.count, steps * self.batch).reshape(steps, self.batch)
        return self.go_on(variables, synthetic, network, drawn, self.rates(largest, steps))

    def rates(self, largest: Float[Array, ""], steps: int) -> Float[Array, " steps"]:
        """The step size of each step: from a share of the largest stable one down to 0, by half a cosine."""
        return self.factor * largest * 0.5 * (1 + jnp.cos(jnp.pi * jnp.arange(steps) / steps))

    def go_on(
        self,
        variables: Variables,
        synthetic: SyntheticSet,
        network: Network,
        drawn: Int[Array, "steps batch"],
        rates: Float[Array, " steps"],
    ) -> Variables:
        """Train a network by given draws and step sizes, from empty momentum buffers; pure, one scan.

        A set of fewer images than a batch goes through the network once a step, each image with the number of its draws
        as its weight.

        Args:
            variables: where the network stands.
            synthetic: the set.
            network: what is trained.
            drawn: which images are in each batch.
            rates: of each step.
        """
        count, classes = synthetic.labels.shape
        weights = (jnp.ones(count) if synthetic.weights is None else synthetic.weights) / classes
        synthetic = dataclasses.replace(synthetic, labels=centred(synthetic), label_kind="target", weights=weights)
        whole = count <= drawn.shape[1] and not network.couples_batch

        def batch_of(chosen: Int[Array, " batch"]) -> SyntheticSet:
            if not whole:
                return synthetic.take(chosen)
            times = jnp.zeros(count).at[chosen].add(count / drawn.shape[1])
            return dataclasses.replace(synthetic, weights=weights * times)

        def advance(carry: tuple[Variables, PyTree], now: tuple[Int[Array, " batch"], Float[Array, ""]]):
            chosen, rate = now
            found = train_step(
                jax.random.key(0), network, *carry, batch_of(chosen),
                optimizer=sgd(rate, momentum=self.momentum, decay=self.l2), transform=lambda key, batch: batch,
            )  # fmt: skip
            return found[:2], None

        still = jax.tree.map(jnp.zeros_like, variables.params)
        return jax.lax.scan(advance, (variables, still), (drawn, rates))[0][0]


def buffered(key: Key, count: int, total: int) -> Int[Array, " total"]:
    """Numbers of images, drawn as by a shuffle buffer of the set's size over its endless repetition: each is a random
    one of the buffer, whose place the next image in order takes.

    That is between shuffled passes and draws with replacement: an image may come twice before another comes once.

    Args:
        key: consumed.
        count: images of the set.
        total: how many are drawn.
    """

    def draw(buffer: Int[Array, " _count"], now: tuple[Array, Array]) -> tuple[Array, Array]:
        place, following = now
        return buffer.at[place].set(following), buffer[place]

    places = jax.random.randint(key, (total,), 0, count)
    return jax.lax.scan(draw, jnp.arange(count), (places, jnp.arange(total) % count))[1]
