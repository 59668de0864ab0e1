"""Runs of IDC from the command line: networks out of experts, sets of tiles of several sizes, equal computing."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from banks import made, read
from test_cli import refused

import jaxdistill as jd
from jaxdistill.augment.formation import decode
from jaxdistill.evaluation import PROTOCOLS, evaluate
from jaxdistill.io.artifact import ArtifactError, load_set
from jaxdistill.io.export import export
from jaxdistill.networks import make
from jaxdistill.settings.config import EvaluationConfig
from jaxdistill.testing import CLASSES, SHAPE, toy_data, toy_start

DATA = ["--dataset", "digits", "--quiet"]
RUN = ["distill", "idc", *DATA, "--ipc", "1", "--steps", "3"]
IDC = [*RUN, "--eval-seeds", "0"]
SMALL = ["--width", "8", "--depth", "1"]
SHORT = ["--inner-real-images", "64", "--matches-per-network", "2"]


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """Two, of a convolutional network, that were trained with CutMix."""
    words = ["--count", "2", "--epochs", "2", "--momentum", "0.9", "--cutmix", "1"]
    return made(tmp_path_factory.mktemp("experts") / "bank", "experts", *DATA, *SMALL, *words)


@pytest.fixture(scope="module")
def run(experts, tmp_path_factory):
    """A set of tiles of two sizes, by networks out of experts that are trained once more."""
    words = ["--experts", str(experts), "--pool-from", "1", "--pool-epochs", "2", "--pretrain-epochs", "1"]
    words += ["--eval-seeds", "1", "--eval-epochs", "10", "--eval-equal-compute", "--decode-type", "multi"]
    return made(tmp_path_factory.mktemp("idc") / "run", *RUN, *SHORT, *words)


def test_a_run_with_networks_out_of_experts(experts, run):
    assert read(experts)["recipe"]["cutmix"] == 1
    config = json.loads((run / "config.json").read_text())
    assert config["network"] == read(experts)["network"]
    assert config["bank"]["expert_count"] == 2
    losses = [json.loads(line)["loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == 3
    assert np.isfinite(losses).all()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--pool-from", "1"], "idc begins with networks out of experts here; make some with"),
        (["--pool-from", "2", "--pool-epochs", "2", "--experts", "BANK"], "the experts have 2; train longer ones"),
        (["--experts", "BANK"], "neither idc nor a start by real uses experts"),
        (["--pretrain-epochs", "1", "--max-device-gib", "0"], "raise --max-device-gib"),
        (["--eval-equal-compute"], "with --eval-seeds 0 nothing is judged"),
        (["--factor", "1", "--eval-equal-compute", "--eval-seeds", "1"], "hold no tiles"),
    ],
    ids=lambda value: "" if isinstance(value, list) else value,
)
def test_what_a_run_does_not_have_or_read_is_refused(words, says, experts, tmp_path, capsys):
    words = [str(experts) if word == "BANK" else word for word in words]
    assert says in refused(capsys, [*IDC, *SMALL, *words, "--out", str(tmp_path / "run")], tmp_path)


def test_a_set_keeps_how_it_is_decoded(run, tmp_path):
    stored = load_set(run)
    assert (stored.synthetic.formation, stored.synthetic.decode_type) == (2, "multi")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "train on 5 times as many images as with random ones, for as many epochs fewer" in page
    assert "epochs divided by the tiles in an image (equal computing)" in page
    assert json.loads((run / "evaluation.json").read_text())["protocol"]["equal_compute"] is True
    export(stored, "npz", tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as arrays:
        assert str(arrays["decode_type"]) == "multi"
    export(stored, "npz", tmp_path / "decoded.npz", decoded=True)
    with np.load(tmp_path / "decoded.npz") as arrays:
        assert arrays["images"].shape == (50, 8, 8, 1)
        assert "decode_type" not in arrays
    stored.save(tmp_path / "copy")
    card = json.loads((tmp_path / "copy" / "card.json").read_text())
    (tmp_path / "copy" / "card.json").write_text(json.dumps(card | {"decode_type": "bound"}))
    with pytest.raises(ArtifactError, match="its decode type is 'bound'"):
        load_set(tmp_path / "copy")


def test_equal_computing_divides_the_epochs(run):
    """What is trained is what would be for as many epochs fewer; random images, without tiles, keep all of them."""
    options = {"width": 8, "depth": 1, "seeds": 1, "progress": False, "protocol": "idc1000"}
    whole, equal, short = (
        jd.evaluate({"tiles": load_set(run)}, "digits", epochs=epochs, equal_compute=equal, **options).rows
        for epochs, equal in ((10, False), (10, True), (2, False))
    )
    of = [{row["set"]: row["accuracies"] for row in rows} for rows in (whole, equal, short)]
    assert of[1]["tiles"] == of[2]["tiles"]
    assert of[1]["random"] == of[0]["random"]


def test_a_recipe_for_tiles():
    protocol = PROTOCOLS["idc1000"].equal()
    assert "equal computing" in protocol.summary
    assert "equal computing" not in PROTOCOLS["idc1000"].summary
    assert protocol.on_tiles(4, 400, 10).epochs == 250
    assert protocol.on_tiles(1, 100, 10) is protocol
    assert PROTOCOLS["idc1000"].on_tiles(4, 400, 10).epochs == 1000
    photos = PROTOCOLS["minimax"].equal()  # by 90 tiles of a class 1000 epochs
    assert photos.on_tiles(9, 900, 10).epochs == 111
    assert PROTOCOLS["idc-imagenet100"].equal().on_tiles(9, 9_000, 100).epochs == 66
    for name in ("krr", "frepo", "dd", "rded300"):
        with pytest.raises(ValueError, match="leave equal computing out"):
            EvaluationConfig(name, eval_equal_compute=True).resolve()


def test_sets_of_tiles_of_several_sizes_are_judged_by_all_of_them():
    """A set and what it is decoded to give the same networks, bit for bit."""
    train, test = jax.tree.map(jnp.asarray, toy_data())
    chosen = dataclasses.replace(toy_start(2), formation=2, decode_type="multi", indices=None)
    black, white = train.pixel_range
    recipe = dataclasses.replace(PROTOCOLS["digits100"], epochs=3, augment="none")
    network = make("convnet", SHAPE, CLASSES, width=8, depth=1)
    one, other = (
        evaluate(jax.random.key(0), each, network, test, recipe, seeds=2).accuracies
        for each in (chosen, decode(chosen, (black + white) / 2))
    )
    np.testing.assert_array_equal(one, other)


def test_nothing_to_divide_is_refused():
    with pytest.raises(ValueError, match="hold no tiles"):
        jd.select("random", jd.load("digits"), ipc=1, eval_seeds=1, eval_equal_compute=True, progress=False)
    core = jd.select("random", jd.load("digits"), ipc=1, eval_seeds=0, progress=False)
    with pytest.raises(ValueError, match="no image of these sets holds tiles"):
        jd.evaluate(core, "digits", seeds=1, equal_compute=True, progress=False)
