"""The command line as a person meets it: what it makes, what it refuses, and how."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

import jaxdistill
from jaxdistill.cli import entry as cli
from jaxdistill.cli import main
from jaxdistill.cli.spelling import evaluation_spelled
from jaxdistill.commands import evaluate as compare
from jaxdistill.commands.workspace import Bench
from jaxdistill.data.check import Source
from jaxdistill.data.digest import Digests
from jaxdistill.data.feeds import real_data
from jaxdistill.data.preprocess import Preprocess
from jaxdistill.engine.devices import make_mesh
from jaxdistill.io.artifact import Stored
from jaxdistill.settings.as_json import from_json, to_json
from jaxdistill.settings.config import Distill, RunConfig, Select
from jaxdistill.settings.options import Evaluate, Experts
from jaxdistill.types import SyntheticSet

SMALL = ["--dataset", "digits", "--ipc", "1", "--width", "8", "--eval-seeds", "2", "--eval-epochs", "2", "--quiet"]
UNJUDGED = ["--dataset", "digits", "--ipc", "1", "--width", "8", "--eval-seeds", "0", "--quiet"]
DISTILL = ["distill", "dm", *SMALL, "--steps", "3"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run, made once, in a process of its own."""
    out = tmp_path_factory.mktemp("runs") / "first"
    command = [sys.executable, "-m", "jaxdistill", *DISTILL, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out, done


def refused(capsys, arguments, tmp_path):
    """Run a command that must be refused; returns its one sentence."""
    before = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("jaxdistill: ")
    assert said.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before, "a refused command wrote something"
    return said.err


def test_a_run_writes_all_that_it_promises(finished):
    out, done = finished
    assert {path.name for path in out.iterdir()} == {
        "config.json", "metrics.jsonl", "previews", "checkpoints", "set", "evaluation.json", "report.html"
    }  # fmt: skip
    assert {path.name for path in (out / "set").iterdir()} == {"set.safetensors", "card.json", "grid.png"}
    tensors = load_file(out / "set" / "set.safetensors")
    assert tensors["images"].shape == (10, 8, 8, 1)
    np.testing.assert_array_equal(tensors["labels"], np.eye(10))
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    evaluation = json.loads((out / "evaluation.json").read_text())
    assert [(row["set"], len(row["accuracies"])) for row in evaluation["rows"]] == [("dm", 2), ("random", 2)]
    assert evaluation["protocol"]["epochs"] == 2
    card = json.loads((out / "set" / "card.json").read_text())
    assert card["cost"]["steps"] == 3
    assert card["evaluation"] == evaluation
    assert "dm" in done.stdout
    assert "random" in done.stdout


def test_the_stored_configuration_reloads_to_an_equal_one(finished):
    out, _ = finished
    plain = json.loads((out / "config.json").read_text())
    config = from_json(plain, RunConfig(out))
    assert isinstance(config, Distill)
    assert config.steps == 3
    assert to_json(config) == plain
    with pytest.raises(ValueError, match="not written by this version"):
        from_json({**plain, "method": {"name": "dm", "unheard": 1}}, RunConfig(out))


def test_a_finished_run_is_resumed_to_the_same_bits(finished, capsys):
    out, _ = finished
    before = (out / "set" / "set.safetensors").read_bytes()
    assert main(["distill", "dm", "--resume", "--out", str(out), "--quiet"]) == 0
    assert (out / "set" / "set.safetensors").read_bytes() == before
    assert "random" in capsys.readouterr().out


def test_evaluate_export_report_and_list(finished, capsys, tmp_path):
    out, _ = finished
    assert (
        main(
            [
                "evaluate",
                str(out),
                "--network",
                "mlp,convnet",
                "--width",
                "8",
                "--seeds",
                "2",
                "--epochs",
                "2",
                "--json",
            ]
        )
        == 0
    )
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [(row["set"], row["network"]) for row in rows] == [
        ("first", "mlp"), ("random", "mlp"), ("first", "convnet"), ("random", "convnet")
    ]  # fmt: skip
    stored = json.loads((out / "evaluation.json").read_text())["rows"]
    assert rows[2]["accuracies"] == stored[0]["accuracies"], "the same set, networks and seed give the same figures"
    assert main(["evaluate", str(out), "--seeds", "2", "--epochs", "2", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["protocol"]["name"] == "digits100"
    assert again["rows"][0]["accuracies"] == stored[0]["accuracies"], "network and recipe are those of the run"
    assert main(["export", str(out), "--format", "npz", "--out", str(tmp_path / "set.npz")]) == 0
    assert (tmp_path / "set.npz").exists()
    (out / "report.html").unlink()
    assert main(["report", str(out)]) == 0
    assert (out / "report.html").exists()
    capsys.readouterr()
    assert main(["list", "--json"]) == 0
    known = json.loads(capsys.readouterr().out)
    assert "dm" in known["methods"]
    assert "herding" in known["strategies"]
    assert "dsa1000" in known["protocols"]
    assert "resnet18" in known["networks"]


@pytest.mark.parametrize("strategy", ["herding", "kmeans", "centroids"])
def test_select_gives_the_same_kind_of_artifact_and_a_start(strategy, tmp_path, capsys):
    out = tmp_path / "core"
    options = ["--features", "embedding", "--feature-epochs", "1"] if strategy == "herding" else []
    assert main(["select", strategy, *SMALL, "--out", str(out), *options]) == 0
    config = from_json(json.loads((out / "config.json").read_text()), RunConfig(out))
    assert isinstance(config, Select)
    assert (out / "report.html").exists()
    on = tmp_path / "on"
    assert main([*DISTILL[:-1], "0", "--init", str(out), "--out", str(on)]) == 0
    first, second = (load_file(run / "set" / "set.safetensors")["images"] for run in (out, on))
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_the_version_is_told(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jaxdistill {jaxdistill.__version__}, jax {jax.__version__}\n"


@pytest.mark.parametrize(
    ("forms", "words", "meant"),
    [
        (
            (Distill, jaxdistill.DM),
            "--seeds 3 --epochs=7 --labels hard",
            "--eval-seeds 3 --eval-epochs=7 --eval-labels hard",
        ),
        ((Distill, jaxdistill.DC), "--epochs 7", "--epochs 7"),
        ((Distill, jaxdistill.DM), "--network mlp --eval-network convnet", "--network mlp --eval-network convnet"),
        ((Select,), "--seeds 3 --seed 4", "--eval-seeds 3 --seed 4"),
        ((Evaluate,), "--eval-seeds 3 --eval_epochs 7 --eval-network=mlp", "--seeds 3 --epochs 7 --network=mlp"),
        ((Evaluate,), "--eval-batch 3 eval-seeds", "--eval-batch 3 eval-seeds"),
        ((Experts,), "--epochs 7 --seeds 3", "--epochs 7 --seeds 3"),
    ],
)
def test_options_of_the_evaluation_are_spelled_either_way(forms, words, meant):
    assert evaluation_spelled(words.split(), *forms) == meant.split()


def test_a_method_keeps_its_own_option_however_it_is_spelled(capsys, tmp_path):
    words = ["--dataset", "digits", "--ipc", "1", "--epochs", "x", "--out", str(tmp_path / "run")]
    assert main(["distill", "DC", *words]) == 2
    assert "--inner-epochs is a whole number" in capsys.readouterr().err


def test_evaluate_takes_the_options_of_distill(finished, capsys):
    assert main(["evaluate", str(finished[0]), "--eval-seeds", "1", "--eval-epochs", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [len(row["accuracies"]) for row in rows] == [1, 1]


def test_help_teaches_by_example(capsys):
    assert main([]) == 0
    assert "jaxdistill distill dm --dataset digits --ipc 10 --out runs/first" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["distill", "dm", "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "--image-lr" in said
    assert "For example" in said


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"--dataset": "no_such_set"}, "no_such_set"),
        ({"--dataset": "missing.npz"}, "missing.npz"),
        ({"--ipc": "0"}, "at least 1"),
        ({"--ipc": "10000"}, "lower --ipc to 140"),
        ({"--ipc": "two"}, "--ipc"),
        ({"--steps": "-1"}, "--steps"),
        ({"--network": "transformer9"}, "transformer9"),
        ({"--eval-network": "convnet,transformer9"}, "transformer9"),
        ({"--depth": "9"}, "small"),
        ({"--protocol": "none1"}, "none1"),
        ({"--init": "nowhere"}, "nowhere"),
        ({"--augment": "twirl"}, "twirl"),
        ({"--norm": "quantum"}, "quantum"),
        ({"--image-lr": "0"}, "--image-lr of DM"),
        ({"--unheard": "1"}, "--unheard"),
        ({"--eval-epochs": "-3"}, "epochs"),
        ({"--distributed": "everywhere"}, "HOST:PORT"),
        ({"--network": "convnet,mlp"}, "one network"),
        ({"--eval-network": ","}, "at least one network"),
        ({"--log-every": "0"}, "--log-every"),
        ({"--image-lr": "nan"}, "--image-lr"),
        ({"--momentum": "2"}, "momentum"),
        ({"--seed": "99999999999999999999"}, "--seed"),
        ({"--parallel-classes": "-1"}, "--parallel-classes"),
        ({"--max-device-gib": "-1"}, "--max-device-gib"),
        ({"--preset": "code"}, "unknown preset 'code' of dm; choose one of paper"),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_one_sentence_and_write_nothing(changes, says, capsys, tmp_path):
    flags = {"--dataset": "digits", "--ipc": "1", "--steps": "1", "--width": "8", "--out": str(tmp_path / "run")}
    words = [word for pair in (flags | changes).items() for word in pair]
    assert says in refused(capsys, ["distill", "dm", *words], tmp_path)


def test_other_refusals(finished, capsys, tmp_path):
    out, _ = finished
    assert "unknown command" in refused(capsys, ["distil"], tmp_path)
    assert "unknown method" in refused(capsys, ["distill", "dreams"], tmp_path)
    assert "name the method" in refused(capsys, ["distill", "--ipc", "1"], tmp_path)
    assert "missing" in refused(capsys, ["distill", "dm"], tmp_path)
    assert "unknown strategy" in refused(capsys, ["select", "psychic"], tmp_path)
    assert "--resume" in refused(capsys, [*DISTILL, "--out", str(out)], tmp_path)
    other = [*DISTILL[:-1], "2", "--resume", "--out", str(out)]
    assert "which may become more and not fewer" in refused(capsys, other, tmp_path)
    assert "another command" in refused(capsys, ["select", "herding", "--resume", "--out", str(out)], tmp_path)
    assert "config.json" in refused(capsys, ["report", str(tmp_path)], tmp_path)
    assert refused(capsys, ["evaluate", str(tmp_path)], tmp_path)
    assert refused(capsys, ["evaluate"], tmp_path)
    assert refused(capsys, ["export", str(out), "--format", "pickle", "--out", str(tmp_path / "x")], tmp_path)
    taken = tmp_path / "taken"
    taken.mkdir()
    assert "taken" in refused(capsys, ["export", str(out), "--format", "npz", "--out", str(taken)], tmp_path)
    nothing = ["distill", "dm", "--resume", "--out", str(tmp_path / "nothing")]
    assert "no run" in refused(capsys, nothing, tmp_path)
    assert "pickle" in refused(
        capsys, ["export", str(out), "--format", "pickle", "--out", str(tmp_path / "x")], tmp_path
    )
    assert "not a run" in refused(capsys, [*DISTILL, "--resume", "--out", str(taken)], tmp_path)


def test_a_loss_that_does_not_stay_finite_is_status_1_with_advice(capsys, tmp_path):
    out = tmp_path / "run"
    assert main([*DISTILL, "--steps", "200", "--image-lr", "1e30", "--out", str(out)]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "step" in said
    assert "smaller step size" in said
    assert "image_lr=1e+30" in said


@pytest.mark.parametrize("words", [["distill", "dm"], ["select", "random"], ["experts"], ["evaluate"], ["report"]])
def test_a_full_device_is_told_by_the_flags_that_the_command_has(words, monkeypatch, capsys):
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    known = set(re.findall(r"--parallel-[a-z]+", capsys.readouterr().out))

    def fail(arguments, console):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory\nand where")

    monkeypatch.setitem(cli.COMMANDS, words[0], fail)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert said.startswith("jaxdistill: RESOURCE_EXHAUSTED: out of memory")
    assert said.count("\n") == 1
    unused = {"--parallel-classes"} if words[0] == "select" else set()
    assert set(re.findall(r"--parallel-[a-z]+", said)) == known - unused
    assert ("; memory ran out: lower --" in said) == bool(known)


def rows_of(run):
    return json.loads((run / "evaluation.json").read_text())["rows"]


def test_a_random_set_is_judged_beside_the_baseline(tmp_path, capsys):
    out = tmp_path / "random"
    assert main(["select", "random", *SMALL, "--out", str(out)]) == 0
    assert [row["set"] for row in rows_of(out)] == ["random set", "random"]
    capsys.readouterr()


def test_sets_of_several_spaces_stand_in_one_table_and_namesakes_are_kept_apart(tmp_path, capsys):
    plain, namesake, white = tmp_path / "core", tmp_path / "more" / "core", tmp_path / "white"
    for out, options in ((plain, []), (namesake, ["--seed", "1"]), (white, ["--zca"])):
        assert main(["select", "average", *UNJUDGED, *options, "--out", str(out)]) == 0
    capsys.readouterr()
    options = ["--width", "8", "--seeds", "1", "--epochs", "1", "--json"]
    assert main(["evaluate", str(plain), str(white), *options]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["set"] for row in rows] == ["core", "random (normalised)", "white", "random (whitened)"]
    assert [row["baseline"] for row in rows] == ["random (normalised)", None, "random (whitened)", None]
    assert main(["evaluate", str(plain), str(namesake), *options]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert [row["set"] for row in rows] == [str(plain), str(namesake), "random"]
    card = json.loads((plain / "set" / "card.json").read_text())
    (plain / "set" / "card.json").write_text(json.dumps({**card, "dataset": str(tmp_path / "other.npz")}))
    rng = np.random.default_rng(0)
    arrays = {f"x_{split}": rng.integers(0, 255, (6, 8, 8), np.uint8) for split in ("train", "test")}
    np.savez(tmp_path / "other.npz", **arrays, y_train=np.arange(6) % 3, y_test=np.arange(6) % 3)
    assert "--dataset" in refused(capsys, ["evaluate", str(plain), *options], tmp_path)
    assert main(["evaluate", str(plain), "--dataset", "digits", *options]) == 0


def test_data_kept_on_the_host_give_the_same_set_and_a_resumed_run_keeps_its_cost(finished, tmp_path, capsys):
    out, _ = finished
    host = tmp_path / "host"
    assert main(["distill", "dm", *UNJUDGED, "--steps", "3", "--max-device-gib", "0", "--out", str(host)]) == 0
    images = [load_file(run / "set" / "set.safetensors")["images"] for run in (out, host)]
    np.testing.assert_allclose(*images, atol=1e-5)
    cost = json.loads((host / "set" / "card.json").read_text())["cost"]
    assert cost["seconds"] > 0
    assert main(["distill", "dm", "--resume", "--out", str(host), "--max-device-gib", "1"]) == 0
    again = json.loads((host / "set" / "card.json").read_text())["cost"]
    assert {k: v for k, v in again.items() if "memory" not in k} == {k: v for k, v in cost.items() if "memory" not in k}
    clustered = ["select", "herding", *SMALL, "--max-device-gib", "0", "--out", str(tmp_path / "core")]
    capsys.readouterr()
    assert "stay on the host" in refused(capsys, clustered, tmp_path)


def test_evaluation_takes_what_the_cards_say():
    card = {"network": {"network": "convnet", "norm": "none", "width": 8}}
    images, labels = np.zeros((3, 8, 8, 1), np.uint8), np.arange(3, dtype=np.int32)
    source = Source("dots", images, labels, images, labels, ("a", "b", "c"))
    data = real_data(images, labels, 3, np.ones(1), np.zeros(1))
    bench = Bench(source, Preprocess(np.zeros(1), np.ones(1)), data, data, make_mesh(), False, Digests())
    judged = compare._judged(
        Evaluate((Path("a"),), network="convnet,convnet-bn", depth=2), compare._made_with(card), None, bench
    )
    assert list(judged) == ["convnet", "convnet-bn"]
    params = judged["convnet"].init(jax.random.key(0)).params["body"]
    assert [name for name in params if name.startswith("Norm")] == []
    assert params["Conv_1"]["kernel"].shape == (3, 3, 8, 8)
    other = judged["convnet-bn"].init(jax.random.key(0)).params["body"]
    assert [name for name in other if name.startswith("Norm")] != [], "others are as usual"
    for strange in ({"network": 5}, {"network": {"width": "x"}}, {"network": {"unheard": 1}}):
        with pytest.raises(ValueError, match="copy the set again"):
            compare._made_with(strange)


def test_sets_judged_by_different_recipes_need_a_choice():
    made = SyntheticSet(np.zeros((1, 8, 8, 1), np.float32), np.ones((1, 1), np.float32))
    silent = Stored(made, Preprocess(np.zeros(1), np.ones(1)), {})
    stored = [silent._replace(card={"protocol": name}) for name in ("idc1000", "dc300")]
    said = compare._first_judged_by({"a": stored[0], "b": silent})
    assert said == stored[0].card["protocol"]
    assert compare._first_judged_by({"a": silent}) == "dsa1000"
    with pytest.raises(ValueError, match="dc300, idc1000; choose one with --protocol"):
        compare._first_judged_by({"a": stored[0], "b": stored[1]})


def test_a_start_from_tiles_needs_as_many_images(capsys, tmp_path):
    words = ["--dataset", "digits", "--ipc", "50", "--steps", "1", "--width", "8", "--out", str(tmp_path / "run")]
    said = refused(capsys, ["distill", "idc", *words], tmp_path)
    assert "an --ipc of at most 35 or a smaller --factor" in said
