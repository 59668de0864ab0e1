"""Images that experts classify correctly, labelled by what they say of them: DATM's start (Guo et al., ICLR 2024)."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.selection.base import Experts, Selection, Teachers
from jaxdistill.selection.groups import check_ipc
from jaxdistill.selection.strategies import real_set
from jaxdistill.selection.uniform import uniform
from jaxdistill.training.inference import predict_on_host
from jaxdistill.types import Key, SyntheticSet

__all__ = ["CORRECT", "LABELLED", "correct", "labelled"]

BLOCK = 256


def correct(key: Key, data: RealData, ipc: int, teachers: Teachers) -> SyntheticSet:
    """Random images that the first expert classifies correctly, with mean logits of the experts that do so as labels.

    Where a class has too few of them, those that the second one classifies correctly come next, and so on. Images are
    shown without augmentation.

    Args:
        key: of the draw.
        data: the training split.
        ipc: images per class.
        teachers: the experts.

    Raises:
        UsageError: if `ipc` is below 1, or all experts together get too few images of a class right.
    """
    check_ipc(ipc)
    offsets, counts = np.asarray(data.offsets), np.asarray(data.counts)
    keys = jax.random.split(key, len(counts))
    shuffled = [
        offset + np.asarray(jax.random.permutation(k, n)) for k, offset, n in zip(keys, offsets, counts, strict=True)
    ]
    found: list[list[int]] = [[] for _ in counts]
    labels = np.asarray(data.labels)
    for number, begin in itertools.product(range(teachers.count), range(0, int(counts.max()), BLOCK)):
        wanting = [shuffled[c][begin : begin + BLOCK] for c in range(len(counts)) if len(found[c]) < ipc]
        block = np.concatenate([*wanting, np.empty(0, int)])
        if len(block):
            said = _logits(teachers, number, data, block)
            for index in block[said.argmax(-1) == labels[block]]:
                own = found[labels[index]]
                if len(own) < ipc and index not in own:
                    own.append(index)
    short = min(range(len(counts)), key=lambda c: len(found[c]))
    if len(found[short]) < ipc:
        raise UsageError(
            f"the experts get {len(found[short])} images of class {short} right, too few for {ipc}; lower the images "
            "per class, or train the experts for longer"
        )
    return _label(data, teachers, np.asarray(found))


def labelled(key: Key, data: RealData, ipc: int, teachers: Teachers) -> SyntheticSet:
    """Random images, with the first expert's logits as labels.

    Args:
        key: of the draw.
        data: the training split.
        ipc: images per class.
        teachers: the experts; the first one labels.

    Raises:
        UsageError: if `ipc` is below 1 or above the size of a class.
    """
    chosen = uniform(key, jnp.asarray(data.labels), ipc, len(data.counts))
    return _label(data, teachers._replace(count=1), np.asarray(chosen), only_right=False)


def _label(
    data: RealData, teachers: Teachers, chosen: Int[np.ndarray, "classes ipc"], only_right: bool = True
) -> SyntheticSet:
    """The set of these images with mean logits; over all experts for an image that none of them gets right."""
    flat = chosen.reshape(-1)
    labels = np.repeat(np.arange(len(chosen)), chosen.shape[1])
    said = [_logits(teachers, number, data, flat).astype(np.float64) for number in range(teachers.count)]
    right = np.stack([logits.argmax(-1) == labels for logits in said])
    counted = right | ~(right.any(0) & only_right)
    mean = (np.stack(said) * counted[..., None]).sum(0) / counted.sum(0)[:, None]
    found = real_set(data, jnp.asarray(chosen))
    return dataclasses.replace(found, labels=jnp.asarray(mean, jnp.float32), label_kind="logit")


def _logits(
    teachers: Teachers, number: int, data: RealData, indices: Int[np.ndarray, " b"]
) -> Float[np.ndarray, "b classes"]:
    """What an expert says of some images, which may be on the host."""

    def read(block: Int[np.ndarray, " size"]) -> Float[Array, "size h w c"]:
        return jnp.asarray(data.read(indices[block]).images)

    return predict_on_host(teachers.network, teachers.variables(number), read, len(indices), BLOCK)


CORRECT = Selection("correct", Experts(), correct, "Guo et al., ICLR 2024", budgets="ipc")
LABELLED = Selection("labelled", Experts(), labelled, budgets="ipc")
