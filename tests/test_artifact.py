"""Sets on disk: what is written is what is read, nothing is half-written, and a stranger's file cannot do harm."""

import errno
import hashlib
import io
import json
import os
import resource
import struct
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save

from jaxdistill.data.preprocess import fit
from jaxdistill.io import artifact, checkpoint, files
from jaxdistill.io.artifact import ArtifactError, load_set, save_set
from jaxdistill.io.pictures import grid, png
from jaxdistill.types import SyntheticSet

RNG = np.random.default_rng(0)
REAL = RNG.random((50, 4, 4, 3), dtype=np.float32)
CARD = {"method": "dm", "dataset": "pets", "class_names": ["cat", "dog", "emu"], "ipc": 2, "seed": 0, "cost": {}}
FEATURES = {
    "plain": {},
    "soft": {"labels": RNG.dirichlet(np.ones(3), 6).astype(np.float32), "label_kind": "probability"},
    "logits": {"labels": RNG.normal(size=(6, 3)).astype(np.float32), "label_kind": "logit", "formation": 2},
    "weighted": {"weights": np.arange(1, 7, dtype=np.float32), "learning_rate": np.array(0.02, np.float32)},
    "schedule": {"learning_rate": np.float32([0.03, 0.02, 0.01])},
}


def make(**changes):
    images = RNG.normal(size=(6, 4, 4, 3)).astype(np.float32)
    plain = {"images": images, "labels": np.eye(3, dtype=np.float32).repeat(2, axis=0)}
    return SyntheticSet(**(plain | changes))


@pytest.mark.parametrize("zca", [False, True])
@pytest.mark.parametrize("features", FEATURES)
def test_a_set_survives_the_disk(features, zca, tmp_path):
    synthetic, transform, folder = make(**FEATURES[features]), fit(REAL, zca=zca), tmp_path / "run"
    folder.mkdir()
    save_set(folder / "set", synthetic, transform, CARD)
    assert {path.name for path in folder.rglob("*")} == {"set", "set.safetensors", "card.json", "grid.png"}
    for place in (folder, folder / "set"):
        stored = load_set(place)
        assert (stored.synthetic.label_kind, stored.synthetic.formation) == (synthetic.label_kind, synthetic.formation)
        for name in ("images", "labels", "weights", "learning_rate"):
            before, after = getattr(synthetic, name), getattr(stored.synthetic, name)
            assert (before is None) == (after is None)
            if before is not None:
                assert after.shape == before.shape
                np.testing.assert_array_equal(after, before)
        assert stored.preprocess.arrays().keys() == transform.arrays().keys()
        np.testing.assert_allclose(stored.preprocess.invert(transform.apply(REAL)), REAL, atol=1e-4)
        assert stored.card["class_names"] == CARD["class_names"]
        assert stored.card["image_shape"] == [4, 4, 3]
    with Image.open(folder / "set" / "grid.png") as picture:
        pixels = np.asarray(picture)
    np.testing.assert_array_equal(pixels, grid(transform.invert(synthetic.images), 3))
    save_set(folder / "set", make(), fit(REAL), CARD | {"seed": 1})
    assert load_set(folder).card["seed"] == 1


