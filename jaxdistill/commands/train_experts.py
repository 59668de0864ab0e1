"""Train experts and add them to a bank, a group at a time; an expert that is there is never trained again."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jaxdistill.commands.given_experts import describe, other_data
from jaxdistill.commands.run_folder import hold, undone
from jaxdistill.commands.workspace import Bench, at_once, augmentation, only_network, open_bench
from jaxdistill.data.check import Source
from jaxdistill.data.feeds import Part
from jaxdistill.data.trajectories import flatten
from jaxdistill.engine.devices import from_first, replicate, spread
from jaxdistill.engine.drive import RunFailedError, say
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.train import correct
from jaxdistill.io.expert_bank import BankError, StoredBank, load_bank, read_card, read_preprocess
from jaxdistill.io.expert_writer import Held, Writer, record, save_card
from jaxdistill.io.records import build
from jaxdistill.settings.config import DataConfig, NetworkConfig
from jaxdistill.settings.options import Experts
from jaxdistill.settings.paths import place
from jaxdistill.training.experts import ExpertRecipe, expert_epoch
from jaxdistill.training.sgd import Seen
from jaxdistill.types import Augment, Key, Network, PyTree, Variables

__all__ = ["fields_of", "fields_of_card", "held_experts", "prepare_experts", "train_experts", "trained"]


def train_experts(config: Experts, console: Console, before: StoredBank | None = None) -> None:
    """Bring a bank to the number of experts, and to the epochs, that are wanted.

    Args:
        config: what is wanted.
        console: where it is told how far this is.
        before: the same experts after fewer epochs, which are gone on with where that gives the same.

    Raises:
        UsageError: for arguments or data that cannot be used, or a bank of other experts.
        RunFailedError: if an expert does not stay finite.
    """
    # Not fitted anew where experts are added: on another machine whitening would differ in its last digits.
    _recover(config)
    stored = read_preprocess(config.out) if config.resume and (config.out / "card.json").is_file() else None
    stored = stored if before is None else before.preprocess
    if stored is not None and config.data.zca != (stored.whiten is not None):
        raise BankError(_other(config.out, ["zca"]))
    bench = open_bench(config.data, stored)
    ready = prepare_experts(config, bench)
    card = ready.card
    if stored is not None and before is None and config.longer:
        return _lengthen(config, card, bench, console)
    new = jax.process_index() == 0 and not config.out.exists()
    problem = _problem(config, card, bench) if jax.process_index() == 0 else ""
    if bool(from_first(np.int32(bool(problem)))):
        raise BankError(problem or "process 0 refused the bank; see its message")
    size = at_once(config.parallel_experts, config.count, bench.image_shape, config.network.width, bench.mesh)
    with undone(config.out, new=new, unless=("[0-9]*/card.json",)), hold(config.out, "card.json"):
        say(console, bench.source.summary())
        there = np.asarray([(config.out / f"{i:05d}" / "card.json").is_file() for i in range(config.count)])
        lacking = np.flatnonzero(~from_first(there))
        step = min(size * bench.mesh.size, max(len(lacking), 1))
        for begin in range(0, len(lacking), step):
            numbers = lacking[begin : begin + step]
            with contextlib.ExitStack() as stack:
                first = jax.process_index() == 0
                writers = [stack.enter_context(record(config.out, int(i), card)) for i in numbers] if first else []
                _add(config, numbers, size, ready, writers, console, before)
    held = sum(1 for _ in config.out.glob("*/card.json"))
    if before is None:  # else this is a part of making them longer
        say(console, f"{config.out} holds {held} experts of {config.epochs} epochs")


class Ready(NamedTuple):
    """Experts of which everything is known and none is trained."""

    bench: Bench
    network: Network
    augment: Augment
    card: dict[str, Any]
    """The bank's."""


