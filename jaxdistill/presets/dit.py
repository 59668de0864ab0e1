"""Our settings of a generator that is trained from scratch."""

from jaxdistill.diffusion.sample import PAPERS
from jaxdistill.evaluation import dsa_recipe
from jaxdistill.methods.dit import DiT
from jaxdistill.presets.base import Paper, Preset

SUBSETS = ("imagewoof", "imagenette")
"""Of ImageNet, those that Minimax Diffusion's paper draws at 256 pixels."""


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """Ours: nobody published an accuracy of such sets on small images.

    ImageNet's subsets are drawn and judged as Minimax Diffusion's paper does with the released DiT beside its own.
    A generator that is given brings its own way.
    """
    subset = dataset in SUBSETS
    return Preset(
        config=DiT(sampling=PAPERS) if subset else DiT(),
        steps=3_000 if dataset == "digits" else 20_000,
        init="noise",
        protocol="minimax" if subset else dsa_recipe(dataset),
        augment="flip" if subset else "none",
        eval_network="resnet10ap" if subset else None,
    )


PAPER = Paper({"ours": {}}, settings)
