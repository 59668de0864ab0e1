"""ImageNet as it lies in folders: lists of its classes by their ids, phases, sets of phases joined, and other sizes."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file
from test_cli import refused

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.data.imagenet import IDS, PHASE, SUBSETS, classes_of
from jaxdistill.data.pictures import cropped
from jaxdistill.diffusion import Architecture, make
from jaxdistill.diffusion.convert import dit_weights
from jaxdistill.diffusion.dit import Transformer
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.io.artifact import load_set
from jaxdistill.io.generators import load_generator, save_generator
from jaxdistill.io.joined import joined
from jaxdistill.presets import find
from jaxdistill.types import SyntheticSet

WOOF = classes_of("imagewoof")
SIDES = ((12, 9), (10, 20))
SHORT = ["--size", "8", "--ipc", "2", "--quiet", "--sampling-steps", "2", "--eval-seeds", "0"]


def tree(root, names, count=3, seed=0):
    """An ImageNet folder: train and val, images of two sizes in each class, dark ones in the first and so on."""
    rng = np.random.default_rng(seed)
    for split in ("train", "val"):
        for number, name in enumerate(names):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                side = SIDES[i % 2]
                pixels = rng.integers(0, 40, (*side, 3)) + 200 * number // len(names)
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{name}_{i}.png")
    return root


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """Ten dogs, two other classes, and what a list of classes leaves out."""
    return tree(tmp_path_factory.mktemp("data") / "ilsvrc", (*WOOF, "n01440764", "n15075141"))


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """A tiny DiT of 1,000 classes in the names of its authors, made a generator by the command."""
    folder = tmp_path_factory.mktemp("weights")
    module = Transformer(1000, 2, 16, 1, 2, variance=True)
    shapes = jnp.zeros((1, 8, 8, 3)), jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32)
    params = module.init(jax.random.key(0), *shapes)["params"]
    # A fresh DiT says nothing of the class; one with other weights does.
    params = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)
    save_file(dit_weights(module, params, 8, 8), folder / "dit.safetensors")
    words = ["convert", str(folder / "dit.safetensors"), "--heads", "2", "--image-size", "8"]
    assert main([*words, "--out", str(folder / "generator")]) == 0
    return folder / "generator"


def images_of(run):
    return np.asarray(load_set(run).synthetic.images)


def test_lists_of_classes_are_the_papers():
    assert len(IDS) == len({*IDS}) == 1000
    assert tuple(sorted(IDS)) == IDS, "numbers follow the ids' order"
    assert (IDS[0], IDS[207], IDS[999]) == ("n01440764", "n02099601", "n15075141")
    assert SUBSETS["imagewoof"] == (155, 159, 162, 167, 182, 193, 207, 229, 258, 273)
    assert SUBSETS["imagenette"] == (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
    assert SUBSETS["imagenet10"] == SUBSETS["imagenet100"][:10]
    assert IDS[SUBSETS["imagenet100"][0]] == "n02869837", "IDC's list begins with the bonnet"
    phases = [classes_of("imagenet100", phase) for phase in range(5)]
    assert all(len(phase) == PHASE for phase in phases)
    assert sorted(sum(phases, ())) == list(classes_of("imagenet100"))
    assert {*classes_of("imagenet10")} < {*phases[0]}
    for subset, phase, said in (
        ("imagewoof", 0, "leave `phase` out"),
        ("imagenet100", 5, "0 to 4"),
        ("x", None, "choose"),
    ):
        with pytest.raises(UsageError, match=said):
            classes_of(subset, phase)


@pytest.mark.parametrize("side", [(9, 12), (40, 33), (8, 8), (5, 7)])
def test_images_are_cut_out_of_the_middle(side):
    """A ramp stays one, of the same middle; a square of the size stays what it is."""
    rows, columns = np.mgrid[: side[0], : side[1]]
    found = cropped((3 * rows + 2 * columns)[..., None].astype(np.uint8), 8)
    assert found.shape == (8, 8, 1)
    middle = 3 * (side[0] - 1) / 2 + 2 * (side[1] - 1) / 2
    assert found.mean() == pytest.approx(middle, abs=1.6)
    if side == (8, 8):
        np.testing.assert_array_equal(found[..., 0], 3 * rows + 2 * columns)


def test_a_folder_of_imagenets_classes(imagenet, tmp_path):
    data = jd.load(imagenet, classes="ImageWoof", size=8)
    assert (data.name, data.class_names, data.image_shape) == ("imagewoof", WOOF, (8, 8, 3))
    assert (len(data.source.train_labels), len(data.source.test_labels)) == (30, 30)
    assert "val" in data.source.place
    picture = np.asarray(Image.open(imagenet / "train" / WOOF[0] / f"{WOOF[0]}_1.png"))
    np.testing.assert_array_equal(data.source.train_images[1], cropped(picture, 8))
    np.testing.assert_array_equal(data.preprocess.mean, np.float32([0.485, 0.456, 0.406]))
    assert jd.load(imagenet, size=8).num_classes == 12
    for given, said in (
        ({"classes": "imagewoof"}, "bring all images to one size, or give `size`"),
        ({"classes": "imagenette", "size": 8}, "has no sub-folder n02102040"),
        ({"phase": 1}, "a part of a list of `classes`"),
        ({"classes": "imagewof"}, "did you mean imagewoof"),
        ({"size": 0}, "at least 1"),
    ):
        with pytest.raises(UsageError, match=said):
            jd.load(imagenet, **given)
    with pytest.raises(UsageError, match="for folders of images"):
        jd.load("digits", size=8)
    with pytest.raises(UsageError, match="give it to jaxdistill"):
        jd.select("random", data, 1, phase=1)


def test_presets_go_by_the_list_and_not_by_the_folder(imagenet, converted, tmp_path):
    words = ["--dataset", str(imagenet), "--classes", "imagewoof", "--generator", str(converted)]
    assert main(["distill", "minimax", *words, *SHORT, "--steps", "2", "--out", str(tmp_path / "run")]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["method"]["real_batch"], config["augment"]) == (8, "flip")
    assert (config["evaluation"]["protocol"], config["evaluation"]["eval_network"]) == (
        "minimax",
        "resnet10ap,convnet,resnet18-imagenet",
    )
    card = load_set(tmp_path / "run").card
    assert (card["classes"], card["size"], tuple(card["class_names"])) == ("imagewoof", 8, WOOF)
    assert main(["distill", "minimax", "--out", str(tmp_path / "run"), "--steps", "3", "--resume", "--quiet"]) == 0


def test_a_generator_knows_imagenets_classes_by_their_ids(imagenet, converted, tmp_path, capsys):
    """What is tuned are the rows of these classes, and what is drawn is drawn of them, in any order of the labels."""
    words = ["distill", "minimax", "--dataset", str(imagenet), "--classes", "imagewoof", *SHORT]
    tuned = tmp_path / "tuned"
    assert main([*words, "--generator", str(converted), "--steps", "3", "--ema-decay", "0.1", "--out", str(tuned)]) == 0
    before, after = (load_generator(path) for path in (converted, tuned))
    assert after.label_names == before.label_names == list(IDS)
    rows = np.abs(after.params["model"]["label_table"] - before.params["model"]["label_table"]).sum(axis=1) > 1e-5
    assert {*np.flatnonzero(rows)} <= {*SUBSETS["imagewoof"], 1000}
    assert {*np.flatnonzero(rows)} & {*SUBSETS["imagewoof"]}

    def said(*ids):
        out = ["--generator", str(converted), "--steps", "1", "--out", str(tmp_path / "none")]
        return refused(capsys, [*words, *out, "--class-ids", *map(str, ids)], tmp_path)

    capsys.readouterr()
    swapped = SUBSETS["imagewoof"][::-1]
    assert f"calls {WOOF[0]} 273, and the generator in {converted} calls it 155" in said(*swapped)
    # As they are, they say what is known already.
    drawn = [tmp_path / "plain", tmp_path / "given"]
    draw = ["draw", str(tuned), *words[2:]]
    assert main([*draw, "--out", str(drawn[0])]) == 0
    assert main([*draw, "--out", str(drawn[1]), "--class-ids", *map(str, SUBSETS["imagewoof"])]) == 0
    np.testing.assert_array_equal(*map(images_of, drawn))


def test_labels_in_another_order_than_the_folders(imagenet, tmp_path, capsys):
    """A generator of six dogs, whose labels run backwards, draws each class of a folder by its id."""
    names, rng = WOOF[:6][::-1], np.random.default_rng(0)
    params = make(Architecture(hidden_size=16, num_layers=1, num_heads=2), (8, 8, 3), ((0.0,) * 3, (1.0,) * 3), 6).init(
        jax.random.key(0)
    )
    params = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32), params)
    said = {"label_names": list(names)}
    save_generator(tmp_path / "g", params, Architecture(hidden_size=16, num_layers=1, num_heads=2), (8, 8, 3), 6, said)
    six = tree(tmp_path / "six", WOOF[:6])
    words = ["--dataset", str(six), "--statistics", "imagewoof", *SHORT, "--protocol", "dsa1000"]
    assert main(["draw", str(tmp_path / "g"), *words, "--out", str(tmp_path / "six-drawn")]) == 0
    other = tree(tmp_path / "two", WOOF[2:4])
    assert (
        main(["draw", str(tmp_path / "g"), *words[:1], str(other), *words[2:], "--out", str(tmp_path / "drawn")]) == 0
    )
    six_drawn = images_of(tmp_path / "six-drawn").reshape(6, 2, 8, 8, 3)
    np.testing.assert_allclose(images_of(tmp_path / "drawn").reshape(2, 2, 8, 8, 3), six_drawn[2:4], atol=0.03)
    assert np.abs(six_drawn[2] - six_drawn[3]).max() > 0.1
    lacking = ["draw", str(tmp_path / "g"), *words[:1], str(imagenet), *words[2:], "--out", str(tmp_path / "none")]
    capsys.readouterr()
    assert "knows no class n01440764" in refused(capsys, lacking, tmp_path)


def test_phases_joined_are_the_set_that_is_made_at_once(converted, tmp_path, capsys):
    """ImageNet-100 of one image a class: drawn whole, and in phases that are joined, judged at another size."""
    root = tree(tmp_path / "ilsvrc", classes_of("imagenet100"), count=1)
    words = ["draw", str(converted), "--dataset", str(root), "--classes", "imagenet100", *SHORT, "--ipc", "1"]
    whole, parts = tmp_path / "whole", [tmp_path / f"phase{phase}" for phase in range(5)]
    assert main([*words, "--out", str(whole)]) == 0
    for phase, part in enumerate(parts):
        assert main([*words, "--phase", str(phase), "--out", str(part)]) == 0
        assert tuple(load_set(part).card["class_names"]) == classes_of("imagenet100", phase)
    assert main(["join", *map(str, parts[::-1]), "--out", str(tmp_path / "joined")]) == 0
    one, other = load_set(whole), load_set(tmp_path / "joined")
    np.testing.assert_allclose(one.synthetic.images, other.synthetic.images, atol=0.03)  # a rounded shade apart at most
    np.testing.assert_array_equal(one.labels, other.labels)
    assert other.card["class_names"] == one.card["class_names"]
    assert (other.card["classes"], "phase" in other.card, len(other.card["joined"])) == ("imagenet100", False, 5)
    in_memory = jd.join(*parts)
    np.testing.assert_array_equal(in_memory.synthetic.images, other.synthetic.images)
    assert isinstance(jd.open(tmp_path / "joined"), jd.Stored)
    capsys.readouterr()
    assert "exists" in refused(capsys, ["join", *map(str, parts), "--out", str(tmp_path / "joined")], tmp_path)

    judge = ["evaluate", str(tmp_path / "joined"), "--network", "mlp", "--width", "8", "--epochs", "1", "--seeds", "1"]
    capsys.readouterr()
    assert main([*judge, "--eval-size", "6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["protocol"]["name"], found["protocol"]["size"], found["test_images"]) == ("minimax", 6, 100)
    assert "images resized to 6 pixels" in found["protocol"]["summary"]
    assert main(["export", str(tmp_path / "joined"), "--out", str(tmp_path / "joined.npz")]) == 0


DIGITS = jd.load("digits").source


def of_digits(classes, ipc=2, **options):
    """A set of some digits, all in the space of MNIST's statistics."""
    rows, tests = (np.isin(labels, classes) for labels in (DIGITS.train_labels, DIGITS.test_labels))
    train, test = (np.searchsorted(classes, labels[chosen]) for labels, chosen in
                   ((DIGITS.train_labels, rows), (DIGITS.test_labels, tests)))  # fmt: skip
    data = jd.Dataset.from_arrays(
        DIGITS.train_images[rows],
        train,
        DIGITS.test_images[tests],
        test,
        class_names=[str(one) for one in classes],
        name="mnist",
    )
    return jd.select(options.pop("strategy", "herding"), data, ipc, eval_seeds=0, progress=False, **options).set


