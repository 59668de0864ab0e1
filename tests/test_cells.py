"""Every listed cell against the papers' settings (reference/cells.toml), and what a run that differs is told."""

import dataclasses
import functools
import json
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest

from jaxdistill.augment import for_dataset
from jaxdistill.cli import entry as cli
from jaxdistill.cli import main
from jaxdistill.cli.listing import rows
from jaxdistill.commands.workspace import open_bench
from jaxdistill.data.preprocess import constants
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS, dsa_recipe
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.networks import default_depth
from jaxdistill.presets import find, readings
from jaxdistill.presets.experts import EXPERTS, ExpertPreset, expert_preset
from jaxdistill.settings import cell
from jaxdistill.settings.config import DataConfig, Distill, NetworkConfig, RunConfig
from jaxdistill.training.experts import ExpertRecipe

TABLE = tomllib.loads((Path(__file__).parent / "reference" / "cells.toml").read_text(encoding="utf-8"))
STRATEGIES, STATISTICS = TABLE.pop("strategies"), TABLE.pop("statistics")
PROTOCOL_TABLE, EXPERT_TABLE = TABLE.pop("protocols"), TABLE.pop("experts")
READINGS = [(method, reading) for method, config in METHOD_NAMES.items() for reading in readings(config)]
SUBSETS = {f"image{subset}" for subset in ("nette", "woof", "fruit", "meow", "squawk", "yellow")}
SIDES = {"tiny_imagenet": 64, "imagenet_resized/64x64": 64, **dict.fromkeys(SUBSETS, 128)}
SIDES |= dict.fromkeys(("imagenet10", "imagenet100"), 224)
IPCS = sorted({*range(1, 131), 150, 200, 250, 500, 1000, 1250, 1500, 5000})


def cells_of(method, reading):
    """Each cell of the table as (data set, images per class, settings, its published accuracy or None)."""
    part = TABLE.get(method, {}).get(reading, {})
    found = []
    for entry in part.get("cells", ()):
        for dataset in entry["dataset"]:
            for i, ipc in enumerate(entry["ipc"]):
                published = entry.get("published", [])
                published = published.get(dataset, []) if isinstance(published, dict) else published
                settings = {k: v for k, v in entry.items() if k not in ("dataset", "ipc", "published")}
                settings["network"] = {**part["all"].get("network", {}), **settings.get("network", {})}
                found.append((dataset, ipc, {**part["all"], **settings}, published[i] if published else None))
    return found


LISTED = [(m, r, *found) for m, r in READINGS for found in cells_of(m, r) if "lacking" not in found[2]]
CELL = dict.fromkeys(METHOD_NAMES, ("cifar10", 10)) | {m: (dataset, ipc) for m, _, dataset, ipc, *_ in LISTED[::-1]}
"""One of each method."""
LACKING = [(m, r, *found) for m, r in READINGS for found in cells_of(m, r) if "lacking" in found[2]]
DATASETS = sorted({found[2] for found in LISTED} | set(STATISTICS) | SUBSETS | {"digits", "some_other", *SIDES})


def named(value):
    return value if isinstance(value, str | int) else ""


def strategy(dataset):
    return STRATEGIES.get(dataset, STRATEGIES["other"])


def agree(wanted, found):
    if isinstance(wanted, dict):
        found = found if isinstance(found, dict) else dataclasses.asdict(found)
        return all(agree(value, found[name]) for name, value in wanted.items())
    if wanted in ("any", "none"):
        return wanted == "any" or found in (None, "none")
    return wanted == found or (isinstance(wanted, float) and found == pytest.approx(wanted))


@functools.cache
def found_cells(method, reading):
    config = METHOD_NAMES[method]
    return {(d, ipc) for d in DATASETS for ipc in IPCS if find(config, d, ipc, reading).listed}


def test_the_table_is_of_methods_that_there_are():
    assert {(m, r) for m in TABLE for r in TABLE[m]} <= set(READINGS)
    assert all(part["source"] for readings in TABLE.values() for part in readings.values())
    keys = [key[:4] for key in LISTED + LACKING]
    assert len(keys) == len(set(keys)), "a cell stands there twice"


