"""Pools of networks under one name, and settings that follow the network."""

import json

import pytest

from jaxdistill.cli import main
from jaxdistill.errors import UsageError
from jaxdistill.methods.dc import DC
from jaxdistill.methods.dsa import DSA
from jaxdistill.networks import POOLS, full_name, members
from jaxdistill.presets import find
from jaxdistill.settings import cell
from jaxdistill.settings.config import Distill, EvaluationConfig, NetworkConfig, RunConfig
from jaxdistill.settings.defaults import of_distill

ORIGINALS = {  # what the released codes call them
    "pool:dc": "MLP ConvNet LeNet AlexNet VGG11 ResNet18",
    "pool:dm": "ConvNetBN ConvNetSwishBN AlexNetBN VGG11BN ResNet18BN",
    "pool:mtt": "ConvNet AlexNet VGG11 ResNet18_AP ResNet18",
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_a_pool_has_the_networks_of_the_code(name):
    assert [full_name(original) for original in ORIGINALS[name].split()] == list(POOLS[name])


def test_pools_hold_networks_that_there_are():
    assert all(full_name(name) == name for pool in POOLS.values() for name in pool)
    assert not any(name in POOLS for pool in POOLS.values() for name in pool)


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("mlp", ["mlp"]),
        (" Pool:MTT ,mlp", [*POOLS["pool:mtt"], "mlp"]),
        ("mlp,pool:dc", list(POOLS["pool:dc"])),  # once each
        (",,", []),
    ],
)
def test_a_list_may_name_pools(spec, found):
    assert members(spec) == found


@pytest.mark.parametrize(("spec", "advice"), [("pool:tm", "use one of pool:dc, "), ("pool:minmax", "pool:minimax?")])
def test_an_unknown_pool_is_told(spec, advice):
    with pytest.raises(UsageError, match="Unknown pool") as told:
        members(spec)
    assert advice in str(told.value)


@pytest.fixture
def made(tmp_path):
    out = tmp_path / "made"
    words = ["--dataset", "digits", "--ipc", "1", "--width", "8", "--eval-seeds", "0", "--quiet", "--out", str(out)]
    assert main(["select", "random", *words]) == 0
    return str(out)


def test_a_set_is_judged_by_all_networks_of_a_pool(made, monkeypatch, capsys):
    monkeypatch.setitem(POOLS, "pool:dc", ("mlp", "convnet-bn"))  # two that take 8x8 images
    capsys.readouterr()
    assert main(["evaluate", made, "--network", "pool:DC", "--seeds", "1", "--epochs", "0", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["network"] for row in rows if row["set"] == "made"] == ["mlp", "convnet-bn"]
    assert main(["evaluate", made, "--network", "pool:dx", "--seeds", "1"]) == 2
    assert "did you mean pool:d" in capsys.readouterr().err


def defaults(**asked):
    return of_distill(DC, None, "cifar10", "cifar10", 10, asked=asked)


def test_dc_takes_smaller_steps_for_an_mlp():
    assert defaults()["method"].image_lr == 0.1
    assert defaults(network="MLP")["method"].image_lr == 0.01
    assert of_distill(DSA, None, "cifar10", "cifar10", 10, asked={"network": "mlp"})["method"].image_lr == 0.1


@pytest.mark.parametrize(
    ("asked", "protocol"),
    [
        ({}, "dc300"),
        ({"norm": "batch"}, "dc1000-bn"),
        ({"network": "ConvNetBN"}, "dc1000-bn"),
        ({"eval_network": "convnet-bn"}, "dc1000-bn"),
        ({"network": "convnet-bn", "eval_network": "convnet"}, "dc300"),  # the twin that normalises images
        ({"network": "resnet18-bn"}, "dc300"),
        ({"norm": "group"}, "dc300"),
    ],
)
def test_dc_judges_a_convnet_with_batch_normalisation_with_noise_and_crops(asked, protocol):
    assert defaults(**asked)["evaluation"].protocol == protocol
    assert of_distill(DC, None, "mnist", "mnist", 1, asked=asked)["evaluation"].protocol == (
        "dc1000-mnist" if protocol == "dc300" else protocol
    )


def told(**parts):
    preset = find(DC, "cifar10", 1)
    fields = {**cell.fields(preset, "cifar10"), **parts}
    return cell.said(Distill(**fields, run=RunConfig("nowhere"), ipc=1))


def test_a_run_is_told_of_the_recipe_for_batch_normalisation():
    batch = {"network": NetworkConfig(norm="batch")}
    said = told(**batch, evaluation=EvaluationConfig("dc1000-bn"))
    assert said.startswith(
        "not the published setting of dc for cifar10 at ipc 1: norm batch (published instance); judged"
    )
    assert "dc1000-bn" in said
    assert "instance normalisation" in said
    assert "judged by" not in told(**batch, evaluation=EvaluationConfig("dc300"))
    assert "(published dc1000-bn)" in told(**batch, evaluation=EvaluationConfig("dc300"))
    assert told() == "the published setting of dc for cifar10 at ipc 1"
