"""DD beyond fresh networks: pools of experts against PyTorch, the attack, and from where its sets are judged."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from banks import DATA, TRAIN, made, read
from safetensors.numpy import load_file
from test_bank_runs import strangers  # noqa: F401 (a fixture)
from test_cli import refused
from test_dd import GOLDEN, SHAPE, TASK, golden_set, golden_variables
from toys import make_toy

import jaxdistill as jd
from jaxdistill.commands.pools import unseen
from jaxdistill.common.attack import Attack
from jaxdistill.common.sets import class_set
from jaxdistill.data.feeds import Uniform, sample
from jaxdistill.data.trajectories import Bank, Begun, RealAndExperts, WithNetworks, flatten
from jaxdistill.evaluation import InOrder, Protocol, evaluate
from jaxdistill.evaluation.train import train
from jaxdistill.io.expert_bank import load_bank
from jaxdistill.methods.dd import DD, dd
from jaxdistill.networks import make as make_network
from jaxdistill.testing import toy_experts, toy_task
from jaxdistill.types import Batch, Variables

POOL = ["distill", "dd", *DATA, "--ipc", "1", "--augment", "none", "--pretrained", "--steps", "3"]


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def other_variables():
    body = {f"Conv_{i}": {"kernel": GOLDEN[f"other_kernel{i}"], "bias": GOLDEN[f"other_bias{i}"]} for i in range(2)}
    classifier = {"kernel": GOLDEN["other_matrix"], "bias": GOLDEN["other_offset"]}
    return Variables(jax.tree.map(jnp.asarray, {"body": body, "classifier": classifier}), {})


def test_steps_on_a_pool_under_attack_are_pytorchs(double):
    """Loss, norm of the gradient, and what two steps of Adam make of images and step sizes, from the same networks."""
    config = DD(
        image_lr=0.05, max_grad_norm=None, num_networks=2, inner_epochs=2, images_per_step=2, pretrained=True,
        attack_class=0, target_class=1,
    )  # fmt: skip
    method = dd(config, TASK)
    real = Batch(jnp.asarray(GOLDEN["real"]), jnp.asarray(GOLDEN["real_labels"], jnp.int32))
    starts = jnp.stack([flatten(network.params) for network in (golden_variables(), other_variables())])
    initial = class_set(golden_set("class").images).replace(learning_rate=jax.nn.softplus(GOLDEN["raw_rates"]))
    state, step = method.init(jax.random.key(0), initial), jax.jit(method.step)
    for number in range(2):
        state, info = step(jax.random.key(number), state, Begun(real, starts))
        np.testing.assert_allclose(info.loss, GOLDEN[f"pool_loss{number}"], rtol=1e-8)
        np.testing.assert_allclose(info.grad_norm, GOLDEN[f"pool_norm{number}"], rtol=1e-8)
    found = state.learned.images.reshape(GOLDEN["pool_images"].shape)
    assert np.abs(found - GOLDEN["images"]).max() > 0.05
    np.testing.assert_allclose(found, GOLDEN["pool_images"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(state.learned.raw_rates, GOLDEN["pool_raw_rates"], rtol=1e-6)


def test_networks_are_drawn_anew_without_replacement_after_the_epoch_that_is_asked():
    train_split = jax.tree.map(jnp.asarray, make_toy()[0])
    params = jnp.arange(4 * 3, dtype=jnp.float32).reshape(4, 3, 1)  # expert e after epoch i is 3 e + i
    data = RealAndExperts(train_split, Bank(params, 4, 2))
    for epoch, snapshot in ((-1, 2), (0, 0), (1, 1)):
        feed = WithNetworks(Uniform(5), 3, epoch)
        drawn = [sample(feed, jax.random.key(seed), 0, data) for seed in range(12)]
        numbers = np.stack([batch.starts[:, 0] for batch in drawn])
        assert (numbers % 3 == snapshot).all()
        assert all(len({*row}) == 3 for row in numbers.tolist())
        assert {*numbers.ravel().tolist()} == {float(3 * e + snapshot) for e in range(4)}
        assert drawn[0].real.images.shape[0] == 5
    with pytest.raises(ValueError, match="drawn from 4 experts"):
        sample(WithNetworks(Uniform(5), 5), jax.random.key(0), 0, data)
    with pytest.raises(ValueError, match="these have 2; take"):
        sample(WithNetworks(Uniform(5), 1, 3), jax.random.key(0), 0, data)


def test_a_method_with_a_pool_learns_and_does_not_draw_networks():
    method = dd(DD(image_lr=0.1, real_batch=48, num_networks=2, pretrained=True), toy_task())
    assert method.feed.source == "both"
    data = jax.tree.map(jnp.asarray, RealAndExperts(make_toy()[0], toy_experts(toy_task())))
    start = jd.SELECTIONS["random"](jax.random.key(0), data.real, 1)
    batch = sample(method.feed, jax.random.key(0), 0, data)
    state, step = method.init(jax.random.key(0), start), jax.jit(method.step)
    losses = [step(jax.random.key(seed), state, batch)[1].loss for seed in (1, 2)]
    assert losses[0] == losses[1], "nothing is left to the step's key"
    for seed in range(20):
        state, info = step(jax.random.key(seed), state, batch)
    assert info.loss < losses[0]


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"attack_class": 0}, "give both, or neither"),
        ({"target_class": 0}, "give both, or neither"),
        ({"attack_class": 1, "target_class": 1}, "two different classes from 0 to 2"),
        ({"attack_class": 3, "target_class": 1}, "two different classes from 0 to 2"),
        ({"pretrained": True, "pool_epoch": -1}, "`pool_epoch` of DD is an epoch of experts from 0"),
        ({"pool_epoch": 1}, "with `pretrained`, not 1"),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(settings, advice):
    with pytest.raises(ValueError, match=advice):
        dd(DD(**settings), TASK)


def test_experts_with_batch_normalisation_are_refused():
    task = dataclasses.replace(TASK, network=make_network("convnet-bn", SHAPE, 3, width=4, depth=1))
    with pytest.raises(ValueError, match="have no batch normalisation"):
        dd(DD(pretrained=True), task)


def test_the_attack_says_one_class_for_another():
    labels = np.array([0, 1, 2, 2, 1])
    attack = Attack(2, 0)
    assert attack.relabelled(jnp.asarray(labels)).tolist() == [0, 1, 0, 0, 1]
    parts = {name: part.tolist() for name, part in attack.parts(labels).items()}
    assert parts == {"fooled": [-1, -1, 0, 0, -1], "others": [0, 1, -1, -1, 1], "modified": [0, 1, 0, 0, 1]}
    images = jnp.zeros((3, 1, 2, 2, 1))
    assert attack.of_set(class_set(images)).labels.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]


def test_networks_that_are_given_are_what_begins():
    """Under a recipe that draws nothing, and one that draws; what counts as right in parts is counted by hand."""
    train_split, test = (jax.tree.map(jnp.asarray, split) for split in make_toy())
    network = make_network("mlp", (8, 8, 1), 4, width=8)
    keys = jax.random.split(jax.random.key(5), 3)
    starts = jax.vmap(network.init)(keys)
    made_of = jd.SELECTIONS["random"](jax.random.key(0), train_split, 2)
    parts = Attack(1, 3).parts(np.asarray(test.labels))
    for protocol in (InOrder(), Protocol(2, augment="none")):
        found = evaluate(jax.random.key(1), made_of, network, test, protocol, seeds=2, starts=starts, parts=parts)
        for seed in range(2):
            one = network._replace(init=lambda key, seed=seed: network.init(jax.random.clone(keys[seed])))
            trained = train(jax.random.fold_in(jax.random.key(1), seed), made_of, one, protocol)
            said = np.asarray(network.apply(trained, test.read(jnp.arange(test.count)).images)[0]).argmax(-1)
            truth = np.asarray(test.labels)
            assert found.accuracies[seed] == pytest.approx((said == truth).mean())
            assert found.parts["fooled"][seed] == pytest.approx((said[truth == 1] == 3).mean())
            assert found.parts["others"][seed] == pytest.approx((said == truth)[truth != 1].mean())
            assert found.parts["modified"][seed] == pytest.approx((said == np.where(truth == 1, 3, truth)).mean())
    begun = evaluate(jax.random.key(1), made_of, network, test, InOrder(epochs=0), seeds=3, starts=starts)
    images = test.read(jnp.arange(test.count)).images
    before = [(network.apply(network.init(key), images)[0].argmax(-1) == test.labels).mean() for key in keys]
    np.testing.assert_allclose(begun.accuracies, before, err_msg="after no epoch they are as they began")
    with pytest.raises(ValueError, match="3 networks to begin with, and `seeds` is 4"):
        evaluate(jax.random.key(1), made_of, network, test, InOrder(), seeds=4, starts=starts)


@pytest.fixture(scope="module")
def adapted(bank, strangers, tmp_path_factory):  # noqa: F811
    """Two experts on digits, adapted to other data and judged on the third."""
    out = tmp_path_factory.mktemp("pools") / "run"
    words = [*POOL, "--dataset", str(strangers / "8.npz"), "--experts", str(bank), "--expert-count", "2"]
    return made(out, *words, "--num-networks", "2", "--eval-seeds", "1", "--attack-class", "0", "--target-class", "1",
                "--other-data")  # fmt: skip


def test_a_set_of_a_pool_is_judged_on_experts_that_it_has_not_seen(adapted, bank, capsys):
    card, found = read(adapted / "set"), json.loads((adapted / "evaluation.json").read_text())
    assert card["experts"] == {"count": 2, "digest": load_bank(bank, 2).digest(), "epoch": -1}
    assert card["attack"] == [0, 1]
    assert found["starts"] == "experts of its bank that the set was not made with"
    ours = found["rows"][0]
    assert ours["attack"].keys() == {"fooled", "others", "modified"}
    # By hand: the third expert, trained on the set in its order, sees the test images.
    run = jd.open(adapted)
    bench = run._judging().bench
    network = make_network("mlp", (8, 8, 1), 10, width=8)
    third = load_bank(bank).variables(network, 2)
    one = evaluate(jax.random.key(0), run.synthetic, network._replace(init=lambda key: third), bench.test, InOrder(),
                   seeds=1)  # fmt: skip
    assert ours["accuracies"] == one.accuracies.tolist()
    capsys.readouterr()
    again = jd.evaluate(run, jd.load(card["dataset"]), experts=jd.open(bank), seeds=1, progress=False, other_data=True)
    assert [row["accuracies"] for row in again.rows] == [row["accuracies"] for row in found["rows"]]
    assert run.evaluate(progress=False).rows[0]["accuracies"] == ours["accuracies"]


def test_a_pool_that_stays_on_disk_gives_the_same_set(adapted, bank, tmp_path):
    config = json.loads((adapted / "config.json").read_text())
    words = [*POOL, "--dataset", config["data"]["dataset"], "--experts", str(bank), "--expert-count", "2"]
    out = made(tmp_path / "run", *words, "--num-networks", "2", "--eval-seeds", "0", "--attack-class", "0",
               "--target-class", "1", "--other-data", "--max-device-gib", "0")  # fmt: skip
    one, other = (load_file(folder / "set" / "set.safetensors")["images"] for folder in (out, adapted))
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def test_which_experts_a_set_has_not_seen(bank):
    whole, two = load_bank(bank), load_bank(bank, 2)
    assert unseen(whole, {"count": 2, "digest": two.digest()})[0] == range(2, 3)
    numbers, said = unseen(whole, {"count": 3, "digest": whole.digest()})
    assert (numbers, said) == (range(3), "the experts that the set was made with")
    for pool in ({}, {"count": 2, "digest": "another"}, {"count": 4, "digest": whole.digest()}):
        assert unseen(whole, pool) == (range(3), "experts that the set was not made with")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--no-pretrained"], "neither dd nor a start by noise uses experts; leave --experts out"),
        (["--pool-epoch", "3"], "as experts after epoch 3 (--pool-epoch), and these have 2"),
        (["--num-networks", "4"], "4 networks in a step (--num-networks) are drawn from 3 experts"),
        (["--eval-seeds", "4"], "there are 3 (the experts that the set was made with), and --eval-seeds is 4"),
        (["--expert-count", "2", "--eval-seeds", "2"], "there are 1 (experts of its bank that the set was not made"),
        (["--eval-network", "convnet"], "--eval-network names convnet; leave it out"),
        (["--eval-every", "1", "--eval-every-seeds", "4", "--other-data"], "and --eval-every-seeds is 4; lower it"),
        (["--dataset", "8.npz"], "add --other-data if that is meant"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_does_not_fit_a_pool_is_refused(words, says, bank, strangers, tmp_path, capsys):  # noqa: F811
    words = [str(strangers / word) if word.endswith(".npz") else word for word in words]
    given = [*POOL, "--eval-seeds", "1", "--experts", str(bank), *words, "--out", str(tmp_path / "run")]
    assert says in refused(capsys, given, tmp_path)


def test_a_pool_needs_experts(tmp_path, capsys):
    words = [*POOL, "--out", str(tmp_path / "run")]
    assert "dd with --pretrained begins networks as experts; make some" in refused(capsys, words, tmp_path)


def test_evaluate_refuses_what_experts_do_not_fit(adapted, bank, tmp_path, capsys):
    other = made(tmp_path / "other", *TRAIN, "--count", "1", "--zca")
    capsys.readouterr()
    for words, says in (
        (["--network", "mlp"], "leave --network and the options of networks out"),
        (["--seeds", "2"], "there are 1 (experts of its bank that the set was not made with), and --seeds is 2"),
        (["--protocol", "knn"], "1-NN learns, no network; leave --experts out"),
        (["--protocol", "knn", "--power", "0"], "positive --power"),
    ):
        given = ["evaluate", str(adapted), "--seeds", "1", "--experts", str(bank), "--other-data", *words]
        assert says in refused(capsys, given, tmp_path / "none")
    given = ["evaluate", str(adapted), "--experts", str(other), "--seeds", "1", "--other-data"]
    assert "saw images that were preprocessed otherwise" in refused(capsys, given, tmp_path / "none")
    for words, says in (
        (["--expert-epoch", "1"], "no --experts to begin as"),
        (["--neighbours", "1"], "no neighbours"),
    ):
        assert says in refused(capsys, ["evaluate", str(adapted), *words], tmp_path / "none")


def test_experts_in_memory_are_a_pool_and_what_is_left_of_them_judges(tmp_path):
    data = jd.load("digits")
    experts = jd.train_experts(data, count=3, epochs=1, network="mlp", width=8, augment="none", progress=False)
    options = {"ipc": 1, "steps": 2, "augment": "none", "pretrained": True, "progress": False, "eval_seeds": 1}
    run = jd.distill("dd", data, experts=experts, expert_count=2, **options)
    assert run.config.bank.expert_count == 2
    table = run.evaluate(progress=False)
    with pytest.raises(ValueError, match=r"there are 1 .*, and `seeds` is 2"):
        run.evaluate(seeds=2, progress=False)
    folder = run.save(tmp_path / "run")
    with pytest.raises(ValueError, match="were in memory"):
        jd.open(folder).evaluate(progress=False)
    again = jd.open(folder, experts=experts).evaluate(progress=False)
    assert [row["accuracies"] for row in again.rows] == [row["accuracies"] for row in table.rows]
