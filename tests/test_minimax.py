"""Minimax Diffusion's memories and terms beside brute force, and the method's own promises."""

import dataclasses
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toys import make_toy

from jaxdistill.augment import make as make_augment
from jaxdistill.data.feeds import sample
from jaxdistill.diffusion import Architecture
from jaxdistill.diffusion import make as make_generator
from jaxdistill.diffusion.denoise import denoise
from jaxdistill.diffusion.memory import diversity, empty_memory, mean_of, push, representativeness
from jaxdistill.diffusion.sample import Sampling
from jaxdistill.methods.dit import DiT, dit
from jaxdistill.methods.minimax import Minimax, minimax
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find
from jaxdistill.types import Task

rng = np.random.default_rng(0)


def brute(rows, labels, stored, centre=0.0):
    """Each class's cosines with what is stored of it, one pair at a time."""
    found = {}
    for c in np.unique(labels):
        pairs = [
            (float(np.dot(a - centre, b - centre) / np.linalg.norm(a - centre) / np.linalg.norm(b - centre)), i, j)
            for i, a in enumerate(rows)
            if labels[i] == c
            for j, b in enumerate(stored[c])
        ]
        found[c] = pairs
    return found


def filled(stored, size, d):
    memory = empty_memory(len(stored), size, d)
    for c, rows in enumerate(stored):
        for row in rows:
            memory = push(memory, jnp.asarray(row, jnp.float32)[None], jnp.array([c]))
    return memory


def test_memories_are_first_in_first_out():
    """Batches of any mixture, some with more of a class than there is room for, beside lists."""
    size, classes, lists = 3, 3, [[], [], []]
    memory = empty_memory(classes, size, 2)
    put = jax.jit(push)
    for _ in range(6):
        rows, labels = rng.normal(size=(7, 2)).astype(np.float32), rng.choice(3, 7, p=[0.75, 0.25, 0])
        memory = put(memory, rows, labels)
        for row, label in zip(rows, labels, strict=True):
            lists[label] = [*lists[label], row][-size:]
        for c in range(classes):
            held = np.asarray(memory.rows[c])[np.asarray(memory.held[c])]
            ours, theirs = (sorted(map(tuple, side)) for side in (held, lists[c]))
            assert ours == theirs
            # The oldest is overwritten next: the ring starts where the next is written.
            begin = int(memory.written[c]) % size if len(lists[c]) == size else 0
            np.testing.assert_array_equal(np.roll(held, -begin, axis=0), np.array(lists[c]).reshape(-1, 2))
    np.testing.assert_allclose(mean_of(memory), np.mean([*lists[0], *lists[1]], axis=0), rtol=1e-5)
    assert memory.written[2] == 0


@pytest.mark.parametrize("centre", [0.0, 0.5])
def test_terms_are_brute_force_and_pull_one_pair_of_each_class(centre):
    labels = np.array([0, 2, 0, 2, 1, 0])  # of class 1 nothing is stored, class 3 is not in the batch
    rows = rng.normal(size=(6, 5))
    stored = [rng.normal(size=(4, 5)), np.empty((0, 5)), rng.normal(size=(2, 5)), rng.normal(size=(3, 5))]
    pairs = brute(rows, labels, stored, centre)
    with jax.enable_x64(True):
        memory = filled(stored, 4, 5)._replace(rows=None)
        grid = np.zeros((4, 4, 5))
        for c, kept in enumerate(stored):
            grid[c, : len(kept)] = kept
        memory = memory._replace(rows=jnp.asarray(grid))
        for term, pick, value in (
            (representativeness, min, lambda cosine: 1 - cosine),
            (diversity, max, lambda cosine: cosine),
        ):
            chosen = [pick(pairs[c]) for c in (0, 2)]
            expected = sum(value(cosine) for cosine, _, _ in chosen) / 3  # three classes in the batch
            found, gradient = jax.value_and_grad(term)(jnp.asarray(rows), jnp.asarray(labels), memory, centre)
            np.testing.assert_allclose(found, expected, rtol=1e-9)
            touched = set(np.flatnonzero(np.abs(np.asarray(gradient)).sum(axis=1)))
            assert touched == {i for _, i, _ in chosen}
            step = 1e-6
            for _, i, j in chosen:
                c = labels[i]
                moved = [rows.copy(), rows.copy()]
                for sign, copy in zip((1, -1), moved, strict=True):
                    copy[i, 0] += sign * step
                ends = [
                    value(next(p for p in brute(m, labels, stored, centre)[c] if p[1:] == (i, j))[0]) for m in moved
                ]
                np.testing.assert_allclose(gradient[i, 0], (ends[0] - ends[1]) / (2 * step) / 3, rtol=1e-5, atol=1e-9)


