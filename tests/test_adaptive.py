"""DeepCore's recipe, derived again in NumPy, and core-sets that are selected as a network trains."""

import dataclasses
import json
import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from test_cli import refused
from test_contract import SHAPE
from toys import make_toy

import jaxdistill as jd
from jaxdistill.augment import for_dataset
from jaxdistill.augment.transform import Augmented
from jaxdistill.cli import main
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.evaluation.protocol import Protocol
from jaxdistill.evaluation.train import train
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.adaptive import selections_at, train_adaptively
from jaxdistill.selection.base import ProxyOutputs
from jaxdistill.selection.outputs import outputs
from jaxdistill.training.sgd import by_step, sgd
from jaxdistill.types import Features, Network, SyntheticSet, Variables

KEY = jax.random.key(0)
DEEPCORE = PROTOCOLS["deepcore200"]
RESELECTED = [name for name, selection in SELECTIONS.items() if selection.needs.reselects]


def linear(classes=3):
    """A softmax regression on 2x2 images, whose gradient is one line of NumPy."""

    def init(key):
        return Variables({"kernel": jax.random.normal(key, (4, classes)), "bias": jnp.zeros(classes)}, {})

    def apply(variables, images, train=False):
        rows = images.reshape(images.shape[0], -1)
        return rows @ variables.params["kernel"] + variables.params["bias"], {}

    def features(variables, images, train=False):
        return Features(images.reshape(images.shape[0], -1), ())

    return Network(init, apply, features)


def some(count=6, weights=None):
    rng = np.random.default_rng(3)
    labels = jnp.asarray(np.eye(3, dtype=np.float32)[rng.integers(0, 3, count)])
    return SyntheticSet(jnp.asarray(rng.normal(size=(count, 2, 2, 1)), jnp.float32), labels, weights=weights)


def by_hand(params, made, steps, rate, *, sum_of_weights):
    """PyTorch's SGD with Nesterov's momentum .9 and coupled decay 5e-4 on all images at once, in float64."""
    rows, labels = np.asarray(made.images, np.float64).reshape(made.count, -1), np.asarray(made.labels, np.float64)
    inputs = np.concatenate([rows, np.ones((made.count, 1))], 1)
    weights = np.ones(made.count) if made.weights is None else np.asarray(made.weights, np.float64)
    share = weights / (weights.sum() if sum_of_weights else made.count)
    layer = np.concatenate([params["kernel"], params["bias"][None]]).astype(np.float64)
    buffer = None
    for step in range(steps):
        odds = np.exp(inputs @ layer)
        gradient = inputs.T @ (share[:, None] * (odds / odds.sum(1, keepdims=True) - labels)) + 5e-4 * layer
        buffer = gradient if buffer is None else 0.9 * buffer + gradient
        layer = layer - rate(step) * (gradient + 0.9 * buffer)
    return layer


@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.parametrize("weights", [None, (0.2, 3.0, 0.0, 1.0, 0.4, 5.0)])
def test_the_recipe_is_pytorchs_sgd_on_a_weighted_loss(relative, weights):
    """Fifty steps of one batch: look ahead, decay, cosine and weights together."""
    recipe = dataclasses.replace(DEEPCORE, epochs=50, augment="none", relative_weights=relative)
    made, network = some(weights=None if weights is None else jnp.asarray(weights)), linear()
    ours = jax.jit(partial(train, network=network, protocol=recipe))(KEY, made).params
    start = jax.tree.map(np.asarray, network.init(jax.random.split(KEY)[0]).params)
    rate = lambda step: 1e-4 + (0.1 - 1e-4) * (1 + np.cos(np.pi * step / 50)) / 2  # noqa: E731
    theirs = by_hand(start, made, 50, rate, sum_of_weights=relative)
    np.testing.assert_allclose(np.concatenate([ours["kernel"], ours["bias"][None]]), theirs, rtol=2e-5, atol=2e-5)
    assert np.abs(theirs[:-1] - start["kernel"]).max() > 0.1


