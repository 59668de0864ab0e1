"""What DM's paper set and printed."""

from __future__ import annotations

from jaxdistill.evaluation import dsa_recipe
from jaxdistill.methods.dm import DM
from jaxdistill.presets.base import Paper, Preset, Published

__all__ = ["PAPER"]

_LARGE_IPC = 100
_PUBLISHED = {
    ("cifar10", 1): Published(26.0, 0.8, "two later papers' tables agree"),
    ("cifar10", 10): Published(48.9, 0.6, "two later papers' tables agree"),
    ("cifar10", 50): Published(63.0, 0.4, "two later papers' tables agree; users re-run 55 to 57"),
    ("cifar10", 100): Published(67.0, 0.3, "authors' repository"),
    ("cifar10", 200): Published(71.2, 0.4, "authors' repository"),
    ("cifar10", 500): Published(76.1, 0.3, "authors' repository"),
    ("cifar10", 1000): Published(79.8, 0.3, "authors' repository"),
    ("cifar10", 1250): Published(80.8, 0.3, "authors' repository"),
    ("cifar100", 1): Published(11.4, 0.3, "later papers' tables"),
    ("cifar100", 10): Published(29.7, 0.3, "later papers' tables"),
    ("cifar100", 50): Published(43.6, 0.4, "later papers' tables"),
    ("tiny_imagenet", 1): Published(3.9, 0.2, "later papers' tables"),
    ("tiny_imagenet", 10): Published(12.9, 0.4, "later papers' tables"),
    ("tiny_imagenet", 50): Published(24.1, 0.3, "later papers' tables"),
}
_STATED = (("cifar100", 100), ("cifar100", 125), ("mnist", 1), ("mnist", 10), ("mnist", 50))


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """The paper's settings: they depend on the cell only through CIFAR-10's larger step from 100 images on.

    The paper's numbers for MNIST could not be verified, nor its depth for Tiny-ImageNet, here 4. Digits is ours:
    1,442 images of 8x8 need fewer steps, and fewer images in each.
    """
    large, digits = dataset == "cifar10" and ipc >= _LARGE_IPC, dataset == "digits"
    return Preset(
        config=DM(per_class=64) if digits else DM(image_lr=10.0 if large else 1.0),
        steps=100 if digits else 20_000,
        init="real",
        protocol=dsa_recipe(dataset),
    )


PAPER = Paper({"paper": (*_PUBLISHED, *_STATED)}, settings, {"paper": _PUBLISHED})
