"""Golden values of RFAD, made with PyTorch in float64: its loss and gradients for given random networks, and three
steps of its optimiser.

    python experiments/golden/rfad.py        writes tests/reference/rfad.npz

Two networks of three blocks of width 3 on 8x8x2 images without normalisation, 3 classes, 2 images of each in the set,
7 real ones; labels, the linear map (of images flattened in the order height, width, channel: the identity and a
product of factors) and the temperature are away from where they start. With the cross-entropy and with the squared
error.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CLASSES, REAL, IPC, SIDE, CHANNELS, WIDTH, DEPTH, NETWORKS = 3, 7, 2, 8, 2, 3, 3, 2
LEARNED = ("images", "labels", "transform", "temperature")
RATES = {"images": 1e-3, "labels": 1e-3, "transform": 5e-5, "temperature": 1e-2}
PENALTY, EPSILON, STEPS = 5e-3, 1e-16, 3


def features(images, stored):
    """Of all networks side by side, so that inner products are means over networks and their features."""
    found = []
    for network in range(NETWORKS):
        x = images.permute(0, 3, 1, 2)
        for block in range(DEPTH):
            kernel, bias = (stored[f"{name}{network}{block}"] for name in ("kernel", "bias"))
            kernel = torch.tensor(kernel.transpose(3, 2, 0, 1))
            x = functional.avg_pool2d(functional.relu(functional.conv2d(x, kernel, torch.tensor(bias), padding=1)), 2)
        found.append(x.flatten(1))
    return torch.cat(found, 1) / np.sqrt(NETWORKS * found[0].shape[1])


def loss_of(learned, stored, kind):
    images, labels, transform, temperature = (learned[name] for name in LEARNED)
    shown = (images.flatten(1) @ transform).reshape(images.shape)
    support, real = features(shown, stored), features(torch.tensor(stored["real"]), stored).detach()
    inner = 2 * support @ support.T + 0.01
    n = len(images)
    inner = inner + PENALTY * torch.trace(inner) / n * torch.eye(n, dtype=inner.dtype)
    predictions = (2 * real @ support.T + 0.01) @ torch.linalg.solve(inner, labels)
    classes = torch.tensor(stored["classes"])
    if kind == "platt":
        return functional.cross_entropy(torch.exp(temperature) * predictions, classes)
    targets = functional.one_hot(classes, CLASSES).double() - 1 / CLASSES
    return 0.5 * ((targets - predictions) ** 2).mean()


def kept(name, values):
    """What is stored: four rows of the map, all of the rest."""
    return values.numpy()[:4] if name == "transform" else values.numpy()


def main():
    rng = np.random.default_rng(0)
    size = SIDE * SIDE * CHANNELS
    stored = {
        "real": rng.normal(size=(REAL, SIDE, SIDE, CHANNELS)),
        "classes": rng.integers(0, CLASSES, REAL),
        "images": rng.normal(size=(CLASSES * IPC, SIDE, SIDE, CHANNELS)),
        "labels": np.repeat(np.eye(CLASSES), IPC, 0) - 1 / CLASSES + 0.1 * rng.normal(size=(CLASSES * IPC, CLASSES)),
        "factors": 0.2 * rng.normal(size=(2, size, 3)),
        "temperature": np.array(0.7),
    }
    for network in range(NETWORKS):
        for block in range(DEPTH):
            inputs = CHANNELS if block == 0 else WIDTH
            stored[f"kernel{network}{block}"] = rng.normal(size=(3, 3, inputs, WIDTH)) * np.sqrt(2 / (9 * inputs))
            stored[f"bias{network}{block}"] = 0.1 * rng.normal(size=WIDTH)
    found = {}
    for kind in ("platt", "squared"):
        first = stored | {"transform": np.eye(size) + stored["factors"][0] @ stored["factors"][1].T}
        learned = {name: torch.tensor(first[name]) for name in LEARNED}
        means, deviations = ({name: torch.zeros_like(leaf) for name, leaf in learned.items()} for _ in range(2))
        for step in range(1, STEPS + 1):
            learned = {name: leaf.detach().requires_grad_(True) for name, leaf in learned.items()}
            loss = loss_of(learned, stored, kind)
            loss.backward()
            if step == 1:
                found[f"{kind}_loss"] = loss.detach().numpy()
            for name in LEARNED if kind == "platt" else LEARNED[:3]:
                gradient = learned[name].grad
                if step == 1:
                    found[f"{kind}_by_{name}"] = kept(name, gradient)
                # AdaBelief: the second moment is of what the gradient is away from its own average.
                means[name] = 0.9 * means[name] + 0.1 * gradient
                deviations[name] = 0.999 * deviations[name] + 0.001 * (gradient - means[name]) ** 2 + EPSILON
                scale = torch.sqrt(deviations[name] / (1 - 0.999**step)) + EPSILON
                learned[name] = learned[name].detach() - RATES[name] * means[name] / (1 - 0.9**step) / scale
        if kind == "platt":
            found |= {f"{name}_after": kept(name, leaf.detach()) for name, leaf in learned.items()}
    np.savez_compressed(Path(__file__).parents[2] / "tests" / "reference" / "rfad.npz", **stored, **found)


if __name__ == "__main__":
    main()
