"""DataDAM's terms and gradient against PyTorch, NumPy, DM and finite differences, all in float64."""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment import make as make_augment
from jaxdistill.common.sets import class_set
from jaxdistill.losses.attention import attention
from jaxdistill.methods.datadam import DataDAM, datadam
from jaxdistill.methods.dm import DM, dm
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find, readings
from jaxdistill.types import Batch, Task, Variables

GOLDEN = np.load(Path(__file__).parent / "reference" / "datadam.npz")
SHAPE = GOLDEN["real"].shape[2:]
CASES = [("code", DataDAM()), ("paper", DataDAM(power=4, loss_scale=1.0))]
NORMS = {"code": "batch", "paper": "instance"}


@pytest.fixture(autouse=True, scope="module")
def double():
    with jax.enable_x64(True):
        yield


def task_of(norm, augment="none", **options):
    """A task whose every network has the golden weights."""
    network = make_network("convnet", SHAPE, 3, **{"width": 4, "depth": 3, "norm": norm} | options)

    def init(key):
        variables = network.init(key)
        body = dict(variables.params["body"])
        for block in range(3):
            body[f"Conv_{block}"] = {"kernel": GOLDEN[f"kernel{block}"], "bias": GOLDEN[f"bias{block}"]}
            body[f"Norm_{block}"] = {"scale": GOLDEN[f"scale{block}"], "bias": GOLDEN[f"shift{block}"]}
        return Variables(jax.tree.map(jnp.asarray, {**variables.params, "body": body}), variables.statistics)

    return Task(network=network._replace(init=init), augment=make_augment(augment), image_shape=SHAPE, num_classes=3)


def first_step(method, synthetic=GOLDEN["synthetic"]):
    """Info and set of the first step, with which the images move against the gradient at the step size."""
    state = method.init(jax.random.key(0), class_set(jnp.asarray(synthetic)))
    batch = Batch(jnp.asarray(GOLDEN["real"]), jnp.zeros((3, 5), jnp.int32))
    state, info = method.step(jax.random.key(1), state, batch)
    return info, method.synthetic(state).images.reshape(synthetic.shape)


def gradient_of(config, task, synthetic=GOLDEN["synthetic"]):
    info, images = first_step(datadam(config, task), synthetic)
    return info, (synthetic - images) / config.image_lr


@pytest.mark.parametrize(("name", "config"), CASES)
def test_terms_and_gradient_equal_pytorchs(name, config):
    info, gradient = jax.jit(partial(gradient_of, config, task_of(NORMS[name])))()
    assert info.loss.dtype == jnp.float64
    np.testing.assert_allclose(info.attention, GOLDEN[f"{name}_attention"], rtol=1e-9)
    np.testing.assert_allclose(info.embedding, GOLDEN[f"{name}_embedding"], rtol=1e-9)
    np.testing.assert_allclose(info.loss, GOLDEN[f"{name}_attention"] + GOLDEN[f"{name}_embedding"], rtol=1e-9)
    expected = GOLDEN[f"{name}_gradient"]
    assert np.linalg.norm(gradient - expected) / np.linalg.norm(expected) < 1e-9
    np.testing.assert_allclose(info.grad_norm, np.linalg.norm(expected), rtol=1e-9)


def test_the_last_block_takes_part_when_asked():
    info, _ = jax.jit(partial(gradient_of, DataDAM(include_last=True), task_of("batch")))()
    np.testing.assert_allclose(info.attention, GOLDEN["code_attention"] + GOLDEN["code_last"], rtol=1e-9)


@pytest.mark.parametrize(("name", "config"), CASES)
def test_the_gradient_is_the_slope_under_augmentation(name, config):
    step = jax.jit(partial(gradient_of, config, task_of(NORMS[name], "color")))
    synthetic = jnp.asarray(GOLDEN["synthetic"])
    direction = np.random.default_rng(1).normal(size=synthetic.shape)
    _, gradient = step(synthetic)
    ahead, behind = (step(synthetic + sign * 1e-6 * direction)[0].loss for sign in (1, -1))
    np.testing.assert_allclose((ahead - behind) / 2e-6, np.sum(gradient * direction), rtol=1e-5)


def test_one_class_at_a_time_is_all_at_once():
    task = task_of("instance", "color")
    coupled = dataclasses.replace(task, network=task.network._replace(couples_batch=True))
    one, other = (jax.jit(partial(gradient_of, DataDAM(), each))() for each in (task, coupled))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


def test_without_attention_it_is_dm():
    """The code's factors make the embedding term DM's own loss."""
    task = task_of("batch", "color")
    info, images = jax.jit(partial(first_step, datadam(DataDAM(attention_weight=0.0), task)))()
    expected, dm_images = jax.jit(partial(first_step, dm(DM(), task)))()
    np.testing.assert_allclose(info.loss, expected.loss, rtol=1e-9)
    np.testing.assert_allclose(images, dm_images, rtol=1e-9)
    assert info.attention == 0


