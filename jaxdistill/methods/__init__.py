"""The methods, one file and one line each."""

from collections.abc import Callable

from jaxdistill.methods.datadam import DataDAM, datadam
from jaxdistill.methods.datm import DATM, datm
from jaxdistill.methods.dc import DC, dc
from jaxdistill.methods.dd import DD, dd
from jaxdistill.methods.dit import DiT, dit
from jaxdistill.methods.dm import DM, dm
from jaxdistill.methods.dsa import DSA, dsa
from jaxdistill.methods.frepo import FRePo, frepo
from jaxdistill.methods.ftd import FTD, ftd
from jaxdistill.methods.idc import IDC, idc
from jaxdistill.methods.kip import KIP, kip
from jaxdistill.methods.minimax import Minimax, minimax
from jaxdistill.methods.mtt import MTT, mtt
from jaxdistill.methods.selmatch import SelMatch, selmatch
from jaxdistill.methods.tesla import TESLA, tesla
from jaxdistill.names import choose
from jaxdistill.types import Method

__all__ = ["METHODS", "METHOD_NAMES", "method_config"]

METHODS: dict[type, Callable[..., Method]] = {
    DD: dd, DC: dc, DSA: dsa, DM: dm, IDC: idc, DataDAM: datadam, MTT: mtt, TESLA: tesla, FTD: ftd, DATM: datm,
    SelMatch: selmatch, KIP: kip, FRePo: frepo, DiT: dit, Minimax: minimax,
}  # fmt: skip
"""Configuration class -> builder ``(config, task) -> Method``; the only place where a method is named."""
METHOD_NAMES: dict[str, type] = {builder.__name__: config for config, builder in METHODS.items()}
"""Name on the command line -> configuration class."""


def method_config(name: str) -> type:
    """The configuration class of a method's name.

    Raises:
        UsageError: if there is no such method.
    """
    return METHOD_NAMES[choose(name, METHOD_NAMES, "method")]
