"""Sets that know which of their images are selected real ones: what those are shown as, and SelMatch's recipe."""

import dataclasses
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.augment import DSA, Each, for_dataset, make
from jaxdistill.augment.formation import decode
from jaxdistill.augment.transform import Augmented
from jaxdistill.data.feeds import real_data
from jaxdistill.evaluation import PROTOCOLS, Protocol, evaluate
from jaxdistill.evaluation.recipe import CROP_AND_FLIP
from jaxdistill.evaluation.train import train
from jaxdistill.methods.selmatch import SelMatch
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find
from jaxdistill.settings.config import EvaluationConfig
from jaxdistill.training.sgd import epoch, sgd
from jaxdistill.types import Features, Network, SyntheticSet, Variables

C, D = 3, 4
KEYS = jax.random.split(jax.random.key(5), 64)
SELECTED = np.array([True, False, True, False, False, True, False])


def linear():
    def init(key):
        return Variables({"w": jax.random.normal(key, (D, C)), "b": jnp.zeros(C)}, {})

    def apply(variables, images, train=False):
        del train
        return images.reshape(images.shape[0], -1) @ variables.params["w"] + variables.params["b"], {}

    return Network(init, apply, lambda variables, images, train=False: Features(images.reshape(len(images), -1), ()))


NETWORK = linear()


def as_it_is(key, images, siamese):
    del key, siamese
    return images


def shifted(key, images, siamese):
    del key, siamese
    return images + 1.0


def halved(key, images, siamese):
    del key, siamese
    return 0.5 * images


@pytest.fixture(scope="module")
def synthetic():
    images = np.random.default_rng(0).normal(size=(7, 2, 2, 1)).astype(np.float32)
    labels = jnp.eye(C)[jnp.array([0, 0, 0, 1, 1, 2, 2])]
    return SyntheticSet(jnp.asarray(images), labels, selected=jnp.asarray(SELECTED))


@pytest.fixture(scope="module")
def prepared(synthetic):
    """The same set with its augmentations already done."""
    images = np.asarray(synthetic.images)
    images = np.where(SELECTED[:, None, None, None], 0.5 * images, images + 1)
    return dataclasses.replace(synthetic, images=jnp.asarray(images), selected=None)


def operations_of(images):
    """Which of color and cutout each image of a batch went through: only a box is 0."""
    out = np.asarray(images)
    return np.where((out == 0).any((1, 2, 3)), "cutout", "color")


@pytest.fixture(scope="module")
def texture():
    """One image, without a pixel that is 0, many times over."""
    image = np.random.default_rng(3).uniform(1, 2, (1, 8, 8, 3)).astype(np.float32)
    return jnp.asarray(image.repeat(24, axis=0))


def test_each_image_draws_an_operation_of_its_own(texture):
    each = jax.jit(lambda key: make("each:color_cutout")(key, texture, siamese=False))
    whole = jax.jit(lambda key: make("color_cutout")(key, texture, siamese=False))
    images = [np.asarray(each(key)) for key in KEYS]
    drawn = np.stack([operations_of(one) for one in images])
    share = (drawn == "cutout").mean()
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(drawn.size)
    assert all(len(set(row)) == 2 for row in drawn), "in each batch some images are cut and some are coloured"
    assert all(len(set(operations_of(whole(key)))) == 1 for key in KEYS), "where a plain strategy draws one for all"
    for one, row in zip(images[:8], drawn[:8], strict=True):
        cut = one[row == "cutout"]
        np.testing.assert_array_equal(cut, np.where(cut == 0, 0, texture[: len(cut)]))  # nothing else was done to it
        assert ((cut == 0).sum((1, 2, 3)) <= 16 * 3).all()
        assert len({mask.tobytes() for mask in cut == 0}) > 1, "boxes are drawn for each image too"
        coloured = one[row == "color"]
        assert len(np.unique(coloured.round(4), axis=0)) == len(coloured)


def test_each_treats_a_siamese_batch_alike(texture):
    alike = jax.jit(partial(make("each:color_cutout"), siamese=True))
    found = [np.asarray(alike(key, texture)) for key in KEYS[:8]]
    for one, key in zip(found, KEYS, strict=False):
        np.testing.assert_array_equal(one, np.broadcast_to(one[:1], one.shape))
        np.testing.assert_allclose(one[:2], alike(key, texture[:2]), atol=1e-6)
    assert {str(operations_of(one)[0]) for one in found} == {"color", "cutout"}


