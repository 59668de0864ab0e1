"""The methods, one file and one line each."""

from collections.abc import Callable

from jaxdistill.common.names import choose
from jaxdistill.methods import datadam, datm, dc, dd, dit, dm, dsa, frepo, ftd, idc, kip, minimax, mtt, selmatch, tesla
from jaxdistill.types import Method

__all__ = ["CHECKED", "METHODS", "METHOD_NAMES", "method_config"]

METHODS: dict[type, Callable[..., Method]] = {
    dd.DD: dd.dd, dc.DC: dc.dc, dsa.DSA: dsa.dsa, dm.DM: dm.dm, idc.IDC: idc.idc, datadam.DataDAM: datadam.datadam,
    mtt.MTT: mtt.mtt, tesla.TESLA: tesla.tesla, ftd.FTD: ftd.ftd, datm.DATM: datm.datm,
    selmatch.SelMatch: selmatch.selmatch, kip.KIP: kip.kip, frepo.FRePo: frepo.frepo, dit.DiT: dit.dit,
    minimax.Minimax: minimax.minimax,
}  # fmt: skip
"""Configuration class -> builder ``(config, task) -> Method``; the only place where a method is named."""
METHOD_NAMES: dict[str, type] = {builder.__name__: config for config, builder in METHODS.items()}
"""Name on the command line -> configuration class."""
CHECKED: dict[type, str] = {
    **dict.fromkeys((dd.DD, dc.DC, dsa.DSA, dm.DM, idc.IDC, datadam.DataDAM), "PyTorch"),
    **dict.fromkeys((mtt.MTT, tesla.TESLA, ftd.FTD, datm.DATM), "PyTorch"),
    dit.DiT: "authors' code",
}
"""Configuration class -> what computed the golden values (``tests/reference``) that the method agrees with: the paper's
formulas in PyTorch and float64, or the code that its authors released. Others have none of their own."""


def method_config(name: str) -> type:
    """The configuration class of a method's name.

    Raises:
        UsageError: if there is no such method.
    """
    return METHOD_NAMES[choose(name, METHOD_NAMES, "method")]
