"""Training in stored order against a NumPy loop on softmax regression, whose gradient is written by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.common.sets import by_step, class_set
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.evaluation.protocol import InOrder
from jaxdistill.evaluation.train import train
from jaxdistill.networks import make as make_network
from jaxdistill.training.unroll import train_in_order, unroll
from jaxdistill.types import Features, Network, Variables

C, IPC, D = 3, 4, 4


def linear(constant=False):
    def init(key):
        key = jax.random.key(5) if constant else key
        return Variables({"w": jax.random.normal(key, (D, C)), "b": jnp.zeros(C)}, {})

    def apply(variables, images, train=False):
        del train
        return images.reshape(images.shape[0], -1) @ variables.params["w"] + variables.params["b"], {}

    return Network(init, apply, lambda variables, images, train=False: Features(images.reshape(len(images), -1), ()))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def loop(params, batches, rates):
    """`batches` are pairs of images and probabilities for each step of an epoch."""
    w, b = (np.asarray(params[name], np.float64) for name in "wb")
    for row in rates:
        for (x, y), rate in zip(batches, row, strict=True):
            x = np.asarray(x, np.float64).reshape(len(x), -1)
            residual = (softmax(x @ w + b) - np.asarray(y)) / len(x)
            w, b = w - rate * x.T @ residual, b - rate * residual.sum(0)
    return w, b


def assert_trained(variables, expected):
    for name, value in zip("wb", expected, strict=True):
        np.testing.assert_allclose(variables.params[name], value, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def synthetic():
    rng = np.random.default_rng(0)
    found = class_set(jnp.asarray(rng.normal(size=(C, IPC, 2, 2, 1)), jnp.float32))
    return found.replace(learning_rate=jnp.asarray(rng.uniform(0.1, 1.0, size=(3, 2)), jnp.float32))


def batches_of(synthetic, steps, labels=None):
    """The batches picked one image at a time: the share of step s of class 0, then that of class 1, ..."""
    labels = synthetic.labels if labels is None else labels
    share = IPC // steps
    for s in range(steps):
        rows = np.array([c * IPC + s * share + i for c in range(C) for i in range(share)])
        yield synthetic.images[rows], labels[rows]


@pytest.mark.parametrize("kind", ["class", "logit"])
def test_unrolled_training_is_the_loop(synthetic, kind):
    labels = np.asarray(synthetic.labels if kind == "class" else np.random.default_rng(1).normal(size=(C * IPC, C)))
    variables = linear().init(jax.random.key(0))
    rates = synthetic.learning_rate
    given = synthetic.replace(labels=jnp.asarray(labels), label_kind=kind)
    found = jax.jit(train_in_order, static_argnums=0)(linear(), variables, given, rates)
    batches = [(x, y if kind == "class" else softmax(y)) for x, y in batches_of(synthetic, 2, labels)]
    assert_trained(found, loop(variables.params, batches, rates))


def test_unrolled_training_keeps_running_averages():
    """With step sizes of zero they are all that changes."""
    net = make_network("convnet-bn", (8, 8, 1), C, width=4, depth=2)
    variables = jax.jit(net.init)(jax.random.key(0))
    images = jax.random.normal(jax.random.key(1), (2, 6, 8, 8, 1))
    labels = jnp.broadcast_to(jnp.eye(C)[jnp.arange(6) % C], (2, 6, C))
    flat, plan = (images.reshape(12, 8, 8, 1), labels.reshape(12, C)), jnp.tile(jnp.arange(12).reshape(2, 6), (2, 1))
    found = jax.jit(lambda v: unroll(net, v, *flat, "class", plan, jnp.zeros(4)))(variables)
    once = jax.jit(lambda variables, images: net.apply(variables, images, train=True)[1])
    for batch in (0, 1, 0, 1):
        statistics = once(variables, images[batch])
        variables = variables._replace(statistics=statistics)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, variables)


@pytest.mark.usefixtures("compiled_well")
def test_memory_of_the_gradient_grows_by_the_parameters_alone():
    net = make_network("convnet", (8, 8, 1), 4, width=16, norm="none")
    variables = jax.eval_shape(net.init, jax.random.key(0))
    parameters = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(variables))

    def temporary(epochs):
        def final(variables, images, labels, rates):
            plan = jnp.tile(jnp.arange(16).reshape(2, 8), (epochs, 1))
            trained = unroll(net, variables, images, labels, "class", plan, rates)
            return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(trained))

        arguments = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((16, 8, 8, 1), (16, 4), (2 * epochs,))]
        compiled = jax.jit(jax.grad(final, (1, 2, 3))).lower(variables, *arguments).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    growth = (temporary(20) - temporary(5)) / (30 * parameters)
    assert 0.9 < growth < 1.2


def test_in_order_uses_the_sets_own_step_sizes_and_no_shuffling(synthetic):
    rates = synthetic.learning_rate
    starts = []
    for seed in (0, 1):
        key = jax.random.key(seed)
        found = jax.jit(InOrder().fit, static_argnums=2)(key, synthetic, linear())
        starts.append(linear().init(key).params)
        assert_trained(found, loop(starts[-1], list(batches_of(synthetic, 2)), rates))
    assert np.abs(starts[0]["w"] - starts[1]["w"]).max() > 0.1

    constant = [InOrder().fit(jax.random.key(seed), synthetic, linear(constant=True)) for seed in (0, 1)]
    jax.tree.map(np.testing.assert_array_equal, *constant)


@pytest.mark.parametrize("rate", [None, 0.7])
def test_in_order_takes_one_image_of_each_class_where_no_order_was_learned(synthetic, rate):
    """A single step size is that of a method whose evaluation shuffles; it says nothing about training in order."""
    bare = synthetic.replace(learning_rate=rate if rate is None else jnp.float32(rate))
    found = InOrder(epochs=2, learning_rate=0.3).fit(jax.random.key(0), bare, linear())
    start = linear().init(jax.random.key(0)).params
    assert_trained(found, loop(start, list(batches_of(bare, IPC)), np.full((2, IPC), 0.3)))


def test_an_evaluation_in_order_can_take_hard_labels(synthetic):
    soft = synthetic.replace(labels=5.0 * synthetic.labels - 1.0, label_kind="logit")
    start = linear().init(jax.random.key(0)).params
    found = train(jax.random.key(0), soft, linear(), InOrder(labels="hard"))
    assert_trained(found, loop(start, list(batches_of(synthetic, 2)), synthetic.learning_rate))
    assert PROTOCOLS["dd"] == InOrder()


def test_each_step_takes_its_share_of_every_class():
    numbers = jnp.arange(2 * 6, dtype=jnp.float32).reshape(2, 6, 1, 1, 1)
    assert by_step(class_set(numbers), 3).tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11]]
    with pytest.raises(ValueError, match="use a divisor"):
        by_step(class_set(numbers), 4)


@pytest.mark.parametrize("settings", [{"epochs": -1}, {"learning_rate": 0.0}])
def test_unusable_recipes_are_refused(settings):
    with pytest.raises(ValueError, match="positive learning rate"):
        InOrder(**settings)


def test_the_recipe_in_words_says_what_sets_without_step_sizes_get():
    assert "2 epochs" in InOrder(epochs=2, learning_rate=0.125).summary
    assert "0.125" in InOrder(epochs=2, learning_rate=0.125).summary
