"""Trajectory matching against PyTorch, finite differences, loops without shortcuts and heavy-ball SGD in NumPy."""

from functools import cache, partial
from itertools import combinations
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from toys import assert_close, wide_task

from jaxdistill import chunks
from jaxdistill.augment import make as make_augment
from jaxdistill.data.bank import Segment, Segments
from jaxdistill.methods.mtt import MTT, mtt
from jaxdistill.sets import class_set
from jaxdistill.trajectories import distance, flatten, match_trajectories, minibatches, unflatten
from jaxdistill.types import Network, Task, Variables
from jaxdistill.unroll import unroll

GOLDEN = np.load(Path(__file__).parent / "reference" / "trajectories.npz")  # by experiments/golden/trajectories.py
SHAPE, PLAN = GOLDEN["images"].shape[1:], GOLDEN["plan"].astype(np.int32)
LABELS = {"class": np.repeat(np.eye(3), 2, 0), "logit": GOLDEN["logits"]}
IMAGES = np.random.default_rng(0).normal(size=(3, 2, 2, 2, 1))


def regression(variables, images, train=False):
    del train
    return images.reshape(len(images), -1) @ variables.params["matrix"] + variables.params["offset"], {}


def normalised(variables, images, train=False):
    """Without running averages, as in a trajectory, there is nothing to normalise by but the batch."""
    logits, statistics = regression(variables, images)
    return (logits - logits.mean(0)) / jnp.sqrt(logits.var(0) + 0.1) if train else logits + jnp.nan, statistics


def shapes_of_regression(key):
    del key
    return Variables({"matrix": jnp.zeros((4, 3)), "offset": jnp.zeros(3)}, {})


NETWORKS = {
    "regression": Network(shapes_of_regression, regression, None),
    "batch norm": Network(shapes_of_regression, normalised, None, couples_batch=True),
}
SMALL = Task(NETWORKS["regression"], make_augment("none"), (2, 2, 1), 3)
P = 15  # parameters of its network


@pytest.fixture(autouse=True)
def double():
    """Float64; and most programs run once: what compiling them well takes is not made up for."""
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.enable_x64(True):
        yield
    jax.config.update("jax_disable_most_optimizations", False)


def golden(tree):
    body = {f"Conv_{i}": {name: GOLDEN[f"{tree}_{name}{i}"] for name in ("kernel", "bias")} for i in range(2)}
    classifier = {"kernel": GOLDEN[f"{tree}_matrix"], "bias": GOLDEN[f"{tree}_offset"]}
    return jax.tree.map(jnp.asarray, {"body": body, "classifier": classifier})


@cache
def golden_gradient(kind, transport=True):
    """The golden loss and its gradients in images, labels and step sizes."""
    network = wide_task(SHAPE, "none").network

    def loss(images, labels, rates):
        start, plan = golden("start"), jnp.asarray(PLAN)
        end = unroll(network, Variables(start, {}), images, labels, kind, plan, rates, transport=transport)
        return distance(end.params, start, golden("target"))

    compiled = jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    return lambda *given: compiled(*map(jnp.asarray, given))


def given_of(kind):
    return [GOLDEN["images"], LABELS[kind], np.full(len(PLAN), GOLDEN["rate"])]


def loop(network, variables, images, probabilities, plan, rates, held=False):
    """Where the steps end, with nothing kept from differentiation but, if `held`, each step's own parameters."""

    def loss(params, chosen):
        logits, _ = network.apply(Variables(params, variables.statistics), images[chosen], train=True)
        return -jnp.mean(jnp.sum(probabilities[chosen] * jax.nn.log_softmax(logits), -1))

    params = variables.params
    for chosen, rate in zip(plan, rates, strict=True):
        gradient = jax.grad(loss)(jax.lax.stop_gradient(params) if held else params, chosen)
        params = jax.tree.map(lambda p, g, rate=rate: p - rate * g, params, gradient)
    return params


def squared(*trees):
    """Squared distance."""
    one, other = (ravel_pytree(tree)[0] for tree in trees)
    return jnp.sum((one - other) ** 2)


