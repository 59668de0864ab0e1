"""An option that nothing reads is refused and named; one that is left at its default never is."""

import dataclasses
from pathlib import Path

import pytest

from jaxdistill.cli import main
from jaxdistill.commands import distill, select
from jaxdistill.commands import evaluate as compare
from jaxdistill.commands import train_experts as experts
from jaxdistill.commands.selection_inputs import stand_in
from jaxdistill.networks import NETWORKS, Options, reads
from jaxdistill.settings.config import BasisConfig, DataConfig, Distill, RunConfig
from jaxdistill.settings.unread import given

DATA = ["--dataset", "digits", "--ipc", "1", "--width", "8"]
CHECKED = [
    ("distill dm", "--trials 7"),
    ("distill dm", "--features embedding"),
    ("distill dm", "--feature-epochs 3"),
    ("distill dm", "--init kmeans --feature-epochs 3"),
    ("distill dm", "--init herding --score-epochs 3"),
    ("distill dm", "--beta 0.2"),
    ("distill dm", "--scores there.npy"),
    ("distill dm", "--init el2n --window-start ipc_fraction"),
    ("distill dm", "--init el2n --trial-epochs 3"),
    ("distill dm", "--kernel fc1"),
    ("distill dm", "--expert-count 2"),
    ("distill dm", "--patch 4"),
    ("distill dm", "--data-dir /tmp"),
    ("distill dm", "--steps 0 --tensorboard"),
    ("distill dm", "--steps 0 --wandb p"),
    ("distill dm", "--steps 0 --log-every 7"),
    ("distill dm", "--zca --statistics fitted"),
    ("select random", "--zca --statistics cifar10"),
    ("experts", "--zca --statistics mnist"),
    ("distill dm", "--eval-seeds 0 --eval-epochs 7"),
    ("distill dm", "--eval-seeds 0 --coverage"),
    ("distill dm", "--coverage-features pixels"),
    ("select random", "--coverage-same-class"),
    ("evaluate", "--coverage-features random"),
    ("distill dm", "--eval-seeds 0 --parallel-networks 2"),
    ("distill dm", "--protocol krr --eval-network mlp"),
    ("distill dm", "--network mlp --depth 2"),
    ("distill dit", "--init noise --beta 0.2"),
    ("select random", "--features embedding"),
    ("select random", "--score-networks 2"),
    ("select kmeans", "--feature-epochs 2"),
    ("select random", "--log-every 7"),
    ("select random", "--tensorboard"),
    ("select random", "--wandb p"),
    ("select random", "--parallel-classes 2"),
    ("select random", "--network mlp --norm batch"),
    ("select random", "--network convnet-bn --norm layer"),
    ("select random", "--kernel fc1"),
    ("experts", "--kernel fc1"),
    ("experts", "--alpha 0.5"),
    ("experts", "--network lenet --activation swish"),
    ("evaluate", "--kernel fc1"),
    ("evaluate", "--protocol krr --depth 2"),
    ("evaluate", "--network mlp --depth 2"),
    ("evaluate", "--data-dir /tmp"),
    ("convert", "--groups 8"),
]  # fmt: skip
READ = [
    ("distill dm", "--init el2n --beta 0.2 --window-start ipc_fraction --score-epochs 3 --score-networks 2"),
    ("distill dm", "--init herding --features embedding --feature-epochs 3"),
    ("distill dm", "--init optimised --trials 7 --trial-epochs 2"),
    ("distill frepo", "--init label_solve --kernel fc1"),
    ("distill dm", "--protocol krr --kernel fc2"),
    ("distill dm", "--network mlp --eval-network convnet --depth 1"),
    ("distill dm", "--beta 0 --features pixels --trials 20 --eval-seeds 0"),
    ("distill dm", "--eval-seeds 0 --eval-every 5 --coverage --coverage-features pixels --coverage-same-class"),
    ("distill kip", "--kernel fc2"),
    ("distill selmatch", "--init real --experts {bank}"),
    ("select kcenter", "--features embedding --feature-epochs 2"),
    ("experts", "--rho 0.1 --alpha 0.5"),
    ("experts", "--alpha 0.3"),
]


class Begun(Exception):  # noqa: N818
    """The command would have begun."""


@pytest.fixture
def stopped(monkeypatch):
    def begin(*given, **more):
        raise Begun

    for part in (distill, select):
        monkeypatch.setattr(part, "open_folder", begin)
        monkeypatch.setattr(part, "inputs_of", lambda name, context: stand_in(name, context))
    monkeypatch.setattr(experts, "_problem", begin)
    monkeypatch.setattr(compare, "judge", begin)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made") / "set"
    assert main(["select", "random", *DATA, "--eval-seeds", "0", "--quiet", "--out", str(folder)]) == 0
    return folder


def words_of(command, more, made, tmp_path):
    words, data = command.split(), [*DATA, "--out", str(tmp_path / "run")]
    data = {"evaluate": [str(made)], "convert": ["weights", *data[-2:]], "experts": [*data[:2], *data[-2:]]}.get(
        command, data
    )
    more = more.split()
    if "dit" in words or "lenet" in more:
        data = [word for word in data if word not in ("--width", "8")]
    return [*words, *data, *more]


@pytest.mark.parametrize(("command", "more"), CHECKED)
def test_what_nothing_reads_is_refused(command, more, made, tmp_path, stopped, capsys):
    assert main(words_of(command, more, made, tmp_path)) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert more.split("--")[-1].split()[0] in said.replace("--generator", "--patch")
    assert "leave" in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("command", "more"), READ)
def test_what_is_read_is_not(command, more, made, bank, tmp_path, stopped):
    words = words_of(command, more.format(bank=bank), made, tmp_path)
    if "selmatch" in command:
        words = [word for word in words if word not in ("--width", "8")]
        words += ["--max-start", "1", "--expert-epochs", "1", "--student-steps", "2", "--augment", "none"]
    with pytest.raises(Begun):
        main(words)


def test_what_was_given_is_what_differs():
    config = Distill(None, DataConfig("digits"), RunConfig(Path("a")), 1, 5, basis=BasisConfig(beta=0.3, trials=9))
    usual = {"method": None, "data": DataConfig(""), "run": RunConfig(Path("a")), "ipc": 1, "steps": 5}
    usual["basis"] = BasisConfig(beta=0.3)
    assert given(config, usual) == {"dataset", "trials"}
    assert given(dataclasses.replace(config, seed=1), vars(config)) == {"seed"}


def test_networks_tell_what_they_read():
    assert reads("convnet") == {*Options._fields}
    assert reads("convnet-bn") == {*Options._fields} - {"norm"}
    assert reads("mlp") == {"width"}
    assert reads("lenet") == frozenset()
    assert reads("resnet18") == {"norm"}
    assert all(reads(name) <= {*Options._fields} for name in NETWORKS)