def test_the_snippet_in_the_docstring_needs_safetensors_alone(tmp_path):
    synthetic, transform = make(), fit(REAL)
    save_set(tmp_path / "runs", synthetic, transform, CARD)
    snippet = textwrap.dedent(artifact.__doc__.split("::\n", 1)[1])
    snippet = snippet.replace("runs/first/set/set.safetensors", str(tmp_path / "runs" / "set.safetensors"))
    check = "import sys, numpy; numpy.save(sys.argv[1], pixels); assert not {'jax', 'jaxdistill'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", snippet + check, str(tmp_path / "pixels.npy")], check=True, timeout=60)
    np.testing.assert_allclose(np.load(tmp_path / "pixels.npy"), transform.invert(synthetic.images), atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": np.full((6, 4, 4, 3), np.nan)}, "images holds NaN"),
        ({"labels": np.eye(3)[[0, 1, 2, 0, 1, 2]]}, "class by class"),
        ({"labels": np.full((6, 3), 0.5), "label_kind": "probability"}, "not probabilities"),
        ({"learning_rate": np.array(np.inf, np.float32)}, "learning_rate holds"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_could_not_be_loaded_is_not_saved(changes, says, tmp_path):
    with pytest.raises(ArtifactError, match=says):
        save_set(tmp_path / "set", make(**changes), fit(REAL), CARD)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path):
    save_set(tmp_path / "set", make(), fit(REAL), CARD)
    return tmp_path / "set"


def refused(folder):
    """Load what must be refused; returns the one sentence."""
    with pytest.raises(ArtifactError) as caught:
        load_set(folder)
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 600
    return said


def rewrite(folder, data, honest=True):
    """Put other bytes into the set, and if `honest` their hash into the card."""
    (folder / "set.safetensors").write_bytes(data)
    if honest:
        card = json.loads((folder / "card.json").read_text())
        (folder / "card.json").write_text(json.dumps(card | {"sha256": hashlib.sha256(data).hexdigest()}))


@pytest.mark.parametrize("honest", [True, False])
def test_a_set_cut_anywhere_is_refused(folder, honest):
    whole = (folder / "set.safetensors").read_bytes()
    header = struct.unpack("<Q", whole[:8])[0]
    for cut in (0, 4, 8, 40, 8 + header, 8 + header + 100, len(whole) - 1):
        rewrite(folder, whole[:cut], honest)
        assert ("cannot be read" if honest else "not the file its card was written for") in refused(folder)
    rewrite(folder, whole + b"more", honest)
    refused(folder)


def test_a_header_that_lies_is_refused(folder):
    whole = (folder / "set.safetensors").read_bytes()
    size = struct.unpack("<Q", whole[:8])[0]
    for lie in (0, 1, size - 1, size + 1, 2**31, 2**63, 2**64 - 1):
        rewrite(folder, struct.pack("<Q", lie) + whole[8:])
        assert "cannot be read" in refused(folder)
    header, body = json.loads(whole[8 : 8 + size]), whole[8 + size :]
    for changes in (
        {"shape": [2**40, 2**40]}, {"shape": [-1]}, {"shape": "six"}, {"dtype": "F128"}, {"dtype": "BF16"},
        {"data_offsets": [0, 2**60]}, {"data_offsets": [8, 4]}, {"data_offsets": None},
    ):  # fmt: skip
        text = json.dumps(header | {"images": header["images"] | changes}).encode()
        rewrite(folder, struct.pack("<Q", len(text)) + text + body)
        refused(folder)
    for text in (b"[" * 100_000, b"null", b"[]", b"\xff\xfe"):
        rewrite(folder, struct.pack("<Q", len(text)) + text)
        assert "cannot be read" in refused(folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"images": None}, "lacks images"),
        ({"preprocess/std": None}, "lacks preprocess/std"),
        ({"payload": np.zeros(3, np.float32)}, "'payload', which no set has"),
        ({"\x1b[2J" + "x" * 5000: np.zeros(3, np.float32)}, r"'\x1b[2Jxxx"),
        ({"images": np.zeros((6, 4, 4, 3))}, "float64"),
        ({"images": np.zeros((6, 4, 4, 3), np.uint8)}, "uint8"),
        ({"images": np.zeros((6, 4, 4, 1), np.float32)}, "shape (6, 4, 4, 1) where the card says (6, 4, 4, 3)"),
        ({"labels": np.ones((6, 4), np.float32)}, "shape (6, 4)"),
        ({"labels": np.full((6, 3), 1 / 3, np.float32)}, "not one-hot"),
        ({"weights": np.ones(5, np.float32)}, "weights has shape"),
        ({"images": np.full((6, 4, 4, 3), np.inf, np.float32)}, "NaN or infinite"),
        ({"weights": np.full(6, np.nan, np.float32)}, "NaN or infinite"),
        ({"preprocess/std": np.zeros(3, np.float32)}, "not positive"),
        ({"preprocess/whiten": np.zeros((48, 48), np.float32)}, "whitening is incomplete"),
        ({"learning_rate": np.zeros(0, np.float32)}, "learning_rate"),
    ],
    ids=lambda value: value[:20].strip("'\\") if isinstance(value, str) else "",
)
def test_arrays_that_no_set_has_are_refused(folder, changes, says):
    arrays = load_file(folder / "set.safetensors") | changes
    rewrite(folder, save({name: array for name, array in arrays.items() if array is not None}))
    assert says in refused(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("schema", value) for value in (2, "1", True, 1.0, None, 10**400)),
        *(("num_classes", value) for value in (0, 2, -3, 3.0, True, "3", 2**31, 10**400)),
        *(("count", value) for value in (0, 5, 7, -6, 6.0, None, 2**40)),
        *(("ipc", value) for value in (1, 3, 0, True, [2])),
        *(("formation", value) for value in (0, -1, 5, 1.5, 2**30)),
        *(
            ("image_shape", value)
            for value in ([4, 4], [4, 4, 3, 1], [4, 4, 1], [2**30] * 3, "443", 48, None, {"4": 1})
        ),
        *(("label_kind", value) for value in ("soft", None, 3, ["class"], "x" * 10**5)),
        *(("class_names", value) for value in (["cat"], ["a", "b", 3], "abc", None, {"a": 1, "b": 2, "c": 3})),
        *(("sha256", value) for value in ("", "0" * 64, None, 7)),
        *(("dataset", value) for value in (None, 7, ["pets"])),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_card_that_lies_is_refused(folder, key, value):
    path = folder / "card.json"
    card = json.loads(path.read_text())
    path.write_text(json.dumps(card | {key: value}))
    refused(folder)
    del card[key]
    path.write_text(json.dumps(card))
    assert key in refused(folder)


