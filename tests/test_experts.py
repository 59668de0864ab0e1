"""Experts: FTD's gradient against PyTorch, plain epochs against SGD in NumPy, and what methods make of both."""

from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import CLASSES, SIDE, assert_close, wide_task

from jaxdistill.augment import make as make_augment
from jaxdistill.common.sets import class_set
from jaxdistill.data.feeds import sample
from jaxdistill.data.trajectories import Bank, flatten, unflatten
from jaxdistill.methods.mtt import MTT, mtt
from jaxdistill.methods.trajectory_matching import distance
from jaxdistill.networks import make as make_network
from jaxdistill.presets.experts import EXPERTS
from jaxdistill.training.experts import ExpertRecipe, expert_epoch, flat_gradient
from jaxdistill.training.gradients import training_gradient
from jaxdistill.training.unroll import unroll
from jaxdistill.types import Features, Network, SyntheticSet, Task, Variables

GOLDEN = np.load(Path(__file__).parent / "reference" / "trajectories.npz")  # by experiments/golden/trajectories.py
PLAIN, N = make_augment("none"), 7
X, Y = np.random.default_rng(0).normal(size=(N, 2, 2, 1)), np.eye(3)[[0, 0, 0, 1, 1, 2, 2]]


def regression(variables, images, train=False):
    del train
    return images.reshape(len(images), -1) @ variables.params["w"] + variables.params["b"], {}


def flat_features(variables, images, train=False):
    return Features(images.reshape(len(images), -1), ())


def regression_of(pixels, classes):
    def init(key):
        del key
        return Variables({"w": jnp.zeros((pixels, classes)), "b": jnp.zeros(classes)}, {})

    return Network(init, regression, flat_features)


REGRESSION = regression_of(4, 3)


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def start_of(seed=0):
    rng = np.random.default_rng(seed)
    return Variables({"w": jnp.asarray(rng.normal(size=(4, 3))), "b": jnp.asarray(rng.normal(size=3))}, {})


def still(variables):
    return jax.tree.map(jnp.zeros_like, variables.params)


@partial(jax.jit, static_argnums=(0, 2, 3))
def trajectory(network, data, recipe, epochs, key, params):
    """Parameters of an expert at the start and after each epoch, as vectors."""

    def epoch(state, key):
        variables, velocity, _ = expert_epoch(key, network, *state, data, recipe, PLAIN)
        return (variables, velocity), flatten(variables.params)

    start = Variables(params, {})
    _, after = jax.lax.scan(epoch, (start, still(start)), jax.random.split(key, epochs))
    return jnp.concatenate([flatten(params)[None], after])


def random_params(network, seed):
    """As networks draw them, but by NumPy: nothing to compile."""
    rng, like = np.random.default_rng(seed), jax.eval_shape(network.init, jax.random.key(0)).params
    of = lambda leaf: rng.normal(size=leaf.shape) / np.sqrt(leaf.shape[0]) if leaf.ndim > 1 else np.zeros(leaf.shape)  # noqa: E731
    return jax.tree.map(lambda leaf: jnp.asarray(of(leaf), jnp.float32), like)


def numpy_gradient(w, b, rows, weights=1.0):
    """That of softmax regression, and the probabilities."""
    x = X[rows].reshape(len(rows), -1)
    e = np.exp(x @ w + b)
    probabilities = e / e.sum(1, keepdims=True)
    residual = np.reshape(weights, (-1, 1)) * (probabilities - Y[rows]) / len(rows)
    return x.T @ residual, residual.sum(0), probabilities


def numpy_flat(w, b, rows, rho, alpha, weights=1.0):
    """GSAM with adaptive perturbations on one vector of all parameters."""
    both = lambda v: numpy_gradient(v[:12].reshape(4, 3), v[12:], rows, weights)[:2]  # noqa: E731
    vector = lambda parts: np.concatenate([np.ravel(part) for part in parts])  # noqa: E731
    t = vector((w, b))
    g = vector(both(t))
    h = vector(both(t + rho * t**2 * g / np.linalg.norm(t * g)))
    found = h - alpha * (g - (g @ h) / (h @ h) * h)
    return found[:12].reshape(4, 3), found[12:]


def test_flat_gradient_equals_pytorchs():
    task = wide_task(GOLDEN["images"].shape[1:], "none")
    tree = lambda prefix: {  # noqa: E731
        "body": {f"Conv_{i}": {k: jnp.asarray(GOLDEN[f"{prefix}_{k}{i}"]) for k in ("kernel", "bias")} for i in (0, 1)},
        "classifier": {k: jnp.asarray(GOLDEN[f"{prefix}_{v}"]) for k, v in (("kernel", "matrix"), ("bias", "offset"))},
    }
    variables, images = Variables(tree("start"), {}), jnp.asarray(GOLDEN["images"])
    given = (task.network, variables, images, jnp.repeat(jnp.eye(3), 2, axis=0), "class")

    @jax.jit
    def both():
        found = flat_gradient(*given, rho=float(GOLDEN["rho"]), alpha=float(GOLDEN["alpha"]))
        return found, training_gradient(*given)

    found, plain = both()
    assert_close(found.gradient, tree("flat"), 1e-9)
    assert_close(found.logits, plain.logits, 1e-12)
    with pytest.raises(AssertionError):  # which is something else
        assert_close(found.gradient, plain.gradient, 0.05)


