"""Being asked to stop: Ctrl-C, and SIGTERM, which Slurm and preempted machines send, as if it were one."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["asked", "terminable"]

STOPPING = b"stopping after the steps under way; once more to stop at once\n"
_UNHEARD = ("__del__", "_xla_gc_callback")
"""What Python calls between two instructions and whose exceptions it prints and drops; the second is JAX's."""
GRACE = 2.0
"""Seconds after a second signal until the process ends, whatever it is at: Python's own handlers wait for a
compilation to end."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Ctrl-C is never lost, and SIGTERM does what Ctrl-C does at the time."""

    def end(number: int, frame: Any) -> None:
        handler = signal.getsignal(signal.SIGINT)
        # Ignored, as in a shell's background, is Ctrl-C alone.
        (handler if callable(handler) else _interrupt)(number, frame)

    with contextlib.ExitStack() as stack:
        if callable(signal.getsignal(signal.SIGINT)):
            stack.enter_context(_handling(signal.SIGINT, _interrupt))
        stack.enter_context(_handling(signal.SIGTERM, end))
        yield


@contextlib.contextmanager
def asked(*, ends: bool = True) -> Iterator[list[int]]:
    """A list that a first signal fills, so that a run can save what it has; a second one interrupts at once.

    Both are answered when they come, also while a program is being compiled: then the second one ends the process,
    unless that is not to be (`ends`), as in a notebook, whose other work would be lost.
    """
    found: list[int] = []

    def note(number: int, frame: Any) -> None:
        if found:
            _interrupt(number, frame)
        found.append(number)

    with _handling(signal.SIGINT, note), _answered(ends):
        yield found


def _interrupt(number: int, frame: Any) -> None:
    """Raise, or do so a little later where nobody would hear of it: in what the garbage collector calls."""
    here = frame
    while here is not None:
        if here.f_code.co_name in _UNHEARD:
            threading.Timer(0.01, os.kill, (os.getpid(), number)).start()
            return
        here = here.f_back
    raise KeyboardInterrupt


@contextlib.contextmanager
def _handling(which: int, handler: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread alone
        yield
        return
    before = signal.signal(which, handler)
    try:
        yield
    finally:
        signal.signal(which, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
def _answered(ends: bool) -> Iterator[None]:
    """A thread that hears of signals at once, which Python's handlers, between two of its instructions, may not."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    hears, tells = socket.socketpair()
    tells.setblocking(False)
    left = threading.Event()

    def listen() -> None:
        times = 0
        while heard := hears.recv(64):
            times += sum(number in (signal.SIGINT, signal.SIGTERM) for number in heard)
            if times == 1:
                with contextlib.suppress(OSError, ValueError):
                    os.write(sys.stderr.fileno(), STOPPING)
            elif ends and times > 1 and not left.wait(GRACE):
                os._exit(1)

    before = signal.set_wakeup_fd(tells.fileno(), warn_on_full_buffer=False)
    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield
    finally:
        left.set()
        signal.set_wakeup_fd(before)
        tells.close()
        thread.join()
        hears.close()
