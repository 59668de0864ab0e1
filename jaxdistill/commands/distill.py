"""`distill`: from a plan to a set, in a folder, going on where it was cut."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from jaxdistill.commands.estimate import kernel_time
from jaxdistill.commands.finish import base_card, finish
from jaxdistill.commands.images import DrawnImages, LearnedImages
from jaxdistill.commands.looks import Best, HeldOut, Look, read_looks
from jaxdistill.commands.plan import Plan, pinned, prepare
from jaxdistill.commands.run_folder import check_data, check_folder, check_more, extend, hold, open_folder
from jaxdistill.commands.selection_inputs import context_of, inputs_of, kept_first, stand_in
from jaxdistill.commands.windows import told, write_search
from jaxdistill.commands.workspace import class_ids_of, start
from jaxdistill.engine import callbacks as sinks
from jaxdistill.engine.callbacks import TensorBoard, WandB
from jaxdistill.engine.devices import from_first, replicate
from jaxdistill.engine.drive import Driven, RunFailedError, drive, say
from jaxdistill.engine.loop import Looked, NonFiniteError
from jaxdistill.errors import UsageError
from jaxdistill.io import artifact, checkpoint, files
from jaxdistill.io.generators import Drawn, StoredGenerator, generator_in_memory, write_generator
from jaxdistill.selection.base import Context
from jaxdistill.selection.curve import Searched
from jaxdistill.settings.as_json import to_json
from jaxdistill.settings.config import Distill, OwnMethod
from jaxdistill.settings.paths import absolute
from jaxdistill.settings.starts import needs_of
from jaxdistill.types import PyTree, SyntheticSet

__all__ = [
    "IN_MEMORY",
    "UNSPENT",
    "begin",
    "distill",
    "elsewhere",
    "generator_made",
    "read_best",
    "train",
    "write_looks",
]

PREVIEWS = 6
IN_MEMORY = "memory"
"""What the start of a run is called that a caller had in memory."""
LOOKS = 3
"""Of the evaluation's key: 0 and 1 are what it is split into, 2 is that of coverage."""
UNSPENT = {"seconds": 0.0, "compile_seconds": 0.0}


def distill(config: Distill, console: Console, options: frozenset[str] = frozenset()) -> dict[str, Any]:
    """Run a method from data to report, or go on with a run that was cut; returns the content of evaluation.json.

    Whatever is wrong with the arguments or the data is found before anything is written or said; then comes whether
    this is the published setting of its cell. What nothing reads is refused if it is among the `options` given
    (`jaxdistill.settings.unread`).

    Args:
        config: the run, as its options say it.
        console: where it is said.
        options: names of those that were given, to be looked through for what nothing reads.

    Raises:
        UsageError: for arguments or data that cannot be used.
        RunFailedError: if the loss does not stay finite.
    """
    config, given = pinned(absolute(config))
    check_folder(config)
    plan = prepare(config, given, options)
    config, bench = check_data(plan.config, plan.bound.bench.digests), plan.bound.bench
    check_more(config, plan.name, paced=plan.method.paced)
    # A run that is resumed has begun: networks are not trained again for the shapes of its start.
    begun = bool(from_first(np.int32(any((config.run.out / "checkpoints").glob("[0-9]*")))))
    searched: list[Searched | None] = []
    tell = partial(say, console)
    initial = begin(plan, stand_in if begun else inputs_of, tell, searched.append)
    shapes = jax.eval_shape(plan.images.begin, initial)
    elsewhere(config, config.run.out)  # says so now if one is not installed
    extend(config)
    with open_folder(config) as folder, hold(folder):
        for line in (bench.source.summary(), f"note: {plan.note}"):
            say(console, line)
        warn = partial(say, Console(stderr=True))  # also where all else is quiet
        found = checkpoint.restore(folder / "checkpoints", shapes, warn) if jax.process_index() == 0 else None
        done = int(from_first(np.int32(found[0] if found else 0)))
        if done:
            nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
            state = from_first(found[1] if found else nothing)
            say(console, f"resuming after step {done} of {config.steps}")
        else:
            initial = begin(plan, inputs_of, tell, searched.append) if begun else initial
            state = jax.tree.map(np.asarray, plan.images.begin(initial))
            if searched and jax.process_index() == 0:
                write_search(folder, told(searched[-1], tell))
        del initial
        start = Driven(replicate(state, bench.mesh), done, found[2] if found else dict(UNSPENT))
        held_out = HeldOut(
            read_looks(folder / "held_out.jsonl", done), read_best(folder / "best"), partial(write_looks, plan, folder)
        )
        if not config.run.quiet and jax.process_index() == 0 and (line := kernel_time(plan, config.steps - done)):
            say(console, f"note: {line}")
        driven = _driven(plan, start, folder, held_out, console)
        synthetic = _last_set(plan, driven.state, folder, held_out)
        if jax.process_index() == 0 and (generator := generator_made(plan, driven)) is not None:
            write_generator(folder / "generator", generator)
        return finish(plan.bound, folder, synthetic, driven.cost(), console, plan.note)