@pytest.mark.parametrize("power", [1, 2, 4])
def test_attention_is_the_normalised_energy_of_positions(power):
    maps = np.random.default_rng(2).normal(size=(3, 4, 5, 6))
    energy = (np.abs(maps) ** power).sum(3).reshape(3, 20)
    found = attention(jnp.asarray(maps), power)
    np.testing.assert_allclose(found, energy / np.sqrt((energy**2).sum(1))[:, None], rtol=1e-12)
    np.testing.assert_allclose(attention(jnp.asarray(7 * maps), power), found, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "float64"])
@pytest.mark.parametrize("power", [1, 4])
def test_a_map_of_zeros_has_attention_and_gradient_zero(power, dtype):
    rng = np.random.default_rng(3)
    maps = jnp.asarray(np.stack([np.zeros((2, 2, 3)), rng.uniform(1, 2, (2, 2, 3))]), dtype)
    towards = jnp.asarray(rng.normal(size=(2, 4)))
    found = attention(maps, power)
    assert found.dtype == (jnp.float64 if dtype == "float64" else jnp.float32)
    assert not found[0].any()
    gradient = jax.grad(lambda maps: jnp.sum(attention(maps, power) * towards))(maps)
    assert not gradient[0].any()
    assert np.isfinite(np.asarray(gradient, float)).all()
    assert gradient[1].any()


def test_the_norm_has_a_floor():
    faint = jnp.full((1, 1, 4, 1), 1e-14)
    np.testing.assert_allclose(attention(faint, 1), np.full((1, 4), 0.01), rtol=1e-12)


def test_bad_settings_are_refused_with_a_sentence():
    task = task_of("instance")
    for settings, sentence in (
        ({"image_lr": 0.0}, "`image_lr` of DataDAM is a positive number, not 0.0"),
        ({"momentum": 1.0}, "`momentum` of DataDAM is a number from 0 to below 1"),
        ({"real_batch": 0}, "`real_batch` of DataDAM is at least 1"),
        ({"power": 0}, "`power` of DataDAM is at least 1"),
        ({"loss_scale": 0.0}, "`loss_scale` of DataDAM is a positive number"),
        ({"mmd_weight": -0.1}, "`mmd_weight` of DataDAM is a number of at least 0"),
        ({"attention_weight": float("nan")}, "`attention_weight` of DataDAM is a number of at least 0"),
        ({"attention_weight": 0.0, "mmd_weight": 0.0}, "both 0"),
    ):
        with pytest.raises(ValueError, match=sentence):
            datadam(DataDAM(**settings), task)


def test_a_network_without_maps_to_match_is_refused():
    for network in (make_network("convnet", SHAPE, 3, width=4, depth=1), make_network("mlp", SHAPE, 3, width=4)):
        task = dataclasses.replace(task_of("instance"), network=network)
        with pytest.raises(ValueError, match="no map to match"):
            datadam(DataDAM(), task)
        datadam(DataDAM(attention_weight=0.0), task)
    shallow = dataclasses.replace(task_of("instance"), network=make_network("convnet", SHAPE, 3, width=4, depth=1))
    datadam(DataDAM(include_last=True), shallow)


def test_presets_are_the_codes_and_the_papers():
    code, paper = (find(DataDAM, "cifar10", 10, name) for name in readings(DataDAM))
    assert code == find(DataDAM, "cifar10", 10)
    assert (code.config.power, code.config.loss_scale, code.config.mmd_weight, code.steps) == (1, 100.0, 0.01, 20_000)
    assert (paper.config.power, paper.config.loss_scale, paper.config.mmd_weight, paper.steps) == (4, 1.0, 0.01, 8_000)
    assert dict(code.network) == {"norm": "batch"}
    assert dict(paper.network) == {}
    assert (code.protocol, paper.protocol) == ("datadam1800", "datadam1800-halved")
    assert find(DataDAM, "imagenette", 10, "paper").config.mmd_weight == 0.02
    assert find(DataDAM, "imagenette", 10).config.mmd_weight == 0.01
    for name in readings(DataDAM):
        assert find(DataDAM, "cifar10", 50, name).config.image_lr == 1.0
        assert find(DataDAM, "cifar10", 51, name).config.image_lr == 10.0
        assert find(DataDAM, "digits", 10, name).steps == 1_000
    assert find(DataDAM, "cifar100", 50).listed
    assert not find(DataDAM, "fashion_mnist", 10).listed
    assert not find(DataDAM, "cifar10", 100).listed
    assert code.published is None
