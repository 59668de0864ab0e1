"""Matching of gradients against PyTorch, plain double differentiation and finite differences, in float64."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import assert_close, wide_task

from jaxdistill.engine.devices import make_mesh, spread
from jaxdistill.losses.gradients import absolute, absolute_mean, kernels, squared
from jaxdistill.methods.dc import DISTANCES
from jaxdistill.methods.matching import gradient_distance, match_gradients, refresh
from jaxdistill.training.gradients import CHUNK_PIXELS
from jaxdistill.types import Variables

GOLDEN = np.load(Path(__file__).parent / "reference" / "dc.npz")
REAL, SYNTHETIC = GOLDEN["real"], GOLDEN["synthetic"]
SHAPE = REAL.shape[2:]
ALL = {
    **DISTANCES,
    "kernels_mse": lambda real, own: squared(kernels(real), kernels(own)),
    "kernels_l1": lambda real, own: absolute(kernels(real), kernels(own)),
    "kernels_l1_mean": lambda real, own: absolute_mean(kernels(real), kernels(own)),
}


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def variables_of(norm="instance"):
    """The golden weights in the network's own tree."""
    kind = "instance" if norm == "dead" else norm
    variables = wide_task(SHAPE, kind).network.init(jax.random.key(0))
    body, statistics = dict(variables.params["body"]), {}
    for i in range(2):
        body[f"Conv_{i}"] = {"kernel": GOLDEN[f"kernel{i}"], "bias": GOLDEN[f"bias{i}"]}
        body[f"Norm_{i}"] = {"scale": GOLDEN[f"{norm}_scale{i}"], "bias": GOLDEN[f"{norm}_shift{i}"]}
        statistics[f"Norm_{i}"] = {"mean": GOLDEN[f"mean{i}"], "var": GOLDEN[f"var{i}"]}
    params = {"body": body, "classifier": {"kernel": GOLDEN["kernel"], "bias": GOLDEN["bias"]}}
    found = jax.tree.map(jnp.asarray, Variables(params, {"body": statistics} if norm == "batch" else {}))
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    return found


@partial(jax.jit, static_argnums=0)
def compiled(task, chosen, variables, synthetic, real):
    """One program for all distances."""
    distance = lambda real, own: jax.lax.switch(chosen, list(ALL.values()), real, own)  # noqa: E731
    return match_gradients(jax.random.key(3), task, variables, synthetic, real, distance)


def matched(task, metric, variables, synthetic=SYNTHETIC, real=REAL):
    return compiled(task, list(ALL).index(metric), variables, jnp.asarray(synthetic), jnp.asarray(real))


@pytest.mark.parametrize(
    ("norm", "metric"),
    [("instance", metric) for metric in ALL] + [(norm, "output") for norm in ("dead", "layer", "batch")],
)
def test_distances_and_gradients_equal_pytorchs(norm, metric):
    task = TASKS["instance" if norm == "dead" else norm]
    distances, gradient = matched(task, metric, variables_of(norm))
    assert distances.dtype == jnp.float64
    np.testing.assert_allclose(distances, GOLDEN[f"{norm}_{metric}_distances"], rtol=1e-9)
    assert_close(gradient, GOLDEN[f"{norm}_{metric}_gradient"], 1e-8)


TASKS = {norm: wide_task(SHAPE, norm) for norm in ("instance", "layer", "batch")}
AUGMENTED = wide_task(SHAPE, "instance", "color", depth=1)
FEW = REAL[:, :4]


def test_the_gradient_is_the_slope_under_augmentation():
    variables = AUGMENTED.network.init(jax.random.key(8))
    direction = np.random.default_rng(1).normal(size=SYNTHETIC.shape)
    _, gradient = matched(AUGMENTED, "output", variables, real=FEW)
    ahead, behind = (
        jnp.sum(matched(AUGMENTED, "output", variables, SYNTHETIC + sign * 1e-6 * direction, FEW)[0])
        for sign in (1, -1)
    )
    np.testing.assert_allclose((ahead - behind) / 2e-6, np.sum(gradient * direction), rtol=1e-5)


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_one_class_at_a_time_is_all_at_once(at_once):
    variables = AUGMENTED.network.init(jax.random.key(8))
    together = dataclasses.replace(AUGMENTED, map_classes=spread(make_mesh(), at_once))
    found, expected = (matched(task, "output", variables, real=FEW) for task in (together, AUGMENTED))
    assert_close(found, expected, 1e-12)


def test_gradient_distance_equals_differentiating_twice():
    """With so many images that a CPU takes them in turn; the golden values have it with few."""
    images = 2 * CHUNK_PIXELS // 64 + 3
    task, variables = TASKS["instance"], variables_of()
    rng = np.random.default_rng(images)
    batch = jnp.asarray(rng.normal(size=(images, *SHAPE)))
    labels = jnp.asarray(rng.dirichlet(np.ones(3), images))
    target = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)) / 4, variables.params)

    def loss(params, batch):
        logits, _ = task.network.apply(Variables(params, {}), batch)
        return -jnp.mean(jnp.sum(labels * jax.nn.log_softmax(logits), axis=1))

    @jax.jit
    @jax.value_and_grad
    def naive(batch):
        return DISTANCES["output"](target, jax.grad(loss)(variables.params, batch))

    found = jax.jit(
        lambda batch: gradient_distance(task.network, variables, batch, labels, target, DISTANCES["output"])
    )
    assert_close(found(batch), naive(batch), 1e-10)


def test_refreshed_averages_are_pytorchs():
    task, variables = TASKS["batch"], variables_of("batch")
    for rule in ("faithful", "sensible"):
        refreshed, frozen = jax.jit(partial(refresh, task.network, rule=rule))(variables, jnp.asarray(REAL))
        for expected, found in (("faithful", refreshed), (rule, frozen)):
            for i in range(2):
                for name in ("mean", "var"):
                    average = found.statistics["body"][f"Norm_{i}"][name]
                    np.testing.assert_allclose(average, GOLDEN[f"{expected}_{name}{i}"], rtol=1e-9)
            assert_close(found.params, variables.params, 0)


@pytest.mark.parametrize("rule", ["faithful", "sensible"])
def test_networks_without_averages_are_left_alone(rule):
    variables = variables_of()
    for found in refresh(TASKS["instance"].network, variables, jnp.asarray(REAL), rule):
        assert found is variables