def test_flat_gradient_of_weighted_images_and_its_limits():
    variables, weights = start_of(), np.random.default_rng(1).uniform(size=N)
    w, b = (np.asarray(variables.params[name]) for name in "wb")

    @jax.jit
    def of(rho, alpha):
        given = (jnp.asarray(X), jnp.asarray(Y), "class", jnp.asarray(weights))
        return flat_gradient(REGRESSION, variables, *given, rho=rho, alpha=alpha)

    rows = np.arange(N)
    for rho, alpha in ((0.3, 0.0), (0.3, 1.0), (2.0, 0.4)):
        expected = dict(zip("wb", numpy_flat(w, b, rows, rho, alpha, weights), strict=True))
        assert_close(of(rho, alpha).gradient, expected, 1e-9)
    unmoved = dict(zip("wb", numpy_gradient(w, b, rows, weights)[:2], strict=True))
    assert_close(of(0.0, 0.7).gradient, unmoved, 1e-9)


@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_an_epoch_is_shuffled_sgd_on_every_image(rho):
    """Written out, with momentum, decay and a last smaller batch; what was said of each image, before its step."""
    recipe = ExpertRecipe(learning_rate=0.25, batch=3, momentum=0.5, weight_decay=0.125, rho=rho, alpha=0.4)
    examples, start = SyntheticSet(jnp.asarray(X), jnp.asarray(Y)), start_of()
    epoch = jax.jit(lambda key: expert_epoch(key, REGRESSION, start, still(start), examples, recipe, PLAIN))
    key = jax.random.key(1)
    order = np.asarray(jax.random.permutation(jax.random.split(key)[0], N))
    w, b = (np.asarray(start.params[name]) for name in "wb")
    vw, vb, said = 0.0, 0.0, np.zeros((N, 3))
    for rows in (order[:3], order[3:6], order[6:]):
        gw, gb, said[rows] = numpy_gradient(w, b, rows)
        if rho:
            gw, gb = numpy_flat(w, b, rows, rho, 0.4)
        vw, vb = 0.5 * vw + gw + 0.125 * w, 0.5 * vb + gb + 0.125 * b
        w, b = w - 0.25 * vw, b - 0.25 * vb
    variables, velocity, seen = epoch(key)
    assert_close(variables.params, {"w": w, "b": b}, 1e-9)
    assert_close(velocity, {"w": vw, "b": vb}, 1e-9)
    np.testing.assert_array_equal(seen.correct, said.argmax(1) == Y.argmax(1))
    np.testing.assert_allclose(seen.confidence, said[Y > 0], rtol=1e-9)
    np.testing.assert_allclose(seen.error, np.linalg.norm(said - Y, axis=1), rtol=1e-9)


def test_both_gradients_of_a_flat_step_see_the_same_augmented_batch():
    """The second one, a hair's breadth away from the first, is the first one's."""
    start, examples = start_of(), SyntheticSet(jnp.asarray(X), jnp.asarray(Y))

    def by_key(key, images, siamese):
        assert not siamese
        return images * (1 + jax.random.key_data(key)[-1] % 1000)

    def end(**fields):
        recipe = ExpertRecipe(learning_rate=0.25, **fields)
        epoch = lambda key: expert_epoch(key, REGRESSION, start, still(start), examples, recipe, by_key)  # noqa: E731
        return jax.jit(epoch)(jax.random.key(0))[0].params

    assert_close(end(rho=1e-9, alpha=0.0), end(), 1e-7)


