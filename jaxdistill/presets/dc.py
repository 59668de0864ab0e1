"""What DC's paper and code set and printed."""

import dataclasses

import numpy as np

from jaxdistill.methods.dc import DC
from jaxdistill.presets.base import Paper, Preset, printed

_PUBLISHED = printed({
    "authors' repository; deviations from a later paper's table": {
        "mnist": {1: (91.7, 0.5), 10: (97.4, 0.2), 50: (98.8, 0.1)},
        "fashion_mnist": {1: (70.5, 0.6), 10: (82.3, 0.4), 50: (83.6, 0.4)},
        "svhn_cropped": {1: (31.2, 1.4), 10: (76.1, 0.6), 50: (82.3, 0.3)},
        "cifar10": {1: (28.3, 0.5), 10: (44.9, 0.5), 50: (53.9, 0.5)},
        "cifar100": {1: (12.8, 0.3), 10: (25.2, 0.3)},
    },
    "a later paper's table": {"cifar10": {500: (72.1, 0.4), 1000: (76.6, 0.3)}},
})  # fmt: skip
_NETWORKS = 1_000
_EPOCHS = {1: 1, 10: 50, 20: 25, 30: 20, 40: 15, 50: 10, 100: 2}
_MOST = 50


def loops(ipc: int) -> tuple[int, int]:
    """Matches for each network, and epochs of training between two of them.

    The code states them for 1, 10, 20, 30, 40 and 50 images per class, its author for 100. Epochs are interpolated from
    10 to 100; 2 to 9 take those of 10, and more than 100 take matches and epochs of 50, as the author advises.
    """
    if ipc > max(_EPOCHS):
        return _MOST, _EPOCHS[_MOST]
    stated = {images: epochs for images, epochs in _EPOCHS.items() if images > 1}
    epochs = 1 if ipc == 1 else round(float(np.interp(ipc, list(stated), list(stated.values()))))
    return ipc, epochs


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """The code's settings, which depend on the number of images alone; 1,000 networks, 1,000 steps for digits.

    The code takes every number that `loops` names for every data set; listed are the cells of the paper's table.
    """
    matches, epochs = loops(ipc)
    networks = max(1, _NETWORKS // matches) if dataset == "digits" else _NETWORKS
    return Preset(
        config=DC(matches_per_network=matches, inner_epochs=epochs),
        steps=networks * matches,
        init="real" if ipc > _MOST else "noise",
        protocol="dc1000-mnist" if dataset == "mnist" else "dc300",
        augment="none",
    )


def by_networks(preset: Preset, network: str, judge: str) -> Preset:
    """The code's settings for other networks than the plain ConvNet.

    Pixels take smaller steps where an MLP distils. A ConvNet with batch normalisation is judged with noise and crops,
    for a thousand epochs, where the code judges by it at all (evaluation mode SS).
    """
    if network == "mlp":
        preset = preset._replace(config=dataclasses.replace(preset.config, image_lr=0.01))
    if judge == "convnet-bn":
        preset = preset._replace(protocol=_BATCH, note=_TWIN)
    return preset


_BATCH = "dc1000-bn"
_TWIN = (
    f"judged by {_BATCH}, noise and crops, which the code has for a ConvNet with batch normalisation; usually that judges "
    "such a set by the twin with instance normalisation: here the network convnet-bn and the judge convnet"
)
_CELLS = {dataset: [ipc for ipc in numbers if ipc <= _MOST] for dataset, numbers in _PUBLISHED.items()}
PAPER = Paper({"paper": _CELLS}, settings, {"paper": _PUBLISHED}, by_networks)
