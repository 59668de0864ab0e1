"""Starts that experts have a say in: which images they get right, and the labels they give, against tables of logits.

An image of these data is what each of the teachers says of it, so that a set's images tell what its labels must be.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data.feeds import real_data
from jaxdistill.selection.base import Teachers
from jaxdistill.selection.taught import correct, labelled
from jaxdistill.types import Network, Variables

CLASSES, TEACHERS = 3, 3
KEY = jax.random.key(0)
AS_THEY_ARE = np.ones(TEACHERS * CLASSES), np.zeros(TEACHERS * CLASSES)


def apply(variables, images, train=False):
    assert not train
    said = images.reshape(images.shape[0], TEACHERS, CLASSES)
    return jnp.einsum("ntc,t->nc", said, variables.params), variables.statistics


NETWORK = Network(lambda key: Variables(jnp.zeros(TEACHERS), {}), apply, lambda *_: None)


def teachers(count=TEACHERS):
    return Teachers(NETWORK, lambda number: Variables(jnp.eye(TEACHERS)[number], {}), count)


def data_of(right, seed=0):
    """Images of which teacher t gets those right where ``right[t]`` says so; one row of it for each class."""
    labels = np.repeat(np.arange(CLASSES), [len(row) for row in right])
    right = np.concatenate(right)
    logits = np.random.default_rng(seed).normal(size=(len(labels), TEACHERS, CLASSES)).astype(np.float32)
    order = np.argsort(logits, axis=-1)
    best, wanted = order[..., -1], np.broadcast_to(labels[:, None], right.shape)
    wanted = np.where(right, wanted, (wanted + 1) % CLASSES)
    for number, teacher in np.argwhere(best != wanted):  # swap the largest to where it is wanted
        row, there, here = logits[number, teacher], best[number, teacher], wanted[number, teacher]
        row[there], row[here] = row[here], row[there]
    return real_data(logits[:, None, None].reshape(-1, 1, 1, TEACHERS * CLASSES), labels, CLASSES, *AS_THEY_ARE)


def random_rights(shares, sizes=(40, 30, 35), seed=1):
    rng = np.random.default_rng(seed)
    return [rng.random((size, TEACHERS)) < shares for size in sizes]


def said(found):
    """``[classes, ipc, teachers, classes]``: what each teacher says of the images of a set."""
    return np.asarray(found.images, np.float64).reshape(CLASSES, -1, TEACHERS, CLASSES)


def right_of(found):
    return said(found).argmax(-1) == np.arange(CLASSES)[:, None, None]


@pytest.mark.parametrize("ipc", [1, 12])
def test_every_image_is_right_and_labelled_with_the_mean_of_those_that_are(ipc):
    found = correct(KEY, data_of(random_rights([0.3, 0.5, 0.7])), ipc, teachers())
    assert found.images.shape == (CLASSES * ipc, 1, 1, TEACHERS * CLASSES)
    assert found.label_kind == "logit"
    right = right_of(found)
    assert right.any(-1).all()
    assert len(np.unique(found.images.reshape(CLASSES * ipc, -1), axis=0)) == CLASSES * ipc
    expected = [
        np.mean([logits for logits, good in zip(image, goods, strict=True) if good], axis=0)
        for image, goods in zip(said(found).reshape(-1, TEACHERS, CLASSES), right.reshape(-1, TEACHERS), strict=True)
    ]
    np.testing.assert_allclose(found.labels, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found.labels.argmax(-1), np.repeat(np.arange(CLASSES), ipc))


def test_the_first_teacher_comes_first_and_the_next_ones_fill_up():
    rights = random_rights([0.2, 0.4, 1.0])
    rights[1][:, 0], rights[2][:, :2] = False, False
    rights[1][:, 1] = np.arange(30) < 3
    firsts = [int(rows[:, 0].sum()) for rows in rights]
    assert firsts[0] >= 5
    right = right_of(correct(KEY, data_of(rights), 5, teachers()))
    assert right[0, :, 0].all(), "where the first teacher gets enough right, no image is another's"
    assert right[1, :, 1].sum() == 3, "all that the second gets right"
    assert right[1, :, 2].all(), "and the rest from the third"
    assert right[2, :, 2].all()
    some = correct(KEY, data_of(rights), firsts[0] + 4, teachers())
    assert right_of(some)[0, :, 0].sum() == firsts[0], "all that the first gets right, and then the second's"
    assert right_of(some)[0].any(-1).all()
    assert right_of(some)[0, :, :2].any(-1).all()


def test_the_only_right_image_of_a_large_class_is_found():
    """Classes are looked through block by block, in random order."""
    rights = [np.zeros((n, TEACHERS), bool) for n in (600, 3, 300)]
    for rows, place in zip(rights, (599, 0, 7), strict=True):
        rows[place, 1] = True
    for seed in range(3):
        data = data_of(rights)
        found = correct(jax.random.key(seed), data, 1, teachers())
        np.testing.assert_array_equal(found.images, data.images[[599, 600, 610]])


def test_images_are_drawn_at_random():
    data = data_of(random_rights([1.0, 1.0, 1.0], sizes=(10, 10, 10)))
    draws = [correct(jax.random.key(seed), data, 3, teachers(1)).images for seed in range(60)]
    rows = data.images.reshape(30, -1)
    counts = sum((draw.reshape(9, 1, -1) == rows).all(-1).sum(0) for draw in draws)
    assert counts.sum() == 60 * 9
    assert (abs(np.asarray(counts) - 18) < 5 * np.sqrt(18)).all()
    again = correct(jax.random.key(3), data, 3, teachers(1)).images
    np.testing.assert_array_equal(again, draws[3])


def test_too_few_right_images_and_bad_sizes_are_refused():
    rights = random_rights([0.0, 0.0, 1.0])
    rights[1][:, 2] = np.arange(30) < 4
    data = data_of(rights)
    correct(KEY, data, 4, teachers())
    with pytest.raises(ValueError, match="the experts get 4 images of class 1 right, too few for 5; lower the images"):
        correct(KEY, data, 5, teachers())
    with pytest.raises(ValueError, match="get 0 images of class 0 right"):
        correct(KEY, data, 1, teachers(2))
    for strategy in (correct, labelled):
        with pytest.raises(ValueError, match="must be at least 1, not 0"):
            strategy(KEY, data, 0, teachers())
    with pytest.raises(ValueError, match="class 1 has 30 images, too few to select 31"):
        labelled(KEY, data, 31, teachers())


def test_labelled_images_are_any_with_what_the_first_teacher_says():
    data = data_of(random_rights([0.3, 1.0, 1.0]))
    found = labelled(KEY, data, 20, teachers())
    assert found.label_kind == "logit"
    np.testing.assert_allclose(found.labels, said(found)[:, :, 0].reshape(-1, CLASSES), rtol=1e-6)
    right = right_of(found)[..., 0]
    assert right.any()
    assert not right.all(), "also what it gets wrong"
    rows = data.images.reshape(105, -1)
    where = (found.images.reshape(60, 1, -1) == rows).all(-1).argmax(-1)
    np.testing.assert_array_equal(data.labels[where], np.repeat(np.arange(CLASSES), 20))
    assert len(set(where.tolist())) == 60
    other = labelled(jax.random.key(1), data, 20, teachers())
    assert not np.array_equal(other.images, found.images)
