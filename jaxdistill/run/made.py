"""Parts of a run's configuration: what other runs made before it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxdistill.diffusion import Architecture
from jaxdistill.errors import UsageError

__all__ = ["BankConfig", "GeneratorConfig"]


@dataclasses.dataclass(frozen=True)
class BankConfig:
    """Experts that were trained before."""

    experts: Path | None = None
    """Experts (a folder of 'jaxdistill experts'), for methods that match trajectories and selections by what networks
    say."""
    expert_count: int | None = None
    """Use the first so many experts; by default all that are there when the run begins."""
    digest: Annotated[str | None, tyro.conf.Suppress] = None
    """Which experts they are; set when the run begins."""

    @property
    def given(self) -> bool:
        """Whether there are any, in a folder or in memory."""
        return self.experts is not None or self.digest is not None

    def __post_init__(self) -> None:
        if self.expert_count is not None and self.expert_count < 1:
            raise UsageError(f"--expert-count is at least 1, not {self.expert_count}")


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """The generator that a set is drawn from."""

    generator: Path | None = None
    """A generator that was trained before: a run of dit or minimax, or what 'jaxdistill convert' made. Unless told
    otherwise, sets are drawn from it and judged as they were there."""
    class_ids: tuple[int, ...] = ()
    """What the given generator calls each class of the data set, in its order, where it knows others: ImageNet's
    numbers, say."""
    generator_digest: Annotated[str | None, tyro.conf.Suppress] = None
    """Which generator it is; set when the run begins."""
    architecture: Architecture = dataclasses.field(default_factory=Architecture)

    @property
    def given(self) -> bool:
        """Whether there is one, in a folder or in memory."""
        return self.generator is not None or self.generator_digest is not None