@pytest.mark.parametrize(("kind", "mode"), [("class", "exact"), ("logit", "exact"), ("logit", "tesla")])
def test_loss_and_gradients_equal_pytorchs(kind, mode):
    """TESLA's are by its own formula: two passes, and a vector that is the same for every step."""
    names = {0: "images", 2: "rate"} | ({1: "logits"} if kind == "logit" else {})
    for wide, tolerance in ((True, 1e-8), (False, 1e-5))[: 2 if (kind, mode) == ("logit", "exact") else 1]:
        with jax.enable_x64(wide):
            loss, gradient = golden_gradient(kind, mode == "exact")(*given_of(kind))
        assert loss.dtype == (jnp.float64 if wide else jnp.float32)
        np.testing.assert_allclose(loss, GOLDEN[f"{kind}_loss"], rtol=tolerance)
        gradient = (*gradient[:2], gradient[2].sum())
        for number, name in names.items():
            assert_close(gradient[number], GOLDEN[f"{kind}_{mode}_{name}"], tolerance)


def test_gradients_are_slopes_under_augmentation():
    """Central differences in a few pixels, a few logits and the step size; every step draws its own augmentation."""
    rng, keys, plan = np.random.default_rng(2), jax.random.split(jax.random.key(3), 5), jnp.asarray(PLAN)
    start, target = ({"matrix": rng.normal(size=(128, 3)) / 9, "offset": np.zeros(3)} for _ in range(2))

    def loss(images, labels, rates, keys):
        options = {"augment": make_augment("color_crop_scale"), "keys": keys}
        end = unroll(SMALL.network, Variables(start, {}), images, labels, "logit", plan, rates, **options)
        return distance(end.params, start, target)

    given, compiled = [np.asarray(leaf) for leaf in given_of("logit")], jax.jit(jax.value_and_grad(loss, (0, 1, 2)))
    of = lambda given, keys=keys: compiled(*map(jnp.asarray, given), keys)  # noqa: E731
    value, gradient = of(given)
    assert abs(value - of(given, keys[::-1])[0]) > 1e-3
    places = [(0, (0, 2, 3, 1)), (0, (3, 5, 4, 0)), (0, (5, 4, 2, 1)), (1, (1, 0)), (1, (4, 2)), (2, 0), (2, 3)]
    for number, place in places:
        ends = []
        for step in (1e-5, -1e-5):
            moved = [leaf.copy() for leaf in given]
            moved[number][place] += step
            ends.append(of(moved)[0])
        assert abs(gradient[number][place]) > 1e-5
        np.testing.assert_allclose((ends[0] - ends[1]) / 2e-5, gradient[number][place], rtol=1e-5)


@pytest.mark.parametrize(("name", "held"), [("regression", False), ("regression", True), ("batch norm", False)])
def test_gradients_equal_those_through_a_plain_loop(name, held, monkeypatch):
    """Without transport they are MTT's with the parameters held constant between steps.

    Batches are of 5 images, of which 2 at a time are worked on unless they depend on each other.
    """
    monkeypatch.setattr(chunks, "CHUNK_PIXELS", 8)
    network, rng = NETWORKS[name], np.random.default_rng(1)
    plan = jnp.asarray(np.stack([rng.permutation(6)[:5] for _ in range(3)]))
    start, target = ({"matrix": rng.normal(size=(4, 3)), "offset": rng.normal(size=3)} for _ in range(2))
    variables = Variables(jax.tree.map(jnp.asarray, start), {})

    def by_loop(images, labels, rates):
        end = loop(network, variables, images, jax.nn.softmax(labels), plan, rates, held)
        return squared(end, target) / squared(start, target)

    def by_unroll(images, labels, rates):
        end = unroll(network, variables, images, labels, "logit", plan, rates, transport=not held)
        return distance(end.params, start, target)

    given = [jnp.asarray(leaf) for leaf in (IMAGES.reshape(6, 2, 2, 1), GOLDEN["logits"], [0.4, 0.3, 0.2])]
    found, expected = (jax.jit(jax.value_and_grad(f, (0, 1, 2)))(*given) for f in (by_unroll, by_loop))
    assert_close(found, expected, 1e-9)