def test_step_sizes_are_of_a_cosine_over_all_steps():
    """Seven images by three are three steps an epoch; the last step of four epochs is the twelfth."""
    recipe, seen = dataclasses.replace(DEEPCORE, epochs=4, batch=3), []
    optimizer = recipe._optimizer(jnp.float32(0.1), 0, 3)
    state = optimizer.init({"w": jnp.zeros(())})
    for _ in range(12):
        state = (jax.tree.map(jnp.zeros_like, state[0]), state[1])
        updates, state = optimizer.update({"w": jnp.ones(())}, state, {"w": jnp.zeros(())})
        seen.append(-float(updates["w"]) / 1.9)
    wanted = [1e-4 + (0.1 - 1e-4) * (1 + np.cos(np.pi * step / 12)) / 2 for step in range(12)]
    np.testing.assert_allclose(seen, wanted, rtol=1e-4)
    assert wanted[0] == 0.1
    made, network = some(7), linear()
    one_epoch = by_step(partial(sgd, momentum=0.0), lambda step: jnp.float32(0.1))
    assert one_epoch.init({})[1] == 0
    shown = dataclasses.replace(recipe, augment="none")
    _, (_, count) = shown.go_on(KEY, *shown.begin(KEY, network), made, network, jnp.arange(4))
    assert count == 12


def test_it_is_deepcores():
    wanted = {"epochs": 200, "batch": 256, "learning_rate": 0.1, "momentum": 0.9, "weight_decay": 5e-4}
    assert {name: getattr(DEEPCORE, name) for name in wanted} == wanted
    assert DEEPCORE.nesterov
    assert DEEPCORE.learning_rate * DEEPCORE.cosine == pytest.approx(1e-4)
    assert for_dataset(DEEPCORE.augment, "cifar10") == "reflect:crop_flip"
    assert {for_dataset(DEEPCORE.augment, name) for name in ("mnist", "digits", "svhn_cropped")} == {"reflect:crop"}
    assert DEEPCORE.passes(50, 10) == 200
    with pytest.raises(UsageError, match="`each_step` is of a step size that a cosine lowers"):
        Protocol(3, each_step=True)


def test_nesterov_is_optaxs():
    params, gradients = {"w": jnp.asarray([1.0, -2.0])}, {"w": jnp.asarray([0.3, 0.7])}
    theirs = optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.2, momentum=0.9, nesterov=True))
    ours = sgd(0.2, momentum=0.9, decay=0.01, nesterov=True)
    states = ours.init(params), theirs.init(params)
    for _ in range(4):
        found, mine = ours.update(gradients, states[0], params)
        wanted, other = theirs.update(gradients, states[1], params)
        states, params = (mine, other), optax.apply_updates(params, found)
        np.testing.assert_allclose(found["w"], wanted["w"], rtol=1e-6)


def test_weights_of_a_batch_without_any_teach_nothing():
    shown = Augmented(jd.make_augment("none"), relative_weights=True)
    np.testing.assert_array_equal(shown(KEY, some(weights=jnp.zeros(6))).weights, np.zeros(6))
    assert shown(KEY, some()).weights is None


# Selections as a network trains.


@pytest.fixture(scope="module")
def toy():
    train_split = jax.tree.map(jnp.asarray, make_toy()[0])
    return train_split, jd.make_network("convnet", SHAPE, 4, width=4, depth=1)


RECIPE = Protocol(4, augment="none", batch=3, learning_rate=0.05)


