"""What DATM's code set and printed."""

import dataclasses

from jaxdistill.methods.datm import DATM
from jaxdistill.presets.base import Paper, Preset, printed
from jaxdistill.presets.experts import expert_preset

_PUBLISHED = printed({
    "authors' repository": {
        "cifar10": {1: (46.9, 0.5), 10: (66.8, 0.2), 50: (76.1, 0.3), 500: (83.5, 0.2), 1000: (85.5, 0.4)},
        "cifar100": {1: (27.9, 0.2), 10: (47.2, 0.4), 50: (55.0, 0.2), 100: (57.5, 0.2)},
        "tiny_imagenet": {1: (17.1, 0.3), 10: (31.1, 0.3), 50: (39.7, 0.3)},
    },
})  # fmt: skip
# fmt: off
_CELLS = {
    "cifar10": {
        1: DATM(
            student_steps=80, expert_epochs=2, min_start=0, initial_max_start=4, max_start=4, grow_steps=0, syn_batch=10,
            image_lr=100.0, student_lr_lr=1e-7, label_lr=5.0),
        10: DATM(
            student_steps=80, expert_epochs=2, min_start=0, initial_max_start=10, max_start=20, grow_steps=1000, syn_batch=100,
            image_lr=100.0, student_lr_lr=1e-5, label_lr=2.0),
        50: DATM(
            student_steps=80, expert_epochs=2, min_start=0, initial_max_start=20, max_start=40, grow_steps=2000, syn_batch=500,
            image_lr=1000.0, student_lr_lr=1e-5, label_lr=2.0),
        500: DATM(
            student_steps=40, expert_epochs=2, min_start=40, initial_max_start=60, max_start=60, grow_steps=0, syn_batch=1000,
            image_lr=50.0, student_lr_lr=1e-5, label_lr=10.0),
        1000: DATM(
            student_steps=100, expert_epochs=2, min_start=40, initial_max_start=60, max_start=60, grow_steps=0, syn_batch=1000,
            image_lr=50.0, student_lr_lr=1e-5, label_lr=10.0),
    },
    "cifar100": {
        1: DATM(
            student_steps=40, expert_epochs=3, min_start=0, initial_max_start=10, max_start=20, grow_steps=1000, syn_batch=None,
            image_lr=1000.0, student_lr_lr=1e-5, label_lr=10.0),
        10: DATM(
            student_steps=80, expert_epochs=2, min_start=0, initial_max_start=30, max_start=50, grow_steps=2000, syn_batch=1000,
            image_lr=1000.0, student_lr_lr=1e-5, label_lr=10.0),
        50: DATM(
            student_steps=80, expert_epochs=2, min_start=20, initial_max_start=70, max_start=70, grow_steps=0, syn_batch=1000,
            image_lr=1000.0, student_lr_lr=1e-5, label_lr=10.0),
        100: DATM(
            student_steps=80, expert_epochs=2, min_start=30, initial_max_start=70, max_start=70, grow_steps=0, syn_batch=1000,
            image_lr=50.0, student_lr_lr=1e-5, label_lr=10.0),
    },
    "tiny_imagenet": {
        1: DATM(
            student_steps=40, expert_epochs=2, min_start=0, initial_max_start=15, max_start=20, grow_steps=2000, syn_batch=None,
            image_lr=1e4, student_lr_lr=1e-4, label_lr=10.0),
        10: DATM(
            student_steps=40, expert_epochs=2, min_start=10, initial_max_start=50, max_start=50, grow_steps=0, syn_batch=500,
            image_lr=100.0, student_lr_lr=1e-4, label_lr=10.0),
        50: DATM(
            student_steps=20, expert_epochs=2, min_start=40, initial_max_start=70, max_start=70, grow_steps=0, syn_batch=1000,
            image_lr=100.0, student_lr_lr=1e-4, label_lr=10.0),
    },
}
# fmt: on


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """The released configurations; other cells take CIFAR-10's with as many images. Digits is ours."""
    nearest = min(_CELLS["cifar10"], key=lambda known: abs(known - ipc))
    config = _CELLS.get(dataset, {}).get(ipc) or _CELLS["cifar10"][nearest]
    if (dataset, ipc) == ("cifar10", 1):
        config = dataclasses.replace(config, max_loss=1.1)
    elif dataset == "digits":
        config = DATM(
            student_steps=10, expert_epochs=2, max_start=16, image_lr=300.0, student_lr_lr=1e-3, student_lr=0.06, initial_max_start=8,
            grow_steps=150, label_lr=2.0,
        )  # fmt: skip
    experts = expert_preset("datm", dataset, ipc)
    return Preset(
        config=config,
        steps=300 if dataset == "digits" else 10_000,
        init="labelled" if (dataset, ipc) == ("cifar100", 50) else "correct",
        protocol="datm1000",
        zca=experts.zca,
        statistics=experts.statistics,
        experts=experts,
        best_on_test=True,
    )


PAPER = Paper({"paper": _CELLS}, settings, {"paper": _PUBLISHED})