def test_without_transport_one_step_is_exact():
    """Steps of no size after it change nothing."""
    given = [*given_of("logit")[:2], np.array([0.3, 0.0, 0.0, 0.0, 0.0])]
    exact, tesla = (golden_gradient("logit", transport)(*given) for transport in (True, False))
    assert_close(tesla, exact, 1e-12)


def test_what_the_gradient_loses_without_transport():
    """Little while step size, steps and curvature are small, and first of all the step size's gradient; here:

    | step size                            | 0.01   | 0.1   | 1.0   |
    | cosine of the images' gradients      | 0.9999 | 0.985 | 0.801 |
    | ratio of the step size's gradients   | 1.04   | 1.35  | 0.87  |
    """
    table = {0.01: (0.9999, 1.04), 0.1: (0.985, 1.35), 1.0: (0.801, 0.87)}
    for rate, figures in table.items():
        given = [*given_of("logit")[:2], np.full(len(PLAN), rate)]
        exact, tesla = (golden_gradient("logit", transport)(*given)[1] for transport in (True, False))
        one, other = (np.ravel(found[0]) for found in (exact, tesla))
        cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
        np.testing.assert_allclose((cosine, tesla[2].sum() / exact[2].sum()), figures, rtol=5e-3)
        assert (cosine > 0.999) == (rate == 0.01)
        assert rate < 1 or cosine < 0.9


@pytest.mark.parametrize(("n", "batch", "steps"), [(6, 2, 9), (7, 3, 5), (4, 4, 2), (4, 9, 3)])
def test_minibatches_are_shuffled_passes(n, batch, steps):
    plan = np.asarray(minibatches(jax.random.key(0), n, batch, steps))
    assert plan.shape == (steps, min(batch, n))
    stream = plan.reshape(-1)
    for i in range(0, stream.size, n):  # n / batch steps cover every row once where that is a whole number
        assert len(set(stream[i : i + n].tolist())) == min(n, stream.size - i)
    assert set(stream.tolist()) <= set(range(n))
    again, other = (np.asarray(minibatches(jax.random.key(seed), n, batch, steps)) for seed in (0, 1))
    np.testing.assert_array_equal(plan, again)
    assert batch >= n or (plan != other).any()
    assert batch != 2 or (plan[:3] != plan[3:6]).any()


@pytest.mark.parametrize(("transport", "least", "most"), [(True, 0.9, 1.2), (False, 0.0, 0.01)])
def test_memory_grows_by_the_parameters_for_each_step_or_not_at_all(transport, least, most):
    jax.config.update("jax_disable_most_optimizations", False)
    params = {"matrix": jax.ShapeDtypeStruct((1024, 4), jnp.float32), "offset": jax.ShapeDtypeStruct((4,), jnp.float32)}
    vector = jax.ShapeDtypeStruct((1024 * 4 + 4,), jnp.float32)

    def temporary(steps):
        def loss(images, rates, start, target):
            begin, plan = unflatten(start, params), jnp.tile(jnp.arange(8), (steps, 1))
            labels = jnp.eye(4, dtype=jnp.float32)[jnp.arange(8) % 4]
            found = unroll(
                SMALL.network, Variables(begin, {}), images, labels, "class", plan, rates, transport=transport
            )
            return distance(found.params, begin, unflatten(target, params))

        given = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((8, 32, 32, 1), (steps,))]
        compiled = jax.jit(jax.grad(loss, (0, 1))).lower(*given, vector, vector).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert least <= (temporary(20) - temporary(5)) / (15 * 4 * vector.size) <= most