def test_nothing_remembered_is_no_loss_and_no_gradient():
    rows, labels = jnp.asarray(rng.normal(size=(3, 5)), jnp.float32), jnp.array([0, 1, 1])
    for term in (representativeness, diversity):
        found, gradient = jax.value_and_grad(term)(rows, labels, empty_memory(2, 4, 5))
        assert found == 0
        np.testing.assert_array_equal(gradient, 0)
        # Equal to what is remembered, or zero: finite.
        memory = push(empty_memory(2, 4, 5), rows.at[0].set(0), labels)
        assert np.isfinite(jax.grad(term)(rows.at[0].set(0), labels, memory)).all()


SHAPE = (8, 8, 1)
SAMPLING = Sampling(sampling_steps=3, guidance=1.0)
ARCHITECTURE = Architecture(patch_size=4, hidden_size=16, num_layers=2, num_heads=2, diffusion_steps=20)


def make_task(**options):
    def generator():
        return make_generator(ARCHITECTURE, SHAPE, ((-4.0,), (4.0,)), 4, **options)

    network = make_network("mlp", SHAPE, 4)
    return Task(network=network, augment=make_augment("none"), image_shape=SHAPE, num_classes=4, generator=generator)


@pytest.fixture(scope="module")
def trained():
    """Parameters whose zeros, of which a fresh transformer has many, are drawn."""
    params = make_task().generator().init(jax.random.key(0))
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(jax.random.key(1), len(leaves))
    return jax.tree.unflatten(
        tree, [x + 0.05 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)]
    )


def stepped(config, params, steps=3):
    method = minimax(config, make_task(params=params))
    data = jax.tree.map(jnp.asarray, make_toy()[0])

    @jax.jit
    def run(state):
        def one(state, key):
            return method.step(key, state, sample(method.feed, jax.random.fold_in(key, 1), 0, data))

        return jax.lax.scan(one, state, jax.random.split(jax.random.key(3), steps))

    before = method.init(jax.random.key(2))
    return method, before, *run(before)


def test_only_what_is_tuned_moves_and_the_average_follows(trained):
    config = Minimax(real_batch=8, memory_size=2, ema_decay=0.5, sampling=SAMPLING)
    method, before, after, infos = stepped(config, trained, steps=1)
    moved = jax.tree_util.tree_map_with_path(
        lambda path, old, new: (jax.tree_util.keystr(path), bool((old != new).any())), before.params, after.params
    )
    names = dict(jax.tree.leaves(moved, is_leaf=lambda leaf: isinstance(leaf, tuple)))
    for name, changed in names.items():
        # Labels that were in the batch, biases and the scales of the first half of the blocks.
        assert changed == ("bias" in name or "gamma" in name or "label_table" in name), name
    assert sum("gamma" in name for name in names) == 4
    for name, average in after.average.items():
        part = after.params["model"]
        old = before.params["model"]
        for key in name.split("/"):
            part, old = part[key], old[key]
        np.testing.assert_allclose(average, 0.5 * old + 0.5 * part, rtol=1e-6, atol=1e-7)
    learned = method.params(after)
    np.testing.assert_array_equal(learned["model"]["label_table"], after.average["label_table"])
    # The first visit of a class has nothing to be compared with; what is remembered is the batch.
    assert infos.representativeness[0] == 0
    assert infos.diversity[0] == 0
    assert int(after.real.written.sum()) == 8 == int(after.predicted.written.sum())


def test_the_terms_join_the_loss_with_their_weights(trained):
    common = {"batch": 16, "memory": 4, "lr": 1e-9, "sampling": SAMPLING}
    _, _, _, plain = stepped(Minimax(**common, representativeness=0.0, diversity=0.0), trained)
    _, _, _, both = stepped(Minimax(**common, representativeness=2.0, diversity=3.0), trained)
    np.testing.assert_allclose(plain.loss, plain.denoising, rtol=1e-6)
    assert both.representativeness[1:].min() > 0
    total = both.denoising + 2 * both.representativeness + 3 * both.diversity
    np.testing.assert_allclose(both.loss, total, rtol=1e-5)
    np.testing.assert_allclose(both.denoising, plain.denoising, rtol=1e-4)


