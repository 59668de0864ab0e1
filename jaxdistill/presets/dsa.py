"""What DSA's paper and code set and printed."""

from jaxdistill.evaluation import dsa_recipe
from jaxdistill.methods.dsa import DSA
from jaxdistill.presets import dc
from jaxdistill.presets.base import Paper, Preset, printed

_LARGEST = 100  # beyond, numbers are of other authors, whose loops are not known
_PUBLISHED = printed({
    "authors' repository; deviations from a later paper's table": {
        "mnist": {1: (88.7, 0.6), 10: (97.8, 0.1), 50: (99.2, 0.1)},
        "fashion_mnist": {1: (70.6, 0.6), 10: (84.6, 0.3), 50: (88.7, 0.2)},
        "svhn_cropped": {1: (27.5, 1.4), 10: (79.2, 0.5), 50: (84.4, 0.4)},
        "cifar10": {1: (28.8, 0.7), 10: (52.1, 0.5), 50: (60.6, 0.5)},
        "cifar100": {1: (13.9, 0.3), 10: (32.3, 0.3)},
    },
    "the author, in the repository's issue 2": {"cifar10": {100: 66.7}},
    "a later paper's table": {
        "cifar10": {500: (73.6, 0.3), 1000: (78.7, 0.3)},
        "cifar100": {50: (42.8, 0.4)},
    },
})  # fmt: skip


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """DC's loops, a start from real images, the data set's augmentation and an augmented evaluation."""
    plain = dc.settings(dataset, ipc, reading)
    return plain._replace(
        config=DSA(**vars(plain.config)), init="real", augment="default", protocol=dsa_recipe(dataset)
    )


_CELLS = {dataset: [ipc for ipc in numbers if ipc <= _LARGEST] for dataset, numbers in _PUBLISHED.items()}
PAPER = Paper({"paper": _CELLS}, settings, {"paper": _PUBLISHED})
