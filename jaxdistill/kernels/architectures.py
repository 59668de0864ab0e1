"""Kernels by name, for kernel ridge regression: the NTK and the NNGP of networks of infinite width.

neural-tangents computes them; what it computes is written out in ``tests/test_kernels.py``.

Source: Nguyen et al., ICLR 2021 (arXiv:2011.00050) and NeurIPS 2021 (arXiv:2107.13034), for the architectures and their
initial weights; Jacot et al., NeurIPS 2018 (arXiv:1806.07572), for the NTK.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.common.promotion import standard, standardised
from jaxdistill.errors import UsageError
from jaxdistill.kernels import relu
from jaxdistill.kernels.tangents import stax
from jaxdistill.networks import make as make_network
from jaxdistill.types import Kernel, Key

__all__ = ["ARCHITECTURES", "BUILDERS", "KERNELS", "SCALE", "draws_networks", "make"]

ARCHITECTURES = {
    "fc1": "d",
    "convnet": "c cp cp cp f",
    "convnet3": "cp cp cp f",
    "myrtle5": "c cp cp c g",
    "myrtle7": "c cp ccp cc g",
    "myrtle10": "c ccp cccp ccc g",
}
"""Name to layers below the classifier: ``d`` is dense and ReLU, ``c`` a 3 x 3 convolution and ReLU, ``p`` averages
2 x 2 pixels, ``f`` flattens, ``g`` averages all pixels."""
SCALE = {"W_std": math.sqrt(2), "b_std": 0.1}
"""Standard deviations of weights (times the root of the fan-in) and biases, in all experiments of the papers."""


@standard
def make(name: str, image_shape: tuple[int, int, int]) -> Kernel:
    """A kernel by name. Equal arguments give the same object, so nothing compiles twice.

    Args:
        name: one of `KERNELS`; ``fcD`` has any number D of hidden layers, ``convD`` any number D of convolutions with
            no pooling. It is the NTK, and with ``-nngp`` the NNGP. ``rfadNxW`` is ``rfad`` with N networks of width W,
            where that has 8 of 256.
        image_shape: ``(h, w, c)``.

    Raises:
        UsageError: if the name is unknown, the images are too small for it, or neural-tangents is not installed.
    """
    return _make(name, tuple(image_shape))


@functools.cache
def _make(name: str, image_shape: tuple[int, int, int]) -> Kernel:
    if name in BUILDERS:
        return standardised(BUILDERS[name](image_shape))
    if drawn := re.fullmatch(r"rfad([1-9]\d*)x([1-9]\d*)", name):
        return standardised(_random_features(image_shape, int(drawn[1]), int(drawn[2])))
    plain = re.fullmatch(r"(fc|conv)([1-9]\d*)(-nngp)?", name)
    if not plain:
        raise UsageError(
            f"unknown kernel {name!r}; use one of {', '.join(KERNELS)}, or fcD for D hidden layers, convD for D "
            "convolutions without pooling."
        )
    depth = int(plain[2])
    layers = "d" * depth if plain[1] == "fc" else "c" * depth + "f"
    return standardised(_infinite(layers, "nngp" if plain[3] else "ntk", image_shape))


def _infinite(layers: str, get: Literal["ntk", "nngp"], image_shape: tuple[int, int, int]) -> Kernel:
    """The kernel of a network of infinite width, whose layers are written as in `ARCHITECTURES`.

    It leaves the key alone, and its gradients are finite where two images are equal.
    """
    smallest, flat = 2 ** layers.count("p"), "c" not in layers
    if min(image_shape[:2]) < smallest:
        height, width, _ = image_shape
        raise UsageError(f"This kernel's pooling needs images of {smallest}x{smallest} or more, not {height}x{width}.")
    *_, kernel = _network(stax(), layers)

    def prepare(key: Key, images: Float[Array, "n h w c"]) -> Float[Array, "n ..."]:
        del key
        return images.reshape(images.shape[0], -1) if flat else images

    def gram(a: Float[Array, "n ..."], b: Float[Array, "m ..."]) -> Float[Array, "n m"]:
        # The angle of two near images is lost in the short mantissas that accelerators multiply matrices with.
        with jax.default_matmul_precision("highest"):
            # neural-tangents computes in the widest float there is.
            return kernel(a, b, get).astype(jnp.result_type(a, b))

    # Without pooling only pairs of equal positions have a say, and neural-tangents keeps no others.
    pixels = math.prod(image_shape[:2])
    return Kernel(prepare, gram, 1 if flat else pixels**2 if {*"pg"} & {*layers} else pixels)


def _random_features(image_shape: tuple[int, int, int], networks: int = 8, width: int = 256) -> Kernel:
    """An estimate of ``convnet3-nngp`` by the features of random networks: RFAD (Loo et al., NeurIPS 2022)."""
    network = make_network("convnet", image_shape, 1, width=width, depth=3, norm="none", initial="kernel")

    def prepare(key: Key, images: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
        def features(key: Key) -> Float[Array, "n _d"]:
            return network.features(network.init(key), images).embedding

        found = jax.lax.map(features, jax.random.split(key, networks))
        return jnp.moveaxis(found, 0, 1).reshape(images.shape[0], -1) / math.sqrt(networks * found.shape[-1])

    def gram(a: Float[Array, "n d"], b: Float[Array, "m d"]) -> Float[Array, "n m"]:
        return SCALE["W_std"] ** 2 * jnp.matmul(a, b.T, precision="highest") + SCALE["b_std"] ** 2

    return Kernel(prepare, gram)


def _network(stax: ModuleType, layers: str) -> tuple[Any, Any, Any]:
    """neural-tangents' network; the widths in it are those of a finite one, and do not enter."""
    activation = stax.Elementwise(jax.nn.relu, relu.values, relu.slopes)
    parts = {
        "d": (stax.Dense(1, **SCALE), activation),
        "c": (stax.Conv(1, (3, 3), padding="SAME", **SCALE), activation),
        "p": (stax.AvgPool((2, 2), strides=(2, 2)),),
        "f": (stax.Flatten(),),
        "g": (stax.GlobalAvgPool(),),
    }
    body = [layer for letter in layers.replace(" ", "") for layer in parts[letter]]
    return stax.serial(*body, stax.Dense(1, **SCALE))


_KINDS: dict[str, Literal["ntk", "nngp"]] = {"": "ntk", "-nngp": "nngp"}
BUILDERS: dict[str, Callable[[tuple[int, int, int]], Kernel]] = {
    f"{name}{suffix}": functools.partial(_infinite, layers, get)
    for name, layers in ARCHITECTURES.items()
    for suffix, get in _KINDS.items()
}
"""Name to builder, which takes the shape of an image."""
BUILDERS["rfad"] = _random_features
KERNELS = tuple(BUILDERS)
"""The known names, with ``fc1`` for all of ``fcD`` and ``rfad`` for all of ``rfadNxW``; ``convD`` is known too."""


def draws_networks(name: str) -> bool:
    """Whether a kernel is of networks that are drawn, so that two evaluations by it differ."""
    return name.startswith("rfad")
