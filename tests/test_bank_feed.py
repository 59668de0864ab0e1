"""Segments of experts' trajectories: which are drawn, by DATM's formula, and that every store gives the same."""

from functools import partial

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxdistill.data.feeds import sample
from jaxdistill.data.trajectories import Bank, Segments

EXPERTS, EPOCHS, P = 3, 9, 5
# Numbers that bfloat16 holds exactly, all different.
VALUES = np.arange(EXPERTS * (EPOCHS + 1) * P, dtype=np.float32).reshape(EXPERTS, EPOCHS + 1, P)
BANK = Bank(jnp.asarray(VALUES), EXPERTS, EPOCHS)


@partial(jax.jit, static_argnums=0)
def plan(feed, key, step, bank):
    return feed.plan(key, step, bank)


def draws(feed, step, bank=BANK):
    """Experts and starts."""
    return [np.asarray(part) for part in plan(feed, jax.random.key(0), step, bank)]


def mapped(folder):
    """The bank as a memory map of each expert's file."""
    for expert, values in enumerate(VALUES):
        np.save(folder / f"{expert}.npy", values)
    return tuple(np.load(folder / f"{expert}.npy", mmap_mode="r") for expert in range(EXPERTS))


def test_every_expert_and_start_is_drawn_and_no_other():
    for feed in (Segments(2, 8, num_segments=500), Segments(3, 6, min_start=2, num_segments=500)):
        experts, starts = draws(feed, 0)
        assert experts.shape == starts.shape == (500,)
        pairs = set(zip(experts.tolist(), starts.tolist(), strict=True))
        possible = range(feed.min_start, feed.max_start)
        assert pairs == {(expert, start) for expert in range(EXPERTS) for start in possible}
        for drawn in (experts, starts - feed.min_start):
            counts = np.bincount(drawn)
            assert counts.min() > 0.6 * counts.mean()
        assert abs(np.corrcoef(experts, starts)[0, 1]) < 0.15


def test_keys_draw_differently():
    one, other = (plan(Segments(2, 8, num_segments=9), jax.random.key(seed), 0, BANK) for seed in (0, 1))
    for a, b in zip(one, other, strict=True):
        assert (np.asarray(a) != np.asarray(b)).any()


@pytest.mark.parametrize(("begin", "end", "grow"), [(2, 8, 10), (1, 4, 1000), (3, 7, 3), (4, 4, 5), (20, 70, 7)])
def test_the_bound_grows_by_datms_formula(begin, end, grow):
    feed = Segments(2, end, initial_max_start=begin, grow_steps=grow)
    steps = np.unique(np.linspace(0, 2 * grow, 41).astype(int))
    found = np.asarray(jax.jit(jax.vmap(feed.bound))(jnp.asarray(steps)))
    expected = [min(begin + int((end - begin) * int(step) / grow + 1e-9), end) for step in steps]
    np.testing.assert_array_equal(found, expected)
    assert (feed.bound(jnp.asarray(0)), feed.bound(jnp.asarray(grow))) == (begin, end)
    assert feed.bound(jnp.asarray(1_000_000)) == end
    assert Segments(2, end).bound(jnp.asarray(0)) == end


def test_starts_follow_the_bound():
    feed = Segments(2, 8, min_start=1, initial_max_start=3, grow_steps=10, num_segments=500)
    for step, bound in ((0, 3), (4, 5), (10, 8), (99, 8)):
        assert set(draws(feed, step)[1].tolist()) == set(range(1, bound))


def test_the_last_segment_ends_with_the_last_epoch():
    Segments(2, 8).plan(jax.random.key(0), jnp.asarray(0), BANK)
    growing = Segments(1, 20, initial_max_start=1, grow_steps=100)
    for feed, needed in ((Segments(3, 8), 10), (Segments(2, 9), 10), (growing, 20)):
        with pytest.raises(ValueError, match=f"need experts of {needed} epochs, and these have {EPOCHS}; train longer"):
            feed.plan(jax.random.key(0), jnp.asarray(0), BANK)


def test_every_store_gives_the_same_segments(tmp_path):
    feed = Segments(2, 8, num_segments=4)
    stores = {
        "array": BANK.params,
        "host": VALUES,
        "half": BANK.params.astype(jnp.bfloat16),
        "half on the host": VALUES.astype(ml_dtypes.bfloat16),
        "maps": mapped(tmp_path),
    }
    for seed in range(3):
        key = jax.random.key(seed)
        experts, starts = (np.asarray(part) for part in feed.plan(key, jnp.asarray(0), BANK))
        for name, params in stores.items():
            bank = Bank(params, EXPERTS, EPOCHS)
            found = [sample(feed, key, 0, bank), feed.gather((experts, starts), bank)]
            if name in ("array", "half"):
                found.append(jax.jit(lambda key, bank: sample(feed, key, 0, bank))(key, bank))
            for segment in found:
                assert segment.start.dtype == segment.target.dtype == np.float32
                np.testing.assert_array_equal(segment.start, VALUES[experts, starts])
                np.testing.assert_array_equal(segment.target, VALUES[experts, starts + 2])


def test_an_outline_plans_the_same_without_the_trajectories(tmp_path):
    feed = Segments(2, 8, min_start=1, initial_max_start=3, grow_steps=10, num_segments=2)
    for params in (BANK.params, mapped(tmp_path)):
        bank = Bank(params, EXPERTS, EPOCHS)
        assert bank.outline().params.size == 0
        for step in (0, 7):
            for one, other in zip(draws(feed, step, bank.outline()), draws(feed, step, bank), strict=True):
                np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="train longer"):
        Segments(3, 8).plan(jax.random.key(0), jnp.asarray(0), BANK.outline())
