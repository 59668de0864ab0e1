"""What watches a run. A sink is a context manager that is called with each chunk; it reads, and never changes a thing.

Only one process of a pod writes, so the others are simply given no sinks. A chunk without infos (None) shows the state
that a run starts from.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn
from rich.progress import Progress as Bar

from jaxdistill.engine.device_info import machine
from jaxdistill.errors import UsageError
from jaxdistill.io.files import write_bytes, write_text
from jaxdistill.io.pictures import grid, png
from jaxdistill.types import PyTree, SyntheticSet

if TYPE_CHECKING:
    from jaxdistill.engine.loop import Chunk

__all__ = ["Metrics", "Previews", "Progress", "TensorBoard", "WandB", "clock"]

EARLY = 10.0
"""Seconds after which a log says how long a run will take."""
MOST_PREVIEWS = 12
"""A run keeps at most this many, so that its report stays small."""


class Progress(AbstractContextManager["Progress"]):
    """Steps, speed, time left and loss: a bar on a terminal, about ten plain lines in a log.

    Args:
        total: steps of the whole run.
        start: steps done already.
        description: what is running, in a word or two.
        console: where it is printed; by default standard error.
        then: what comes after the steps, which the time left does not count; empty if nothing does.
    """

    def __init__(self, total: int, start: int, description: str, console: Console | None = None, then: str = ""):
        self._then = f" (then {then})" if then else ""
        self._total, self._start, self._description = total, start, description
        self._console = console or Console(stderr=True)
        self._printed, self._began = start, time.monotonic()
        self._rate: float | None = None
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task(description, total=total, completed=start, note="compiling")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __call__(self, chunk: Chunk) -> None:
        """Show how far the run is."""
        loss = next(iter(_columns(chunk).values()), np.empty(0))
        if not loss.size:
            return
        if chunk.seconds > 0:
            # Chunks differ in length and the first ones are single steps: recent speed, smoothed, is the better guess.
            rate = loss.size / chunk.seconds
            self._rate = rate if self._rate is None else 0.5 * (self._rate + rate)
        note = f"loss {float(loss[-1]):.4g}"
        if seen := _looked(chunk):
            note += "".join(f", {100 * share:.1f} % {where}" for where, share in seen.items())
        if self._rate:
            note = (
                f"{self._rate:.3g} steps/s, {clock((self._total - chunk.step) / self._rate)} left{self._then}, {note}"
            )
        if self._console.is_terminal:
            self._bar.update(self._task, completed=chunk.step, note=note)
        elif self._due(chunk):
            early, self._printed = self._early, chunk.step
            if early:  # how large it is, too
                note += f", {machine()['peak_memory_bytes'] / 2**30:.1f} GiB"
            line = f"{self._description}: step {chunk.step} of {self._total}, {note}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @property
    def _early(self) -> bool:
        """Whether a log has said nothing yet of how long a run takes that is not over in seconds."""
        return self._printed == self._start and time.monotonic() - self._began >= EARLY

    def _due(self, chunk: Chunk) -> bool:
        """Whether a log has a line of this: once early, then now and then."""
        share = chunk.step - self._printed >= (self._total - self._start) / 10
        return self._early or share or chunk.step >= self._total or bool(_looked(chunk))

    def __exit__(self, *_: object) -> None:
        self._bar.stop()


class Metrics(AbstractContextManager["Metrics"]):
    """Appends one JSON object for each step to a file; what is not finite becomes null.

    Args:
        path: the file. Lines of steps after `start`, and a line that was torn when a run was killed, are dropped first.
        start: steps done already.
    """

    def __init__(self, path: Path, start: int):
        self._path, self._start = Path(path), start

    def __enter__(self) -> Metrics:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            lines = self._path.read_text(encoding="utf-8", errors="replace").splitlines()
            write_text(self._path, "".join(f"{line}\n" for line in lines if self._belongs(line)))
        self._file = self._path.open("a", encoding="utf-8")
        return self

    def _belongs(self, line: str) -> bool:
        try:
            return json.loads(line)["step"] <= self._start
        except (ValueError, TypeError, KeyError):
            return False

    def __call__(self, chunk: Chunk) -> None:
        """Append the chunk's lines, and hand them to the operating system."""
        for step, row in _rows(chunk):
            values = {name: value if math.isfinite(value) else None for name, value in row.items()}
            self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def __exit__(self, *_: object) -> None:
        self._file.close()


class TensorBoard(AbstractContextManager["TensorBoard"]):
    """Writes every scalar as a TensorBoard curve.

    Args:
        folder: where the event files go. A resumed run hides what an earlier one wrote beyond the point of resumption.

    Raises:
        UsageError: if tensorboardX is not installed.
    """

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UsageError(
                "TensorBoard curves need tensorboardX: run pip install 'jaxdistill[tensorboard]'"
            ) from None
        self._open = SummaryWriter
        self._folder = str(folder)
        self._writer: SummaryWriter | None = None

    def __call__(self, chunk: Chunk) -> None:
        """Write the chunk's scalars."""
        for step, row in _rows(chunk):
            self._writer = self._writer or self._open(self._folder, purge_step=step)
            for name, value in (row | (_looked(chunk) if step == chunk.step else {})).items():
                self._writer.add_scalar(name.replace(" ", "_"), value, step)
        if self._writer is not None:
            self._writer.flush()

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()


