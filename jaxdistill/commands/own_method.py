"""A method that a caller brings: whether it is one, in sentences, before anything of it is compiled."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from jaxdistill.errors import UsageError
from jaxdistill.types import Feed, Key, Method, PyTree, SyntheticSet

__all__ = ["check_own"]


def check_own(name: str, method: Any) -> None:
    """See that this is a method, with something to feed it.

    Raises:
        UsageError: if it is not.
    """
    if not isinstance(method, Method):
        raise UsageError(f"{name} gave {_said(method)} and no jaxdistill.Method(init, step, synthetic, feed)")
    if not isinstance(method.feed, Feed):
        raise UsageError(f"the feed of {name} is {_said(method.feed)}; give one such as jaxdistill.ClassBalanced(64)")


def check_steps(name: str, method: Method, initial: SyntheticSet, key: Key, data: Any) -> None:
    """See that a method's functions fit each other: by shapes alone, nothing is computed.

    Args:
        name: what it is called.
        method: its functions.
        initial: what it starts from.
        key: any.
        data: what its feed draws from.

    Raises:
        UsageError: for a step that does not give a state like the one that it was given and an Info that begins with a
            loss, or a set that is none.
    """
    state = jax.eval_shape(method.init, key, initial)
    batch = jax.eval_shape(lambda: method.feed.gather(method.feed.plan(key, jnp.asarray(0), data), data))
    found = jax.eval_shape(method.step, key, state, batch)
    if not isinstance(found, tuple) or len(found) != 2:
        raise UsageError(f"a step of {name} gives (state, info), and this one gave {_said(found)}")
    after, info = found
    if _shapes(after) != _shapes(state):
        raise UsageError(
            f"a step of {name} makes {_shapes(after)} of a state of {_shapes(state)}; keep structure, shapes and types"
        )
    if not hasattr(info, "_fields") or info._fields[:1] != ("loss",):
        raise UsageError(f"the info of {name} is {_said(info)}; give a NamedTuple of scalars, `loss` first")
    if wrong := [field for field, value in info._asdict().items() if jnp.shape(value) != ()]:
        raise UsageError(f"the info of {name} holds scalars, and {', '.join(wrong)} is none")
    made = jax.eval_shape(method.synthetic, state)
    if not isinstance(made, SyntheticSet):
        raise UsageError(f"synthetic of {name} gives a jaxdistill.SyntheticSet, and this one gave {_said(made)}")
    shapes = made.images.shape, made.labels.shape
    if shapes != (initial.images.shape, initial.labels.shape):
        raise UsageError(
            f"{name} makes a set of images {shapes[0]} and labels {shapes[1]}, and was asked for one like its start: "
            f"{initial.images.shape} and {initial.labels.shape}"
        )


def _shapes(tree: PyTree) -> str:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return ", ".join(f"{jax.tree_util.keystr(path) or 'array'} {leaf.dtype}{leaf.shape}" for path, leaf in leaves)


def _said(value: Any) -> str:
    if value is None or (hasattr(value, "shape") and hasattr(value, "dtype")):
        return "nothing" if value is None else "an array"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"
