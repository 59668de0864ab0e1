"""What goes wrong through no fault of the library's."""

from __future__ import annotations

__all__ = ["RunFailedError", "UsageError"]


class UsageError(ValueError):
    """Arguments, settings, data or a file that cannot be used; the message is one sentence: why, and what to do.

    Commands print that sentence and exit with status 2. Any other exception out of this package is a fault of ours and
    shows its traceback.
    """


class RunFailedError(RuntimeError):
    """A run that began and could not end well; the message is one sentence."""