def test_flat_experts_are_flatter(toy):
    """A relative change of a third in every parameter, at random, costs them less; labels are not quite certain."""
    network = make_network("mlp", (SIDE, SIDE, 1), CLASSES, width=16)
    with jax.enable_x64(False):
        real = jax.tree.map(jnp.asarray, toy[0])
        hard = real.take(jnp.arange(real.count))
        data = hard.replace(labels=0.8 * hard.labels + 0.05, label_kind="probability")

        like = random_params(network, 0)

        @jax.jit
        @jax.vmap
        def loss(vector):
            logits, _ = network.apply(Variables(unflatten(vector, like), {}), data.images)
            return -jnp.mean(jnp.sum(data.labels * jax.nn.log_softmax(logits), -1))

        def judged(rho):
            """The mean loss of four experts, and by how much it rises."""
            found = []
            for seed in range(4):
                recipe, start = ExpertRecipe(learning_rate=0.3, rho=rho), random_params(network, seed)
                end = trajectory(network, data, recipe, 60, jax.random.key(seed), start)[-1]
                near = end * (1 + 0.3 * np.random.default_rng(seed).normal(size=(50, end.size)).astype(np.float32))
                found.append((loss(end[None])[0], jnp.mean(loss(near))))
            own, moved = np.mean(found, axis=0)
            return own, moved - own

        (plain, sharp), (flat, less) = judged(0.0), judged(2.0)
    assert sharp > 0
    assert less < 0.8 * sharp
    assert flat < plain + 0.05  # of a loss that starts at 1.4


def test_loss_is_zero_where_the_set_repeats_an_experts_epoch_and_one_where_it_does_not_move():
    images = np.random.default_rng(3).normal(size=(3, 2, 2, 2, 1))
    synthetic, key, start = class_set(jnp.asarray(images)), jax.random.key(1), start_of()

    @jax.jit
    def expert():
        recipe = ExpertRecipe(learning_rate=0.25, batch=2)
        return expert_epoch(key, REGRESSION, start, still(start), synthetic, recipe, PLAIN)[0].params

    @jax.jit
    def loss(plan, rate, target):
        rates = jnp.broadcast_to(rate, len(plan))
        end = unroll(REGRESSION, start, synthetic.images, synthetic.labels, "class", plan, rates)
        return distance(end.params, start.params, target)

    order, end = jax.random.permutation(jax.random.split(key)[0], 6), expert()  # the epoch's order
    assert loss(order.reshape(3, 2), 0.25, end) < 1e-25
    assert loss(order[::-1].reshape(3, 2), 0.25, end) > 1e-6
    assert loss(order.reshape(3, 2), 0.0, end) == 1


def test_a_set_learns_to_do_what_experts_did(toy):
    """Its distance from the ends of trajectories falls, with experts and epochs drawn anew in each step."""
    shape, network = (SIDE, SIDE, 1), regression_of(SIDE**2, CLASSES)
    with jax.enable_x64(False):
        real = jax.tree.map(jnp.asarray, toy[0])
        given = [(jax.random.key(seed), random_params(network, seed)) for seed in range(2)]
        bank = Bank(jnp.stack([trajectory(network, real, ExpertRecipe(batch=16), 4, *one) for one in given]), 2, 4)
        method = mtt(
            MTT(4, 2, 3, image_lr=10.0, student_lr=0.02),
            Task(network=network, augment=PLAIN, image_shape=shape, num_classes=CLASSES),
        )
        noise = class_set(np.random.default_rng(0).normal(size=(CLASSES, 2, *shape)).astype(np.float32))

        @jax.jit
        def drive(state):
            def once(state, i):
                key_feed, key_step = jax.random.split(jax.random.fold_in(jax.random.key(1), i))
                return method.step(key_step, state, sample(method.feed, key_feed, i, bank))

            return jax.lax.scan(once, state, jnp.arange(80))[1]

        infos = drive(method.init(jax.random.key(0), noise))
    assert infos.loss[-20:].mean() < 0.5 * infos.loss[:20].mean()


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"learning_rate": 0.0}, "`learning_rate` of ExpertRecipe is a positive number"),
        ({"batch": 0}, "`batch` of ExpertRecipe is at least 1"),
        ({"momentum": 1.0}, "`momentum` of ExpertRecipe is a number from 0 to below 1"),
        ({"weight_decay": -0.1}, "`weight_decay` of ExpertRecipe is a number of at least 0"),
        ({"rho": float("nan")}, "`rho` of ExpertRecipe is a number of at least 0"),
        ({"alpha": -1.0}, "`alpha` of ExpertRecipe is a number of at least 0"),
    ],
)
def test_bad_recipes_are_refused_with_a_sentence(settings, advice):
    with pytest.raises(ValueError, match=advice):
        ExpertRecipe(**settings)


def test_recipes_are_the_papers():
    mtt_recipe, ftd_recipe, selmatch_recipe = (EXPERTS[name].recipe for name in ("mtt", "ftd", "selmatch"))
    for recipe in (mtt_recipe, ftd_recipe, selmatch_recipe):
        assert (recipe.learning_rate, recipe.batch, recipe.momentum, recipe.weight_decay) == (0.01, 256, 0.0, 0.0)
    assert (mtt_recipe.rho, selmatch_recipe.rho) == (0.0, 0.0)
    assert (ftd_recipe.rho, ftd_recipe.alpha) == (0.01, 0.3)
    assert [recipe.augment for recipe in (mtt_recipe, ftd_recipe, selmatch_recipe)] == ["default", "default", "none"]
