"""Reading data sets: what is taken, and the one sentence for everything that is not."""

import builtins
import logging
import os
import socket
import time
import warnings

import ml_dtypes
import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from jaxdistill.data.feeds import real_data
from jaxdistill.data.source import DataError, load, silence
from jaxdistill.io.scores import read_scores, save_scores

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 4, 4, 1), dtype=np.uint8)
LABELS = np.arange(12) % 3


def refused(name, data_dir=None):
    """Load what must be refused; returns the one sentence."""
    with pytest.raises(DataError) as caught:
        load(str(name), None if data_dir is None else str(data_dir))
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 400
    return said


def archive(path, **changes):
    """An .npz that is fine but for the changes; None leaves an array out."""
    arrays = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:6], "y_test": LABELS[:6]} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return str(path)


def test_digits_are_divided_class_by_class_into_all_that_there_is():
    source = load("digits")
    assert (source.train_images.shape, source.test_images.shape) == ((1442, 8, 8, 1), (355, 8, 8, 1))
    assert source.train_images.dtype == np.uint8
    assert source.class_names == tuple("0123456789")
    images, labels = load_digits(return_X_y=True)
    for label in range(10):
        own = (images[labels == label].reshape(-1, 8, 8, 1) * (255 / 16)).round()
        np.testing.assert_array_equal(source.test_images[source.test_labels == label], own[4::5])
        train = np.delete(own, np.s_[4::5], axis=0)
        np.testing.assert_array_equal(source.train_images[source.train_labels == label], train)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, np.uint8),
        ({"x_train": IMAGES.astype(np.int64)}, np.uint8),
        ({"x_train": IMAGES[..., 0], "x_test": IMAGES[:6, ..., 0]}, np.uint8),
        ({"x_train": IMAGES / 255, "x_test": IMAGES[:6] / 255}, np.float32),
        ({"y_train": LABELS[:, None], "y_test": LABELS[:6, None].astype(np.uint8)}, np.uint8),
    ],
    ids=["uint8", "int64", "without channels", "float64", "labels [n 1]"],
)
def test_an_npz_is_read_in_its_usual_forms(changes, kind, tmp_path):
    source = load(archive(tmp_path / "mine.npz", **changes))
    assert (source.name, source.class_names) == ("mine", ("0", "1", "2"))
    assert source.train_images.dtype == kind
    scale = 255 if kind == np.float32 else 1
    np.testing.assert_allclose(source.train_images * scale, IMAGES, atol=1e-4)
    np.testing.assert_allclose(source.test_images * scale, IMAGES[:6], atol=1e-4)
    assert (source.train_labels.dtype, source.test_labels.dtype) == (np.int32, np.int32)
    np.testing.assert_array_equal(source.train_labels, LABELS)
    np.testing.assert_array_equal(source.test_labels, LABELS[:6])