@pytest.mark.parametrize(("method", "reading"), READINGS, ids=named)
def test_exactly_the_cells_of_the_table_are_listed(method, reading):
    assert found_cells(method, reading) == {found[2:4] for found in LISTED if found[:2] == (method, reading)}


@pytest.mark.parametrize(("method", "reading", "dataset", "ipc", "settings", "published"), LISTED, ids=named)
def test_a_listed_cell_is_the_papers(method, reading, dataset, ipc, settings, published):
    preset = find(method, dataset, ipc, reading)
    side = SIDES.get(dataset, 32)
    network = dataclasses.asdict(NetworkConfig(**preset.network))
    network["depth"] = network["depth"] or default_depth(side)
    network["norm"] = "batch" if network["network"].endswith("-bn") else network["norm"]
    found = {**dataclasses.asdict(preset.config), **preset._asdict()}
    found["augment"] = for_dataset(preset.augment, dataset)
    wanted = {"statistics": dataset if dataset in STATISTICS else "imagenet", **settings}
    wanted["augment"] = strategy(dataset) if wanted["augment"] == "dsa" else wanted["augment"]
    wanted["statistics"] = STATISTICS.get(wanted["statistics"])
    values = constants(preset.statistics, dataset)
    found["statistics"] = values and [list(part) for part in values]
    if preset.zca:  # of [0, 1] images
        del found["statistics"], wanted["statistics"]
    recipe, networks = wanted.pop("experts", None), wanted.pop("network")
    wrong = {name: found.get(name, "missing") for name, value in wanted.items() if not agree(value, found.get(name))}
    wrong |= {name: network[name] for name, value in networks.items() if not agree(value, network[name])}
    assert not wrong, f"the table has { {name: {**wanted, **networks}[name] for name in wrong} }"
    if recipe is None:
        assert preset.experts is None
    else:
        compare_experts(preset.experts, EXPERT_TABLE[recipe], dataset)
    if published is None:
        assert preset.published is None, "a number that no source was found for"
    else:
        assert agree(published[0], preset.published.mean)
        assert agree(published[1], preset.published.std)


def compare_experts(found, wanted, dataset):
    have = {**dataclasses.asdict(found.recipe), "epochs": found.epochs, "count": found.count}
    have["augment"] = for_dataset(found.recipe.augment, dataset)
    wanted = {**wanted, "augment": strategy(dataset) if wanted["augment"] == "dsa" else wanted["augment"]}
    assert {name: have[name] for name in wanted} == wanted


@pytest.mark.parametrize(("method", "reading", "dataset", "ipc", "settings", "published"), LACKING, ids=named)
def test_what_is_lacking_is_not_listed(method, reading, dataset, ipc, settings, published):
    preset = find(method, dataset, ipc, reading)
    assert not preset.listed, settings["lacking"]
    found = dataclasses.asdict(preset.config)
    assert all(agree(value, found[name]) for name, value in settings.items() if name in found and name == "image_lr")
    if published is not None and preset.published is not None:
        assert agree(published[0], preset.published.mean)
        assert agree(published[1], preset.published.std)


@pytest.mark.parametrize("name", sorted({found[4]["protocol"] for found in LISTED} | set(PROTOCOL_TABLE)))
def test_an_evaluation_is_the_papers(name):
    found, wanted = dataclasses.asdict(PROTOCOLS[name]), PROTOCOL_TABLE[name]
    for dataset in ("mnist", "cifar10"):
        have = {k: for_dataset(v, dataset) if k == "augment" else v for k, v in found.items()}
        asked = {k: v.replace("dsa", strategy(dataset)) if k == "augment" else v for k, v in wanted.items()}
        assert {k: have.get(k) for k, v in asked.items() if not agree(v, have.get(k))} == {}


SHORTENED = ("dsa1000", "datadam1800", "datadam1800-halved")


@pytest.mark.parametrize(("method", "reading"), READINGS, ids=named)
def test_sets_of_digits_are_judged_by_one_recipe(method, reading):
    """And on the plain ConvNet, where elsewhere they are trained on as DSA does."""
    elsewhere = find(method, "some_other", 10, reading).protocol
    for ipc in (1, 10, 50):
        preset = find(method, "digits", ipc, reading)
        if elsewhere not in SHORTENED:
            assert preset.protocol not in SHORTENED
            continue
        assert preset.protocol == dsa_recipe("digits")
        assert NetworkConfig(**preset.network) == NetworkConfig()
        assert preset.eval_network is None


