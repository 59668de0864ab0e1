"""Golden values of gradient matching, made with PyTorch in float64 by differentiating twice.

    python experiments/golden/dc.py        writes tests/reference/dc.npz

Two blocks of a ConvNet of width 4 on 8x8x2 images, 3 classes, 18 real and 2 synthetic images each, no augmentation. For
each class the distance between the gradients of the parameters that its real and its synthetic images give, and the
gradient of the sum of distances with respect to the synthetic images:

    output  1 - cosine of each output of each layer, without 1-D parameters; with instance normalisation, the same with
            a filter that is dead, layer normalisation, and batch normalisation with given running averages
    mse cos squared difference, and 1 - cosine, of all parameters
    kernels_mse kernels_l1 kernels_l1_mean      of the kernels of convolutions alone

Besides, the running averages after one pass in training mode, and the statistics of that pass.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

CLASSES, REAL, IPC, SIDE, CHANNELS, WIDTH, DEPTH = 3, 18, 2, 8, 2, 4, 2
CASES = [("instance", "output"), ("dead", "output"), ("layer", "output"), ("batch", "output")] + [
    ("instance", metric) for metric in ("mse", "cos", "kernels_mse", "kernels_l1", "kernels_l1_mean")
]
EPSILON = 1e-6


def normalise(images, weights, block, norm, statistics=None):
    """`statistics` as (momentum, means, variances) puts batch normalisation in training mode and updates them."""
    scale, shift = (weights[f"{norm}_{name}{block}"] for name in ("scale", "shift"))
    if norm in ("instance", "dead"):
        return functional.group_norm(images, WIDTH, scale, shift)
    if norm == "layer":
        return functional.layer_norm(images, images.shape[1:], scale, shift)
    if statistics is None:
        mean, variance = weights[f"mean{block}"], weights[f"var{block}"]
        return functional.batch_norm(images, mean, variance, scale, shift, training=False)
    momentum, means, variances = statistics
    return functional.batch_norm(images, means[block], variances[block], scale, shift, True, momentum)


def logits(images, weights, norm, statistics=None):
    for block in range(DEPTH):
        images = functional.conv2d(images, weights[f"kernel{block}"], weights[f"bias{block}"], padding=1)
        images = functional.avg_pool2d(functional.relu(normalise(images, weights, block, norm, statistics)), 2)
    features = images.permute(0, 2, 3, 1).flatten(1)
    return features @ weights["kernel"].T + weights["bias"]


def trained(norm):
    """Names of the parameters of the network with this normalisation."""
    blocks = [f"{name}{block}" for block in range(DEPTH) for name in ("kernel", "bias")]
    return [
        *blocks,
        *(f"{norm}_{name}{block}" for block in range(DEPTH) for name in ("scale", "shift")),
        "kernel",
        "bias",
    ]


def one_minus_cosine(a, b):
    return (1 - (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1) + EPSILON)).sum()


def distance(metric, real, synthetic):
    pairs = list(zip(real, synthetic, strict=True))
    if metric == "output":
        return sum(one_minus_cosine(a.flatten(1), b.flatten(1)) for a, b in pairs if a.ndim > 1)
    if metric == "cos":
        return one_minus_cosine(*(torch.cat([leaf.flatten() for leaf in side]) for side in (real, synthetic)))
    if metric == "mse":
        return sum(((a - b) ** 2).sum() for a, b in pairs)
    pairs = [(a, b) for a, b in pairs if a.ndim == 4]
    reduce = {
        "kernels_mse": lambda d: (d**2).sum(),
        "kernels_l1": lambda d: d.abs().sum(),
        "kernels_l1_mean": lambda d: d.abs().flatten(1).mean(1).sum(),
    }[metric]
    return sum(reduce(a - b) for a, b in pairs)


def draw(rng):
    """Images and weights in the library's layout: the output axis last, images as height, width, channels."""
    stored = {
        "real": rng.normal(size=(CLASSES, REAL, SIDE, SIDE, CHANNELS)),
        "synthetic": rng.normal(size=(CLASSES, IPC, SIDE, SIDE, CHANNELS)),
    }
    for block in range(DEPTH):
        stored[f"kernel{block}"] = rng.normal(size=(3, 3, WIDTH if block else CHANNELS, WIDTH)) / 3
        stored |= {f"{name}{block}": rng.normal(size=WIDTH) for name in ("bias", "mean")}
        stored[f"var{block}"] = rng.uniform(0.5, 2, WIDTH)
        side = SIDE // 2**block
        for norm, shape in (("instance", (WIDTH,)), ("batch", (WIDTH,)), ("layer", (side, side, WIDTH))):
            stored |= {f"{norm}_{name}{block}": rng.normal(size=shape) for name in ("scale", "shift")}
        stored[f"dead_scale{block}"] = stored[f"instance_scale{block}"]
        stored[f"dead_shift{block}"] = stored[f"instance_shift{block}"].copy()
    stored["dead_shift0"][1] = -100.0
    side = SIDE // 2**DEPTH
    stored["kernel"] = rng.normal(size=(side * side * WIDTH, CLASSES)) / 4
    stored["bias"] = rng.normal(size=CLASSES)
    return stored


def as_torch(value):
    order = {5: (0, 1, 4, 2, 3), 4: (3, 2, 0, 1), 3: (2, 0, 1), 2: (1, 0)}.get(value.ndim, (0,))
    return torch.tensor(np.ascontiguousarray(value.transpose(order)))


def match(weights, norm, metric):
    names = trained(norm)
    parameters = {name: weights[name].clone().requires_grad_() for name in names}
    synthetic = weights["synthetic"].clone().requires_grad_()

    def gradient(images, label, **options):
        labels = torch.full((len(images),), label)
        loss = functional.cross_entropy(logits(images, {**weights, **parameters}, norm), labels)
        return torch.autograd.grad(loss, [parameters[name] for name in names], **options)

    distances = torch.stack(
        [
            distance(metric, gradient(weights["real"][label], label), gradient(images, label, create_graph=True))
            for label, images in enumerate(synthetic)
        ]
    )
    distances.sum().backward()
    return distances.detach().numpy(), synthetic.grad.permute(0, 1, 3, 4, 2).numpy()


def main():
    stored = draw(np.random.default_rng(0))
    weights = {name: as_torch(value) for name, value in stored.items()}
    for norm, metric in CASES:
        stored[f"{norm}_{metric}_distances"], stored[f"{norm}_{metric}_gradient"] = match(weights, norm, metric)
    first = weights["real"][:, :16].flatten(0, 1)
    for rule, momentum in (("faithful", 0.1), ("sensible", 1.0)):
        means, variances = ([weights[f"{name}{block}"].clone() for block in range(DEPTH)] for name in ("mean", "var"))
        logits(first, weights, "batch", (momentum, means, variances))
        for block in range(DEPTH):
            stored |= {f"{rule}_mean{block}": means[block].numpy(), f"{rule}_var{block}": variances[block].numpy()}
    np.savez_compressed(Path(__file__).parents[2] / "tests" / "reference" / "dc.npz", **stored)


if __name__ == "__main__":
    main()
