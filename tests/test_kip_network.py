"""KIP to networks of finite width: its step size, its steps and its draws, and how the command line asks for it."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cli import refused

from jaxdistill.cli import main
from jaxdistill.evaluation import PROTOCOLS, StableRegression, evaluate
from jaxdistill.evaluation.stable_regression import buffered
from jaxdistill.evaluation.train import train
from jaxdistill.networks import make, reads
from jaxdistill.networks.builders import ConvNet4, network
from jaxdistill.testing import CLASSES, SHAPE, toy_data, toy_start
from jaxdistill.training.stability import empirical_ntk, largest_step
from jaxdistill.types import Network, SyntheticSet, Variables

GOLDEN = dict(np.load(Path(__file__).parent / "reference" / "kip_network.npz"))
SHORT = StableRegression(steps=150, factor=0.3, l2=1e-4, batch=8)


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def variables_of(prefix=""):
    """The reference's parameters under the names of ours."""
    layers = {
        f"Conv_{layer}": {"kernel": GOLDEN[f"{prefix}kernel{layer}"], "bias": GOLDEN[f"{prefix}bias{layer}"]}
        for layer in range(3)
    }
    dense = {"kernel": GOLDEN[f"{prefix}matrix"], "bias": GOLDEN[f"{prefix}offset"]}
    return Variables(jax.tree.map(jnp.asarray, {"body": layers, "classifier": dense}), {})


def test_the_step_size_is_that_of_explicit_gradients(double):
    net = network(ConvNet4(3, 2), (9, 9, 2), 3)
    probes = jnp.asarray(GOLDEN["probes"])
    np.testing.assert_allclose(empirical_ntk(net, variables_of(), probes), GOLDEN["kernel"], rtol=1e-11)
    np.testing.assert_allclose(largest_step(net, variables_of(), probes), GOLDEN["largest"], rtol=1e-11)


@pytest.mark.parametrize("size", [4, 8])
def test_three_steps_are_the_references(double, size):
    """Those of eight draws from six images go through the network once for each image."""
    net = network(ConvNet4(3, 2), (9, 9, 2), 3)
    made = SyntheticSet(jnp.asarray(GOLDEN["images"]), jnp.asarray(GOLDEN["targets"]), label_kind="target")
    recipe = StableRegression(factor=float(GOLDEN["factor"]), l2=float(GOLDEN["l2"]))
    assert recipe.momentum == GOLDEN["momentum"]
    largest = largest_step(net, variables_of(), jnp.asarray(GOLDEN["probes"]))
    rates = recipe.rates(largest, int(GOLDEN["total"]))[:3]
    found = recipe.go_on(variables_of(), made, net, jnp.asarray(GOLDEN[f"draws{size}"]), rates)
    expected = variables_of(f"trained{size}_")
    for one, other in zip(jax.tree.leaves(found.params), jax.tree.leaves(expected.params), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)
    assert max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (found, variables_of())), strict=True)) > 1e-2


def linear(classes, width):
    """Outputs that are products of the pixels with a matrix, with no bias."""

    def apply(variables, images, train=False):
        return images.reshape(images.shape[0], -1) @ variables.params, {}

    return Network(lambda key: Variables(jax.random.normal(key, (width, classes)), {}), apply, apply)


def test_the_step_size_of_a_linear_model_is_where_descent_stops_to_converge(double):
    """2 n C over the largest eigenvalue of the pixels' Gram matrix; a hundredth less falls, a hundredth more grows."""
    x = np.random.default_rng(0).normal(size=(6, 2, 2, 3))
    net, rows = linear(4, 12), x.reshape(6, 12)
    variables = net.init(jax.random.key(0))
    found = float(largest_step(net, variables, jnp.asarray(x)))
    np.testing.assert_allclose(found, 2 * 6 * 4 / np.linalg.eigvalsh(rows @ rows.T)[-1], rtol=1e-9)
    made = SyntheticSet(jnp.asarray(x), jnp.zeros((6, 4)), label_kind="target")
    plain = StableRegression(l2=0.0, momentum=0.0, batch=6)
    draws = jnp.tile(jnp.arange(6), (3000, 1))
    errors = []
    for share in (0.99, 1.01):
        end = plain.go_on(variables, made, net, draws, jnp.full(3000, share * found))
        errors.append(float((net.apply(end, made.images)[0] ** 2).sum()))
    start = float((net.apply(variables, made.images)[0] ** 2).sum())
    assert errors[0] < 1e-6 * start
    assert errors[1] > 1e6 * start


