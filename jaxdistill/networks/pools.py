"""Pools of networks that papers judge one set by, each under one name."""

from __future__ import annotations

from jaxdistill.common.names import canonical, meant
from jaxdistill.errors import UsageError

__all__ = ["POOLS", "members"]

_MARK = "pool"

POOLS: dict[str, tuple[str, ...]] = {
    "pool:dc": ("mlp", "convnet", "lenet", "alexnet", "vgg11", "resnet18"),
    "pool:dm": ("convnet-bn", "convnet-swish-bn", "alexnet-bn", "vgg11-bn", "resnet18-bn"),
    "pool:mtt": ("convnet", "alexnet", "vgg11", "resnet18ap", "resnet18"),
    "pool:idc": ("convnet", "resnet10-bn", "densenet121-bn"),
    "pool:idc-imagenet": ("resnet10ap", "resnet18-imagenet-bn", "efficientnet-b0-bn"),
    "pool:minimax": ("convnet", "resnet10ap", "resnet18-imagenet"),
}
"""Those of the released codes: evaluation mode M of DC's and of MTT's, B of DC's, with batch normalisation, for DM;
IDC's tests on CIFAR, and on ImageNet at 224 pixels, where Minimax Diffusion's are too."""


def members(spec: str) -> list[str]:
    """The names in a list separated by commas, once each, with the networks of a pool in its place.

    Raises:
        UsageError: for a pool that there is not; other names are not looked up.

    Example:
        >>> members("pool:idc, vgg11")
        ['convnet', 'resnet10-bn', 'densenet121-bn', 'vgg11']
    """
    found: list[str] = []
    for name in filter(None, (part.strip() for part in spec.split(","))):
        if name.partition(":")[0].casefold() != _MARK:
            found.append(name)
            continue
        pool = canonical(name, POOLS)
        if pool not in POOLS:
            hint = meant(name, POOLS)
            raise UsageError(f"Unknown pool {name!r}{f' ({hint})' if hint else ''}; use one of {', '.join(POOLS)}.")
        found += POOLS[pool]
    return list(dict.fromkeys(found))
