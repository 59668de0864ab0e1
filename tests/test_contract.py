"""What every method keeps to. A new line in METHODS is tested by all of this; there is no branch on a method here."""

import contextlib
import dataclasses
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache, lru_cache

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from processes import EIGHT_DEVICES
from toys import make_toy

from jaxdistill.augment import make as make_augment
from jaxdistill.augment.formation import encode_images
from jaxdistill.data.feeds import sample
from jaxdistill.diffusion import Architecture
from jaxdistill.diffusion import make as make_generator
from jaxdistill.engine.devices import make_mesh, replicate, spread
from jaxdistill.engine.host_batches import step_keys
from jaxdistill.engine.loop import run
from jaxdistill.io import checkpoint
from jaxdistill.kernels import make as make_kernel
from jaxdistill.methods import METHODS
from jaxdistill.methods.partial_update import PartialUpdate
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find
from jaxdistill.selection import SELECTIONS
from jaxdistill.testing import toy_experts
from jaxdistill.types import GenerativeMethod, Method, SyntheticSet, Task, map_one_by_one

IPC = 3
LEARN_IMAGES = [config for config in METHODS if issubclass(config, PartialUpdate)]
SHAPE = (8, 8, 1)
NETWORKS = ("convnet", "convnet-bn")


def extends(config):
    """Whether a method's configuration extends another one's, whose step it takes with other options."""
    return any(base in METHODS for base in config.__mro__[1:])


def marks(config, whole):
    """What takes many compilations is tested of one method for each kind of step, unless slow tests are asked for."""
    return [pytest.mark.slow] if whole and extends(config) else []


def cases(networks, whole=False):
    pairs = [(config, network) for config in METHODS for network in networks]
    return [pytest.param(case, id=name(case), marks=marks(case[0], whole)) for case in pairs]


def name(case):
    return f"{case[0].__name__}-{case[1]}"


@cache
def trained_generator():
    """Small, and as if it had been trained: a fresh transformer says nothing."""
    sizes = Architecture(patch_size=4, hidden_size=8, num_layers=2, num_heads=2, diffusion_steps=60)
    pixels = ((-4.0,), (4.0,))
    params = make_generator(sizes, SHAPE, pixels, 4).init(jax.random.key(4))
    params = jax.tree.map(lambda leaf: leaf + 0.1 * jnp.sin(jnp.arange(leaf.size)).reshape(leaf.shape), params)
    return make_generator(sizes, SHAPE, pixels, 4, params=params)


def make_task(network, mapper=map_one_by_one):
    built = make_network(network, SHAPE, 4, width=8, depth=2)
    augment = make_augment("crop")
    kernel = make_kernel("fc1", SHAPE)
    return Task(
        network=built,
        augment=augment,
        image_shape=SHAPE,
        num_classes=4,
        map_classes=mapper,
        kernel=kernel,
        generator=trained_generator,
        steps=3,
        pixel_range=((-4.0,), (4.0,)),
        map_blocks=mapper,
    )


class Held(Method):
    """A method of either kind, as it is held to the contract.

    Attributes:
        start: gives what it starts from: real images, or what its generator draws before it is tuned.
        learned: what learns, of a state: the images, or the generator's parameters, of which an image of 8 bits shows
            little after a step.
    """

    start: Callable
    learned: Callable


def of_images(method):
    held, data = Held(*method), make_toy()[0]
    held.start = lambda: SELECTIONS["random"](jax.random.key(1), data, IPC * method.images_per_start)
    held.learned = lambda state: method.synthetic(state).images
    return held


def of_generator(method):
    def synthetic(params):
        return method.draw(jax.random.key(3), params, IPC)

    held = Held(
        lambda key, initial: method.init(key), method.step, lambda state: synthetic(method.params(state)), method.feed
    )
    held.start = lambda: synthetic(trained_generator().init(jax.random.key(0)))
    held.learned = method.params
    return held


KINDS = {Method: of_images, GenerativeMethod: of_generator}


def build(config, task):
    method = METHODS[config](find(config, "digits", IPC).config, task)
    return KINDS[type(method)](method)


def make_method(config, network, **options):
    return build(config, make_task(network, **options))


def start_of(method):
    return method.start()


