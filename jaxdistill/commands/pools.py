"""Networks that begin as experts, of methods that take a pool of them: which of them judge, and from where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.common.attack import Attack
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import Recipe
from jaxdistill.io.expert_bank import BankError, StoredBank, load_bank
from jaxdistill.settings.config import Distill, Select
from jaxdistill.types import Network, Variables

__all__ = [
    "Starts",
    "attack_of",
    "check_enough",
    "first_of",
    "judging_bank",
    "pool_epoch",
    "stacked",
    "starts_of",
    "unseen",
]


class Starts(NamedTuple):
    """Where networks begin that are trained on a set, arrays with a leading axis."""

    judging: Callable[[int], Variables]
    """So many of the evaluation."""
    looking: Variables | None
    """Those of looks along the run: of the pool itself, so that nothing is chosen by the others."""
    said: str
    """What they are, in words."""


def pool_epoch(config: Distill | Select) -> int | None:
    """The epoch after which a run's networks begin as experts, -1 for the last; None where they begin afresh."""
    method = getattr(config, "method", None)
    if not getattr(method, "pretrained", False):
        return None
    epoch: int | None = getattr(method, "pool_epoch", None)
    return -1 if epoch is None else epoch


def attack_of(config: Distill | Select) -> Attack | None:
    """Which class the set of a run is to have taken for which; None where it is to have none."""
    method = getattr(config, "method", None)
    attacked, target = getattr(method, "attack_class", None), getattr(method, "target_class", None)
    return None if attacked is None or target is None else Attack(attacked, target)


def first_of(bank: StoredBank, count: int | None) -> StoredBank:
    """The first so many experts of a bank, by default all.

    Raises:
        BankError: if there are fewer.
    """
    if count is not None and count > len(bank.params):
        raise BankError(f"there are {len(bank.params)} experts, not {count}; lower --expert-count, or train more")
    return bank._replace(params=bank.params[:count], held=bank.held[:count])


def stacked(bank: StoredBank, network: Network, numbers: Sequence[int], epoch: int) -> Variables:
    """Networks as some experts stood after an epoch, arrays with a leading axis.

    Args:
        bank: the experts.
        network: theirs.
        numbers: which.
        epoch: 0 is where they began, -1 the last.

    Raises:
        BankError: if they have fewer epochs.
    """
    if not -1 <= epoch <= bank.epochs:
        raise BankError(f"these experts have {bank.epochs} epochs, and none of the number {epoch}; -1 is the last")
    found = [bank.variables(network, number, epoch) for number in numbers]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *found)


def unseen(bank: StoredBank, pool: Mapping[str, Any]) -> tuple[range, str]:
    """Which experts of a bank a set was not made with, and that in words; all of them where it was made with all.

    Args:
        bank: any; the set's own may have grown.
        pool: what the set's card says of its experts: their count and digest.
    """
    count, there = pool.get("count", 0), len(bank.params)
    if not 0 < count <= there or first_of(bank, count).digest() != pool["digest"]:
        return range(there), "experts that the set was not made with"
    if count == there:
        return range(there), "the experts that the set was made with"
    return range(count, there), "experts of its bank that the set was not made with"


def judging_bank(config: Distill, bank: StoredBank | None, protocol: Recipe) -> StoredBank | None:
    """The experts as which networks begin that judge a run's set; None where no network is trained.

    Args:
        config: of the run.
        bank: the experts in memory, with those beyond the run's own; None reads them from their folder.
        protocol: how it is judged.

    Raises:
        UsageError: if there are none, or other networks are to judge.
    """
    evaluation = config.evaluation
    looks = evaluation.eval_every is not None
    if protocol.learner != "network" or not (evaluation.eval_seeds or looks) or not config.bank.given:
        return None
    if evaluation.eval_network not in (None, config.network.network):
        raise UsageError(
            f"networks begin as experts and are these, and --eval-network names {evaluation.eval_network}; leave it out"
        )
    if bank is None and config.bank.experts is None:
        raise UsageError("the experts that judge this set were in memory; give them, or where they were saved since")
    return load_bank(config.bank.experts) if bank is None else bank  # pyright: ignore[reportArgumentType]


def starts_of(config: Distill, epoch: int, bank: StoredBank, network: Network) -> Starts:
    """Where the networks that judge a run's set begin.

    Args:
        config: of the run, its experts pinned.
        epoch: `pool_epoch`.
        bank: `judging_bank`.
        network: theirs.

    Raises:
        UsageError: if more networks are to judge than there are.
    """
    evaluation, pool = config.evaluation, {"count": config.bank.expert_count, "digest": config.bank.digest}
    numbers, said = unseen(bank, pool)
    looks = evaluation.eval_every_seeds if evaluation.eval_every is not None else 0
    check_enough(numbers, said, evaluation.eval_seeds, "--eval-seeds")
    check_enough(range(config.bank.expert_count or 0), "those of the pool", looks, "--eval-every-seeds")

    def judging(seeds: int) -> Variables:
        check_enough(numbers, said, seeds, "--seeds")
        return stacked(bank, network, numbers[:seeds], epoch)

    return Starts(judging, stacked(bank, network, range(looks), epoch) if looks else None, said)


def check_enough(numbers: Sequence[int], said: str, seeds: int, option: str) -> None:
    """Raise a UsageError where more networks are asked than there are experts to begin as.

    Args:
        numbers: the experts.
        said: which they are, in words.
        seeds: networks.
        option: that says so many.
    """
    if seeds > len(numbers):
        raise UsageError(
            f"networks begin as experts, of which there are {len(numbers)} ({said}), and {option} is {seeds}; lower "
            "it, or train more"
        )