def test_sets_of_some_classes_joined_are_those_of_all():
    """What herding picks in a class depends on nothing else."""
    whole = of_digits(range(10))
    found = jd.join(of_digits([1, 4, 8]), of_digits([0, 2, 9]), of_digits([3, 5, 6, 7]))
    np.testing.assert_array_equal(found.synthetic.images, whole.synthetic.images)
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_array_equal(found.synthetic.selected, whole.synthetic.selected)
    assert found.card["class_names"] == whole.card["class_names"] == list("0123456789")
    assert found.problem() == ""


def test_numbers_are_in_their_order_and_probabilities_stay():
    parts = [of_digits([0, 9]), of_digits([1, 2])]
    named = [["10", "9"], ["8", "11"]]
    parts = [one._replace(card={**one.card, "class_names": names}) for one, names in zip(parts, named, strict=True)]
    soft = [
        one._replace(
            synthetic=dataclasses.replace(one.synthetic, labels=0.8 * one.labels + 0.1, label_kind="probability")
        )
        for one in parts
    ]
    found = joined({"a": soft[0], "b": soft[1]})
    assert found.card["class_names"] == ["8", "9", "10", "11"]
    np.testing.assert_allclose(found.labels[0], [0.9, 0, 0, 0.1], atol=1e-6)
    np.testing.assert_allclose(found.labels[2], [0, 0.9, 0.1, 0], atol=1e-6)
    np.testing.assert_array_equal(found.synthetic.images[2:4], parts[0].synthetic.images[2:4])


