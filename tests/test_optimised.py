"""One of the best fifth of random sets, of which a judge is told everything."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data.feeds import real_data
from jaxdistill.selection.base import Trials
from jaxdistill.selection.optimised import optimised

LABELS = np.repeat(np.arange(2), 6)
DATA = real_data(np.arange(12.0, dtype=np.float32).reshape(12, 1, 1, 1), LABELS, 2, np.ones(1), np.zeros(1))


def tried(seed, count=10, ipc=2):
    """The result and all trials, by their sum of pixels, which is what this judge goes by."""
    trials = []

    def judge(key, synthetic):
        trials.append((jax.random.key_data(key).tolist(), np.asarray(synthetic.images).ravel()))
        np.testing.assert_array_equal(np.asarray(synthetic.labels).argmax(-1), np.repeat([0, 1], ipc))
        assert np.asarray(synthetic.selected).all()
        return float(np.asarray(synthetic.images).sum())

    return optimised(jax.random.key(seed), DATA, ipc, Trials(judge, count)), trials


def test_it_is_one_of_the_best_fifth_and_any_of_them():
    ranks = set()
    for seed in range(6):
        result, trials = tried(seed)
        assert len({tuple(key) for key, _ in trials}) == len(trials) == 10
        images = np.asarray(result.images).ravel()
        assert any(np.array_equal(images, seen) for _, seen in trials)
        better = sum(seen.sum() > images.sum() for _, seen in trials)
        assert better < 2
        ranks.add(better)
        assert (LABELS[images.astype(int)] == [0, 0, 1, 1]).all()
        assert result.selected.all()
    assert ranks == {0, 1}
    np.testing.assert_array_equal(tried(3)[0].images, tried(3)[0].images)


def test_unusable_trials_are_refused():
    with pytest.raises(ValueError, match=r"best fifth of 4 random sets .* at least 5"):
        tried(0, 4)
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        tried(0, 5, 0)
    with pytest.raises(ValueError, match="class 0 has 6 images, too few to select 7"):
        tried(0, 5, 7)
    scores = iter([1.0, 2.0, jnp.nan, 3.0, 4.0])
    with pytest.raises(ValueError, match="trial 2 was judged to be worth nan"):
        optimised(jax.random.key(0), DATA, 1, Trials(lambda *_: float(next(scores)), 5))