@cache
def make_bank(network):
    return toy_experts(make_task(network), 20)


def source_of(method, network):
    """What the method's feed draws from, on the host."""
    return {"real": lambda: make_toy()[0], "experts": lambda: make_bank(network)}[method.feed.source]()


def one_step(method, data, state, index, key):
    key_feed, key_step = step_keys(key, index)
    return method.step(key_step, state, sample(method.feed, key_feed, index, data))


@pytest.fixture(params=cases(NETWORKS), scope="module")
def case(request):
    """A method, its data, a start, and three steps of it, jitted once for all tests that ask."""
    return stepped(*request.param)


@pytest.fixture(params=cases(NETWORKS[:1]), scope="module")
def plain(request):
    """The same without batch normalisation."""
    return stepped(*request.param)


@pytest.fixture(params=cases(NETWORKS[:1], whole=True), scope="module")
def kind(request):
    """The same of one method for each kind of step, for what takes many compilations."""
    return stepped(*request.param)


@lru_cache(maxsize=2)  # what is compiled takes memory as long as it is held
def stepped(config, network):
    method = make_method(config, network)
    data = jax.tree.map(jnp.asarray, source_of(method, network))
    initial = start_of(method)
    state = method.init(jax.random.key(2), initial)
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=1)
    def step(state, index, key):
        return one_step(method, data, state, index, key)

    infos = []
    states = [state]
    for i in range(3):
        state, info = step(state, i, jax.random.key(7))
        states.append(state)
        infos.append(info)
    return method, data, initial, states, infos, step


def test_builds_are_abstract_and_steps_keep_structure(case):
    method, _, initial, states, infos, _ = case
    abstract = jax.eval_shape(method.init, jax.random.key(2), initial)
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract, states[0])
    for state in states[1:]:
        chex.assert_trees_all_equal_shapes_and_dtypes(states[0], state)
    for info in infos:
        assert info._fields[0] == "loss"
        assert all(np.shape(value) == () and np.isfinite(value) for value in info)


def test_a_step_changes_the_set_and_the_set_reads_out_whole(case):
    method, _, initial, states, _, _ = case
    first, last = method.synthetic(states[0]), method.synthetic(states[-1])
    assert isinstance(first, SyntheticSet)
    assert first.images.shape == (4 * IPC, *SHAPE)
    whole = encode_images(initial.images, math.isqrt(method.images_per_start))
    np.testing.assert_allclose(first.images, whole, atol=1e-6)
    again = method.synthetic(method.init(jax.random.key(2), first))
    chex.assert_trees_all_close(again, first, atol=1e-6)
    chex.assert_trees_all_equal_shapes_and_dtypes(first, last)
    assert np.isfinite(last.images).all()
    assert np.abs(last.images - first.images).max() > 0


