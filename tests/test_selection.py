"""Selections against brute force on a few points, and what every one of them promises."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdistill as jd
from jaxdistill.data.feeds import RealData, real_data
from jaxdistill.kernels import make as make_kernel
from jaxdistill.selection import SELECTIONS
from jaxdistill.selection.base import (
    Experts,
    Features,
    Kernel,
    Nothing,
    ProxyOutputs,
    RandomSets,
    Scores,
    Teachers,
    Trials,
)
from jaxdistill.selection.ccs import Strata, Stratified
from jaxdistill.selection.groups import group, pick_per_class
from jaxdistill.selection.held_out import PartedScores
from jaxdistill.selection.herding import herd, herding
from jaxdistill.selection.kcenter import kcenter
from jaxdistill.selection.kmeans import kmeans
from jaxdistill.selection.moderate import moderate
from jaxdistill.selection.outputs import Outputs
from jaxdistill.selection.search import Ranked, Windows
from jaxdistill.selection.uniform import uniform
from jaxdistill.selection.window import Difficulty
from jaxdistill.types import Network, Variables

KEY = jax.random.key(0)
LABELS = np.array([0] * 6 + [1] * 9 + [2] * 7)
FEATURES = np.random.default_rng(0).normal(size=(22, 3)).astype(np.float32) + 10 * LABELS[:, None]
SELECTS = {
    "uniform": lambda key, _, *others: uniform(key, *others),
    "herding": herding,
    "kcenter": kcenter,
    "kmeans": kmeans,
    "moderate": moderate,
}


def select(name, ipc, features=FEATURES, labels=LABELS, key=KEY, num_classes=3):
    return np.asarray(SELECTS[name](key, jnp.asarray(features), jnp.asarray(labels), ipc, num_classes))


@pytest.fixture(scope="module")
def data() -> RealData:
    images = np.random.default_rng(1).integers(0, 256, (22, 4, 4, 2)).astype(np.uint8)
    return real_data(images, LABELS, 3, np.array([0.1, 0.2]), np.array([-1.0, 2.0]))


def pixels_of(data):
    """Every image of the split, preprocessed, as a row."""
    return (np.asarray(data.images) * np.array([0.1, 0.2]) + np.array([-1.0, 2.0])).reshape(22, -1)


def linear(variables, images, train=False):
    del train
    return images.reshape(len(images), -1) @ variables.params, variables.statistics


@pytest.fixture(scope="module")
def bases(data):
    """What selections of each kind go by; the teachers get all images right, which are fewer than their pixels."""
    solved = jnp.asarray(np.linalg.lstsq(pixels_of(data), np.eye(3)[LABELS], rcond=None)[0], jnp.float32)
    network = Network(lambda key: Variables(jnp.zeros((32, 3)), {}), linear, lambda *_: None)
    return {
        Nothing: None,
        Features: jnp.asarray(FEATURES),
        Scores: Difficulty(FEATURES[:, 0].astype(np.float64)),
        Windows: Ranked(Difficulty(FEATURES[:, 0].astype(np.float64)), FEATURES[:, 0]),
        Stratified: Strata(FEATURES[:, 0].astype(np.float64)),
        PartedScores: Difficulty(FEATURES[:, 1].astype(np.float64)),
        Experts: Teachers(network, lambda number: Variables(solved, {}), 2),
        ProxyOutputs: Outputs(jnp.asarray(FEATURES), jnp.asarray(pixels_of(data) @ np.asarray(solved), jnp.float32)),
        RandomSets: Trials(lambda key, synthetic: float(synthetic.images.mean()), 5),
        Kernel: make_kernel("fc1", (4, 4, 2)),
    }


def selected(name, data, bases, ipc=2):
    return SELECTIONS[name](KEY, data, ipc, bases[type(SELECTIONS[name].needs)])


def are_real(images, data):
    """Whether each of these images is one of the split's."""
    apart = np.abs(np.asarray(images).reshape(-1, 1, 32) - pixels_of(data)).max(-1)
    return bool((apart.min(1) < 1e-4).all())


def herding_by_hand(features, ipc):
    mean, total, chosen = features.mean(0), 0, []
    for j in range(1, ipc + 1):
        left = [i for i in range(len(features)) if i not in chosen]
        chosen.append(min(left, key=lambda i: np.linalg.norm(j * mean - total - features[i])))
        total = total + features[chosen[-1]]
    return chosen


def kcenter_by_hand(features, ipc):
    chosen = [int(np.linalg.norm(features - features.mean(0), axis=1).argmin())]
    while len(chosen) < ipc:
        chosen.append(int(np.linalg.norm(features[:, None] - features[chosen], axis=2).min(1).argmax()))
    return chosen


@pytest.mark.parametrize(("name", "by_hand"), [("herding", herding_by_hand), ("kcenter", kcenter_by_hand)])
def test_greedy_picks_equal_a_loop(name, by_hand):
    features = FEATURES.astype(np.float64)
    expected = [np.flatnonzero(c == LABELS)[by_hand(features[c == LABELS], 5)] for c in range(3)]
    np.testing.assert_array_equal(select(name, 5), expected)


