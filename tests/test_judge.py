"""What is told while sets are judged, and what judging them compiles."""

import re

import jax
import numpy as np
import pytest

from jaxdistill.commands import judge as judging
from jaxdistill.commands.judge import judge
from jaxdistill.commands.workspace import networks, open_bench
from jaxdistill.common.sets import class_set
from jaxdistill.evaluation import PROTOCOLS
from jaxdistill.evaluation.train import _correct_counts
from jaxdistill.selection import SELECTIONS
from jaxdistill.settings.config import DataConfig, EvaluationConfig, NetworkConfig


@pytest.fixture(scope="module")
def bench():
    return open_bench(DataConfig("digits"))


def judged(bench, sets, protocol, seeds, spec="mlp"):
    told = []
    recipe = EvaluationConfig(protocol, eval_epochs=None if protocol == "krr" else 2).resolve("fc1")
    found = networks(spec, NetworkConfig(width=8), bench)
    judge(jax.random.key(0), sets, found, bench, recipe, protocol, seeds, ipc=1, tell=told.append)
    return told


def test_a_set_and_the_random_ones_share_a_compilation(bench):
    """A distilled set and a selected one, which says which of its images are real, are of one shape."""
    chosen = SELECTIONS["random"](jax.random.key(1), bench.train, 1)
    made = class_set(jax.numpy.asarray(chosen.images).reshape(10, 1, 8, 8, 1))
    assert chosen.selected is not None
    assert made.selected is None
    assert PROTOCOLS["digits100"].selected_augment is None
    before = _correct_counts._cache_size()
    judged(bench, {"made": made, "chosen": chosen}, "digits100", 2)
    assert _correct_counts._cache_size() == before + 1


def test_each_network_is_told_with_the_time_that_those_to_come_may_take(bench, monkeypatch):
    now = iter(np.arange(0.0, 1000.0, 10.0))
    monkeypatch.setattr(judging.time, "perf_counter", lambda: next(now))
    chosen = SELECTIONS["random"](jax.random.key(1), bench.train, 1)
    told = judged(bench, {"one": chosen, "two": chosen}, "dc300", 2, "mlp")
    assert [line.partition(":")[0] for line in told] == [
        f"{name} on mlp" for name in ("one", "two", "random") for _ in "12"
    ]
    assert re.fullmatch(r"one on mlp: 1 of 2 networks, last \d+\.\d%, at most 0:00:50 left", told[0])
    assert [line.rpartition("%")[2] for line in told[1:]] == [
        ", 0:00:40 left", ", at most 0:00:30 left", ", 0:00:20 left", ", at most 0:00:10 left", ""
    ]  # fmt: skip


def test_what_draws_nothing_is_counted_once(bench):
    chosen = SELECTIONS["random"](jax.random.key(1), bench.train, 1)
    told = judged(bench, {"one": chosen}, "krr", 3)
    assert [re.search(r"\d of \d", line)[0] for line in told] == ["1 of 1", "1 of 3", "2 of 3", "3 of 3"]
    assert ["left" in line for line in told] == [True, True, True, False]
