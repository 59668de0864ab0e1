"""The door for notebooks and scripts: what the command line does, as functions that keep their results in memory.

All of them go by the same presets, published statistics and random keys as the command of the same name, and end in the
same bits. Options are called as there, with ``_`` for ``-``; their complaints are `jaxdistill.errors.UsageError`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxdistill.api.dataset import NOWHERE, Dataset, load
from jaxdistill.api.given import in_python, replaced, with_options
from jaxdistill.api.runs import Run, begin_run, open_run, select_run
from jaxdistill.commands import distill as distilling
from jaxdistill.commands import plan as planning
from jaxdistill.commands.evaluate import evaluate_stored, label
from jaxdistill.commands.plan import Given
from jaxdistill.commands.train_experts import fields_of_card, held_experts
from jaxdistill.commands.workspace import start_from
from jaxdistill.common.names import canonical, choose
from jaxdistill.engine.drive import say
from jaxdistill.errors import UsageError
from jaxdistill.evaluation import Recipe
from jaxdistill.io.artifact import Stored, load_set
from jaxdistill.io.expert_bank import StoredBank, load_bank
from jaxdistill.io.expert_writer import save_card
from jaxdistill.io.generators import MEMORY, StoredGenerator, load_generator
from jaxdistill.io.joined import joined
from jaxdistill.methods import METHOD_NAMES, METHODS, method_config
from jaxdistill.presets import unpublished
from jaxdistill.report.outcome import runs_in
from jaxdistill.report.tables import Table
from jaxdistill.selection import SELECTIONS
from jaxdistill.settings import cell
from jaxdistill.settings.as_json import name_of
from jaxdistill.settings.config import Distill, OwnMethod, Select
from jaxdistill.settings.defaults import OF_NETWORKS, of_distill, of_experts, of_select
from jaxdistill.settings.options import Evaluate
from jaxdistill.settings.options import Experts as ExpertsForm
from jaxdistill.settings.paths import absolute
from jaxdistill.settings.unread import check_experts_read
from jaxdistill.types import Method, SyntheticSet, Task

__all__ = ["Experts", "distill", "evaluate", "join", "open", "select", "train_experts"]


class Experts:
    """Networks that were trained on real data, each with where it stood after every epoch.

    Attributes:
        bank: the trajectories.
    """

    def __init__(self, bank: StoredBank):
        self.bank = bank

    @property
    def count(self) -> int:
        """How many experts."""
        return len(self.bank.params)

    @property
    def epochs(self) -> int:
        """Epochs that each was trained for."""
        return self.bank.epochs

    def save(self, folder: str | Path) -> Path:
        """Write the folder that ``jaxdistill experts`` would have written.

        Args:
            folder: a new one.

        Raises:
            UsageError: if it exists, or these experts are in a folder already.
        """
        folder = Path(folder).expanduser()
        if not self.bank.held:
            raise UsageError(f"these experts are in {self.bank.folder}; copy that folder")
        try:
            save_card(folder, self.bank.card, self.bank.preprocess)
        except FileExistsError:
            raise UsageError(f"{folder} exists; choose another folder") from None
        for number, expert in enumerate(self.bank.held):
            expert.write(folder, number, self.bank.card)
        return folder

    def __repr__(self) -> str:
        card = self.bank.card
        return (
            f"<{self.count} experts of {self.epochs} epochs: {card['network']['network']} on {card['data']['dataset']}>"
        )


@in_python
def distill(
    method: Any,
    data: Dataset | str | Path,
    ipc: int,
    *,
    experts: Experts | str | Path | None = None,
    generator: Run | str | Path | None = None,
    init: Run | Stored | SyntheticSet | str | Path | None = None,
    preset: str | None = None,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Distil a set: what ``jaxdistill distill`` does, in memory.

    Ctrl-C ends it after a whole step; what is there by then is returned, and `Run.more` goes on.

    Args:
        method: a name (``"dm"``), whose settings are those published for the data and `ipc`, changed by `options`; a
            configuration (``jd.DM(image_lr=2.0)``), which says all of the method's own settings; or a method of one's
            own: a `jaxdistill.Method`, or a function that makes one of a `jaxdistill.Task`.
        data: from `jaxdistill.load`, or what that takes.
        ipc: images per class.
        experts: what `jaxdistill.train_experts` gave, or a folder of them, for methods that match trajectories or
            begin networks as experts.
        generator: a run of ``dit`` or ``minimax``, or its folder, for methods that draw from one.
        init: what the set starts from: a selection by name, ``"noise"``, a set, or the folder of one.
        preset: which reading of the method's paper gives the settings (``jaxdistill list``).
        progress: show how far it is.
        options: anything that ``jaxdistill distill METHOD --help`` names: ``steps``, ``seed``, ``width``, ``augment``,
            ``eval_every``, the method's own ..., which come before what its configuration says.

    Returns:
        The run: `Run.set`, `Run.curves`, `Run.evaluate`, `Run.more`, `Run.save`.

    Raises:
        UsageError: for arguments that cannot be used.
        RunFailedError: if the loss does not stay finite.

    Example:
        >>> import jaxdistill as jd
        >>> run = jd.distill("dm", jd.load("digits"), ipc=1, steps=2, width=8, progress=False)
        >>> run.synthetic.images.shape
        (10, 8, 8, 1)
    """
    kind, own = _method(method)
    data = _data(data)
    bank, drawn = _bank(experts), _generator(generator)
    name = data.known_as
    if own is None:
        fields = of_distill(
            type(kind) if not isinstance(kind, type) else kind, preset, data.config.dataset, name, ipc,
            experts=None if bank is None else fields_of_card(bank.card, bank.folder), generator=drawn,
            asked={field: options.get(field) for field in OF_NETWORKS},
        )  # fmt: skip
        fields |= {} if isinstance(kind, type) else {"method": kind}
    else:
        if preset is not None:
            raise UsageError(f"{kind.name} is a method of one's own, which has no `preset`; leave it out")
        fields = cell.fields(unpublished(kind, name), data.config.dataset)
    fields["data"] = data.located(fields["data"])
    start = None
    if isinstance(init, str | Path):
        options = {**options, "init": str(init)}
    elif init is not None:
        start, options = init, {**options, "init": distilling.IN_MEMORY}
    steps = fields["steps"]
    config = Distill(**{**fields, "steps": steps or 0}, run=NOWHERE, ipc=ipc)
    if steps is None and "steps" not in options:
        raise UsageError(f"{name_of(config)} has no published number of `steps`; give some")
    config, names = with_options(config, options, name_of(config), apart=("ipc", "preset"))
    config = dataclasses.replace(config, bank=dataclasses.replace(config.bank, experts=_place(bank)))
    if drawn is not None:
        config = dataclasses.replace(config, generator=dataclasses.replace(config.generator, generator=_place(drawn)))
    config, given = planning.pinned(absolute(config), Given(data.source, bank, drawn, None, own))
    plan = planning.prepare(config, given, names)
    if start is not None:
        plan = plan._replace(start=_start(start, plan, data))
    return begin_run(plan, progress=progress)


