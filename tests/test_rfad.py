"""RFAD: its loss, gradients and steps against PyTorch, its map of images, its evaluations and its presets."""

import dataclasses
import json
import math
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import make_toy

from jaxdistill.augment import make as make_augment
from jaxdistill.cli import main
from jaxdistill.common.sets import centred, class_set
from jaxdistill.data.feeds import sample
from jaxdistill.evaluation import PROTOCOLS, CentredRegression
from jaxdistill.kernels import make as make_kernel
from jaxdistill.methods.rfad import RFAD, Learned, rfad, transformed
from jaxdistill.networks import make as make_network
from jaxdistill.networks import network as make_network_of
from jaxdistill.presets import find, readings
from jaxdistill.types import Batch, Features, Kernel, SyntheticSet, Task, Variables

GOLDEN = np.load(Path(__file__).parent / "reference" / "rfad.npz")
NETWORKS, DEPTH, WIDTH, CLASSES = 2, 3, 3, 3
SHAPE = GOLDEN["images"].shape[1:]


FIRST = dict(GOLDEN) | {"transform": np.eye(math.prod(SHAPE)) + GOLDEN["factors"][0] @ GOLDEN["factors"][1].T}
"""Whatever is learned, before the first step."""


def stored(name, values):
    """As much of it as was stored."""
    return np.asarray(values)[:4] if name == "transform" else np.asarray(values)


def of_given_networks():
    """The kernel whose networks have the golden weights, whatever the key."""
    network = make_network("convnet", SHAPE, 1, width=WIDTH, depth=DEPTH, norm="none", initial="kernel")
    variables = network.init(jax.random.key(0))

    def given(number):
        body = {
            f"Conv_{block}": {name: jnp.asarray(GOLDEN[f"{name}{number}{block}"]) for name in ("kernel", "bias")}
            for block in range(DEPTH)
        }
        return Variables({**variables.params, "body": body}, variables.statistics)

    def prepare(key, images):
        del key
        rows = [network.features(given(number), images).embedding for number in range(NETWORKS)]
        return jnp.concatenate(rows, 1) / math.sqrt(NETWORKS * rows[0].shape[1])

    return Kernel(prepare, make_kernel(f"rfad{NETWORKS}x{WIDTH}", SHAPE).gram)


def golden_steps(kind, count):
    """States and infos, from the golden numbers on, each step on the golden real images."""
    network = make_network("convnet", SHAPE, CLASSES, width=2, depth=2)
    task = Task(
        network=network, augment=make_augment("none"), image_shape=SHAPE, num_classes=CLASSES,
        kernel=of_given_networks(),
    )  # fmt: skip
    method = rfad(RFAD(loss=kind, learn_labels=True), task)
    learned = Learned(*(jnp.asarray(FIRST[name]) for name in Learned._fields))
    start = class_set(GOLDEN["images"].reshape(CLASSES, -1, *SHAPE))
    state = method.init(jax.random.key(0), start)
    states, infos = [state._replace(learned=learned)], []
    step = jax.jit(method.step)
    for _ in range(count):
        batch = Batch(jnp.asarray(GOLDEN["real"]), jnp.asarray(GOLDEN["classes"]))
        state, info = step(jax.random.key(1), states[-1], batch)
        states.append(state)
        infos.append(info)
    return method, states, infos


@pytest.mark.parametrize("kind", ["platt", "squared"])
def test_loss_and_gradients_equal_pytorchs(kind):
    with jax.enable_x64(True):
        _, states, infos = golden_steps(kind, 1)
        np.testing.assert_allclose(infos[0].loss, GOLDEN[f"{kind}_loss"], rtol=1e-10)
        # The optimiser's first average is a tenth of the first gradient.
        gradient = jax.tree.map(lambda mean: 10 * mean, states[1].opt_state.mu)
        for name in Learned._fields:
            found = stored(name, getattr(gradient, name))
            if kind == "squared" and name == "temperature":
                assert not found
                continue
            wanted = GOLDEN[f"{kind}_by_{name}"]
            assert np.linalg.norm(found - wanted) < 1e-9 * np.linalg.norm(wanted), name


