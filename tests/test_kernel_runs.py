"""Regression and the core-sets that look at networks, from the command line to the set."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_cli import refused
from toys import make_toy

from jaxdistill.augment import make as make_augment
from jaxdistill.cli import main
from jaxdistill.common.sets import class_set
from jaxdistill.data.feeds import sample
from jaxdistill.io.artifact import load_set
from jaxdistill.methods.frepo import FRePo, frepo
from jaxdistill.networks import make as make_network
from jaxdistill.types import Task

TINY = ["--dataset", "digits", "--ipc", "1", "--width", "4", "--quiet"]


def rows_of(run):
    return json.loads((run / "evaluation.json").read_text())["rows"]


def test_kip_from_the_command_line_and_every_set_by_a_kernel(tmp_path, capsys):
    kip, core = tmp_path / "kip", tmp_path / "core"
    assert main(["distill", "kip", *TINY, "--steps", "3", "--eval-seeds", "2", "--out", str(kip)]) == 0
    assert [(row["set"], row["network"], len(row["accuracies"])) for row in rows_of(kip)] == [
        ("kip", "fc1", 1), ("random", "fc1", 2),
    ]  # fmt: skip
    assert load_set(kip).synthetic.label_kind == "target"
    assert main(["select", "label_solve", *TINY, "--kernel", "fc2", "--eval-seeds", "1", "--out", str(core)]) == 0
    assert {row["network"] for row in rows_of(core)} == {"fc2"}
    capsys.readouterr()

    both = ["evaluate", str(kip), str(core), "--protocol", "krr", "--seeds", "1"]
    assert "different kernels; choose with --kernel" in refused(capsys, both, tmp_path)
    assert main([*both, "--kernel", "fc1-nngp"]) == 0
    assert "fc1-nngp" in capsys.readouterr().out
    assert "name one network" in refused(capsys, [*both, "--kernel", "fc1", "--network", "mlp,convnet"], tmp_path)
    assert "trains nothing" in refused(capsys, [*both, "--kernel", "fc1", "--epochs", "3"], tmp_path)


@pytest.mark.parametrize("command", [["distill", "dm"], ["select", "herding"], ["distill", "kip"]])
def test_a_kernel_that_cannot_be_is_refused_before_anything_is_done(command, tmp_path, capsys):
    arguments = [*command, *TINY, "--protocol", "krr", "--kernel", "fc0", "--out", str(tmp_path / "run")]
    assert "unknown kernel 'fc0'" in refused(capsys, arguments, tmp_path)


def test_frepo_is_judged_by_the_network_without_normalisation_then_and_later(tmp_path, capsys):
    out = tmp_path / "frepo"
    arguments = ["distill", "frepo", *TINY, "--real-batch", "32", "--pool", "2", "--eval-epochs", "2"]
    assert main([*arguments, "--steps", "2", "--eval-seeds", "1", "--out", str(out)]) == 0
    first = rows_of(out)
    assert first[0]["network"] == "doublenet"
    capsys.readouterr()
    assert main(["evaluate", str(out), "--epochs", "2", "--seeds", "1", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["rows"]
    for one, other in zip(first, again, strict=True):
        assert (one["network"], one["accuracies"]) == (other["network"], other["accuracies"])


@pytest.mark.parametrize("strategy", ["craig", "gradmatch", "glister", "optimised"])
def test_core_sets_that_look_at_a_network(strategy, tmp_path, capsys):
    out = tmp_path / strategy
    weighed = strategy in ("craig", "gradmatch", "glister")
    reads = [["--feature-epochs", "1"], ["--trials", "5", "--trial-epochs", "1"]]
    arguments = ["select", strategy, *TINY, "--eval-seeds", "0", "--out", str(out)]
    assert f"{strategy} does not go by --" in refused(capsys, [*arguments, *reads[weighed]], tmp_path)
    assert "goes by a kernel; leave --kernel out" in refused(capsys, [*arguments, "--kernel", "fc1"], tmp_path)
    assert main([*arguments, *reads[not weighed]]) == 0
    stored = load_set(out)
    assert stored.synthetic.selected.all()
    assert (stored.synthetic.weights is not None) == weighed
    assert stored.card.get("features") == ("embedding of a network after 1 epochs" if weighed else None)


def test_the_other_networks_of_the_pool_are_left_alone():
    network = make_network("doublenet-bn", (8, 8, 1), 4, width=2, depth=2, norm="none", initial="lecun")
    task = Task(network=network, augment=make_augment("none"), image_shape=(8, 8, 1), num_classes=4)
    method = frepo(FRePo(real_batch=8, pool=3, online_steps=10), task)
    data = jax.tree.map(jnp.asarray, make_toy()[0])
    state = method.init(jax.random.key(0), class_set(data.read(data.offsets[:, None]).images))
    moved = set()
    step = jax.jit(method.step)
    for i in range(4):
        new, _ = step(jax.random.key(i), state, sample(method.feed, jax.random.key(i), i, data))
        changed = np.flatnonzero(np.asarray(new.pool.ages != state.pool.ages))
        assert len(changed) == 1
        for one, other in zip(jax.tree.leaves(state.pool), jax.tree.leaves(new.pool), strict=True):
            same = (np.asarray(one) == np.asarray(other)).reshape(3, -1).all(1)
            assert np.delete(same, changed).all()
        moved.add(int(changed[0]))
        state = new
    assert len(moved) > 1
