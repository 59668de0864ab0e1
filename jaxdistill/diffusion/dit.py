"""DiT, the diffusion transformer (Peebles & Xie, ICCV 2023, arXiv:2212.09748), with adaLN-Zero conditioning.

Parameters are laid out so that the released weights can be read in (`jaxdistill.diffusion.convert`). Blocks may carry
DiffFit's scales (Xie et al., ICCV 2023, arXiv:2304.06648), which are 1 at first, and change nothing then.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.diffusion.attention import attend
from jaxdistill.errors import UsageError

__all__ = ["Transformer", "position_table"]

_FREQUENCIES = 256
_zeros = nn.initializers.zeros_init()
_small = nn.initializers.normal(0.02)


def _dense(features: int, name: str, kernel_init: nn.initializers.Initializer | None = None) -> nn.Dense:
    return nn.Dense(features, kernel_init=kernel_init or nn.initializers.xavier_uniform(), name=name)


def position_table(rows: int, columns: int, size: int) -> Float[np.ndarray, "tokens size"]:
    """Fixed sines and cosines of each token's column (first half of its numbers) and row (second half).

    Args:
        rows: tokens in a column.
        columns: tokens in a row.
        size: numbers for each token.
    """
    waves = 10_000.0 ** -(np.arange(size // 4) / (size / 4))
    row, column = np.mgrid[:rows, :columns].reshape(2, -1)
    angles = [place[:, None] * waves for place in (column, row)]
    return np.concatenate([f(angle) for angle in angles for f in (np.sin, np.cos)], axis=1).astype(np.float32)


def time_waves(times: Float[Array, " n"]) -> Float[Array, "n waves"]:
    """Cosines and sines of times in 0..1000."""
    half = _FREQUENCIES // 2
    angles = times[:, None] * np.exp(-np.log(10_000.0) * np.arange(half) / half).astype(times.dtype)
    return jnp.concatenate([jnp.cos(angles), jnp.sin(angles)], axis=1)


def _normalised(tokens: Float[Array, "n t d"], shift: Float[Array, "n d"], scale: Float[Array, "n d"]):
    tokens = nn.LayerNorm(epsilon=1e-6, use_bias=False, use_scale=False)(tokens)
    return tokens * (1 + scale[:, None]) + shift[:, None]


class Block(nn.Module):
    """Attention and a two-layer network, each shifted, scaled and gated by the condition."""

    num_heads: int
    scaled: bool

    @nn.compact
    def __call__(self, tokens: Float[Array, "n t d"], condition: Float[Array, "n d"]) -> Float[Array, "n t d"]:
        """The tokens after the block."""
        n, t, d = tokens.shape

        def gamma(name: str, size: int) -> Float[Array, " size"] | float:
            return self.param(f"gamma_{name}", nn.initializers.ones_init(), (size,)) if self.scaled else 1.0

        modulation = jnp.split(_dense(6 * d, "modulation", _zeros)(nn.silu(condition)), 6, axis=1)
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = modulation
        qkv = gamma("qkv", 3 * d) * _dense(3 * d, "qkv")(_normalised(tokens, shift, scale))
        query, key, value = jnp.moveaxis(qkv.reshape(n, t, 3, self.num_heads, d // self.num_heads), 2, 0)
        attended = attend(query, key, value).reshape(n, t, d)
        attended = gamma("projection", d) * _dense(d, "projection")(attended)
        tokens = tokens + gamma("attention", d) * gate[:, None] * attended
        hidden = nn.gelu(_dense(4 * d, "mlp_in")(_normalised(tokens, shift_mlp, scale_mlp)))
        return tokens + gamma("mlp", d) * gate_mlp[:, None] * _dense(d, "mlp_out")(hidden)


class Transformer(nn.Module):
    """Predicts, from a noisy image, its time and its class, what was added.

    The label `classes`, one more than there are, stands for none. With `variance` there are as many outputs again:
    where each pixel's variance lies between the smallest and the largest that a step can have, from -1 to 1.
    """

    classes: int
    patch_size: int = 2
    hidden_size: int = 128
    depth: int = 4
    num_heads: int = 4
    variance: bool = False
    scaled: int = 0
    """How many of the first blocks carry scales."""

    @nn.compact
    def __call__(
        self, noisy: Float[Array, "n h w c"], times: Int[Array, " n"], labels: Int[Array, " n"]
    ) -> Float[Array, "n h w _outputs"]:
        """The prediction.

        Args:
            noisy: what is diffused, with its noise.
            times: noise level of each image.
            labels: what each is drawn as.
        """
        n, h, w, c = noisy.shape
        p = self.patch_size
        rows, columns = h // p, w // p
        patches = noisy.reshape(n, rows, p, columns, p, c).swapaxes(2, 3).reshape(n, rows * columns, p * p * c)
        positions = position_table(rows, columns, self.hidden_size).astype(noisy.dtype)
        tokens = _dense(self.hidden_size, "patch_embed")(patches) + positions
        exact = times.astype(jnp.promote_types(noisy.dtype, jnp.float32))  # bfloat16 has no 999
        time = _dense(self.hidden_size, "time_in", _small)(time_waves(exact).astype(noisy.dtype))
        time = _dense(self.hidden_size, "time_out", _small)(nn.silu(time))
        table = self.param("label_table", _small, (self.classes + 1, self.hidden_size))
        condition = time + table[labels]
        for i in range(self.depth):
            tokens = Block(self.num_heads, i < self.scaled, name=f"block_{i:02d}")(tokens, condition)
        shift, scale = jnp.split(
            _dense(2 * self.hidden_size, "final_modulation", _zeros)(nn.silu(condition)), 2, axis=1
        )
        outputs = c * (1 + self.variance)
        patches = _dense(p * p * outputs, "final", _zeros)(_normalised(tokens, shift, scale))
        return patches.reshape(n, rows, columns, p, p, outputs).swapaxes(2, 3).reshape(n, h, w, outputs)

    def check(self, shape: tuple[int, int, int]) -> None:
        """See that images (or latents) of a shape can be cut into its patches.

        Raises:
            UsageError: if not, or for sizes that do not fit together.
        """
        if min(self.classes, self.patch_size, self.hidden_size, self.depth, self.num_heads) < 1 or self.scaled < 0:
            raise UsageError(
                "`patch_size`, `hidden_size`, `num_layers` and `num_heads` are at least 1, as are the classes"
            )
        if shape[0] % self.patch_size or shape[1] % self.patch_size:
            raise UsageError(
                f"{shape[0]}x{shape[1]} (pixels, or latents where there are some) is not a whole number of patches of "
                f"{self.patch_size}; change `patch_size`"
            )
        if self.hidden_size % 4 or self.hidden_size % self.num_heads:
            raise UsageError(
                f"`hidden_size` is a multiple of 4 and of the `num_heads`, {self.num_heads}, not {self.hidden_size}"
            )