def test_first_two_herding_picks_are_the_best_pair_that_contains_the_first():
    points = FEATURES[:6].astype(np.float64)
    first, second = select("herding", 2, points, np.zeros(6, int), num_classes=1)[0]
    distance = {
        pair: np.linalg.norm(points[list(pair)].mean(0) - points.mean(0))
        for pair in itertools.combinations(range(6), 2)
    }
    best = min((pair for pair in distance if first in pair), key=distance.__getitem__)
    assert {first, second} == set(best)
    assert first == np.linalg.norm(points - points.mean(0), axis=1).argmin()


def test_kmeans_finds_separated_clusters_and_their_nearest_members():
    rng = np.random.default_rng(2)
    corners = np.array([[0, 0], [0, 9], [9, 0], [9, 9]])
    features = (np.repeat(corners, 8, axis=0) + rng.normal(size=(32, 2))).astype(np.float32)
    found = select("kmeans", 4, features, np.zeros(32, int), num_classes=1)[0]
    clusters = features.reshape(4, 8, 2)
    nearest = np.linalg.norm(clusters - clusters.mean(1, keepdims=True), axis=2).argmin(1) + 8 * np.arange(4)
    assert set(found) == set(nearest)


def test_kmeans_medoids_are_distinct_where_centres_share_a_nearest_example():
    features = np.array([[0, 1], [0, -1], [0, 0.1], [5, 0], [5.1, 0]], np.float32)
    for ipc in range(1, 6):
        assert len(set(select("kmeans", ipc, features, np.zeros(5, int), num_classes=1)[0])) == ipc


@pytest.mark.parametrize("name", SELECTS)
def test_selection_promises(name):
    picked = select(name, 6)  # the whole of class 0
    assert picked.shape == (3, 6)
    assert (LABELS[picked] == np.arange(3)[:, None]).all()
    assert len(np.unique(picked)) == picked.size
    np.testing.assert_array_equal(picked, select(name, 6))
    assert select(name, 1).shape == (3, 1)


@pytest.mark.parametrize("name", ["herding", "kcenter", "moderate"])
def test_order_of_the_data_does_not_matter(name):
    shuffle = np.random.default_rng(3).permutation(22)
    np.testing.assert_array_equal(shuffle[select(name, 4, FEATURES[shuffle], LABELS[shuffle])], select(name, 4))


@pytest.mark.parametrize("name", ["herding", "kcenter", "kmeans", "moderate"])
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_equal_features_are_still_distinct_picks(name):
    picked = select(name, 6, np.ones_like(FEATURES))
    assert len(np.unique(picked)) == picked.size


def test_random_is_uniform_and_differs_between_keys():
    keys = jax.random.split(jax.random.key(1), 400)
    counts = np.bincount(np.concatenate([select("uniform", 3, key=key).ravel() for key in keys]), minlength=22)
    expected = 400 * 3 / np.bincount(LABELS)[LABELS]
    assert (abs(counts - expected) < 5 * np.sqrt(expected)).all()


def test_core_is_jittable_given_groups():
    groups = group(jnp.asarray(FEATURES), jnp.asarray(LABELS), 4, 3)
    jitted = jax.jit(partial(pick_per_class, partial(herd, ipc=4)))(jnp.asarray(FEATURES), groups)
    np.testing.assert_array_equal(jitted, select("herding", 4))


def test_herding_keeps_its_precision_far_from_the_origin():
    features = np.random.default_rng(4).integers(-50, 50, (200, 4)).astype(np.float32)
    labels = np.zeros(200, int)
    np.testing.assert_array_equal(
        select("herding", 50, features + 4096, labels, num_classes=1)[0],
        herding_by_hand(features.astype(np.float64), 50),
    )


@pytest.mark.parametrize("name", SELECTIONS)
def test_every_strategy_gives_a_class_major_set(name, data, bases):
    result = selected(name, data, bases)
    assert result.images.shape == (6, 4, 4, 2)
    assert result.images.dtype == jnp.float32
    assert result.labels.shape == (6, 3)
    if result.label_kind != "target":
        np.testing.assert_array_equal(result.labels.argmax(-1), [0, 0, 1, 1, 2, 2])
    if result.label_kind == "class":
        np.testing.assert_array_equal(result.labels, np.eye(3)[[0, 0, 1, 1, 2, 2]])
    again = selected(name, data, bases)
    np.testing.assert_array_equal(result.images, again.images)


@pytest.mark.parametrize("name", SELECTIONS)
def test_real_images_are_selected_ones_and_no_others(name, data, bases):
    """Recipes that show selected images otherwise than made ones, SelMatch's, have to know."""
    result = selected(name, data, bases)
    if are_real(result.images, data):
        assert result.selected is not None
        assert result.selected.dtype == bool
        assert result.selected.tolist() == [True] * 6
    else:
        assert result.selected is None


