"""`convolution` against `jax.lax.conv_general_dilated`, whose derivatives and batching are independent of ours."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from jax import lax
from processes import EIGHT_DEVICES

from jaxdistill.networks import convolution_maps as maps
from jaxdistill.networks.convolution import convolution

jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})  # compiles twice as fast


def stock(x, kernel, *, padding, stride=1):
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, [(padding,) * 2] * 2, dimension_numbers=layout)


def draw(*shapes, dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes)


def close(ours, theirs, tolerance=1e-10):
    scale = max(1.0, float(jnp.abs(theirs).max()))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


# (images, kernel, padding): few to many, many to few and many to many channels, even windows, padding 0 to beyond k.
SHAPES = [
    ((5, 7, 6, 1), (3, 3, 1, 10), 3),
    ((5, 6, 6, 3), (5, 5, 3, 4), 4),
    ((3, 6, 7, 20), (3, 3, 20, 2), 1),
    ((3, 6, 5, 4), (3, 3, 4, 5), 0),
    ((2, 5, 5, 3), (2, 2, 3, 4), 1),
    ((4, 4, 4, 3), (1, 1, 3, 6), 0),
]


def everything(convolve, x, kernel, dx, dkernel, ct):
    """All maps of first and second order, and a third: an array each."""

    def inner(x, kernel):
        by_x, by_kernel = gradient(x, kernel)
        return (jnp.cos(by_x) * dx).sum() + (jnp.cos(by_kernel) * dkernel).sum()

    def tangent(x, kernel):
        return jax.jvp(gradient, (x, kernel), (dx, dkernel))[1]

    gradient = jax.grad(lambda x, kernel: (jnp.sin(convolve(x, kernel)) * ct).sum(), (0, 1))
    return (
        convolve(x, kernel),
        gradient(x, kernel),
        jax.jvp(convolve, (x, kernel), (dx, dkernel))[1],
        jax.grad(inner, (0, 1))(x, kernel),
        tangent(x, kernel),
        jax.grad(lambda x, kernel: sum((t**2).sum() for t in tangent(x, kernel)), (0, 1))(x, kernel),
    )


@pytest.mark.parametrize(("images", "window", "padding"), SHAPES)
def test_derivatives_of_every_order(images, window, padding, monkeypatch):
    with jax.enable_x64():
        x, kernel, dx, dkernel = draw(images, window, images, window)
        (ct,) = draw(jax.eval_shape(functools.partial(stock, padding=padding), x, kernel).shape, seed=1)

        def results(f):
            return jit(functools.partial(everything, functools.partial(f, padding=padding)))(x, kernel, dx, dkernel, ct)

        theirs = results(stock)
        jax.tree.map(close, results(convolution), theirs)
        monkeypatch.setattr(maps, "_chunk", lambda x, width: 2)  # two images at a time: loops and their remainders
        jax.clear_caches()
        jax.tree.map(close, results(convolution), theirs)
        close(convolution(x, kernel, padding=padding), theirs[0])  # outside jit


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 3)])
def test_vmap_of_value_and_derivatives(axes):
    with jax.enable_x64():
        images, window = (3, 5, 5, 2), (3, 3, 2, 4)
        batched = [s if at is None else (*s[:at], 3, *s[at:]) for s, at in zip((images, window), axes, strict=True)]
        x, kernel = draw(*batched)
        dx, dkernel, ct = draw(images, window, (3, 5, 5, 4), seed=1)

        def results(f):
            def one(x, kernel):
                return everything(functools.partial(f, padding=1), x, kernel, dx, dkernel, ct)

            return jit(jax.vmap(one, axes))(x, kernel)

        ours, theirs = results(convolution), results(stock)
        jax.tree.map(close, ours, theirs)
        twice = jax.vmap(jax.vmap(lambda x, k: convolution(x, k, padding=1), (0, None)), (None, 0))
        xs, kernels = draw((2, *images), (4, *window))
        close(twice(xs, kernels)[3, 1], stock(xs[1], kernels[3], padding=1))


def test_accelerator_lowering_is_the_stock_convolution():
    """What GPU and TPU compile, evaluated here, agrees with the CPU's; and it holds a convolution and no loop."""
    with jax.enable_x64():
        x, kernel, dy = draw((2, 4, 5, 5, 3), (2, 3, 3, 3, 6), (2, 4, 5, 5, 6))
        for one in range(2):
            close(maps.stock_convolve(x[one], kernel[one], 1), maps.fast_convolve(x[one], kernel[one], 1))
            close(maps.stock_correlate(x[one], dy[one], 1), maps.fast_correlate(x[one], dy[one], 1))
    gradient = jax.grad(lambda x, kernel: (convolution(x, kernel, padding=1) ** 2).sum(), (0, 1))
    networks = jax.jit(jax.vmap(gradient))
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 99, 64, 64, 3), (2, 3, 3, 3, 16))]
    text = {p: jax.export.export(networks, platforms=[p])(*shapes).mlir_module() for p in ("cuda", "tpu", "cpu")}
    assert ["stablehlo.while" in text[p] for p in text] == [False, False, True]
    assert all("stablehlo.convolution" in text[p] for p in ("cuda", "tpu"))