def begin(
    plan: Plan,
    by: Callable[[str, Context], Any],
    tell: Callable[[str], None] = lambda line: None,
    searched: Callable[[Searched | None], None] = lambda found: None,
) -> SyntheticSet | None:
    """What the method starts from, if it starts from images.

    Args:
        plan: of the run.
        by: `inputs_of`, or for the shapes alone `stand_in`.
        tell: told a line now and then of what takes time.
        searched: told what chose the window of a start by scores.
    """
    config, bound = plan.config, plan.bound
    if plan.start is not None or not plan.images.per_start:
        return plan.start
    if config.init == IN_MEMORY:
        if by is inputs_of:
            raise UsageError("this run's start was in memory and is gone; begin another, with its `init`")
        config = dataclasses.replace(config, init="random")  # for shapes alone
    network_key = jax.random.fold_in(bound.keys["start"], 1)
    context = context_of(bound, network_key, config.ipc * plan.images.per_start, tell)

    hardness: np.ndarray | None = None

    def inputs(name: str) -> Any:
        nonlocal hardness
        made, needs = by(name, context), needs_of(name)
        searched(needs.search_of(made))
        by_score, scores = needs.score_in(config.basis), needs.scores_of(made)
        if by_score is not None and by_score is config.keeps_by and scores is not None:
            hardness = by_score.turned(scores)
        return made

    found = start(
        bound.keys["start"], config.init, bound.bench, config.ipc, plan.images.per_start, inputs,
        other_data=config.run.other_data,
    )  # fmt: skip
    if by is inputs_of and found.indices is None and 0 < getattr(config.method, "update_share", 1.0) < 1:
        tell(f"note: the first images of each class of the start ({config.init}) are kept as they are")
    if by is not inputs_of or config.keeps_by is None:
        return found
    return kept_first(found, config.keeps_by, context, hardness)


def train(
    plan: Plan,
    begun: Driven,
    watching: Sequence[AbstractContextManager[Any]],
    save: Callable[[Driven, bool], None] = lambda driven, last: None,
    *,
    grace: bool = True,
) -> Driven:
    """Run a plan to its last step; see `jaxdistill.engine.drive.drive`.

    Args:
        plan: of the run.
        begun: where it stands.
        watching: sinks of this process.
        save: told how far the run is.
        grace: whether a second signal ends the process.

    Raises:
        RunFailedError: if the loss does not stay finite.
    """
    config, bound, evaluation = plan.config, plan.bound, plan.config.evaluation
    mesh, feeding = bound.bench.mesh, plan.feeding
    if not feeding.on_host:
        feeding = feeding._replace(source=replicate(feeding.source, mesh))
    look = None
    if evaluation.eval_every is not None:
        judge = Look(
            bound.bench, next(iter(bound.judges.values())), bound.protocol,
            replicate(jax.random.fold_in(bound.keys["evaluation"], LOOKS), mesh), evaluation.eval_every_seeds,
            test=evaluation.legacy_best, parallel_networks=config.run.parallel_networks, cover=bound.cover,
            starts=bound.starts and bound.starts.looking,
        )  # fmt: skip
        look = partial(_looked, judge, plan.images)
    try:
        return drive(
            begun, config.steps, plan.method, feeding, replicate(bound.keys["loop"], mesh), mesh,
            every=config.run.log_every, sinks=watching, save=save, look=look, look_every=evaluation.eval_every or 1,
            grace=grace,
        )  # fmt: skip
    except NonFiniteError as error:
        said = plan.name if isinstance(config.method, OwnMethod) else config.method
        raise RunFailedError(f"{error} of {said}; start again with a smaller step size") from None


def _looked(look: Look, images: LearnedImages | DrawnImages, state: PyTree) -> tuple[Looked, SyntheticSet]:
    synthetic = images.set_of(state)
    return look(synthetic), synthetic