class WandB(AbstractContextManager["WandB"]):
    """Logs every scalar to a run of Weights & Biases; with WANDB_MODE=offline it is kept in the folder until synced.

    Args:
        folder: of the run. ``wandb.json`` there names the run of Weights & Biases, which a resumed run goes on with; of
            steps that it has seen before, it keeps what came first.
        project: where it is listed.
        settings: what is shown as its configuration.
        quiet: let it print nothing.

    Raises:
        UsageError: if wandb is not installed.
    """

    def __init__(self, folder: Path, project: str, settings: dict[str, Any], *, quiet: bool = False):
        try:
            import wandb
        except ImportError:
            wandb = None
        if wandb is None or not hasattr(wandb, "init"):  # a folder of that name, such as its own, is no package either
            raise UsageError("--wandb needs Weights & Biases: run pip install 'jaxdistill[wandb]', or leave it out")
        self._open, self._folder = wandb.init, Path(folder)
        self._project, self._settings, self._quiet = project, settings, quiet
        self._run: Any = None

    def __enter__(self) -> WandB:
        path = self._folder / "wandb.json"
        self._folder.mkdir(parents=True, exist_ok=True)
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        said = {"project": known.get("project", self._project), "id": known.get("id"), "name": self._folder.name}
        said |= {"resume": "allow", "dir": str(self._folder), "config": self._settings}
        try:
            self._run = self._open(**said, settings={"console": "off", "silent": self._quiet})
        except Exception as error:  # of theirs, when nobody is logged in or nothing can be reached
            reason = " ".join(str(error).split())[:200]
            advice = "run wandb login, set WANDB_MODE=offline, or leave --wandb out"
            raise UsageError(f"Weights & Biases cannot begin ({reason}); {advice}") from None
        write_text(path, json.dumps({"project": said["project"], "id": self._run.id}))
        return self

    def __call__(self, chunk: Chunk) -> None:
        """Log the chunk's scalars."""
        for step, row in _rows(chunk):
            seen = _looked(chunk) if step == chunk.step else {}
            self._run.log({name: value for name, value in (row | seen).items() if math.isfinite(value)}, step=step)

    def __exit__(self, kind: object, *_: object) -> None:
        if self._run is not None:
            self._run.finish(exit_code=0 if kind is None else 1)


class Previews(AbstractContextManager["Previews"]):
    """Writes the set as a grid of pictures, ``step_000100.png``, now and then: the first and the last state always.

    Args:
        folder: where they go.
        synthetic: reads the set out of a state.
        display: preprocessed images to images in [0, 1].
        num_classes: classes of the set.
        every: steps between two previews, at least; doubled, and every second preview dropped, when there are too many.
    """

    def __init__(
        self,
        folder: Path,
        synthetic: Callable[[PyTree], SyntheticSet],
        display: Callable[[Any], Float[np.ndarray, "n h w c"]],
        num_classes: int,
        every: int,
    ):
        if every < 1:
            raise UsageError(f"previews are at least one step apart, not {every}")
        self._folder, self._synthetic, self._display = Path(folder), synthetic, display
        self._num_classes, self._every = num_classes, every
        self._due = -1
        self._pending: tuple[int, PyTree] | None = None

    def __call__(self, chunk: Chunk) -> None:
        """Write a preview if one is due."""
        # What is not written now may be the last state of the run, which only `__exit__` can know.
        self._pending = (chunk.step, chunk.state)
        if chunk.step >= self._due:
            self._write()

    def __exit__(self, kind: object, *_: object) -> None:
        # After a failed step the state has been donated to it, and there is nothing left to show.
        if kind is None:
            self._write()

    def _write(self) -> None:
        if self._pending is None:
            return
        (step, state), self._pending = self._pending, None
        images = np.asarray(self._display(self._synthetic(state).images))
        self._keep(step, png(grid(images, self._num_classes)))
        kept = self._kept()
        if len(kept) > MOST_PREVIEWS:
            for one in kept[1:-1:2]:
                self._drop(one)
            self._every *= 2
        self._due = step + self._every

    def _keep(self, step: int, picture: bytes) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_bytes(self._path(step), picture)

    def _kept(self) -> list[int]:
        """Steps of which there are previews, in order."""
        return sorted(int(path.stem.removeprefix("step_")) for path in self._folder.glob("step_*.png"))

    def _drop(self, step: int) -> None:
        self._path(step).unlink()

    def _path(self, step: int) -> Path:
        return self._folder / f"step_{step:06d}.png"


def _columns(chunk: Chunk) -> dict[str, np.ndarray]:
    return {} if chunk.infos is None else chunk.infos._asdict()


def _looked(chunk: Chunk) -> dict[str, float]:
    """Mean accuracies of a look after this chunk, by what was looked at."""
    looked = getattr(chunk, "looked", None)  # whatever has steps and infos can be shown
    if looked is None:
        return {}
    seen = looked[0]
    found = {"on held-out images": seen.accuracies, "on test images": seen.test}
    return {where: float(np.mean(shares)) for where, shares in found.items() if shares}


def _rows(chunk: Chunk) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each step of a chunk with its scalars as Python numbers."""
    columns = _columns(chunk)
    for i, values in enumerate(zip(*columns.values(), strict=True)):
        first = chunk.step - len(next(iter(columns.values()))) + 1
        yield first + i, {name: _number(value) for name, value in zip(columns, values, strict=True)}


def _number(value: np.generic) -> float | int | bool:
    # The shortest text of a float32 is shorter than that of the same number as a float64, and reads back as the same.
    return value.item() if value.dtype.kind in "biu" else float(str(value))


def clock(seconds: float) -> str:
    """A duration as hours, minutes and seconds."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"
