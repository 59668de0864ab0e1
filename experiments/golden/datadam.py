"""Golden values of one DataDAM step, made with PyTorch in float64: both terms and the gradient for given weights.

    python experiments/golden/datadam.py        writes tests/reference/datadam.npz

Three blocks of a ConvNet of width 4 on 8x8x2 images, 3 classes, 5 real and 2 synthetic images each, no augmentation. As
in the released code: batch normalisation in training mode (all classes of one side in one pass), power 1, factor 100.
As in the paper's table: instance normalisation, power 4, no factor.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CLASSES, REAL, IPC, SIDE, CHANNELS, WIDTH, DEPTH = 3, 5, 2, 8, 2, 4, 3
PRESETS = {"code": ("batch", 1, 100.0, 0.01), "paper": ("instance", 4, 1.0, 0.01)}


def describe(images, weights, norm, power):
    """Attention of each block, and the embedding; ``[n, d]`` each."""
    found = []
    for block in range(DEPTH):
        images = functional.conv2d(images, weights[f"kernel{block}"], weights[f"bias{block}"], padding=1)
        scale, shift = weights[f"scale{block}"], weights[f"shift{block}"]
        if norm == "instance":
            images = functional.group_norm(images, WIDTH, scale, shift)
        else:
            images = functional.batch_norm(images, None, None, scale, shift, training=True)
        images = functional.relu(images)
        found.append(functional.normalize(images.abs().pow(power).sum(1).flatten(1), dim=1))
        images = functional.avg_pool2d(images, 2)
    return [*found, images.flatten(1)]


def main():
    rng = np.random.default_rng(0)
    stored = {
        "real": rng.normal(size=(CLASSES, REAL, SIDE, SIDE, CHANNELS)),
        "synthetic": rng.normal(size=(CLASSES, IPC, SIDE, SIDE, CHANNELS)),
    }
    for block in range(DEPTH):
        inputs = CHANNELS if block == 0 else WIDTH
        stored[f"kernel{block}"] = rng.normal(size=(3, 3, inputs, WIDTH)) / 3
        stored |= {f"{name}{block}": rng.normal(size=WIDTH) for name in ("bias", "scale", "shift")}
    weights = {}
    for name, value in stored.items():
        order = (3, 2, 0, 1) if value.ndim == 4 else range(value.ndim)
        weights[name] = torch.tensor(value.transpose(order))
    real = torch.tensor(stored["real"]).permute(0, 1, 4, 2, 3)
    for preset, (norm, power, scale, balance) in PRESETS.items():
        synthetic = torch.tensor(stored["synthetic"]).permute(0, 1, 4, 2, 3).requires_grad_(True)
        described = [describe(side.flatten(0, 1), weights, norm, power) for side in (real, synthetic)]
        *blocks, embedding = (
            sum(((a[label].mean(0) - b[label].mean(0)) ** 2).sum() for label in range(CLASSES))
            for a, b in (
                (one.unflatten(0, (CLASSES, REAL)), other.unflatten(0, (CLASSES, IPC)))
                for one, other in zip(*described, strict=True)
            )
        )
        attention = scale * sum(blocks[:-1])
        (attention + scale * balance * embedding).backward()
        stored[f"{preset}_attention"] = attention.detach().numpy()
        stored[f"{preset}_embedding"] = (scale * balance * embedding).detach().numpy()
        stored[f"{preset}_last"] = (scale * blocks[-1]).detach().numpy()
        stored[f"{preset}_gradient"] = synthetic.grad.permute(0, 1, 3, 4, 2).numpy()
    np.savez_compressed(Path(__file__).parents[2] / "tests" / "reference" / "datadam.npz", **stored)


if __name__ == "__main__":
    main()
