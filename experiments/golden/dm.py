"""Golden values of one DM step, made with PyTorch in float64: the distance and its gradient for given weights.

    python experiments/golden/dm.py        writes tests/reference/dm.npz

Two blocks of a ConvNet of width 4 on 8x8x2 images, 3 classes, 5 real and 2 synthetic images each, no augmentation; once
with instance normalisation (classes on their own) and once with batch normalisation in training mode (all classes of
one side in one pass).
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CLASSES, REAL, IPC, SIDE, CHANNELS, WIDTH, DEPTH = 3, 5, 2, 8, 2, 4, 2


def embed(images, weights, norm):
    for block in range(DEPTH):
        images = functional.conv2d(images, weights[f"kernel{block}"], weights[f"bias{block}"], padding=1)
        scale, shift = weights[f"scale{block}"], weights[f"shift{block}"]
        if norm == "instance":
            images = functional.group_norm(images, WIDTH, scale, shift)
        else:
            images = functional.batch_norm(images, None, None, scale, shift, training=True)
        images = functional.avg_pool2d(functional.relu(images), 2)
    return images.flatten(1)


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
    for norm in ("instance", "batch"):
        synthetic = torch.tensor(stored["synthetic"]).permute(0, 1, 4, 2, 3).requires_grad_(True)
        if norm == "instance":
            means = [torch.stack([embed(x, weights, norm).mean(0) for x in side]) for side in (real, synthetic)]
        else:
            means = [
                embed(side.flatten(0, 1), weights, norm).unflatten(0, side.shape[:2]).mean(1)
                for side in (real, synthetic)
            ]
        distances = ((means[0] - means[1]) ** 2).sum(1)
        distances.sum().backward()
        stored[f"{norm}_distances"] = distances.detach().numpy()
        stored[f"{norm}_gradient"] = synthetic.grad.permute(0, 1, 3, 4, 2).numpy()
    np.savez_compressed(Path(__file__).parents[2] / "tests" / "reference" / "dm.npz", **stored)


if __name__ == "__main__":
    main()
