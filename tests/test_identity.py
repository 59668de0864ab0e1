"""What is matched with what: data with runs, sets, experts and generators made of them, and scores with images."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import refused

from jaxdistill.augment import for_dataset
from jaxdistill.cli import main
from jaxdistill.common import names
from jaxdistill.data.check import Source
from jaxdistill.data.digest import Digests, digests_of, mismatch, stored_digests
from jaxdistill.data.prepared import check_dataset
from jaxdistill.data.source import load
from jaxdistill.errors import UsageError
from jaxdistill.io.scores import read_scores, save_scores
from jaxdistill.methods import METHOD_NAMES
from jaxdistill.networks import full_name
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find
from jaxdistill.settings.as_json import from_json
from jaxdistill.settings.cell import named
from jaxdistill.settings.config import Distill, RunConfig
from jaxdistill.settings.paths import absolute, place

RNG = np.random.default_rng(0)
LABELS = np.arange(24) % 3
IMAGES = (RNG.integers(0, 60, (24, 8, 8)) + 60 * LABELS[:, None, None]).astype(np.uint8)
ARRAYS = {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[::2], "y_test": LABELS[::2]}
OTHER = {
    "train_images": {"x_train": IMAGES[:, ::-1]},
    "train_labels": {"y_train": np.roll(LABELS, 1)},
    "test_images": {"x_test": IMAGES[1::2]},
    "test_labels": {"y_test": np.roll(LABELS[::2], 1)},
}
WORDS = {
    "train_images": "the training images",
    "train_labels": "the labels of the training images",
    "test_images": "the test images",
    "test_labels": "the labels of the test images",
}
SHORT = ["--ipc", "1", "--eval-seeds", "0", "--quiet"]
SMALL = ["--network", "mlp", "--width", "8"]
SIZES = ["--patch-size", "4", "--hidden-size", "16", "--num-layers", "1", "--num-heads", "2", "--diffusion-steps", "10"]
DRAWN = [*SHORT, *SIZES, "--sampling-steps", "2", "--steps", "1", "--warmup", "1"]


def archive(path, **changes):
    np.savez(path, **{**ARRAYS, **changes})
    return path


def pictures(folder, names, count=6):
    """A class of pictures for each name; the first class is dark whatever it is called."""
    for label, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(np.full((8, 8), 90 * label + i, np.uint8)).save(folder / name / f"{i}.png")
    return folder


def source(**changes):
    images = IMAGES[..., None]
    plain = Source("mine", images, LABELS.astype(np.int32), images[::2], LABELS[::2].astype(np.int32), ("a", "b", "c"))
    return plain._replace(**changes)


def test_each_part_of_the_data_has_a_digest_of_its_own():
    first = digests_of(source())
    assert digests_of(source()) == first
    changes = {
        "train_images": {
            "train_images": IMAGES[..., None] + (np.arange(24) == 5).astype(np.uint8)[:, None, None, None]
        },
        "train_labels": {"train_labels": np.roll(LABELS, 1)},
        "test_images": {"test_images": IMAGES[1::2, ..., None]},
        "test_labels": {"test_labels": np.roll(LABELS[::2], 1)},
        "class_names": {"class_names": ("a", "c", "b")},
    }
    for part, change in changes.items():
        other = digests_of(source(**change))
        assert [name for name in changes if getattr(other, name) != getattr(first, name)] == [part]
    same_bytes = IMAGES.reshape(24, 4, 16, 1)
    assert digests_of(source(train_images=same_bytes)).train_images != first.train_images, "the shape belongs to it"
    assert digests_of(source(train_images=IMAGES[..., None].view(np.int8))).train_images != first.train_images
    assert (
        digests_of(source(class_names=("a\nb", "c"))).class_names
        != digests_of(source(class_names=("a", "b\nc"))).class_names
    )


def test_a_mismatch_names_the_first_class_or_the_part():
    ours, names = digests_of(source()), ["a", "b", "c"]
    said = {"digests": dataclasses.asdict(ours), "class_names": names}
    assert mismatch(said, ours, names) == ""
    renamed = digests_of(source(class_names=("a", "x", "c")))
    assert mismatch(said, renamed, ["a", "x", "c"]) == "class 1 was 'b' and is 'x' here"
    turned = digests_of(source(train_labels=np.roll(LABELS, 1)))
    assert mismatch(said, turned, names) == "the labels of the training images differ"
    tested = digests_of(source(test_images=IMAGES[1::2, ..., None]))
    assert mismatch(said, tested, names) == ""
    assert mismatch(said, tested, names, test=True) == "the test images differ"


@pytest.mark.parametrize("card", [{}, {"digests": None}, {"digests": {}}, {"digests": ["x"]}, {"digests": {"x": 1}}])
def test_a_card_that_does_not_know_its_data_fits_all_but_its_own_classes_in_another_order(card):
    ours = digests_of(source())
    assert stored_digests(card) == Digests()
    assert mismatch(card, ours, ["a", "b", "c"], test=True) == ""
    assert mismatch({**card, "class_names": ["x", "y", "z"]}, ours, ["a", "b", "c"]) == ""
    assert (
        mismatch({**card, "class_names": ["a", "c", "b"]}, ours, ["a", "b", "c"]) == "class 1 was 'c' and is 'b' here"
    )
    assert mismatch({**card, "class_names": 5}, ours, ["a", "b", "c"]) == ""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run, a selection, a bank and a generator of one file."""
    folder = tmp_path_factory.mktemp("made")
    data = ["--dataset", str(archive(folder / "mine.npz"))]
    assert main(["distill", "dm", *data, *SHORT, *SMALL, "--steps", "2", "--out", str(folder / "run")]) == 0
    assert main(["select", "random", *data, *SHORT, "--out", str(folder / "core")]) == 0
    bank = ["experts", *data, *SMALL, "--count", "1", "--epochs", "2", "--quiet", "--out", str(folder / "bank")]
    assert main(bank) == 0
    assert main(["distill", "dit", *data, *DRAWN, "--out", str(folder / "dit")]) == 0
    return folder


