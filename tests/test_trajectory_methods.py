"""Steps of trajectory matching methods against heavy-ball SGD in NumPy, and how their sets begin."""

import dataclasses
from functools import cache, partial
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from trajectory_toys import GOLDEN, IMAGES, LABELS, NETWORKS, SMALL, P, loop

from jaxdistill.common.sets import class_set
from jaxdistill.data.trajectories import Segment, Segments, unflatten
from jaxdistill.methods.datm import DATM, datm
from jaxdistill.methods.ftd import FTD, ftd
from jaxdistill.methods.mtt import MTT, mtt
from jaxdistill.methods.trajectory_matching import match_trajectories
from jaxdistill.training import inference
from jaxdistill.types import Variables


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


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
    "raw step size": ({"unconstrained_lr": True}, {}),
    "labels": ({"momentum": 0.3}, {"label_lr": 5.0, "label_momentum": 0.9}),
    "kept, average": ({"update_share": 0.5}, {"average": 0.8}),
    "tesla": ({}, {"transport": False}),
    "labels, tesla": ({"momentum": 0.3}, {"label_lr": 5.0, "label_momentum": 0.9, "transport": False}),
}


def start_of(method, images=IMAGES, **changes):
    return method.init(jax.random.key(0), class_set(jnp.asarray(images)).replace(**changes))


@pytest.mark.parametrize("name", OPTIONS)
def test_steps_are_heavy_ball_sgd(name):
    """Three steps written out: the step size is a plain scalar above 0; what is kept stays; the average follows."""
    changes, options = OPTIONS[name]
    config = MTT(2, 1, 1, image_lr=2.0, student_lr_lr=0.012, student_lr=0.2, **changes)
    method = match_trajectories(config, SMALL, Segments(1, 1, num_segments=config.num_segments), **options)
    soft, kept = "label_lr" in options, int("update_share" in changes)
    state, step = start_of(method), jax.jit(method.step)
    images, rate, average, velocity = IMAGES.copy(), config.student_lr, IMAGES[:, kept:], [0.0, 0.0, 0.0]
    logits = np.log(np.where(LABELS["class"] > 0, 0.9, 0.05)) if soft else HARD
    for i in range(3):
        segments = segments_of(config.num_segments, seed=i)
        found = [
            by_hand("transport" in options, ALL, images, logits, rate, *one) for one in zip(*segments, strict=True)
        ]
        loss, gradient = jax.tree.map(lambda *leaves: np.mean(leaves, axis=0), *found)
        state, info = step(jax.random.key(i), state, segments)
        gradient = [gradient[0][:, kept:], gradient[1], gradient[2]]
        np.testing.assert_allclose(info, (loss, np.linalg.norm(gradient[0]), rate, 1.0), rtol=1e-8)
        momenta = (config.momentum, options.get("label_momentum", 0.0), config.momentum)
        velocity = [m * v + g for m, v, g in zip(momenta, velocity, gradient, strict=True)]
        images[:, kept:] -= 2.0 * velocity[0]
        logits = logits - options.get("label_lr", 0.0) * velocity[1]
        rate = rate - 0.012 * velocity[2]
        rate = rate if config.unconstrained_lr else max(rate, 1e-6 * config.student_lr)
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
    assert (rate < 0) == config.unconstrained_lr


def test_a_step_trains_on_augmented_batches_of_the_set():
    """Its loss is that of two disjoint pairs of images, halved, among all such pairs; which, the key decides."""

    def halved(key, images, siamese):
        assert not siamese
        return 0.5 * images

    method, segment = mtt(MTT(2, 1, 1, 2, student_lr=0.2), dataclasses.replace(SMALL, augment=halved)), segments_of()
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


def test_the_step_size_goes_straight_to_an_optimum_twenty_times_its_first_value():
    """As a plain scalar under SGD does, which is what is published: no step depends on how far the first value is."""
    start = segments_of().start
    _, tree = ravel_pytree(SMALL.network.init(jax.random.key(0)).params)
    soft, images = jax.nn.softmax(HARD), jnp.asarray(IMAGES.reshape(6, 2, 2, 1))
    end = loop(SMALL.network, Variables(tree(start[0]), {}), images, soft, ALL, [0.02, 0.02])
    segment = Segment(start, ravel_pytree(end)[0][None])
    rates = {}
    for raw_rate in (False, True):
        method = mtt(
            MTT(2, 1, 1, image_lr=1e-12, student_lr_lr=1e-5, student_lr=1e-3, unconstrained_lr=raw_rate), SMALL
        )
        keys = jax.random.split(jax.random.key(0), 80)
        _, info = jax.lax.scan(lambda state, key, m=method: m.step(key, state, segment), start_of(method), keys)
        rates[raw_rate] = np.asarray(info.step_size)
    np.testing.assert_array_equal(rates[False], rates[True])
    assert rates[False][0] == 1e-3
    assert (np.diff(rates[False][:10]) > 0).all()
    assert rates[False][-1] == pytest.approx(0.02, rel=1e-3)