def prepare_experts(config: Experts, bench: Bench) -> Ready:
    """See that experts can be trained on data.

    Raises:
        UsageError: if they cannot.
    """
    if bench.on_host:
        raise UsageError("experts are trained on images that are on the device; raise --max-device-gib")
    network = only_network(config.network, bench)
    data = {name: getattr(config.data, name) for name in ("zca", "statistics")}
    data |= config.data.taken | ({"hold_out": config.data.hold_out} if config.data.hold_out else {})
    said = {"data": {"dataset": place(config.data.dataset), **data}, "preset": config.preset}
    said |= {name: dataclasses.asdict(getattr(config, name)) for name in ("network", "recipe")}
    said |= {name: getattr(config, name) for name in ("epochs", "seed", "dtype")}
    return Ready(bench, network, augmentation(config.recipe.augment, bench), describe(bench, network, said))


def held_experts(config: Experts, source: Source, console: Console) -> StoredBank:
    """Train experts that stay in memory.

    Args:
        config: which; its `out` is not read.
        source: the data.
        console: where it is told how far this is.

    Raises:
        UsageError: for arguments or data that cannot be used.
        RunFailedError: if an expert does not stay finite.
    """
    bench = open_bench(config.data, None, source)
    ready = prepare_experts(config, bench)
    size = at_once(config.parallel_experts, config.count, bench.image_shape, config.network.width, bench.mesh)
    held: list[Held] = []
    step = min(size * bench.mesh.size, config.count)
    for begin in range(0, config.count, step):
        numbers = np.arange(begin, min(begin + step, config.count))
        group = [Held(ready.card) for _ in numbers]
        _add(config, numbers, size, ready, group, console)
        held += group
    params = tuple(one.params for one in held)
    return StoredBank(Path("memory"), ready.card, bench.preprocess, params, tuple(held))


def fields_of(folder: Path) -> dict[str, Any]:
    """The configuration that a bank was made with, as fields of `Experts`.

    Raises:
        BankError: if it is no bank.
    """
    there = sum(1 for _ in folder.glob("[0-9]*/card.json"))
    return {**fields_of_card(read_card(folder), folder), **({"count": there} if there else {})}


def fields_of_card(card: dict[str, Any], folder: Path) -> dict[str, Any]:
    """See `fields_of`; the folder is for messages."""
    found: dict[str, Any] = {}
    kinds = {"network": NetworkConfig, "recipe": ExpertRecipe, "data": DataConfig}
    for name in ("epochs", "seed", "dtype", "preset", *kinds):
        try:
            found[name] = build(kinds[name], card[name]) if name in kinds else card[name]
        except (KeyError, TypeError, ValueError):
            raise BankError(
                f"the card of {folder} does not say the experts' {name} in a way that this version of jaxdistill "
                "understands; choose another bank, or make it again"
            ) from None
    if [type(found[name]) for name in ("epochs", "seed", "dtype", "preset")] != [int, int, str, str]:
        raise BankError(f"the card of {folder} is damaged; choose another bank, or make it again")
    return found


def trained(
    key: Key,
    numbers: np.ndarray,
    epochs: int,
    network: Network,
    recipe: ExpertRecipe,
    augment: Augment,
    data: Any,
    mesh: Mesh,
    size: int,
    tell: Callable[[int, Variables, Seen | None], None],
    start: tuple[int, Variables] | None = None,
    parts: Int[np.ndarray, "experts size"] | None = None,
) -> Variables:
    """Train a group of experts on real data; expert i depends on ``fold_in(key, i)`` alone.

    Args:
        key: root key.
        numbers: which experts.
        epochs: of each.
        network: theirs.
        recipe: how they are trained.
        augment: the recipe's augmentation, as a function.
        data: real data, on all devices.
        mesh: devices.
        size: experts side by side on a device.
        tell: told the epoch, where the experts stand after it (arrays with a leading axis), and what they said.
        start: the epochs that are behind them, and where they stand; of experts without momentum.
        parts: indices of the images that each expert sees; by default all.

    Returns:
        Where they end.
    """
    mapper = spread(mesh, size, gather=True)
    key, chosen, parts = replicate((key, jnp.asarray(numbers), parts), mesh)
    done, variables = (
        (0, _begin(chosen, key, network, mapper)) if start is None else (start[0], replicate(start[1], mesh))
    )
    velocity = jax.tree.map(jnp.zeros_like, variables.params)
    if not done:
        tell(0, variables, None)
    for epoch in range(done, epochs):
        variables, velocity, seen = _advance(
            variables, velocity, (chosen, parts), key, np.int32(epoch), data, network, recipe, augment, mapper
        )
        tell(epoch + 1, variables, seen)
    return variables