@pytest.fixture
def copy(made, tmp_path):
    """The same, to be changed."""
    for name in ("run", "core", "bank", "dit"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    """Files of which one part differs."""
    folder = tmp_path_factory.mktemp("others")
    return {part: archive(folder / f"{part}.npz", **changes) for part, changes in OTHER.items()}


def test_cards_say_which_data(made):
    archive_digests = None
    for card in ("run/set", "core/set", "bank", "dit/generator"):
        said = json.loads((made / card / "card.json").read_text())
        assert said["class_names"] == ["0", "1", "2"]
        assert all(len(text) == 64 for text in dataclasses.asdict(stored_digests(said)).values())
        archive_digests = archive_digests or stored_digests(said)
        assert stored_digests(said) == archive_digests
    for run in ("run", "core"):
        config = from_json(json.loads((made / run / "config.json").read_text()), RunConfig(made))
        assert config.data.digests == archive_digests


@pytest.mark.parametrize("part", OTHER)
def test_a_run_is_not_resumed_on_data_that_changed(part, made, copy, others, capsys):
    mine = made / "mine.npz"
    kept = mine.read_bytes()
    try:
        shutil.copy(others[part], mine)
        for command in (["distill", "dm"], ["select", "random"]):
            run = "run" if command[0] == "distill" else "core"
            said = refused(capsys, [*command, "--resume", "--out", str(copy / run)], copy)
            assert f"was begun with other data ({WORDS[part]} differ)" in said
            assert "--other-data" in said
        meant = copy / "meant"
        shutil.copytree(copy / "run", meant)
        assert main(["distill", "dm", "--resume", "--quiet", "--other-data", "--out", str(meant)]) == 0
        capsys.readouterr()
        if part.startswith("train"):
            said = refused(capsys, ["experts", "--resume", "--count", "2", "--out", str(copy / "bank")], copy)
            assert f"holds experts of other data ({WORDS[part]} differ)" in said
    finally:
        mine.write_bytes(kept)
    assert main(["distill", "dm", "--resume", "--quiet", "--out", str(copy / "run")]) == 0
    assert main(["experts", "--resume", "--quiet", "--count", "1", "--out", str(copy / "bank")]) == 0


@pytest.mark.parametrize("part", OTHER)
def test_a_set_is_judged_on_its_own_data_unless_others_are_meant(part, made, others, tmp_path, capsys):
    words = ["evaluate", str(made / "run"), "--dataset", str(others[part]), "--epochs", "1", "--seeds", "1"]
    said = refused(capsys, words, tmp_path)
    assert f"run was not made for these data ({WORDS[part]} differ)" in said
    assert "--other-data" in said
    assert main([*words, "--other-data"]) == 0


def test_classes_in_another_order_are_named(tmp_path, capsys):
    pets = pictures(tmp_path / "pets", ["cat", "dog"])
    assert main(["select", "random", "--dataset", str(pets), *SHORT, "--out", str(tmp_path / "run")]) == 0
    shutil.copytree(pets, tmp_path / "renamed")
    (tmp_path / "renamed" / "cat").rename(tmp_path / "renamed" / "zebra")
    capsys.readouterr()
    words = ["evaluate", str(tmp_path / "run"), "--dataset", str(tmp_path / "renamed"), "--seeds", "1", "--epochs", "1"]
    assert "class 0 was 'cat' and is 'dog' here" in refused(capsys, words, tmp_path)
    (pets / "cat").rename(pets / "zebra")
    words = ["select", "random", "--resume", "--out", str(tmp_path / "run")]
    assert "the class names differ" in refused(capsys, words, tmp_path)


def test_what_older_versions_wrote_is_taken(made, copy, others, capsys):
    path = copy / "run" / "set" / "card.json"
    card = json.loads(path.read_text())
    del card["digests"]
    path.write_text(json.dumps(card))
    words = ["--dataset", str(others["train_images"])]
    assert main(["evaluate", str(copy / "run"), *words, "--epochs", "1", "--seeds", "1"]) == 0
    config = json.loads((copy / "run" / "config.json").read_text())
    del config["data"]["digests"]
    (copy / "run" / "config.json").write_text(json.dumps(config))
    assert main(["distill", "dm", "--resume", "--quiet", "--out", str(copy / "run")]) == 0
    capsys.readouterr()


def test_a_bank_with_one_digest_of_images_and_labels_is_still_compared(copy, others, made, capsys):
    from jaxdistill.data.digest import digest_of

    path = copy / "bank" / "card.json"
    card = json.loads(path.read_text())
    first = digest_of({"images": IMAGES[..., None], "labels": LABELS.astype(np.int64)})
    card["digests"] = {"preprocess": card["digests"]["preprocess"], "train": first}
    del card["class_names"]
    path.write_text(json.dumps(card))
    words = ["select", "labelled", *SHORT, "--experts", str(copy / "bank"), "--out", str(copy / "new"), "--dataset"]
    for part in ("train_images", "train_labels"):
        assert "were trained on other images" in refused(capsys, [*words, str(others[part])], copy)
    assert main([*words, str(made / "mine.npz")]) == 0


@pytest.mark.parametrize("part", ["train_images", "train_labels"])
def test_starts_experts_and_generators_of_other_data_are_refused(part, made, others, tmp_path, capsys):
    data, out = ["--dataset", str(others[part])], ["--out", str(tmp_path / "new")]
    begun = ["distill", "dm", *data, *SHORT, *SMALL, "--steps", "1", "--init", str(made / "run"), *out]
    said = refused(capsys, begun, tmp_path)
    assert f"was made for other data ({WORDS[part]} differ)" in said
    assert "--other-data" in said
    words = ["select", "labelled", *data, *SHORT, "--experts", str(made / "bank"), *out]
    assert f"({WORDS[part]} differ)" in refused(capsys, words, tmp_path)
    assert main([*words, "--other-data"]) == 0
    capsys.readouterr()
    shutil.rmtree(tmp_path / "new")
    drawn = ["distill", "dit", *data, *SHORT, "--steps", "0", "--generator", str(made / "dit"), *out]
    drawn += ["--sampling-steps", "2"]
    said = refused(capsys, drawn, tmp_path)
    assert f"was trained on other data ({WORDS[part]} differ)" in said
    assert "--class-ids" in said
    assert main([*begun, "--other-data"]) == 0
    shutil.rmtree(tmp_path / "new")
    assert main([*drawn, "--class-ids", "2", "0", "1"]) == 0


def test_sets_of_one_data_set_that_was_moved_are_judged_together(made, tmp_path, capsys):
    moved = tmp_path / "moved.npz"
    shutil.copy(made / "mine.npz", moved)
    assert main(["select", "herding", "--dataset", str(moved), *SHORT, "--out", str(tmp_path / "core")]) == 0
    words = ["evaluate", str(tmp_path / "core"), str(made / "run"), "--epochs", "1", "--seeds", "1", *SMALL]
    assert main(words) == 0
    capsys.readouterr()


def test_a_relative_path_means_the_same_file_from_elsewhere(tmp_path, monkeypatch, capsys):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    archive(here / "mine.npz")
    archive(there / "mine.npz", **OTHER["train_images"])
    monkeypatch.chdir(here)
    assert main(["select", "random", "--dataset", "mine.npz", *SHORT, "--out", str(tmp_path / "core")]) == 0
    start = ["--init", "../core", "--steps", "1", *SMALL]
    assert main(["distill", "dm", "--dataset", "mine.npz", *SHORT, *start, "--out", str(tmp_path / "run")]) == 0
    monkeypatch.chdir(there)
    assert main(["select", "random", "--resume", "--quiet", "--out", str(tmp_path / "core")]) == 0
    assert main(["distill", "dm", "--resume", "--quiet", "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "core"), "--epochs", "1", "--seeds", "1"]) == 0
    capsys.readouterr()
    said = refused(
        capsys, ["select", "random", "--resume", "--dataset", "mine.npz", "--out", str(tmp_path / "core")], there
    )
    assert "dataset differ" in said


def test_paths_are_absolute_and_names_stay_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "pets").mkdir()
    assert place("cifar10") == "cifar10"
    assert place("imagenet_resized/64x64:0.1.0") == "imagenet_resized/64x64:0.1.0"
    assert place("") == ""
    for name, found in (
        ("pets", "pets"),
        ("./pets", "pets"),
        ("~/pets", "pets"),
        ("a/../no.npz", "no.npz"),
        ("~/x.npz", "x.npz"),
    ):
        assert place(name) == str(tmp_path / found)
    plain = {
        "command": "distill", "method": {"name": "dm"}, "ipc": 1, "steps": 1, "init": "pets",
        "data": {"dataset": "pets", "data_dir": "~/tfds"}, "bank": {"experts": "E"}, "basis": {"scores": "s.npy"},
        "generator": {"generator": "G"},
    }  # fmt: skip
    config = absolute(from_json(plain, RunConfig(Path("out"))))
    assert isinstance(config, Distill)
    assert (config.data.dataset, config.data.data_dir, config.init) == (
        str(tmp_path / "pets"), str(tmp_path / "tfds"), str(tmp_path / "pets")
    )  # fmt: skip
    assert [config.bank.experts, config.basis.scores, config.generator.generator] == [
        tmp_path / x for x in ("E", "s.npy", "G")
    ]
    assert config.run.out == Path("out")
    assert absolute(config) == config


SCORES = RNG.permutation(24).astype(float)
ORDER = RNG.permutation(24)
"""Which image of the original order each one is, as TFDS shuffles them."""
NUMBERED = np.array([b"train_%05d" % i for i in ORDER])
PLACES = np.array([b"mine-train.tfrecord-00000-of-00001__%d" % i for i in range(24)])


def shuffled(ids):
    """As a data set of TFDS is read."""
    return source(train_labels=LABELS[ORDER].astype(np.int32), train_ids=ids, in_order=False)


def given(tmp_path, **arrays):
    np.savez(tmp_path / "scores.npz", **arrays)
    return tmp_path / "scores.npz"


def test_scores_in_the_original_order_are_put_into_that_of_the_data(tmp_path):
    np.save(tmp_path / "scores.npy", SCORES)
    for path in (tmp_path / "scores.npy", given(tmp_path, scores=SCORES), given(tmp_path, anything=SCORES)):
        np.testing.assert_array_equal(read_scores(path, shuffled(NUMBERED)), SCORES[ORDER])
        np.testing.assert_array_equal(read_scores(path, source()), SCORES)
    labelled = given(tmp_path, scores=SCORES, labels=LABELS)
    np.testing.assert_array_equal(read_scores(labelled, shuffled(NUMBERED)), SCORES[ORDER])
    np.testing.assert_array_equal(read_scores(labelled, source()), SCORES)


def test_scores_whose_images_cannot_be_told_are_refused(tmp_path):
    np.save(tmp_path / "scores.npy", SCORES)
    for path in (tmp_path / "scores.npy", given(tmp_path, scores=SCORES)):
        for unknown in (PLACES, NUMBERED[[*range(23), 0]], None):
            with pytest.raises(UsageError, match="cannot be told, since TFDS shuffles mine"):
                read_scores(path, shuffled(unknown))
    labelled = given(tmp_path, scores=SCORES, labels=LABELS[ORDER])
    np.testing.assert_array_equal(read_scores(labelled, shuffled(PLACES)), SCORES)


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        (
            {"scores": SCORES, "labels": np.roll(LABELS, 1)},
            "the labels in .* are those of 0 of 24 training images of mine",
        ),
        ({"scores": SCORES, "labels": np.where(np.arange(24) == 7, 0, LABELS)}, "are those of 23 of 24"),
        ({"scores": SCORES, "labels": LABELS[:5]}, "has 5 labels for 24 scores"),
        ({"scores": SCORES, "ids": np.arange(23)}, "has 23 ids for 24 scores"),
        ({"scores": SCORES, "ids": np.arange(24) + 1}, "ids in .* are not those of the training images"),
        ({"scores": SCORES, "ids": np.zeros(24, int)}, "ids in .* are not those of the training images"),
        ({"scores": SCORES, "ids": PLACES}, "by ids, and those of mine have none"),
        ({"labels": LABELS}, "does not say which of its arrays are scores .it holds none"),
        ({"one": SCORES, "two": SCORES}, "does not say which of its arrays are scores .it holds one, two"),
        ({"scores": SCORES.astype(str)}, "cannot be read .their type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_scores_of_other_images_are_refused(arrays, says, tmp_path):
    with pytest.raises(UsageError, match=says):
        read_scores(given(tmp_path, **arrays), source())


@pytest.mark.parametrize("kind", ["S", "U"])
def test_ids_say_whose_scores_they_are(kind, tmp_path):
    mixed = RNG.permutation(24)
    for ids in (NUMBERED, PLACES):
        data = shuffled(ids)
        path = given(tmp_path, scores=SCORES[mixed], ids=ids.astype(kind)[mixed], labels=data.train_labels[mixed])
        np.testing.assert_array_equal(read_scores(path, data), SCORES)
        wrong = given(tmp_path, scores=SCORES[mixed], ids=ids.astype(kind)[mixed], labels=data.train_labels)
        with pytest.raises(UsageError, match="the labels in"):
            read_scores(wrong, data)
    path = given(tmp_path, scores=SCORES[mixed], ids=mixed)
    np.testing.assert_array_equal(read_scores(path, shuffled(NUMBERED)), SCORES[ORDER])
    np.testing.assert_array_equal(read_scores(path, source()), SCORES)


@pytest.mark.parametrize("ids", [None, NUMBERED, PLACES], ids=["no ids", "numbers", "places"])
def test_scores_that_are_written_are_read_again(ids, tmp_path):
    for data in (shuffled(ids), source(train_ids=ids)):
        save_scores(tmp_path / "scores.npz", SCORES, data)
        np.testing.assert_array_equal(read_scores(tmp_path / "scores.npz", data), SCORES)


def test_scores_say_what_they_are_of_and_are_refused_for_other_images(tmp_path):
    path, turned = tmp_path / "scores.npz", source(train_images=IMAGES[:, ::-1, :, None])
    save_scores(path, SCORES, source(), name="el2n", made="mean over 2 networks of 1 epochs")
    left = dict(np.load(path))
    assert left["digest"] == digests_of(source()).train_images
    assert (left["name"], left["made"]) == ("el2n", "mean over 2 networks of 1 epochs")
    with pytest.raises(UsageError, match="are of other training images than those of mine; give scores of these"):
        read_scores(path, turned)
    with pytest.raises(UsageError, match="other training images"):
        read_scores(path, source(), Digests("of others"))
    np.testing.assert_array_equal(read_scores(path, turned, other_data=True), SCORES)
    np.testing.assert_array_equal(read_scores(path, turned, digests_of(source())), SCORES)
    del left["digest"]
    np.testing.assert_array_equal(read_scores(given(tmp_path, **left), turned), SCORES)


@pytest.mark.parametrize("easy", [False, True])
def test_the_images_at_both_ends_are_kept_with_scores(easy, tmp_path):
    """By hand: of each class the largest hardness first, and the smallest first."""
    save_scores(tmp_path / "scores.npz", 1 - SCORES if easy else SCORES, source(), hardness=SCORES if easy else None)
    left = np.load(tmp_path / "scores.npz")
    np.testing.assert_array_equal(left["shown"], range(3))
    for label in range(3):
        ranked = sorted(np.flatnonzero(label == LABELS), key=lambda i: -SCORES[i])
        np.testing.assert_array_equal(left["hardest"][label, ..., 0], IMAGES[ranked[:5]])
        np.testing.assert_array_equal(left["easiest"][label, ..., 0], IMAGES[ranked[::-1][:5]])


def test_both_ends_are_of_ten_classes_and_small(tmp_path):
    images = (
        np.repeat(np.arange(52, dtype=np.float32), 2).reshape(104, 1, 1, 1) / 104 * np.ones((130, 65, 3), np.float32)
    )
    labels = np.repeat(np.arange(52), 2).astype(np.int32)
    large = source(
        train_images=images, train_labels=labels, test_images=images[:1], test_labels=labels[:1],
        class_names=tuple(map(str, range(52))),
    )  # fmt: skip
    save_scores(tmp_path / "scores.npz", np.arange(104.0), large)
    left = np.load(tmp_path / "scores.npz")
    assert left["shown"].tolist() == [0, 6, 11, 17, 23, 28, 34, 40, 45, 51]
    assert left["hardest"].shape == left["easiest"].shape == (10, 2, 43, 21, 3)
    np.testing.assert_array_equal(left["hardest"][:, 0, 0, 0, 0], (255 * left["shown"] / 104).round())


def test_a_selection_by_scores_of_other_images_is_refused_unless_that_is_meant(made, tmp_path, capsys):
    save_scores(tmp_path / "scores.npz", SCORES, source(train_images=IMAGES[:, ::-1, :, None]))
    words = ["select", "el2n", "--dataset", str(made / "mine.npz"), *SHORT, "--out", str(tmp_path / "run")]
    words += ["--scores", str(tmp_path / "scores.npz")]
    assert "are of other training images" in refused(capsys, words, tmp_path)
    assert main([*words, "--other-data"]) == 0


def test_a_selection_by_scores_of_another_order_is_refused_and_its_own_are_read_again(made, tmp_path, capsys):
    wrong = given(tmp_path, scores=SCORES, labels=np.roll(LABELS, 1))
    words = [
        "select",
        "cscore",
        "--dataset",
        str(made / "mine.npz"),
        *SHORT,
        "--out",
        str(tmp_path / "run"),
        "--scores",
    ]
    assert "the labels in" in refused(capsys, [*words, str(wrong)], tmp_path)
    assert main([*words, str(given(tmp_path, scores=SCORES, labels=LABELS))]) == 0
    left = np.load(tmp_path / "run" / "scores.npz")
    np.testing.assert_array_equal(left["scores"], SCORES)
    np.testing.assert_array_equal(left["labels"], LABELS)


@pytest.mark.parametrize(
    ("spelled", "known"),
    [
        ("CIFAR10", "cifar10"), ("CIFAR-10", "cifar10"), ("Cifar_100", "cifar100"), ("cifar10", "cifar10"),
        ("CIFAR-10:3.0.2", "cifar10:3.0.2"), ("FashionMNIST", "fashion_mnist"), ("fashion-mnist", "fashion_mnist"),
        ("SVHN", "svhn_cropped"), ("TinyImageNet", "tiny_imagenet"), ("tiny-imagenet-200", "tiny_imagenet"),
        ("ImageNet-Resized/64x64", "imagenet_resized/64x64"), ("EMNIST/balanced:3.1.0", "emnist/balanced:3.1.0"),
        ("Digits", "digits"), ("./mnist", "./mnist"), ("cifar/10", "cifar/10"), ("/cifar10", "/cifar10"),
        ("my_own", "my_own"), ("cifar10_n", "cifar10_n"), ("", ""),
    ],
)  # fmt: skip
def test_data_sets_have_many_spellings_and_one_name(spelled, known):
    assert names.dataset(spelled) == known
    assert place(spelled) == (known if not spelled.startswith(".") else str(Path(spelled).absolute()))
    assert names.base(spelled) == known.partition(":")[0]


@pytest.mark.parametrize("name", ["cifra10", "cifar1O", "CIFAR_1O", "mnsit", "fashon_mnist", "tinyimagnet", "digit"])
def test_a_slip_in_a_data_sets_name_is_told_at_once(name, monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)  # whose import takes long
    for command in ("distill dm", "select random", "experts", "evaluate none"):
        said = refused(capsys, [*command.split(), "--dataset", name, "--out", str(tmp_path / "run")], tmp_path)
        assert f"there is no data set or folder '{name}'; did you mean " in said
    with pytest.raises(UsageError, match="did you mean"):
        load(name)


def test_names_that_are_near_but_there_are_no_slips(tmp_path):
    for name in ("cifar10_n", "cifar10_h", "kmnist", "mnist_corrupted", "moving_mnist", "no_such_set"):
        check_dataset(name)
    (tmp_path / "cifar11").mkdir()
    check_dataset("cifar11:1.0.0", str(tmp_path))
    with pytest.raises(UsageError, match="did you mean"):
        check_dataset("cifar11")


@pytest.mark.parametrize("dataset", ["CIFAR10", "cifar10:3.0.2", "CIFAR-10"])
def test_presets_go_by_the_name_in_any_spelling(dataset):
    for method in METHOD_NAMES.values():
        assert find(method, named(dataset), 10) == find(method, "cifar10", 10)


def test_a_folder_or_file_has_the_statistics_and_presets_of_its_name(tmp_path):
    for name in ("CIFAR-10", "FashionMNIST"):
        folder = pictures(tmp_path / name, ["cat", "dog"])
        assert named(str(folder)) == names.dataset(name)
        assert load(str(folder)).name == names.dataset(name)
    assert load(str(archive(tmp_path / "MNIST.npz"))).name == "mnist"


def test_a_folder_wins_over_a_name(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name in ("digits", "cifra10", "CIFAR10"):
        pictures(tmp_path / name, ["cat", "dog"])
        assert load(name).class_names == ("cat", "dog")
        assert main(["select", "random", "--dataset", name, *SHORT, "--out", f"run-{name}"]) == 0
        config = json.loads((tmp_path / f"run-{name}" / "config.json").read_text())
        assert config["data"]["dataset"] == str(tmp_path / name)


def test_a_command_takes_names_in_any_spelling_and_keeps_the_known_ones(tmp_path, capsys):
    words = [
        "--dataset=Digits",
        "--network",
        "ConvNet-BN",
        "--width",
        "8",
        "--protocol",
        "DSA-1000",
        "--init",
        "K-Center",
    ]
    words += ["--eval-network", "MLP, ResNet18", "--steps", "1"]
    assert main(["distill", "DataDAM", *words, *SHORT, "--out", str(tmp_path / "run")]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["method"]["name"], config["data"]["dataset"], config["init"]) == ("datadam", "digits", "kcenter")
    assert config["network"]["network"] == "convnet-bn"
    assert config["evaluation"]["protocol"] == "dsa1000"
    assert config["evaluation"]["eval_network"] == "mlp,resnet18"
    assert main(["distill", "data-dam", "--resume", "--quiet", "--out", str(tmp_path / "run")]) == 0
    assert main(["select", "K-Means", "--dataset", "DIGITS", *SHORT, "--out", str(tmp_path / "core")]) == 0
    assert json.loads((tmp_path / "core" / "config.json").read_text())["strategy"] == "kmeans"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["distil"], "unknown command 'distil'; did you mean distill?"),
        (["distill", "datadm"], "unknown method 'datadm'; did you mean datadam"),
        (["select", "herdin"], "unknown strategy 'herdin'; did you mean herding?"),
        (["distill", "dm", "--network", "convnte"], "unknown network 'convnte'; did you mean convnet"),
        (["distill", "dm", "--eval-network", "mlp,mpl"], "unknown network 'mpl'; did you mean mlp"),
        (["distill", "dm", "--protocol", "dsa100"], "unknown protocol 'dsa100'; did you mean dsa1000"),
        (["distill", "dm", "--init=hreding"], "unknown start 'hreding'; did you mean herding?"),
        (["distill", "xyzzy"], "unknown method 'xyzzy'; choose one of"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_slip_in_another_name_says_what_was_meant(words, says, tmp_path, capsys):
    assert says in refused(capsys, [*words, "--dataset", "no_such_set", "--out", str(tmp_path / "run")], tmp_path)


def test_networks_have_many_spellings():
    assert [full_name(name) for name in ("ConvNet", "ResNet-18", "ConvNetBN", "VGG11_BN", "mlp")] == [
        "convnet", "resnet18", "convnet-bn", "vgg11-bn", "mlp"
    ]  # fmt: skip
    with pytest.raises(UsageError, match="did you mean resnet18"):
        make_network("resnet81", (8, 8, 1), 3)


def test_a_home_folder_is_expanded_wherever_a_path_is_read(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(made))
    monkeypatch.chdir(tmp_path)
    assert load("~/mine.npz").name == "mine"
    words = ["--dataset=~/mine.npz", "--experts=~/bank", *SHORT, f"--out={tmp_path / 'run'}"]
    assert main(["select", "labelled", *words]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["data"]["dataset"], config["bank"]["experts"]) == (str(made / "mine.npz"), str(made / "bank"))
    assert main(["evaluate", "~/core", "--seeds", "1", "--epochs", "1"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_mirrored_digit_is_none_in_any_spelling():
    assert for_dataset("default", "MNIST") == for_dataset("default", "mnist:3.0.1") == for_dataset("default", "mnist")
    assert for_dataset("default", "SVHN") == for_dataset("default", "svhn_cropped") != for_dataset("default", "CIFAR10")