def test_each_has_a_name_and_takes_the_data_sets_strategy():
    assert make("each:crop_flip") == Each(DSA("crop_flip"))
    assert for_dataset("each:default", "cifar10") == "each:color_crop_cutout_flip_scale_rotate"
    assert for_dataset("each:default", "mnist") == "each:color_crop_cutout_scale_rotate"
    with pytest.raises(ValueError, match="twirl"):
        make("each:twirl")


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def numpy_training(params, images, labels, rates, momentum=0.0, decay=0.0):
    """Full-batch heavy-ball SGD of the linear network, a step for each of the rates."""
    w, b = (np.asarray(params[name], np.float64) for name in "wb")
    x, y = np.asarray(images, np.float64).reshape(len(images), -1), np.asarray(labels)
    vw, vb = np.zeros_like(w), np.zeros_like(b)
    for rate in rates:
        residual = (softmax(x @ w + b) - y) / len(x)
        vw, vb = momentum * vw + x.T @ residual + decay * w, momentum * vb + residual.sum(0) + decay * b
        w, b = w - rate * vw, b - rate * vb
    return w, b


def one_epoch(examples, augment, selected_augment, batch=7):
    start = NETWORK.init(jax.random.key(1))
    velocity = jax.tree.map(jnp.zeros_like, start.params)
    options = {"optimizer": sgd(jnp.float32(0.5)), "batch": batch, "transform": Augmented(augment, selected_augment)}
    return start, epoch(jax.random.key(2), NETWORK, start, velocity, examples, **options)


def test_an_epoch_shows_selected_images_as_it_was_told_and_the_others_as_ever(synthetic, prepared):
    start, (variables, _, _) = one_epoch(synthetic, shifted, halved)
    w, b = numpy_training(start.params, prepared.images, synthetic.labels, [0.5])
    np.testing.assert_allclose(variables.params["w"], w, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variables.params["b"], b, rtol=1e-5, atol=1e-6)


def test_rows_stay_with_their_images_in_shuffled_batches(synthetic, prepared):
    _, found = one_epoch(synthetic, shifted, halved, batch=3)
    _, expected = one_epoch(prepared, as_it_is, None, batch=3)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_without_a_second_augmentation_or_without_knowing_all_images_are_treated_alike(synthetic):
    unknown = dataclasses.replace(synthetic, selected=None)
    _, (plain, _, _) = one_epoch(unknown, shifted, None)
    for examples, second in ((synthetic, None), (unknown, halved)):
        _, (found, _, _) = one_epoch(examples, shifted, second)
        np.testing.assert_array_equal(found.params["w"], plain.params["w"])
    _, (other, _, _) = one_epoch(synthetic, shifted, halved)
    assert np.abs(other.params["w"] - plain.params["w"]).max() > 1e-3


def test_a_protocol_trains_with_both_augmentations(synthetic, prepared):
    protocol = Protocol(epochs=4, augment="none", learning_rate=0.3, batch=3, cosine=0.01, drops=())
    key = jax.random.key(7)
    both = dataclasses.replace(protocol, labels="hard", augment=shifted, selected_augment=halved)
    found = train(key, synthetic, NETWORK, both)
    expected = train(key, prepared, NETWORK, protocol)  # whose labels are hard already
    np.testing.assert_allclose(found.params["w"], expected.params["w"], rtol=1e-4, atol=1e-5)


def test_an_evaluation_passes_the_second_augmentation_on(synthetic, prepared):
    images = np.random.default_rng(1).normal(size=(300, 2, 2, 1)).astype(np.float32)
    test = real_data(images, np.arange(300) % C, C, np.ones(1), np.zeros(1))
    options = {"network": NETWORK, "data": test, "seeds": 2}
    protocol = Protocol(epochs=9, augment="none", learning_rate=0.5)
    both = dataclasses.replace(protocol, augment=shifted, selected_augment=halved)
    found = evaluate(jax.random.key(0), synthetic, protocol=both, **options)
    expected = evaluate(jax.random.key(0), prepared, protocol=protocol, **options)
    np.testing.assert_allclose(found.accuracies, expected.accuracies, atol=1 / 300)


def test_tiles_that_are_cut_out_stay_selected(synthetic):
    found = decode(dataclasses.replace(synthetic, formation=2))
    np.testing.assert_array_equal(found.selected, SELECTED.repeat(4))


def test_some_images_of_a_set_keep_what_is_said_of_them(synthetic):
    chosen = np.array([5, 0, 1])
    np.testing.assert_array_equal(synthetic.take(jnp.asarray(chosen)).selected, SELECTED[chosen])
    assert dataclasses.replace(synthetic, selected=None).take(jnp.asarray(chosen)).selected is None


