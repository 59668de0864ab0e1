"""The methods by configuration, and by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from jaxdistill.common.names import choose
from jaxdistill.methods import catalogue
from jaxdistill.types import AnyMethod

__all__ = ["CHECKED", "METHODS", "METHOD_NAMES", "method_config"]

METHODS: dict[type, Callable[..., AnyMethod]] = {
    config: getattr(catalogue, name.lower()) for name, config in vars(catalogue).items() if isinstance(config, type)
}
"""Configuration class -> builder ``(config, task)`` of its method. What is added here is a method by name as well."""


class _ByName(Mapping[str, type]):
    def __getitem__(self, name: str) -> type:
        return {builder.__name__: config for config, builder in METHODS.items()}[name]

    def __iter__(self) -> Iterator[str]:
        return iter([builder.__name__ for builder in METHODS.values()])

    def __len__(self) -> int:
        return len(METHODS)


METHOD_NAMES: Mapping[str, type] = _ByName()
"""Name on the command line -> configuration class."""
CHECKED: dict[str, str] = {
    **dict.fromkeys(("dd", "dc", "dsa", "dm", "idc", "datadam", "mtt", "tesla", "ftd", "datm", "rfad"), "PyTorch"),
    "dit": "authors' code",
}
"""Name -> what computed the golden values (``tests/reference``) that the method agrees with: the paper's formulas in
PyTorch and float64, or the code that its authors released. Others have none of their own."""


def method_config(name: str) -> type:
    """The configuration class of a method's name.

    Raises:
        UsageError: if there is no such method.
    """
    return METHOD_NAMES[choose(name, METHOD_NAMES, "method")]
