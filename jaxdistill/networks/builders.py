"""Networks by name. This is the only place where a name becomes a module."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxdistill.common.names import canonical, meant
from jaxdistill.common.promotion import standard, standardised
from jaxdistill.errors import UsageError
from jaxdistill.networks.alexcifarnet import AlexCifarNet
from jaxdistill.networks.alexnet import AlexNet
from jaxdistill.networks.convnet import ConvNet
from jaxdistill.networks.convnet4 import ConvNet4
from jaxdistill.networks.densenet import DenseNet
from jaxdistill.networks.doublenet import DoubleNet
from jaxdistill.networks.efficientnet import EfficientNet
from jaxdistill.networks.layers import ACTIVATIONS, INITIALS, MOMENTUM, NORMS, POOLINGS, Classifier
from jaxdistill.networks.lenet import LeNet
from jaxdistill.networks.mlp import MLP
from jaxdistill.networks.resnet import ResNet, ResNet18
from jaxdistill.networks.resnetap import ResNetAP10
from jaxdistill.networks.vgg import VGG11
from jaxdistill.networks.vit import ViT
from jaxdistill.types import Key, Network, Variables

__all__ = [
    "MLP",
    "NETWORKS",
    "VGG11",
    "AlexCifarNet",
    "AlexNet",
    "ConvNet",
    "ConvNet4",
    "DenseNet",
    "DoubleNet",
    "EfficientNet",
    "LeNet",
    "Options",
    "ResNet",
    "ResNet18",
    "ResNetAP10",
    "ViT",
    "default_depth",
    "full_name",
    "make",
    "network",
    "reads",
]


class Options(NamedTuple):
    """What can be chosen about a network; each builder takes what its network has."""

    width: int
    depth: int
    norm: str
    activation: str
    pooling: str


_DEEPER = (3, 4, 6, 3)

NETWORKS: dict[str, Callable[[Options], nn.Module]] = {
    "convnet": lambda o: ConvNet(o.width, o.depth, o.norm, o.activation, o.pooling),
    "convnet4": lambda o: ConvNet4(o.width, o.depth),
    "doublenet": lambda o: DoubleNet(o.width, o.depth, o.norm, o.activation, o.pooling),
    "mlp": lambda o: MLP(o.width),
    "lenet": lambda o: LeNet(),
    "alexnet": lambda o: AlexNet(),
    "alexcifarnet": lambda o: AlexCifarNet(),
    "vgg11": lambda o: VGG11(norm=o.norm),
    "resnet18": lambda o: ResNet(norm=o.norm),
    "resnet18-s2": lambda o: ResNet(norm=o.norm, stride=2),
    "resnet18ap": lambda o: ResNet(norm=o.norm, average_pool=True),
    "resnet10ap": lambda o: ResNetAP10(norm=o.norm),
    "convnet-swish": lambda o: ConvNet(o.width, o.depth, o.norm, "swish", o.pooling),
    "resnet10": lambda o: ResNet(32, o.norm, blocks=(1, 1, 1, 1), fan_out=True),
    "resnet34": lambda o: ResNet(norm=o.norm, blocks=_DEEPER),
    "resnet50": lambda o: ResNet(norm=o.norm, blocks=_DEEPER, bottleneck=True),
    "resnet18-imagenet": lambda o: ResNet(norm=o.norm, fan_out=True, imagenet=True),
    "resnet34-imagenet": lambda o: ResNet(norm=o.norm, blocks=_DEEPER, fan_out=True, imagenet=True),
    "resnet50-imagenet": lambda o: ResNet(norm=o.norm, blocks=_DEEPER, bottleneck=True, fan_out=True, imagenet=True),
    "densenet121": lambda o: DenseNet(norm=o.norm),
    "efficientnet-b0": lambda o: EfficientNet(norm=o.norm),
    "vit": lambda o: ViT(),
}
"""Name to builder of the body. The classifier is added by `make`."""


def reads(name: str) -> frozenset[str]:
    """The fields of `Options` that a network's body depends on; all of one that is not known."""
    base = name.removesuffix("-bn")
    if base not in NETWORKS:
        return frozenset(Options._fields)
    one, other = Options(8, 2, "instance", "relu", "avg"), Options(16, 3, "batch", "swish", "max")
    alone = {field: one._replace(**{field: getattr(other, field)}) for field in Options._fields}
    found = {field for field, options in alone.items() if NETWORKS[base](options) != NETWORKS[base](one)}
    return frozenset(found - {"norm"} if base != name else found)