def test_draws_are_those_of_a_buffer_over_the_endless_set():
    found = np.asarray(buffered(jax.random.key(3), 5, 40))
    places = np.asarray(jax.random.randint(jax.random.key(3), (40,), 0, 5))
    buffer, expected = list(range(5)), []
    for i, place in enumerate(places):
        expected.append(buffer[place])
        buffer[place] = i % 5
    assert found.tolist() == expected
    assert {*np.bincount(found[:20])} != {4}  # no shuffled passes


def test_the_network_is_its_kernels_and_has_no_normalisation():
    net = make("convnet4", (28, 28, 1), 10, width=4, initial="kernel")
    features = net.features(net.init(jax.random.key(0)), jnp.ones((2, 28, 28, 1)))
    assert [leaf.shape[1] for leaf in features.maps] == [28, 28, 14, 7]
    assert features.embedding.shape == (2, 3 * 3 * 4)
    assert reads("convnet4") == {"width", "depth"}
    wide = make("convnet4", (8, 8, 2), 10, width=64, depth=2, initial="kernel").init(jax.random.key(0)).params
    kernel, bias = wide["body"]["Conv_1"]["kernel"], wide["body"]["Conv_1"]["bias"]
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 64)), rtol=0.02)
    np.testing.assert_allclose(bias.std(), 0.1, rtol=0.3)
    with pytest.raises(ValueError, match="convnet4 has no normalisation"):
        make("convnet4-bn", (8, 8, 1), 4)


