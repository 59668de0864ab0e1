"""The library in programs that forbid implicit promotion of types and of ranks, as notebooks may."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import traces
from test_contract import SHAPE
from test_selection import bases, data, selected  # noqa: F401 (fixtures)
from toys import make_toy

import jaxdistill as jd
from jaxdistill.common.promotion import standard, standardised
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.evaluation.coverage import coverage, radius
from jaxdistill.evaluation.protocol import Protocol
from jaxdistill.kernels import KERNELS
from jaxdistill.methods import METHODS
from jaxdistill.networks import NETWORKS
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.base import ProxyModel, Scores
from jaxdistill.training.sgd import Seen

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def strict():
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def refuses():
    """Whether the modes of the caller are strict."""
    for narrow, other in ((jnp.ones(2, jnp.int8), jnp.ones(2)), (jnp.ones((3, 2)), jnp.ones(2))):
        with pytest.raises((ValueError, TypeError)):
            narrow + other
    return True


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.__name__)
def test_methods(config):
    assert refuses()
    run, start = traces.method(config)
    jax.eval_shape(run, start)
    assert refuses(), "the caller's modes are as they were"


@pytest.mark.parametrize("name", PROTOCOLS)
def test_evaluations(name):
    run, made = traces.evaluation(PROTOCOLS[name])
    jax.eval_shape(run, made)


@pytest.mark.parametrize("name", KERNELS)
def test_kernels(name):
    jax.eval_shape(*traces.kernel(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_and_their_gradients(name):
    network = jd.make_network(name, (32, 32, 3), 4)
    images = jnp.ones((2, 32, 32, 3))

    def loss(params, images):
        variables = network.init(KEY)._replace(params=params)
        return (
            network.apply(variables, images, train=True)[0].sum() + network.features(variables, images).embedding.sum()
        )

    jax.eval_shape(jax.grad(loss, (0, 1)), network.init(KEY).params, images)


@pytest.mark.parametrize("name", SELECTIONS)
def test_selections(name, data, bases):  # noqa: F811
    found = selected(name, data, bases)
    assert found.images.shape == (6, 4, 4, 2)


@pytest.mark.parametrize("name", [n for n, one in SELECTIONS.items() if type(one.needs) is Scores])
def test_scores(name):
    train = jax.tree.map(jnp.asarray, make_toy()[0])
    network = jd.make_network("convnet", SHAPE, 4, width=4, depth=1)
    rng = np.random.default_rng(0)
    seen = Seen(*(jnp.asarray(rng.random((3, 48)) > 0.5, dtype) for dtype in (bool, "float32", "float32", "float32")))
    score = SELECTIONS[name].needs.of(ProxyModel(seen, 1, network, network.init(KEY), train))
    assert np.shape(score) == (48,)


AUGMENTATIONS = (
    "color_crop_cutout_flip_scale_rotate", "each:crop", "all:color_crop_cutout_flip", "classic:crop_scale_rotate_noise",
    "photo:crop_flip_color", "reflect:flip", "zoom:flip",
)  # fmt: skip


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations(name):
    augment = jd.make_augment(name)
    for siamese in (True, False):
        jax.eval_shape(lambda images, siamese=siamese: augment(KEY, images, siamese), jnp.ones((4, 8, 8, 3)))


def test_data_judgement_and_coverage():
    train, test = (jax.tree.map(jnp.asarray, split) for split in make_toy())
    network = jd.make_network("convnet", SHAPE, 4, width=4, depth=1)
    made = SELECTIONS["random"](KEY, train, 2)
    judged = jd.evaluation.evaluate(KEY, made, network, test, Protocol(1, augment="none"), seeds=1)
    assert judged.accuracies.shape == (1,)
    rows = jd.pixels(train)
    assert 0 <= coverage(rows, rows[:5], radius(rows), np.zeros(48)).all <= 1
    assert jd.decode(made).images.shape == made.images.shape


def test_standard_is_for_functions_and_once():
    def f(x):
        """Said."""
        return x + jnp.ones((2, 3), jnp.int8)

    wrapped = standard(f)
    assert wrapped(jnp.ones(3)).shape == (2, 3)
    assert (wrapped.__doc__, standard(wrapped)) == ("Said.", wrapped)
    network = jd.make_network("mlp", SHAPE, 4)
    assert standardised(network) == network
    with pytest.raises((ValueError, TypeError)):
        f(jnp.ones(3))


def test_commands(tmp_path):
    words = ["distill", "dm", "--dataset", "digits", "--ipc", "1", "--width", "8", "--steps", "1", "--eval-seeds", "1"]
    environment = {**os.environ, "JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}
    done = subprocess.run(
        [sys.executable, "-m", "jaxdistill", *words, "--eval-epochs", "1", "--quiet", "--out", str(tmp_path / "run")],
        capture_output=True, text=True, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