def test_three_steps_equal_pytorchs():
    with jax.enable_x64(True):
        method, states, _ = golden_steps("platt", 3)
        for name in Learned._fields:
            start, end = (stored(name, getattr(states[i].learned, name)) for i in (0, 3))
            moved = GOLDEN[f"{name}_after"] - stored(name, FIRST[name])
            np.testing.assert_allclose(end - start, moved, rtol=1e-5, atol=1e-12)
        found = method.synthetic(states[3])
        flat = states[3].learned.images.reshape(6, -1)
        np.testing.assert_allclose(found.images.reshape(6, -1), flat @ states[3].learned.transform, rtol=1e-12)
        assert found.label_kind == "target"


def test_kept_images_are_not_mapped():
    images = jax.random.normal(jax.random.key(0), (6, 2, 2, 1))
    found = transformed(images, 2 * jnp.eye(4), 1, 2)
    np.testing.assert_array_equal(found[jnp.array([0, 3])], images[jnp.array([0, 3])])
    np.testing.assert_allclose(found[jnp.array([1, 2, 4, 5])], 2 * images[jnp.array([1, 2, 4, 5])])
    np.testing.assert_array_equal(transformed(images, None, 0, 2), images)


def run_toy(config, ipc=2, steps=3, kernel="rfad2x4"):
    shape = (8, 8, 1)
    task = Task(
        network=make_network("mlp", shape, 4, width=8), augment=make_augment("none"), image_shape=shape,
        num_classes=4, kernel=make_kernel(kernel, shape),
    )  # fmt: skip
    data = jax.tree.map(jnp.asarray, make_toy()[0])
    start = class_set(data.read(data.offsets[:, None] + jnp.arange(ipc)).images)
    method = rfad(config, task)
    state, step = method.init(jax.random.key(0), start), jax.jit(method.step)
    infos = []
    for i in range(steps):
        key = jax.random.key(i)
        state, info = step(key, state, sample(method.feed, key, i, data))
        infos.append(info)
    return method, start, state, infos


def test_what_is_not_learned_stays():
    method, start, state, infos = run_toy(RFAD(real_batch=16, transform_lr=0.0, loss="squared"))
    assert state.learned.transform is None
    assert not infos[-1].temperature
    np.testing.assert_array_equal(state.learned.labels, centred(start))
    found = method.synthetic(state)
    np.testing.assert_array_equal(found.images, state.learned.images)
    assert (found.images != start.images).any((1, 2, 3)).all()
    _, start, state, infos = run_toy(RFAD(real_batch=16, temperature_lr=0.0, learn_labels=True))
    assert not infos[-1].temperature
    assert (state.learned.labels != centred(start)).all()
    assert (state.learned.transform != jnp.eye(64)).any()


def test_networks_are_drawn_anew_in_each_step():
    """The same set and images, and another loss."""
    method, _, state, _ = run_toy(RFAD(real_batch=48), steps=0)
    data = jax.tree.map(jnp.asarray, make_toy()[0])
    batch, step = sample(method.feed, jax.random.key(0), 0, data), jax.jit(method.step)
    losses = [float(step(jax.random.key(i), state, batch)[1].loss) for i in (0, 0, 1)]
    assert losses[0] == losses[1] != losses[2]


