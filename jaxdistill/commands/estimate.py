"""How long a run by a kernel will take, said before it begins: a step of one can take hours."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.commands.plan import Plan
from jaxdistill.engine.callbacks import clock
from jaxdistill.kernels import make
from jaxdistill.kernels.gram import COPIES, LIMIT
from jaxdistill.losses.ridge import precise
from jaxdistill.methods import METHODS
from jaxdistill.settings.needs import needs
from jaxdistill.types import Kernel

__all__ = ["kernel_time", "seconds_per_pair", "spelled"]

_MOST = 8
"""Images on a side of the tile that is timed."""
_LONG = 48 * 3600


def kernel_time(plan: Plan, steps: int) -> str | None:
    """What a run's steps will take, by one tile of its kernel; None where that is not a matter of the kernel's pairs.

    Of methods that ask a kernel for all pairs of the set with itself and with the step's real images, and of kernels
    that hold more than one number for a pair.

    Args:
        plan: of the run.
        steps: those that are left.
    """
    config, bench = plan.config, plan.bound.bench
    if not steps or config.network.kernel is None or type(config.method) not in METHODS:
        return None
    kernel = make(config.network.kernel, bench.image_shape)
    if kernel.pair_size == 1 or not needs(type(config.method)).kernel:
        return None
    outline = plan.feeding.source.outline()
    drawn = jax.eval_shape(lambda key: plan.method.feed.plan(key, jnp.asarray(0), outline), plan.bound.keys["loop"])
    real, own = sum(leaf.size for leaf in jax.tree.leaves(drawn)), config.ipc * bench.num_classes
    value, slope = seconds_per_pair(kernel, np.asarray(bench.train.read(np.arange(_MOST)).images))
    each = (own * own + real * own / bench.mesh.size) * (value + slope)
    said = (
        f"a step asks the kernel {config.network.kernel} for {own * (own + real):,} pairs of images; by a few of them "
        f"it takes {spelled(each)}, and {steps:,} steps {spelled(steps * each)}"
    )
    seeds = config.evaluation.eval_seeds
    if not seeds or getattr(plan.bound.protocol, "kernel", None) != config.network.kernel:
        return said
    judged = (1 + seeds) * own * (own + bench.test.count) * value
    return f"{said}; the evaluation {spelled(judged)}"


def seconds_per_pair(kernel: Kernel, images: np.ndarray) -> tuple[float, float]:
    """What a kernel's value takes for a pair of images, and its value with the gradient, in a tile as `gram` has it.

    Args:
        kernel: any that draws no networks, or few.
        images: some, as many as may be in the tile on a side.
    """
    side = max(1, min(len(images), math.isqrt(LIMIT // (COPIES * kernel.pair_size))))

    def value(one: jax.Array, other: jax.Array) -> jax.Array:
        return kernel.gram(one, other).sum()

    with precise():
        rows = kernel.prepare(jax.random.key(0), jnp.asarray(images[:side], jnp.float64))
        pair = rows, rows + 0.0
        return _seconds(jax.jit(value), *pair) / side**2, _seconds(jax.jit(jax.grad(value, (0, 1))), *pair) / side**2


def _seconds(f: Callable[..., jax.Array], *arguments: jax.Array) -> float:
    """Of a call that need not be compiled any more."""
    jax.block_until_ready(f(*arguments))
    began = time.perf_counter()
    jax.block_until_ready(f(*arguments))
    return time.perf_counter() - began


def spelled(seconds: float) -> str:
    """A length of time that is only about known."""
    if seconds > _LONG:
        return f"about {seconds / 86_400:,.0f} days"
    return f"about {clock(seconds)}" if seconds >= 1 else "less than a second"