def test_selections_of_digits_are_judged_as_the_methods_sets_are(tmp_path):
    words = ["--ipc", "1", "--eval-seeds", "0", "--quiet"]
    for name in ("digits", "other"):
        images, labels = (
            np.zeros((20, 8, 8, 1), np.uint8) + np.arange(20, dtype=np.uint8)[:, None, None, None],
            [0, 1] * 10,
        )
        data = tmp_path / f"{name}.npz"
        np.savez(data, x_train=images, y_train=labels, x_test=images, y_test=labels)
        assert main(["select", "random", "--dataset", str(data), *words, "--out", str(tmp_path / name)]) == 0
        config = json.loads((tmp_path / name / "config.json").read_text())
        assert config["evaluation"]["protocol"] == dsa_recipe(name)
    assert dsa_recipe("digits") != dsa_recipe("other") == "dsa1000"


@pytest.mark.parametrize("name", [name for name, found in PROTOCOLS.items() if isinstance(found.epochs, int)])
def test_a_summary_names_the_epochs_that_were_asked_for(name):
    """Which the table and the command line say too; not DC's code's one more."""
    found = dataclasses.replace(PROTOCOLS[name], epochs=77)
    assert re.search(r"\b77 epochs", found.summary)
    assert "78" not in found.summary


def test_a_halving_every_fifteen_epochs():
    assert PROTOCOLS["datadam1800-halved"].drop_epochs == tuple(range(15, 1800, 15))
    assert "times 0.5 every 15 epochs" in PROTOCOLS["datadam1800-halved"].summary


def test_experts_of_a_cell():
    assert expert_preset("ftd", "cifar10", 10).recipe.alpha == 0.3
    assert expert_preset("ftd", "cifar10", 50).recipe.alpha == 1.0
    assert expert_preset("ftd", "cifar100").recipe.alpha == 1.0
    assert expert_preset("ftd", "tiny_imagenet").recipe.alpha == 1.0
    assert [expert_preset("mtt", "cifar10", ipc).zca for ipc in (1, 10, 50, None)] == [True, True, False, False]
    assert expert_preset("mtt", "cifar100", 10).statistics == "cifar10"
    for name in EXPERTS:
        assert expert_preset(name, "cifar10").count == 100


@pytest.mark.parametrize("method", ["mtt", "tesla", "ftd", "datm", "selmatch"])
def test_a_number_that_is_the_best_of_many_looks_says_so(method):
    for row in rows("cells", method):
        assert find(method, row["dataset"], row["ipc"], row["preset"]).best_on_test
        assert row["best_on_test"] == (row["published"] is not None)
    assert not any(row["best_on_test"] for row in rows("cells", "dm"))


def test_teslas_steps_on_pixels_are_half_its_codes_or_mtts():
    for dataset, ipc in (("cifar10", 10), ("cifar10", 50), ("cifar100", 10)):
        one, other = (find(method, dataset, ipc).config.image_lr for method in ("tesla", "mtt"))
        assert one == other / 2


# What a run that differs is told.

KNOWN = {"augment": "crop", "statistics": "tiny_imagenet-selmatch", "init": "kmeans"}  # names that are looked up


def run_of(method, dataset="cifar10", ipc=10, reading=None, **changes):
    preset = find(method, dataset, ipc, reading or readings(method)[0])
    config = Distill(**cell.fields(preset, dataset), run=RunConfig(Path("x")), ipc=ipc, preset=reading)
    return dataclasses.replace(config, **changes), preset


def other(value):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if isinstance(value, int) else value / 2 + 0.0007
    if isinstance(value, tuple):
        return (*value, 1)
    return 7 if value is None else f"{value}-other"


def leaves(config, path=""):
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from leaves(value, f"{path}{field.name}.")
        else:
            yield f"{path}{field.name}"


def changed(config, path):
    """A copy with one field changed, past the checks of its class."""
    name, _, rest = path.partition(".")
    value = getattr(config, name)
    copy = dataclasses.replace(config)
    object.__setattr__(copy, name, changed(value, rest) if rest else KNOWN.get(name) or other(value))
    return copy


