"""Facility location, graph cut, Moderate, contextual diversity, CAL and DeepFool against NumPy that stores everything,
and what a network says of held-out images as the validation set of GRAD-MATCH and GLISTER."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import nnls
from test_basis import LABELS as TOY
from test_basis import NETWORK, PLAIN, dataset, picks, words  # noqa: F401
from test_cli import refused
from test_gradient_selection import KEY, LABELS, ORIGINALS, said, stored

import jaxdistill as jd
from jaxdistill.cli import main
from jaxdistill.commands.workspace import open_bench
from jaxdistill.data.feeds import real_data
from jaxdistill.errors import UsageError
from jaxdistill.io.artifact import load_set
from jaxdistill.io.expert_bank import load_bank
from jaxdistill.networks import make as make_network
from jaxdistill.selection.cal import cal
from jaxdistill.selection.contextual_diversity import contextual_diversity
from jaxdistill.selection.deepfool import deepfool
from jaxdistill.selection.glister import glister
from jaxdistill.selection.gradmatch import gradmatch
from jaxdistill.selection.moderate import moderate
from jaxdistill.selection.outputs import Gradients, Outputs, outputs
from jaxdistill.selection.submodular import cut, facility_location, graph_cut, locate
from jaxdistill.settings.config import DataConfig
from jaxdistill.types import Network, Variables


@pytest.fixture
def double():
    with jax.enable_x64(True):
        yield


def similar(rows):
    """As DeepCore has it: half of 1 plus the cosine."""
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return 0.5 + 0.5 * units @ units.T


def located(similar, picks):
    return similar[:, picks].max(1).sum() if picks else 0.0


def cut_by_hand(similar, picks, lam=1.0):
    return lam * similar[:, picks].sum() - similar[np.ix_(picks, picks)].sum()


def greedy(worth, count, ipc):
    """Of every candidate what it adds, from scratch; the first of those that add the same."""
    chosen: list[int] = []
    for _ in range(ipc):
        free = [i for i in range(count) if i not in chosen]
        gains = [round(worth([*chosen, i]) - worth(chosen), 9) for i in free]
        chosen.append(free[int(np.argmax(gains))])
    return chosen


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("select", "worth", "options"),
    [
        (facility_location, located, {}),
        *((graph_cut, lambda s, p, lam=lam: cut_by_hand(s, p, lam), {"lam": lam}) for lam in (1.0, 0.2, 4.0)),
    ],
)
def test_each_pick_adds_most_over_stored_gradients(select, worth, options, seed, double):
    found = said(seed)
    rows = stored(found)
    ours = np.asarray(select(KEY, found, jnp.asarray(LABELS), 4, 3, **options))
    for c in range(3):
        of_class = np.flatnonzero(c == LABELS)
        chosen, similarity = [of_class.tolist().index(i) for i in ours[c]], similar(rows[of_class])
        for k in range(4):  # of two that are alike to each other, either may add as much
            free = [i for i in range(len(of_class)) if i not in chosen[:k]]
            best = max(worth(similarity, [*chosen[:k], i]) for i in free)
            np.testing.assert_allclose(worth(similarity, chosen[: k + 1]), best, rtol=1e-9)
        assert len({*chosen}) == 4


def plain(similar, ipc):
    """Every gain of every round, from which the lazy algorithm saves itself most."""
    largest, free, chosen = np.zeros(len(similar)), np.ones(len(similar), bool), []
    for _ in range(ipc):
        gains = np.where(free, np.maximum(similar - largest, 0).sum(1), -1)
        chosen.append(int(gains.argmax()))
        largest, free[chosen[-1]] = np.maximum(largest, similar[chosen[-1]]), False
    return chosen


@pytest.mark.parametrize("seed", range(6))
def test_the_lazy_picks_are_the_plain_ones_to_the_last_tie(seed):
    """In similarities of 0, 1/4 ... 1, whose sums no rounding touches, so that most gains tie; and with padding."""
    rng = np.random.default_rng(seed)
    errors = rng.choice([-0.5, 0.5], (40, 4)).astype(np.float32)
    valid = np.arange(40) < rng.integers(20, 40)
    units = Gradients(jnp.asarray(errors), jnp.zeros((40, 3)))
    found = np.asarray(jax.jit(locate, static_argnames="ipc")(units, jnp.asarray(valid), ipc=20))
    own = errors[valid].astype(np.float64)
    assert found.tolist() == plain(0.5 + 0.5 * own @ own.T, 20)
    gains = np.maximum(0.5 + 0.5 * own @ own.T, 0).sum(1)
    assert len(np.unique(gains)) < len(gains), "there are ties"


def test_the_lazy_picks_are_the_plain_ones_among_many():
    """In single precision, where 300 images differ."""
    rng = np.random.default_rng(9)
    errors = rng.normal(size=(300, 5))
    errors /= np.linalg.norm(errors, axis=1, keepdims=True)
    units = Gradients(jnp.asarray(errors, jnp.float32), jnp.zeros((300, 1)))
    found = np.asarray(jax.jit(locate, static_argnames="ipc")(units, jnp.ones(300, bool), ipc=25))
    assert found.tolist() == plain(0.5 + 0.5 * errors @ errors.T, 25)


def test_graph_cut_leaves_padding_and_ties_to_the_first():
    """Five examples of two kinds, and three rows that are none."""
    rows = np.repeat(np.eye(3), [3, 2, 3], axis=0)
    similarity = 0.5 + 0.5 * rows[:5] @ rows[:5].T
    expected = greedy(lambda picks: cut_by_hand(similarity, picks), 5, 5)
    found = cut(Gradients(jnp.asarray(rows), jnp.zeros((8, 2))), jnp.arange(8) < 5, 5, 1.0)
    assert found.tolist() == expected
    assert expected[0] == 0


def test_gradients_of_length_0_are_as_similar_to_all():
    """And no picks are lost where a network has nothing left to learn."""
    nothing = jax.tree.map(jnp.zeros_like, said())._replace(logits=jnp.asarray(1e4 * np.eye(3)[LABELS]))
    for select in (facility_location, graph_cut):
        found = np.asarray(select(KEY, nothing, jnp.asarray(LABELS), 4, 3))
        np.testing.assert_array_equal(found, [np.flatnonzero(c == LABELS)[:4] for c in range(3)])


def diverse_by_hand(logit, ipc):
    odds = np.exp(logit - logit.max(1)[:, None])
    each = odds / odds.sum(1, keepdims=True)

    def apart(p, q):
        return 0.5 * (p * np.log(p / q)).sum(-1) + 0.5 * (q * np.log(q / p)).sum(-1)

    chosen = [int(np.argmin(apart(each, each.mean(0)).round(9)))]
    while len(chosen) < ipc:
        nearest = np.min([apart(each, each[i]) for i in chosen], axis=0).round(9)
        nearest[chosen] = -1
        chosen.append(int(nearest.argmax()))
    return chosen


@pytest.mark.parametrize("seed", range(3))
def test_contextual_diversity_takes_what_is_said_to_differ_most(seed, double):
    found = said(seed, spread=3.0)
    ours = np.asarray(contextual_diversity(KEY, found, jnp.asarray(LABELS), 4, 3))
    for c in range(3):
        of_class = np.flatnonzero(c == LABELS)
        expected = of_class[diverse_by_hand(np.asarray(found.logits)[of_class], 4)]
        np.testing.assert_array_equal(ORIGINALS[ours[c]], ORIGINALS[expected])


def test_contextual_diversity_tells_images_apart_of_which_a_network_is_certain():
    logits = np.zeros((6, 3), np.float32)
    logits[:, 0] = [900, 900, 400, 900, 100, 900]
    found = contextual_diversity(KEY, Outputs(jnp.zeros((6, 1)), jnp.asarray(logits)), jnp.zeros(6, int), 6, 1)
    assert sorted(found[0].tolist()) == list(range(6))
    logits[3] = [0, 900, 0]
    found = contextual_diversity(KEY, Outputs(jnp.zeros((6, 1)), jnp.asarray(logits)), jnp.zeros(6, int), 2, 1)
    assert found[0].tolist()[1] == 3


@pytest.mark.parametrize("sizes", [(5, 8, 12), (4, 7, 11)])
def test_moderate_takes_what_is_nearest_the_median_distance(sizes):
    rng = np.random.default_rng(sum(sizes))
    labels = rng.permutation(np.repeat(np.arange(3), sizes))
    features = rng.normal(size=(len(labels), 4)).astype(np.float32)
    found = np.asarray(moderate(KEY, jnp.asarray(features), jnp.asarray(labels), 4, 3))
    for c in range(3):
        of_class = np.flatnonzero(labels == c)
        rows = features[of_class].astype(np.float64)
        distances = np.linalg.norm(rows - rows.mean(0), axis=1)
        expected = of_class[np.argsort(abs(distances - np.median(distances)), kind="stable")[:4]]
        assert {*found[c].tolist()} == {*expected.tolist()}


def test_moderate_by_hand():
    """Distances 4 2 1 1 2 4 3 3 from the mean 0: the median is 2.5, and four are equally near it."""
    features = jnp.asarray([[-4.0], [2], [-1], [1], [-2], [4], [3], [-3]])
    found = moderate(KEY, features, jnp.zeros(8, int), 4, 1)[0].tolist()
    assert found == [1, 4, 6, 7]
    assert moderate(KEY, features, jnp.zeros(8, int), 5, 1)[0].tolist() == [*found, 0], "0 2 3 5 tie: the first"


def cal_by_hand(found, labels, neighbours):
    embedding, logit = np.asarray(found.embedding, np.float64), np.asarray(found.logits, np.float64)
    odds = np.exp(logit - logit.max(1)[:, None])
    each = odds / odds.sum(1, keepdims=True)
    scores = np.zeros(len(labels))
    for i in range(len(labels)):
        others = [j for j in range(len(labels)) if labels[j] == labels[i] and j != i]
        others.sort(key=lambda j: ((embedding[i] - embedding[j]) ** 2).sum().round(9))
        near = others[:neighbours]
        scores[i] = np.mean([(each[j] * np.log(each[j] / each[i])).sum() for j in near])
    return scores


@pytest.mark.parametrize("neighbours", [1, 3, 10])
def test_cal_is_the_mean_divergence_from_neighbours(neighbours, double):
    """Of which a class of 4 has three, whatever is asked for."""
    found = said(3)
    ours = np.asarray(cal(found, jnp.asarray(LABELS), 3, neighbours))
    expected = cal_by_hand(found, LABELS, neighbours)
    # Where copies are as near as one another, which of them is a neighbour does not matter: they say the same.
    np.testing.assert_allclose(ours, expected, rtol=1e-7, atol=1e-9)


def test_cal_finds_the_image_of_which_its_neighbours_say_otherwise():
    """And it is what is wanted most; alone in its class an image has no neighbours."""
    embedding = np.r_[np.zeros((5, 2)), np.ones((5, 2)) * 9, [[3.0, 3.0]]].astype(np.float32)
    embedding[:10] += np.random.default_rng(0).normal(0, 0.1, (10, 2))
    logits = np.tile(np.float32([3, 0, 0]), (11, 1))
    logits[5:10] = [0, 3, 0]
    logits[2] = [0, 0, 3]  # among neighbours that say 0
    labels = np.r_[np.zeros(10, int), 1]
    found = np.asarray(cal(Outputs(jnp.asarray(embedding), jnp.asarray(logits)), jnp.asarray(labels), 2, 4))
    assert found.argmax() == 2
    assert found[10] == 0
    np.testing.assert_allclose(found[5:10], 0, atol=1e-6)


def split(images):
    return real_data(images, np.zeros(len(images), int), 1, np.ones(1), np.zeros(1))


def of(logits):
    """The network that says this of rows of pixels."""

    def apply(variables, images, train=False):
        del train
        return logits(variables.params, images.reshape(len(images), -1)), {}

    return Network(lambda key: Variables((), {}), apply, lambda *_: None)


def test_deepfool_is_exact_for_a_linear_classifier():
    """The distance to the nearest of the planes between the predicted class and another one."""
    rng = np.random.default_rng(5)
    weights, biases = rng.normal(size=(12, 4)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    images = rng.normal(size=(70, 3, 4, 1)).astype(np.float32)
    network = of(lambda params, rows: rows @ params[0] + params[1])
    found = deepfool(network, Variables((jnp.asarray(weights), jnp.asarray(biases)), {}), split(images))
    said = images.reshape(70, -1) @ weights + biases
    top = said.argmax(1)
    expected = [
        min(
            (said[i, top[i]] - said[i, k]) / np.linalg.norm(weights[:, top[i]] - weights[:, k])
            for k in range(4)
            if k != top[i]
        )
        for i in range(70)
    ]
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def curved(weights, x):
    """Logits of one hidden layer, and their slopes."""
    hidden = np.tanh(x @ weights[0])
    return hidden @ weights[1], (weights[0] * (1 - hidden**2)) @ weights[1]


def deepfool_by_hand(weights, x, rounds):
    change = np.zeros_like(x)
    predicted = curved(weights, x)[0].argmax()
    for _ in range(rounds):
        said, slopes = curved(weights, x + 1.02 * change)
        if said.argmax() != predicted:
            break
        others = [k for k in range(len(said)) if k != predicted]
        towards = {k: slopes[:, k] - slopes[:, predicted] for k in others}
        nearest = min(others, key=lambda k: abs(said[k] - said[predicted]) / np.linalg.norm(towards[k]))
        direction = towards[nearest]
        change = change + abs(said[nearest] - said[predicted]) * direction / (direction @ direction)
    return np.linalg.norm(change), curved(weights, x + 1.02 * change)[0].argmax() != predicted


def test_deepfool_goes_on_where_a_network_is_not_linear(double):
    rng = np.random.default_rng(6)
    weights = 1.5 * rng.normal(size=(6, 5)), rng.normal(size=(5, 3))
    images = 0.5 * rng.normal(size=(40, 2, 3, 1))
    network = of(lambda params, rows: jnp.tanh(rows @ params[0]) @ params[1])
    variables = Variables(tuple(jnp.asarray(each) for each in weights), {})
    lengths = {}
    for rounds in (1, 2, 50):
        expected, crossed = zip(*(deepfool_by_hand(weights, x.reshape(-1), rounds) for x in images), strict=True)
        lengths[rounds] = expected
        np.testing.assert_allclose(deepfool(network, variables, split(images), rounds), expected, rtol=1e-5)
        assert all(crossed) == (rounds == 50)
    assert not np.allclose(lengths[1], lengths[50])


def test_deepfool_leaves_what_no_pixel_changes_far_from_any_boundary():
    network = of(lambda params, rows: jnp.zeros((len(rows), 3)) + params)
    found = np.asarray(deepfool(network, Variables(jnp.arange(3.0), {}), split(np.ones((4, 2, 2, 1), np.float32))))
    assert np.isfinite(found).all()
    assert (found > 1e15).all()


def validated(rows, held, chosen, lam=0.1):
    penalty = lam * (rows**2).sum(1).mean()
    weights = np.zeros(0)
    for k in range(len(chosen)):
        along = rows @ (held.mean(0) - weights @ rows[chosen[:k]])
        free = [i for i in range(len(rows)) if i not in chosen[:k]]
        np.testing.assert_allclose(along[chosen[k]], along[free].max(), rtol=1e-9)
        system = np.concatenate([rows[chosen[: k + 1]].T, np.sqrt(penalty) * np.eye(k + 1)])
        weights, _ = nnls(system, np.concatenate([held.mean(0), np.zeros(k + 1)]))
    return weights


def test_gradmatch_matches_the_gradient_of_validation_images(double):
    """Class by class; the penalty is relative to the gradients of the examples all the same."""
    found, held = said(0), said(7)
    held_labels = np.roll(LABELS, 3)
    ours = gradmatch(KEY, found, jnp.asarray(LABELS), 4, 3, validation=(held, jnp.asarray(held_labels)))
    rows, others = stored(found), stored(held, held_labels)
    for c in range(3):
        of_class = np.flatnonzero(c == LABELS)
        chosen = [of_class.tolist().index(i) for i in ours.indices[c]]
        weights = validated(rows[of_class], others[held_labels == c], chosen)
        expected = weights / weights.mean() if weights.any() else np.ones(4)
        np.testing.assert_allclose(ours.weights[c], expected, rtol=1e-7, atol=1e-9)
    assert not np.array_equal(ours.indices, gradmatch(KEY, found, jnp.asarray(LABELS), 4, 3).indices)
    same = gradmatch(KEY, found, jnp.asarray(LABELS), 4, 3, validation=(found, jnp.asarray(LABELS)))
    np.testing.assert_array_equal(same.indices, gradmatch(KEY, found, jnp.asarray(LABELS), 4, 3).indices)
    with pytest.raises(UsageError, match="no validation image of class 2; give some of each"):
        gradmatch(KEY, found, jnp.asarray(LABELS), 4, 3, validation=(held, jnp.asarray(LABELS % 2)))


@pytest.fixture(scope="module")
def held_out_bank(dataset, tmp_path_factory):  # noqa: F811
    out = tmp_path_factory.mktemp("experts") / "bank"
    said = ["--dataset", str(dataset), "--count", "1", "--epochs", "3", "--hold-out", "0.25", "--quiet"]
    assert main(["experts", *said, *NETWORK, *PLAIN, "--out", str(out)]) == 0
    return out


@pytest.mark.parametrize(
    ("strategy", "select", "option", "value"),
    [("gradmatch", gradmatch, "lam", 2.0), ("glister", glister, "eta", 0.7)],
)
def test_held_out_images_are_the_validation_set(strategy, select, option, value, dataset, held_out_bank, tmp_path):  # noqa: F811
    """And the options are those of the function."""
    bench = open_bench(DataConfig(str(dataset), hold_out=0.25))
    network = make_network("mlp", bench.image_shape, 3, width=8)
    variables = load_bank(held_out_bank).variables(network, 0)
    found, labels = outputs(network, variables, bench.train), jnp.asarray(bench.train.labels)
    held = outputs(network, variables, bench.held_out), jnp.asarray(bench.held_out.labels)
    numbers = np.asarray(bench.preprocess.invert(np.asarray(jd.pixels(bench.train)).reshape(-1, 8, 8, 1)))[:, 0, 0, 0]
    numbers = (numbers * 255 / 4).round().astype(int)
    seen = []
    for given, options in (
        ([], {}),
        ([f"--{strategy}-{option}", value], {option: value}),
    ):
        out = tmp_path / str(len(given))
        said = words(strategy, dataset, out, "--experts", held_out_bank, "--hold-out", "0.25", *given, ipc=5)
        assert main(said) == 0
        ours = select(KEY, found, labels, 5, 3, validation=held, **options)
        np.testing.assert_array_equal(picks(out, 5), numbers[np.asarray(ours.indices)])
        np.testing.assert_allclose(load_set(out).synthetic.weights, ours.weights.reshape(-1), rtol=1e-5)
        alone = select(KEY, found, labels, 5, 3, **options)
        seen.append((np.asarray(ours.indices), np.asarray(ours.weights), np.asarray(alone.indices)))
    assert not np.array_equal(seen[0][0], seen[0][2]), "held-out images have a say"
    assert not all(np.array_equal(a, b) for a, b in zip(seen[0][:2], seen[1][:2], strict=True)), "so has the option"
    assert (TOY[picks(tmp_path / "0", 5)] == np.arange(3)[:, None]).all()


@pytest.mark.parametrize(
    ("strategy", "options", "said"),
    [
        ("gradmatch", ["--gradmatch-lam", "0"], "--gradmatch-lam is a number above 0, not 0.0"),
        ("glister", ["--glister-eta", "-1"], "--glister-eta is a number above 0, not -1.0"),
        ("glister", ["--gradmatch-lam", "1"], "glister does not go by --gradmatch-lam"),
        ("craig", ["--glister-eta", "1"], "craig does not go by --glister-eta"),
        ("graph_cut", ["--beta", "0.1"], "graph_cut does not go by --beta"),
    ],
)
def test_options_that_make_no_sense_or_are_not_read(strategy, options, said, dataset, tmp_path, capsys):  # noqa: F811
    assert said in refused(capsys, words(strategy, dataset, tmp_path / "run", *options), tmp_path)


def test_graph_cut_refuses_what_leaves_the_class_out(double):
    with pytest.raises(UsageError, match=r"`lam` must be above 0, not 0\.0"):
        graph_cut(KEY, said(), jnp.asarray(LABELS), 2, 3, lam=0.0)
