"""Coverage against brute force over all pairs in float64, and what it promises of any set."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment.formation import decode_images
from jaxdistill.commands import cover
from jaxdistill.evaluation.coverage import CHUNK, coverage, nearest, radius
from jaxdistill.types import Features, Network, SyntheticSet, Variables

RNG = np.random.default_rng(0)
TRAIN, TEST, SET = (jnp.asarray(RNG.normal(size=(n, 5)), jnp.float32) for n in (40, 33, 9))
TRAIN_LABELS, TEST_LABELS, SET_LABELS = (jnp.asarray(RNG.integers(0, 3, n)) for n in (40, 33, 9))
DIFFICULTY = RNG.integers(0, 6, 33).astype(np.float32)  # with ties, one of them in the middle


def distances(points, others):
    points, others = np.asarray(points, np.float64), np.asarray(others, np.float64)
    return np.sqrt(((points[:, None] - others) ** 2).sum(-1))


def among(table, labels, other_labels):
    return np.where(np.asarray(labels)[:, None] == np.asarray(other_labels), table, np.inf)


@pytest.mark.parametrize("same_class", [False, True])
def test_nearest_and_radius_equal_brute_force(same_class):
    points, labels = jnp.concatenate([TRAIN] * 15) + RNG.normal(size=(600, 5)), jnp.asarray(RNG.integers(0, 3, 600))
    assert len(points) > CHUNK  # and no multiple of it
    between, within = distances(points, SET), distances(points, points) + np.diag(np.full(600, np.inf))
    if same_class:
        between, within = among(between, labels, SET_LABELS), among(within, labels, labels)
    pairs = ((labels, SET_LABELS), (labels, labels)) if same_class else (None, None)
    np.testing.assert_allclose(nearest(points, SET, labels=pairs[0]), between.min(1), rtol=1e-5)
    np.testing.assert_allclose(nearest(points, points, skip_self=True, labels=pairs[1]), within.min(1), rtol=1e-4)
    np.testing.assert_allclose(radius(points, labels if same_class else None), within.min(1).mean(), rtol=1e-5)


@pytest.mark.parametrize("same_class", [False, True])
@pytest.mark.parametrize("n", [32, 33])
def test_coverage_equals_brute_force(n, same_class):
    within, table = 1.8, distances(TEST[:n], SET)
    labels = (TEST_LABELS[:n], SET_LABELS) if same_class else (None, None)
    covered = (among(table, *labels) if same_class else table).min(1) < within
    ranked = sorted(range(n), key=lambda i: (DIFFICULTY[i], i))
    expected = [covered.mean(), covered[ranked[: n // 2]].mean(), covered[ranked[n // 2 :]].mean()]
    assert len({*expected, 0, 1}) == 5  # or the comparison would say little
    np.testing.assert_allclose(coverage(TEST[:n], SET, within, DIFFICULTY[:n], *labels), expected)


def test_nothing_is_lost_far_from_the_origin():
    points = 1000 + jnp.concatenate([TRAIN, TRAIN[:3]])
    found = np.asarray(nearest(points, points, skip_self=True))
    assert (found[[0, 1, 2, 40, 41, 42]] == 0).all()
    np.testing.assert_allclose(found, (distances(points, points) + np.diag(np.full(43, np.inf))).min(1), rtol=1e-5)
    assert (np.asarray(nearest(points, points)) == 0).all()


def test_no_neighbour_is_infinitely_far_and_does_not_count_in_the_radius():
    lonely = jnp.array([0, 0, 0, 1])
    points = jnp.array([[0.0], [1.0], [3.0], [3.5]])
    np.testing.assert_array_equal(nearest(points, points, skip_self=True, labels=(lonely, lonely)), [1, 1, 2, np.inf])
    np.testing.assert_allclose(radius(points, lonely), 4 / 3)
    assert np.isnan(radius(points.at[0].set(jnp.nan)))
    none = jnp.full(4, 2)
    assert coverage(points, points, 100.0, np.arange(4.0), lonely, none) == (0, 0, 0)


def test_the_training_split_covers_itself():
    assert coverage(TRAIN, TRAIN, radius(TRAIN), np.arange(40.0)) == (1, 1, 1)


def test_the_radius_itself_is_outside():
    points, others = jnp.array([[0.0], [1.0]]), jnp.array([[2.0]])
    assert coverage(points, others, 1.0, np.arange(2.0)).all == 0
    assert coverage(points, others, 1.001, np.arange(2.0)) == (0.5, 0, 1)


def test_the_first_of_equally_difficult_examples_are_the_easy_half():
    assert coverage(TEST[:7], TEST[:3], 1e-3, np.zeros(7)) == (3 / 7, 1, 0)


def test_more_examples_never_cover_less():
    within = float(radius(TRAIN))
    found = np.array([coverage(TEST, TRAIN[:m], within, DIFFICULTY) for m in (1, 5, 20, 40)])
    assert (np.diff(found, axis=0) >= 0).all()
    assert found[0, 0] < found[-1, 0]


def test_a_set_is_embedded_a_block_at_a_time(monkeypatch):
    """Its tiles as they are trained on, in their order, whatever the blocks."""
    monkeypatch.setattr(cover, "BATCH", 9)
    rng, sizes, matrix = np.random.default_rng(1), set(), RNG.normal(size=(32, 3))

    def features(variables, images, train=False):
        sizes.add(len(images))
        return Features(images.reshape(len(images), -1) @ variables.params, ())

    network = Network(lambda key: None, lambda *_: None, features)
    for formation, most in ((1, 9), (2, 8)):
        stored = SyntheticSet(rng.normal(size=(10, 4, 4, 2)), np.eye(2).repeat(5, 0), formation=formation)
        sizes.clear()
        found = cover._embedded(network, Variables(matrix, {}), stored, np.zeros(2))
        images = np.asarray(decode_images(jnp.asarray(stored.images), formation))
        np.testing.assert_allclose(found, images.reshape(-1, 32) @ matrix, rtol=1e-4, atol=1e-5)
        assert len(found) == 10 * formation**2
        assert max(sizes) == most


def test_half_of_the_labels_and_other_difficulties_are_refused():
    with pytest.raises(ValueError, match="give both"):
        coverage(TEST, SET, 1.0, DIFFICULTY, TEST_LABELS)
    with pytest.raises(ValueError, match="32 difficulties for 33 test images"):
        coverage(TEST, SET, 1.0, DIFFICULTY[1:])