@in_python
def select(
    strategy: str,
    data: Dataset | str | Path,
    ipc: int | None = None,
    *,
    share: float | None = None,
    experts: Experts | str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Select a core-set: what ``jaxdistill select`` does, in memory.

    Args:
        strategy: a name: ``"random"``, ``"herding"``, ``"kcenter"``, ``"forgetting"`` ... (``jaxdistill list``).
        data: from `jaxdistill.load`, or what that takes.
        ipc: images per class.
        share: how much of each class, in the place of `ipc`: 0.1 is a tenth.
        experts: what `jaxdistill.train_experts` gave, or a folder of them, for strategies that ask networks.
        progress: say so where networks or distances have to be computed first.
        options: anything that ``jaxdistill select STRATEGY --help`` names: ``seed``, ``beta``, ``features``,
            ``unbalanced`` ... Where a selection by scores is given no ``beta``, held-out training images choose it
            (`Run.search`).

    Raises:
        UsageError: for arguments that cannot be used.

    Example:
        >>> import jaxdistill as jd
        >>> jd.select("herding", jd.load("digits"), ipc=2)
        <herding: 2 images per class of digits>
    """
    data = _data(data)
    if canonical(strategy, METHOD_NAMES) in METHOD_NAMES:
        raise UsageError(f"{strategy} is a method; take jaxdistill.distill('{strategy}', data, ipc)")
    strategy, bank = choose(strategy, SELECTIONS, "selection"), _bank(experts)
    fields = None if bank is None else fields_of_card(bank.card, bank.folder)
    defaults = of_select(strategy, data.config.dataset, data.known_as, fields)
    defaults["data"] = data.located(defaults["data"])
    config = Select(**defaults, run=NOWHERE, ipc=ipc, share=share)
    config, names = with_options(config, options, strategy, apart=("ipc", "share"))
    names |= {name for name, size in (("ipc", ipc), ("share", share)) if size is not None}
    config = dataclasses.replace(config, bank=dataclasses.replace(config.bank, experts=_place(bank)))
    config, given = planning.pinned(absolute(config), Given(data.source, bank))
    bound = planning.prepare_selection(config, given, names)
    if progress and SELECTIONS[strategy].needs.options:
        say(Console(stderr=True), f"selecting by {strategy}")
    return select_run(bound, progress=progress)


@in_python
def train_experts(
    data: Dataset | str | Path,
    *,
    count: int = 10,
    epochs: int | None = None,
    preset: str = "mtt",
    ipc: int | None = None,
    progress: bool = True,
    **options: Any,
) -> Experts:
    """Train experts for trajectory matching: what ``jaxdistill experts`` does, in memory.

    Args:
        data: from `jaxdistill.load`, or what that takes.
        count: how many; the papers have 100.
        epochs: of each; by default the paper's.
        preset: whose recipe: ``"mtt"`` (also TESLA's), ``"ftd"``, ``"datm"`` or ``"selmatch"``.
        ipc: images per class of the set that is to be distilled, where the recipe goes by it.
        progress: show how far it is.
        options: anything that ``jaxdistill experts --help`` names: ``seed``, ``width``, ``learning_rate`` ...

    Raises:
        UsageError: for arguments that cannot be used.
        RunFailedError: if an expert does not stay finite.
    """
    data = _data(data)
    fields = of_experts(preset, data.config.dataset, data.known_as, ipc)
    fields["data"] = data.located(fields["data"])
    config, names = with_options(ExpertsForm(**fields, out=NOWHERE.out), options, "experts", apart=("count", "epochs"))
    check_experts_read(config, names)
    config = replaced(config, {"count": count, "ipc": ipc, **({} if epochs is None else {"epochs": epochs})})
    return Experts(held_experts(config, data.source, Console(stderr=True, quiet=not progress)))


@in_python
def evaluate(
    sets: Any,
    data: Dataset | str | Path,
    networks: Any = None,
    protocol: str | Recipe | None = None,
    seeds: int = 5,
    *,
    teacher: Experts | str | Path | None = None,
    experts: Experts | str | Path | None = None,
    progress: bool = True,
    **options: Any,
) -> Table:
    """Train fresh networks on sets alone and test them: what ``jaxdistill evaluate`` does.

    Random real images of each set's size stand beside it. Each set is judged in the space that its images were
    preprocessed into, so that whitened and plain ones, and sets of several sizes, stand in one table. Networks are
    tested once, on the data's test images, after their last epoch.

    Args:
        sets: one or several: runs, sets, a `SyntheticSet` of one's own (in the space of ``data.train``), or folders; in
            a mapping under names of one's own.
        data: what they were made from.
        networks: names (several give a transfer matrix), or networks under names of one's own; by default the one that
            the sets were made with.
        protocol: a recipe's name (``"dsa1000"``), which says its augmentation too, or a recipe; by default the one that
            the sets' method has.
        seeds: independent networks of each kind.
        teacher: experts whose first one labels the images, for recipes that ask a teacher.
        experts: networks begin as those of them that the sets were not made with, for sets of ``dd`` with `pretrained`.
        progress: say how far it is.
        options: anything that ``jaxdistill evaluate --help`` names: ``epochs``, ``width``, ``coverage``, ``seed`` ...

    Returns:
        The table: print it, or `Table.to_markdown`, `to_latex`, `to_pandas`; a notebook draws it.

    Raises:
        UsageError: for arguments that cannot be used, or sets that do not belong together.
    """
    data = _data(data)
    stored = _stored(sets, data)
    custom = dict(networks) if isinstance(networks, Mapping) else {}
    several = isinstance(networks, Sequence) and all(isinstance(name, str) for name in networks)
    if not custom and networks is not None and not several:
        raise UsageError("`networks` is a name, a list of names, or a mapping of names to networks")
    config = Evaluate((NOWHERE.out,), data_dir=data.config.data_dir)
    config, _ = with_options(config, options, "evaluate", apart=("network", "protocol", "seeds"))
    recipe = protocol if isinstance(protocol, Recipe) else None
    asked = {"network": None if custom else networks, "protocol": None if recipe else protocol, "seeds": seeds}
    config = replaced(config, {**asked, "dataset": data.config.dataset})
    results = evaluate_stored(
        stored, config, Console(stderr=True, quiet=not progress), source=data.source,
        named=recipe, custom=custom, bank=_bank(teacher), pool=_bank(experts),
    )  # fmt: skip
    return Table(results["rows"], results.get("coverage", {}).get("shares", {}))


@in_python
def join(*sets: Any) -> Stored:
    """One set of several that have different classes: what ``jaxdistill join`` does, in memory.

    Args:
        sets: runs, what `open` gives, or folders: two or more, alike in all but their classes.

    Returns:
        The set, whose classes are those of all, in the order that folders are read in.

    Raises:
        UsageError: for sets that do not belong together.
    """
    named: dict[str, Stored] = {}
    for number, one in enumerate(sets, 1):
        if not isinstance(one, Run | Stored | str | Path):
            raise UsageError(f"a set is a run, what jaxdistill.open gives, or a folder, not {type(one).__name__}")
        stored = (
            one.set if isinstance(one, Run) else one if isinstance(one, Stored) else load_set(Path(one).expanduser())
        )
        named[f"set {number} ({one})" if isinstance(one, str | Path) else f"set {number}"] = stored
    return joined(named)


@in_python
def open(
    folder: str | Path, data: Dataset | None = None, experts: Experts | str | Path | None = None
) -> Run | Stored | Experts:
    """What is in a folder: a run, a set, or experts, as jaxdistill wrote them here or on the command line.

    Args:
        folder: a run's, a set's, or that of experts.
        data: what a run was begun with, where that had no name that leads to it (`Dataset.from_arrays`, `hold_out`).
        experts: those that a run was begun with, where they were in memory: they, or where they were saved since.

    Raises:
        UsageError: if it is none of these, or damaged.
    """
    folder = Path(folder).expanduser()
    if (folder / "config.json").is_file():
        return open_run(folder, data, _bank(experts))
    if (folder / "preprocess.safetensors").is_file():
        return Experts(load_bank(folder))
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}; give that of a run, a set or experts")
    return load_set(folder)


def _data(data: Dataset | str | Path) -> Dataset:
    """A data set, or the one of a name."""
    return data if isinstance(data, Dataset) else load(data)


def _method(method: Any) -> tuple[Any, Callable[[Task], Any] | None]:
    """A configuration or its class, and what makes a method of one's own."""
    if isinstance(method, Dataset):
        raise UsageError("the method comes first, then the data: jaxdistill.distill(method, data, ipc)")
    if isinstance(method, str):
        if canonical(method, SELECTIONS) in SELECTIONS:
            raise UsageError(f"{method} is a selection; take jaxdistill.select('{method}', data, ipc)")
        return method_config(method), None
    if type(method) in METHODS:
        return method, None
    if isinstance(method, Method):
        return OwnMethod("own"), lambda task: method
    if method in METHODS.values():
        raise UsageError(f"{method.__name__} takes a configuration too; give its name, '{method.__name__}', instead")
    if callable(method) and not isinstance(method, type):
        function = method.func if isinstance(method, partial) else method
        return OwnMethod(getattr(function, "__name__", "own")), method
    if method in METHODS:
        return method, None
    raise UsageError(
        f"{method!r:.60} is no method; give a name, a configuration such as jd.DM(), a Method, or a function that "
        "makes one of a Task"
    )


def _bank(experts: Experts | str | Path | None) -> StoredBank | None:
    if experts is None or isinstance(experts, Experts):
        return None if experts is None else experts.bank
    if not isinstance(experts, str | Path):
        raise UsageError(
            f"experts are what jaxdistill.train_experts gives, or their folder, not {type(experts).__name__}"
        )
    return load_bank(Path(experts).expanduser())


def _place(stored: StoredBank | StoredGenerator | None) -> Path | None:
    """The folder of experts or of a generator, if they are in one."""
    return None if stored is None or stored.folder == MEMORY else stored.folder


def _generator(generator: Run | str | Path | None) -> StoredGenerator | None:
    if generator is None or isinstance(generator, Run):
        return None if generator is None else generator.generator
    return load_generator(Path(generator).expanduser())


def _start(init: Run | Stored | SyntheticSet, plan: planning.Plan, data: Dataset) -> SyntheticSet:
    """A set that is in memory as what a run starts from."""
    stored = _set_of(init, data)
    config, bench = plan.config, plan.bound.bench
    other = config.run.other_data
    return start_from(stored, "`init`", bench, config.ipc, plan.images.per_start, other_data=other)


def _stored(sets: Any, data: Dataset) -> dict[str, Stored]:
    """Sets under the names that a table has them by."""
    if isinstance(sets, Mapping):
        named = {str(name): _set_of(one, data) for name, one in sets.items()}
    else:
        single = isinstance(sets, Run | Stored | SyntheticSet | str | Path) or not isinstance(sets, Sequence)
        several: Any = [sets] if single else sets
        several = [run for one in several for run in (runs_in(Path(one)) if isinstance(one, str | Path) else [one])]
        found = [(_set_of(one, data), _name_of(one)) for one in several]
        named = {}
        for one, name in found:
            number = next(i for i in range(1, len(found) + 1) if (name if i == 1 else f"{name} {i}") not in named)
            named[name if number == 1 else f"{name} {number}"] = one
    if not named:
        raise UsageError("give at least one set")
    return named


def _set_of(one: Any, data: Dataset) -> Stored:
    if isinstance(one, Run):
        return one.set
    if isinstance(one, SyntheticSet):
        return data.wrap(one)
    if isinstance(one, str | Path):
        return load_set(Path(one).expanduser())
    if not isinstance(one, Stored):
        raise UsageError(
            f"a set is a run, what jaxdistill.open gives, a SyntheticSet or a folder, not {type(one).__name__}; of "
            "arrays make a SyntheticSet(images, labels)"
        )
    return one


def _name_of(one: Any) -> str:
    if isinstance(one, Run):
        return one.name
    if isinstance(one, Stored):
        return str(one.card["method"])
    return "mine" if isinstance(one, SyntheticSet) else label(Path(one))
