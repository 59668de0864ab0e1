"""Each format read back with the tool it is meant for."""

import builtins
import errno
import os

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from jaxdistill.data.preprocess import fit
from jaxdistill.data.source import silence
from jaxdistill.io.artifact import ArtifactError, load_set, save_set
from jaxdistill.io.export import FORMATS, export
from jaxdistill.types import SyntheticSet

RNG = np.random.default_rng(0)
REAL = RNG.random((40, 5, 5, 3), dtype=np.float32)
SOFT = RNG.dirichlet(np.ones(3), 6).astype(np.float32)
HOSTILE = ["../../x", "a/b", ".."]


def make(path, names=("ant", "bee", "cow"), channels=3, zca=False, **changes):
    """A set of which some pixels leave [0, 1], saved and loaded again."""
    transform = fit(REAL[..., :channels], zca=zca)
    images = transform.apply(RNG.uniform(-0.2, 1.2, (6, 5, 5, channels)).astype(np.float32))
    plain = {"images": images, "labels": SOFT, "label_kind": "probability"}
    card = {"method": "dm", "dataset": "pets", "class_names": list(names), "ipc": 2, "seed": 0, "cost": {}}
    save_set(path, SyntheticSet(**(plain | changes)), transform, card)
    return load_set(path)


def pixels_of(stored):
    return np.clip(stored.preprocess.invert(stored.synthetic.images), 0, 1)


