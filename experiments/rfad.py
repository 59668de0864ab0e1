"""RFAD beside the set that its authors released, in their whitened space and under one judge.

    python experiments/rfad.py --data-dir DIR --released FOLDER [--ipc 1] [--steps 300] [--kernel rfad4x32]

CIFAR-10's images are normalised by their own statistics and whitened with a tenth of the mean eigenvalue, as the
released code does it. A set is learned from one random start, and judged beside the released set of as many images
(``cifar10_1.npz`` in the folder), by ridge regression with random features on all test images, with the paper's
penalty; so are as many random real images, others for each seed. Networks of one seed are the same for all.
"""

import argparse
import json
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxdistill.augment import make as make_augment
from jaxdistill.common.sets import centred
from jaxdistill.data.feeds import RealData, real_data, sample
from jaxdistill.data.source import load
from jaxdistill.kernels import make as make_kernel
from jaxdistill.kernels.gram import gram
from jaxdistill.losses.ridge import coefficients, precisely
from jaxdistill.methods.rfad import RFAD, rfad
from jaxdistill.networks import make as make_network
from jaxdistill.selection import SELECTIONS
from jaxdistill.types import SyntheticSet, Task

PENALTY, CLASSES, SHAPE, BATCH = 5e-3, 10, (32, 32, 3), 500


def whitened(train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both splits in the space of the released sets, flattened in their order and back."""
    flat = [split.astype(np.float32).transpose(0, 3, 1, 2) for split in (train, test)]
    mean, deviation = flat[0].mean((0, 2, 3), keepdims=True), flat[0].std((0, 2, 3), keepdims=True)
    flat = [((split - mean) / deviation).reshape(len(split), -1) for split in flat]
    covariance = flat[0].T @ flat[0] / len(flat[0])
    values, vectors = np.linalg.eigh(covariance.astype(np.float64))
    values = np.maximum(values, 0) + 0.1 * np.trace(covariance) / len(covariance)
    whiten = ((vectors / np.sqrt(values)) @ vectors.T).astype(np.float32)
    return tuple((split @ whiten).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) for split in flat)  # pyright: ignore


def judged(sets: dict[str, list[SyntheticSet]], test: RealData, name: str, seeds: int) -> dict[str, np.ndarray]:
    """Accuracy in percent of each set by each seed's networks, the same for all sets of a seed."""
    kernel, found = make_kernel(name, SHAPE), {what: [] for what in sets}
    prepare = jax.jit(kernel.prepare)

    @precisely
    def factors(rows, labels):
        return coefficients(gram(kernel, rows, rows), labels, PENALTY)

    for seed in range(seeds):
        key = jax.random.key(1000 + seed)
        right = {what: 0 for what in sets}
        learned = {}
        for what, several in sets.items():
            made = several[seed % len(several)]
            rows = prepare(key, made.images)
            learned[what] = rows, factors(rows, centred(made))
        for start in range(0, test.count, BATCH):
            batch = test.read(np.arange(start, start + BATCH))
            rows = prepare(key, batch.images)
            for what, (support, weights) in learned.items():
                predicted = kernel.gram(rows, support) @ weights
                right[what] += int((jnp.argmax(predicted, -1) == batch.labels).sum())
        for what, count in right.items():
            found[what].append(100 * count / test.count)
    return {what: np.array(accuracies) for what, accuracies in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir")
    parser.add_argument("--released", required=True)
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--kernel", default="rfad4x32")
    parser.add_argument("--judge", default="rfad8x64")
    parser.add_argument("--real-batch", type=int, default=1_280)
    parser.add_argument("--image-lr", type=float, default=0.01)
    parser.add_argument("--transform-lr", type=float, default=5e-4)
    parser.add_argument("--seeds", type=int, default=2)
    args = parser.parse_args()

    source = load("cifar10", args.data_dir)
    train, test = whitened(source.train_images, source.test_images)
    scale, shift = np.ones(3), np.zeros(3)
    train = real_data(train, source.train_labels, CLASSES, scale, shift)
    test = real_data(test, source.test_labels, CLASSES, scale, shift)
    with np.load(f"{args.released}/cifar10_{args.ipc}.npz") as file:
        images, labels = file["images"].transpose(0, 2, 3, 1), file["labels"]
    released = SyntheticSet(jnp.asarray(images), jnp.asarray(labels), label_kind="target")

    task = Task(
        network=make_network("mlp", SHAPE, CLASSES), augment=make_augment("none"), image_shape=SHAPE,
        num_classes=CLASSES, kernel=make_kernel(args.kernel, SHAPE),
    )  # fmt: skip
    config = RFAD(image_lr=args.image_lr, transform_lr=args.transform_lr, real_batch=args.real_batch)
    method = rfad(config, task)
    random = [SELECTIONS["random"](jax.random.key(seed), train, args.ipc) for seed in range(args.seeds)]
    state, step, began = method.init(jax.random.key(0), random[0]), jax.jit(method.step), time.process_time()
    for i in range(args.steps):
        key_feed, key = jax.random.split(jax.random.fold_in(jax.random.key(2), i))
        state, info = step(key, state, jax.tree.map(jnp.asarray, sample(method.feed, key_feed, i, train)))
        if i % 20 == 0 or i + 1 == args.steps:
            print(f"step {i}: loss {info.loss:.3f}, accuracy {100 * info.accuracy:.1f}", flush=True)
    seconds = time.process_time() - began
    sets = {"ours": [method.synthetic(state)], "released": [released], "random": random}
    found = judged(sets, test, args.judge, args.seeds)
    said = {what: f"{numbers.mean():.1f} ± {numbers.std():.1f}" for what, numbers in found.items()}
    print(json.dumps({**said, "cpu_seconds": round(seconds)}))


if __name__ == "__main__":
    main()
