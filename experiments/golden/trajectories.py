"""Golden values of trajectory matching, made with PyTorch in float64: plain autograd through all of a student's steps.

    python experiments/golden/trajectories.py        writes tests/reference/trajectories.npz

Two blocks of a ConvNet of width 4 without normalisation on 8x8x2 images, 3 classes and 2 images each: 5 steps of 4
images from a start, the distance of their end from a target, and its gradients in images, labels and step size; once on
hard labels and once on logits, then also by TESLA's formula. What a step of GSAM descends at the start.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CLASSES, IPC, STEPS, BATCH, SIDE, CHANNELS, WIDTH, DEPTH = 3, 2, 5, 4, 8, 2, 4, 2
RATE, RHO, ALPHA = 0.3, 0.05, 0.4


def logits(images, weights):
    images = images.permute(0, 3, 1, 2)
    for block in range(DEPTH):
        kernel = weights[f"kernel{block}"].permute(3, 2, 0, 1)
        images = functional.conv2d(images, kernel, weights[f"bias{block}"], padding=1)
        images = functional.avg_pool2d(functional.relu(images), 2)
    return images.permute(0, 2, 3, 1).flatten(1) @ weights["matrix"] + weights["offset"]


def gradient(images, labels, weights, graph=True):
    loss = functional.cross_entropy(logits(images, weights), labels)
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values()), create_graph=graph), strict=True))


def dot(one, other):
    return sum((one[name] * other[name]).sum() for name in one)


def length(one):
    return torch.sqrt(dot(one, one))


def step(weights, rate, found):
    return {name: value - rate * found[name] for name, value in weights.items()}


def apart(one, other):
    return step(one, 1, other)


def leaves(tree):
    return {name: value.detach().requires_grad_() for name, value in tree.items()}


def exact(images, labels, rate, plan, start, target):
    """The loss, with its graph through every step."""
    weights = leaves(start)
    for chosen in plan:
        weights = step(weights, rate, gradient(images[chosen], labels[chosen], weights))
    return dot(apart(weights, target), apart(weights, target)) / dot(apart(start, target), apart(start, target))


def tesla(images, labels, rate, plan, start, target, learned):
    """Two passes: the sum of the gradients, then each one's slope in its own batch at constant parameters."""
    total, weights = {name: torch.zeros_like(value) for name, value in start.items()}, leaves(start)
    for chosen in plan:
        found = gradient(images[chosen], labels[chosen], weights, graph=False)
        total = {name: value + found[name] for name, value in total.items()}
        weights = leaves(step(weights, rate, found))
    missed, scale = apart(weights, target), dot(apart(start, target), apart(start, target))
    towards = {name: -2 * rate / scale * value for name, value in missed.items()}
    weights, found_by = leaves(start), {name: torch.zeros_like(value) for name, value in learned.items()}
    for chosen in plan:
        found = gradient(images[chosen], labels[chosen], weights)
        slopes = torch.autograd.grad(dot(found, towards), list(learned.values()), retain_graph=True)
        found_by = {name: value + slope for (name, value), slope in zip(found_by.items(), slopes, strict=True)}
        weights = leaves(step(weights, rate, found))
    return found_by | {"rate": -2 / scale * dot(total, missed)}


def gsam(images, labels, weights):
    plain = gradient(images, labels, weights, graph=False)
    scaled = {name: value.abs() * plain[name] for name, value in weights.items()}
    up = {name: RHO * value**2 * plain[name] / length(scaled) for name, value in weights.items()}
    sharp = gradient(images, labels, leaves({name: value + up[name] for name, value in weights.items()}), graph=False)
    cosine = dot(plain, sharp) / (length(plain) * length(sharp))
    across = {name: g - cosine * length(plain) * sharp[name] / length(sharp) for name, g in plain.items()}
    return {name: value - ALPHA * across[name] for name, value in sharp.items()}


def main():
    rng = np.random.default_rng(0)
    shapes = {"matrix": ((SIDE // 2**DEPTH) ** 2 * WIDTH, CLASSES), "offset": (CLASSES,)}
    for block in range(DEPTH):
        shapes |= {f"kernel{block}": (3, 3, WIDTH if block else CHANNELS, WIDTH), f"bias{block}": (WIDTH,)}
    start = {name: rng.normal(size=shape) / 3 for name, shape in shapes.items()}
    stored = {
        "images": rng.normal(size=(CLASSES * IPC, SIDE, SIDE, CHANNELS)),
        "logits": rng.normal(size=(CLASSES * IPC, CLASSES)),
        "rate": RATE,
        "plan": np.stack([rng.permutation(CLASSES * IPC)[:BATCH] for _ in range(STEPS)]),
        "rho": RHO,
        "alpha": ALPHA,
        **{f"start_{name}": value for name, value in start.items()},
        **{f"target_{name}": value + 0.1 * rng.normal(size=value.shape) for name, value in start.items()},
    }
    start, target = ({name: torch.tensor(stored[f"{tree}_{name}"]) for name in shapes} for tree in ("start", "target"))
    hard = torch.eye(CLASSES, dtype=torch.float64).repeat_interleave(IPC, 0)
    for kind, names in (("class", ("images",)), ("logit", ("images", "logits"))):
        learned = {name: torch.tensor(stored[name]).requires_grad_() for name in names}
        rate = torch.tensor(RATE, dtype=torch.float64).requires_grad_()
        labels = learned["logits"].softmax(1) if kind == "logit" else hard
        loss = exact(learned["images"], labels, rate, stored["plan"], start, target)
        by = torch.autograd.grad(loss, [*learned.values(), rate], retain_graph=True)
        stored[f"{kind}_loss"] = loss.detach().numpy()
        stored |= {f"{kind}_exact_{name}": value.numpy() for name, value in zip((*names, "rate"), by, strict=True)}
    by = tesla(learned["images"], labels, RATE, stored["plan"], start, target, learned)
    stored |= {f"logit_tesla_{name}": value.detach().numpy() for name, value in by.items()}
    flat = gsam(torch.tensor(stored["images"]), hard, leaves(start))
    stored |= {f"flat_{name}": value.numpy() for name, value in flat.items()}
    np.savez_compressed(Path(__file__).parents[2] / "tests" / "reference" / "trajectories.npz", **stored)


if __name__ == "__main__":
    main()
