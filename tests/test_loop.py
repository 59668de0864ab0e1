"""The loop on a method that counts, so that what it does can be read off."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.data.feeds import Uniform
from jaxdistill.engine.devices import begin, from_first, make_mesh, replicate, spread
from jaxdistill.engine.loop import MOST_LOST, NonFiniteError, run
from jaxdistill.types import Method, SyntheticSet


class Info(NamedTuple):
    loss: jax.Array
    label: jax.Array


def counting(loss, images=lambda count: count):
    """State is the number of steps done; `loss` and `images` say what they are after it."""

    def step(key, state, batch):
        count = state["count"] + 1
        return {"count": count, "images": images(count)}, Info(loss(count), batch.labels[0])

    start = {"count": jnp.float32(0), "images": jnp.float32(0)}
    return Method(lambda key, initial: start, step, lambda state: SyntheticSet(state["images"], jnp.eye(1)), Uniform(3))


@pytest.fixture(scope="module")
def mesh():
    return make_mesh()


def drive(method, toy, mesh, steps, **options):
    data, key = replicate(toy[0], mesh), replicate(jax.random.key(0), mesh)
    state = replicate(method.init(None, None), mesh)
    for chunk in run(method, data, key, state, steps, mesh=mesh, **options):
        yield chunk._replace(state=jax.tree.map(np.array, chunk.state))


def test_chunks_grow_to_the_wanted_time_and_never_trace_again(toy, mesh):
    traces = chex.assert_max_traces(lambda count: count * 2, n=3)  # the shape of Info, of the loop, and its lowering
    chunks = list(drive(counting(traces), toy, mesh, 50, every=20, chunk_seconds=1e9))
    assert [chunk.step for chunk in chunks] == [1, 9, 29, 49, 50]
    assert chunks[-1].state["count"] == 50
    losses = np.concatenate([chunk.infos.loss for chunk in chunks])
    np.testing.assert_array_equal(losses, 2 * np.arange(1, 51))
    assert chunks[0].compile_seconds > 0
    assert all(chunk.compile_seconds == 0 for chunk in chunks[1:])
    chex.clear_trace_counter()


def test_batches_depend_on_the_step_alone(toy, mesh):
    labels = {}
    for every, start in ((1, 0), (7, 0), (7, 4)):
        drawn = [
            x
            for chunk in drive(counting(lambda c: c), toy, mesh, 12, every=every, start=start)
            for x in chunk.infos.label
        ]
        labels[every, start] = [int(x) for x in drawn]
    assert labels[1, 0] == labels[7, 0]
    assert labels[7, 4] == labels[1, 0][4:]
    assert len(set(labels[1, 0])) > 1


@pytest.mark.parametrize("every", [1, 100])
def test_a_loss_or_a_state_that_is_not_finite_stops_the_run_at_its_step(toy, mesh, every):
    bad = {
        "loss": counting(lambda count: jnp.where(count == 6, jnp.nan, count)),
        "state": counting(lambda count: count, lambda count: jnp.where(count == 6, jnp.inf, count)),
    }
    for what, method in bad.items():
        steps = 10 if what == "loss" else 6
        chunks = drive(method, toy, mesh, steps, every=every, chunk_seconds=1e9)
        seen = []
        with pytest.raises(NonFiniteError) as error:
            seen.extend(chunk.step for chunk in chunks)
        assert error.value.step == 6
        assert all(step < 6 for step in seen)


class Applied(NamedTuple):
    loss: jax.Array
    applied: jax.Array


@pytest.mark.parametrize("every", [1, 100])
def test_a_step_that_was_left_out_may_have_no_finite_loss_unless_many_have(toy, mesh, every):
    def left_out(first, last):
        def step(key, state, batch):
            count = state["count"] + 1
            bad = (count >= first) & (count <= last)
            return {**state, "count": count}, Applied(jnp.where(bad, jnp.nan, 1.0), jnp.float32(~bad))

        return counting(lambda count: count)._replace(step=step)

    options = {"every": every, "chunk_seconds": 1e9}
    chunks = list(drive(left_out(3, 1 + MOST_LOST), toy, mesh, MOST_LOST + 5, **options))
    assert chunks[-1].step == MOST_LOST + 5
    with pytest.raises(NonFiniteError) as error:
        list(drive(left_out(3, 2 + MOST_LOST), toy, mesh, MOST_LOST + 5, **options))
    assert error.value.step == 2 + MOST_LOST


def test_a_run_that_is_over_yields_nothing(toy, mesh):
    assert list(drive(counting(lambda c: c), toy, mesh, 3, start=3)) == []


def test_spread_is_lax_map_for_any_size(mesh):
    entries = (jnp.arange(10.0), jnp.arange(20.0).reshape(10, 2))
    expected = np.arange(10.0) * 3 + np.arange(20.0).reshape(10, 2).sum(1)
    for size in (1, 3, 50):
        found = spread(mesh, size)(lambda entry, factor: entry[0] * factor + entry[1].sum(), entries, jnp.float32(3))
        np.testing.assert_allclose(found, expected)
    assert spread(mesh, 3) is spread(mesh, 3), "compilations are kept by function"


def test_one_process_broadcasts_to_itself_and_joins_nothing_unheard_of():
    tree = {"a": np.array([-0.0, 1.0])}
    assert from_first(tree) is tree
    with pytest.raises(ValueError, match="HOST:PORT,COUNT,INDEX"):
        begin("somewhere", print)
