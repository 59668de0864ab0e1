"""What a run has used of the machine."""

from __future__ import annotations

import resource
import sys
from typing import Any

import jax

__all__ = ["machine"]


def machine() -> dict[str, Any]:
    """The device's name and the peak memory so far: the accelerator's own, or the whole process's on a CPU."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    unit = 1 if sys.platform == "darwin" else 1024
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {
        "device": f"{jax.device_count()} x {device.device_kind}",
        "peak_memory_bytes": int(stats.get("peak_bytes_in_use", resident)),
    }