def _driven(plan: Plan, begun: Driven, folder: Path, held_out: HeldOut, console: Console) -> Driven:
    """Run a plan in its folder: with all sinks, saving checkpoints."""
    config, images, writes = plan.config, plan.images, jax.process_index() == 0
    name = f"{plan.name} on {Path(config.data.dataset).name}"
    watching: list[Any] = []
    if writes:
        watching += [sinks.Metrics(folder / "metrics.jsonl", begun.done), held_out]
    if writes and images.at_hand:
        every = max(1, config.steps // PREVIEWS)
        bench = plan.bound.bench
        show = images.set_of, bench.preprocess.invert, bench.num_classes, every
        watching.append(sinks.Previews(folder / "previews", *show))
    if writes and not config.run.quiet:
        then = "the evaluation" if config.evaluation.eval_seeds else ""
        watching.append(sinks.Progress(config.steps, begun.done, name, console, then))
    if writes:
        watching += elsewhere(config, folder)
    saved = time.monotonic()

    def save(driven: Driven, last: bool) -> None:
        nonlocal saved
        if writes and (last or time.monotonic() - saved >= config.run.checkpoint_seconds):
            checkpoint.save(folder / "checkpoints", driven.done, driven.state, driven.spent)
            saved = time.monotonic()

    return train(plan, begun, watching, save)


def _last_set(plan: Plan, state: PyTree, folder: Path, held_out: HeldOut) -> SyntheticSet:
    """The set of the last state, or of the best look. One that is drawn is drawn once."""
    images, there = plan.images, None
    best = plan.config.evaluation.keep == "best"
    if not best and (images.at_hand or not from_first(np.int32((folder / "evaluation.json").exists()))):
        return images.set_of(state)
    if jax.process_index() == 0:
        there = artifact.load_set(folder).synthetic if not best else held_out.best and held_out.best.synthetic
    nothing = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), images.shapes(state))
    return from_first(there or nothing)


def write_looks(plan: Plan, folder: Path, rows: list[dict[str, Any]], best: Best | None) -> None:
    """Keep what the looks of a run saw, and the set of the best one.

    Args:
        plan: of the run.
        folder: the run's.
        rows: of all looks so far.
        best: the best look's set, if it is to be written.
    """
    if best is not None:  # before the rows: a look that is known has its set
        bench = plan.bound.bench
        card = {**base_card(plan.bound, plan.note), "step": best.step, "held_out_accuracy": best.mean}
        artifact.save_set(folder / "best", best.synthetic, bench.preprocess, card)
    files.write_text(folder / "held_out.jsonl", "".join(f"{json.dumps(row)}\n" for row in rows))


def read_best(folder: Path) -> Best | None:
    """The set that `write_looks` kept; None where there is none."""
    if not folder.is_dir():
        return None
    stored = artifact.load_set(folder)
    return Best(stored.card["step"], stored.card["held_out_accuracy"], stored.synthetic)


def generator_made(plan: Plan, driven: Driven) -> StoredGenerator | None:
    """The generator that a run has trained, if it trains one."""
    config, bench, given = plan.config, plan.bound.bench, plan.generator
    if (params := plan.images.generator(driven.state)) is None:
        return None
    classes = bench.num_classes if given is None else given.classes
    said = {"dataset": config.data.dataset, "class_names": list(bench.source.class_names), "cost": driven.cost()}
    class_ids = () if given is None else class_ids_of(config.generator, given, bench)
    said |= {"digests": dataclasses.asdict(bench.digests)} if not class_ids else {}
    labels = said["class_names"] if given is None else given.label_names
    said |= {} if labels is None else {"label_names": labels}
    said |= {"method": dataclasses.asdict(config.method), "from": config.generator.generator_digest}
    judged = config.evaluation
    drawn = Drawn(config.method.sampling, judged.protocol, judged.eval_network, judged.eval_size)
    return generator_in_memory(params, config.generator.architecture, bench.image_shape, classes, said, drawn)


def elsewhere(config: Distill, folder: Path) -> list[TensorBoard | WandB]:
    """The sinks of other programs that a run asks for.

    Args:
        config: of the run.
        folder: its own.

    Raises:
        UsageError: if one is not installed.
    """
    asked: list[TensorBoard | WandB] = [TensorBoard(folder / "tensorboard")] if config.run.tensorboard else []
    if config.run.wandb is not None:
        asked.append(WandB(folder, config.run.wandb, to_json(config), quiet=config.run.quiet))
    return asked