@pytest.mark.parametrize("epochs", [1000, 167])
def test_a_cosine_lowers_the_step_size_from_all_of_it_to_its_share(epochs):
    protocol = Protocol(epochs, learning_rate=0.1, drops=(), cosine=0.01)
    steps = np.arange(epochs + 1)
    rates = np.array([protocol.rate(jnp.float32(0.1), jnp.int32(step)) for step in (0, epochs // 2, epochs)])
    np.testing.assert_allclose(rates[0], 0.1, rtol=1e-6)
    np.testing.assert_allclose(rates[2], 0.001, rtol=1e-4)
    if epochs % 2 == 0:
        np.testing.assert_allclose(rates[1], 0.0505, rtol=1e-5)
    every = np.asarray(jax.vmap(lambda step: protocol.rate(jnp.float32(0.1), step))(steps))
    np.testing.assert_allclose(every, 0.001 + 0.099 * np.cos(np.pi * steps / epochs / 2) ** 2, rtol=1e-4, atol=1e-7)
    assert (np.diff(every) < 0).all()


def test_training_takes_the_cosines_step_sizes(synthetic):
    protocol = Protocol(epochs=4, augment="none", learning_rate=0.4, weight_decay=0.01, drops=(), cosine=0.1)
    key = jax.random.key(3)
    found = train(key, synthetic, NETWORK, protocol)
    start = NETWORK.init(jax.random.split(key)[0])
    rates = [0.4 * (0.1 + 0.9 * (1 + np.cos(np.pi * i / 4)) / 2) for i in range(5)]  # one pass more, at the share
    w, b = numpy_training(start.params, synthetic.images, synthetic.labels, rates, momentum=0.9, decay=0.01)
    np.testing.assert_allclose(found.params["w"], w, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.params["b"], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("epochs", [1000, 500, 250, 167])
def test_selmatchs_recipe(epochs):
    """As the authors' evaluation has it: SGD of 0.1 to a hundredth by a cosine, crop and flip of selected images."""
    protocol = PROTOCOLS[f"selmatch{epochs}"]
    assert (protocol.epochs, protocol.batch, protocol.learning_rate) == (epochs, 128, 0.1)
    assert (protocol.momentum, protocol.weight_decay, protocol.cosine, protocol.drops) == (0.9, 5e-4, 0.01, ())
    assert (protocol.cutmix, protocol.learned_rate, protocol.labels) == (0.0, False, "native")
    assert protocol.restart, "one pass more than epochs"
    augment, apart = (for_dataset(name, "cifar10") for name in (protocol.augment, protocol.selected_augment))
    assert make(augment) == Each(DSA())
    assert [part.strategy for part in make(apart).parts] == ["flip", "crop"]
    digits = for_dataset(protocol.selected_augment, "digits")
    assert [part.strategy for part in make(digits).parts] == ["crop"], "a mirrored digit is not a digit"
    assert "lowered by a cosine to 0.01 of it" in protocol.summary
    assert "times" not in protocol.summary


def test_sets_grow_and_epochs_shrink_to_as_many_steps():
    steps = [PROTOCOLS[f"selmatch{epochs}"].epochs * ipc for epochs, ipc in ((1000, 250), (500, 500), (250, 1000))]
    assert len(set(steps)) == 1
    assert abs(167 * 1500 / steps[0] - 1) < 0.01


def test_the_preset_is_judged_by_the_codes_network_of_each_size():
    """The stem halves images of 64 pixels, so that the last map is 4x4 for all."""
    for dataset, ipc, name, side in (("cifar10", 250, "resnet18-bn", 32), ("tiny_imagenet", 50, "resnet18-s2-bn", 64)):
        assert find(SelMatch, dataset, ipc).eval_network == name
        net, images = make_network(name, (side, side, 3), 10), jax.ShapeDtypeStruct((2, side, side, 3), jnp.float32)
        maps = jax.eval_shape(net.features, jax.eval_shape(net.init, jax.random.key(0)), images).maps
        assert [found.shape[1] for found in maps] == [32, 16, 8, 4]


@pytest.mark.parametrize("name", [name for name, recipe in PROTOCOLS.items() if hasattr(recipe, "selected_augment")])
def test_every_recipe_that_augments_can_tell_selected_images_apart(name, synthetic, prepared):
    """By hand: trained on images that are changed already, without any augmentation."""
    recipe = dataclasses.replace(PROTOCOLS[name], epochs=2)
    if "cutmix" in vars(recipe):
        recipe = dataclasses.replace(recipe, cutmix=0.0)
    both = dataclasses.replace(recipe, augment=shifted, selected_augment=halved)
    found = train(jax.random.key(0), synthetic, NETWORK, both)
    none = dataclasses.replace(recipe, augment=as_it_is, selected_augment=None)
    wanted = train(jax.random.key(0), prepared, NETWORK, none)
    chex.assert_trees_all_close(found.params, wanted.params, rtol=1e-5)
    assert recipe.tells_selected == ("selmatch" in name and not name.endswith("-dsa"))


def test_the_combined_augmentation_is_one_option():
    chosen = EvaluationConfig("dsa1000", eval_combined=True).resolve()
    assert chosen == dataclasses.replace(PROTOCOLS["dsa1000"], selected_augment=CROP_AND_FLIP)
    assert for_dataset(chosen.selected_augment, "cifar10") == "all:crop_flip"
    assert EvaluationConfig("selmatch1000", eval_combined=True).resolve() == PROTOCOLS["selmatch1000"]
    for name in ("dc300", "krr", "dd"):
        with pytest.raises(ValueError, match="augments no images; leave the combined augmentation out"):
            EvaluationConfig(name, eval_combined=True).resolve()
