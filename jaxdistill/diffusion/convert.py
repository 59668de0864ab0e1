"""Released weights to parameters, and back: the names and layouts of others.

Weights are a flat dict of NumPy arrays in PyTorch's layout, as they stand in a file; who reads the file is elsewhere.
Known are DiT in the names of its authors (also with the scales of Minimax Diffusion) and of diffusers, and the
autoencoder of Stable Diffusion in those of diffusers, old and new. Arrays keep their type; most are views.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxdistill.diffusion.autoencoder import Autoencoder
from jaxdistill.diffusion.dit import Transformer, position_table
from jaxdistill.errors import UsageError
from jaxdistill.types import PyTree

__all__ = ["autoencoder_parameters", "autoencoder_weights", "dit_parameters", "dit_weights"]

Weights: TypeAlias = Mapping[str, np.ndarray]
_Path: TypeAlias = tuple[str, ...]

_LEAVES = {"kernel": "weight", "scale": "weight"}
_DIT = _LEAVES | {
    r"block_0*(\d+)": r"blocks.\1",
    "patch_embed": "x_embedder.proj",
    "time_in": "t_embedder.mlp.0",
    "time_out": "t_embedder.mlp.2",
    "label_table": "y_embedder.embedding_table.weight",
    "modulation": "adaLN_modulation.1",
    "qkv": "attn.qkv",
    "projection": "attn.proj",
    "mlp_in": "mlp.fc1",
    "mlp_out": "mlp.fc2",
    "gamma_qkv": "attn.gamma1",
    "gamma_projection": "attn.gamma2",
    "gamma_attention": "gamma1",
    "gamma_mlp": "gamma2",
    "final_modulation": "final_layer.adaLN_modulation.1",
    "final": "final_layer.linear",
}
"""What a part of a path is called elsewhere; a star stands for q, k and v, which are apart there."""
_DIT_DIFFUSERS = _LEAVES | {
    r"block_0*(\d+)": r"transformer_blocks.\1",
    "patch_embed": "pos_embed.proj",
    "time_in": "transformer_blocks.0.norm1.emb.timestep_embedder.linear_1",
    "time_out": "transformer_blocks.0.norm1.emb.timestep_embedder.linear_2",
    "label_table": "transformer_blocks.0.norm1.emb.class_embedder.embedding_table.weight",
    "modulation": "norm1.linear",
    "qkv": "attn1.to_*",
    "projection": "attn1.to_out.0",
    "mlp_in": "ff.net.0.proj",
    "mlp_out": "ff.net.2",
    "final_modulation": "proj_out_1",
    "final": "proj_out_2",
}


def _half(way: str) -> dict[str, str]:
    return _LEAVES | {
        r"level_(\d+)_block_(\d+)": rf"{way}_blocks.\1.resnets.\2",
        r"level_(\d+)_resized": rf"{way}_blocks.\1.{way}samplers.0.conv",
        r"middle_(\d)": r"mid_block.resnets.\1",
        "attention": "mid_block.attentions.0",
        "norm": "group_norm",
        "query": "to_q",
        "key": "to_k",
        "value": "to_v",
        "projection": "to_out.0",
        "shortcut": "conv_shortcut",
        "norm_out": "conv_norm_out",
    }


_HALVES = {"encoder": _half("down"), "decoder": _half("up")}
_LATENT = {"encoder": "quant_conv", "decoder": "post_quant_conv"}
_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def dit_parameters(weights: Weights, heads: int | None = None) -> tuple[Transformer, PyTree]:
    """Read a DiT; all its sizes but one follow from the shapes.

    diffusers' copies of the embedders, one in each block, have to be equal. diffusers itself spaces the frequencies of
    the time otherwise than DiT's authors, so what it computes from the same weights differs a little.

    Args:
        weights: of the network alone, not a training checkpoint around it.
        heads: of attention, which no shape tells. None is what the published sizes have: 72 numbers a head where that
            divides the width (XL), otherwise 64.

    Raises:
        UsageError: if names or shapes are not those of a DiT, or its positions not the fixed ones.
    """
    diffusers = any(name.startswith("transformer_blocks.") for name in weights)
    rules, block = (_DIT_DIFFUSERS, r"transformer_blocks\.(\d+)\.") if diffusers else (_DIT, r"blocks\.(\d+)\.")
    weights = _without_copies(weights) if diffusers else dict(weights)
    shape = functools.partial(_shape, weights, "a DiT")
    hidden, channels, patch, _ = shape(_name(("patch_embed", "kernel"), rules), 4)
    rows, _ = shape(_name(("label_table",), rules), 2)
    numbers, _ = shape(_name(("final", "kernel"), rules), 2)
    outputs = numbers // patch**2
    if outputs not in (channels, 2 * channels):
        raise UsageError(f"a DiT of {channels} channels has {channels} or {2 * channels} outputs, not {outputs}")
    if heads is None:
        heads = hidden // 72 if hidden % 72 == 0 else hidden // 64
    if not heads or hidden % heads or hidden % 4:
        raise UsageError(f"a DiT of width {hidden} does not have {heads} heads; say how many there are")
    scaled = sum(bool(re.fullmatch(r"blocks\.\d+\.gamma1", name)) for name in weights)
    dit = Transformer(rows - 1, patch, hidden, _count(weights, block), heads, outputs == 2 * channels, scaled)
    _check_positions(weights.pop("pos_embed.pos_embed" if diffusers else "pos_embed", None), hidden)
    image, row = jax.ShapeDtypeStruct((1, patch, patch, channels), float), jax.ShapeDtypeStruct((1,), int)
    shapes = jax.eval_shape(dit.init, jax.random.key(0), image, row, row)["params"]
    return dit, _read(weights, shapes, functools.partial(_name, rules=rules), "this DiT", patch)


def dit_weights(dit: Transformer, params: PyTree, rows: int, columns: int) -> dict[str, np.ndarray]:
    """A DiT in the names of its authors, with the positions of latents of some size (32 x 32 for 256 pixels).

    Args:
        dit: the transformer.
        params: its parameters.
        rows: height of the latents.
        columns: width of the latents.
    """
    positions = position_table(rows // dit.patch_size, columns // dit.patch_size, dit.hidden_size)[None]
    name = functools.partial(_name, rules=_DIT)
    return {"pos_embed": positions} | {
        name(path): _outward(path, np.asarray(leaf), dit.patch_size) for path, leaf in flatten_dict(params).items()
    }


def autoencoder_parameters(weights: Weights, groups: int = 32) -> tuple[Autoencoder, PyTree]:
    """Read diffusers' ``AutoencoderKL``; all its sizes but the groups of normalisation follow from the shapes.

    Raises:
        UsageError: if names or shapes are not those of such an autoencoder.
    """

    def renamed(name: str) -> str:
        return re.sub(r"(?<=attentions\.0\.)(query|key|value|proj_attn)\b", lambda m: _OLD_ATTENTION[m[1]], name)

    weights = {renamed(name): array for name, array in weights.items()}
    shape = functools.partial(_shape, weights, "an autoencoder")
    levels = range(_count(weights, r"encoder\.down_blocks\.(\d+)\."))
    autoencoder = Autoencoder(
        channels=shape("encoder.conv_in.weight", 4)[1],
        widths=tuple(shape(f"encoder.down_blocks.{level}.resnets.0.conv1.weight", 4)[0] for level in levels),
        blocks=_count(weights, r"encoder\.down_blocks\.0\.resnets\.(\d+)\."),
        groups=groups,
        latent_channels=shape("decoder.conv_in.weight", 4)[1],
    )
    shapes = jax.eval_shape(autoencoder.init, jax.random.key(0))
    return autoencoder, _read(weights, shapes, _autoencoder_name, "this autoencoder")


def autoencoder_weights(params: PyTree) -> dict[str, np.ndarray]:
    """An autoencoder in diffusers' (new) names."""
    return {_autoencoder_name(path): _outward(path, np.asarray(leaf)) for path, leaf in flatten_dict(params).items()}