@partial(jax.jit, static_argnums=(2, 3))
def _begin(numbers, key: Key, network: Network, mapper: Callable[..., PyTree]) -> Variables:
    return mapper(lambda number, key: network.init(jax.random.fold_in(key, number)), numbers, key)


@partial(jax.jit, static_argnums=(6, 7, 8, 9), donate_argnums=(0, 1))
def _advance(
    variables, velocity, numbers, key: Key, epoch, data, network, recipe, augment, mapper
) -> tuple[Variables, PyTree, Seen]:
    def one(entry, key, epoch, data):
        (number, part), variables, velocity = entry
        data = data if part is None else Part(data, part)
        key = jax.random.fold_in(jax.random.fold_in(key, number), 1 + epoch)
        return expert_epoch(key, network, variables, velocity, data, recipe, augment)

    return mapper(one, (numbers, variables, velocity), key, epoch, data)


@partial(jax.jit, static_argnums=(2, 3))
def _tested(variables: Variables, data, network: Network, mapper: Callable[..., PyTree]):
    return mapper(
        lambda variables, data: correct(lambda images: network.apply(variables, images)[0], data), variables, data
    )


def _problem(config: Experts, card: dict[str, Any], bench: Bench) -> str:
    """Make the folder, or say what is wrong with the one that is there."""
    try:
        save_card(config.out, card, bench.preprocess)
        return ""
    except FileExistsError:
        if not config.out.exists():
            return f"{config.out} would be below a file; choose another --out"
        if not config.resume:
            return f"{config.out} exists; choose another --out, or add to it with --resume"
    try:
        return _difference(config, card, read_card(config.out), bench)
    except BankError as error:
        return str(error)


def _difference(config: Experts, card: dict[str, Any], stored: dict[str, Any], bench: Bench) -> str:
    """What keeps experts of a card from being added to those that are there; empty if nothing does."""
    apart = ("data", "kind", "digests", "class_names")
    differ = sorted(name for name in card if name not in apart and card[name] != stored.get(name))
    if card["data"]["statistics"] != stored["data"].get("statistics", "default"):
        differ.append("statistics")
    if differ == ["epochs"] and config.epochs > stored["epochs"]:
        return (
            f"{config.out} holds experts of another kind (epochs differ); they have {stored['epochs']}; add --longer "
            "to train all of them to more"
        )
    if differ:
        return _other(config.out, differ)
    if problem := other_data(stored, bench):
        return f"{config.out} holds experts of other data ({problem}); give it those, or choose another --out"
    return ""


def _beside(folder: Path) -> tuple[Path, Path]:
    """Where experts are made longer, and where those that were shorter are for a moment."""
    longer, shorter = (folder.with_name(f"{folder.name}.{word}") for word in ("longer", "shorter"))
    return longer, shorter


def _recover(config: Experts) -> None:
    """End an exchange of a bank for a longer one that was cut."""
    longer, shorter = _beside(config.out)
    if config.resume and shorter.is_dir() and not jax.process_index():
        if not config.out.exists():
            longer.rename(config.out)
        shutil.rmtree(shorter)