def test_vectors_are_the_networks_parameters():
    rng = np.random.default_rng(0)
    params = {"matrix": jnp.asarray(rng.normal(size=(4, 3))), "offset": jnp.asarray(rng.normal(size=3))}
    vector = flatten(params)
    np.testing.assert_array_equal(vector, ravel_pytree(params)[0])
    jax.tree.map(np.testing.assert_array_equal, unflatten(vector, params), params)
    with pytest.raises(ValueError, match=f"have {P + 1} parameters and this network {P}"):
        unflatten(jnp.zeros(P + 1), params)


def segments_of(count=1, seed=0):
    """Where experts of `SMALL` stand and where they go, at random."""
    rng = np.random.default_rng(seed)
    start = 0.5 * rng.normal(size=(count, P))
    return Segment(jnp.asarray(start), jnp.asarray(start + 0.1 * rng.normal(size=(count, P))))


@partial(jax.jit, static_argnums=0)
@partial(jax.value_and_grad, argnums=(2, 3, 4))
def by_hand(held, plan, images, logits, rate, start, target):
    """The loss and its gradients in images, logits and step size."""
    _, tree = ravel_pytree(SMALL.network.init(jax.random.key(0)).params)
    labels, variables = jax.nn.softmax(logits), Variables(tree(start), {})
    end = loop(SMALL.network, variables, images.reshape(6, 2, 2, 1), labels, plan, [rate, rate], held)
    return jnp.sum((ravel_pytree(end)[0] - target) ** 2) / jnp.sum((start - target) ** 2)


ALL, HARD = np.tile(np.arange(6), (2, 1)), 1e3 * LABELS["class"]
OPTIONS = {
    "two segments": ({"segments": 2}, {}),
    "raw step size": ({"raw_rate": True}, {}),
    "labels": ({"momentum": 0.3}, {"label_lr": 5.0, "label_momentum": 0.9}),
    "kept, average": ({}, {"learned_share": 0.5, "average": 0.8}),
    "tesla": ({}, {"transport": False}),
}


def start_of(method, images=IMAGES, **changes):
    return method.init(jax.random.key(0), class_set(jnp.asarray(images)).replace(**changes))


@pytest.mark.parametrize("name", OPTIONS)
def test_steps_are_heavy_ball_sgd(name):
    """Three steps written out: the step size by an exponential; what is kept stays; the average follows."""
    changes, options = OPTIONS[name]
    config = MTT(2, 1, 1, image_lr=2.0, rate_lr=0.012, rate=0.2, **changes)
    method = match_trajectories(config, SMALL, Segments(1, 1, count=config.segments), **options)
    soft, kept = "label_lr" in options, int("learned_share" in options)
    state, step = start_of(method), jax.jit(method.step)
    images, rate, average, velocity = IMAGES.copy(), config.rate, IMAGES[:, kept:], [0.0, 0.0, 0.0]
    logits = np.log(np.where(LABELS["class"] > 0, 0.9, 0.05)) if soft else HARD
    raw = rate
    for i in range(3):
        segments = segments_of(config.segments, seed=i)
        found = [
            by_hand("transport" in options, ALL, images, logits, rate, *one) for one in zip(*segments, strict=True)
        ]
        loss, gradient = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *found)
        state, info = step(jax.random.key(i), state, segments)
        gradient = [gradient[0][:, kept:], gradient[1], gradient[2]]
        np.testing.assert_allclose(info, (loss, np.linalg.norm(gradient[0]), rate, 1.0), rtol=1e-8)
        if not config.raw_rate:
            gradient[2] = gradient[2] * rate / config.rate
        momenta = (config.momentum, options.get("label_momentum", 0.0), config.momentum)
        velocity = [m * v + g for m, v, g in zip(momenta, velocity, gradient, strict=True)]
        images[:, kept:] -= 2.0 * velocity[0]
        logits = logits - options.get("label_lr", 0.0) * velocity[1]
        raw = raw - 0.012 * velocity[2]
        rate = raw if config.raw_rate else config.rate * np.exp(raw / config.rate - 1)
        average = 0.8 * average + 0.2 * images[:, kept:]
        result = method.synthetic(state)
        np.testing.assert_allclose(result.learning_rate, rate, rtol=1e-8)
        np.testing.assert_allclose(state.learned.images, images[:, kept:], rtol=1e-8)
        seen = np.concatenate([IMAGES[:, :kept], average], 1) if kept else images
        np.testing.assert_allclose(result.images.reshape(images.shape), seen, rtol=1e-8)
        np.testing.assert_allclose(result.labels, logits if soft else LABELS["class"], rtol=1e-8)
        assert result.label_kind == ("logit" if soft else "class")
        if kept:
            np.testing.assert_array_equal(result.images.reshape(images.shape)[:, 0], IMAGES[:, 0])
            np.testing.assert_array_equal(result.selected, [True, False] * 3)
    assert (rate < 0) == config.raw_rate


