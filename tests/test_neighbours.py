"""Nearest neighbours as a protocol against NumPy, and the step sizes of more epochs than were learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import make_toy

import jaxdistill as jd
from jaxdistill.evaluation import PROTOCOLS, InOrder, NearestNeighbours, evaluate
from jaxdistill.evaluation.train import train
from jaxdistill.networks import make as make_network
from jaxdistill.types import SyntheticSet

RNG = np.random.default_rng(3)
IMAGES, REFERENCE = RNG.normal(size=(60, 4, 4, 2)).astype(np.float32), RNG.normal(size=(20, 4, 4, 2)).astype(np.float32)
NETWORK = make_network("mlp", (4, 4, 2), 4)  # that nobody asks
LABELS = np.repeat(np.arange(4), 5)


@pytest.mark.parametrize("power", [1.0, 2.0, 3.5, np.inf])
@pytest.mark.parametrize("neighbours", [1, 3, 7])
def test_the_nearest_vote_as_in_numpy(neighbours, power):
    recipe = NearestNeighbours(neighbours, power)
    learned = train(jax.random.key(0), SyntheticSet(jnp.asarray(REFERENCE), jnp.eye(4)[LABELS]), NETWORK, recipe)
    found = np.asarray(recipe.predict(NETWORK, learned, jnp.asarray(IMAGES))).argmax(-1)
    expected = []
    for image in IMAGES.reshape(60, -1).astype(np.float64):
        far = [np.linalg.norm(image - other, ord=power) for other in REFERENCE.reshape(20, -1)]
        expected.append(np.bincount(LABELS[np.argsort(far, kind="stable")[:neighbours]], minlength=4).argmax())
    np.testing.assert_array_equal(found, expected)
    assert len({*expected}) == 4


def test_an_evaluation_by_neighbours_draws_nothing_and_soft_labels_vote_softly():
    train_split, test = (jax.tree.map(jnp.asarray, split) for split in make_toy())
    made = train_split.take(jnp.asarray(train_split.offsets))
    accuracies = [evaluate(jax.random.key(seed), made, NETWORK, test, NearestNeighbours(), seeds=1) for seed in (0, 1)]
    assert accuracies[0].accuracies == accuracies[1].accuracies > 0.5
    soft = SyntheticSet(jnp.asarray(REFERENCE[:2]), jnp.log(jnp.array([[0.6, 0.4], [0.1, 0.9]])), "logit")
    recipe = NearestNeighbours(2)
    votes = recipe.predict(NETWORK, recipe.fit(jax.random.key(0), soft, NETWORK), jnp.asarray(IMAGES[:1]))
    np.testing.assert_allclose(votes, [[0.7, 1.3]], rtol=1e-6)


def test_a_run_is_judged_by_so_many_neighbours_and_a_recipe_of_ones_own_says_its_own():
    images, labels = np.abs(IMAGES[..., :1]) % 1, np.arange(60) % 4
    data = jd.Dataset.from_arrays(images, labels, images[::-1].copy(), labels)
    run = jd.select("random", data, 3, protocol="knn", eval_neighbours=3, eval_power=1.0, progress=False)
    assert run.evaluate(progress=False).rows[0]["network"] == "3-NN"
    table = jd.evaluate(run, data, protocol="knn", neighbours=5, progress=False)
    assert table.networks == ["5-NN"]
    with pytest.raises(ValueError, match="says its neighbours itself"):
        jd.evaluate(run, data, protocol=NearestNeighbours(), neighbours=5, progress=False)


def test_neighbours_that_make_no_sense_are_refused():
    for settings, says in (
        ({"neighbours": 0}, "at least 1"),
        ({"power": 0.0}, "positive `power`"),
        ({"power": float("nan")}, "positive `power`"),
        ({"epochs": 3}, "leave the number of epochs out"),
    ):
        with pytest.raises(ValueError, match=says):
            NearestNeighbours(**settings)
    few = SyntheticSet(jnp.asarray(REFERENCE), jnp.eye(4)[LABELS])
    with pytest.raises(ValueError, match="20 images, fewer than `neighbours`, 21"):
        NearestNeighbours(21).fit(jax.random.key(0), few, NETWORK)
    assert "3 nearest images of the set, by the 1-norm" in NearestNeighbours(3, 1.0).summary
    assert (NearestNeighbours(5).learner, PROTOCOLS["knn"]) == ("5-NN", NearestNeighbours())


@pytest.mark.parametrize(
    ("recipe", "rows"),
    [
        (InOrder(), [[1, 2], [3, 4], [5, 6]]),
        (InOrder(epochs=2), [[1, 2], [3, 4]]),
        (InOrder(epochs=5), [[1, 2], [3, 4], [5, 6], [1, 2], [3, 4]]),
        (InOrder(epochs=5, rates="last"), [[1, 2], [3, 4], [5, 6], [5, 6], [5, 6]]),
        (InOrder(epochs=2, rates="fixed", learning_rate=0.5), [[0.5, 0.5]] * 2),
        (InOrder(rates="fixed", learning_rate=0.5), [[0.5, 0.5]] * 3),
    ],
    ids=lambda value: f"{value.epochs} {value.rates}" if isinstance(value, InOrder) else "",
)
def test_more_epochs_than_were_learned(recipe, rows):
    learned = jnp.arange(1.0, 7.0).reshape(3, 2)
    made = SyntheticSet(jnp.zeros((8, 2, 2, 1)), jnp.repeat(jnp.eye(2), 4, axis=0), learning_rate=learned)
    np.testing.assert_array_equal(recipe.step_sizes(made), rows)
    bare = recipe.step_sizes(made.replace(learning_rate=None))
    assert bare.shape == (recipe.epochs or 5, 4)
    assert (bare == recipe.learning_rate).all()


def test_the_recipe_in_words_says_which_step_sizes_epochs_have():
    assert InOrder().summary.startswith(
        "plain gradient steps on the set's batches in stored order, each with the step size learned for it; sets "
        "without any: 5 epochs of one image of each class at a time, step size 0.1"
    )
    assert (
        "in 7 epochs, of which those beyond what was learned take those of the last pass"
        in InOrder(epochs=7, rates="last").summary
    )
    assert "all with step size 0.2" in InOrder(rates="fixed", learning_rate=0.2).summary
    assert (PROTOCOLS["dd-last"], PROTOCOLS["dd-fixed"]) == (InOrder(rates="last"), InOrder(rates="fixed"))