def test_scan_and_checkpoint():
    with jax.enable_x64():
        x, kernel = draw((2, 5, 5, 3), (3, 3, 3, 3))

        def loss(f, wrap):
            def body(x, _):
                return jnp.tanh(f(x, kernel, padding=1)), None

            return lambda x: (lax.scan(wrap(body), x, None, length=3)[0] ** 2).sum()

        for order in (jax.grad, lambda f: jax.grad(lambda x: (jax.grad(f)(x) ** 2).sum())):
            theirs = jit(order(loss(stock, lambda f: f)))(x)
            for wrap in (lambda f: f, jax.checkpoint):
                close(jit(order(loss(convolution, wrap)))(x), theirs)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-6), (jnp.bfloat16, 2**-8)])
def test_keeps_dtype_and_accumulates_in_float32(dtype, tolerance):
    x, kernel = draw((2, 8, 8, 64), (3, 3, 64, 65), dtype=dtype)
    value, pull = jax.vjp(lambda x, kernel: convolution(x, kernel, padding=1), x, kernel)
    wide, wide_pull = jax.vjp(lambda x, k: stock(x, k, padding=1), x.astype("float32"), kernel.astype("float32"))
    exact = [wide, *wide_pull(value.astype("float32"))]
    for ours, theirs in zip([value, *pull(value)], exact, strict=True):
        assert ours.dtype == dtype
        close(ours.astype("float32"), theirs, tolerance)


def test_strided_and_oblong_kernels():
    x, square, oblong = draw((2, 7, 7, 3), (3, 3, 3, 4), (3, 2, 3, 4), dtype=np.float32)
    close(convolution(x, square, padding=1, stride=2), stock(x, square, padding=1, stride=2), 1e-6)
    close(convolution(x, oblong, padding=1), stock(x, oblong, padding=1), 1e-6)


@pytest.mark.parametrize(
    ("images", "window", "padding", "stride", "advice"),
    [
        ((2, 5, 5, 3), (3, 3, 3, 4), -1, 1, "padding >= 0"),
        ((2, 5, 5, 3), (3, 3, 3, 4), 1, 0, "stride >= 1"),
        ((2, 2, 5, 3), (3, 3, 3, 4), 0, 1, "does not fit"),
    ],
)
def test_unusable_arguments(images, window, padding, stride, advice):
    with pytest.raises(ValueError, match=advice):
        convolution(jnp.zeros(images), jnp.zeros(window), padding=padding, stride=stride)
    with pytest.raises((ValueError, jaxtyping.TypeCheckError)):
        convolution(jnp.zeros((2, 5, 5, 3)), jnp.zeros((3, 3, 4, 4)), padding=1)
    with pytest.raises(ValueError, match="one dtype"):
        convolution(jnp.zeros((2, 5, 5, 3)), jnp.zeros((3, 3, 3, 4), jnp.bfloat16), padding=1)


ON_EIGHT_DEVICES = """
    import functools, jax, jax.numpy as jnp, numpy as np
    from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
    from jaxdistill.networks import convolution_maps
    from jaxdistill.networks.convolution import convolution
    convolution_maps._CHUNK_BYTES = 1
    rng = np.random.default_rng(0)
    x, kernel = (rng.normal(size=s).astype("float32") for s in ((16, 6, 6, 3), (3, 3, 3, 4)))

    def loss(x, kernel):
        return (jnp.tanh(convolution(x, kernel, padding=1)) ** 2).sum()

    def second(x, kernel):
        return jax.grad(lambda x: (jax.grad(loss, 1)(x, kernel) ** 2).sum())(x)

    expected = jax.jit(lambda x, kernel: (*jax.grad(loss, (0, 1))(x, kernel), second(x, kernel)))(x, kernel)

    def check(name, *pairs):
        for ours, theirs in pairs:
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-3, err_msg=name)

    for kind in (AxisType.Explicit, AxisType.Auto):
        mesh = jax.make_mesh((8,), ("data",), axis_types=(kind,))
        place = lambda x, spec: jax.device_put(x, NamedSharding(mesh, spec))
        with jax.set_mesh(mesh):
            step = jax.jit(jax.grad(loss, (0, 1)))
            check(str(kind), *zip(step(place(x, P("data")), place(kernel, P())), expected))
            if kind is AxisType.Auto:
                check("second", (jax.jit(second)(place(x, P("data")), place(kernel, P())), expected[2]))

    for check_vma in (True, False):
        @jax.jit
        @functools.partial(
            jax.shard_map, mesh=mesh, in_specs=(P("data"), P()), out_specs=(P("data"), P()), check_vma=check_vma
        )
        def step(x, kernel):
            if check_vma:  # the transpose of using one kernel everywhere is a sum over the mesh
                return jax.grad(loss, (0, 1))(x, kernel)
            dx, dkernel = jax.grad(loss, (0, 1))(x, kernel)
            return dx, jax.lax.psum(dkernel, "data")

        check("shard_map", *zip(step(x, kernel), expected))

    @jax.jit
    @functools.partial(jax.shard_map, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data"))
    def networks(x, kernels):
        return jax.vmap(jax.grad(lambda kernel: loss(x, kernel)))(kernels)

    check("networks", (networks(x, jnp.stack([kernel] * 8)), jnp.stack([expected[1]] * 8)))
    print("agreed")
"""


def test_eight_devices():
    command = [sys.executable, "-c", textwrap.dedent(ON_EIGHT_DEVICES)]
    result = subprocess.run(command, env=os.environ | EIGHT_DEVICES, capture_output=True, text=True, timeout=300)
    assert "agreed" in result.stdout, result.stderr[-3000:]