def test_a_label_kind_that_the_labels_do_not_have_is_refused(folder):
    soft = RNG.dirichlet(np.ones(3), 6).astype(np.float32)
    rewrite(folder, save(load_file(folder / "set.safetensors") | {"labels": soft}))
    assert "not one-hot" in refused(folder)
    card = json.loads((folder / "card.json").read_text()) | {"label_kind": "probability"}
    (folder / "card.json").write_text(json.dumps(card))
    assert load_set(folder).synthetic.label_kind == "probability"
    rewrite(folder, save(load_file(folder / "set.safetensors") | {"labels": soft - 0.5}))
    assert "not probabilities" in refused(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "null", '"card"', "[" * 10**6, '{"a":' * 10**5, "\x00", '{"schema": 1' + "0" * 5000 + "}"],
    ids=lambda text: text[:8] or "empty",
)
def test_a_card_that_is_none_is_refused(folder, text):
    (folder / "card.json").write_text(text)
    assert "is not the card of a set" in refused(folder)


def test_what_is_missing_is_named(folder, tmp_path):
    (folder / "card.json").write_bytes(b"\xff\xfe\xff")
    assert "is not the card of a set" in refused(folder)
    (folder / "card.json").unlink()
    for place in (folder, tmp_path, tmp_path / "nowhere"):
        assert "holds no set" in refused(place)


def test_sizes_are_looked_at_before_anything_is_read(folder):
    with (folder / "set.safetensors").open("ab") as file:
        file.truncate(4 * 2**30)  # a hole: nothing is written
    tracemalloc.start()
    assert "far larger than its card says" in refused(folder)
    with (folder / "card.json").open("ab") as file:
        file.truncate(100 * 2**20)
    assert "too large" in refused(folder)
    assert tracemalloc.get_traced_memory()[1] < 2**23
    tracemalloc.stop()


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    files.write_text(path, "old")
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space left"):
                files.write_bytes(path, b"new")
        assert [child.name for child in tmp_path.iterdir()] == ["file"]
        assert path.read_text() == "old"
    (tmp_path / ".file.partial").write_text("left by a process that was killed")
    files.write_bytes(path, b"new")
    assert [child.name for child in tmp_path.iterdir()] == ["file"]
    assert path.read_text() == "new"


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "folder"

    def write(text):
        with files.write_folder(path) as temporary:
            (temporary / text).write_text(text)
            if text == "fails":
                full()

    write("old")
    with pytest.raises(OSError, match="No space left"):
        write("fails")
    replace = os.replace
    for done in ([], [replace]):  # of the two renames, the first or the second fails
        with monkeypatch.context() as patch:
            works = iter([*done, full, replace])
            patch.setattr(os, "replace", lambda *pair, works=works: next(works)(*pair))
            with pytest.raises(OSError, match="No space left"):
                write("new")
        assert [str(child.relative_to(tmp_path)) for child in sorted(tmp_path.rglob("*"))] == ["folder", "folder/old"]
    (tmp_path / ".folder.partial").mkdir()
    (tmp_path / ".folder.partial" / "left").write_text("by a process that was killed")
    (tmp_path / ".folder.old").mkdir()
    write("new")
    assert [str(child.relative_to(tmp_path)) for child in sorted(tmp_path.rglob("*"))] == ["folder", "folder/new"]


