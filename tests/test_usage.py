"""What a person gets wrong is told in one sentence with status 2; what we get wrong shows its traceback."""

import dataclasses
import json
import re
import typing
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from jaxdistill.augment import make as make_augment
from jaxdistill.cli import entry as cli
from jaxdistill.cli import main
from jaxdistill.cli.parsing import options, parse, refuse_empty
from jaxdistill.commands import conversion as converting
from jaxdistill.commands import distill, plan, select
from jaxdistill.commands import evaluate as compare
from jaxdistill.commands import train_experts as experts
from jaxdistill.diffusion import Architecture, make
from jaxdistill.errors import UsageError
from jaxdistill.methods import METHOD_NAMES, METHODS
from jaxdistill.methods.dm import DM, dm
from jaxdistill.networks import make as make_network
from jaxdistill.settings.as_json import to_json
from jaxdistill.settings.config import DataConfig, Distill, RunConfig, Select
from jaxdistill.settings.options import Compare, Convert, Evaluate, Experts, Export, List, Report
from jaxdistill.types import Task

BAD = {
    int: ["-1", "x", "1.5", "", "nan", "1e400", "9" * 30, "9" * 5000],
    float: ["-1", "nan", "x", ""],
    str: [""],
    Path: [""],
    bool: ["perhaps"],
}
"""Words that no option of the type takes."""
FORMS = [Distill, Select, Experts, Evaluate, Convert, Export, Report, Compare, List]


class Begun(Exception):  # noqa: N818
    """The command would have begun."""


def kind_of(hint):
    """The type of an option's words: int of ``int | None``, str of a choice."""
    kinds = [kind for kind in (*typing.get_args(hint), hint) if kind in BAD]
    return kinds[0] if kinds else str


def cases(forms):
    for form in forms:
        for name, hint in options(form):
            yield pytest.param(form, name, kind_of(hint), id=f"{form.__name__}-{name}")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A set, and weights that are no network's."""
    folder = tmp_path_factory.mktemp("made")
    words = ["--dataset", "digits", "--ipc", "1", "--eval-seeds", "0", "--quiet"]
    assert main(["select", "random", *words, "--out", str(folder / "set")]) == 0
    save_file({"a": np.zeros(1, np.float32)}, folder / "weights.safetensors")
    return folder


@pytest.fixture(scope="module")
def reads():
    """`open_bench`, which reads each data set once."""
    read, known = plan.open_bench, {}

    def once(data, stored=None):
        if (data, stored is None) not in known:
            known[data, stored is None] = read(data, stored)
        return known[data, stored is None]

    return once


@pytest.fixture
def stopped(monkeypatch, reads):
    """Nothing begins, and data are read once."""

    def begin(*given, **more):
        raise Begun

    for part in (plan, experts, compare):
        monkeypatch.setattr(part, "open_bench", reads)
    for part in (distill, select):
        monkeypatch.setattr(part, "open_folder", begin)
    monkeypatch.setattr(experts, "_problem", begin)
    monkeypatch.setattr(compare, "judge", begin)
    monkeypatch.setattr(cli.export, "export", begin)
    monkeypatch.setattr(converting, "dit_parameters", begin)


def words_of(form, made, out):
    """A command that would begin."""
    data = ["--dataset", "digits", "--ipc", "1", "--out", str(out)]
    return {
        Distill: ["distill", "dm", *data],
        Select: ["select", "random", *data],
        Experts: ["experts", "--dataset", "digits", "--out", str(out)],
        Evaluate: ["evaluate", str(made / "set")],
        Convert: ["convert", str(made / "weights.safetensors"), "--out", str(out)],
        Export: ["export", str(made / "set"), "--out", str(out)],
        Report: ["report"],
        Compare: ["compare", str(made / "set")],
        List: ["list"],
    }[form]


@pytest.mark.parametrize(("form", "name", "kind"), cases(FORMS))
def test_no_option_takes_what_makes_no_sense(form, name, kind, made, tmp_path, stopped, capsys):
    flag, bad = f"--{name.replace('_', '-')}", BAD[kind]
    for word in bad:
        assert main([*words_of(form, made, tmp_path / "run"), f"{flag}={word}"]) == 2, word
        said = capsys.readouterr()
        assert said.out == ""
        assert re.fullmatch(r"jaxdistill: [^\n]+\n", said.err)
        assert "Traceback" not in said.err
        assert len(said.err) < 600
        assert not any(tmp_path.iterdir()), "a refused command wrote something"


@pytest.mark.parametrize(("kind", "name", "type_"), cases(METHODS))
def test_no_option_of_a_method_takes_what_makes_no_sense(kind, name, type_, toy):
    train, _ = toy
    shape = train.images.shape[1:]
    network, pixels = make_network("convnet", shape, 4, width=4), ((0.0,), (1.0,))
    task = Task(
        network=network, augment=make_augment("none"), image_shape=shape, num_classes=4, steps=3, pixel_range=pixels
    )

    def build(word):
        words = [f"--{name.replace('_', '-')}={word}"]
        refuse_empty(words)
        METHODS[kind](parse(kind, words, "distill", ""), task)

    for word in ("-1", "nan") if type_ in (int, float) else BAD[type_]:
        with pytest.raises(UsageError) as told:
            build(word)
        assert type_ is bool or name in str(told.value).replace("-", "_")


