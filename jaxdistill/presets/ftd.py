"""What FTD's paper and code set and printed."""

import dataclasses

from jaxdistill.methods.ftd import FTD
from jaxdistill.presets import mtt
from jaxdistill.presets.base import Paper, Preset, printed
from jaxdistill.presets.experts import IMAGENET_SUBSETS, expert_preset

_PUBLISHED = printed({
    "authors' repository": {
        "cifar10": {1: (46.8, 0.3), 10: (66.6, 0.3), 50: (73.8, 0.2)},
        "cifar100": {1: (25.2, 0.2), 10: (43.4, 0.3), 50: (50.7, 0.3)},
        "tiny_imagenet": {1: (10.4, 0.3), 10: (24.5, 0.2)},
    },
})  # fmt: skip
_WITHOUT_AVERAGE = printed({
    "two later papers' tables": {
        "cifar10": {1: (46.0, 0.4), 10: (65.3, 0.4), 50: (73.2, 0.2)},
        "cifar100": {1: (24.4, 0.4), 10: (42.5, 0.2), 50: (48.5, 0.3), 100: (49.7, 0.4)},
        "tiny_imagenet": {1: (10.5, 0.2), 10: (23.4, 0.3)},
    },
    "a later paper's table": {"tiny_imagenet": {50: (28.2, 0.4)}},
})  # fmt: skip
# fmt: off
_CELLS = {
    "cifar10": {
        1: FTD(student_steps=50, expert_epochs=2, max_start=2, image_lr=100.0, student_lr_lr=1e-7, student_lr=0.01, ema_decay=0.9999),
        10: FTD(
            student_steps=30, expert_epochs=2, max_start=20, image_lr=100.0, student_lr_lr=1e-5, student_lr=0.001, ema_decay=0.9995),
        50: FTD(
            student_steps=30, expert_epochs=2, max_start=40, image_lr=1000.0, student_lr_lr=1e-5, student_lr=0.01, ema_decay=0.999),
    },
    "cifar100": {
        1: FTD(
            student_steps=40, expert_epochs=3, max_start=20, image_lr=1000.0, student_lr_lr=1e-5, student_lr=0.01, ema_decay=0.9995),
        10: FTD(
            student_steps=20, expert_epochs=2, max_start=40, image_lr=1000.0, student_lr_lr=1e-5, student_lr=0.01, ema_decay=0.9995),
        50: FTD(
            student_steps=80, expert_epochs=2, max_start=40, syn_batch=1000, image_lr=1000.0, student_lr_lr=1e-5, student_lr=0.01,
            ema_decay=0.999),
    },
    "tiny_imagenet": {
        1: FTD(student_steps=30, expert_epochs=2, max_start=10, image_lr=1e4, student_lr_lr=1e-4, student_lr=0.01, ema_decay=0.999),
        10: FTD(
            student_steps=20, expert_epochs=2, max_start=40, syn_batch=500, image_lr=1e4, student_lr_lr=1e-4, student_lr=0.01,
            ema_decay=0.999),
    },
}
# fmt: on
_SUBSET = FTD(
    student_steps=20,
    expert_epochs=2,
    max_start=10,
    syn_batch=64,
    image_lr=1e4,
    student_lr_lr=1e-4,
    student_lr=0.01,
    ema_decay=0.999,
)
_CELLS |= {subset: {1: _SUBSET, 10: _SUBSET} for subset in IMAGENET_SUBSETS}


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """The paper's table 7, and the author's for ImageNet subsets; Tiny-ImageNet's whitening is not known.

    The reading `no-average` takes the images themselves, as DATM's authors ran FTD again; what else they set is not
    known, so that none of its cells is listed. Digits is MTT's with an average over the last tenth of its steps.
    """
    plain, experts = mtt.settings(dataset, ipc, reading), expert_preset("ftd", dataset, ipc)
    config = _CELLS.get(dataset, {}).get(ipc) or _CELLS["cifar10"][1 if ipc < 5 else 10 if ipc < 30 else 50]
    if dataset == "digits":
        config = FTD(**vars(plain.config), ema_decay=0.98)
    if reading == "no-average":
        config = dataclasses.replace(config, ema_decay=None)
    return plain._replace(config=config, zca=experts.zca, statistics=experts.statistics, experts=experts)


PAPER = Paper({"paper": _CELLS, "no-average": {}}, settings, {"paper": _PUBLISHED, "no-average": _WITHOUT_AVERAGE})
