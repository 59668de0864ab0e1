"""Sets of disjoint classes as one: what a data set that is distilled in phases ends in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from itertools import combinations
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxdistill.data.digest import Digests, digest_of_names
from jaxdistill.data.imagenet import SUBSETS, classes_of
from jaxdistill.io.artifact import ArtifactError, Stored

__all__ = ["joined"]

_ALIKE = {
    "image_shape": "images of one shape",
    "formation": "as many tiles in an image",
    "label_kind": "labels of one kind",
    "ipc": "as many images per class",
    "hold_out": "as large a share of the training images held out",
    "size": "images that were brought to one size",
}
"""What sets have to have in common, by their cards."""
_KEPT = ("method", "dataset", "network", "eval_network", "eval_size", "protocol", "seed", *_ALIKE)
"""What is said of the whole where all parts say the same."""


def joined(sets: Mapping[str, Stored]) -> Stored:
    """One set of the classes of several, in the order that folders and numbered classes have.

    Each class keeps its images, in their order; labels are of all classes. The card names the parts.

    Args:
        sets: two or more by what messages call them, of different classes.

    Raises:
        ArtifactError: if two have a class in common, or the sets are not alike otherwise.
    """
    if len(sets) < 2:
        raise ArtifactError("give at least two sets to join")
    for one, other in combinations(sets, 2):
        if both := _names(sets[one]) & _names(sets[other]):
            raise ArtifactError(f"{one} and {other} both have the class {min(both)}; join sets of different classes")
    first, *others = sets
    for other in others:
        if problem := _unlike(sets[first], sets[other]):
            raise ArtifactError(f"{first} and {other} cannot be joined: {problem}; make them in one way")
    for name, one in sets.items():
        if one.synthetic.label_kind not in ("class", "probability"):
            raise ArtifactError(
                f"the labels of {name} ({one.synthetic.label_kind}) say nothing of other classes; join others"
            )
        if one.synthetic.learning_rate is not None:
            raise ArtifactError(f"the step sizes of {name} were learned with it alone; join sets without any")
    names = [name for one in sets.values() for name in one.card["class_names"]]
    order = sorted(range(len(names)), key=lambda i: _place(names[i]))
    ipc = sets[first].card["ipc"]
    images = np.concatenate([np.arange(ipc) + i * ipc for i in order])
    counts = np.cumsum([0, *(one.labels.shape[1] for one in sets.values())])
    arrays = {
        name: np.concatenate([np.asarray(one.synthetic.arrays[name]) for one in sets.values()])
        for name in sets[first].synthetic.arrays
        if name != "labels"
    }
    labels = np.zeros((len(images), len(names)), np.float32)
    for begin, end, one in zip(counts, counts[1:], sets.values(), strict=False):
        labels[begin * ipc : end * ipc, begin:end] = one.labels
    arrays["labels"] = labels[:, order]
    synthetic = dataclasses.replace(
        sets[first].synthetic, **{name: jnp.asarray(array[images]) for name, array in arrays.items()}
    )
    return Stored(
        synthetic, sets[first].preprocess, _card([one.card for one in sets.values()], [names[i] for i in order])
    )


def _names(one: Stored) -> set[str]:
    return {*one.card["class_names"]}


def _place(name: str) -> tuple[int, str]:
    """Numbers by their value, as arrays have them, and other names as folders are sorted."""
    return (int(name), "") if name.isdecimal() else (-1, name)


def _facts(one: Stored) -> dict[str, Any]:
    """What a card says once the set is saved."""
    synthetic = one.synthetic
    shape = list(synthetic.images.shape[1:])
    return {"image_shape": shape, "formation": synthetic.formation, "label_kind": synthetic.label_kind}


def _unlike(one: Stored, other: Stored) -> str:
    """What two sets do not have in common, in words; empty if nothing."""
    said = [{**each.card, **_facts(each)} for each in (one, other)]
    for name, what in _ALIKE.items():
        if said[0].get(name) != said[1].get(name):
            return f"they do not have {what}"
    if len({*one.counts, *other.counts}) > 1:
        return "not all of their classes have as many images"
    if one.synthetic.arrays.keys() != other.synthetic.arrays.keys():
        return "only one says which images were selected, or has weights"
    if not one.preprocess.equals(other.preprocess):
        return "their images were normalised or whitened differently"
    return ""


def _card(cards: list[dict[str, Any]], names: list[str]) -> dict[str, Any]:
    """What is known of the whole."""
    first, *others = cards
    card = {name: first[name] for name in _KEPT if name in first and all(c.get(name) == first[name] for c in others)}
    card = {"method": "joined", "dataset": "+".join(dict.fromkeys(str(c["dataset"]) for c in cards)), **card}
    part = ("method", "seed", "class_names", "digests", "setting", "generator", "cost", "sha256")
    card["joined"] = [{name: c[name] for name in part if name in c} for c in cards]
    lists = {str(c.get("classes")) for c in cards}
    if len(lists) == 1 and (subset := lists.pop()) in SUBSETS and names == list(classes_of(subset)):
        card["classes"] = subset
    digests = dataclasses.asdict(Digests(class_names=digest_of_names(names)))
    return {**card, "class_names": names, "num_classes": len(names), "digests": digests}
