"""Golden values of one IDC sweep, made with PyTorch in float64: tiles, distances and their gradients in the pixels.

    python experiments/golden/idc.py        writes tests/reference/idc.npz

Two blocks of a ConvNet of width 4 with instance normalisation on 8x8x2 images, 3 classes, 5 real and 2 stored images
each, no augmentation; formation 2 and 1; two distances between the gradients of the convolution kernels. Then
images of 7x7 cut up and shrunk by 2 and 3, which do not divide that. Then tiles of several sizes: by all factors up to
3, and by 3 for as many images as leave room for the others under a bound, with the slope of a weighted sum of them;
sweeps that match gradients of such tiles, and means of features.
"""

from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CLASSES, REAL, IPC, SIDE, CHANNELS, WIDTH, DEPTH = 3, 5, 2, 8, 2, 4, 2
BLACK, WHITE = (-1.5, -2.0), (2.5, 1.0)


def features(images, weights):
    """The last block's map, before its pooling and after it."""
    maps = None
    for block in range(DEPTH):
        images = functional.conv2d(images, weights[f"kernel{block}"], weights[f"bias{block}"], padding=1)
        images = functional.group_norm(images, WIDTH, weights[f"scale{block}"], weights[f"shift{block}"])
        maps = functional.relu(images)
        images = functional.avg_pool2d(maps, 2)
    return {"map": maps, "embedding": images}


def logits(images, weights):
    images = features(images, weights)["embedding"]
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


def cut_all(images, factor):
    """The tiles by all factors up to this one."""
    return torch.cat([cut(image[None], each) for image in images for each in range(1, factor + 1)])


def cut_bounded(images, factor, bound):
    """As many images as possible by this factor, others by smaller ones, at most `bound` tiles."""
    room, left, start, made, found = bound - len(images), len(images), 0, 0, []
    for each in range(factor, 0, -1):
        taken = min(room // each**2, left) if each > 1 else left
        found.append(cut(images[start : start + taken], each) if taken else images[:0])
        start, left, made = start + taken, left - taken, made + taken * each**2
        room = bound - made - left
        if not left:
            break
    return torch.cat(found)


def shrunk(images, factor):
    """The images, shrunk to the shapes of the first tile and of the last."""
    side = images.shape[-1]
    patch = -(-side // factor)
    return [functional.interpolate(images, (size, size)) for size in (patch, side - (factor - 1) * patch)]


def matched(weights, distance, label, real, seen):
    """A distance of the gradients of kernels."""
    pairs = zip(kernel_gradients(real, label, weights), kernel_gradients(seen, label, weights), strict=True)
    return sum(DISTANCES[distance](a.detach() - b).sum() for a, b in pairs)


def means_apart(weights, name, _, real, seen):
    """Squared differences of the means of features."""
    target = features(real, weights)[name].detach().mean(0)
    return (target - features(seen, weights)[name].mean(0)).square().sum()


def sweep(pixels, real, distance, view, name):
    """Distances of each class, and the gradient of their sum, under a name."""
    black, white = (torch.tensor(end, dtype=torch.float64)[:, None, None] for end in (BLACK, WHITE))
    pixels = torch.tensor(pixels).permute(0, 1, 4, 2, 3).requires_grad_(True)
    distances = torch.stack(
        [distance(label, real[label], black + (white - black) * view(pixels[label])) for label in range(CLASSES)]
    )
    distances.sum().backward()
    gradient = pixels.grad.permute(0, 1, 3, 4, 2).numpy()
    return {f"{name}_distances": distances.detach().numpy(), f"{name}_gradient": gradient}


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
    views = {
        "1": lambda images: cut(images, 1),
        "2": lambda images: cut(images, 2),
        "multi": lambda images: cut_all(images, 2),
        "bound": lambda images: cut_bounded(images, 2, 6),
    }
    for (view, of), distance in product(views.items(), DISTANCES):
        stored |= sweep(stored["pixels"], real, partial(matched, weights, distance), of, f"{distance}{view}")
    for name in ("embedding", "map"):
        stored |= sweep(stored["pixels"], real, partial(means_apart, weights, name), views["2"], name)

    odd = torch.tensor(stored["odd"]).permute(0, 3, 1, 2)
    for factor in (2, 3):
        stored[f"cut{factor}"] = cut(odd, factor).permute(0, 2, 3, 1).numpy()
        for which, images in zip(("first", "last"), shrunk(odd, factor), strict=True):
            stored[f"{which}{factor}"] = images.permute(0, 2, 3, 1).numpy()

    for name, of in {
        "multi3": lambda images: cut_all(images, 3),
        **{f"bound{most}": lambda images, most=most: cut_bounded(images, 3, most) for most in (12, 22, 40)},
    }.items():
        images = odd.clone().requires_grad_(True)
        tiles = of(images)
        factors = rng.normal(size=tuple(tiles.permute(0, 2, 3, 1).shape))
        (tiles * torch.tensor(factors).permute(0, 3, 1, 2)).sum().backward()
        stored[name], stored[f"{name}_weights"] = tiles.detach().permute(0, 2, 3, 1).numpy(), factors
        stored[f"{name}_gradient"] = images.grad.permute(0, 2, 3, 1).numpy()
    np.savez_compressed(Path(__file__).parents[2] / "tests" / "reference" / "idc.npz", **stored)


if __name__ == "__main__":
    main()
