"""Golden values of one IDC sweep, made with PyTorch in float64: tiles, distances and their gradients in the pixels.

    python experiments/golden/idc.py        writes tests/reference/idc.npz

Two blocks of a ConvNet of width 4 with instance normalisation on 8x8x2 images, 3 classes, 5 real and 2 stored images
each, no augmentation; formation 2 and 1; two distances between the gradients of the convolution kernels. Then
images of 7x7 cut up and shrunk by 2 and 3, which do not divide that.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CLASSES, REAL, IPC, SIDE, CHANNELS, WIDTH, DEPTH = 3, 5, 2, 8, 2, 4, 2
BLACK, WHITE = (-1.5, -2.0), (2.5, 1.0)


def logits(images, weights):
    for block in range(DEPTH):
        images = functional.conv2d(images, weights[f"kernel{block}"], weights[f"bias{block}"], padding=1)
        images = functional.group_norm(images, WIDTH, weights[f"scale{block}"], weights[f"shift{block}"])
        images = functional.avg_pool2d(functional.relu(images), 2)
    return images.permute(0, 2, 3, 1).flatten(1) @ weights["dense"] + weights["dense_bias"]


def kernel_gradients(images, label, weights):
    loss = functional.cross_entropy(logits(images, weights), torch.full((len(images),), label))
    return torch.autograd.grad(loss, [weights[f"kernel{block}"] for block in range(DEPTH)], create_graph=True)


def cut(images, factor):
    """Tiles at full size; those of an image follow one another."""
    side = images.shape[-1]
    missing = -side % factor
    padded = functional.pad(images, (0, missing, 0, missing), value=0.5)
    patch = padded.shape[-1] // factor
    found = []
    for image in padded:
        for i in range(factor):
            for j in range(factor):
                found.append(image[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch])
    return functional.interpolate(torch.stack(found), (side, side), mode="bilinear")


def shrunk(images, factor):
    """The images, shrunk to the shapes of the first tile and of the last."""
    side = images.shape[-1]
    patch = -(-side // factor)
    return [functional.interpolate(images, (size, size)) for size in (patch, side - (factor - 1) * patch)]


DISTANCES = {"mse": torch.square, "l1": torch.abs}


def main():
    rng = np.random.default_rng(0)
    stored = {
        "pixel_range": np.array([BLACK, WHITE]),
        "real": rng.uniform(size=(CLASSES, REAL, SIDE, SIDE, CHANNELS)),
        "pixels": rng.uniform(size=(CLASSES, IPC, SIDE, SIDE, CHANNELS)),
        "odd": rng.uniform(size=(4, 7, 7, CHANNELS)),
        "dense": rng.normal(size=(WIDTH * (SIDE // 2**DEPTH) ** 2, CLASSES)),
        "dense_bias": rng.normal(size=CLASSES),
    }
    for block in range(DEPTH):
        inputs = CHANNELS if block == 0 else WIDTH
        stored[f"kernel{block}"] = rng.normal(size=(3, 3, inputs, WIDTH)) / 3
        stored |= {f"{name}{block}": rng.normal(size=WIDTH) for name in ("bias", "scale", "shift")}
    weights = {}
    for name, value in stored.items():
        order = (3, 2, 0, 1) if name.startswith("kernel") else range(value.ndim)
        weights[name] = torch.tensor(value.transpose(order)).requires_grad_(name.startswith("kernel"))

    black, white = (torch.tensor(end, dtype=torch.float64)[:, None, None] for end in (BLACK, WHITE))
    real = black + (white - black) * torch.tensor(stored["real"]).permute(0, 1, 4, 2, 3)
    for factor in (1, 2):
        for name, of in DISTANCES.items():
            pixels = torch.tensor(stored["pixels"]).permute(0, 1, 4, 2, 3).requires_grad_(True)
            distances = []
            for label in range(CLASSES):
                target = kernel_gradients(real[label], label, weights)
                seen = black + (white - black) * cut(pixels[label], factor)
                own = kernel_gradients(seen, label, weights)
                pairs = zip(target, own, strict=True)
                distances.append(sum(of(a.detach() - b).sum() for a, b in pairs))
            sum(distances).backward()
            stored[f"{name}{factor}_distances"] = torch.stack(distances).detach().numpy()
            stored[f"{name}{factor}_gradient"] = pixels.grad.permute(0, 1, 3, 4, 2).numpy()

    odd = torch.tensor(stored["odd"]).permute(0, 3, 1, 2)
    for factor in (2, 3):
        stored[f"cut{factor}"] = cut(odd, factor).permute(0, 2, 3, 1).numpy()
        for which, images in zip(("first", "last"), shrunk(odd, factor), strict=True):
            stored[f"{which}{factor}"] = images.permute(0, 2, 3, 1).numpy()
    np.savez_compressed(Path(__file__).parents[2] / "tests" / "reference" / "idc.npz", **stored)


if __name__ == "__main__":
    main()
