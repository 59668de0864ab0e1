"""The processes of a pod find each other before JAX looks for them: if one does not come, JAX ends the others."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Callable

from jaxdistill.errors import UsageError

__all__ = ["meet"]

WAIT = 300.0
"""Seconds that all have to come."""
_PAUSE = 0.2
_GO = b"go"


def meet(others: str, tell: Callable[[str], None], wait: float = WAIT) -> tuple[str, int, int]:
    """Wait until all are there.

    Args:
        others: ``HOST:PORT,COUNT,INDEX``, the first two the same everywhere; the process of index 0 runs on HOST.
        tell: told for whom it waits.
        wait: seconds at the most.

    Returns:
        Address of the first process, number of processes, and which of them this is.

    Raises:
        UsageError: if it is not that, or somebody does not come.
    """
    match = re.fullmatch(r"(.+):(\d+),(\d+),(\d+)", others)
    if not match:
        raise UsageError(f"--distributed is auto or HOST:PORT,COUNT,INDEX, not '{others}'")
    host, port, count, index = match[1], *map(int, match.groups()[1:])
    if not (0 < port < 2**16 and index < count):
        raise UsageError(f"--distributed has a PORT from 1 to 65535 and an INDEX from 0 to COUNT - 1, not '{others}'")
    end = time.monotonic() + wait
    if count > 1 and index == 0:
        tell(f"waiting up to {wait:.0f} s at {host}:{port} for {count - 1} other process{'es' * (count > 2)}")
        _gather(port, count, end, wait)
    elif count > 1:
        tell(f"waiting up to {wait:.0f} s for process 0 at {host}:{port}")
        _arrive(host.strip("[]"), port, index, end, wait)
    return f"{host}:{port}", count, index


def _gather(port: int, count: int, end: float, wait: float) -> None:
    """Process 0: hear of each other index, then send all on."""
    here: dict[int, socket.socket] = {}
    with contextlib.ExitStack() as stack:
        try:
            family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET
            server = stack.enter_context(
                socket.create_server(("", port), family=family, dualstack_ipv6=family == socket.AF_INET6)
            )
        except OSError as error:
            raise UsageError(f"port {port} cannot be used ({error.strerror}); give --distributed another") from None
        while lacking := sorted(set(range(1, count)) - set(here)):
            left = end - time.monotonic()
            if left <= 0:
                raise UsageError(
                    f"process {', '.join(map(str, lacking))} of {count} did not come within {wait:.0f} s; start all of "
                    "them, each with its own INDEX"
                )
            server.settimeout(left)
            with contextlib.suppress(OSError, ValueError):
                peer = stack.enter_context(server.accept()[0])
                peer.settimeout(5.0)
                index = int(peer.recv(32))
                if index in lacking:
                    here[index] = peer
        for peer in here.values():
            with contextlib.suppress(OSError):
                peer.sendall(_GO)
                peer.recv(1)  # the other side closes first, so that the port is free at once


def _arrive(host: str, port: int, index: int, end: float, wait: float) -> None:
    """Another process: say which one, and wait to be sent on."""
    while (left := end - time.monotonic()) > 0:
        with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=min(left, 5.0)) as peer:
            peer.sendall(str(index).encode())
            peer.settimeout(max(end - time.monotonic(), _PAUSE))
            if peer.recv(len(_GO)) == _GO:
                return
        time.sleep(_PAUSE)
    raise UsageError(
        f"process 0 at {host}:{port} did not answer within {wait:.0f} s; see that all of them were started"
    )
