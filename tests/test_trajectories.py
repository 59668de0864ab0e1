"""A student's training, and gradients through it, against PyTorch, finite differences and loops without shortcuts."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from toys import assert_close, wide_task
from trajectory_toys import GOLDEN, IMAGES, LABELS, NETWORKS, PLAN, SHAPE, SMALL, P, loop

from jaxdistill.augment import make as make_augment
from jaxdistill.data.trajectories import flatten, unflatten
from jaxdistill.methods.trajectory_matching import distance, minibatches
from jaxdistill.training import gradients as chunks
from jaxdistill.training.unroll import unroll
from jaxdistill.types import Variables


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


def golden(tree):
    body = {f"Conv_{i}": {name: GOLDEN[f"{tree}_{name}{i}"] for name in ("kernel", "bias")} for i in range(2)}
    classifier = {"kernel": GOLDEN[f"{tree}_matrix"], "bias": GOLDEN[f"{tree}_offset"]}
    return jax.tree.map(jnp.asarray, {"body": body, "classifier": classifier})


@cache
def golden_gradient(kind, transport=True):
    """The golden loss and its gradients in images, labels and step sizes."""
    network = wide_task(SHAPE, "none").network

    def loss(images, labels, rates):
        start, plan = golden("start"), jnp.asarray(PLAN)
        end = unroll(network, Variables(start, {}), images, labels, kind, plan, rates, transport=transport)
        return distance(end.params, start, golden("target"))

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    return lambda *given: compiled(*map(jnp.asarray, given))


def given_of(kind):
    return [GOLDEN["images"], LABELS[kind], np.full(len(PLAN), GOLDEN["rate"])]


def squared(*trees):
    """Squared distance."""
    one, other = (ravel_pytree(tree)[0] for tree in trees)
    return jnp.sum((one - other) ** 2)


@pytest.mark.parametrize(("kind", "mode"), [("class", "exact"), ("logit", "exact"), ("logit", "tesla")])
def test_loss_and_gradients_equal_pytorchs(kind, mode):
    """TESLA's are by its own formula: two passes, and a vector that is the same for every step."""
    names = {0: "images", 2: "rate"} | ({1: "logits"} if kind == "logit" else {})
    for wide, tolerance in ((True, 1e-8), (False, 1e-5))[: 2 if (kind, mode) == ("logit", "exact") else 1]:
        with jax.enable_x64(wide):
            loss, gradient = golden_gradient(kind, mode == "exact")(*given_of(kind))
        assert loss.dtype == (jnp.float64 if wide else jnp.float32)
        np.testing.assert_allclose(loss, GOLDEN[f"{kind}_loss"], rtol=tolerance)
        gradient = (*gradient[:2], gradient[2].sum())
        for number, name in names.items():
            assert_close(gradient[number], GOLDEN[f"{kind}_{mode}_{name}"], tolerance)


def test_gradients_are_slopes_under_augmentation():
    """Central differences in a few pixels, a few logits and the step size; every step draws its own augmentation."""
    rng, keys, plan = np.random.default_rng(2), jax.random.split(jax.random.key(3), 5), jnp.asarray(PLAN)
    start, target = ({"matrix": rng.normal(size=(128, 3)) / 9, "offset": np.zeros(3)} for _ in range(2))

    def loss(images, labels, rates, keys):
        options = {"augment": make_augment("color_crop_scale"), "keys": keys}
        end = unroll(SMALL.network, Variables(start, {}), images, labels, "logit", plan, rates, **options)
        return distance(end.params, start, target)

    given, compiled = [np.asarray(leaf) for leaf in given_of("logit")], jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    of = lambda given, keys=keys: compiled(*map(jnp.asarray, given), keys)  # noqa: E731
    value, gradient = of(given)
    assert abs(value - of(given, keys[::-1])[0]) > 1e-3
    places = [(0, (0, 2, 3, 1)), (0, (3, 5, 4, 0)), (0, (5, 4, 2, 1)), (1, (1, 0)), (1, (4, 2)), (2, 0), (2, 3)]
    for number, place in places:
        ends = []
        for step in (1e-5, -1e-5):
            moved = [leaf.copy() for leaf in given]
            moved[number][place] += step
            ends.append(of(moved)[0])
        assert abs(gradient[number][place]) > 1e-5
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, gradient[number][place], rtol=1e-5)


