"""Looks at a set while it is made: how well a few networks that are trained on it do on held-out training images, and
how much of the test images it covers."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxdistill.commands.cover import Cover
from jaxdistill.commands.judge import accuracy
from jaxdistill.commands.workspace import Bench
from jaxdistill.data.feeds import RealData
from jaxdistill.engine.loop import Chunk, Looked
from jaxdistill.evaluation import Recipe
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = ["Best", "HeldOut", "Look", "best_of", "read_looks"]


class Best(NamedTuple):
    """The set of the best look so far."""

    step: int
    mean: float
    synthetic: SyntheticSet


class Look:
    """Trains a few networks on a set, by the run's own recipe, and tests them on what is held out.

    Args:
        bench: data and devices.
        network: what is trained.
        protocol: the recipe.
        key: the networks of every look start from the same weights.
        seeds: independent networks.
        test: look at the test images too.
        parallel_networks: networks side by side on a device.
        cover: tell how much of the test images the set covers. That looks at test images; nothing is chosen by it, and
            `HeldOut` goes by held-out accuracies alone.
        starts: where the networks begin, if not afresh.
    """

    def __init__(
        self,
        bench: Bench,
        network: Network,
        protocol: Recipe,
        key: Key,
        seeds: int,
        *,
        test: bool = False,
        parallel_networks: int | None = None,
        cover: Cover | None = None,
        starts: Variables | None = None,
    ):
        self._starts = starts
        self._bench, self._network, self._protocol, self._key = bench, network, protocol, key
        self._seeds, self._test, self._at_once, self._cover = seeds, test, parallel_networks, cover

    def __call__(self, synthetic: SyntheticSet) -> Looked:
        """Look at a set."""
        held_out = self._bench.held_out
        seen = [] if held_out is None else self._on(held_out, synthetic)
        covered = {} if self._cover is None else self._cover.shares(synthetic)
        return Looked(seen, self._on(self._bench.test, synthetic) if self._test else [], covered)

    def _on(self, split: RealData, synthetic: SyntheticSet) -> list[float]:
        seeds = self._seeds if self._protocol.stochastic else 1
        found = accuracy(
            self._key, synthetic, self._network, split, self._bench, self._protocol, seeds,
            parallel_networks=self._at_once, starts=self._starts,
        )  # fmt: skip
        return found.accuracies.tolist()


class HeldOut(AbstractContextManager["HeldOut"]):
    """A sink that keeps every look, and the set of the best one.

    Args:
        rows: of looks that were made before.
        best: of them.
        tell: told the rows after each look, and the best one's set if this is it.
    """

    def __init__(
        self,
        rows: list[dict[str, Any]],
        best: Best | None = None,
        tell: Callable[[list[dict[str, Any]], Best | None], None] = lambda rows, best: None,
    ):
        self.rows, self.best, self._tell = list(rows), best, tell

    def __call__(self, chunk: Chunk) -> None:
        """Keep what a chunk's look saw."""
        if chunk.looked is None:
            return
        seen, synthetic = chunk.looked
        row = seen.row(chunk.step)
        self.rows = [*(old for old in self.rows if old["step"] < chunk.step), row]
        better = "mean" in row and (self.best is None or row["mean"] > self.best.mean)
        if better:
            self.best = Best(chunk.step, row["mean"], jax.tree.map(np.asarray, synthetic))
        self._tell(self.rows, self.best if better else None)

    def __exit__(self, *_: object) -> None: ...


def best_of(rows: list[dict[str, Any]], name: str = "mean") -> dict[str, Any] | None:
    """The first of the best rows by a column; None where no row has it."""
    having = [row for row in rows if name in row]
    return max(having, key=lambda row: row[name]) if having else None


def read_looks(path: Path, until: int | None = None) -> list[dict[str, Any]]:
    """The rows of a ``held_out.jsonl`` up to a step; none where there is no such file."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
            if type(row["step"]) is int and (until is None or row["step"] <= until):
                rows.append(row)
        except (ValueError, TypeError, KeyError):  # torn when the run was killed
            continue
    return rows