def test_real_images_train_above_chance_and_images_aside_set_the_step():
    net = make("convnet4", SHAPE, CLASSES, width=8, depth=2, initial="kernel")
    data, test = (jax.tree.map(jnp.asarray, split) for split in toy_data())
    aside = data.read(jnp.arange(0, 48, 2)).images
    found = evaluate(jax.random.key(0), toy_start(4), net, test, SHORT, seeds=2, aside=aside)
    assert found.mean > 2 / CLASSES
    key, own = jax.random.key(1), toy_start(4)
    one, other, without = (train(key, own, net, SHORT, shown) for shown in (aside, 2 * aside, None))
    same = train(key, own, net, SHORT, own.images)
    for left, right in zip(jax.tree.leaves(without), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(left, right)
    assert not np.array_equal(jax.tree.leaves(one)[0], jax.tree.leaves(other)[0])


def test_epochs_take_the_place_of_steps():
    recipe = PROTOCOLS["kip-nn"]
    assert (recipe.steps, recipe.batch, recipe.momentum, recipe.factor, recipe.l2) == (5_000, 100, 0.9, 1.0, 1e-3)
    assert recipe.length(100) == recipe.length(1_000) == 5_000
    short = dataclasses.replace(recipe, epochs=3)
    assert [short.length(count) for count in (10, 100, 101)] == [3, 3, 6]
    for wrong in ({"factor": 0.0}, {"l2": -1.0}, {"momentum": 1.0}, {"batch": 0}):
        with pytest.raises(ValueError, match=f"`{next(iter(wrong))}` of StableRegression"):
            StableRegression(**wrong)


TINY = ["--dataset", "digits", "--ipc", "1", "--width", "4", "--quiet"]


def found_in(run):
    return json.loads((run / "evaluation.json").read_text())


def told(words, capsys):
    capsys.readouterr()
    assert main([*words, "--seeds", "1", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_set_is_judged_by_the_penalty_that_it_was_learned_with(tmp_path, capsys):
    runs = {}
    for ridge in ("5e-3", "1e-2"):
        runs[ridge] = tmp_path / ridge
        words = ["distill", "kip", *TINY, "--steps", "1", "--eval-seeds", "1", "--ridge", ridge]
        assert main([*words, "--out", str(runs[ridge])]) == 0
        assert found_in(runs[ridge])["protocol"]["ridge"] == float(ridge)
    again = told(["evaluate", str(runs["5e-3"])], capsys)
    assert again["protocol"]["ridge"] == 5e-3
    accuracies = [[row["accuracies"] for row in found["rows"]] for found in (again, found_in(runs["5e-3"]))]
    assert accuracies[0] == accuracies[1]
    both = ["evaluate", *map(str, runs.values())]
    assert "penalties 0.005, 0.01; choose with --ridge" in refused(capsys, both, tmp_path)
    assert told([*both, "--ridge", "1e-6"], capsys)["protocol"]["ridge"] == 1e-6
    words = ["distill", "kip", *TINY, "--steps", "0", "--ridge", "5e-3", "--eval-ridge", "1e-6", "--eval-seeds", "1"]
    assert main([*words, "--out", str(tmp_path / "other")]) == 0
    assert found_in(tmp_path / "other")["protocol"]["ridge"] == 1e-6


def test_a_set_that_was_learned_with_no_penalty_is_judged_by_the_usual_one(tmp_path):
    words = ["select", "random", "--dataset", "digits", "--ipc", "1", "--quiet", "--protocol", "krr", "--kernel", "fc1"]
    assert main([*words, "--eval-seeds", "1", "--out", str(tmp_path / "core")]) == 0
    assert found_in(tmp_path / "core")["protocol"]["ridge"] == 1e-6


def test_a_network_learns_from_a_run_by_the_options_given(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["distill", "kip", *TINY, "--steps", "0", "--eval-seeds", "0", "--out", str(run)]) == 0
    by = ["evaluate", str(run), "--protocol", "kip-nn", "--network", "convnet4", "--width", "4"]
    words = [*by, "--initial", "kernel", "--epochs", "3", "--factor", "0.5", "--l2", "0.01"]
    said = told(words, capsys)["protocol"]
    assert (said["factor"], said["l2"], said["epochs"]) == (0.5, 0.01, 3)
    assert "3 epochs of SGD" in said["summary"]
    assert "0.5 times the step size that 50 images' empirical NTK allows" in said["summary"]
    assert "this protocol has no ridge; leave --ridge out" in refused(capsys, [*by, "--ridge", "0.1"], tmp_path)
    select = ["select", "random", *TINY, "--protocol", "dsa1000", "--eval-l2", "0.1", "--out", str(tmp_path / "no")]
    assert "this protocol has no l2; leave --eval-l2 out" in refused(capsys, select, tmp_path)
    wrong = ["evaluate", str(run), "--protocol", "krr", "--ridge", "-1"]
    assert "--ridge of KernelRidge is a positive number" in refused(capsys, wrong, tmp_path)


def test_a_run_of_the_preset_and_its_evaluation_train_the_same_network(tmp_path, capsys):
    words = ["distill", "kip", *TINY, "--preset", "nn", "--kernel", "fc1", "--steps", "0"]
    assert main([*words, "--eval-seeds", "1", "--eval-epochs", "2", "--out", str(tmp_path / "run")]) == 0
    first, again = found_in(tmp_path / "run"), told(["evaluate", str(tmp_path / "run"), "--epochs", "2"], capsys)
    for one, other in zip(first["rows"], again["rows"], strict=True):
        assert (one["network"], one["accuracies"]) == (other["network"], other["accuracies"])
    assert first["rows"][0]["network"] == "convnet4"
    assert first["protocol"]["summary"] == again["protocol"]["summary"]