NAN = np.where(np.arange(12) == 3, np.nan, 0.5).reshape(12, 1, 1, 1) * np.ones((1, 4, 4, 1))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"y_test": None}, "lacks y_test (it holds x_train, y_train, x_test)"),
        ({"x_train": None, "y_train": None, "images": IMAGES}, "lacks x_train, y_train"),
        ({"x_train": np.array([IMAGES[0], IMAGES[0, :2]], dtype=object)}, "ragged or object"),
        ({"x_train": np.arange(12)}, "shape (12,)"),
        ({"x_train": np.zeros((12, 4, 4, 1, 1))}, "shape (12, 4, 4, 1, 1)"),
        ({"x_train": np.zeros((12, 4, 4, 2))}, "1 or 3 channels last"),
        ({"x_train": np.zeros((12, 3, 4, 4))}, "1 or 3 channels last"),
        ({"x_train": IMAGES[:, :3]}, "4x3; crop or resize them to squares"),
        ({"x_train": IMAGES[:, :3, :3]}, "bring them to one shape"),
        ({"x_train": np.repeat(IMAGES, 3, -1)}, "bring them to one shape"),
        ({"x_train": NAN}, "NaN or infinite"),
        ({"x_train": IMAGES / 1.0}, "scale them to [0, 1]"),
        ({"x_train": IMAGES.astype(int) - 1}, "integers in 0..255"),
        ({"x_train": IMAGES.astype(np.uint16) * 257}, "type uint16"),
        ({"x_train": IMAGES > 9}, "type bool"),
        ({"x_train": IMAGES.astype(str)}, "type <U"),
        ({"x_test": IMAGES[:0], "y_test": LABELS[:0]}, "test images of bad are empty"),
        ({"x_train": IMAGES[:0], "y_train": LABELS[:0]}, "training images of bad are empty"),
        ({"x_train": IMAGES[:, :0, :0], "x_test": IMAGES[:6, :0, :0]}, "empty"),
        ({"y_train": LABELS[:11]}, "training images of bad are 12, but their labels 11"),
        ({"y_test": LABELS}, "test images of bad are 6, but their labels 12"),
        ({"y_train": LABELS - 1}, "labels from -1 to 1"),
        ({"y_train": LABELS / 1.0}, "type float64; give one integer for each image"),
        ({"y_train": LABELS == 1}, "type bool; give one integer for each image"),
        ({"y_train": np.eye(3, dtype=int)[LABELS]}, "shape (12, 3)"),
        ({"y_train": np.where(LABELS == 1, 3, LABELS)}, "lacks class 1"),
        ({"y_train": LABELS + 1}, "lacks class 0"),
        ({"y_train": LABELS + 2_000_000_000 * (LABELS == 2)}, "lacks class 2"),
        ({"y_train": LABELS + 2**40}, "number the classes from 0"),
        ({"y_train": 0 * LABELS, "y_test": 0 * LABELS[:6]}, "at least two are needed"),
        ({"y_test": LABELS[:6] + 2}, "have a label 4, but the classes are 0 to 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_npz_that_cannot_be_used_is_one_sentence(changes, says, tmp_path):
    assert says in refused(archive(tmp_path / "bad.npz", **changes))


def test_a_file_that_is_damaged_anywhere_is_one_sentence(tmp_path):
    assert "there is no file" in refused(tmp_path / "none.npz")
    path = tmp_path / "cut.npz"
    for save in (np.savez, np.savez_compressed):
        save(path, x_train=IMAGES, y_train=LABELS, x_test=IMAGES, y_test=LABELS)
        whole = path.read_bytes()
        for cut in (0, 1, 30, 200, len(whole) // 2, len(whole) - 30, len(whole) - 1):
            path.write_bytes(whole[:cut])
            assert "cut short" in refused(path)
        for start in (0, 40, 150, len(whole) // 2, len(whole) - 100, len(whole) - 30):
            path.write_bytes(whole[:start] + bytes(20) + whole[start + 20 :])
            refused(path)
        path.write_bytes(whole[: len(whole) // 2] + whole[-200:])
        refused(path)
    np.save(path.with_suffix(".npy"), IMAGES)
    path.write_bytes(path.with_suffix(".npy").read_bytes())
    assert "not an .npz file" in refused(path)
    path.write_text("hello")
    assert "not an .npz file" in refused(path)


def picture(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.asarray(pixels))
    (image.convert(mode) if mode else image).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes of six grey images, 4x4, of which the value tells which one it is."""
    for value in range(12):
        picture(tmp_path / "pets" / ("cat", "dog")[value // 6] / f"{value:02d}.png", np.full((4, 4), value, np.uint8))
    return tmp_path / "pets"


def test_a_folder_gives_every_fifth_image_of_a_class_to_testing(folder):
    (folder / ".cache").mkdir()
    (folder / "cat" / ".hidden.png").write_text("of a file browser")
    (folder / "cat" / "notes.txt").write_text("not an image")
    (folder / "dog" / "nested.png").mkdir()
    source = load(str(folder))
    assert (source.name, source.class_names) == ("pets", ("cat", "dog"))
    assert source.train_images.shape == (10, 4, 4, 1)
    assert source.train_images[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 5, 6, 7, 8, 9, 11]
    assert source.test_images[:, 0, 0, 0].tolist() == [4, 10]
    assert source.train_labels.tolist() == [0] * 5 + [1] * 5
    assert source.test_labels.tolist() == [0, 1]


def test_a_folder_may_bring_its_own_test_images(folder, tmp_path):
    both = tmp_path / "both"
    both.mkdir()
    folder.rename(both / "train")
    picture(both / "test" / "dog" / "a.PNG", np.full((4, 4), 99, np.uint8))
    source = load(str(both))
    assert source.train_images[:, 0, 0, 0].tolist() == list(range(12))
    assert (source.test_images[:, 0, 0, 0].tolist(), source.test_labels.tolist()) == ([99], [1])
    picture(both / "test" / "cow" / "a.png", np.zeros((4, 4), np.uint8))
    assert "cow has no counterpart" in refused(both)


def test_every_kind_of_picture_becomes_8_bits_of_grey_or_colour(folder):
    deep = (np.arange(16, dtype=np.uint16) * 4369).reshape(4, 4)
    picture(folder / "cat" / "06.png", deep)
    picture(folder / "cat" / "07.png", np.eye(4) > 0)
    glyph = np.zeros((4, 4, 2), np.uint8)  # black ink, of which alpha alone knows the shape
    glyph[1, 2, 1] = 255
    picture(folder / "cat" / "08.png", glyph)
    grey = load(str(folder))
    assert grey.train_images.shape[-1] == 1
    cats = {i: image[..., 0] for i, image in zip((0, 1, 2, 3, 5, 6, 7, 8), grey.train_images, strict=False)}
    np.testing.assert_array_equal(cats[6], (deep / 257).round())
    np.testing.assert_array_equal(cats[7], 255 * np.eye(4))
    np.testing.assert_array_equal(cats[8] == 0, glyph[..., 1] == 255)

    red = np.zeros((4, 4, 4), np.uint8)
    red[:, :2] = 255, 0, 0, 255
    picture(folder / "dog" / "12.png", red)
    picture(folder / "dog" / "13.png", red[..., :3], "P")
    mixed = load(str(folder))
    assert mixed.train_images.shape == (15, 4, 4, 3)
    np.testing.assert_array_equal(mixed.train_images[4], np.full((4, 4, 3), 5))
    np.testing.assert_array_equal(mixed.train_images[-2][0], [[255, 0, 0]] * 2 + [[255] * 3] * 2)
    np.testing.assert_array_equal(mixed.train_images[-1][0], [[255, 0, 0]] * 2 + [[0] * 3] * 2)


def test_a_folder_that_cannot_be_used_is_one_sentence(folder, tmp_path):
    def bad(name, content):
        path = folder / "dog" / name
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
        said = refused(folder)
        path.unlink()
        assert name in said
        return said

    whole = (folder / "dog" / "06.png").read_bytes()
    for cut in (0, 4, 20, 40, 50):
        assert "cannot be read as an image" in bad("broken.png", whole[:cut])
    assert "cannot be read as an image" in bad("broken.jpg", b"hello")
    assert "5x4 but" in bad("wide.png", lambda path: picture(path, np.zeros((4, 5), np.uint8)))
    assert "8 or 16 bits" in bad("float.tif", lambda path: picture(path, np.zeros((4, 4), np.float32)))

    assert "there is no data set or folder" in refused(tmp_path / "none")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "has no sub-folders" in refused(empty)
    (empty / "cat").mkdir()
    assert "hold no images" in refused(empty)
    picture(empty / "cat" / "0.png", np.zeros((4, 4), np.uint8))
    assert "add some" in refused(empty)
    for i in range(1, 6):
        picture(empty / "cat" / f"{i}.png", np.zeros((4, 4), np.uint8))
    assert "at least two" in refused(empty)
    (empty / "dog").mkdir()
    assert "class dog of empty has no training images" in refused(empty)


def test_silence_covers_every_way_to_make_noise_and_lets_errors_through(capfd):
    handler = logging.StreamHandler()
    logger = logging.getLogger("noisy")
    logger.addHandler(handler)

    @silence()
    def noisy():
        print("out")
        os.write(2, b"noise")
        logger.error("logged")
        warnings.warn("warned", stacklevel=1)
        raise DataError("through")

    with pytest.raises(DataError, match="through"):
        noisy()
    assert capfd.readouterr() == ("", "")
    logger.error("again")
    print("out again")
    os.write(2, b"raw again")
    logger.removeHandler(handler)
    said = capfd.readouterr()
    assert said.out == "out again\n"
    assert "again" in said.err
    assert "raw again" in said.err


def test_silence_works_without_a_standard_error(monkeypatch, tmp_path):
    monkeypatch.setattr("sys.stderr", None)

    @silence()
    def noisy():
        os.write(2, b"noise")
        raise DataError("through")

    kept = os.dup(2)
    os.close(2)
    try:
        for _ in range(2):
            with pytest.raises(DataError, match="through"):
                noisy()
        with (tmp_path / "next").open("wb") as file:
            assert file.fileno() != 2, "what is written to standard error would end in this file"
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def test_without_tfds_a_name_says_how_to_install_it(monkeypatch):
    real = builtins.__import__

    def without(name, *rest):
        if name.startswith("tensorflow"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install 'jaxdistill[tfds]'" in refused("mnist")


def unreachable(*_):
    raise OSError(-2, "Name or service not known")


@pytest.fixture(scope="module")
def tfds():
    """TFDS, of which nothing is ever downloaded."""
    with silence():
        pytest.importorskip("tensorflow")
        import tensorflow_datasets

    tensorflow_datasets.disable_progress_bar()
    patch = pytest.MonkeyPatch()
    patch.setattr(socket, "getaddrinfo", unreachable)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        patch.delenv(name, raising=False)
        patch.delenv(name.upper(), raising=False)
    yield tensorflow_datasets
    patch.undo()


def prepare(tfds, path, name="tiny_set", splits=("train", "test"), ids=str, **features):
    """A data set prepared by TFDS itself, with shuffling and a feature that nobody needs."""
    kinds = {
        "image": tfds.features.Image(shape=(4, 4, 1), encoding_format="png"),
        "label": tfds.features.ClassLabel(names=["ant", "bee", "cow"]),
        "id": tfds.features.Text(),
    } | features
    rows = [(i, {"image": IMAGES[i], "label": LABELS[i], "id": ids(i)}) for i in range(12)]
    rows = [(i, {key: value for key, value in row.items() if kinds[key] is not None}) for i, row in rows]
    with silence():
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version="1.2.3",
            features=tfds.features.FeaturesDict({key: kind for key, kind in kinds.items() if kind is not None}),
            split_datasets={split: rows[: 12 if split == "train" else 6] for split in splits},
            data_dir=path,
        )
    return path


def test_a_prepared_data_set_is_read_by_name(tfds, tmp_path, capfd):
    prepare(tfds, tmp_path)
    for name in ("tiny_set", "tiny_set:1.2.3"):
        source = load(name, str(tmp_path))
        assert (source.name, source.class_names) == ("tiny_set", ("ant", "bee", "cow"))
        for images, labels, count in (
            (source.train_images, source.train_labels, 12),
            (source.test_images, source.test_labels, 6),
        ):
            assert images.dtype == np.uint8
            order = [next(i for i in range(12) if np.array_equal(IMAGES[i], image)) for image in images]
            assert sorted(order) == list(range(count))
            np.testing.assert_array_equal(labels, LABELS[order])
    assert capfd.readouterr() == ("", "")


def test_a_validation_split_serves_for_testing(tfds, tmp_path):
    prepare(tfds, tmp_path, splits=("train", "validation"))
    assert len(load("tiny_set", str(tmp_path)).test_labels) == 6


def test_a_data_set_of_another_kind_is_one_sentence(tfds, tmp_path):
    prepare(tfds, tmp_path, "lone", splits=("train",))
    prepare(tfds, tmp_path, "blind", image=None)
    prepare(tfds, tmp_path, "loose", label=tfds.features.Scalar(np.int64))
    prepare(tfds, tmp_path, "any_size", image=tfds.features.Image(shape=(None, None, 1)))
    for name in ("lone", "blind", "loose"):
        assert "not an image classification data set" in refused(name, tmp_path)
    assert "differ in size" in refused("any_size", tmp_path)


def test_a_damaged_data_set_is_one_sentence(tfds, tmp_path, capfd):
    (records,) = prepare(tfds, tmp_path).glob("tiny_set/1.2.3/*train*")
    whole = records.read_bytes()
    for damage in (whole[: len(whole) // 2], whole[:200] + b"xxxx" + whole[204:], b""):
        records.write_bytes(damage)
        assert "damaged" in refused("tiny_set", tmp_path)
    records.unlink()
    assert "damaged" in refused("tiny_set", tmp_path)
    (tmp_path / "tiny_set/1.2.3/dataset_info.json").write_text("{")
    assert "cannot be opened" in refused("tiny_set", tmp_path)
    assert capfd.readouterr() == ("", "")


def test_what_cannot_be_had_fails_in_seconds_with_advice(tfds, tmp_path, capfd):
    began = time.monotonic()
    assert "did you mean mnist" in refused("mnsit", tmp_path)
    assert "jaxdistill list" in refused("quite_unheard_of_zzz", tmp_path)
    said = refused("mnist", tmp_path)
    assert "cannot be downloaded ([Errno -2] Name or service not known)" in said
    assert "`data_dir`" in said
    assert "cannot be opened" in refused("mnist:9.9.9", tmp_path)
    for name in ("huggingface:mnist", "someone:evil", "mnist/x=1", "", "no/such/folder"):
        assert "no data set or folder" in refused(name, tmp_path)
    assert time.monotonic() - began < 30
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_pictures_lie_as_deep_as_they_like_and_what_is_left_out_is_said(tmp_path):
    for split in ("train", "val"):
        for value, name in enumerate("ab"):
            for i in range(3):
                picture(
                    tmp_path / "tiny" / split / name / "images" / f"{i}.JPEG", np.full((8, 8), 90 * value, np.uint8)
                )
            (tmp_path / "tiny" / split / name / "boxes.txt").write_text("")
    picture(tmp_path / "tiny" / "train" / "b" / "more" / "deep" / "x.png", np.full((8, 8), 200, np.uint8))
    picture(tmp_path / "tiny" / "train" / "b" / ".hidden" / "y.png", np.full((8, 8), 200, np.uint8))
    picture(tmp_path / "tiny" / "test" / "images" / "z.JPEG", np.zeros((8, 8), np.uint8))  # whose class nobody says
    picture(tmp_path / "tiny" / "train" / "loose.png", np.zeros((8, 8), np.uint8))
    (tmp_path / "tiny" / "words.txt").write_text("")
    source = load(str(tmp_path / "tiny"))
    assert source.train_labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert source.test_labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert source.train_images[-1].max() == 200
    assert source.train_ids.tolist() == [
        b"a/images/0.JPEG", b"a/images/1.JPEG", b"a/images/2.JPEG", b"b/images/0.JPEG", b"b/images/1.JPEG",
        b"b/images/2.JPEG", b"b/more/deep/x.png",
    ]  # fmt: skip
    said = source.summary()
    assert "read 7 training and 6 test images (8x8x1) of 2 classes" in said
    assert "left out: 5 .txt, .png outside of the classes, test/" in said


def test_tiny_imagenets_own_validation_images(tmp_path):
    for value, name in enumerate(("n01", "n02")):
        picture(tmp_path / "train" / name / "images" / "0.png", np.full((4, 4), value, np.uint8))
        picture(tmp_path / "val" / "images" / f"val_{value}.png", np.full((4, 4), value, np.uint8))
    notes = tmp_path / "val" / "val_annotations.txt"
    notes.write_text("val_1.png\tn02\t0\t0\t4\t4\nval_0.png\tn01\t0\t0\t4\t4\n")
    source = load(str(tmp_path))
    assert source.test_labels.tolist() == source.test_images[:, 0, 0, 0].tolist() == [1, 0]
    notes.write_text("val_1.png\tn03\t0\t0\t4\t4\n")
    assert "names a class 'n03' that is not in training" in refused(tmp_path)
    notes.unlink()
    assert "does not say the classes of its images" in refused(tmp_path)


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation", "Val", "testing"])
def test_a_split_for_testing_has_many_names(name, folder, tmp_path):
    both = tmp_path / "both"
    both.mkdir()
    folder.rename(both / "train")
    picture(both / name / "dog" / "a.png", np.full((4, 4), 99, np.uint8))
    source = load(str(both))
    assert (source.train_images.shape[0], source.test_images[:, 0, 0, 0].tolist()) == (12, [99])
    assert f"(train and {name})" in source.summary()


def test_a_folder_with_train_alone_is_divided_and_a_class_may_be_called_so(folder, tmp_path):
    (tmp_path / "alone").mkdir()
    folder.rename(tmp_path / "alone" / "train")
    source = load(str(tmp_path / "alone"))
    assert (len(source.train_labels), len(source.test_labels), source.class_names) == (10, 2, ("cat", "dog"))
    for name in ("car", "train"):
        for i in range(5):
            picture(tmp_path / "traffic" / name / f"{i}.png", np.full((4, 4), i, np.uint8))
    assert load(str(tmp_path / "traffic")).class_names == ("car", "train")


@pytest.mark.parametrize("ending", ["ppm", "pgm", "bmp", "tif", "gif", "tga", "pcx", "PNG"])
def test_every_format_of_pillow_is_read(ending, tmp_path):
    for value in range(10):
        picture(tmp_path / "ab"[value % 2] / f"{value}.{ending}", np.full((4, 4), 20 * value, np.uint8))
    source = load(str(tmp_path))
    assert source.train_images.max(axis=(1, 2, 3)).tolist() == [0, 40, 80, 120, 20, 60, 100, 140]


def test_pictures_are_the_way_up_that_viewers_show(folder):
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4) * 10
    for orientation, shown in ((3, pixels[::-1, ::-1]), (6, np.rot90(pixels, -1)), (8, np.rot90(pixels)), (1, pixels)):
        exif = Image.Exif()
        exif[0x0112] = orientation
        Image.fromarray(pixels).save(folder / "cat" / "00.png", exif=exif)
        np.testing.assert_array_equal(load(str(folder)).train_images[0, ..., 0], shown)


def test_dark_images_are_told(tmp_path):
    said = load(archive(tmp_path / "dark.npz", x_train=IMAGES // 255, x_test=IMAGES[:6] // 255)).summary()
    assert "whose largest value is" in said
    assert "of 255" in said
    assert "largest" not in load(archive(tmp_path / "plain.npz", x_val=IMAGES)).summary()
    assert "left out: x_val" in load(str(tmp_path / "plain.npz")).summary()


def test_without_a_test_split_every_fifth_image_of_a_class_is_for_testing_and_that_is_said(tmp_path):
    images = np.arange(20 * 16, dtype=np.int64).reshape(20, 4, 4).astype(np.uint8)
    np.savez(tmp_path / "alone.npz", x_train=images, y_train=np.arange(20) % 2)
    source = load(str(tmp_path / "alone.npz"))
    np.testing.assert_array_equal(source.test_images[..., 0], images[[8, 9, 18, 19]])
    assert "every fifth image of a class is for testing, since there is no test split" in source.summary()
    assert "every fifth" not in load("digits").summary()


def test_types_that_numpy_lacks_are_named(tmp_path):
    small = (IMAGES / 255).astype(ml_dtypes.bfloat16)
    said = refused(archive(tmp_path / "small.npz", x_train=small, x_test=small[:6]))
    assert "bfloat16" in said
    assert "float32 in [0, 1]" in said


def test_labels_of_any_integer_type_are_counted(tmp_path, monkeypatch):
    counted = np.bincount

    def older(labels, **options):  # as NumPy 1.26 has it
        if not np.can_cast(labels.dtype, np.intp, "safe"):
            raise TypeError("Cannot cast array data")
        return counted(labels, **options)

    monkeypatch.setattr(np, "bincount", older)
    labels = LABELS.astype(np.uint64)
    source = load(archive(tmp_path / "mine.npz", y_train=labels, y_test=labels[:6]))
    assert source.train_labels.tolist() == LABELS.tolist()
    data = real_data(IMAGES, labels, 3, np.ones(1), np.zeros(1))
    assert data.counts.tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("id", "order"),
    [(lambda i: f"train_{i:05d}", True), (lambda i: "same", False), (None, False)],
    ids=["numbers", "same", "none"],
)
def test_images_of_tfds_keep_their_ids(id, order, tfds, tmp_path):
    kinds = {"id": None} if id is None else {}
    kept = prepare(tfds, tmp_path, ids=id or str, **kinds)
    source = load("tiny_set", str(kept))
    numbers = [next(i for i in range(12) if np.array_equal(IMAGES[i], image)) for image in source.train_images]
    assert not source.in_order
    assert len(set(source.train_ids.tolist())) == 12
    np.save(tmp_path / "scores.npy", np.arange(12.0))
    if order:
        assert source.train_ids.tolist() == [b"train_%05d" % i for i in numbers]
        np.testing.assert_array_equal(read_scores(tmp_path / "scores.npy", source), numbers)
    else:
        with pytest.raises(DataError.__base__, match="cannot be told"):
            read_scores(tmp_path / "scores.npy", source)
        save_scores(tmp_path / "scores.npz", np.arange(12.0), source)
        np.testing.assert_array_equal(read_scores(tmp_path / "scores.npz", source), np.arange(12))