def test_sets_that_cannot_be_joined():
    one, other = of_digits([0, 1]), of_digits([2, 3])

    def changed(**fields):
        return other._replace(synthetic=dataclasses.replace(other.synthetic, **fields))

    def said(*sets):
        with pytest.raises(UsageError) as error:
            jd.join(*sets)
        return str(error.value)

    assert "at least two sets" in said(one)
    assert "set 1 and set 2 both have the class 1" in said(one, of_digits([1, 2]))
    assert "as many images per class" in said(one, of_digits([2, 3], 3))
    assert "normalised or whitened differently" in said(one, of_digits([2, 3], statistics="fitted"))
    assert "only one says which images were selected" in said(one, changed(selected=None))
    assert "labels of one kind" in said(one, changed(label_kind="logit"))
    logits = [part._replace(synthetic=dataclasses.replace(part.synthetic, label_kind="logit")) for part in (one, other)]
    assert "(logit) say nothing of other classes" in said(*logits)
    rates = [
        part._replace(synthetic=dataclasses.replace(part.synthetic, learning_rate=jnp.ones(())))
        for part in (one, other)
    ]
    assert "step sizes of set 1 were learned" in said(*rates)
    assert "as many tiles in an image" in said(one, changed(formation=2))
    assert "images of one shape" in said(one, changed(images=other.synthetic.images[:, :4]))
    assert "a run, what jaxdistill.open gives, or a folder, not int" in said(one, 3)


