"""A run as notebooks hold it: it goes on, is judged, shown and saved; nothing of it is on disk until it is."""

from __future__ import annotations

import contextlib
import dataclasses
import html
import json
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from PIL import Image
from rich.console import Console

from jaxdistill.api.dataset import Dataset
from jaxdistill.api.given import in_python, replaced
from jaxdistill.api.notebook import NotebookProgress, in_notebook
from jaxdistill.api.recorded import Curves, History, Looks, Pictures, Windows
from jaxdistill.commands import distill as distilling
from jaxdistill.commands import finish as finishing
from jaxdistill.commands import plan as planning
from jaxdistill.commands import select as selecting
from jaxdistill.commands.looks import HeldOut, best_of, read_looks
from jaxdistill.commands.own_method import check_steps
from jaxdistill.commands.plan import Bound, Plan
from jaxdistill.commands.selection_inputs import inputs_of, stand_in
from jaxdistill.commands.windows import read_search, searched_card, told, write_search
from jaxdistill.data.check import DataError
from jaxdistill.data.digest import differing
from jaxdistill.engine import callbacks as sinks
from jaxdistill.engine.devices import replicate
from jaxdistill.engine.drive import Driven, Stopped, say
from jaxdistill.engine.loop import Chunk
from jaxdistill.errors import UsageError
from jaxdistill.io import artifact, checkpoint, files
from jaxdistill.io.artifact import Stored
from jaxdistill.io.expert_bank import StoredBank
from jaxdistill.io.generators import StoredGenerator, load_generator, write_generator
from jaxdistill.io.pictures import img
from jaxdistill.report import outcome
from jaxdistill.report import page as report
from jaxdistill.report.tables import Table
from jaxdistill.selection.curve import Searched
from jaxdistill.settings.as_json import from_json, name_of, to_json
from jaxdistill.settings.config import Distill, OwnMethod, RunConfig, Select
from jaxdistill.types import Method, SyntheticSet

__all__ = ["Run", "begin_run", "open_run", "select_run"]


class _Loaded(NamedTuple):
    """Where a run was opened."""

    folder: Path
    config: Distill | Select
    data: Dataset | None
    experts: StoredBank | None
    results: dict[str, Any]
    """What it was found to be judged by."""

    @property
    def given(self) -> planning.Given:
        """What is in memory of what it was begun with."""
        return planning.Given(None if self.data is None else self.data.source, self.experts)