def test_a_step_trains_on_augmented_batches_of_the_set():
    """Its loss is that of two disjoint pairs of images, halved, among all such pairs; which, the key decides."""

    def halved(key, images, siamese):
        assert not siamese
        return 0.5 * images

    method, segment = mtt(MTT(2, 1, 1, 2, rate=0.2), SMALL._replace(augment=halved)), segments_of()
    pairs = list(combinations(range(6), 2))
    plans = [(one, other) for one in pairs for other in pairs if not {*one} & {*other}]
    ends = (segment.start[0], segment.target[0])
    losses = [by_hand(False, np.array(plan), 0.5 * IMAGES, HARD, 0.2, *ends)[0] for plan in plans]
    step, chosen = jax.jit(method.step), set()
    for seed in range(4):
        loss = step(jax.random.key(seed), start_of(method), segment)[1].loss
        chosen.add(int(np.argmin(np.abs(np.array(losses) - loss))))
        np.testing.assert_allclose(np.min(np.abs(np.array(losses) - loss)), 0, atol=1e-12)
    assert len(chosen) > 1


def test_the_step_size_stays_positive():
    """However far it is sent: by a factor of e in a step, and to a millionth in the end."""
    method = mtt(MTT(2, 1, 1, rate_lr=1e3, rate=0.2), SMALL)
    state, step, rates = start_of(method), jax.jit(method.step), []
    for number in range(20):
        state, info = step(jax.random.key(number), state, segments_of())
        rates.append(float(info.step_size))
    ratios = np.array(rates[1:]) / rates[:-1]
    assert ratios[0] == pytest.approx(np.exp(-1))
    assert ((ratios > np.exp(-1.001)) & (ratios < np.exp(1.001))).all()
    assert min(rates) >= 0.2e-6 * (1 - 1e-6)
    raw = mtt(MTT(2, 1, 1, rate_lr=1e3, rate=0.2, raw_rate=True), SMALL)
    state, _ = jax.jit(raw.step)(jax.random.key(0), start_of(raw), segments_of())
    assert raw.synthetic(state).learning_rate < 0


@pytest.mark.parametrize("rate", [0.0, -0.2])
def test_a_set_whose_step_size_is_not_positive_is_a_start(rate):
    """A run with a raw step size may leave one."""
    raw, positive = (mtt(MTT(raw_rate=raw), SMALL) for raw in (True, False))
    assert raw.synthetic(start_of(raw, learning_rate=jnp.asarray(rate))).learning_rate == rate
    assert np.isfinite(start_of(positive, learning_rate=jnp.asarray(rate)).learned.raw_rate)


@cache
def skipped():
    """The state after a step, after another one whose loss is above the threshold, and what those said."""
    given = [segments_of(seed=seed) for seed in (0, 1)]
    losses = [by_hand(False, ALL, IMAGES, HARD, 0.2, one.start[0], one.target[0])[0] for one in given]
    below, above = (given[i] for i in np.argsort(losses))
    config = MTT(2, 1, 1, image_lr=1e-3, rate_lr=1e-3, rate=0.2, skip_above=float(np.mean(losses)))
    method = match_trajectories(config, SMALL, Segments(1, 1), average=0.8)
    step = jax.jit(method.step)
    before, first = step(jax.random.key(0), start_of(method), below)
    after, second = step(jax.random.key(1), before, above)
    return before, after, first, second