def test_images_are_resized_as_pillow_resizes_them():
    """Minimax Diffusion's evaluation: torchvision's Resize of PIL images, bilinear with pillow's wide triangles."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 32, 32, 3)).astype(np.uint8)
    found = dataclasses.replace(PROTOCOLS["minimax"], size=28).sized(jnp.asarray(pixels, jnp.float32))
    wanted = [np.asarray(Image.fromarray(one).resize((28, 28), Image.Resampling.BILINEAR)) for one in pixels]
    assert np.abs(np.asarray(found) - np.stack(wanted)).max() <= 1.01, "but for pillow's rounding, twice"
    assert PROTOCOLS["minimax"].sized(found) is found


def test_an_evaluation_at_another_size_is_that_of_resized_data(monkeypatch):
    """Set and test images resized beforehand give the same accuracies."""
    recipe = dataclasses.replace(PROTOCOLS["dc300"], epochs=3, size=6)
    data = jd.load("digits")
    small = [np.asarray(recipe.sized(jnp.asarray(one, jnp.float32)) / 255) for one in
             (data.source.train_images, data.source.test_images)]  # fmt: skip
    shrunk = jd.Dataset.from_arrays(
        small[0], data.source.train_labels, small[1], data.source.test_labels, name="digits"
    )
    one = jd.select("random", data, 5, eval_seeds=0, progress=False, statistics="mnist")
    mean, std = one.set.preprocess.mean, one.set.preprocess.std
    images = (recipe.sized(jnp.asarray(one.set.pixels)) - mean) / std
    other = one.set._replace(
        synthetic=dataclasses.replace(one.synthetic, images=images),
        card={**one.set.card, "image_shape": [6, 6, 1], "digests": {}},
    )
    plain = dataclasses.replace(recipe, size=None)
    network = {"small": jd.make_network("convnet", (6, 6, 1), 10, width=8, depth=2)}
    rows = [
        jd.evaluate(chosen, of, network, how, seeds=2, progress=False).rows
        for chosen, of, how in ((one, data, recipe), (other, shrunk, plain))
    ]
    np.testing.assert_allclose(rows[0][0]["accuracies"], rows[1][0]["accuracies"], atol=0.006)


def test_a_run_is_judged_at_its_size_and_so_is_its_set_afterwards(tmp_path, capsys):
    words = ["distill", "dm", "--dataset", "digits", "--ipc", "1", "--steps", "1", "--width", "8", "--quiet"]
    words += ["--eval-epochs", "1", "--eval-seeds", "1", "--eval-size", "6", "--eval-network", "mlp"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    stored = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert stored["protocol"]["size"] == 6
    assert load_set(tmp_path / "run").card["eval_size"] == 6
    for options, size in (([], 6), (["--eval-size", "8"], 8)):
        capsys.readouterr()
        assert main(["evaluate", str(tmp_path / "run"), "--seeds", "1", "--epochs", "1", "--json", *options]) == 0
        assert json.loads(capsys.readouterr().out)["protocol"]["size"] == size
    capsys.readouterr()
    for options, said in (
        (["--coverage"], "leave it or --eval-size out"),
        (["--zca"], "whitened images have one size"),
        (["--eval-size", "0"], "at least 1"),
    ):
        found = [word for word in words if word not in ("--eval-network", "mlp")] + options
        assert said in refused(capsys, [*found, "--out", str(tmp_path / "none")], tmp_path)
    kernel = ["distill", "dm", "--dataset", "digits", "--ipc", "1", "--protocol", "krr", "--kernel", "fc1"]
    out = ["--eval-size", "6", "--out", str(tmp_path / "none")]
    assert "of images as they are; leave --eval-size out" in refused(capsys, [*kernel, *out], tmp_path)


def test_many_classes_are_learned_with_larger_steps():
    """As IDC's code: above 100 classes step size 0.1, weight decay 1e-4, batches of 128; at 100 shorter alone."""
    recipe = PROTOCOLS["minimax"]
    for classes in (10, 100):
        assert recipe.among(classes) is recipe
    many = recipe.among(101)
    assert (many.learning_rate, many.weight_decay, many.batch) == (0.1, 1e-4, 128)
    assert dataclasses.replace(recipe, batch=256).among(1000).batch == 256
    assert [recipe.passes(count * 100, 100) for count in (1, 10, 20, 50)] == [2000, 1300, 1000, 1000]
    assert "of more than 100 classes step size 0.1" in recipe.summary

    labels = jnp.eye(101).repeat(2, 0)
    images = jax.random.normal(jax.random.key(0), (202, 2, 2, 1))
    chosen, network = SyntheticSet(images, labels), jd.make_network("mlp", (2, 2, 1), 101, width=8)
    plain = dataclasses.replace(recipe, augment="none", cutmix=0.0, epochs=2)
    by_hand = dataclasses.replace(plain, learning_rate=0.1, weight_decay=1e-4, batch=128, many=False)
    found, wanted = (one.fit(jax.random.key(1), chosen, network) for one in (plain, by_hand))
    jax.tree.map(np.testing.assert_array_equal, found, wanted)


def test_imagenet_100_takes_twice_the_steps_of_ten_classes():
    ten, hundred = (find("minimax", name, 10) for name in ("imageidc10", "imagenet100"))
    assert (ten.steps, ten.listed, hundred.steps, hundred.listed) == (12_000, True, 24_000, False)
    assert "the best of about 100 looks at the test images" in find("minimax", "imagewoof", 70).published.source
