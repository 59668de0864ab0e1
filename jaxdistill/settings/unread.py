"""Options that nothing reads: what was given and has no effect is refused, since its giver thinks otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from jaxdistill.errors import UsageError
from jaxdistill.evaluation import Recipe
from jaxdistill.networks import Options, members, reads
from jaxdistill.selection.base import OF_WINDOW, SEARCH
from jaxdistill.settings.as_json import name_of
from jaxdistill.settings.config import OF_RECIPE, BasisConfig, DataConfig, Distill, GeneratorConfig, Select
from jaxdistill.settings.options import Evaluate, Experts
from jaxdistill.settings.starts import needs_of
from jaxdistill.types import AnyMethod, GenerativeMethod, Task

__all__ = [
    "COVERED",
    "OF_FOLDERS",
    "RESELECTING",
    "STEPPED",
    "check_data_read",
    "check_evaluation_read",
    "check_experts_read",
    "check_method_read",
    "check_networks_read",
    "check_read",
    "given",
]

STEPPED = frozenset(
    {
        "log_every",
        "checkpoint_seconds",
        "tensorboard",
        "wandb",
        "eval_every",
        "eval_every_seeds",
        "keep",
        "legacy_best",
    }
)
"""What is of steps: a selection, or a run of none, does not read it."""
RESELECTING = frozenset({"reselect_every", "reselect_after"})
"""What is of selections that are made again and again: others do not read it."""
OF_FOLDERS = frozenset({"classes", "phase", "size"})
"""What is of folders of images."""
COVERED = frozenset({"coverage_features", "coverage_same_class"})
"""What is of --coverage."""


def given(config: Any, defaults: dict[str, Any]) -> frozenset[str]:
    """Names of the fields, those of its parts among them, that are not what they would be if nothing were given.

    Args:
        config: a command's configuration.
        defaults: those that follow from what else is given; others are of the dataclass.
    """
    found = set()
    for field in dataclasses.fields(config):
        value, usual = getattr(config, field.name), defaults.get(field.name, _default(field))
        if dataclasses.is_dataclass(value):
            found |= given(value, vars(usual) if type(usual) is type(value) else {})
        elif value != usual:
            found.add(field.name)
    return frozenset(found)


def check_read(config: Distill | Select, options: Collection[str], protocol: Recipe) -> None:
    """Refuse what a distillation or selection does not read, as far as that can be seen before data are.

    Args:
        config: what is to be done.
        options: what was given; see `given`.
        protocol: its evaluation.

    Raises:
        UsageError: for the first.
    """
    if {"ipc", "share"} <= {*options}:
        raise UsageError("--ipc and --share both say how many images are selected; give one of them")
    check_data_read(config.data, options)
    check_networks_read(f"{config.network.network},{config.evaluation.eval_network or ''}", options)
    if not config.bank.given:
        _refuse({"expert_count"} & {*options}, "there are no --experts to count")
    selects = isinstance(config, Select)
    start = config.strategy if selects else config.init
    read = needs_of(start).reads(config.basis, config.bank.given)
    if isinstance(config, Distill) and config.keeps_by is not None:
        read |= {"score"} | config.keeps_by.reads(config.basis, config.bank.given) - OF_WINDOW
    unread = {field.name for field in dataclasses.fields(BasisConfig)} - read
    if not config.basis.beta:  # none left out, as where nothing is read of it
        unread -= {"beta"}
    if "beta" not in options and SEARCH & unread & needs_of(start).options & {*options}:
        raise UsageError(
            f"the preset's --beta {config.basis.beta} says where the window begins; add --search to let held-out "
            "images choose"
        )
    _refuse(unread & {*options}, f"{start if selects else f'a start by {start}'} does not go by ", named=True)
    if config.basis.search and "beta" in options:
        raise UsageError(
            "--beta says where the window begins, so that nothing is searched; leave --beta or --search out"
        )
    if not config.evaluation.eval_seeds:
        judged = {*RESELECTING}
        if config.evaluation.eval_every is None:  # looks go by the others too
            judged |= {"coverage", "eval_combined", "eval_epochs", "eval_equal_compute", "eval_labels"}
            judged |= {"parallel_networks"}
        _refuse(judged & {*options}, "with --eval-seeds 0 nothing is judged")
    if not config.evaluation.coverage:
        _refuse(COVERED & {*options}, "no coverage is asked for (--coverage)")
    _refuse_settings({option: name for option, name in OF_RECIPE.items() if option in options}, protocol)
    if protocol.learner != "network":
        _refuse({"eval_network"} & {*options}, f"by this protocol {protocol.learner} learns, no network")
    if config.evaluation.eval_every is None:
        _refuse({"eval_every_seeds"} & {*options}, "there are no looks without --eval-every")
    if selects:
        _refuse({"eval_equal_compute"} & {*options}, "selected images hold no tiles")
        if not needs_of(start).reselects:
            why = f"{start} asks no network that it could ask again while it trains"
            _refuse(RESELECTING & {*options}, why)
        _refuse((STEPPED | {"parallel_classes"}) & {*options}, "a selection has no steps")
    elif not config.steps:
        _refuse(STEPPED & {*options}, "there are 0 steps")


def check_method_read(
    config: Distill,
    options: Collection[str],
    protocol: Recipe,
    method: AnyMethod,
    task: Task,
    build: Callable[[Task], AnyMethod],
) -> None:
    """Refuse what would have no effect on this method; see `check_read`.

    Args:
        config: what is to be done.
        options: what was given.
        protocol: its evaluation.
        method: what was made of it.
        task: what it was told.
        build: what made it.
    """
    name, draws = name_of(config), isinstance(method, GenerativeMethod)
    if not draws and config.generator != GeneratorConfig():
        raise UsageError(f"{name} draws nothing from a generator; leave --generator and its options out")
    if "eval_equal_compute" in options and getattr(method, "images_per_start", 1) == 1:
        raise UsageError(f"the images of this {name} hold no tiles; leave --eval-equal-compute out")
    if draws and "init" in options and config.init != "noise":
        raise UsageError(f"{name} starts from a generator and not from images; leave --init out")
    if "kernel" in options and not hasattr(protocol, "kernel") and not needs_of(config.init).by_kernel:
        try:
            build(dataclasses.replace(task, kernel=None))
        except UsageError:  # it needs one
            return
        raise UsageError(f"neither {name}, its start nor its evaluation goes by a kernel; leave --kernel out")


def check_experts_read(config: Experts, options: Collection[str]) -> None:
    """Refuse what experts do not read; see `check_read`."""
    check_data_read(config.data, options)
    check_networks_read(config.network.network, options)
    _refuse({"kernel"} & {*options}, "experts are networks")
    if not config.recipe.rho:
        _refuse({"alpha"} & {*options}, "with --rho 0 experts are trained plainly")


def check_evaluation_read(config: Evaluate, networks: str, protocol: Recipe) -> None:
    """Refuse what `evaluate` does not read; its defaults are None.

    Args:
        config: what is to be done.
        networks: the names of those that judge.
        protocol: how.

    Raises:
        UsageError: for the first.
    """
    options = given(config, {})
    if not config.coverage:
        _refuse(COVERED & options, "no coverage is asked for (--coverage)")
    if not hasattr(protocol, "kernel"):
        _refuse({"kernel"} & options, "this protocol asks no kernel")
    _refuse_settings({name: name for name in OF_RECIPE.values() if name in options}, protocol)
    if config.experts is None:
        _refuse({"expert_epoch"} & options, "there are no --experts to begin as")
    if protocol.learner == "network":
        check_networks_read(networks, options)
    else:
        of_networks = {*Options._fields, "initial", "network_seed", "experts"}
        _refuse(of_networks & options, f"by this protocol {protocol.learner} learns, no network")


def check_data_read(data: DataConfig, options: Collection[str]) -> None:
    """Refuse a folder of TFDS for data that come from elsewhere, and constants for images that are whitened.

    Raises:
        UsageError: if one was given.
    """
    if data.zca:
        _refuse({"statistics"} & {*options}, "images that are whitened (--zca) are not normalised by channel")
    if not Path(data.dataset).is_dir():
        _refuse(OF_FOLDERS & {*options}, f"{data.dataset} is no folder of images")
    if data.dataset == "digits" or Path(data.dataset).exists():
        _refuse({"data_dir"} & {*options}, f"{data.dataset} does not come from TFDS")


def check_networks_read(names: str, options: Collection[str]) -> None:
    """Refuse what none of the networks has.

    Args:
        names: networks, separated by commas.
        options: what was given.

    Raises:
        UsageError: for the first.
    """
    networks = members(names)
    had = {field for name in networks for field in reads(name)}
    _refuse({*Options._fields} & {*options} - had, f"{', '.join(networks)} has no ", named=True)


def _refuse(unread: Iterable[str], why: str, *, named: bool = False) -> None:
    """Raise for the first option, which a reason may end with."""
    for name in sorted(unread):
        flag = f"--{name.replace('_', '-')}"
        raise UsageError(f"{why}{flag} here; leave it out" if named else f"{why}; leave {flag} out")


def _refuse_settings(asked: dict[str, str], protocol: Recipe) -> None:
    """Raise for the first option whose setting the recipe has not."""
    for option, name in asked.items():
        if not hasattr(protocol, name):
            _refuse([option], f"this protocol has no {name}")


def _default(field: dataclasses.Field) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default