def apart(path):
    parts = path.split(".")
    return any(".".join(parts[:n]) in cell.APART for n in range(1, len(parts) + 1))


CASES = [
    (method, path)
    for method in METHOD_NAMES
    for path in leaves(run_of(method, *CELL[method])[0])
    if not apart(path) and not path.startswith("basis.")
] + [("selmatch", path) for path in leaves(run_of("selmatch")[0]) if path.startswith("basis.") and "scores" not in path]


@pytest.mark.parametrize(("method", "path"), CASES, ids=named)
def test_every_field_that_changes_the_result_is_named(method, path):
    config, preset = run_of(method, *CELL[method])
    before, config = cell.differences(config, preset), changed(config, path)
    name = path.rpartition(".")[2].replace("_", "-")
    after = [said for said in cell.differences(config, preset) if said not in before]
    assert any(d.startswith(f"{name} ") for d in after), after
    assert all("published" in d for d in after)


@pytest.mark.parametrize("path", sorted(cell.APART))
def test_fields_apart_are_fields(path):
    config, _ = run_of("minimax", "imagewoof")
    for part in path.split("."):
        config = getattr(config, part)


CARD = {"recipe": dataclasses.asdict(expert_preset("ftd", "cifar10", 10).recipe), "epochs": 50, "dtype": "float32"}


def of_experts(**changes):
    config, preset = run_of("ftd")
    count = changes.pop("count", 100)
    config = dataclasses.replace(config, bank=dataclasses.replace(config.bank, expert_count=count))
    recipe = {**CARD["recipe"], **{k: v for k, v in changes.items() if k in CARD["recipe"]}}
    return cell.differences(config, preset, {**CARD, **changes, "recipe": recipe}, size=32)


def test_the_papers_experts_are_no_difference():
    assert of_experts() == []
    assert of_experts(augment="color_crop_cutout_flip_scale_rotate") == []


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(ExpertRecipe)])
def test_every_field_of_the_experts_recipe_is_named(field):
    value = "none" if field == "augment" else other(CARD["recipe"][field])
    assert [d.split(" ")[1] for d in of_experts(**{field: value})] == [field.replace("_", "-")]


def test_a_run_of_ftd_on_two_experts_of_mtts_names_what_they_lack():
    config = run_of("ftd")[0]
    config = dataclasses.replace(config, bank=dataclasses.replace(config.bank, expert_count=2))
    papers = expert_preset("mtt", "cifar10", 10)
    card = {"recipe": dataclasses.asdict(papers.recipe), "epochs": papers.epochs}
    assert cell.said(config, card, 32) == (
        "not the published setting of ftd for cifar10 at ipc 10: experts' rho 0.0 (published 0.01), experts' alpha "
        "none (published 0.3), experts' count 2 (published 100)"
    )


def test_a_number_of_ftd_without_its_average_is_no_setting():
    preset = find("ftd", "cifar100", 100, "no-average")
    assert (preset.published[:2], preset.config.ema_decay, preset.listed) == ((49.7, 0.4), None, False)
    assert find("ftd", "cifar100", 100).published is None


def test_epochs_number_and_type_of_experts_are_named():
    assert of_experts(epochs=20) == ["experts' epochs 20 (published 50)"]
    assert of_experts(count=10) == ["experts' count 10 (published 100)"]
    assert of_experts(dtype="bfloat16") == ["experts' dtype bfloat16 (published float32)"]
    assert set(ExpertPreset._fields) == {"recipe", "network", "epochs", "count", "zca", "statistics"}
    config, preset = run_of("ftd")
    assert cell.differences(config, preset, size=32) == ["experts none (published some)"]


@pytest.mark.parametrize(("method", "reading", "dataset", "ipc"), [found[:4] for found in LISTED], ids=named)
def test_a_run_of_a_cell_as_it_comes_is_the_published_setting(method, reading, dataset, ipc):
    config, preset = run_of(method, dataset, ipc, reading)
    card = None
    if preset.experts is not None:
        config = dataclasses.replace(config, bank=dataclasses.replace(config.bank, expert_count=preset.experts.count))
        card = {"recipe": dataclasses.asdict(preset.experts.recipe), "epochs": preset.experts.epochs}
    if preset.init == "cscore":
        assert "scores of our stand-in" in cell.said(config, card, 32)
        config = dataclasses.replace(config, basis=dataclasses.replace(config.basis, scores=Path("scores.npy")))
    if preset.generator is not None:
        assert "generator untrained" in cell.said(config, card, 32)
        config = dataclasses.replace(config, generator=dataclasses.replace(config.generator, generator=Path("xl")))
    assert cell.said(config, card, 32) == f"the published setting of {method} for {dataset} at ipc {ipc}"