def test_a_step_above_the_threshold_moves_nothing():
    before, after, first, second = skipped()
    assert (first.applied, second.applied) == (1, 0)
    assert np.abs(before.learned.images - IMAGES).max() > 0
    assert np.abs(before.velocity.images).max() > 0
    jax.tree.map(np.testing.assert_array_equal, (before.learned, before.velocity), (after.learned, after.velocity))


def test_a_step_above_the_threshold_leaves_the_average_as_it_is():
    before, after, *_ = skipped()
    np.testing.assert_array_equal(before.average, after.average)


@pytest.mark.parametrize("name", NETWORKS)
def test_teacher_labels_are_the_probabilities_of_the_expert_at_the_end(name):
    """Of the images before the step."""
    network = NETWORKS[name]

    task, segment = SMALL._replace(network=network), segments_of()
    method = match_trajectories(MTT(2, 1, 1, rate=0.2), task, Segments(1, 1), teacher_labels=True)
    state = start_of(method, labels=jnp.full((6, 3), 1 / 3), label_kind="probability")
    np.testing.assert_array_equal(method.synthetic(state).labels, np.full((6, 3), 1 / 3))
    state, info = jax.jit(method.step)(jax.random.key(0), state, segment)
    teacher = Variables(unflatten(segment.target[0], network.init(jax.random.key(0)).params), {})
    logits, _ = network.apply(teacher, jnp.asarray(IMAGES.reshape(6, 2, 2, 1)), train=True)
    assert method.synthetic(state).label_kind == "probability"
    np.testing.assert_allclose(method.synthetic(state).labels, jax.nn.softmax(logits), rtol=1e-12)
    if name == "regression":
        loss, gradient = by_hand(False, ALL, IMAGES, logits, 0.2, segment.start[0], segment.target[0])
        np.testing.assert_allclose(info[:2], (loss, np.linalg.norm(gradient[0])), rtol=1e-9)


def test_how_a_set_begins():
    plain, soft = (match_trajectories(MTT(), SMALL, Segments(2, 20), label_lr=lr) for lr in (None, 1.0))
    given = jnp.asarray(GOLDEN["logits"])
    state = start_of(soft, labels=given, label_kind="logit")
    np.testing.assert_array_equal(state.learned.logits, given)
    with pytest.raises(ValueError, match="hard classes"):
        start_of(plain, labels=given, label_kind="logit")
    np.testing.assert_allclose(plain.synthetic(start_of(plain)).learning_rate, 0.01, rtol=1e-12)
    for rate in (1e-6, 0.3):
        found = plain.synthetic(start_of(plain, learning_rate=jnp.asarray(rate))).learning_rate
        np.testing.assert_allclose(found, rate, rtol=1e-8)
    for share, learned in ((1.0, 10), (0.29, 2), (0.7, 7), (0.01, 1)):
        method = match_trajectories(MTT(), SMALL, Segments(2, 20), learned_share=share)
        state = start_of(method, np.zeros((3, 10, 2, 2, 1)))
        assert state.learned.images.shape[1] == learned
        assert (state.frozen is None) == (learned == 10)
        assert method.synthetic(state).images.shape[0] == 30


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"image_lr": 0.0}, "image_lr of MTT is a positive number"),
        ({"rate_lr": float("nan")}, "rate_lr of MTT is a positive number"),
        ({"rate": -0.01}, "rate of MTT is a positive number"),
        ({"momentum": 1.0}, "momentum of MTT is a number from 0 to below 1"),
        ({"student_steps": 0}, "student_steps of MTT is at least 1"),
        ({"expert_epochs": 0}, "expert_epochs of MTT is at least 1"),
        ({"max_start": 0}, "max_start of MTT is at least 1"),
        ({"segments": 0}, "segments of MTT is at least 1"),
        ({"batch": 0}, "batch of MTT is at least 1"),
        ({"skip_above": 0.0}, "skip_above of MTT is a positive number"),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(settings, advice):
    with pytest.raises(ValueError, match=advice):
        mtt(MTT(**settings), SMALL)