def test_a_set_that_meets_a_full_disk_leaves_the_old_one(folder, tmp_path, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(OSError, match="No space left"):
                save_set(folder, make(), fit(REAL), CARD)
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
        assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of orbax's other threads
def test_a_checkpoint_that_meets_a_full_disk_leaves_the_old_ones_and_one_error(tmp_path, capfd):
    stale = tmp_path / "00000002.orbax-checkpoint-tmp"
    stale.mkdir()
    checkpoint.save(tmp_path, 1, {"images": np.zeros(3, np.float32)})
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    noise = {"images": RNG.random(2**18).astype(np.float32), "momentum": RNG.random(2**18).astype(np.float32)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.save(tmp_path, 2, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == ["00000001"]
    assert capfd.readouterr() == ("", "")
    assert checkpoint.restore(tmp_path, {"images": np.zeros(3, np.float32)}, pytest.fail)[0] == 1


def test_a_run_that_may_not_write_ends_in_one_sentence_and_whole_files(tmp_path):
    limited = (
        "import resource, runpy; resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000));"
        "runpy.run_module('jaxdistill', run_name='__main__', alter_sys=True)"
    )
    options = [
        "distill",
        "dm",
        "--dataset",
        "digits",
        "--ipc",
        "1",
        "--width",
        "8",
        "--steps",
        "3",
        "--eval-seeds",
        "0",
        "--quiet",
        "--out",
    ]
    command = [sys.executable, "-c", limited, *options, str(tmp_path / "run")]
    quiet = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}  # compiled modules are larger
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=quiet)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("jaxdistill: File too large")
    left = {path.name for path in (tmp_path / "run").iterdir()}
    assert left == {"config.json", "metrics.jsonl", "previews", "checkpoints"}, (
        "the set is larger, and all else smaller"
    )
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".") or "tmp" in path.name]
    for path in (tmp_path / "run" / "previews").iterdir():
        with Image.open(path) as picture:
            picture.load()


def test_an_error_in_words_alone_becomes_the_system_s():
    told = files.os_error(ValueError(f"while writing: {os.strerror(errno.ENOSPC)} [source]"), Path("there"))
    assert (told.errno, told.filename) == (errno.ENOSPC, "there")
    told = files.os_error(ValueError("something\nelse"), Path("there"))
    assert (told.errno, told.strerror) == (errno.EIO, "something else")
    own = OSError(errno.EROFS, "read-only")
    assert files.os_error(own, Path("there")) is own


def test_the_grid_pixel_by_pixel():
    images = np.zeros((6, 24, 24, 1), np.float32)  # two classes of three; 24 pixels are shown twice as large
    images[0, 0, 0], images[1], images[3, 23, 5], images[4] = 1, 0.2, 7, -1
    expected = np.full((2 * 50, 2 * 50, 3), 255, np.uint8)
    expected[0:48, 0:48] = 0
    expected[0:2, 0:2] = 255
    expected[0:48, 50:98] = 51
    expected[50:98, 0:48] = 0
    expected[50 + 46 : 50 + 48, 10:12] = 255
    expected[50:98, 50:98] = 0
    np.testing.assert_array_equal(grid(images, 2, columns=2), expected)
    with Image.open(io.BytesIO(png(expected))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), expected)


def test_a_grid_of_many_classes_shows_twenty_and_keeps_colours():
    values = np.arange(45, dtype=np.float32) / 51
    images = np.zeros((90, 60, 60, 3), np.float32)
    images[..., 1] = values.repeat(2)[:, None, None]
    shown = grid(images, 45)
    assert shown.shape == (20 * 62, 2 * 62, 3)
    np.testing.assert_array_equal(shown[::62, 0, 1], np.linspace(0, 44, 20).round() * 5)
    np.testing.assert_array_equal(shown[::62, 0, 0], 0)