@pytest.mark.parametrize(("_", "name", "type_"), cases([Architecture]))
def test_no_size_of_a_generator_makes_no_sense(_, name, type_):
    known = dataclasses.asdict(Architecture(latents=(8, 16)))
    choice = name == "prediction"  # which the type says already
    for bad in () if choice else {int: (0, -1), str: ("", "twirl"), bool: ()}[type_]:
        value = (8, bad) if isinstance(known[name], tuple) else bad
        with pytest.raises(UsageError):
            make(Architecture(**{**known, name: value}), (8, 8, 1), ((0.0,), (1.0,)), 3)


@pytest.mark.parametrize("form", [Distill, Select, Experts, Evaluate, Convert, Export])
def test_the_commands_that_these_words_are_added_to_would_begin(form, made, tmp_path, stopped):
    with pytest.raises(Begun):
        main(words_of(form, made, tmp_path / "run"))


@pytest.mark.parametrize("error", [ValueError("no"), TypeError("no"), KeyError("no"), jax.errors.JaxRuntimeError("no")])
def test_what_we_get_wrong_is_no_sentence(error, made, tmp_path, stopped, monkeypatch):
    def fail(*given, **more):
        raise error

    for part in (distill, select):
        monkeypatch.setattr(part, "open_folder", fail)
    with pytest.raises(type(error), match="no"):
        main(words_of(Distill, made, tmp_path / "run"))


def test_the_core_says_fields_and_the_command_line_options(made, tmp_path, stopped, capsys):
    said = "start from `network_seed` or `learn_labels`, not `unheard`"
    assert cli.flagged(said, *cli._forms("distill", ["dd"])) == (
        "start from --network-seed or --learn-labels, not `unheard`"
    )
    assert cli.flagged(said, *cli._forms("convert", [])) == said
    assert main([*words_of(Distill, made, tmp_path / "run"), "--image-lr", "0"]) == 2
    assert "--image-lr of DM is a positive number, not 0.0" in capsys.readouterr().err
    root = Path(cli.__file__).parents[1]
    edges = ("io", "engine", "settings", "report", "commands", "api", "cli", "data")
    for path in root.rglob("*.py"):
        if path.relative_to(root).parts[0] not in edges:
            code = re.sub(r'(?s)(?<!f)""".*?"""', "", path.read_text())
            assert not re.search(r"[\"'][^\"'\n]*--[a-z]", code), f"{path} names an option of the command line"


def test_a_setting_called_as_another_is_refused(made, tmp_path, stopped, monkeypatch, capsys):
    """All options of a command are in one name space."""
    for kind in METHODS:
        assert not {name for name, _ in options(kind)} & {name for name, _ in options(Distill)}
    fields = [(field.name, field.type, field) for field in dataclasses.fields(DM)]
    kind = dataclasses.make_dataclass("Toy", [*fields, ("beta", float, 0.5)], bases=(DM,), frozen=True)

    def toy(config, task):
        return dm(config, task)

    monkeypatch.setitem(METHODS, kind, toy)
    assert main(["distill", "toy", *words_of(Distill, made, tmp_path / "run")[2:]]) == 2
    assert "two fields of distill toy are called beta" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ipc": "1"}, "ipc is 1"),
        ({"seed": True}, "seed is True"),
        ({"init": 5}, "init is 5"),
        ({"network": []}, "network is ()"),
        ({"network": {"width": None}}, "width is None"),
        ({"evaluation": {"eval_labels": "soft"}}, "eval_labels is soft"),
        ({"method": {"name": "dm", "image_lr": "fast"}}, "image_lr is fast"),
        ({"method": 7}, "this version"),
        ({"command": None, "method": {}}, "lacks 'name'"),
        ({"unheard": 1}, "unheard"),
    ],
)
def test_a_configuration_of_other_types_is_refused(change, says, tmp_path, stopped, monkeypatch, capsys):
    plain = to_json(Distill(METHOD_NAMES["dm"](), DataConfig("digits"), RunConfig(tmp_path), 1, 1))
    (tmp_path / "config.json").write_text(json.dumps(plain | change))
    assert main(["distill", "dm", "--out", str(tmp_path), "--resume"]) == 2
    said = capsys.readouterr().err
    assert says in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("content", ["[]", "7", "null", "{", "\x00"])
def test_a_file_that_is_no_object_is_refused(content, made, tmp_path, stopped, capsys):
    (tmp_path / "config.json").write_text(content)
    assert main(["distill", "dm", "--out", str(tmp_path), "--resume"]) == 2
    assert main(["report", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 2


@pytest.mark.parametrize("words", [["distill", "dm"], ["select", "random"], ["experts"]])
def test_resuming_needs_a_folder(words, capsys):
    assert main([*words, "--resume"]) == 2
    assert "in --out; give that too" in capsys.readouterr().err
