"""What Minimax Diffusion's code set."""

from jaxdistill.diffusion import Architecture
from jaxdistill.diffusion.sample import Sampling
from jaxdistill.evaluation import dsa_recipe
from jaxdistill.methods.minimax import Minimax
from jaxdistill.presets.base import Paper, Preset, printed
from jaxdistill.presets.dit import EVAL_SIZE, JUDGES, SUBSETS

_XL = Architecture(
    patch_size=2, hidden_size=1152, num_layers=28, num_heads=16, schedule="linear", prediction="noise", learned_variance=True,
    latents=(128, 256, 512, 512), latent_blocks=2, latent_groups=32,
)  # fmt: skip
"""DiT-XL/2 on Stable Diffusion's latents, as 'jaxdistill convert' makes it."""


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """The released code's settings for ImageNet subsets at 256 pixels; ours for small images.

    With the code's, nothing changed on small images. What follows from trials on training images held out: weights
    for digits, and for Fashion-MNIST, which all others have; small steps of all parameters.

    ImageNet-100 is distilled in phases: independent tunings of twenty classes each from the released weights
    (`--classes imagenet100 --phase 0`), of which 'jaxdistill join' makes one set. How long is not said; the code's
    eight epochs of twenty classes are twice as many steps, of which it keeps every 12,000th.
    """
    if dataset in SUBSETS:
        return Preset(
            config=Minimax(real_batch=8),
            steps=24_000 if dataset == "imagenet100" else 12_000,
            init="noise",
            protocol="minimax",
            augment="flip",
            eval_network=JUDGES,
            eval_size=EVAL_SIZE,
            generator=_XL,
        )
    return Preset(
        config=Minimax(
            lr=1e-4,
            real_batch=64,
            representativeness=0.05 if dataset == "digits" else 0.01,
            diversity=0.5 if dataset == "digits" else 0.2,
            trainable="all",
            center=True,
            ema_decay=0.98,
            sampling=Sampling(guidance=1.5),
        ),
        steps=300,
        init="noise",
        protocol=dsa_recipe(dataset),
        augment="none",
    )


_PUBLISHED = {
    "authors' repository, on ResNetAP-10; the best of about 100 looks at the test images": {
        "imagewoof": {10: (39.2, 1.3), 20: (45.8, 0.5), 50: (56.3, 1.0), 70: (58.3, 0.2), 100: (64.5, 0.2)},
    },
}
_CELLS = {"imagewoof": (10, 20, 50, 70, 100), "imagenette": (10, 20, 50), "imagenet10": (10, 20, 50)}

PAPER = Paper({"paper": _CELLS}, settings, {"paper": printed(_PUBLISHED)})