def test_rfad_needs_a_kernel_and_settings_in_range():
    shape = (8, 8, 1)
    task = Task(
        network=make_network("mlp", shape, 4, width=8), augment=make_augment("none"), image_shape=shape, num_classes=4
    )
    with pytest.raises(ValueError, match="RFAD needs a kernel"):
        rfad(RFAD(), task)
    task = dataclasses.replace(task, kernel=make_kernel("rfad1x2", shape))
    for wrong in ({"image_lr": 0.0}, {"transform_lr": -1.0}, {"real_batch": 0}, {"ridge": 0.0}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` of RFAD"):
            rfad(RFAD(**wrong), task)


class Linear(nn.Module):
    """Nothing below the classifier."""

    @nn.compact
    def __call__(self, x, train):
        return Features(x.reshape(x.shape[0], -1), ())


def of_linear(images, labels, first, rate, factor, decay, steps):
    """Steps on the squared error, divided by the factor's square, of what the weights say beyond the first ones."""
    (weights, bias), (n, classes) = (np.array(part, np.float64) for part in first), labels.shape
    start, speed = (weights.copy(), bias.copy()), [np.zeros_like(weights), np.zeros_like(bias)]
    for _ in range(steps):
        residual = images @ (weights - start[0]) + bias - start[1] - factor * labels
        by_said = 2 * residual / (n * classes * factor**2)
        gradient = [images.T @ by_said, by_said.sum(0)]
        gradient = [g + 2 * decay * (p - p0) for g, p, p0 in zip(gradient, (weights, bias), start, strict=True)]
        speed = [0.9 * v + g for v, g in zip(speed, gradient, strict=True)]
        weights, bias = weights - rate * speed[0], bias - rate * speed[1]
    return images @ (weights - start[0]) + bias - start[1]


def test_networks_learn_what_they_say_beyond_their_first_weights_as_numpys_do():
    network = make_network_of(Linear(), (4, 4, 1), CLASSES)
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(6, 4, 4, 1)), rng.normal(size=(6, CLASSES))
    made = SyntheticSet(jnp.asarray(images, jnp.float32), jnp.asarray(labels, jnp.float32), label_kind="target")
    recipe = CentredRegression(epochs=7, by_size=((1, 9.0, 1.0, 0.0), (2, 0.05, 4.0, 0.1), (3, 9.0, 1.0, 0.0)))
    found = recipe.fit(jax.random.key(0), made, network)
    first = found.params[1]["classifier"]
    wanted = of_linear(images.reshape(6, -1), labels, (first["kernel"], first["bias"]), 0.05, 4.0, 0.1, 7)
    said = recipe.predict(network, found, made.images)
    np.testing.assert_allclose(said, wanted, rtol=1e-4, atol=1e-5)
    assert not np.allclose(said, network.apply(Variables(found.params[0], {}), made.images)[0], atol=1e-3)
    # Batches smaller than the set: steps without end lead to the labels times the factor.
    recipe = CentredRegression(epochs=600, batch=4, by_size=((1, 0.3, 2.0, 0.0),))
    said = recipe.predict(network, recipe.fit(jax.random.key(0), made, network), made.images)
    assert np.abs(said - 2 * labels).max() < 0.02
    assert "from 1 images of a class on step size 0.3, labels times 2" in recipe.summary
    with pytest.raises(ValueError, match="at least 1"):
        CentredRegression(epochs=0)


def test_settings_of_networks_go_by_data_set_and_size():
    """The table of the released code."""
    row = lambda name, ipc: PROTOCOLS[f"rfad-nn-{name}"].row(ipc)[1:]  # noqa: E731
    assert [row("cifar10", ipc) for ipc in (1, 9, 10, 60)] == [(1e-3, 8, 0), (1e-3, 8, 0), (1e-3, 2, 0), (1e-2, 2, 0)]
    assert row("cifar100", 10) == (0.1, 2, 0)
    assert row("mnist", 10) == (1e-2, 8, 1e-3)
    assert row("svhn", 1) == (1e-3, 16, 0)
    assert row("fashion", 50) == (1e-3, 2, 0)


def test_presets_are_the_released_codes():
    assert readings("rfad") == ("krr", "nn")
    cell = find("rfad", "cifar10", 10, "nn")
    assert (cell.published.mean, cell.listed, cell.zca, cell.protocol) == (66.3, False, True, "rfad-nn-cifar10")
    assert find("rfad", "cifar10", 10).published is None
    assert find("rfad", "fashion_mnist", 1, "nn").protocol == "rfad-nn-fashion"
    assert find("rfad", "svhn_cropped", 1, "nn").protocol == "rfad-nn-svhn"
    assert find("rfad", "some_other", 1).network == {"kernel": "rfad"}
    assert RFAD() == find("rfad", "mnist", 50).config


def test_rfad_from_the_command_line_to_both_evaluations(tmp_path, capsys):
    out = tmp_path / "run"
    tiny = ["--dataset", "digits", "--ipc", "1", "--kernel", "rfad2x4", "--real-batch", "32", "--quiet"]
    assert main(["distill", "rfad", *tiny, "--steps", "2", "--eval-seeds", "2", "--out", str(out)]) == 0
    rows = json.loads((out / "evaluation.json").read_text())["rows"]
    assert {(row["network"], len(row["accuracies"])) for row in rows} == {("rfad2x4", 2)}
    capsys.readouterr()
    words = ["--protocol", "rfad-nn-cifar10", "--network", "convnet", "--width", "4", "--epochs", "2", "--seeds", "1"]
    assert main(["evaluate", str(out), *words, "--json"]) == 0
    assert {row["network"] for row in json.loads(capsys.readouterr().out)["rows"]} == {"convnet"}
