"""The annotations of the whole package are checked by the other tests; this sees to it that they are."""

import ast
import importlib.util

import jax
import numpy as np
import pytest
from annotations import UNCHECKED, checked, modules

from jaxdistill.data.trajectories import Bank
from jaxdistill.io.files import os_error
from jaxdistill.types import SyntheticSet

LEFT_OUT = sorted(modules().keys() - set(checked()))


@pytest.mark.parametrize("name", checked())
def test_the_hook_compiles_every_module(name):
    assert type(importlib.util.find_spec(name).loader).__name__ == "_JaxtypingLoader"


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_has_a_reason_or_holds_imports_alone(name):
    tree = ast.parse(modules()[name].read_text())
    defined = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Lambda)]
    assert name in UNCHECKED or not defined


def test_what_is_annotated_falsely_is_refused():
    with pytest.raises(TypeError, match="os_error"):
        os_error(ValueError("full"), "there")
    with pytest.raises(TypeError, match="labels"):
        SyntheticSet(np.zeros((2, 8, 8, 1), np.float32), np.zeros((3, 4), np.float32))
    with pytest.raises(TypeError, match="images"):
        SyntheticSet(np.zeros((2, 8, 8, 1), int), np.zeros((2, 4), np.float32))


def test_trees_of_descriptions_pass():
    made = SyntheticSet(np.zeros((2, 8, 8, 1), np.float32), np.zeros((2, 4), np.float32))
    assert jax.eval_shape(lambda: made).labels.shape == (2, 4)
    bank = Bank(tuple(np.zeros((2, 3), np.float32) for _ in range(2)), 2, 1)
    assert jax.eval_shape(lambda bank: bank.params[1], bank).shape == (2, 3)
    with pytest.raises(TypeError, match="images"):
        jax.tree.map(lambda leaf: leaf.shape, made)