@pytest.mark.parametrize("config", [pytest.param(c, id=c.__name__, marks=marks(c, True)) for c in LEARN_IMAGES])
def test_what_is_kept_never_changes_by_a_bit_and_has_its_say(config):
    """A third of three images learns: the last one of each class, beside two that the loss sees too."""
    task = make_task(NETWORKS[0])
    settings = find(config, "digits", IPC).config
    method = of_images(METHODS[config](dataclasses.replace(settings, update_share=0.4), task))
    data = jax.tree.map(jnp.asarray, source_of(method, NETWORKS[0]))
    begin, step = jax.jit(method.init), jax.jit(lambda state, i: one_step(method, data, state, i, jax.random.key(7)))
    start, states, infos = start_of(method), [], []
    # Other first images of each class, which are never learned.
    kept = np.arange(start.count) % (start.count // 4) < 2 * method.images_per_start
    other = start.replace(images=jnp.where(kept[:, None, None, None], start.images[::-1], start.images))
    for initial in (start, other):
        states.append([begin(jax.random.key(2), initial)])
        for i in range(3):
            state, info = step(states[-1][-1], i)
            states[-1].append(state)
        infos.append(info)
    first, last = (method.synthetic(state) for state in (states[0][0], states[0][-1]))
    np.testing.assert_array_equal(first.selected, [True, True, False] * 4)
    chex.assert_trees_all_equal_shapes_and_dtypes(first, last)
    np.testing.assert_array_equal(last.images[last.selected], first.images[first.selected])
    assert (np.abs(last.images - first.images).max((1, 2, 3)) > 0).tolist() == (~np.asarray(first.selected)).tolist()
    assert infos[0].loss != infos[1].loss
    assert method.synthetic(method.init(jax.random.key(2), last)).selected.tolist() == first.selected.tolist()
    with pytest.raises(ValueError, match=r"`update_share` of .* is a number from 0 to 1, not 1.5"):
        dataclasses.replace(settings, update_share=1.5)


def test_same_key_same_result_and_other_key_another(case):
    method, _, _, states, _, step = case
    again, _ = step(states[0], 0, jax.random.key(7))
    chex.assert_trees_all_equal(again, states[1])
    other, _ = step(states[0], 0, jax.random.key(8))
    pairs = zip(*(jax.tree.leaves(method.learned(state)) for state in (other, states[1])), strict=True)
    assert any((one != two).any() for one, two in pairs)


def widened(tree):
    """Of a program with float64: every float in it is one."""
    return jax.tree.map(lambda leaf: leaf.astype(float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def wide(init):
    """Of a network or generator: its parameters in float64."""
    return lambda key: widened(init(key))


@pytest.mark.parametrize("config", [pytest.param(c, id=c.__name__, marks=marks(c, True)) for c in METHODS])
def test_scan_and_vmap_agree_with_the_jitted_steps(config):
    """In float64: of a gradient that is zero but for rounding Adam makes a whole step, which no float32 could judge."""
    task, generator = make_task(NETWORKS[0]), trained_generator()  # which is kept, and has float32 for all others
    with jax.enable_x64(True):
        generator = dataclasses.replace(generator, init=wide(generator.init))
        network = task.network._replace(init=wide(task.network.init))
        method = build(config, dataclasses.replace(task, network=network, generator=lambda: generator))
        data = widened(jax.tree.map(jnp.asarray, source_of(method, NETWORKS[0])))
        start = jax.jit(method.init)(jax.random.key(2), widened(start_of(method)))
        seeds = jax.random.split(jax.random.key(9), 2)
        step = jax.jit(lambda state, index, key: one_step(method, data, state, index, key))

        @jax.jit
        @jax.vmap
        def scanned(key):
            keys = jax.random.split(key, 2)
            return jax.lax.scan(lambda state, i: one_step(method, data, state, i, keys[i]), start, jnp.arange(2))

        batched, infos = scanned(seeds)
        for seed, key in enumerate(seeds):
            state = start
            for i, one in enumerate(jax.random.split(key, 2)):
                state, info = step(state, i, one)
                np.testing.assert_allclose(infos.loss[seed, i], info.loss, rtol=1e-6)
            chex.assert_trees_all_close(
                jax.tree.map(lambda leaf, seed=seed: leaf[seed], batched), state, rtol=1e-6, atol=1e-9
            )


def test_no_key_is_used_twice(plain):
    """Under JAX's own checker, which sees in the program what is drawn from a key and what is split; siamese reuse is
    declared."""
    method, data, initial, _, _, _ = plain
    with jax.debug_key_reuse(True):
        state = jax.eval_shape(jax.jit(method.init), jax.random.key(2), initial)
        step = jax.jit(lambda state, index, key: one_step(method, data, state, index, key))
        jax.eval_shape(step, state, 0, jax.random.key(7))


def test_a_program_with_float64_keeps_the_types_of_its_state(plain):
    """Arrays are float32 as before; what is computed in float64 comes back as they are."""
    method, data, initial, _, _, _ = plain
    with jax.enable_x64(True):
        state = jax.eval_shape(method.init, jax.random.key(2), initial)
        after, _ = jax.eval_shape(lambda state: one_step(method, data, state, 0, jax.random.key(7)), state)
        chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
        assert jax.eval_shape(method.synthetic, after).images.dtype == initial.images.dtype


@pytest.mark.slow
def test_in_a_program_with_float64_steps_are_finite(plain):
    method, data, initial, _, _, _ = plain
    with jax.enable_x64(True):
        state = jax.jit(method.init)(jax.random.key(2), initial)
        _, info = jax.jit(lambda state: one_step(method, data, state, 0, jax.random.key(7)))(state)
        assert all(np.isfinite(value) for value in info)


@pytest.mark.slow
def test_eager_is_jitted(plain):
    method, data, _, states, infos, _ = plain
    eager, info = one_step(method, data, states[0], 0, jax.random.key(7))
    chex.assert_trees_all_close(eager, states[1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(info.loss, infos[0].loss, rtol=1e-4)


def driven(method, source, state, **options):
    """The chunks of three steps."""
    mesh = make_mesh()
    key, state = replicate(jax.random.key(7), mesh), replicate(state, mesh)
    return [jax.tree.map(np.array, chunk) for chunk in run(method, source, key, state, 3, mesh=mesh, **options)]


def test_the_loop_is_the_steps_whatever_its_chunks_and_goes_on_from_a_checkpoint(kind, tmp_path):
    method, data, initial, states, infos, _ = kind
    data, start = replicate(data, make_mesh()), jax.tree.map(np.array, states[0])
    whole = driven(method, data, start, chunk_seconds=1e9)
    assert [chunk.step for chunk in whole] == [1, 3]
    chex.assert_trees_all_close(whole[-1].state, states[-1], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([c.infos.loss for c in whole]), [i.loss for i in infos], rtol=1e-4)

    single = driven(method, data, start, chunk_seconds=0.0)
    assert [chunk.step for chunk in single] == [1, 2, 3]
    chex.assert_trees_all_equal(single[-1].state, whole[-1].state)
    checkpoint.save(tmp_path, 1, single[0].state)
    abstract = jax.eval_shape(method.init, jax.random.key(2), initial)
    step, restored, _ = checkpoint.restore(tmp_path, abstract, warn=pytest.fail)
    resumed = driven(method, data, restored, start=step, chunk_seconds=1e9)
    assert resumed[0].step == 2
    chex.assert_trees_all_equal(resumed[-1].state, single[-1].state)


@pytest.mark.slow
def test_the_loop_is_the_same_on_the_host_where_batches_are_drawn_ahead(plain):
    method, data, _, states, _, _ = plain
    host, start = (jax.tree.map(np.array, tree) for tree in (data, states[0]))
    single = driven(method, host, start, on_host=True)
    assert [chunk.step for chunk in single] == [1, 2, 3]
    chex.assert_trees_all_close(single[-1].state, states[-1], rtol=1e-4, atol=1e-5)


EIGHT = """
import json, sys
sys.path.insert(0, sys.argv[1])
import test_contract
for line in sys.stdin:
    print(json.dumps(test_contract.spread_over_devices(line.strip())), flush=True)
"""


def spread_over_devices(asked):
    """How many devices this process has, and the images after three steps of a method on all of them."""
    config, mesh = next(config for config in METHODS if name((config, NETWORKS[0])) == asked), make_mesh()
    method = make_method(config, NETWORKS[0], mapper=spread(mesh, 1))
    data = replicate(source_of(method, NETWORKS[0]), mesh)
    state = replicate(jax.tree.map(np.asarray, method.init(jax.random.key(2), start_of(method))), mesh)
    *_, last = run(method, data, replicate(jax.random.key(7), mesh), state, 3, mesh=mesh)
    return jax.device_count(), np.asarray(method.synthetic(last.state).images).tolist()


@pytest.fixture(scope="module")
def on_eight_devices(tmp_path_factory):
    """A process with eight devices, which is asked for one method after another."""
    said = tmp_path_factory.mktemp("eight") / "errors"
    with (
        said.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", EIGHT, os.path.dirname(__file__)],
            env={**os.environ, **EIGHT_DEVICES},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):

        def ask(asked):
            with contextlib.suppress(BrokenPipeError):
                print(asked, file=process.stdin, flush=True)
            answer = process.stdout.readline()
            assert answer, said.read_text()[-3000:]
            return json.loads(answer)

        yield ask


def test_eight_devices_give_the_result_of_one(kind, request, on_eight_devices):
    method, _, _, states, _, _ = kind
    devices, images = on_eight_devices(request.node.callspec.id)
    assert devices == 8
    np.testing.assert_allclose(images, method.synthetic(states[-1]).images, rtol=1e-5, atol=1e-5)
