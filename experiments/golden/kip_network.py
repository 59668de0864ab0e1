"""Golden values of KIP to a network of finite width, made with PyTorch in float64: the largest stable step size by the
Gram matrix of explicit gradients, then three steps.

    python experiments/golden/kip_network.py        writes tests/reference/kip_network.npz

One convolution and ReLU, then two blocks with average pooling, of width 3, and a dense layer to 3 classes, on 9x9x2
images. Five images are looked at for the step size; six with targets are trained on, by given draws: once by batches
of four of them, as of a larger set, and by batches of eight, in which some stand twice.
"""

import math
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CLASSES, SIDE, CHANNELS, WIDTH, DEPTH, COUNT, PROBES = 3, 9, 2, 3, 2, 6, 5
FACTOR, L2, MOMENTUM, TOTAL, STEPS = 0.8, 1e-2, 0.9, 5, 3


def logits(images, weights):
    x = functional.relu(functional.conv2d(images, weights["kernel0"], weights["bias0"], padding=1))
    for block in range(1, DEPTH + 1):
        x = functional.relu(functional.conv2d(x, weights[f"kernel{block}"], weights[f"bias{block}"], padding=1))
        x = functional.avg_pool2d(x, 2)
    return x.permute(0, 2, 3, 1).flatten(1) @ weights["matrix"] + weights["offset"]


def largest_step(weights, probes):
    rows = []
    for image in probes:
        out = logits(image[None], weights).sum() / CLASSES**0.5
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(out, list(weights.values()))]))
    jacobian = torch.stack(rows)
    kernel = jacobian @ jacobian.T
    return kernel, 2 * len(probes) * CLASSES / (torch.linalg.eigvalsh(kernel)[-1] + 1e-12)


def train(weights, images, targets, draws, largest):
    velocity = {name: torch.zeros_like(value) for name, value in weights.items()}
    for step, chosen in enumerate(draws):
        loss = 0.5 * ((logits(images[chosen], weights) - targets[chosen]) ** 2).mean()
        loss = loss + 0.5 * L2 * sum((value**2).sum() for value in weights.values())
        gradients = torch.autograd.grad(loss, list(weights.values()))
        rate = FACTOR * largest * 0.5 * (1 + math.cos(math.pi * step / TOTAL))
        for name, gradient in zip(list(weights), gradients, strict=True):
            velocity[name] = MOMENTUM * velocity[name] + gradient
            weights[name] = (weights[name] - rate * velocity[name]).detach().requires_grad_()
    return weights


def main():
    rng = np.random.default_rng(0)
    stored = {
        "images": rng.normal(size=(COUNT, SIDE, SIDE, CHANNELS)),
        "probes": rng.normal(size=(PROBES, SIDE, SIDE, CHANNELS)),
        "targets": rng.normal(size=(COUNT, CLASSES)),
        "draws4": rng.integers(0, COUNT, (STEPS, 4)),
        "draws8": rng.integers(0, COUNT, (STEPS, 8)),
    }
    initial = {}
    for layer in range(DEPTH + 1):
        below = WIDTH if layer else CHANNELS
        initial[f"kernel{layer}"] = rng.normal(size=(3, 3, below, WIDTH)) * (2 / (9 * below)) ** 0.5
        initial[f"bias{layer}"] = rng.normal(size=WIDTH) * 0.1
    initial["matrix"] = rng.normal(size=((SIDE // 2**DEPTH) ** 2 * WIDTH, CLASSES)) * 0.4
    initial["offset"] = rng.normal(size=CLASSES) * 0.1
    stored |= initial

    def fresh():
        as_torch = {n: v.transpose(3, 2, 0, 1) if v.ndim == 4 else v for n, v in initial.items()}
        return {name: torch.tensor(value.copy()).requires_grad_() for name, value in as_torch.items()}

    images, probes = (torch.tensor(stored[name]).permute(0, 3, 1, 2) for name in ("images", "probes"))
    kernel, largest = largest_step(fresh(), probes)
    stored |= {"kernel": kernel.detach().numpy(), "largest": largest.detach().numpy()}
    for size in (4, 8):
        trained = train(fresh(), images, torch.tensor(stored["targets"]), stored[f"draws{size}"], largest.item())
        for name, value in trained.items():
            value = value.detach().numpy()
            stored[f"trained{size}_{name}"] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
    settings = {"factor": FACTOR, "l2": L2, "momentum": MOMENTUM, "total": TOTAL}
    path = Path(__file__).parents[2] / "tests" / "reference" / "kip_network.npz"
    np.savez_compressed(path, **stored, **settings)


if __name__ == "__main__":
    main()
