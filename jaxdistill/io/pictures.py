"""A set as one picture."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

__all__ = ["READABLE", "grid", "img", "png"]

ROWS, READABLE = 20, 48


def grid(
    images: Float[np.ndarray, "n h w c"], num_classes: int, columns: int = 10, *, counts: Sequence[int] | None = None
) -> UInt8[np.ndarray, "_h _w 3"]:
    """Lay out class-major images, a row for each class, clipped to [0, 1] and enlarged until one can see them.

    Args:
        images: display space.
        num_classes: classes; at most 20 of them are shown, spread evenly.
        columns: images shown of each class, the first ones.
        counts: images of each class; by default as many of each.
    """
    images = np.asarray(images)
    n, h, w, _ = images.shape
    sizes = np.full(num_classes, n // num_classes) if counts is None else np.asarray(counts)
    place = np.arange(min(int(sizes.max()), columns))
    at, there = (np.cumsum(sizes) - sizes)[:, None] + place, place < sizes[:, None]
    if num_classes > ROWS:
        at, there = (each[np.linspace(0, num_classes - 1, ROWS).round().astype(int)] for each in (at, there))
    times = max(1, round(READABLE / max(h, w)))
    pixels = (np.clip(images[np.where(there, at, 0)], 0, 1) * 255).round().astype(np.uint8)
    pixels[~there] = 255
    pixels = np.broadcast_to(pixels, (*pixels.shape[:-1], 3)).repeat(times, axis=2).repeat(times, axis=3)
    gap = 2
    framed = np.pad(pixels, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    rows, across, height, width, _ = framed.shape
    return framed.transpose(0, 2, 1, 3, 4).reshape(rows * height, across * width, 3)


def png(pixels: UInt8[np.ndarray, "h w c"]) -> bytes:
    """A picture of one or three channels as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def img(picture: bytes, alt: str) -> str:
    """A PNG file as an element of a page."""
    return f'<img src="data:image/png;base64,{base64.b64encode(picture).decode()}" alt="{html.escape(alt)}">'
