"""Selections by gradients of the last layer against NumPy that stores every gradient."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls

from jaxdistill.data.feeds import real_data
from jaxdistill.selection.contextual_diversity import contextual_diversity
from jaxdistill.selection.craig import craig
from jaxdistill.selection.glister import glister
from jaxdistill.selection.gradmatch import gradmatch, nonnegative, pursue
from jaxdistill.selection.outputs import Outputs, along, gradients, gram, mean, squares, weighed
from jaxdistill.selection.submodular import facility_location, graph_cut

KEY = jax.random.key(0)
SELECTS = {"craig": craig, "gradmatch": gradmatch, "glister": glister}
UNWEIGHED = {
    "contextual_diversity": contextual_diversity, "facility_location": facility_location, "graph_cut": graph_cut
}  # fmt: skip
LABELS = np.array([2, 0, 1, 2, 0, 1, 1, 2, 0, 2, 1, 2, 0, 1, 2, 1, 2], np.int32)  # 4, 6 and 7 of them
COPIES = [(4, 1), (6, 2), (11, 0), (14, 7)]
"""Images that are the same as another of their class."""
ORIGINALS = np.arange(17)
ORIGINALS[[copy for copy, _ in COPIES]] = [original for _, original in COPIES]


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def said(seed=0, spread=1.0):
    """Embeddings and logits of a network that is right more often than not."""
    rng = np.random.default_rng(seed)
    embedding = rng.normal(size=(17, 5)) + np.eye(3, 5)[LABELS]
    logit = spread * (rng.normal(size=(17, 3)) + np.eye(3)[LABELS])
    for copy, original in COPIES:
        embedding[copy], logit[copy] = embedding[original], logit[original]
    return Outputs(jnp.asarray(embedding), jnp.asarray(logit))


def errors(logit, labels=LABELS):
    odds = np.exp(logit - logit.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True) - np.eye(3)[labels]


def stored(found, labels=LABELS):
    """Every gradient, written out: a row for each image."""
    inputs = np.concatenate([np.ones((len(labels), 1)), np.asarray(found.embedding)], axis=1)
    return (errors(np.asarray(found.logits), labels)[:, :, None] * inputs[:, None, :]).reshape(len(labels), -1)


def test_gradients_are_those_of_the_last_layer():
    """The Gram matrix, lengths and mean are of what differentiation gives in weights and biases."""
    found = said()

    def loss(layer, embedding, label):
        return -jax.nn.log_softmax(embedding @ layer["weights"] + layer["biases"])[label]

    rng = np.random.default_rng(1)
    layer = {"weights": rng.normal(size=(5, 3)), "biases": rng.normal(size=3)}
    found = found._replace(logits=found.embedding @ layer["weights"] + layer["biases"])
    each = jax.jit(jax.vmap(jax.grad(loss), (None, 0, 0)))(layer, found.embedding, LABELS)
    rows = np.concatenate([each["weights"].reshape(17, -1), each["biases"]], axis=1)
    of_class = LABELS == 1

    @jax.jit
    def described(found):
        ours = gradients(found, jnp.asarray(LABELS))
        middle = mean(ours, jnp.asarray(of_class))
        return gram(ours, ours), squares(ours), middle, along(ours, middle)

    products, lengths, (biases, weights), alongside = described(found)
    np.testing.assert_allclose(products, rows @ rows.T, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(lengths, (rows**2).sum(1), rtol=1e-9)
    np.testing.assert_allclose(biases, each["biases"][of_class].mean(0), rtol=1e-9)
    np.testing.assert_allclose(weights.T, each["weights"][of_class].mean(0), rtol=1e-9)
    np.testing.assert_allclose(alongside, rows @ rows[of_class].mean(0), rtol=1e-9, atol=1e-12)


def check_craig(rows, chosen):
    """Each pick adds as much to facility location as any; gives how many images each stands for."""
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)
    similar = apart.max() - apart
    worth = lambda picks: similar[:, picks].max(1).sum()  # noqa: E731
    for k in range(len(chosen)):
        np.testing.assert_allclose(
            worth(chosen[: k + 1]), max(worth([*chosen[:k], i]) for i in range(len(rows))), rtol=1e-9
        )
    best = max(worth(list(picks)) for picks in itertools.combinations(range(len(rows)), len(chosen)))
    assert worth(chosen) >= (1 - 1 / np.e) * best
    counted = np.zeros(len(chosen))
    for i in range(len(rows)):
        counted[chosen.index(i) if i in chosen else similar[i, chosen].argmax()] += 1
    return counted


def objective(rows, chosen, lam=0.1):
    """What GRAD-MATCH minimises, at the weights that minimise it (SciPy's), and these."""
    penalty = lam * (rows**2).sum(1).mean()
    system = np.concatenate([rows[chosen].T, np.sqrt(penalty) * np.eye(len(chosen))])
    weights, norm = nnls(system, np.concatenate([rows.mean(0), np.zeros(len(chosen))]))
    return norm**2, weights


def check_gradmatch(rows, chosen):
    """Each pick is the one along which the residual is longest; gives the weights."""
    weights = np.zeros(0)
    for k in range(len(chosen)):
        along = rows @ (rows.mean(0) - weights @ rows[chosen[:k]])
        free = [i for i in range(len(rows)) if i not in chosen[:k]]
        np.testing.assert_allclose(along[chosen[k]], along[free].max(), rtol=1e-9)
        _, weights = objective(rows, chosen[: k + 1])
    return weights


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "check"), [("craig", check_craig), ("gradmatch", check_gradmatch)])
def test_picks_and_weights_equal_those_over_stored_gradients(name, check, seed):
    found = said(seed)
    rows = stored(found)
    ours = SELECTS[name](KEY, found, jnp.asarray(LABELS), 4, 3)
    for c in range(3):
        of_class = np.flatnonzero(c == LABELS)
        chosen = [of_class.tolist().index(i) for i in ours.indices[c]]
        weights = check(rows[of_class], chosen)
        np.testing.assert_allclose(ours.weights[c], weights / weights.mean(), rtol=1e-7, atol=1e-12)