def leaves(tree):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", RESELECTED)
def test_one_selection_at_the_start_is_the_one_shot_set_of_that_network(name, toy):
    data, network = toy
    variables, last = train_adaptively(KEY, data, 2, SELECTIONS[name], network, RECIPE, every=10, after=0)
    start = network.init(jax.random.split(KEY)[0])
    once = SELECTIONS[name](KEY, data, 2, outputs(network, start, data))
    np.testing.assert_array_equal(last.images, once.images)
    if once.weights is not None:
        np.testing.assert_allclose(last.weights, once.weights, rtol=1e-6)
    for ours, theirs in zip(leaves(variables), leaves(train(KEY, once, network, RECIPE)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


@dataclasses.dataclass(frozen=True)
class Watched(ProxyOutputs):
    """Keeps what networks it was asked of."""

    asked: list = dataclasses.field(default_factory=list, hash=False)

    def of_network(self, network, variables, *more):
        self.asked.append(jax.tree.map(np.asarray, variables))
        return super().of_network(network, variables, *more)


@pytest.mark.parametrize(("after", "moments"), [(None, [2, 4]), (0, [0, 2, 4]), (1, [1, 3]), (3, [3])])
def test_each_selection_asks_the_network_as_it_stands(after, moments, toy):
    """By hand: the passes that were done, on the sets that were selected, with their weights."""
    data, network = toy
    selection = dataclasses.replace(SELECTIONS["craig"], needs=Watched())
    ended, last = train_adaptively(KEY, data, 2, selection, network, RECIPE, every=2, after=after)
    assert len(selection.needs.asked) == len(moments)
    key_begin, key_passes = jax.random.split(KEY)
    (variables, state), total = RECIPE.begin(key_begin, network), RECIPE.passes(8, 4)
    chosen = SELECTIONS["random"](jax.random.fold_in(jax.random.fold_in(KEY, 2), total), data, 2)
    for number in range(total):
        if number in moments:
            asked = selection.needs.asked[moments.index(number)]
            for ours, theirs in zip(leaves(variables), leaves(asked), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
            chosen = SELECTIONS["craig"](KEY, data, 2, outputs(network, variables, data))
        variables, state = RECIPE.go_on(key_passes, variables, state, chosen, network, jnp.asarray([number]))
    np.testing.assert_array_equal(last.images, chosen.images)
    np.testing.assert_array_equal(last.weights, chosen.weights)
    for ours, theirs in zip(leaves(ended), leaves(variables), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_when_there_are_selections():
    assert [*selections_at(200, 20, None)] == [*range(20, 200, 20)]
    assert [*selections_at(5, 9, 0)] == [0]
    for wrong, said in (((5, 0, 0), "at least 1 epoch apart"), ((5, 1, -1), "0 or more"), ((5, 5, None), "after 5 ep")):
        with pytest.raises(UsageError, match=said):
            selections_at(*wrong)


def test_who_is_asked_again(toy):
    with pytest.raises(UsageError, match="herding does not go by what a network says while it trains"):
        train_adaptively(KEY, toy[0], 2, SELECTIONS["herding"], toy[1], RECIPE, every=2)
    assert {"craig", "gradmatch", "glister"} <= {*RESELECTED}


# On the command line.

WORDS = ["--dataset", "digits", "--ipc", "1", "--width", "4", "--feature-epochs", "1", "--eval-seeds", "2", "--quiet"]
SHORT = ["--protocol", "deepcore200", "--eval-epochs", "3", "--eval-network", "convnet,mlp"]


def test_a_row_of_its_own(tmp_path):
    """Beside the set that is selected once, which is what is kept; and the same from Python."""
    words = ["select", "craig", *WORDS, *SHORT]
    assert main([*words, "--out", str(tmp_path / "once")]) == 0
    assert main([*words, "--reselect-every", "1", "--reselect-after", "0", "--out", str(tmp_path / "again")]) == 0
    once, again = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("once", "again"))
    name = "craig, reselected every epoch"
    assert [row["set"] for row in again["rows"]] == ["craig", name, "random"] * 2
    kept = ("set", "network", "accuracies")
    others = [row for row in again["rows"] if row["set"] != name]
    assert [[row[k] for k in kept] for row in others] == [[row[k] for k in kept] for row in once["rows"]]
    rows = [row for row in again["rows"] if row["set"] == name]
    assert [row["network"] for row in rows] == ["convnet", "mlp"]
    for row in rows:
        assert (len(row["accuracies"]), row["baseline"], row["ipc"]) == (2, "random", 1)
        assert all(0 < accuracy < 1 for accuracy in row["accuracies"])
    sets = [jd.open(tmp_path / name).set for name in ("once", "again")]
    np.testing.assert_array_equal(sets[0].synthetic.images, sets[1].synthetic.images)
    assert sets[1].card["reselected"] == {"every": 1, "after": 0}
    assert name in (tmp_path / "again" / "report.html").read_text()
    run = jd.select(
        "craig", "digits", 1, width=4, feature_epochs=1, eval_seeds=2, protocol="deepcore200", eval_epochs=3,
        eval_network="convnet", reselect_every=1, reselect_after=0, progress=False,
    )  # fmt: skip
    run.evaluate(progress=False)
    assert [row["accuracies"] for row in run.results["rows"]] == [row["accuracies"] for row in again["rows"][:3]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["herding", "--reselect-every", "2"], "herding asks no network .* leave --reselect-every out"),
        (["craig", "--reselect-every", "0"], "--reselect-every is a number of epochs, at least 1, not 0"),
        (["craig", "--reselect-after", "1"], "--reselect-after is of --reselect-every"),
        (["craig", "--reselect-every", "2", "--reselect-after", "-1"], "--reselect-after is a number of epochs"),
        (["craig", "--reselect-every", "3", *SHORT], "would come after 3 epochs, of which there are 3"),
        (["craig", "--reselect-every", "3", "--protocol", "krr"], "by krr nothing is trained between whose epochs"),
        (["craig", "--reselect-every", "3", "--eval-seeds", "0"], "nothing is judged; leave --reselect-every out"),
    ],
)
def test_what_cannot_be_selected_again_is_refused(words, said, tmp_path, capsys):
    usual = ["--dataset", "digits", "--ipc", "1", "--width", "4", "--out", str(tmp_path / "run")]
    assert re.search(said, refused(capsys, ["select", *words, *usual], tmp_path))
