"""Self-contained HTML pages: no scripts, nothing loaded from anywhere, and every value escaped."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path
from typing import Any

import jinja2
from PIL import Image

__all__ = ["duration", "here", "number", "picture", "render"]

MINUS = "\N{MINUS SIGN}"


def render(template: str, **context: Any) -> str:
    """A page of one of this package's templates.

    Args:
        template: its name, without ``.html.jinja``.
        **context: what it shows; a name that it asks for and that is not there is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("jaxdistill.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda fraction: f"{100 * fraction:.1f}"
    environment.filters["points"] = lambda fraction: f"{100 * fraction:+.1f}".replace("-", MINUS)
    environment.filters["number"] = number
    return environment.get_template(f"{template}.html.jinja").render(**context)


def picture(image: Image.Image, widest: int) -> dict[str, Any]:
    """An image for a page, as ``uri``, ``width`` and ``height``; no wider than so many pixels."""
    image.thumbnail((widest, image.height))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    uri = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    return {"uri": uri, "width": image.width, "height": image.height}


def duration(seconds: float) -> str:
    """A time as one reads it."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def number(value: float) -> str:
    """A whole number with separators, as in 1,359."""
    return f"{value:,}"


def here(path: Path) -> str:
    """A path as one types it from the current folder: relative to it where it lies below."""
    relative = os.path.relpath(path)
    return os.path.abspath(path) if relative.startswith(os.pardir) else relative
