"""Our settings of a generator that is trained from scratch."""

from jaxdistill.diffusion.sample import PAPERS
from jaxdistill.evaluation import dsa_recipe
from jaxdistill.methods.dit import DiT
from jaxdistill.presets.base import Paper, Preset

SUBSETS = ("imagewoof", "imagenette", "imagenet10", "imagenet100")
"""Of ImageNet, those that Minimax Diffusion's paper draws at 256 pixels."""
JUDGES = "resnet10ap,convnet,resnet18-imagenet"
"""What its paper judges them on, ResNet-18 apart: the number of a cell is the first one's."""
EVAL_SIZE = 224
"""Side that its code brings images to before networks see them."""


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
        eval_network=JUDGES if subset else None,
        eval_size=EVAL_SIZE if subset else None,
    )


PAPER = Paper({"ours": {}}, settings)
"""Our settings of a generator that is trained from scratch."""