def test_the_step_size_stays_positive_and_comes_back():
    """A step that would take it to zero or below ends at a millionth of the first value; the next go on from there."""
    method = mtt(MTT(2, 1, 1, student_lr_lr=1e3, student_lr=0.2), SMALL)
    state, step, rates = start_of(method), jax.jit(method.step), []
    for number in range(20):
        state, info = step(jax.random.key(number), state, segments_of(seed=number))
        rates.append(float(info.step_size))
    assert min(rates) == pytest.approx(0.2e-6)
    assert rates.index(min(rates)) < max(i for i, rate in enumerate(rates) if rate > min(rates))
    raw = mtt(MTT(2, 1, 1, student_lr_lr=1e3, student_lr=0.2, unconstrained_lr=True), SMALL)
    state, _ = jax.jit(raw.step)(jax.random.key(0), start_of(raw), segments_of())
    assert raw.synthetic(state).learning_rate < 0


@pytest.mark.parametrize("rate", [0.0, -0.2])
def test_a_set_whose_step_size_is_not_positive_is_a_start(rate):
    """A run with a raw step size may leave one; where it has to be positive, the configured one takes its place."""
    raw, positive = (mtt(MTT(unconstrained_lr=raw, student_lr=0.03), SMALL) for raw in (True, False))
    assert raw.synthetic(start_of(raw, learning_rate=jnp.asarray(rate))).learning_rate == rate
    assert positive.synthetic(start_of(positive, learning_rate=jnp.asarray(rate))).learning_rate == 0.03


@pytest.mark.parametrize("decay", [0.0, 0.8, 0.9999])
def test_a_corrected_average_is_a_weighted_mean_of_what_was_learned(decay):
    """Weights ``decay**age`` over their sum, and nothing of the first images, which are read out before any step."""
    options = {"image_lr": 2.0, "student_lr": 0.2, "ema_decay": decay, "ema_correction": True}
    method = ftd(FTD(2, 1, 1, **options), SMALL)
    state, step, learned = start_of(method), jax.jit(method.step), []
    np.testing.assert_array_equal(method.synthetic(state).images.reshape(IMAGES.shape), IMAGES)
    for i in range(6):
        state, _ = step(jax.random.key(i), state, segments_of(seed=i))
        learned.append(np.asarray(state.learned.images))
        weights = decay ** np.arange(i, -1.0, -1)
        expected = np.tensordot(weights, learned, 1) / weights.sum()
        np.testing.assert_allclose(method.synthetic(state).images.reshape(IMAGES.shape), expected, rtol=1e-9)


def test_a_corrected_average_leaves_the_first_images_out_of_the_plain_one():
    """The plain average is ``decay**t`` of the first images and ``1 - decay**t`` of the corrected one."""
    found = {}
    for corrected in (False, True):
        config = FTD(2, 1, 1, image_lr=2.0, student_lr=0.2, ema_decay=0.9, ema_correction=corrected)
        method = ftd(config, SMALL)
        state, step = start_of(method), jax.jit(method.step)
        for i in range(4):
            state, _ = step(jax.random.key(i), state, segments_of(seed=i))
        found[corrected] = method.synthetic(state).images.reshape(IMAGES.shape)
    share = 0.9**4
    np.testing.assert_allclose(found[False], share * IMAGES + (1 - share) * found[True], rtol=1e-9)


def test_a_skipped_step_is_none_of_the_corrected_average():
    given = [segments_of(seed=seed) for seed in (0, 1)]
    losses = [by_hand(False, ALL, IMAGES, HARD, 0.2, one.start[0], one.target[0])[0] for one in given]
    below, above = (given[i] for i in np.argsort(losses))
    options = {"image_lr": 1e-3, "student_lr": 0.2, "max_loss": float(np.mean(losses)), "ema_correction": True}
    method = ftd(FTD(2, 1, 1, **options), SMALL)
    before, first = jax.jit(method.step)(jax.random.key(0), start_of(method), below)
    after, second = jax.jit(method.step)(jax.random.key(1), before, above)
    assert (first.applied, second.applied, int(after.averaged)) == (1, 0, 1)
    np.testing.assert_array_equal(before.average, after.average)


@pytest.mark.parametrize(("decay", "advice"), [(None, "give `ema_decay`, or leave it out"), (1.0, "0 to below 1")])
def test_an_average_that_cannot_be_corrected_is_refused(decay, advice):
    ftd(FTD(ema_decay=decay), SMALL)
    with pytest.raises(ValueError, match=advice):
        ftd(FTD(ema_decay=decay, ema_correction=True), SMALL)


