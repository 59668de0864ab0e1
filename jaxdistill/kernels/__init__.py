"""Kernels by name, for kernel ridge regression: the NTK and the NNGP of networks of infinite width."""

from jaxdistill.kernels.architectures import ARCHITECTURES, BUILDERS, KERNELS, SCALE, draws_networks, make

__all__ = ["ARCHITECTURES", "BUILDERS", "KERNELS", "SCALE", "draws_networks", "make"]
