"""What the command line says of itself: the commands, and what `distill` and `select` choose from."""

from __future__ import annotations

import sys
from textwrap import fill

from jaxdistill.methods import METHOD_NAMES
from jaxdistill.selection import SELECTIONS
from jaxdistill.settings.needs import Needs, needs

__all__ = ["ASKS", "methods", "overview", "strategies"]

ASKS = ("-h", "--help")
"""Words that ask for help."""
_USAGE = """Distil, select, judge and share small training sets.

  jaxdistill distill METHOD --dataset D --ipc N --out DIR     make a set with a method: {methods}
  jaxdistill select STRATEGY --dataset D --ipc N --out DIR    pick one: {strategies}
  jaxdistill draw G --dataset D --ipc N --out DIR             a set of a generator that dit or minimax has trained
  jaxdistill experts --dataset D --count N --out E            train what mtt and its family match
  jaxdistill evaluate SET [SET ...]                           train fresh networks on sets, random beside them
  jaxdistill convert WEIGHTS --out G                          a generator for minimax of DiT's released weights
  jaxdistill export SET --format npz|torch|folder|tfds --out PATH
  jaxdistill join SET SET [SET ...] --out DIR                 one set of several of different classes
  jaxdistill report RUN                                       one self-contained HTML file
  jaxdistill compare RUN [RUN ...] --out page.html            several runs on one page, or their table (.md, .tex)
  jaxdistill list [KIND] [--json]                             methods, selections, networks, protocols, data sets
  jaxdistill list cells METHOD                                the published cells, their settings and accuracies
  jaxdistill completion bash|zsh|fish                         a script for your shell, which completes all of these

For example:

  jaxdistill distill dm --dataset digits --ipc 10 --out runs/first
  jaxdistill distill dm --dataset cifar10 --ipc 10 --data-dir ~/tfds --out runs/dm-cifar --init kmeans
  jaxdistill distill dm --out runs/dm-cifar --resume
  jaxdistill evaluate runs/first --network convnet,mlp,resnet18 --seeds 5

D is digits (built in), an image data set of TFDS by name, an .npz with x_train y_train x_test y_test, or a folder with
one sub-folder per class. SET is a run's folder or its set/ folder. 'jaxdistill COMMAND --help' lists every option."""


def overview() -> str:
    """All commands, with examples."""
    return _USAGE.format(methods=" ".join(METHOD_NAMES), strategies=" ".join(SELECTIONS))


def methods() -> str:
    """What `distill` can be followed by, each method with its paper and what it needs."""
    said = {}
    for name, kind in METHOD_NAMES.items():
        text = (sys.modules[kind.__module__].__doc__ or "").split("\n\n")[0]
        asked = _asked(needs(kind))
        said[name] = f"{text} {asked}" if asked else text
    return _choices("distill METHOD", said)


def _asked(asked: Needs) -> str:
    if asked.experts:
        return "Needs experts: jaxdistill experts --out E, then --experts E."
    if asked.generator:
        return "Needs a generator: jaxdistill distill dit --out G (or convert), then --generator G."
    return "Needs a kernel, which --kernel chooses." if asked.kernel else ""


def strategies() -> str:
    """What `select` can be followed by, each strategy with what it goes by."""
    return _choices(
        "select STRATEGY", {name: f"goes by {one.needs.words}. {one.paper}" for name, one in SELECTIONS.items()}
    )


def _choices(command: str, known: dict[str, str]) -> str:
    widest = max(map(len, known))
    layout = {"width": 110, "subsequent_indent": " " * (widest + 4)}
    lines = [fill(f"  {name:<{widest}}  {' '.join(said.split())}", **layout) for name, said in known.items()]
    usage = f"jaxdistill {command} --dataset D --ipc N --out DIR"
    return "\n".join([usage, "", *lines, "", f"'jaxdistill {command} --help' lists its options."])