def validation_loss(layer, found, labels):
    logit = np.asarray(found.logits) + np.concatenate([np.ones((len(labels), 1)), found.embedding], 1) @ layer.T
    return (np.log(np.exp(logit).sum(1)) - logit[np.arange(len(labels)), labels]).mean()


def glister_by_hand(found, held_out, held_labels, ipc, eta):
    """No gradient of the validation loss: how much it falls for a tiny step on one example, after one on the picks."""
    steps = stored(found).reshape(17, 3, -1)
    change, chosen = np.zeros(steps.shape[1:]), []
    while len(chosen) < 3 * ipc:
        wanting = [c for c in range(3) if (LABELS[chosen] == c).sum() < ipc]
        free = [i for i in range(17) if i not in chosen and LABELS[i] in wanting]
        loss = lambda i: validation_loss(change - 1e-5 * steps[i], held_out, held_labels)  # noqa: E731, B023
        chosen.append(min(free, key=lambda i: (round(loss(i), 12), i)))
        change = change - eta * steps[chosen[-1]]
    return [[i for i in chosen if LABELS[i] == c] for c in range(3)]


@pytest.mark.parametrize("eta", [0.01, 0.3])
def test_glister_lowers_the_validation_loss_after_the_step_most(eta):
    found, held = said(), said(7)._replace(embedding=said(8).embedding)
    held_labels = np.roll(LABELS, 1)
    for options, against in (
        ({}, (found, LABELS)),
        ({"validation": (held, jnp.asarray(held_labels))}, (held, held_labels)),
    ):
        ours = glister(KEY, found, jnp.asarray(LABELS), 3, 3, eta=eta, **options)
        np.testing.assert_array_equal(ORIGINALS[ours.indices], ORIGINALS[glister_by_hand(found, *against, 3, eta)])
        np.testing.assert_array_equal(ours.weights, 1)


def test_glister_does_not_take_the_same_example_thrice():
    """Three copies of the steepest example: without a fresh gradient they are the first three picks."""
    embedding = np.zeros((6, 5))
    embedding[:3, 0], embedding[3:, 1] = 4, [3, 2, 1]
    found = Outputs(jnp.asarray(embedding), jnp.zeros((6, 3)))
    labels = np.zeros(6, int)
    rows = stored(found, labels)
    static = np.argsort(-rows @ rows.mean(0), kind="stable")[:3]
    assert static.tolist() == [0, 1, 2]
    picks = glister(KEY, found, jnp.asarray(labels), 3, 1, eta=0.3).indices[0].tolist()
    assert picks[:2] == [0, 3]
    assert glister(KEY, found, jnp.asarray(labels), 3, 1, eta=0.0).indices[0].tolist() == [0, 1, 2]


