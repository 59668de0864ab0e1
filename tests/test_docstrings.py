"""What docstrings hold: all arguments of a function of three or more, two steps of a method, help that stands alone."""

import ast
from pathlib import Path

import pytest

import jaxdistill
from jaxdistill.methods import METHODS

ROOT = Path(jaxdistill.__file__).parent
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
SETTINGS = ("settings/", "methods/", "diffusion/generator.py", "diffusion/sample.py", "training/experts.py")
"""Where fields are options of the command line."""


def public(module):
    """The functions and classes that a module names in `__all__`; of `types`, all."""
    body = TREES[module].body
    lists = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"]
    names = {entry.value for entry in ast.walk(ast.List(lists)) if isinstance(entry, ast.Constant)}
    nodes = [node for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return [node for node in nodes if node.name in names or module == "types.py"]


def functions():
    """Module, class (or an empty name) and node of each public function and method."""
    for module in TREES:
        for node in public(module):
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                if isinstance(inner, ast.FunctionDef) and (inner.name[0] != "_" or inner.name == "__call__"):
                    yield module, node.name, inner
            if isinstance(node, ast.FunctionDef):
                yield module, "", node


def parameters(function):
    args = function.args
    everything = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
    return tuple(arg.arg for arg in everything if arg is not None and arg.arg not in ("self", "cls"))


def missing(function):
    """Parameters that no line of the docstring begins with."""
    lines = [line.strip() for line in (ast.get_docstring(function) or "").splitlines()]
    return [name for name in parameters(function) if not any(line.startswith(f"{name}:") for line in lines)]


def test_every_argument_is_described():
    """Of functions with three or more; a method that stands for another class's has what is said there."""
    every = [entry for entry in functions() if len(parameters(entry[2])) >= 3]
    said = {(node.name, parameters(node)) for _, owner, node in every if owner and not missing(node)}
    lacking = {
        f"{module}: {owner}.{node.name}".replace(": .", ": "): missing(node)
        for module, owner, node in every
        if missing(node) and not (owner and (node.name, parameters(node)) in said)
    }
    assert len(every) > 200
    assert not lacking


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.__name__)
def test_an_example_takes_two_steps(method):
    example = method.__doc__.partition("Example:")[2].partition("References:")[0]
    assert example.count("step(") == 2
    assert ".loss" in example or ".denoising" in example


def test_help_stands_alone():
    """No option's help begins by pointing at the one before it."""
    fields = {
        f"{module}: {node.name}.{field.target.id}": ast.literal_eval(text.value)
        for module, tree in TREES.items()
        if module.startswith(SETTINGS)
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(mark) for mark in node.decorator_list)
        for field, text in zip(node.body, node.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr)
    }
    assert len(fields) > 150
    assert not [name for name, text in fields.items() if text.split()[0] in ("Of", "Its", "Their", "It")]
