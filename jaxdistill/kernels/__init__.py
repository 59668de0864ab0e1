"""Kernels by name, for kernel ridge regression: the NTK and the NNGP of networks of infinite width."""

from jaxdistill.kernels.architectures import ARCHITECTURES, BUILDERS, KERNELS, RANDOM, SCALE, make

__all__ = ["ARCHITECTURES", "BUILDERS", "KERNELS", "RANDOM", "SCALE", "make"]