def test_pursuit_comes_closer_with_every_pick():
    """To the mean gradient of 40 images, with weights that are SciPy's, after one pick as after twelve."""
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 3, 40)
    found = Outputs(jnp.asarray(rng.normal(size=(40, 5))), jnp.asarray(3 * rng.normal(size=(40, 3))))
    rows, ours = stored(found, labels), gradients(found, jnp.asarray(labels))
    chosen, weights = (np.asarray(x) for x in jax.jit(partial(pursue, ipc=12, lam=0.001))(ours, jnp.ones(40, bool)))
    closest, expected = zip(*(objective(rows, chosen[:k], 0.001) for k in range(1, 13)), strict=True)
    assert len(set(chosen.tolist())) == 12
    assert (np.diff([(rows.mean(0) ** 2).sum(), *closest]) < 0).all()
    np.testing.assert_allclose(weights, expected[-1], rtol=1e-6, atol=1e-12)
    assert closest[-1] < 0.02 * (rows.mean(0) ** 2).sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nonnegative_least_squares_equals_scipys(dtype):
    """From zeros and from a guess, with weights that are left out."""
    solve = jax.jit(nonnegative)
    rng = np.random.default_rng(4)
    zeros = 0
    for _ in range(30):
        system, right = rng.normal(size=(9, 6)), rng.normal(size=9)
        allowed, start = rng.random(6) < 0.8, rng.random(6) * (rng.random(6) < 0.5)
        expected = np.zeros(6)
        expected[allowed] = nnls(system[:, allowed], right)[0]
        zeros += (expected[allowed] == 0).sum()
        matrix, target = jnp.asarray(system.T @ system, dtype), jnp.asarray(system.T @ right, dtype)
        for begin in (np.zeros(6), start):
            found = solve(matrix, target, jnp.asarray(allowed), jnp.asarray(begin, dtype))
            np.testing.assert_allclose(found, expected, atol=1e-4 if dtype == np.float32 else 1e-10)
    assert zeros > 30


@pytest.mark.parametrize("name", [*SELECTS, *UNWEIGHED])
def test_selection_promises(name):
    """Also where a class is taken whole, with its copies, and where the network has nothing left to learn."""
    select = (SELECTS | UNWEIGHED)[name]
    for found in (said(), said(spread=1e3), jax.tree.map(jnp.zeros_like, said())):
        picked = select(KEY, found, jnp.asarray(LABELS), 4, 3)
        indices = picked.indices if name in SELECTS else picked
        assert (LABELS[indices] == np.arange(3)[:, None]).all()
        assert len(np.unique(indices)) == 12
        if name in SELECTS:
            np.testing.assert_allclose(picked.weights.sum(1), 4, rtol=1e-9)
            assert (picked.weights >= 0).all()
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        select(KEY, said(), jnp.asarray(LABELS), 0, 3)
    with pytest.raises(ValueError, match="class 0 has 4 images, too few to select 5"):
        select(KEY, said(), jnp.asarray(LABELS), 5, 3)
    with pytest.raises(ValueError, match="17 rows of features for 16 images"):
        select(KEY, said(), jnp.asarray(LABELS[1:]), 1, 3)


def test_a_class_without_a_mean_gradient_gets_ones():
    """Nothing to match: the network is certain and right, or gradients cancel."""
    certain = Outputs(jnp.ones((17, 5)), jnp.asarray(1e4 * np.eye(3)[LABELS]))
    np.testing.assert_array_equal(gradmatch(KEY, certain, jnp.asarray(LABELS), 4, 3).weights, 1)
    with pytest.raises(ValueError, match=r"`lam` must be above 0, not 0\.0"):
        gradmatch(KEY, certain, jnp.asarray(LABELS), 3, 3, lam=0.0)


def test_a_weighed_set_has_the_picks_and_their_weights():
    images = np.random.default_rng(6).integers(0, 256, (17, 4, 4, 2)).astype(np.uint8)
    split = real_data(images, LABELS, 3, np.array([0.01, 0.02]), np.array([-1.0, 0.5]))
    found = said()
    chosen = craig(KEY, found, jnp.asarray(split.labels), 4, 3)
    result = weighed(craig)(KEY, split, 4, found)
    np.testing.assert_array_equal(result.images, split.read(chosen.indices.reshape(-1)).images)
    np.testing.assert_array_equal(result.weights, chosen.weights.reshape(-1))
    np.testing.assert_array_equal(result.labels.argmax(-1), np.repeat([0, 1, 2], 4))
    assert result.selected.all()
