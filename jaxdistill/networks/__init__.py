"""Networks by name. This is the only place where a name becomes a module."""

from jaxdistill.networks.builders import (
    MLP,
    NETWORKS,
    VGG11,
    AlexCifarNet,
    AlexNet,
    ConvNet,
    DoubleNet,
    LeNet,
    Options,
    ResNet18,
    ResNetAP10,
    default_depth,
    full_name,
    make,
    network,
    reads,
)

__all__ = [
    "MLP",
    "NETWORKS",
    "VGG11",
    "AlexCifarNet",
    "AlexNet",
    "ConvNet",
    "DoubleNet",
    "LeNet",
    "Options",
    "ResNet18",
    "ResNetAP10",
    "default_depth",
    "full_name",
    "make",
    "network",
    "reads",
]
