import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data.feeds import Both, ClassBalanced, Uniform, real_data

LABELS = np.array([2, 0, 1, 0, 2, 2, 0, 2, 1, 0])
IMAGES = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)


@pytest.fixture(scope="module")
def data():
    return real_data(IMAGES, LABELS, 3, np.array([0.5]), np.array([-1.0]))


def test_real_data_sorts_by_class_and_reads_preprocessed(data):
    assert data.counts.tolist() == [4, 2, 4]
    assert data.offsets.tolist() == [0, 4, 6]
    assert data.largest == 4
    batch = data.read(np.arange(10))
    assert batch.labels.tolist() == sorted(LABELS.tolist())
    expected = np.concatenate([IMAGES[c == LABELS] for c in range(3)]) * 0.5 - 1.0
    np.testing.assert_array_equal(batch.images, expected)
    assert batch.images.dtype == np.float32


def test_an_empty_class_is_an_error_in_training_only():
    with pytest.raises(ValueError, match="class 1 has no examples"):
        real_data(IMAGES[:2], np.array([0, 2]), 3, np.ones(1), np.zeros(1))
    assert real_data(IMAGES[:2], np.array([0, 2]), 3, np.ones(1), np.zeros(1), complete=False).counts[1] == 0


@pytest.mark.parametrize("per_class", [1, 3, 4, 50])
def test_class_balanced_draws_each_class_without_replacement(data, per_class):
    device = jax.tree.map(jnp.asarray, data)
    b = min(per_class, 4)
    seen = set()
    for i in range(20):
        plan = np.asarray(ClassBalanced(per_class).plan(jax.random.key(i), jnp.int32(i), device))
        batch = ClassBalanced(per_class).gather(plan, device)
        assert batch.labels.tolist() == [[c] * b for c in range(3)]
        for c, count in enumerate(data.counts):
            times = np.bincount(plan[c] - data.offsets[c], minlength=count)
            assert len(times) == count
            assert times.max() - times.min() <= 1  # all different, or the whole class in turn
        seen.add(tuple(plan.ravel()))
    assert len(seen) > 1


def test_class_balanced_is_uniform_over_a_class(data):
    plans = jax.vmap(lambda key: ClassBalanced(2).plan(key, jnp.int32(0), data))(
        jax.random.split(jax.random.key(0), 4000)
    )
    share = np.bincount(np.asarray(plans[:, 2]).ravel() - 6, minlength=4) / 8000
    np.testing.assert_allclose(share, 0.25, atol=0.02)


def test_uniform_draws_without_replacement_and_both_draws_two(data):
    plan = np.asarray(Uniform(10).plan(jax.random.key(0), jnp.int32(0), data))
    assert sorted(plan.tolist()) == list(range(10))
    assert (plan != Uniform(10).plan(jax.random.key(1), jnp.int32(0), data)).any()
    assert len(Uniform(25).plan(jax.random.key(0), jnp.int32(0), data)) == 25
    feed = Both(ClassBalanced(2), Uniform(5))
    balanced, uniform = feed.gather(feed.plan(jax.random.key(0), jnp.int32(0), data), data)
    assert balanced.images.shape == (3, 2, 1, 1, 1)
    assert uniform.images.shape == (5, 1, 1, 1)
