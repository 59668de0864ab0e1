"""What MTT's code set, and its accuracies as later papers print them."""

from __future__ import annotations

from jaxdistill.methods.mtt import MTT
from jaxdistill.presets.base import Paper, Preset, Published
from jaxdistill.presets.experts import IMAGENET_SUBSETS, expert_preset

__all__ = ["PAPER", "settings"]

_TABLE = "three later papers' tables"
_QUOTED = "a later paper's table"
_PUBLISHED = {
    ("cifar10", 1): Published(46.2, 0.8, _TABLE),
    ("cifar10", 10): Published(65.4, 0.7, _TABLE),
    ("cifar10", 50): Published(71.6, 0.2, _TABLE),
    ("cifar100", 1): Published(24.3, 0.3, _TABLE),
    ("cifar100", 10): Published(39.7, 0.4, _TABLE),
    ("cifar100", 50): Published(47.7, 0.2, _TABLE),
    ("tiny_imagenet", 1): Published(8.8, 0.3, _TABLE),
    ("tiny_imagenet", 10): Published(23.2, 0.2, _TABLE),
    ("tiny_imagenet", 50): Published(28.0, 0.3, _TABLE),
    ("imagenette", 1): Published(47.7, 0.9, _QUOTED),
    ("imagenette", 10): Published(63.0, 1.3, _QUOTED),
    ("imagewoof", 1): Published(28.6, 0.8, _QUOTED),
    ("imagewoof", 10): Published(35.8, 1.8, _QUOTED),
    ("imagefruit", 10): Published(40.3, 1.3, _QUOTED),
    ("imagemeow", 10): Published(40.4, 2.2, _QUOTED),
    ("imagesquawk", 10): Published(52.3, 1.0, _QUOTED),
    ("imageyellow", 10): Published(60.0, 1.5, _QUOTED),
}
# fmt: off
_CELLS = {
    ("cifar10", 1): MTT(student_steps=50, expert_epochs=2, max_start=2, image_lr=100.0, rate_lr=1e-7, rate=0.01),
    ("cifar10", 10): MTT(student_steps=30, expert_epochs=2, max_start=20, image_lr=100.0, rate_lr=1e-5, rate=0.001),
    ("cifar10", 50): MTT(student_steps=30, expert_epochs=2, max_start=40, image_lr=1000.0, rate_lr=1e-5, rate=0.001),
    ("cifar100", 1): MTT(student_steps=20, expert_epochs=3, max_start=20, image_lr=1000.0, rate_lr=1e-5, rate=0.01),
    ("cifar100", 10): MTT(student_steps=20, expert_epochs=2, max_start=20, image_lr=1000.0, rate_lr=1e-5, rate=0.01),
    ("cifar100", 50): MTT(
        student_steps=80, expert_epochs=2, max_start=40, batch=125, image_lr=1000.0, rate_lr=1e-5, rate=0.01),
    ("tiny_imagenet", 1): MTT(student_steps=10, expert_epochs=2, max_start=10, image_lr=1e4, rate_lr=1e-4, rate=0.01),
    ("tiny_imagenet", 10): MTT(
        student_steps=20, expert_epochs=2, max_start=40, batch=200, image_lr=1e4, rate_lr=1e-4, rate=0.01),
    ("tiny_imagenet", 50): MTT(
        student_steps=20, expert_epochs=2, max_start=40, batch=300, image_lr=1e4, rate_lr=1e-4, rate=0.01),
}
# fmt: on
_CELLS |= {
    (subset, ipc): MTT(
        student_steps=20, expert_epochs=2, max_start=10, batch=batch, image_lr=1e5, rate_lr=1e-6, rate=0.01
    )
    for subset in IMAGENET_SUBSETS
    for ipc, batch in ((1, None), (10, 20))
}


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """The code's settings; other cells take those of CIFAR-10 with as many images. Digits is ours.

    The step size on pixels of CIFAR-10 at ten images is that of republished commands, of ImageNet's subsets the
    author's in the repository's issues.
    """
    config = _CELLS.get((dataset, ipc)) or _CELLS["cifar10", 1 if ipc < 5 else 10 if ipc < 30 else 50]
    experts = expert_preset("mtt", dataset, ipc)
    if dataset == "digits":
        config = MTT(student_steps=10, expert_epochs=2, max_start=10, image_lr=300.0, rate_lr=1e-3, rate=0.06)
    return Preset(
        config=config,
        steps=300 if dataset == "digits" else 5_000,
        init="real",
        protocol="mtt1000",
        zca=experts.zca,
        statistics=experts.statistics,
        experts=experts,
        best_on_test=True,
    )


PAPER = Paper({"paper": tuple(_CELLS)}, settings, {"paper": _PUBLISHED})
