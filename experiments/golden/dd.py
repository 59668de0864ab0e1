"""Golden values of DD's outer gradient, made with PyTorch in float64: plain autograd through the whole training.

    python experiments/golden/dd.py        writes tests/reference/dd.npz

Two blocks of a ConvNet of width 4 without normalisation on 8x8x2 images and 3 classes are trained for 2 epochs of 2
steps with 2 images of each class a step, once on hard labels and once on logits; 7 real images follow. Then two steps
of Adam on a pool of two such networks, of which the real labels say that one class is another (the attack).
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CLASSES, EPOCHS, STEPS, PER_STEP, REAL, SIDE, CHANNELS, WIDTH, DEPTH = 3, 2, 2, 2, 7, 8, 2, 4, 2
ATTACKED, TARGET = 0, 1


def logits(images, weights):
    for block in range(DEPTH):
        images = functional.conv2d(images, weights[f"kernel{block}"], weights[f"bias{block}"], padding=1)
        images = functional.avg_pool2d(functional.relu(images), 2)
    return images.permute(0, 2, 3, 1).flatten(1) @ weights["matrix"] + weights["offset"]


def train(weights, images, labels, raw_rates):
    """One image after the other is put in its place: image number s * PER_STEP + i of each class belongs to step s."""
    for epoch in range(EPOCHS):
        for step in range(STEPS):
            numbers = [c * STEPS * PER_STEP + step * PER_STEP + i for c in range(CLASSES) for i in range(PER_STEP)]
            loss = functional.cross_entropy(logits(images[numbers], weights), labels[numbers])
            gradients = torch.autograd.grad(loss, list(weights.values()), create_graph=True)
            rate = functional.softplus(raw_rates[epoch, step])
            weights = {name: w - rate * g for (name, w), g in zip(weights.items(), gradients, strict=True)}
    return weights


def adapted(stored, initial, rng):
    """Two steps of Adam on the mean gradient of two networks that were trained before, with attacked labels."""
    others = {name: value + 0.1 * rng.normal(size=value.shape) for name, value in initial.items()}
    images = torch.tensor(stored["images"]).requires_grad_()
    raw_rates = torch.tensor(stored["raw_rates"]).requires_grad_()
    optimizer = torch.optim.Adam([images, raw_rates], lr=0.05, betas=(0.5, 0.999))
    real, hard = torch.tensor(stored["real"]).permute(0, 3, 1, 2), torch.eye(CLASSES, dtype=torch.float64)
    labels = torch.tensor(stored["real_labels"])
    labels[labels == ATTACKED] = TARGET
    found = {f"other_{name}": value for name, value in others.items()}
    for number in range(2):
        optimizer.zero_grad()
        losses = []
        for network in (initial, others):
            weights = {
                name: torch.tensor(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value).requires_grad_()
                for name, value in network.items()
            }
            trained = train(weights, images.permute(0, 3, 1, 2), hard.repeat_interleave(STEPS * PER_STEP, 0), raw_rates)
            losses.append(functional.cross_entropy(logits(real, trained), labels))
        loss = sum(losses) / 2
        loss.backward()
        norm = sum((leaf.grad**2).sum() for leaf in (images, raw_rates)).sqrt()
        found |= {f"pool_loss{number}": loss.detach().numpy(), f"pool_norm{number}": norm.numpy()}
        optimizer.step()
    return found | {"pool_images": images.detach().numpy(), "pool_raw_rates": raw_rates.detach().numpy()}


def main():
    rng = np.random.default_rng(0)
    n = CLASSES * STEPS * PER_STEP
    stored = {
        "images": rng.normal(size=(n, SIDE, SIDE, CHANNELS)),
        "logits": rng.normal(size=(n, CLASSES)),
        "raw_rates": rng.normal(size=(EPOCHS, STEPS)) - 1,
        "real": rng.normal(size=(REAL, SIDE, SIDE, CHANNELS)),
        "real_labels": rng.integers(0, CLASSES, REAL),
    }
    below = (SIDE // 2**DEPTH) ** 2 * WIDTH
    initial = {"matrix": rng.normal(size=(below, CLASSES)), "offset": rng.normal(size=CLASSES)}
    for block in range(DEPTH):
        initial[f"kernel{block}"] = rng.normal(size=(3, 3, WIDTH if block else CHANNELS, WIDTH)) / 3
        initial[f"bias{block}"] = rng.normal(size=WIDTH)
    stored |= initial
    real = torch.tensor(stored["real"]).permute(0, 3, 1, 2)
    for kind in ("class", "logit"):
        learned = {name: torch.tensor(stored[name]).requires_grad_() for name in ("images", "raw_rates", "logits")}
        hard = torch.eye(CLASSES, dtype=torch.float64).repeat_interleave(STEPS * PER_STEP, 0)
        labels = hard if kind == "class" else learned["logits"].softmax(1)
        weights = {
            name: torch.tensor(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value).requires_grad_()
            for name, value in initial.items()
        }
        trained = train(weights, learned["images"].permute(0, 3, 1, 2), labels, learned["raw_rates"])
        answers = logits(real, trained)
        loss = functional.cross_entropy(answers, torch.tensor(stored["real_labels"]))
        loss.backward()
        stored[f"{kind}_loss"] = loss.detach().numpy()
        stored[f"{kind}_accuracy"] = (answers.argmax(1).numpy() == stored["real_labels"]).mean()
        for name in ("images", "raw_rates") if kind == "class" else tuple(learned):
            stored[f"{kind}_{name}"] = learned[name].grad.numpy()
        for name, value in trained.items():
            value = value.detach().numpy()
            stored[f"{kind}_trained_{name}"] = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
    stored |= adapted(stored, initial, rng)
    np.savez_compressed(Path(__file__).parents[2] / "tests" / "reference" / "dd.npz", **stored)


if __name__ == "__main__":
    main()
