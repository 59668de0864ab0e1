"""Defaults of a command that follow from what else is given: experts, and a data set's name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jaxdistill.errors import UsageError
from jaxdistill.methods.preset import Preset
from jaxdistill.run.arguments import MISSING, peek
from jaxdistill.run.config import GeneratorConfig, RunConfig
from jaxdistill.run.experts import fields_of
from jaxdistill.run.folder import stored_config
from jaxdistill.run.generators import generator_card
from jaxdistill.run.plain import from_json

__all__ = ["like_experts", "like_generator", "stored"]


def like_experts(arguments: list[str]) -> dict[str, Any]:
    """Network and preprocessing of the experts that are given, as defaults: a run has to have the same."""
    experts = peek(arguments, "--experts")
    if experts is None:
        return {}
    fields = fields_of(Path(experts))
    return {"network": fields["network"], "data": dataclasses.replace(fields["data"], dataset=MISSING)}


def like_generator(arguments: list[str], preset: Preset) -> tuple[GeneratorConfig, Preset]:
    """The architecture of the generator that is given, as default: it cannot have another; and the preset, but with the
    way in which sets were drawn from it and judged, where its card says so."""
    given = peek(arguments, "--generator")
    if given is None:
        return GeneratorConfig(), preset
    card = generator_card(Path(given))
    if card.drawn is not None and hasattr(preset.config, "sampling"):
        config = dataclasses.replace(preset.config, sampling=card.drawn.sampling)
        preset = preset._replace(config=config, protocol=card.drawn.protocol, eval_network=card.drawn.eval_network)
    return GeneratorConfig(architecture=card.architecture), preset


def stored(arguments: list[str], matches: Callable[[Any], bool]) -> dict[str, Any] | None:
    """The fields of the run that is resumed, as defaults: what is not given again is taken from there."""
    out = peek(arguments, "--out")
    if out is None and "--resume" in arguments:
        raise UsageError("--resume goes on with the run in --out; give that too")
    plain = stored_config(Path(out)) if out is not None and "--resume" in arguments else None
    if plain is None:
        if "--resume" in arguments and peek(arguments, "--dataset") is None:
            raise UsageError(f"there is no run in {out} to resume; give all arguments, or another --out")
        return None
    found = from_json(plain, RunConfig(MISSING))
    if not matches(found):
        raise UsageError(f"{out} is a run of another command; resume it with that one, or choose another --out")
    return vars(found)
