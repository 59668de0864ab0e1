"""Weights of others: what is computed with them is what their own code computes, and they come back as they were."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxdistill.diffusion import dit as dit_module
from jaxdistill.diffusion.autoencoder import Autoencoder
from jaxdistill.diffusion.convert import autoencoder_parameters, autoencoder_weights, dit_parameters, dit_weights
from jaxdistill.diffusion.dit import Transformer

REFERENCE = Path(__file__).parent / "reference"
DIT, AUTOENCODER = np.load(REFERENCE / "dit.npz"), np.load(REFERENCE / "autoencoder.npz")
PLAIN = Transformer(classes=5, patch_size=2, hidden_size=32, depth=2, num_heads=4, variance=True)
SCALED = Transformer(classes=5, patch_size=2, hidden_size=32, depth=2, num_heads=4, variance=True, scaled=2)
DIFFUSERS = Transformer(classes=5, patch_size=2, hidden_size=16, depth=2, num_heads=2, variance=True)
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def weights_of(golden, folder):
    return {name.removeprefix(f"{folder}/"): golden[name] for name in golden.files if name.startswith(f"{folder}/")}


def without(weights, *parts):
    return {name: array for name, array in weights.items() if not any(part in name for part in parts)}


WEIGHTS = weights_of(DIT, "weights")
CASES = {
    "scaled": (SCALED, WEIGHTS),
    "plain": (PLAIN, without(WEIGHTS, "gamma")),
    "diffusers": (DIFFUSERS, weights_of(DIT, "diffusers")),
}


def attention(query, key, value):
    scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / np.sqrt(query.shape[3])
    return jnp.einsum("nhqk,nkhd->nqhd", jax.nn.softmax(scores), value)


def waves(times):
    angles = times.astype(float)[:, None] * np.exp(-np.log(10_000) * np.arange(128) / 128)
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1)


@pytest.fixture
def double(monkeypatch):
    """Float64 where the library computes in float32 whatever it is given, so that nothing hides behind rounding."""
    monkeypatch.setattr(jax.nn, "dot_product_attention", attention)
    monkeypatch.setattr(dit_module, "time_waves", waves)
    with jax.enable_x64(True):
        yield


def in_float64(weights):
    return {name: array.astype(np.float64) for name, array in weights.items()}


def output_of(dit, params):
    jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles faster
    return jit(dit.apply)({"params": params}, *(jnp.asarray(DIT[name]) for name in ("noisy", "times", "labels")))


@pytest.mark.parametrize("case", CASES)
def test_a_dit_computes_what_its_authors_code_does(case, double):
    expected, weights = CASES[case]
    dit, params = dit_parameters(in_float64(weights), expected.num_heads)
    assert dit == expected
    np.testing.assert_allclose(output_of(dit, params), DIT[case], rtol=1e-10, atol=1e-10)


def test_so_it_does_in_float32():
    dit, params = dit_parameters({name: array.astype(np.float32) for name, array in WEIGHTS.items()}, heads=4)
    np.testing.assert_allclose(output_of(dit, params), DIT["scaled"], rtol=0, atol=2e-4)


def test_an_autoencoder_computes_what_its_authors_code_does(double):
    autoencoder, params = autoencoder_parameters(in_float64(weights_of(AUTOENCODER, "weights")), groups=4)

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def both(params, images, latents):
        return autoencoder.encode(params, images), autoencoder.decode(params, latents)

    posterior, decoded = both(params, *(jnp.asarray(AUTOENCODER[name]) for name in ("images", "latents")))
    assert {-30, 20} < set(np.ravel(posterior.log_variance))
    for name, array in {**posterior._asdict(), "decoded": decoded}.items():
        np.testing.assert_allclose(array, AUTOENCODER[name], rtol=1e-10, atol=1e-10, err_msg=name)


def assert_same(weights, expected):
    assert set(weights) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(weights[name], array, err_msg=name)
        assert weights[name].dtype == array.dtype


@pytest.mark.parametrize("absent", ["gamma", "blocks.1.gamma", "none"])
def test_a_dit_comes_back_as_it_was(absent):
    weights = without(WEIGHTS, absent, *(["blocks.1.attn.gamma"] if "1" in absent else []))
    dit, params = dit_parameters(weights, heads=4)
    assert dit.scaled == {"gamma": 0, "blocks.1.gamma": 1, "none": 2}[absent]
    assert_same(dit_weights(dit, params, 8, 8), weights)


def test_an_autoencoder_comes_back_as_it_was_from_either_names():
    weights = weights_of(AUTOENCODER, "weights")
    autoencoder, params = autoencoder_parameters(weights, groups=4)
    assert autoencoder == Autoencoder(3, (8, 16), 2, 4)
    assert_same(autoencoder_weights(params), weights)
    old = {}
    for name, array in weights.items():
        *front, leaf = name.split(".")
        stem = ".".join(front)
        tail = next((tail for tail in OLD if stem.endswith(f"attentions.0.{tail}")), "")
        old[f"{stem.removesuffix(tail)}{OLD.get(tail, '')}.{leaf}"] = array
    assert len(set(old) - set(weights)) == 16
    again, same = autoencoder_parameters(old, groups=4)
    assert again == autoencoder
    assert jax.tree.all(jax.tree.map(np.array_equal, same, params))


@pytest.mark.parametrize(
    ("dit", "channels", "count"),
    [(Transformer(1000, 2, 1152, 28, 16, variance=True), 4, 675_129_632), (Transformer(9, 4, 384, 1, 6), 3, None)],
)
def test_published_sizes_are_recognised(dit, channels, count):
    """The count of parameters is the one that the authors' training log states, positions among them."""
    image, row = jnp.zeros((1, dit.patch_size, dit.patch_size, channels)), jnp.zeros(1, int)
    shapes = jax.eval_shape(lambda: dit.init(jax.random.key(0), image, row, row)["params"])
    empty = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)
    weights = dit_weights(dit, empty, 32, 32)
    assert count in (None, sum(array.size for array in weights.values()))
    assert dit_parameters(weights)[0] == dit


