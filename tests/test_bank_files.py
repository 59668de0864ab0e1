"""Expert banks as files: what can be read, and what a damaged, foreign or incomplete one is told by."""

import gc
import hashlib
import json
import shutil
import tracemalloc

import ml_dtypes
import numpy as np
import pytest
from banks import DATA, MTT, SHORT, TRAIN, contents, flipped, made
from test_cli import refused

from jaxdistill.data.preprocess import Preprocess
from jaxdistill.io.artifact import ArtifactError, save_set
from jaxdistill.io.expert_bank import BankError, load_bank, open_bank
from jaxdistill.io.expert_writer import digest_of
from jaxdistill.types import SyntheticSet


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders that are no banks."""
    place = tmp_path_factory.mktemp("folders")
    (place / "work").mkdir()
    (place / "work" / "thesis.txt").write_text("mine")
    made(place / "core", "select", "random", *DATA, "--ipc", "1", "--eval-seeds", "0")
    return place


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("work", "is no expert bank"),
        ("core", "is a run, not an expert bank"),
        ("core/set", "is a set, not an expert bank"),
        ("nowhere", "is no expert bank"),
    ],
)
def test_a_folder_that_is_no_bank_is_refused(name, says, folders, capsys, tmp_path):
    folder = folders / name
    with pytest.raises(BankError, match=f"{name} {says}"):
        load_bank(folder)
    commands = [[*MTT, "--experts", str(folder), "--out", str(tmp_path / "run")]]
    if folder.exists():
        words = ([*TRAIN], [*TRAIN, "--resume"], ["experts", "--quiet", "--resume"])
        commands += [[*some, "--out", str(folder)] for some in words]
    for command in commands:
        said = refused(capsys, command, folders)
        assert str(folder) in said
        assert ";" in said, "it says what to do"
    if not folder.exists():
        assert "--dataset" in refused(capsys, ["experts", "--resume", "--out", str(folder)], folders)


def test_a_bank_is_no_set(bank, capsys, tmp_path):
    before = sorted(bank.rglob("*"))
    start = ["distill", "dm", *DATA, "--ipc", "1", "--init", str(bank), "--out", str(tmp_path / "run")]
    for command in (["evaluate", str(bank)], start):
        assert f"{bank} is an expert bank, not a set; give a finished run" in refused(capsys, command, tmp_path)
    nothing = SyntheticSet(np.zeros((3, 8, 8, 1)), np.eye(3))
    with pytest.raises(ArtifactError, match="is not a set; choose another place"):
        save_set(bank, nothing, Preprocess(np.zeros(1), np.ones(1)), {})
    assert sorted(bank.rglob("*")) == before


def test_a_bank_whose_card_does_not_say_that_it_is_one_is_still_one(bank, tmp_path):
    copy = tmp_path / "bank"
    shutil.copytree(bank, copy)
    written = changed(kind=None)((copy / "card.json").read_bytes())
    assert len(written) < len((copy / "card.json").read_bytes())
    (copy / "card.json").write_bytes(written)
    assert len(load_bank(copy).params) == 3
    made(copy, "experts", "--resume", "--count", "3", "--quiet")
    assert (copy / "card.json").read_bytes() == written


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"recipe": {"unheard": 1}}, "recipe"),
        ({"recipe": {"momentum": 2.0}}, "recipe"),
        ({"recipe": "sgd"}, "recipe"),
        ({"network": {"width": 8, "heads": 2}}, "network"),
        ({"data": {}}, "data"),
        ({"seed": None}, "seed"),
    ],
    ids=str,
)
def test_a_foreign_recipe_is_refused_with_a_sentence(values, name, bank, tmp_path, capsys):
    card = changed(**values)((bank / "card.json").read_bytes())
    (tmp_path / "bank").mkdir()
    (tmp_path / "bank" / "card.json").write_bytes(card)
    for command in ([*MTT, "--experts"], ["experts", "--quiet", "--resume", "--out"]):
        said = refused(capsys, [*command, str(tmp_path / "bank")], tmp_path)
        assert f"bank does not say the experts' {name} in a way that this version of jaxdistill understands; " in said


def test_a_hash_is_of_names_and_contents_and_copies_nothing():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (2500, 4, 4, 3), np.uint8)
    arrays = {
        "images": images,
        "strided": images[::2, ::-1],
        "transposed": rng.normal(size=(7, 2000)).T,
        "half": np.arange(9, dtype=np.float32).astype(ml_dtypes.bfloat16),
        "bits": images > 9,
        "one": np.float32(3),
    }
    expected = hashlib.sha256(b"".join(name.encode() + arrays[name].tobytes() for name in sorted(arrays)))
    assert digest_of(dict(reversed(arrays.items()))) == expected.hexdigest()
    large = np.zeros((4000, 32, 32, 3), np.uint8)
    tracemalloc.start()
    digest_of({"large": large, "other": large[:, ::-1]})
    assert tracemalloc.get_traced_memory()[1] < 0.3 * large.nbytes
    tracemalloc.stop()


def test_more_experts_than_there_are_is_refused(bank, capsys, tmp_path):
    with pytest.raises(BankError, match="has 3 whole experts, not 4; train those that"):
        load_bank(bank, 4)
    assert len(load_bank(bank, 2).params) == 2
    words = [*MTT, *SHORT, "--experts", str(bank), "--out", str(tmp_path / "run"), "--expert-count"]
    assert "has 3 whole experts, not 4" in refused(capsys, [*words, "4"], tmp_path)
    assert "--expert-count is at least 1" in refused(capsys, [*words, "0"], tmp_path)
    empty = tmp_path / "empty"
    shutil.copytree(bank, empty, ignore=shutil.ignore_patterns("0000*"))
    with pytest.raises(BankError, match="has 0 whole experts"):
        load_bank(empty)


def changed(**values):
    """A card with other values; None leaves one out."""
    said = lambda card: {k: v for k, v in {**card, **values}.items() if v is not None}  # noqa: E731
    return lambda data: json.dumps(said(json.loads(data))).encode()


def halved(data):
    return data[: len(data) // 2]


DAMAGE = {
    "params halved": ("00001/params.npy", halved),
    "params empty": ("00001/params.npy", lambda data: b""),
    "params one byte": ("00001/params.npy", flipped),
    "params of another expert": ("00001/params.npy", lambda data: data[:128] + data[128:][::-1]),
    "card halved": ("card.json", halved),
    "card of another kind": ("card.json", changed(kind="generator")),
    "card a list": ("card.json", lambda data: b"[1, 2]"),
    "card not text": ("card.json", lambda data: b"\xff\xfe"),
    "card of another schema": ("card.json", changed(schema=2)),
    "card of more epochs": ("card.json", changed(epochs=5)),
    "card of another type": ("card.json", changed(dtype="bfloat16")),
    "card of no type": ("card.json", changed(dtype="float8")),
    "card without parameters": ("card.json", changed(parameters=None)),
    "card without digests": ("card.json", changed(digests=None)),
    "preprocessing halved": ("preprocess.safetensors", halved),
    "preprocessing one byte": ("preprocess.safetensors", flipped),
    "expert's card halved": ("00001/card.json", halved),
    "expert's card without hash": ("00001/card.json", lambda data: b"{}"),
    "history halved": ("00001/history.npz", halved),
    "history empty": ("00001/history.npz", lambda data: b""),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_bank_is_refused_with_a_sentence(kind, bank, tmp_path):
    copy = tmp_path / "bank"
    shutil.copytree(bank, copy)
    name, change = DAMAGE[kind]
    (copy / name).write_bytes(change((copy / name).read_bytes()))

    def used():
        stored = load_bank(copy)
        stored.digest()
        open_bank(stored, limit=2**30)
        stored.history(1)

    with pytest.raises(BankError, match=str(copy)) as error:
        used()
    assert "\n" not in str(error.value)
    assert ";" in str(error.value), "it says what to do"
    gc.collect()  # a file that was left open is complained of now, and not in another test


def test_what_is_said_of_a_missing_card_helps_to_have_it_again(bank, tmp_path):
    shutil.copytree(bank, tmp_path / "bank")
    (tmp_path / "bank" / "00002" / "card.json").unlink()
    with pytest.raises(
        BankError, match="has 2 whole experts, not 3; train those that lack with 'jaxdistill experts --resume --count'"
    ):
        load_bank(tmp_path / "bank", 3)
    made(tmp_path / "bank", "experts", "--resume", "--count", "3", "--quiet")
    assert contents(tmp_path / "bank") == contents(bank)