@pytest.mark.parametrize("dataset", ["digits", "fashion_mnist", "svhn_cropped", "a_folder"])
def test_the_terms_weigh_in_the_presets_for_small_images(trained, dataset):
    config = find(Minimax, dataset, 10).config
    assert (config.lr, config.trainable, config.center, config.ema_decay) == (1e-4, "all", True, 0.98)
    weights = config.representativeness, config.diversity
    assert weights == ((0.05, 0.5) if dataset == "digits" else (0.01, 0.2)), "of the build notes' tables"
    _, _, _, infos = stepped(dataclasses.replace(config, batch=16, memory=4, sampling=SAMPLING), trained)
    share = jnp.abs(infos.loss - infos.denoising) / infos.loss
    assert share[1:].mean() > 0.02


def test_subsets_of_imagenet_are_drawn_and_judged_alike_by_both_methods():
    for dataset in ("imagewoof", "imagenette", "imagenet10", "imagenet100"):
        presets = [find(config, dataset, 10) for config in (DiT, Minimax)]
        assert {(preset.protocol, preset.eval_network, preset.augment) for preset in presets} == {
            ("minimax", "resnet10ap,convnet,resnet18-imagenet", "flip")
        }
        assert {preset.eval_size for preset in presets} == {224}
        assert all(preset.config.sampling == Sampling(guidance=4.0, guided_channels=3) for preset in presets)
    assert find(DiT, "digits", 10).config.sampling == find(Minimax, "digits", 10).config.sampling


def test_each_term_does_what_it_is_for(trained):
    """Many steps of one term alone on all parameters: predictions come nearer to real images, or apart."""
    common = {"batch": 16, "memory": 8, "tune": "all", "lr": 2e-3, "sampling": SAMPLING}
    _, _, _, near = stepped(Minimax(**common, representativeness=10.0, diversity=0.0), trained, 40)
    _, _, _, apart = stepped(Minimax(**common, representativeness=0.0, diversity=10.0), trained, 40)
    assert near.representativeness[-10:].mean() < apart.representativeness[-10:].mean()
    assert apart.diversity[-10:].mean() < near.diversity[-10:].mean()


def test_new_scales_change_nothing(trained):
    plain = make_generator(ARCHITECTURE, SHAPE, ((-4.0,), (4.0,)), 4)
    scaled = make_generator(ARCHITECTURE, SHAPE, ((-4.0,), (4.0,)), 4, params=trained)
    noisy = jnp.asarray(rng.normal(size=(2, *SHAPE)), jnp.float32)
    arguments = noisy, jnp.array([3, 11]), jnp.array([1, 4])
    with_scales = scaled.init(jax.random.key(9))
    assert set(with_scales["model"]["block_00"]) > set(trained["model"]["block_00"])
    np.testing.assert_allclose(plain.apply(trained, *arguments), scaled.apply(with_scales, *arguments), atol=1e-6)


def test_parameters_of_another_architecture_are_not_filled_up(trained):
    model = trained["model"]
    for wrong in (
        {name: part for name, part in model.items() if name != "block_01"},
        {**model, "block_02": model["block_01"]},
        {**model, "label_table": model["label_table"][1:]},
    ):
        with pytest.raises(ValueError, match="are of another architecture"):
            make_task(params={**trained, "model": wrong}).generator()


def test_what_is_refused(trained):
    with pytest.raises(ValueError, match="minimax fine-tunes a generator; train one with 'jaxdistill distill dit'"):
        minimax(Minimax(sampling=SAMPLING), make_task())
    with pytest.raises(ValueError, match="draws its set from a generator"):
        minimax(Minimax(), dataclasses.replace(make_task(), generator=None))
    for config, said in (
        (Minimax(trainable="some", sampling=SAMPLING), "`trainable` of Minimax is one of scales, all"),
        (Minimax(real_batch=10, microbatches=3, sampling=SAMPLING), "a batch of 10 cannot go in 3 equal blocks"),
        (Minimax(memory_size=0, sampling=SAMPLING), "`memory_size` of Minimax is at least 1"),
    ):
        with pytest.raises(ValueError, match=said):
            minimax(config, make_task(params=trained))
    with pytest.raises(ValueError, match="there is no autoencoder to train"):
        dit(DiT(autoencoder_steps=5, sampling=SAMPLING), make_task())
    with pytest.raises(ValueError, match="sampling takes 2 to 20 steps, not 50"):
        dit(DiT(), make_task())


