"""From stored images to what networks see, and back: a mean and a scale per channel, or ZCA whitening."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Array, Float, Shaped

from jaxdistill.errors import UsageError

__all__ = ["LARGEST_WHITENED", "STATISTICS", "Preprocess", "constants", "fit"]

Images = Shaped[Array | np.ndarray, "n h w c"]

_CHUNK = 4096
LARGEST_WHITENED = 16_384
"""Most numbers in an image that can be whitened: the covariance of so many takes 2 GiB; at 128x128x3 it would be 18,
and its eigenvectors would take 27 times as long."""
_FAINT = 0.1
"""Of a range of 1."""

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATISTICS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mnist": ((0.1307,), (0.3081,)),
    "fashion_mnist": ((0.2861,), (0.3530,)),
    "svhn_cropped": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
    "tiny_imagenet": _IMAGENET,
    "imagenet_resized/64x64": _IMAGENET,
    **{f"image{subset}": _IMAGENET for subset in ("nette", "woof", "fruit", "meow", "squawk", "yellow")},
    **dict.fromkeys(("imagenet10", "imagenet100"), _IMAGENET),
    "tiny_imagenet-selmatch": ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
}
"""Mean and standard deviation of [0, 1] images as the DC family has them, by TFDS name. CIFAR-10's deviation is the
mean of the images' own (the data set's is .247 .243 .261); all published figures of the family depend on it. The last
are those of SelMatch's code."""


class Preprocess(NamedTuple):
    """A fitted transform of [0, 1] images; `invert` undoes `apply`."""

    mean: Float[np.ndarray, " c"]
    std: Float[np.ndarray, " c"]
    center: Float[np.ndarray, " d"] | None = None
    """Mean of the flattened images; None without whitening."""
    whiten: Float[np.ndarray, "d d"] | None = None
    unwhiten: Float[np.ndarray, "d d"] | None = None

    def affine(self, dtype: np.dtype) -> tuple[Float[np.ndarray, " c"], Float[np.ndarray, " c"]]:
        """``(scale, shift)`` with preprocessed = stored * scale + shift, for images stored as `dtype`.

        Integer images are in 0..255, others in [0, 1]. Whitening is not affine per channel: use `apply` then.
        """
        unit = 255.0 if np.issubdtype(dtype, np.integer) else 1.0
        return (1.0 / (unit * self.std)).astype(np.float32), (-self.mean / self.std).astype(np.float32)

    def apply(self, images: Images) -> Float[np.ndarray, "n h w c"]:
        """Preprocess stored images (integers in 0..255, or floats in [0, 1])."""
        scale, shift = self.affine(images.dtype)
        return _by_chunks(images, lambda part: self._whitened(part.astype(np.float32) * scale + shift))

    def of_unit(self, images: Any) -> Any:
        """Preprocess [0, 1] images all at once, NumPy's or JAX's."""
        scale, shift = self.affine(np.dtype(np.float32))
        return self._whitened(images * scale + shift)

    def invert(self, images: Images) -> Float[np.ndarray, "n h w c"]:
        """Preprocessed images as [0, 1] images; synthetic ones may leave that range."""
        return _by_chunks(images, self.to_unit)

    def to_unit(self, images: Any) -> Any:
        """Preprocessed images as [0, 1] images all at once, NumPy's or JAX's."""
        return self._coloured(images) * self.std + self.mean

    def _whitened(self, images: Any) -> Any:
        if self.whiten is None:
            return images
        return ((images.reshape(len(images), -1) - self.center) @ self.whiten).reshape(images.shape)

    def _coloured(self, images: Any) -> Any:
        if self.unwhiten is None:
            return images
        return (images.reshape(len(images), -1) @ self.unwhiten + self.center).reshape(images.shape)

    def equals(self, other: Preprocess) -> bool:
        """Whether both give the same images, bit for bit."""
        ours, theirs = self.arrays(), other.arrays()
        return ours.keys() == theirs.keys() and all(np.array_equal(ours[name], theirs[name]) for name in ours)

    def arrays(self) -> dict[str, np.ndarray]:
        """Every array by name, to be stored."""
        return {name: value for name, value in self._asdict().items() if value is not None}