def _lengthen(config: Experts, card: dict[str, Any], bench: Bench, console: Console) -> None:
    """Give all experts of a bank more epochs: in a folder beside it, which then takes its place."""
    before = load_bank(config.out)
    if config.epochs <= before.epochs:
        raise BankError(
            f"the experts in {config.out} have {before.epochs} epochs; say with --epochs how many they are to have "
            "in all, not how many more"
        )
    problem = _difference(config, {**card, "epochs": before.epochs}, before.card, bench)
    if bool(from_first(np.int32(bool(problem)))):
        raise BankError(problem or "process 0 refused the bank; see its message")
    longer, shorter = _beside(config.out)
    count = max(config.count, len(before.params))
    with hold(config.out, "card.json"):
        say(console, f"training {count} experts from {before.epochs} to {config.epochs} epochs in {longer}")
        begun = bool(from_first(np.int32(longer.exists())))
        again = dataclasses.replace(config, out=longer, count=count, resume=begun, longer=False)
        train_experts(again, console, before)
        if jax.process_index() == 0:
            config.out.rename(shorter)
            longer.rename(config.out)
            shutil.rmtree(shorter)
    say(console, f"{config.out} holds {count} experts of {config.epochs} epochs")


def _gone_on(
    config: Experts, numbers: np.ndarray, network: Network, before: StoredBank, writers: Sequence[Writer]
) -> tuple[int, Variables] | None:
    """Where experts that were trained before stand, with all that they recorded written again; None where training
    from there would be another one than from the start: momentum and rounded parameters are not kept."""
    if config.recipe.momentum or config.dtype != "float32" or max(numbers) >= len(before.params):
        return None
    for writer, number in zip(writers, numbers, strict=False):
        seen = before.history(int(number))
        for epoch, row in enumerate(before.params[number]):
            variables = before.variables(network, int(number), epoch)
            tracked = jax.tree.leaves(variables.statistics)
            said = None if epoch == 0 else jax.tree.map(lambda leaf, epoch=epoch: np.asarray(leaf[epoch - 1]), seen)
            writer.put(np.asarray(row), np.asarray(flatten(variables.statistics)) if tracked else None, said)
    ends = [before.variables(network, int(number)) for number in numbers]
    return before.epochs, jax.tree.map(lambda *leaves: np.stack(leaves), *ends)


def _other(folder: Path, differ: list[str]) -> str:
    names = ", ".join(differ)
    return f"{folder} holds experts of another kind ({names} differ); leave the arguments out, or choose another --out"


def _add(
    config: Experts,
    numbers: np.ndarray,
    size: int,
    ready: Ready,
    writers: Sequence[Writer],
    console: Console,
    before: StoredBank | None = None,
) -> None:
    """Train a group, and write each of its experts."""
    bench, network, augment, _ = ready
    began = time.perf_counter()
    last: list[float] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with contextlib.ExitStack() as stack:
        progress = stack.enter_context(
            Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        )
        which = f"expert {numbers[0]}" if len(numbers) == 1 else f"experts {numbers[0]} to {numbers[-1]}"
        shown = progress.add_task(which, total=config.epochs)

        def tell(epoch: int, variables: Variables, seen: Seen | None) -> None:
            variables, seen = jax.tree.map(np.asarray, (variables, seen))
            if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(variables.params)):
                raise RunFailedError(f"{which} is not finite after epoch {epoch}; start again with a smaller step size")
            for i, writer in enumerate(writers):
                writer.add(*jax.tree.map(lambda leaf, i=i: leaf[i], (variables, seen)))
            if seen is not None:
                last[:] = seen.correct.mean(axis=1).tolist()
            progress.update(shown, completed=epoch)

        key = jax.random.key(config.seed)
        start = None if before is None else _gone_on(config, numbers, network, before, writers)
        end = trained(
            key, numbers, config.epochs, network, config.recipe, augment, bench.train, bench.mesh, size, tell, start
        )
        counts = np.asarray(_tested(end, bench.test, network, spread(bench.mesh, size, gather=True)))
        tested = (counts / bench.test.count).tolist()
        for i, writer in enumerate(writers):
            writer.notes |= {"train_accuracy": last[i], "test_accuracy": tested[i]}
            writer.notes |= {"seconds": (time.perf_counter() - began) / len(numbers)}
    for number, seen, test in zip(numbers, last, tested, strict=True):
        say(console, f"expert {number}: {seen:.1%} of the training images in its last epoch, {test:.1%} of the test's")