class Run:
    """A set that was distilled or selected, and how it came about. `jaxdistill.distill`, `select` and `open` make it.

    Attributes:
        results: what `evaluate` found last, as ``evaluation.json`` has it; empty before.
    """

    def __init__(
        self,
        bound: Bound | None,
        *,
        plan: Plan | None = None,
        driven: Driven | None = None,
        chosen: Stored | None = None,
        loaded: _Loaded | None = None,
        scores: np.ndarray | None = None,
        search: dict[str, Any] | None = None,
        progress: bool = True,
    ):
        self._bound, self._plan, self._driven = bound, plan, driven
        self._chosen, self._loaded, self._scores, self._progress = chosen, loaded, scores, progress
        self._search = search
        self._history, self._pictures, self._held_out = History(), None, HeldOut([])
        self._planned = None if plan is None else plan.config.steps
        self.results: dict[str, Any] = {}

    @property
    def config(self) -> Distill | Select:
        """Everything that was asked for."""
        if self._bound is None:
            assert self._loaded is not None
            return self._loaded.config
        return self._bound.config

    @property
    def name(self) -> str:
        """The method's or the strategy's."""
        return name_of(self.config)

    @property
    def steps(self) -> int:
        """Steps done; 0 of a selection."""
        return self.curves.steps if self._driven is None else self._driven.done

    @property
    def _finished(self) -> bool:
        """Whether all steps are done; what an unfinished run was judged by is not its result."""
        return not isinstance(self.config, Distill) or self._done >= self.config.steps

    @property
    def _done(self) -> int:
        return 0 if self._driven is None else self._driven.done

    @property
    def set(self) -> Stored:
        """The set, with its preprocessing and its card."""
        if self._chosen is None:
            self._wake()
            assert self._plan is not None
            assert self._driven is not None
            self._chosen = self._as_stored(self._last(), self._driven.cost())
        return self._chosen

    @property
    def synthetic(self) -> SyntheticSet:
        """The set's arrays."""
        return self.set.synthetic

    @property
    def generator(self) -> StoredGenerator:
        """What the run has trained to draw its set from.

        Raises:
            UsageError: if its method trains none.
        """
        if self._loaded is not None and self._bound is None:
            return load_generator(self._loaded.folder)
        plan, driven = self._plan, self._driven
        made = None if plan is None or driven is None else distilling.generator_made(plan, driven)
        if made is None:
            raise UsageError(f"{self.name} trains no generator; give a run of one that does, as dit")
        return made

    @property
    def curves(self) -> Curves:
        """Every scalar of the run, one number a step; empty of a selection."""
        return self._history.curves

    @property
    def held_out(self) -> Looks:
        """What each look at held-out training images saw (`eval_every`): step, accuracies, mean and std."""
        return Looks(self._held_out.rows)

    @property
    def scores(self) -> Float[np.ndarray, " images"] | None:
        """How hard each training image is by the score that a selection went by, in the data set's own order.

        Larger is harder, but for C-scores, which are low for what is hard. None where it went by something else.
        """
        return self._scores

    @property
    def search(self) -> Windows:
        """What chose the window of a selection, or of a start, by scores: a row for each that was tried, with its
        ``start`` (the share of the hardest that is left out), ``ipc``, ``accuracies`` of networks on held-out training
        images, ``mean`` and ``std``. Empty where the window was given, or there is none."""
        return Windows({} if self._search is None else self._search)

    @in_python
    def more(self, steps: int | None = None) -> Run:
        """Go on: with so many steps more, or by default to the number of steps that was planned.

        Args:
            steps: how many more.

        Returns:
            This run, which has then gone on. A folder that it was opened from is not touched: `save` writes another.

        Raises:
            UsageError: if there is nothing to go on with, or the method's steps follow a schedule of their number.
            RunFailedError: if the loss does not stay finite.
        """
        self._wake()
        plan, driven = self._plan, self._driven
        if plan is None or driven is None:
            raise UsageError(f"{self.name} is a selection, which has no steps; select again instead")
        if steps is not None and steps < 1:
            raise UsageError(f"more steps are at least 1, not {steps}")
        target = plan.config.steps if steps is None else driven.done + steps
        if target <= driven.done:
            return self
        if plan.method.paced and target > (self._planned or 0):
            raise UsageError(
                f"the steps of {self.name} follow a schedule of {self._planned} steps, so that this run cannot go on "
                f"to {target}; distill again with more `steps`, or start with `init` from this run"
            )
        config = dataclasses.replace(plan.config, steps=max(target, self._planned or 0))
        self._bound = plan.bound._replace(config=config)
        self._plan = plan._replace(bound=self._bound, note=planning.note_of(self._bound))
        self._train(target)
        return self

    @in_python
    def evaluate(self, *, seeds: int | None = None, progress: bool = True) -> Table:
        """Train fresh networks on the set by its method's recipe, random images of its size beside it.

        What `jaxdistill.evaluate` does for several sets, recipes and networks, this does for one as the command line
        does after a run; it is saved with the run.

        Args:
            seeds: independent networks of each kind; by default as configured (5).
            progress: say how far it is.
        """
        bound = self._judging()
        if seeds is not None:
            bound = bound._replace(config=replaced(bound.config, {"eval_seeds": seeds}))
        if bound.config.evaluation.eval_seeds < 1:
            raise UsageError(f"`seeds` is a number of networks, at least 1, not {bound.config.evaluation.eval_seeds}")
        console = Console(stderr=True, quiet=not progress)
        self.results = finishing.judged(bound, self.synthetic, partial(say, console))
        self.results |= finishing.of_looks(bound, self.held_out)
        return self._table()

    def _table(self) -> Table:
        return Table(self.results["rows"], self.results.get("coverage", {}).get("shares", {}))

    def show(self) -> Image.Image:
        """The set as one picture, a row for each class; a notebook draws it."""
        return self.set.show()

    @in_python
    def save(self, folder: str | Path) -> Path:
        """Write the folder that ``jaxdistill distill`` or ``select`` would have written, report included.

        A run can be gone on with from there: here with `jaxdistill.open`, or by ``jaxdistill distill --resume``.

        Args:
            folder: a new one.

        Returns:
            The folder.

        Raises:
            UsageError: if it exists or cannot be made.
            OSError: if it cannot be written.
        """
        folder = Path(folder).expanduser()
        if folder.exists():
            raise UsageError(f"{folder} exists; choose another folder")
        if above := next((path for path in folder.parents if path.exists() and not path.is_dir()), None):
            raise UsageError(f"{folder} would be below the file {above}; choose another folder")
        if self._loaded is not None and self._bound is None:
            shutil.copytree(self._loaded.folder, folder)
            if self.results != self._loaded.results:
                files.write_text(folder / "evaluation.json", json.dumps(self.results, indent=1))
                stored = self.set
                card = {**stored.card, "evaluation": self.results}
                artifact.save_set(folder / "set", stored.synthetic, stored.preprocess, card)
                report.write(folder)
            return folder
        assert self._bound is not None
        stored = self.set
        with files.new_folder(folder) as temporary:
            files.write_text(temporary / "config.json", json.dumps(to_json(self._bound.config), indent=1))
            if self.results and self._finished:
                files.write_text(temporary / "evaluation.json", json.dumps(self.results, indent=1))
            if self._scores is not None:
                selecting.write_scores(temporary, self._bound, self._scores)
            write_search(temporary, self._search)
            if self._plan is not None and self._driven is not None:
                self._write_steps(temporary, self._plan, self._driven)
            card = {**stored.card, **({"evaluation": self.results} if self.results and self._finished else {})}
            artifact.save_set(temporary / "set", stored.synthetic, stored.preprocess, card)
        report.write(folder)
        return folder

    def _write_steps(self, folder: Path, plan: Plan, driven: Driven) -> None:
        """What a distillation has beside its set."""
        with sinks.Metrics(folder / "metrics.jsonl", 0) as metrics:
            columns = self.curves
            if columns:
                kind = NamedTuple("Info", [(name, Any) for name in columns])  # pyright: ignore[reportArgumentType]
                metrics(Chunk(driven.done, None, kind(**columns), 0.0, 0.0))
        if self._pictures is not None:
            (folder / "previews").mkdir()
            for step, picture in self._pictures.found.items():
                files.write_bytes(folder / "previews" / f"step_{step:06d}.png", picture)
        checkpoint.save(folder / "checkpoints", driven.done, driven.state, driven.spent)
        if self.held_out:
            distilling.write_looks(plan, folder, self.held_out, self._held_out.best)
        if (generator := distilling.generator_made(plan, driven)) is not None:
            write_generator(folder / "generator", generator)

    def __repr__(self) -> str:
        size = f"{self.config.ipc} images per class" if isinstance(self.config, Distill) else self.set.size
        of = f"{size} of {Path(self.config.data.dataset).name}"
        done = f" after {self.steps} of {self.config.steps} steps" if isinstance(self.config, Distill) else ""
        loss, best = self.curves.get("loss", np.empty(0)), best_of(self.held_out)
        said = f", the set of step {best['step']} kept" if best and self.config.evaluation.keep == "best" else ""
        return f"<{self.name}: {of}{done}{f', loss {loss[-1]:.4g}' if loss.size else ''}{said}>"

    def _repr_html_(self) -> str:
        table = self._table().to_html() if self.results else ""
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{img(self.set._repr_png_(), 'the set')}{table}"

    def _train(self, target: int) -> None:
        """Drive the plan to a step, or as far as it gets until someone asks to stop."""
        plan, driven = self._plan, self._driven
        assert plan is not None
        assert driven is not None
        config, bench = plan.config, plan.bound.bench
        to_here = plan._replace(bound=plan.bound._replace(config=dataclasses.replace(config, steps=target)))
        watching: list[AbstractContextManager[Any]] = [self._history, self._held_out]
        if plan.images.at_hand:
            if self._pictures is None:
                every = max(1, config.steps // distilling.PREVIEWS)
                self._pictures = Pictures(plan.images.set_of, bench.preprocess.invert, bench.num_classes, every)
            watching.append(self._pictures)
        if self._progress and target > driven.done:
            watching.append(_progress(target, driven.done, self.name))
        self._chosen = None
        self.results = {}
        best = self._held_out.best
        kept = driven._replace(state=jax.tree.map(np.asarray, driven.state))  # the loop takes what it is given
        try:
            self._driven = distilling.train(to_here, driven, watching, grace=False)
        except Stopped as stopped:
            self._driven = stopped.driven
        except BaseException:
            self._driven = kept._replace(state=replicate(kept.state, bench.mesh))
            self._cut(kept.done)
            self._held_out.best = best
            raise

    def _cut(self, steps: int) -> None:
        """Forget what was recorded after a step."""
        self._history = History({name: values[:steps] for name, values in self.curves.items()})
        self._held_out.rows = [row for row in self._held_out.rows if row["step"] <= steps]

    def _last(self) -> SyntheticSet:
        """The set of the last step, or of the best look."""
        assert self._plan is not None
        assert self._driven is not None
        best = self._held_out.best
        if self.config.evaluation.keep == "best" and best is not None:
            return best.synthetic
        return self._plan.images.set_of(self._driven.state)

    def _as_stored(self, synthetic: SyntheticSet, cost: dict[str, Any]) -> Stored:
        assert self._bound is not None
        note = None if self._plan is None else self._plan.note
        if isinstance(self.config, Distill) and not self._finished:
            note = f"{note}; stopped after {self._done} of {self.config.steps} steps"
        card = {**finishing.base_card(self._bound, note), **finishing.selected_card(self._bound, synthetic)}
        card["cost"] = cost
        card |= finishing.kept_look(self._bound, self.held_out) | searched_card(self._search)
        shape = {"num_classes": self._bound.bench.num_classes, "image_shape": list(self._bound.bench.image_shape)}
        arrays = jax.tree.map(jnp.asarray, synthetic)
        return Stored(arrays, self._bound.bench.preprocess, {**card, **shape})

    def _judging(self) -> Bound:
        """By what the set is judged; a run that was opened needs none of what made it."""
        if self._bound is not None:
            return self._bound
        assert self._loaded is not None
        with _arrays_asked(self._loaded):
            bound = planning.prepare_evaluation(self._loaded.config, self._loaded.given, self.set.preprocess)
        return _same_data(bound, self._loaded.config, self._loaded.folder)

    def _wake(self) -> None:
        """Make what was opened from a folder able to go on: read its data, experts and checkpoint again."""
        if self._bound is not None or self._loaded is None:
            return
        folder, config, *_ = self._loaded
        if isinstance(config, Distill) and isinstance(config.method, OwnMethod):
            raise UsageError(
                f"{self.name} is a method of one's own, which no folder holds; give it to distill again, with this run "
                "as its `init`"
            )
        stored = config
        if config.bank.digest is not None and config.bank.experts is None and self._loaded.experts is None:
            raise UsageError(
                f"the experts of the run in {folder} were in memory; give them, or the folder that they were saved in, "
                "to jaxdistill.open as its `experts`"
            )
        config, given = planning.pinned(config, self._loaded.given)
        if (config.bank.digest, _generator_of(config)) != (stored.bank.digest, _generator_of(stored)):
            raise UsageError(
                f"the run in {folder} was begun with other experts or another generator than are there now"
            )
        if isinstance(config, Select):
            with _arrays_asked(self._loaded):
                self._bound = _same_data(planning.prepare_selection(config, given), stored, folder)
            return
        with _arrays_asked(self._loaded):
            plan = planning.prepare(config, given)
        _same_data(plan.bound, stored, folder)
        shapes = jax.eval_shape(plan.images.begin, distilling.begin(plan, stand_in))
        found = checkpoint.restore(folder / "checkpoints", shapes, partial(say, Console(stderr=True)))
        if found is None:
            raise UsageError(f"{folder} has no checkpoint that can be read; distill again")
        step, state, spent = found
        if step > self.steps:
            raise UsageError(f"the run in {folder} has gone on to step {step} since it was opened; open it again")
        self._cut(step)  # a killed run has recorded more than it has kept
        self._driven = Driven(replicate(state, plan.bound.bench.mesh), step, spent)
        self._plan, self._bound, self._planned = plan, plan.bound, config.steps


def begin_run(plan: Plan, *, progress: bool) -> Run:
    """A distillation, run to its last step or until someone asks to stop."""
    console, searched = Console(stderr=True, quiet=not progress), list[Searched | None]()
    initial = distilling.begin(plan, inputs_of, partial(say, console), searched.append)
    if isinstance(plan.config.method, OwnMethod):
        assert isinstance(plan.method, Method)
        assert initial is not None
        check_steps(plan.name, plan.method, initial, plan.bound.keys["method"], plan.feeding.source)
    begun = Driven(replicate(plan.images.begin(initial), plan.bound.bench.mesh), 0, dict(distilling.UNSPENT))
    search = told(searched[-1] if searched else None, partial(say, console))
    run = Run(plan.bound, plan=plan, driven=begun, search=search, progress=progress)
    run._train(plan.config.steps)
    return run


def select_run(bound: Bound, *, progress: bool) -> Run:
    """A selection."""
    console = Console(stderr=True, quiet=not progress)
    chosen = selecting.choose_set(bound, partial(say, console))
    run = Run(bound, scores=chosen.scores, search=told(chosen.search, partial(say, console)))
    run._chosen = run._as_stored(chosen.synthetic, chosen.cost)
    return run


@contextlib.contextmanager
def _arrays_asked(loaded: _Loaded) -> Iterator[None]:
    """Where no name leads to a run's data, ask for them."""
    try:
        yield
    except DataError as error:
        if loaded.data is not None:
            raise
        asked = "if the run was made from arrays, give them to jaxdistill.open as its `data`"
        raise UsageError(f"{error}; {asked}") from None


def _generator_of(config: Distill | Select) -> str | None:
    return config.generator.generator_digest if isinstance(config, Distill) else None


def _same_data(bound: Bound, stored: Distill | Select, folder: Path) -> Bound:
    """What was read, if it is what a stored run was begun with."""
    differ = differing(stored.data.digests, bound.bench.digests)
    if differ and not stored.run.other_data:
        raise UsageError(
            f"{folder} was begun with other data ({', '.join(differ)} differ); give jaxdistill.open those as its `data`"
        )
    return bound


def open_run(folder: Path, data: Dataset | None = None, experts: StoredBank | None = None) -> Run:
    """A run's folder, as `Run.save` or the command line wrote it; with what it began with, where no name leads there.

    Args:
        folder: the run's.
        data: what it was made from.
        experts: what it matches.

    Raises:
        UsageError: if it cannot be read.
    """
    found = outcome.read(folder)
    config = from_json(found.config, RunConfig(folder))
    chosen = artifact.load_set(folder) if found.card else None
    scores = files.load_arrays(folder / "scores.npz")["scores"] if (folder / "scores.npz").is_file() else None
    loaded = _Loaded(folder, config, data, experts, found.evaluation)
    run = Run(None, chosen=chosen, loaded=loaded, scores=scores, search=read_search(folder))
    run._history = History(found.scalars)
    run._held_out = HeldOut(read_looks(folder / "held_out.jsonl"), distilling.read_best(folder / "best"))
    run.results = found.evaluation
    return run


def _progress(total: int, start: int, name: str) -> AbstractContextManager[Any]:
    return NotebookProgress(total, start, name) if in_notebook() else sinks.Progress(total, start, name)