def test_every_strategy_says_what_it_needs_and_most_pick_real_images(data, bases):
    assert {type(selection.needs) for selection in SELECTIONS.values()} == bases.keys()
    assert all(name == selection.name for name, selection in SELECTIONS.items())
    real = [name for name in SELECTIONS if are_real(selected(name, data, bases).images, data)]
    assert sorted(set(SELECTIONS) - set(real)) == ["average", "centroids", "noise"]


@pytest.mark.parametrize(
    ("name", "select_name"), [("random", "uniform"), *((n, n) for n in ("herding", "kcenter", "kmeans"))]
)
def test_picks_are_read_from_the_data(name, select_name, data):
    images = SELECTIONS[name](KEY, data, 3, *([jnp.asarray(FEATURES)] if name != "random" else [])).images
    expected = np.asarray(data.images)[select(select_name, 3).ravel()] * np.array([0.1, 0.2]) + np.array([-1.0, 2.0])
    np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-5)


def class_means(data):
    pixels = np.asarray(data.images) * np.array([0.1, 0.2]) + np.array([-1.0, 2.0])
    return np.stack([pixels[c == LABELS].mean(0) for c in range(3)])


def test_average_repeats_the_mean_of_a_class(data):
    images = SELECTIONS["average"](KEY, data, 2).images
    np.testing.assert_allclose(images, class_means(data).repeat(2, axis=0), rtol=1e-5)


def test_centroids_are_means_of_their_clusters(data):
    features = jnp.asarray(FEATURES)
    np.testing.assert_allclose(SELECTIONS["centroids"](KEY, data, 1, features).images, class_means(data), rtol=1e-5)
    three = np.asarray(SELECTIONS["centroids"](KEY, data, 3, features).images).reshape(3, 3, -1)
    pixels = (np.asarray(data.images) * np.array([0.1, 0.2]) + np.array([-1.0, 2.0])).reshape(22, -1)
    subsets = [np.flatnonzero(bits) for bits in itertools.product([0, 1], repeat=6)][1:]
    means = np.stack([pixels[:6][subset].mean(0) for subset in subsets])
    distance = abs(three[0][:, None] - means).max(-1)
    assert distance.min(1).max() < 1e-4
    assert sorted(np.concatenate([subsets[i] for i in distance.argmin(1)])) == list(
        range(6)
    )  # the clusters part the class


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_centroids_of_identical_features_are_finite(data):
    assert np.isfinite(SELECTIONS["centroids"](KEY, data, 3, jnp.ones((22, 2))).images).all()


def test_noise_is_standard_normal_and_needs_shapes_only(data):
    images = SELECTIONS["noise"](KEY, data, 100).images
    assert abs(images.mean()) < 0.05
    assert abs(images.std() - 1) < 0.05
    assert not np.array_equal(images, SELECTIONS["noise"](jax.random.key(1), data, 100).images)


@pytest.mark.parametrize("name", SELECTIONS)
def test_bad_sizes_are_refused(name, data, bases):
    with pytest.raises(ValueError, match="must be at least 1, not 0"):
        selected(name, data, bases, 0)
    if are_real(selected(name, data, bases).images, data):
        with pytest.raises(ValueError, match=r"class 0 .*too few .* 7"):
            selected(name, data, bases, 7)


def test_there_are_no_more_centroids_than_images(data):
    with pytest.raises(ValueError, match="class 0 has 6 images, too few to select 7"):
        SELECTIONS["centroids"](KEY, data, 7, jnp.asarray(FEATURES))


def test_features_of_other_data_are_refused():
    with pytest.raises(ValueError, match="21 rows of features for 22 images"):
        group(jnp.asarray(FEATURES[1:]), jnp.asarray(LABELS), 2, 3)


@pytest.mark.parametrize("name", SELECTIONS)
def test_inputs_of_another_kind_are_refused_with_a_sentence(name, data, bases):
    needs = SELECTIONS[name].needs
    for kind, inputs in bases.items():
        if kind.kind is not needs.kind:
            with pytest.raises(jd.UsageError, match=f"{name} goes by {needs.words} and was given .*; call it as"):
                SELECTIONS[name](KEY, data, 2, inputs)


def test_selections_are_called_by_name_and_random_ones_are_given_nothing(data):
    features = jnp.asarray(FEATURES)
    chosen = jd.SELECTIONS["random"](KEY, data, ipc=3)
    assert jd.SELECTIONS["herding"](KEY, data, 3, features).images.shape == chosen.images.shape == (9, 4, 4, 2)
    with pytest.raises(
        jd.UsageError, match=r"random goes by nothing else and was given .*call it as \(key, data, ipc\)"
    ):
        jd.SELECTIONS["random"](KEY, data, 3, features)
    with pytest.raises(jd.UsageError, match=r"herding .* was given nothing; .*ipc, inputs\) with a row for each image"):
        jd.SELECTIONS["herding"](KEY, data, 3)
