"""The hardest and the easiest images by the scores that a selection went by, as a page shows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxdistill.errors import UsageError
from jaxdistill.io.files import load_arrays
from jaxdistill.io.pictures import READABLE
from jaxdistill.report.html import picture
from jaxdistill.report.outcome import GAP

__all__ = ["ends"]


def ends(path: Path, names: list[str]) -> dict[str, Any] | None:
    """What ``scores.npz`` keeps of both ends: a row for each class, and which score it is.

    Args:
        path: the file (`jaxdistill.io.scores.save_scores`).
        names: of the classes; where they are not known, their numbers stand for them.

    Returns:
        ``name``, ``made`` and ``rows``; None where there is no file, or one that was written before it kept images.

    Raises:
        UsageError: if it is damaged.
    """
    if not path.exists():
        return None
    try:
        found = load_arrays(path)
    except UsageError as error:
        raise UsageError(f"{path} is damaged ({error}); remove it to leave it out") from None
    if not {"shown", "hardest", "easiest"} <= found.keys() or not found["hardest"].size:
        return None
    shown = [names[label] if label < len(names) else str(label) for label in found["shown"]]
    sides = [[picture(_strip(row), 640) for row in found[side]] for side in ("hardest", "easiest")]
    rows = [{"name": name, "hardest": one, "easiest": other} for name, one, other in zip(shown, *sides, strict=True)]
    return {"name": str(found.get("name", "")), "made": str(found.get("made", "")), "rows": rows}


def _strip(images: np.ndarray) -> Image.Image:
    """Images beside each other, enlarged until one can see them, with gaps that the page shines through."""
    times = max(1, round(READABLE / max(images.shape[1:3])))
    images = images.repeat(times, axis=1).repeat(times, axis=2)
    count, height, width, _ = images.shape
    colours = np.broadcast_to(images, (count, height, width, 3))
    opaque = np.concatenate([colours, np.full((count, height, width, 1), 255, np.uint8)], -1)
    apart = np.pad(opaque, ((0, 0), (0, 0), (0, GAP), (0, 0)))
    return Image.fromarray(np.concatenate(list(apart), axis=1)[:, :-GAP])
