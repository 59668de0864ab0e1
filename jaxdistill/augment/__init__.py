"""Differentiable, keyed image augmentations, and their names."""

from jaxdistill.augment.named import (
    DSA,
    STRATEGIES,
    Chain,
    Classic,
    Each,
    Photo,
    Pixels,
    Reflect,
    Zoom,
    all_of,
    for_dataset,
    make,
)

__all__ = [
    "DSA",
    "STRATEGIES",
    "Chain",
    "Classic",
    "Each",
    "Photo",
    "Pixels",
    "Reflect",
    "Zoom",
    "all_of",
    "for_dataset",
    "make",
]
