"""Whether a run has the data, the preprocessing and the network of the experts that it is given."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxdistill.commands.workspace import Bench
from jaxdistill.data.digest import digest_of, mismatch
from jaxdistill.io.expert_bank import BankError, StoredBank
from jaxdistill.io.expert_writer import KIND, SCHEMA
from jaxdistill.types import Network

__all__ = ["check_bank", "check_whitening", "describe", "other_data"]


def check_whitening(stored: StoredBank, zca: bool, statistics: str) -> None:
    """Raise a BankError unless a run whitens or normalises its images as those of the experts were.

    Args:
        stored: the experts.
        zca: whether the run whitens.
        statistics: what the run normalises by.
    """
    theirs = stored.card["data"].get("statistics", "default")
    said = None
    if statistics != theirs:
        said = f"normalised by statistics {theirs}", "leave --statistics out"
    elif zca != stored.card["whitened"]:
        said = ("not whitened", "leave --zca out") if zca else ("whitened", "leave --no-zca out")
    if said is not None:
        raise BankError(
            f"the experts in {stored.folder} saw images that were {said[0]}; {said[1]}, or train other experts"
        )


def check_bank(
    stored: StoredBank, network: Network, options: dict[str, Any], bench: Bench, *, other: bool = False
) -> None:
    """See that a run has the data, the preprocessing and the network of its experts.

    Args:
        stored: the bank.
        network: the run's.
        options: what it was made with: fields of `jaxdistill.settings.config.NetworkConfig`.
        bench: the run's data.
        other: take experts of other data, too.

    Raises:
        BankError: if it has not.
    """
    ours, card, where = describe(bench, network, {}), stored.card, stored.folder
    if (ours["image_shape"], ours["num_classes"]) != (card["image_shape"], card["num_classes"]):
        raise BankError(f"the experts in {where} were trained on {card['data']['dataset']}, not on data like this")
    if not other and (problem := other_data(card, bench)):
        if bench.held_out is not None and not card["data"].get("hold_out"):
            raise BankError(
                f"the experts in {where} saw the images that are held out here; train some with --hold-out, too, or "
                "leave --eval-every out"
            )
        raise BankError(
            f"the experts in {where} were trained on other images or classes ({problem}); give the data set they were "
            "made from, train experts on this one, or add --other-data if that is meant"
        )
    if ours["digests"]["preprocess"] != card["digests"]["preprocess"]:
        raise BankError(f"the experts in {where} saw images that were preprocessed otherwise; train others on these")
    if ours["parameters"] != card["parameters"] or _kind(options) != _kind(card["network"]):
        name = " ".join(f"--{key} {value}" for key, value in card["network"].items() if value is not None)
        raise BankError(
            f"the experts in {where} are another network than this run's ({name}); leave the network's options out"
        )


def _kind(options: dict[str, Any]) -> list[Any]:
    """What of a network does not show in the shapes of its parameters."""
    base = options["network"].removesuffix("-bn")
    norm = options["norm"] if base == options["network"] else "batch"
    return [base, norm, options["activation"], options["pooling"]]


def describe(bench: Bench, network: Network, said: dict[str, Any]) -> dict[str, Any]:
    """The card of a bank that is trained on `bench`: what `said` says, and what follows from data and network.

    Args:
        bench: the data.
        network: the experts'.
        said: what else the card holds.
    """
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    leaves = jax.tree_util.tree_leaves_with_path(shapes.params)
    return {
        "schema": SCHEMA,
        "kind": KIND,
        **said,
        "image_shape": list(bench.image_shape),
        "num_classes": bench.num_classes,
        "parameters": [[jax.tree_util.keystr(path), list(leaf.shape)] for path, leaf in leaves],
        "statistics": sum(leaf.size for leaf in jax.tree.leaves(shapes.statistics)),
        "whitened": bench.preprocess.whiten is not None,
        "digests": {"preprocess": digest_of(bench.preprocess.arrays()), **dataclasses.asdict(bench.digests)},
        "class_names": list(bench.source.class_names),
    }


def other_data(card: dict[str, Any], bench: Bench) -> str:
    """How the data of a bank's card differ from a run's, in words; empty where nothing does."""
    first = card["digests"].get("train")  # one hash of images and labels, in the first banks' cards
    images, labels = bench.source.train_images, np.asarray(bench.source.train_labels, np.int64)
    if isinstance(first, str) and first != digest_of({"images": images, "labels": labels}):
        return "the training images or their labels differ"
    return mismatch(card, bench.digests, bench.source.class_names)