def changed(weights, **arrays):
    return weights | {name.replace("__", "."): array for name, array in arrays.items()}


OTHERS = CASES["diffusers"][1]
COPY = "transformer_blocks.1.norm1.emb.timestep_embedder.linear_2.bias"
REFUSED = [
    (without(WEIGHTS, "mlp.fc1.bias"), r"this DiT.*2 missing: blocks\.0\.mlp\.fc1\.bias, blocks\.1\.mlp\.fc1\.bias\)"),
    (changed(WEIGHTS, a=WEIGHTS["pos_embed"], b__c=WEIGHTS["pos_embed"]), r"\(2 superfluous: a, b\.c\)"),
    (changed(WEIGHTS, final_layer__linear__bias=np.zeros(3)), r"1 of another shape: final.* \(3,\) instead of \(32,\)"),
    (without(WEIGHTS, "attn"), r"12 missing: [^,]*, [^,]*, [^,]*, \.\.\.\)"),
    (without(WEIGHTS, "blocks.0.gamma1"), r"1 missing: blocks\.0\.gamma1; 4 superfluous: blocks\.1\.gamma1"),
    (changed(WEIGHTS, pos_embed=WEIGHTS["pos_embed"][:, ::-1]), "other positions"),
    (changed(WEIGHTS, pos_embed=WEIGHTS["pos_embed"][:, :15]), "other positions"),
    (changed(WEIGHTS, final_layer__linear__weight=np.zeros((12, 32))), "4 or 8 outputs, not 3"),
    (changed(WEIGHTS, x_embedder__proj__weight=np.zeros((32, 16))), r"x_embedder\.proj\.weight has 2 axes, not 4"),
    ({"ema": np.zeros(1)}, r"they have no x_embedder\.proj\.weight; give those of the network alone"),
    (OTHERS | {COPY: OTHERS[COPY] + 1}, r"transformer_blocks\.1\.norm1\.emb.* is not the same as in the first block"),
    (without(OTHERS, "0.attn1.to_k.bias"), r"\(1 missing: transformer_blocks\.0\.attn1\.to_k\.bias\)"),
]


@pytest.mark.parametrize(("weights", "message"), REFUSED)
def test_other_weights_are_refused_in_one_sentence(weights, message):
    with pytest.raises(ValueError, match=message):
        dit_parameters(weights, heads=2)


def test_heads_that_do_not_fit_and_other_autoencoders_are_refused():
    with pytest.raises(ValueError, match="width 32 does not have 0 heads; say how many"):
        dit_parameters(WEIGHTS)
    with pytest.raises(ValueError, match="width 32 does not have 3 heads"):
        dit_parameters(WEIGHTS, heads=3)
    weights = weights_of(AUTOENCODER, "weights")
    with pytest.raises(ValueError, match="multiples of the 32 groups"):
        autoencoder_parameters(weights)
    with pytest.raises(ValueError, match=r"this autoencoder.*\(1 missing: post_quant_conv\.bias\)"):
        autoencoder_parameters(without(weights, "post_quant_conv.bias"), groups=4)
    with pytest.raises(ValueError, match=r"not those of an autoencoder: they have no encoder\.conv_in"):
        autoencoder_parameters(WEIGHTS)