def fit(
    images: Shaped[np.ndarray, "n h w c"],
    *,
    statistics: tuple[tuple[float, ...], tuple[float, ...]] | None = None,
    zca: bool = False,
    regularisation: float = 0.1,
) -> Preprocess:
    """Fit on the training images.

    Args:
        images: integers in 0..255, or floats in [0, 1].
        statistics: published mean and deviation of each channel; by default those of `images`.
        zca: whiten flattened [0, 1] images instead, as MTT does (Cazenavette et al., CVPR 2022): the covariance is
            unbiased and ``whiten = U diag(1 / sqrt(S + regularisation)) U^T``. Images of hardly any contrast, which
            the regularisation would flatten, are first stretched to a range of 1.
        regularisation: added to the eigenvalues.

    Raises:
        UsageError: if images to be whitened have more numbers than `LARGEST_WHITENED`.
    """
    channels = images.shape[-1]
    if zca:
        h, w, _ = images.shape[1:]
        if h * w * channels > LARGEST_WHITENED:
            raise UsageError(
                f"images of {h}x{w}x{channels} have {h * w * channels:,} numbers, and whitening is for "
                f"{LARGEST_WHITENED:,} at the most; switch `zca` off, or take smaller images"
            )
        low, high, _ = _range(images)
        span = float((high - low).max())
        stretch = span if 0 < span < _FAINT else 1.0
        unit = Preprocess(np.zeros(channels, np.float32), np.full(channels, stretch, np.float32))
        center = np.zeros(images[0].size)
        for part in _chunks(images):
            center += unit.apply(part).reshape(len(part), -1).sum(0, dtype=np.float64) / len(images)
        covariance = np.zeros((center.size, center.size))
        for part in _chunks(images):
            centred = unit.apply(part).reshape(len(part), -1) - center
            covariance += centred.T @ centred
        values, vectors = np.linalg.eigh(covariance / max(len(images) - 1, 1))
        root = np.sqrt(np.maximum(values, 0.0) + regularisation)
        whiten, unwhiten = ((vectors * scale) @ vectors.T for scale in (1 / root, root))
        return unit._replace(
            **{k: v.astype(np.float32) for k, v in (("center", center), ("whiten", whiten), ("unwhiten", unwhiten))}
        )
    if statistics is None or len(statistics[0]) != channels:
        low, high, unit = _range(images)
        total, squares = np.zeros(channels), np.zeros(channels)
        for part in _chunks(images):
            above = part.astype(np.float64) / unit - low  # so that little contrast far from black is not rounded away
            total, squares = total + above.sum((0, 1, 2)), squares + (above**2).sum((0, 1, 2))
        count = images.size / channels
        std = np.sqrt(np.maximum(squares / count - (total / count) ** 2, 0.0))
        # A constant channel carries nothing; dividing by its deviation would make noise of rounding.
        constant = std <= np.finfo(np.float32).eps * high
        statistics = tuple(low + total / count), tuple(np.where(constant, 1.0, std))
    mean, std = (np.asarray(values, np.float32) for values in statistics)
    return Preprocess(mean, std)


def constants(name: str, dataset: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Published mean and deviation of each channel.

    Args:
        name: ``"default"`` for those of the data set, ``"fitted"`` for none, or whose.
        dataset: its name.

    Returns:
        None where they are to be fitted.

    Raises:
        UsageError: if nobody published any of that name.
    """
    if name in ("default", "fitted"):
        return STATISTICS.get(dataset) if name == "default" else None
    if name not in STATISTICS:
        raise UsageError(f"unknown statistics '{name}'; choose default, fitted or one of {', '.join(STATISTICS)}")
    return STATISTICS[name]


def _range(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """The least and the largest value of each channel of [0, 1] images, and what 1 is stored as."""
    unit = 255.0 if np.issubdtype(images.dtype, np.integer) else 1.0
    low, high = (end(axis=(0, 1, 2)).astype(np.float64) / unit for end in (images.min, images.max))
    return low, high, unit


def _chunks(images: np.ndarray) -> Iterator[np.ndarray]:
    return (images[i : i + _CHUNK] for i in range(0, len(images), _CHUNK))


def _by_chunks(images: Images, transform) -> np.ndarray:
    """Transform in parts: a whole data set as float64 intermediates would not fit."""
    images = np.asarray(images)
    result = np.empty(images.shape, np.float32)
    for i, part in enumerate(_chunks(images)):
        result[i * _CHUNK : i * _CHUNK + len(part)] = transform(part)
    return result