@functools.cache
@standard
def make(
    name: str,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    width: int = 128,
    depth: int | None = None,
    norm: str = "instance",
    activation: str = "relu",
    pooling: str = "avg",
    initial: str = "torch",
    network_seed: int | None = None,
) -> Network:
    """A network by name. The same arguments give the same functions, so nothing compiles twice.

    Args:
        name: A key of `NETWORKS`; ``-bn`` after it means ``norm="batch"``, where the network normalises at all.
        image_shape: ``(h, w, c)``.
        num_classes: Outputs of the classifier.
        width: Channels of ``convnet``, ``convnet4`` and of ``doublenet``'s first block, hidden units of ``mlp``; the
            others have the widths of their papers.
        depth: Blocks of ``convnet``, ``convnet4`` (after its first convolution) and ``doublenet``; None takes
            `default_depth`.
        norm: Normalisation of all but ``mlp``, ``lenet``, ``alexnet``, ``alexcifarnet``, ``convnet4`` and ``vit``; see
            `jaxdistill.networks.layers.Norm`.
        activation: Of ``convnet`` and ``doublenet``: ``relu``, ``sigmoid``, ``leakyrelu`` or ``swish``.
        pooling: Of the same: ``avg``, ``max`` or ``none``.
        initial: Distribution of the initial weights; see `jaxdistill.networks.layers.INITIALS`.
        network_seed: Start from the weights of this seed, whatever key ``init`` is given; by default from the key's.

    Raises:
        UsageError: If a name is unknown, or the images are too small.

    Example:
        >>> import jax
        >>> network = make("convnet", (32, 32, 3), 10)
        >>> variables = network.init(jax.random.key(0))
        >>> logits, statistics = network.apply(variables, jax.numpy.zeros((4, 32, 32, 3)))
        >>> logits.shape
        (4, 10)
    """
    name = full_name(name)
    base = name.removesuffix("-bn")
    for kind, value, known in (
        ("norm", norm, NORMS),
        ("activation", activation, ACTIVATIONS),
        ("pooling", pooling, POOLINGS),
        ("initial", initial, INITIALS),
    ):
        if value not in known:
            raise UsageError(f"Unknown `{kind}` {value!r}; use one of {', '.join(known)}.")
    depth = default_depth(min(image_shape[:2])) if depth is None else depth
    if min(width, depth, num_classes) < 1:
        raise UsageError(f"Use `width`, `depth` and classes of at least 1, not {width}, {depth} and {num_classes}.")
    if network_seed is not None and not 0 <= network_seed < 2**32:
        raise UsageError(f"Use a `network_seed` from 0 to 2**32 - 1, not {network_seed}.")
    body = NETWORKS[base](Options(width, depth, "batch" if base != name else norm, activation, pooling))
    if base != name and not hasattr(body, "norm"):
        raise UsageError(f"{base} has no normalisation, so there is no {name}; use {base}.")
    if base != name:
        body = body.clone(norm="batch")  # of AlexNet, which has none by any option
    try:
        return network(body, image_shape, num_classes, initial=initial, seed=network_seed)
    except UsageError as error:
        h, w, c = image_shape
        raise UsageError(f"{name} cannot be built for images of {h}x{w}x{c}: {error}") from None


def full_name(name: str) -> str:
    """A network's name as it is known here, from any spelling.

    Raises:
        UsageError: If there is no such network.
    """
    known = [*NETWORKS, *(f"{base}-bn" for base in NETWORKS)]
    found = canonical(name, known)
    if found not in known:
        hint = meant(name, known)
        raise UsageError(
            f"Unknown network {name!r}{f' ({hint})' if hint else ''}; use one of {', '.join(NETWORKS)}, or one of them "
            "followed by -bn."
        )
    return found


@standard
def network(
    body: nn.Module,
    image_shape: tuple[int, int, int],
    num_classes: int,
    *,
    initial: str = "torch",
    seed: int | None = None,
) -> Network:
    """The `Network` of any flax module that maps ``(images, train)`` to `jaxdistill.types.Features`.

    Args:
        body: The module.
        image_shape: ``(h, w, c)``.
        num_classes: Outputs of the classifier that is put on it.
        initial: A key of `jaxdistill.networks.layers.INITIALS`.
        seed: Of initial weights that never change; None draws them from the key that ``init`` is given.

    Raises:
        UsageError: If the images are too small for the module.
    """
    module = Classifier(body, num_classes)
    example = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)

    def init(key: Key) -> Variables:
        key = key if seed is None else jax.random.key(seed)
        tree = module.lazy_init(key, example, False)
        return Variables(INITIALS[initial](key, tree["params"]), tree.get("batch_stats", {}))

    def run(method, variables: Variables, images, train: bool) -> tuple[Any, Any]:
        tree = {"params": variables.params, "batch_stats": variables.statistics}
        if not train:
            return module.apply(tree, images, False, method=method), variables.statistics
        result, updated = module.apply(tree, images, True, method=method, mutable=["batch_stats"])
        return result, updated.get("batch_stats", {})

    def apply(variables: Variables, images, train: bool = False):
        return run(Classifier.__call__, variables, images, train)

    def features(variables: Variables, images, train: bool = False):
        return run(Classifier.features, variables, images, train)[0]

    jax.eval_shape(init, jax.random.key(0))  # fail here rather than at the first use
    momentum = getattr(body, "momentum", MOMENTUM)
    return standardised(Network(init, apply, features, getattr(body, "norm", None) == "batch", momentum))


def default_depth(size: int) -> int:
    """Blocks that leave a 4 x 4 map of a `size` x `size` image, at least 2: 3 for 28 and 32, 4 for 64, 5 for 128."""
    return max(2, round(math.log2(size / 4)))
