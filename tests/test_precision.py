"""Where accelerators may not shorten mantissas: what is solved or compared is multiplied at the highest precision."""

import jax
import jax.numpy as jnp
import pytest
from toys import make_toy

from jaxdistill.augment.photo import Photo
from jaxdistill.diffusion import memory as minimax
from jaxdistill.evaluation.coverage import nearest
from jaxdistill.kernels import KERNELS, make
from jaxdistill.kernels.regression import LINEAR, label_solve, predict, support_gradient
from jaxdistill.losses.ridge import solve_labels, squared_error
from jaxdistill.selection.gradmatch import nonnegative
from jaxdistill.selection.herding import herd
from jaxdistill.selection.outputs import Gradients, along, gram, mean

KEY, SHAPE = jax.random.key(0), (8, 8, 1)
IMAGES, ROWS, SQUARE, VALID = jnp.ones((4, *SHAPE)), jnp.ones((4, 6)), jnp.eye(4), jnp.ones(4, bool)
GRADIENTS = Gradients(jnp.ones((4, 3)), ROWS)
MEMORY = minimax.push(minimax.empty_memory(3, 2, 6), ROWS, jnp.arange(4) % 3)


def of_kernel(name):
    kernel = make(name, SHAPE)
    rows = jax.eval_shape(lambda images: kernel.prepare(KEY, images), IMAGES)
    return kernel.gram, rows, rows


def by_support(rows, labels):
    return support_gradient(LINEAR, rows, labels, rows, labels, ridge=1e-6, loss=squared_error)


def solved(images):
    return label_solve(KEY, LINEAR, images, jax.tree.map(jnp.asarray, make_toy()[0]))


CASES = {
    "solve_labels": lambda: (lambda k, y: solve_labels(k, k, y, 1e-6), SQUARE, ROWS),
    "support_gradient": lambda: (by_support, ROWS, ROWS),
    "predict": lambda: (lambda rows, weights: predict(LINEAR, rows, weights, rows), ROWS, ROWS),
    "label_solve": lambda: (solved, IMAGES),
    "linear": lambda: (LINEAR.gram, ROWS, ROWS),
    "representativeness": lambda: (lambda rows: minimax.representativeness(rows, jnp.arange(4) % 3, MEMORY), ROWS),
    "nearest": lambda: (nearest, ROWS, ROWS),
    "herding": lambda: (lambda rows: herd(rows, VALID, 2), ROWS),
    "nonnegative": lambda: (nonnegative, SQUARE, SQUARE[0], VALID, SQUARE[0]),
    "last_layer_gram": lambda: (gram, GRADIENTS, GRADIENTS),
    "last_layer_mean": lambda: (lambda found: along(found, mean(found, VALID)), GRADIENTS),
    "lighting": lambda: (lambda images: Photo("color")(KEY, images, siamese=False), jnp.ones((4, 8, 8, 3))),
    **{name: lambda name=name: of_kernel(name) for name in KERNELS if "pool" not in name},
}


def products(jaxpr):
    """Every product of matrices and convolution, also in what is called."""
    for equation in jaxpr.eqns:
        if "precision" in equation.params:
            yield equation.params["precision"]
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda x: hasattr(x, "eqns")):
            if hasattr(inner, "eqns") or hasattr(inner, "jaxpr"):
                yield from products(getattr(inner, "jaxpr", inner))


@pytest.mark.parametrize("name", CASES)
def test_products_are_of_the_highest_precision(name):
    f, *given = CASES[name]()
    found = list(products(jax.make_jaxpr(f)(*given).jaxpr))
    assert found
    assert {entry for pair in found for entry in (pair if isinstance(pair, tuple) else (pair,))} == {
        jax.lax.Precision.HIGHEST
    }


def test_products_inside_others_are_seen():
    f = jax.jit(lambda a: jax.lax.fori_loop(0, 2, lambda _, b: a @ b, a))
    assert list(products(jax.make_jaxpr(f)(SQUARE).jaxpr)) == [None]
