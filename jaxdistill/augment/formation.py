"""Multi-formation: several small images stored in one (IDC, Kim et al., ICML 2022, section 4)."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxdistill.types import SyntheticSet

__all__ = ["decode", "decode_images"]


def decode_images(images: Float[Array, "n h w c"], factor: int) -> Float[Array, "m h w c"]:
    """Cut each image into ``factor x factor`` patches and upsample each to full size (bilinear, half-pixel centres).

    Class-major order is kept: the ``factor**2`` tiles of an image follow one another, row by row. Sides that `factor`
    does not divide are padded with zeros below and to the right first.
    """
    if factor == 1:
        return images
    n, h, w, c = images.shape
    images = jnp.pad(images, ((0, 0), (0, -h % factor), (0, -w % factor), (0, 0)))
    ph, pw = images.shape[1] // factor, images.shape[2] // factor
    patches = images.reshape(n, factor, ph, factor, pw, c).transpose(0, 1, 3, 2, 4, 5).reshape(-1, ph, pw, c)
    return jax.image.resize(patches, (patches.shape[0], h, w, c), "bilinear")


def decode(synthetic: SyntheticSet) -> SyntheticSet:
    """The set that a network trains on: tiles cut out and upsampled, labels repeated. The same set for formation 1."""
    tiles = synthetic.formation**2
    if tiles == 1:
        return synthetic
    return dataclasses.replace(
        synthetic,
        images=decode_images(synthetic.images, synthetic.formation),
        labels=jnp.repeat(synthetic.labels, tiles, axis=0),
        weights=None if synthetic.weights is None else jnp.repeat(synthetic.weights, tiles),
        formation=1,
    )