def _name(path: _Path, rules: dict[str, str]) -> str:
    def one(part: str) -> str:
        matches = ((re.fullmatch(pattern, part), replacement) for pattern, replacement in rules.items())
        return next((match.expand(replacement) for match, replacement in matches if match), part)

    return ".".join(map(one, path))


def _autoencoder_name(path: _Path) -> str:
    half, *rest = path
    if rest[0] == "latent":
        return _name((_LATENT[half], *rest[1:]), _LEAVES)
    return f"{half}.{_name(tuple(rest), _HALVES[half])}"


def _outward(path: _Path, leaf: np.ndarray, patch: int = 1) -> np.ndarray:
    """PyTorch has outputs first, then inputs, then windows; a DiT's patches are cut by a convolution there."""
    if path[-1] != "kernel":
        return leaf
    if path[0] == "patch_embed":
        leaf = leaf.reshape(patch, patch, -1, leaf.shape[1])
    return leaf.T if leaf.ndim == 2 else leaf.transpose(3, 2, 0, 1)


def _inward(path: _Path, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if path[-1] == "kernel":
        array = array.T if array.ndim == 2 else array.transpose(2, 3, 1, 0)
    return array.reshape(shape)


def _read(weights: Weights, shapes: PyTree, name: Callable[[_Path], str], whose: str, patch: int = 1) -> PyTree:
    flat: dict[Any, Any] = flatten_dict(shapes)
    names = {path: list(dict.fromkeys(name(path).replace("*", part) for part in "qkv")) for path in flat}
    wanted = {}
    for path, leaf in flat.items():
        parts = np.split(_outward(path, np.broadcast_to(np.float32(0), leaf.shape), patch), len(names[path]))
        wanted |= {name: part.shape for name, part in zip(names[path], parts, strict=True)}
    wrong = [name for name in wanted if name in weights and np.shape(weights[name]) != wanted[name]]
    problems = {
        "missing": [name for name in wanted if name not in weights],
        "superfluous": [name for name in weights if name not in wanted],
        "of another shape": [f"{name} {np.shape(weights[name])} instead of {wanted[name]}" for name in wrong],
    }
    if any(problems.values()):
        found = (f"{len(all_)} {kind}: {_first(all_)}" for kind, all_ in problems.items() if all_)
        raise UsageError(f"the weights are not those of {whose}; give all of one network ({'; '.join(found)})")
    arrays = {path: [np.asarray(weights[name]) for name in names[path]] for path in flat}
    joined = {path: parts[0] if len(parts) == 1 else np.concatenate(parts) for path, parts in arrays.items()}
    return unflatten_dict({path: _inward(path, array, flat[path].shape) for path, array in joined.items()})


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _shape(weights: Weights, what: str, name: str, axes: int) -> tuple[int, ...]:
    if name not in weights:
        raise UsageError(f"the weights are not those of {what}: they have no {name}; give those of the network alone")
    shape = np.shape(weights[name])
    if len(shape) != axes:
        raise UsageError(f"the weights are not those of {what}: {name} has {len(shape)} axes, not {axes}")
    return shape


def _count(weights: Weights, pattern: str) -> int:
    return 1 + max((int(match[1]) for match in map(re.compile(pattern).match, weights) if match), default=0)


def _check_positions(table: np.ndarray | None, hidden: int) -> None:
    if table is None:
        return
    side = math.isqrt(table.size // hidden)
    fixed = position_table(side, side, hidden)
    if table.size != fixed.size or np.abs(table.reshape(fixed.shape) - fixed).max() > 1e-2:
        raise UsageError(
            "this DiT has other positions than the fixed ones of a square of patches; only those are known"
        )


def _without_copies(weights: Weights) -> dict[str, np.ndarray]:
    kept = {}
    for name, array in weights.items():
        copy = re.fullmatch(r"transformer_blocks\.(?!0\.)\d+(\.norm1\.emb\..*)", name)
        first = copy and weights.get("transformer_blocks.0" + copy[1])
        if first is None:
            kept[name] = array
        elif not np.array_equal(first, array):
            raise UsageError(f"{name} is not the same as in the first block; there is one embedder for all blocks here")
    return kept