@pytest.mark.parametrize("zca", [False, True])
def test_npz_holds_all_that_training_and_testing_need(zca, tmp_path):
    extra = {"weights": np.arange(1, 7, dtype=np.float32), "learning_rate": np.array(0.02, np.float32), "formation": 2}
    stored = make(tmp_path / "set", zca=zca, **extra)
    export(stored, "npz", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz", allow_pickle=False) as arrays:
        names = {"images", "pixels", "labels", "classes", "label_kind", "formation", "weights", "learning_rate"}
        assert set(arrays) == names | {f"preprocess/{name}" for name in stored.preprocess.arrays()}
        np.testing.assert_array_equal(arrays["images"], stored.synthetic.images)
        np.testing.assert_array_equal(arrays["pixels"], pixels_of(stored))
        np.testing.assert_array_equal(arrays["labels"], SOFT)
        np.testing.assert_array_equal(arrays["classes"], SOFT.argmax(1))
        np.testing.assert_array_equal(arrays["weights"], extra["weights"])
        assert (str(arrays["label_kind"]), int(arrays["formation"])) == ("probability", 2)
        assert arrays["learning_rate"] == np.float32(0.02)


@pytest.mark.parametrize("zca", [False, True])
def test_torch_has_channels_first_and_whitens_like_us(zca, tmp_path):
    stored = make(tmp_path / "set", zca=zca, learning_rate=np.array(0.02, np.float32))
    export(stored, "torch", tmp_path / "out.safetensors")
    tensors = load_file(tmp_path / "out.safetensors")
    np.testing.assert_array_equal(tensors["images"], stored.synthetic.images.transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(tensors["pixels"], pixels_of(stored).transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(tensors["labels"], SOFT)
    np.testing.assert_array_equal(tensors["classes"], SOFT.argmax(1))
    assert (tensors["classes"].dtype, tensors["learning_rate"].shape) == (np.int64, ())
    with safe_open(tmp_path / "out.safetensors", "np") as file:
        assert file.metadata() == {"label_kind": "probability", "formation": "1"}
    real = REAL.transpose(0, 3, 1, 2)  # what a user of torch has
    seen = (real - tensors["preprocess/mean"][:, None, None]) / tensors["preprocess/std"][:, None, None]
    if zca:
        flat = seen.reshape(len(seen), -1) - tensors["preprocess/center"]
        seen = (flat @ tensors["preprocess/whiten"]).reshape(seen.shape)
    np.testing.assert_allclose(seen.transpose(0, 2, 3, 1), stored.preprocess.apply(REAL), atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_folder_is_a_data_set_of_8_bit_images(channels, tmp_path):
    labels = np.eye(3, dtype=np.float32).repeat(2, axis=0)
    stored = make(tmp_path / "set", channels=channels, labels=labels, label_kind="class")
    export(stored, "folder", tmp_path / "out")
    names = [str(path.relative_to(tmp_path / "out")) for path in sorted((tmp_path / "out").rglob("*.png"))]
    assert names == [f"{i // 2}_{('ant', 'bee', 'cow')[i // 2]}/{i:06d}.png" for i in range(6)]
    for name, expected in zip(names, pixels_of(stored), strict=True):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.mode == {1: "L", 3: "RGB"}[channels]
            read = np.asarray(picture).reshape(5, 5, channels) / 255
        np.testing.assert_allclose(read, expected, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    "names",
    [
        HOSTILE,
        ["a" * 1000, "é" * 200, "\U0001f600" * 200],
        ["x", "x", "x"],
        ["", " ", "\n"],
        ["\x00", "\ud800", "CON:"],
    ],
    ids=["paths", "long", "equal", "empty", "odd"],
)
def test_class_names_of_a_stranger_stay_inside(names, tmp_path):
    labels = np.eye(3, dtype=np.float32).repeat(2, axis=0)
    inside = tmp_path / "one" / "two"
    inside.mkdir(parents=True)
    export(make(tmp_path / "set", names, labels=labels, label_kind="class"), "folder", inside / "out")
    found = sorted((inside / "out").iterdir())
    assert [path.name[:2] for path in found] == ["0_", "1_", "2_"]
    assert all(len(list(path.glob("*.png"))) == 2 for path in found)
    assert {path.name for path in tmp_path.iterdir()} == {"set", "one"}
    assert [path.name for path in inside.iterdir()] == ["out"]


@pytest.fixture(scope="module")
def tfds():
    with silence():
        pytest.importorskip("tensorflow")
        import tensorflow_datasets
    return tensorflow_datasets


def test_tfds_reads_images_classes_and_soft_labels(tfds, tmp_path, capfd):
    stored = make(tmp_path / "set")
    export(stored, "tfds", tmp_path / "out")
    assert capfd.readouterr() == ("", "")
    assert {path.name for path in tmp_path.iterdir()} == {"set", "out"}
    files = {path.name for path in (tmp_path / "out").rglob("*")}
    assert files == {
        "dataset_info.json",
        "features.json",
        "label.labels.txt",
        "distilled-train.tfrecord-00000-of-00001",
    }
    with silence():
        builder = tfds.builder_from_directory(tmp_path / "out")
        assert builder.info.features["label"].names == ["ant", "bee", "cow"]
        rows = list(builder.as_dataset(split="train").as_numpy_iterator())
    assert len(rows) == 6
    for row, image, soft in zip(rows, pixels_of(stored), SOFT, strict=True):
        np.testing.assert_allclose(row["image"] / 255, image, atol=0.5 / 255 + 1e-6)
        np.testing.assert_array_equal(row["soft_label"], soft)
        assert row["label"] == soft.argmax()


@pytest.mark.parametrize("names", [HOSTILE, ["x", "x", "y"], ["a\nb", "", "c"]], ids=["paths", "equal", "lines"])
def test_tfds_takes_any_class_names(tfds, names, tmp_path):
    export(make(tmp_path / "set", names), "tfds", tmp_path / "out")
    with silence():
        read = tfds.builder_from_directory(tmp_path / "out").info.features["label"].names
    assert len(set(read)) == 3
    assert (read == names) == (names == HOSTILE), "names that TFDS can keep are kept"


def test_what_is_there_is_never_overwritten(tmp_path):
    stored = make(tmp_path / "set")
    (tmp_path / "file").write_text("mine")
    for form in FORMATS:
        with pytest.raises(ArtifactError, match="file exists; choose another --out"):
            export(stored, form, tmp_path / "file")
        with pytest.raises(ArtifactError, match="there is no folder"):
            export(stored, form, tmp_path / "no" / "where")
    with pytest.raises(ArtifactError, match="unknown format 'pickle'; choose one of npz, torch, folder, tfds"):
        export(stored, "pickle", tmp_path / "new")
    assert {path.name for path in tmp_path.iterdir()} == {"set", "file"}
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("form", FORMATS)
def test_a_full_disk_leaves_nothing(form, tmp_path, monkeypatch, request):
    if form == "tfds":
        request.getfixturevalue("tfds")
    stored = make(tmp_path / "set")

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        export(stored, form, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_without_tfds_it_says_how_to_install_it(tmp_path, monkeypatch):
    stored, real = make(tmp_path / "set"), builtins.__import__

    def without(name, *rest):
        if name.startswith("tensorflow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ArtifactError, match=r"pip install 'jaxdistill\[tfds\]'"):
        export(stored, "tfds", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_set_without_tiles_has_none_to_cut_out(tmp_path):
    with pytest.raises(ArtifactError, match="no tiles"):
        export(make(tmp_path / "set"), "npz", tmp_path / "out", decoded=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("form", "decoded"), [("npz", True), ("npz", False), ("folder", False)])
def test_tiles_are_cut_out_where_a_format_cannot_tell_of_them(form, decoded, tmp_path):
    stored = make(tmp_path / "set", formation=2)
    export(stored, form, tmp_path / "out", decoded=decoded)
    if form == "npz":
        arrays = np.load(tmp_path / "out")
        count, formation = len(arrays["images"]), int(arrays["formation"])
    else:
        count, formation = len(list((tmp_path / "out").rglob("*.png"))), 1
    whole = decoded or form == "folder"
    assert count == len(stored.synthetic.images) * (4 if whole else 1)
    assert formation == (1 if whole else 2)
