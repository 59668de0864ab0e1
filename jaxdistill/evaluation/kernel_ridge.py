"""Kernel ridge regression as an evaluation: KIP's own, and the NTK and NNGP baselines of any set."""

from __future__ import annotations

import dataclasses

import jax
from jaxtyping import Array, Float

from jaxdistill.common.sets import centred
from jaxdistill.common.validate import check
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.recipe import Recipe
from jaxdistill.kernels import draws_networks, make
from jaxdistill.kernels.gram import gram
from jaxdistill.kernels.regression import predict
from jaxdistill.losses.ridge import coefficients, precisely
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = ["KernelRidge"]


@dataclasses.dataclass(frozen=True)
class KernelRidge(Recipe):
    """Predict with the set as the support of a ridge regression, instead of training a network.

    Hard and soft labels are centred by ``1 / classes``; weights of images and learned step sizes are not used.
    """

    kernel: str = "fc1"
    """Name of the kernel, of `jaxdistill.kernels.KERNELS`."""
    ridge: float = 1e-6
    """Penalty, relative to the mean of the kernel's diagonal."""

    def __post_init__(self) -> None:
        if self.epochs is not None:
            raise UsageError("kernel regression trains nothing; leave the number of epochs out")
        check(self, positive=("ridge",))

    @property
    def stochastic(self) -> bool:
        """Whether the kernel draws networks."""
        return draws_networks(self.kernel)

    @property
    def learner(self) -> str:
        """The kernel's name."""
        return self.kernel

    def check(self, image_shape: tuple[int, int, int]) -> None:
        """See `Recipe.check`."""
        make(self.kernel, image_shape)

    @property
    def training(self) -> str:
        """Kernel and penalty, in words."""
        return f"ridge regression with the kernel {self.kernel}, penalty {self.ridge} of its mean diagonal"

    def fit(self, key: Key, synthetic: SyntheticSet, network: Network) -> Variables:
        """The support and its coefficients, and the key of a kernel that draws networks."""
        del network
        kernel = make(self.kernel, synthetic.images.shape[1:])
        support = kernel.prepare(key, synthetic.images)

        @precisely
        def solved(support, labels):
            return coefficients(gram(kernel, support, support), labels, self.ridge)

        return Variables((support, solved(support, centred(synthetic))), jax.random.key_data(key))

    def predict(
        self, network: Network, variables: Variables, images: Float[Array, "n h w c"]
    ) -> Float[Array, "n classes"]:
        """The regression's predictions."""
        del network
        kernel = make(self.kernel, images.shape[1:])  # pyright: ignore[reportArgumentType]
        rows = kernel.prepare(jax.random.wrap_key_data(variables.statistics), images)
        return predict(kernel, *variables.params, rows)