def test_an_autoencoder_learns_first_and_then_rests():
    sizes = {"latents": (8, 8), "latent_groups": 4, "latent_channels": 2}
    wide = Architecture(patch_size=2, hidden_size=16, num_layers=1, num_heads=2, diffusion_steps=20, **sizes)
    task = dataclasses.replace(make_task(), generator=lambda: make_generator(wide, SHAPE, ((-4.0,), (4.0,)), 4))
    with pytest.raises(ValueError, match="latents need an autoencoder; say how long to train it"):
        dit(DiT(sampling=SAMPLING), task)
    with pytest.raises(ValueError, match="all 5 steps would train the autoencoder"):
        dit(DiT(autoencoder_steps=5, sampling=SAMPLING), dataclasses.replace(task, steps=5))
    with pytest.raises(ValueError, match="2 levels of `latents` take sides that are multiples of 2"):
        make_generator(wide, (9, 9, 1), ((-4.0,), (4.0,)), 4)
    method = dit(DiT(real_batch=8, autoencoder_steps=2, sampling=SAMPLING), task)
    data = jax.tree.map(jnp.asarray, make_toy()[0])
    state = method.init(jax.random.key(2))
    step = jax.jit(lambda key, state: method.step(key, state, sample(method.feed, key, 0, data)))
    states = [state]
    for i in range(4):
        states.append(step(jax.random.key(i), states[-1])[0])

    def moves(part):
        leaves = [jax.tree.leaves(s.params[part]) for s in states]
        return [any((a != b).any() for a, b in zip(x, y, strict=True)) for x, y in pairwise(leaves)]

    # A transformer's first step has step size 0.
    assert moves("autoencoder") == [True, True, False, False]
    assert moves("model")[:2] == [False, False]
    assert moves("model")[3]
    clean = task.generator().encode(states[2].params, jax.random.key(9), data.read(jnp.arange(48)).images)
    spread, factor = float(jnp.std(clean)), float(states[2].params["autoencoder"]["factor"])
    assert abs(spread - 1) < min(0.05, abs(spread / factor - 1))
    assert method.draw(jax.random.key(3), method.params(states[-1]), 1).images.shape == (4, *SHAPE)


def test_blocks_of_a_batch_are_the_whole_batch(trained):
    """Gradients added up over four blocks, and terms and memories of all of it, as they are of one."""
    config = Minimax(real_batch=16, memory_size=4, representativeness=2.0, diversity=3.0, lr=1e-3, sampling=SAMPLING)
    (*_, whole, ones), (*_, parts, infos) = (
        stepped(dataclasses.replace(config, microbatches=blocks), trained, 6) for blocks in (1, 4)
    )
    assert jnp.all(ones.diversity[1:] != 0)
    for one, other in zip(ones, infos, strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-4, atol=1e-5)
    for name in ("real", "predicted"):
        one, other = getattr(whole, name), getattr(parts, name)
        np.testing.assert_array_equal(one.written, other.written)
        np.testing.assert_allclose(one.rows, other.rows, atol=2e-4)


def test_bfloat16_is_near_float32_and_leaves_parameters_as_they_are(trained):
    """Numbers of eight bits' precision: each step's loss to a hundredth, and its gradient's length to a tenth."""
    config = Minimax(real_batch=16, memory_size=4, representativeness=2.0, diversity=3.0, lr=1e-4, sampling=SAMPLING)
    (*_, whole, ones), (*_, half, infos) = (
        stepped(dataclasses.replace(config, precision=precision), trained, 6) for precision in ("float32", "bfloat16")
    )
    np.testing.assert_allclose(ones.denoising, infos.denoising, rtol=0.02)
    np.testing.assert_allclose(ones.grad_norm, infos.grad_norm, rtol=0.1)
    assert float(jnp.abs(ones.denoising - infos.denoising).max()) > 0, "something was computed otherwise"
    assert {leaf.dtype for leaf in jax.tree.leaves(half) if jnp.issubdtype(leaf.dtype, jnp.floating)} == {
        jnp.dtype("float32")
    }
    assert jax.tree.structure(whole) == jax.tree.structure(half)


def test_all_products_of_a_step_in_bfloat16_are_of_bfloat16(trained):
    """Forward and back: no array slips in that would bring the transformer back to float32."""
    generator = make_generator(ARCHITECTURE, SHAPE, ((-4.0,), (4.0,)), 4, params=trained)
    params, clean, labels = generator.init(jax.random.key(0)), jnp.ones((8, *SHAPE)), jnp.arange(8) % 4

    def types(precision):
        def loss(params):
            found = denoise(jax.random.key(1), generator, params, clean, labels, drop=0.1, precision=precision)
            return jnp.mean(found.error)

        text = str(jax.make_jaxpr(jax.grad(loss))(params))
        return {line.split(" = ")[0].rpartition(":")[2][:3] for line in text.splitlines() if "= dot_general" in line}

    assert types("float32") == {"f32"}
    assert types("bfloat16") == {"bf1"}
