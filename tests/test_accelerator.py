"""On an accelerator: every method's step is the CPU's, and what needs all its digits has them. Run with ``-m gpu``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_contract as contract
from jax.flatten_util import ravel_pytree
from toys import make_toy

from jaxdistill.kernels import make as make_kernel
from jaxdistill.kernels.regression import label_solve
from jaxdistill.networks import make as make_network

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True, scope="module")
def devices():
    """An accelerator, and the CPU beside it."""
    assert jax.default_backend() != "cpu", "no accelerator is there: leave -m gpu out"
    return jax.devices()[0], jax.devices("cpu")[0]


def apart(one, other):
    """The length of the difference as a share of the second one's."""
    one, other = (np.asarray(ravel_pytree(jax.device_get(tree))[0], np.float64) for tree in (one, other))
    return np.linalg.norm(one - other) / np.linalg.norm(other)


@pytest.mark.parametrize("config", contract.METHODS, ids=lambda config: config.__name__)
def test_a_step_moves_the_set_as_on_a_cpu(config, devices):
    """As far as the platform's own precision goes, which is printed; at full precision to rounding."""
    moved = {}
    for precision in ("highest", "default"):
        for device in devices:
            with jax.default_device(device), jax.default_matmul_precision(precision):
                method = contract.make_method(config, "convnet")
                data = jax.tree.map(jnp.asarray, contract.source_of(method, "convnet"))
                state = method.init(jax.random.key(2), contract.start_of(method))
                after, _ = jax.jit(lambda s, d, m=method: contract.one_step(m, d, s, 0, jax.random.key(7)))(state, data)
                change = jax.tree.map(lambda new, old: new - old, method.learned(after), method.learned(state))
                moved[precision, device.platform] = jax.device_get(change)
    here, there = (device.platform for device in devices)
    shares = {p: apart(moved[p, here], moved["highest", there]) for p in ("highest", "default")}
    print(f"\n{config.__name__}: {shares['highest']:.1e} at full precision, {shares['default']:.1e} as it is", end="")
    assert shares["highest"] < 2e-3
    assert shares["default"] < 0.2


def test_kernels_and_solves_keep_their_digits(devices):
    """Whatever the default precision of products: a kernel, and the labels that a solve finds by it."""
    support = np.random.default_rng(0).normal(size=(40, *contract.SHAPE)).astype(np.float32)
    found = []
    for device in devices:
        with jax.default_device(device):
            train, kernel = jax.tree.map(jnp.asarray, make_toy()[0]), make_kernel("fc1", contract.SHAPE)
            rows = [kernel.prepare(jax.random.key(0), jnp.asarray(images)) for images in (support, train.images)]
            labels = label_solve(jax.random.key(0), kernel, jnp.asarray(support), train, ridge=1e-3)
            found.append(jax.device_get((jax.jit(kernel.gram)(*rows), labels)))
    assert apart(found[0][0], found[1][0]) < 1e-5
    assert apart(found[0][1], found[1][1]) < 1e-4


def test_a_network_says_the_same(devices):
    network = make_network("convnet", (32, 32, 3), 10)
    images = np.random.default_rng(0).normal(size=(16, 32, 32, 3)).astype(np.float32)
    logits = []
    for device in devices:
        with jax.default_device(device), jax.default_matmul_precision("highest"):
            variables = network.init(jax.random.key(0))
            logits.append(jax.jit(lambda v, x: network.apply(v, x)[0])(variables, images))
    assert apart(*logits) < 1e-4
