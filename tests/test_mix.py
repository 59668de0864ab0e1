"""CutMix against a NumPy re-derivation: what is pasted, what the labels say, and how large boxes are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment.transform import cutmix

N, H, W = 6, 9, 12
IMAGES = np.arange(N, dtype=np.float32)[:, None, None, None] * np.ones((N, H, W, 2), np.float32)
LABELS = np.eye(N, dtype=np.float32)
MANY = 8000


@pytest.fixture(scope="module")
def mixed():
    """Many batches of images whose pixels are their number, so that a pixel says where it comes from."""
    keys = jax.random.split(jax.random.key(0), MANY)
    mix = jax.jit(jax.vmap(lambda key: cutmix(key, jnp.asarray(IMAGES), jnp.asarray(LABELS), 0.5)))
    images, labels = (np.asarray(x) for x in mix(keys))
    assert (images[..., 0] == images[..., 1]).all()
    return images[..., 0].astype(int), labels


def boxes_of(images):
    """Height and width of what was pasted into each batch; 0 where nothing was."""
    changed = (images != np.arange(N)[:, None, None]).any(axis=1)
    return changed.any(axis=2).sum(axis=1), changed.any(axis=1).sum(axis=1)


def test_one_box_and_one_permutation_serve_a_batch_and_labels_weigh_areas(mixed):
    for images, labels in zip(mixed[0][:300], mixed[1][:300], strict=True):
        changed = images != np.arange(N)[:, None, None]
        box = changed.any(axis=0)
        rows, columns = box.any(axis=1), box.any(axis=0)
        np.testing.assert_array_equal(box, np.outer(rows, columns))
        for inside in (rows, columns):
            assert np.abs(np.diff(np.pad(inside.astype(int), 1))).sum() in (0, 2)  # a single run
        origin = np.array([image[box][0] if box.any() else i for i, image in enumerate(images)])
        np.testing.assert_array_equal(np.sort(origin), np.arange(N))
        np.testing.assert_array_equal(images, np.where(box, origin[:, None, None], np.arange(N)[:, None, None]))
        share = box.sum() / (H * W)
        np.testing.assert_allclose(labels, (1 - share) * LABELS + share * LABELS[origin], atol=1e-6)


def test_boxes_are_distributed_as_in_the_papers_code(mixed):
    """Half of the batches stay whole; a box has a side of sqrt(U) of the image's, and is cut off at the border."""
    rng = np.random.default_rng(0)
    side = np.sqrt(rng.uniform(size=MANY))
    used = rng.uniform(size=MANY) < 0.5
    expected = []
    for length in (H, W):
        centre, half = rng.integers(0, length, MANY), (side * length).astype(int) // 2
        expected.append(used * (np.minimum(centre + half, length) - np.maximum(centre - half, 0)))
    expected = [np.where(expected[0] * expected[1] > 0, size, 0) for size in expected]
    found = boxes_of(mixed[0])
    for ours, theirs, length in zip(found, expected, (H, W), strict=True):
        for size in range(length + 1):
            a, b = np.mean(ours == size), np.mean(theirs == size)
            assert abs(a - b) < 4 * np.sqrt((a + b) / MANY) + 1e-3
    areas = [heights * widths for heights, widths in (found, expected)]
    assert abs(areas[0].mean() - areas[1].mean()) < 4 * np.sqrt((areas[0].var() + areas[1].var()) / MANY)


def test_probability_zero_is_the_identity_and_one_mixes_unless_the_box_is_empty():
    images, labels = jnp.asarray(IMAGES), jnp.asarray(LABELS)
    same = cutmix(jax.random.key(0), images, labels, 0.0)
    assert same[0] is images
    assert same[1] is labels
    keys = jax.random.split(jax.random.key(1), 500)
    found, _ = jax.jit(jax.vmap(lambda key: cutmix(key, images, labels, 1.0)))(keys)
    heights, _ = boxes_of(np.asarray(found[..., 0]).astype(int))
    # a side below two pixels rounds to an empty box: sqrt(U) < 2 / 9 for the shorter one
    assert 0.9 < np.mean(heights > 0) < 1


def test_a_batch_of_one_is_left_alone():
    image, label = jnp.asarray(IMAGES[3:4]), jnp.asarray(LABELS[3:4])
    found = cutmix(jax.random.key(0), image, label, 1.0)
    np.testing.assert_array_equal(found[0], image)
    np.testing.assert_allclose(found[1], label, atol=1e-6)
