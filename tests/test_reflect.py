"""Reflecting crop and flip against windows cut out by hand."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment import Reflect, for_dataset, make

SIDES = (7, 10)
IMAGE = np.random.default_rng(0).normal(size=(*SIDES, 2)).astype(np.float32)
COUNT = 4000


def mirrored(index, length):
    """Where a pixel outside is taken from: the border pixel itself is not repeated."""
    return abs(index) if index < length else 2 * (length - 1) - index


def window(y, x):
    """The image seen from y pixels above and x pixels left of its corner."""
    rows, columns = ([mirrored(i - by, n) for i in range(n)] for n, by in zip(SIDES, (y, x), strict=True))
    return IMAGE[rows][:, columns]


WINDOWS = np.stack([window(y, x) for y in range(-4, 5) for x in range(-4, 5)])


def augmented(strategy, siamese):
    images = jnp.broadcast_to(IMAGE, (COUNT, *IMAGE.shape))
    return np.asarray(jax.jit(partial(Reflect(strategy), siamese=siamese))(jax.random.key(0), images))


def counts(images, candidates):
    """How often each candidate occurs among the images, all of which are one of them."""
    images, candidates = (np.ascontiguousarray(x).reshape(len(x), -1) for x in (images, candidates))
    numbers = {row.tobytes(): number for number, row in enumerate(candidates)}
    assert len(numbers) == len(candidates)
    return np.bincount([numbers[row.tobytes()] for row in images], minlength=len(candidates))


@pytest.mark.parametrize(
    ("strategy", "candidates"),
    [
        ("crop", WINDOWS),
        ("flip", np.stack([IMAGE, IMAGE[:, ::-1]])),
        ("crop_flip", np.concatenate([WINDOWS, WINDOWS[:, :, ::-1]])),
    ],
)
def test_every_window_and_mirror_image_is_as_likely_for_each_image(strategy, candidates):
    found = counts(augmented(strategy, siamese=False), candidates)
    expected = COUNT / len(candidates)
    assert ((found - expected) ** 2 / expected).sum() < 1.5 * len(candidates) + 8  # chi-square


def test_siamese_calls_share_one_draw():
    images = augmented("crop_flip", siamese=True)
    assert (images == images[0]).all()
    few = Reflect()(jax.random.key(0), jnp.asarray(IMAGE)[None], siamese=True)
    np.testing.assert_array_equal(few[0], images[0])


def test_names():
    assert make("reflect:crop_flip") == Reflect("crop_flip")
    assert for_dataset("reflect:crop_flip", "mnist") == "reflect:crop_flip"
    images = jnp.asarray(IMAGE)[None]
    np.testing.assert_array_equal(make("reflect:none")(jax.random.key(0), images, siamese=False), images)
    with pytest.raises(ValueError, match="unknown augmentation 'color'"):
        make("reflect:color")