def test_what_is_said():
    config, _ = run_of("dm")
    assert cell.said(dataclasses.replace(config, steps=100)) == (
        "not the published setting of dm for cifar10 at ipc 10: steps 100 (published 20000)"
    )
    assert cell.said(run_of("dm", "digits")[0]).startswith(
        "no published setting of dm for digits at ipc 10; running DM("
    )


def test_another_spelling_is_no_difference():
    config, preset = run_of("dm")
    spelt = dataclasses.replace(
        config,
        augment="color_crop_cutout_flip_scale_rotate",
        network=dataclasses.replace(config.network, depth=3),
        data=dataclasses.replace(config.data, statistics="cifar10", data_dir="/elsewhere"),
        evaluation=dataclasses.replace(config.evaluation, eval_network="convnet", eval_seeds=1),
        seed=3,
    )
    assert cell.differences(spelt, preset, size=32) == []
    assert cell.differences(spelt, preset, size=64) == ["depth 3 (published 4)"]
    fixed, preset = run_of("dd", reading="fixed-init")
    seeded = dataclasses.replace(fixed, network=dataclasses.replace(fixed.network, network_seed=5))
    assert cell.differences(seeded, preset) == []
    free = dataclasses.replace(fixed, network=dataclasses.replace(fixed.network, network_seed=None))
    assert cell.differences(free, preset) == ["network-seed none (published 0)"]


def test_a_run_says_what_it_is_and_its_card_keeps_it(tmp_path, capsys):
    rng, images, labels = np.random.default_rng(0), {}, np.arange(20) % 10
    for split in ("train", "test"):
        images[f"x_{split}"] = rng.integers(0, 256, (20, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "cifar10.npz", **images, y_train=labels, y_test=labels)
    words = ["--dataset", str(tmp_path / "cifar10.npz"), "--ipc", "1", "--eval-seeds", "0", "--steps", "0"]
    assert main(["distill", "dm", *words, "--width", "8", "--out", str(tmp_path / "run")]) == 0
    card = json.loads((tmp_path / "run" / "set" / "card.json").read_text())
    assert card["setting"].startswith("not the published setting of dm for ")
    assert card["setting"].endswith(": steps 0 (published 20000), width 8 (published 128)")
    assert f"note: {card['setting']}" in " ".join(capsys.readouterr().err.split())
    assert "width 8 (published 128)" in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("ipc", "zca"), [("10", True), ("50", False)])
def test_experts_are_whitened_as_their_cell_is(ipc, zca, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(cli, "train_experts", lambda config, console: asked.append(config))
    words = ["experts", "--ipc", ipc, "--out", str(tmp_path / "bank"), "--dataset"]
    assert main([*words, "cifar10"]) == 0
    assert asked[-1].data.zca is zca
    assert main([*words, "cifar10", "--preset", "ftd"]) == 0
    assert asked[-1].recipe.alpha == (0.3 if ipc == "10" else 1.0)
    assert main([*words, "cifar100", "--preset", "selmatch"]) == 0
    assert asked[-1].data.statistics == "cifar10"


def test_statistics_by_name():
    assert constants("default", "mnist") == constants("mnist", "cifar10") == ((0.1307,), (0.3081,))
    assert constants("fitted", "mnist") is None
    assert constants("default", "some_other") is None
    with pytest.raises(UsageError, match="unknown statistics 'nobody'; choose default, fitted or one of"):
        constants("nobody", "mnist")


def test_statistics_of_other_channels_are_refused():
    with pytest.raises(UsageError, match="of cifar10 are of 3 channels, and the images of digits have 1"):
        open_bench(DataConfig("digits", statistics="cifar10"))
    named_so = open_bench(DataConfig("digits", statistics="mnist")).preprocess
    np.testing.assert_allclose(named_so.mean, [0.1307])
