"""What SelMatch's paper and code set, and its accuracies as a later paper prints them."""

from typing import NamedTuple

from jaxdistill.methods.selmatch import SelMatch
from jaxdistill.presets.base import Paper, Preset, printed
from jaxdistill.presets.experts import expert_preset

_PUBLISHED = printed({
    "a later paper's table": {
        "cifar10": {250: (82.8, 0.2), 500: (85.9, 0.2), 1000: (90.4, 0.2), 1500: (91.3, 0.2)},
        "cifar100": {25: (50.9, 0.3), 50: (54.5, 0.6), 100: (62.4, 0.5), 150: (67.4, 0.2)},
        "tiny_imagenet": {50: (44.7, 0.2), 100: (50.4, 0.2)},
    },
})  # fmt: skip


class _Settings(NamedTuple):
    update_share: float
    """Share that is learned."""
    beta: float
    """Share of the hardest that is left out."""
    epochs: int
    """Of the evaluation."""


# fmt: off
_CELLS = {
    "cifar10": {
        250: _Settings(update_share=0.6, beta=0.5, epochs=1000), 500: _Settings(update_share=0.2, beta=0.3, epochs=500),
        1000: _Settings(update_share=0.1, beta=0.2, epochs=250), 1500: _Settings(update_share=0.1, beta=0.2, epochs=167),
    },
    "cifar100": {
        25: _Settings(update_share=0.8, beta=0.8, epochs=1000), 50: _Settings(update_share=0.6, beta=0.7, epochs=500),
        100: _Settings(update_share=0.3, beta=0.6, epochs=250), 150: _Settings(update_share=0.2, beta=0.4, epochs=167),
    },
    "tiny_imagenet": {50: _Settings(update_share=0.6, beta=0.8, epochs=500), 100: _Settings(update_share=0.5, beta=0.7, epochs=250)},
}
# fmt: on


def settings(dataset: str, ipc: int, reading: str) -> Preset:
    """The paper's settings; other cells take those of the nearest size. Digits is ours.

    C-scores, which the paper takes from their authors (``--scores``), are otherwise our stand-in for them.
    """
    cells = _CELLS.get(dataset, _CELLS["cifar10"])
    cell = cells[min(cells, key=lambda size: abs(size - ipc))]
    experts, eval_network = expert_preset("selmatch", dataset, ipc), "resnet18-bn"
    if dataset == "tiny_imagenet":
        eval_network = "resnet18-s2-bn"  # the code's for 64 pixels
    preset = Preset(
        config=SelMatch(
            student_steps=20 if dataset == "tiny_imagenet" else 55,
            expert_epochs=2,
            max_start=80,
            syn_batch=125,
            image_lr=1e4 if (dataset, ipc) in {("cifar10", 1000), ("cifar10", 1500)} else 1e3,
            student_lr_lr=1e-5,
            student_lr=0.001,
            update_share=cell.update_share,
        ),
        steps=10_000,
        init="forgetting" if dataset in ("tiny_imagenet", "digits") else "cscore",
        protocol=f"selmatch{cell.epochs}",
        beta=cell.beta,
        network={"norm": "batch"},
        eval_network=eval_network,
        statistics=experts.statistics,
        experts=experts,
        best_on_test=True,
    )
    if dataset != "digits":
        return preset
    config = SelMatch(
        student_steps=10,
        expert_epochs=2,
        max_start=16,
        syn_batch=50,
        image_lr=300.0,
        student_lr_lr=1e-3,
        student_lr=0.06,
        update_share=0.4,
    )
    return preset._replace(config=config, steps=300, protocol="mtt1000", network={}, eval_network=None, beta=0.5)


PAPER = Paper({"paper": _CELLS}, settings, {"paper": _PUBLISHED})