@pytest.mark.parametrize(("name", "held"), [("regression", False), ("regression", True), ("batch norm", False)])
def test_gradients_equal_those_through_a_plain_loop(name, held, monkeypatch):
    """Without transport they are MTT's with the parameters held constant between steps.

    Batches are of 5 images, of which 2 at a time are worked on unless they depend on each other.
    """
    monkeypatch.setattr(chunks, "CHUNK_PIXELS", 8)
    network, rng = NETWORKS[name], np.random.default_rng(1)
    plan = jnp.asarray(np.stack([rng.permutation(6)[:5] for _ in range(3)]))
    start, target = ({"matrix": rng.normal(size=(4, 3)), "offset": rng.normal(size=3)} for _ in range(2))
    variables = Variables(jax.tree.map(jnp.asarray, start), {})

    def by_loop(images, labels, rates):
        end = loop(network, variables, images, jax.nn.softmax(labels), plan, rates, held)
        return squared(end, target) / squared(start, target)

    def by_unroll(images, labels, rates):
        end = unroll(network, variables, images, labels, "logit", plan, rates, transport=not held)
        return distance(end.params, start, target)

    given = [jnp.asarray(leaf) for leaf in (IMAGES.reshape(6, 2, 2, 1), GOLDEN["logits"], [0.4, 0.3, 0.2])]
    found, expected = (jax.jit(jax.value_and_grad(f, (0, 1, 2)))(*given) for f in (by_unroll, by_loop))
    assert_close(found, expected, 1e-9)


def test_without_transport_one_step_is_exact():
    """Steps of no size after it change nothing."""
    given = [*given_of("logit")[:2], np.array([0.3, 0.0, 0.0, 0.0, 0.0])]
    exact, tesla = (golden_gradient("logit", transport)(*given) for transport in (True, False))
    assert_close(tesla, exact, 1e-12)


def test_what_the_gradient_loses_without_transport():
    """Little while step size, steps and curvature are small, and first of all the step size's gradient; here:

    | step size                            | 0.01   | 0.1   | 1.0   |
    | cosine of the images' gradients      | 0.9999 | 0.985 | 0.801 |
    | ratio of the step size's gradients   | 1.04   | 1.35  | 0.87  |
    """
    table = {0.01: (0.9999, 1.04), 0.1: (0.985, 1.35), 1.0: (0.801, 0.87)}
    for rate, figures in table.items():
        given = [*given_of("logit")[:2], np.full(len(PLAN), rate)]
        exact, tesla = (golden_gradient("logit", transport)(*given)[1] for transport in (True, False))
        one, other = (np.ravel(found[0]) for found in (exact, tesla))
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        np.testing.assert_allclose((cosine, tesla[2].sum() / exact[2].sum()), figures, rtol=5e-3)
        assert (cosine > 0.999) == (rate == 0.01)
        assert rate < 1 or cosine < 0.9


@pytest.mark.parametrize(("n", "batch", "steps"), [(6, 2, 9), (7, 3, 5), (4, 4, 2), (4, 9, 3)])
def test_minibatches_are_shuffled_passes(n, batch, steps):
    plan = np.asarray(minibatches(jax.random.key(0), n, batch, steps))
    assert plan.shape == (steps, min(batch, n))
    stream = plan.reshape(-1)
    for i in range(0, stream.size, n):  # n / batch steps cover every row once where that is a whole number
        assert len(set(stream[i : i + n].tolist())) == min(n, stream.size - i)
    assert set(stream.tolist()) <= set(range(n))
    again, other = (np.asarray(minibatches(jax.random.key(seed), n, batch, steps)) for seed in (0, 1))
    np.testing.assert_array_equal(plan, again)
    assert batch >= n or (plan != other).any()
    assert batch != 2 or (plan[:3] != plan[3:6]).any()


@pytest.mark.parametrize(("transport", "least", "most"), [(True, 0.9, 1.2), (False, 0.0, 0.01)])
@pytest.mark.usefixtures("compiled_well")
def test_memory_grows_by_the_parameters_for_each_step_or_not_at_all(transport, least, most):
    params = {"matrix": jax.ShapeDtypeStruct((1024, 4), jnp.float32), "offset": jax.ShapeDtypeStruct((4,), jnp.float32)}
    vector = jax.ShapeDtypeStruct((1024 * 4 + 4,), jnp.float32)

    def temporary(steps):
        def loss(images, rates, start, target):
            begin, plan = unflatten(start, params), jnp.tile(jnp.arange(8), (steps, 1))
            labels = jnp.eye(4, dtype=jnp.float32)[jnp.arange(8) % 4]
            found = unroll(
                SMALL.network, Variables(begin, {}), images, labels, "class", plan, rates, transport=transport
            )
            return distance(found.params, begin, unflatten(target, params))

        given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((8, 32, 32, 1), (steps,))]
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*given, vector, vector).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert least <= (temporary(20) - temporary(5)) / (15 * 4 * vector.size) <= most


def test_vectors_are_the_networks_parameters():
    rng = np.random.default_rng(0)
    params = {"matrix": jnp.asarray(rng.normal(size=(4, 3))), "offset": jnp.asarray(rng.normal(size=3))}
    vector = flatten(params)
    np.testing.assert_array_equal(vector, ravel_pytree(params)[0])
    jax.tree.map(np.testing.assert_array_equal, unflatten(vector, params), params)
    with pytest.raises(ValueError, match=f"have {P + 1} parameters and this network {P}"):
        unflatten(jnp.zeros(P + 1), params)