@pytest.mark.parametrize("steps", [1, 2])
def test_datm_without_transport_is_exact_for_one_step_of_the_student(steps):
    """And for two it is TESLA's gradient of images, logits and step size, written out."""
    options = {"image_lr": 2.0, "student_lr_lr": 0.01, "student_lr": 0.2, "max_loss": None, "grow_steps": 0}
    states, segment = {}, segments_of()
    for transport in (True, False):
        method = datm(DATM(steps, 1, 1, transport=transport, **options), SMALL)
        state, _ = jax.jit(method.step)(jax.random.key(0), start_of(method), segment)
        states[transport] = state.learned
        if steps == 1:
            continue
        logits = np.log(np.where(LABELS["class"] > 0, 0.9, 0.05))
        _, by = by_hand(not transport, ALL, IMAGES, logits, 0.2, segment.start[0], segment.target[0])
        np.testing.assert_allclose(state.learned.images, IMAGES - 2.0 * by[0], rtol=1e-9)
        np.testing.assert_allclose(state.learned.logits, logits - 2.0 * by[1], rtol=1e-9)
        np.testing.assert_allclose(state.learned.rate, 0.2 - 0.01 * by[2], rtol=1e-9)
    apart = [float(np.abs(one - other).max()) for one, other in zip(states[True], states[False], strict=True)]
    assert max(apart) < 1e-12 if steps == 1 else min(apart) > 1e-6


@cache
def skipped():
    """The state after a step, after another one whose loss is above the threshold, and what those said."""
    given = [segments_of(seed=seed) for seed in (0, 1)]
    losses = [by_hand(False, ALL, IMAGES, HARD, 0.2, one.start[0], one.target[0])[0] for one in given]
    below, above = (given[i] for i in np.argsort(losses))
    config = MTT(2, 1, 1, image_lr=1e-3, student_lr_lr=1e-3, student_lr=0.2, max_loss=float(np.mean(losses)))
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


@pytest.mark.parametrize("limit", [None, 1.0])
def test_a_segment_that_is_no_number_moves_nothing_and_is_left_out_where_there_is_a_limit(limit):
    method, segment = mtt(MTT(2, 1, 1, max_loss=limit), SMALL), segments_of()
    before = start_of(method)
    after, info = jax.jit(method.step)(jax.random.key(0), before, segment._replace(target=jnp.nan * segment.target))
    assert np.isnan(info.loss)
    assert info.applied == (limit is None)
    jax.tree.map(np.testing.assert_array_equal, (before.learned, before.velocity), (after.learned, after.velocity))


def test_a_step_above_the_threshold_leaves_the_average_as_it_is():
    before, after, *_ = skipped()
    np.testing.assert_array_equal(before.average, after.average)


@pytest.mark.parametrize("name", NETWORKS)
def test_teacher_labels_are_the_probabilities_of_the_expert_at_the_end(name, monkeypatch):
    """Of the images before the step; of networks that treat each on its own, a few at a time."""
    monkeypatch.setattr(inference, "each_batch", partial(inference.each_batch, size=4))
    network = NETWORKS[name]

    task, segment = dataclasses.replace(SMALL, network=network), segments_of()
    method = match_trajectories(MTT(2, 1, 1, student_lr=0.2), task, Segments(1, 1), teacher_labels=True)
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
    for share, learned in ((1.0, 10), (0.29, 2), (0.7, 7), (0.01, 1), (0.0, 0)):
        method = match_trajectories(MTT(update_share=share), SMALL, Segments(2, 20))
        state = start_of(method, np.zeros((3, 10, 2, 2, 1)))
        assert state.learned.images.shape[1] == learned
        assert (state.frozen is None) == (learned == 10)
        assert method.synthetic(state).images.shape[0] == 30


@pytest.mark.parametrize(
    ("settings", "advice"),
    [
        ({"image_lr": 0.0}, "`image_lr` of MTT is a positive number"),
        ({"student_lr_lr": float("nan")}, "`student_lr_lr` of MTT is a positive number"),
        ({"student_lr": -0.01}, "`student_lr` of MTT is a positive number"),
        ({"momentum": 1.0}, "`momentum` of MTT is a number from 0 to below 1"),
        ({"student_steps": 0}, "`student_steps` of MTT is at least 1"),
        ({"expert_epochs": 0}, "`expert_epochs` of MTT is at least 1"),
        ({"max_start": 0}, "`max_start` of MTT is at least 1"),
        ({"num_segments": 0}, "`num_segments` of MTT is at least 1"),
        ({"syn_batch": 0}, "`syn_batch` of MTT is at least 1"),
        ({"max_loss": 0.0}, "`max_loss` of MTT is a positive number"),
    ],
)
def test_bad_settings_are_refused_with_a_sentence(settings, advice):
    with pytest.raises(ValueError, match=advice):
        mtt(MTT(**settings), SMALL)
