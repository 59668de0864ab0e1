"""Step size and epochs for random images under DD's recipe, chosen on training images held out.

    python experiments/dd_baseline.py --dataset digits --ipc 10
    python experiments/dd_baseline.py --dataset fashion_mnist --ipc 10 --data-dir ~/tfds

Over the grid that the paper searched, with the network of the data set's preset: mean accuracy in % on a quarter of the
training images (2,000 at the most) that the random images are not drawn from. The defaults of
`jaxdistill.evaluation.protocol.InOrder` come from here; the test split is not touched.
"""

from __future__ import annotations

import argparse

import jax
import numpy as np

from jaxdistill.data.feeds import real_data
from jaxdistill.data.preprocess import STATISTICS, fit
from jaxdistill.data.source import load
from jaxdistill.evaluation import InOrder, evaluate
from jaxdistill.methods.dd import DD
from jaxdistill.networks import make as make_network
from jaxdistill.presets import find
from jaxdistill.selection import SELECTIONS

RATES = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
EPOCHS = (1, 3, 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--ipc", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=8)
    given = parser.parse_args()
    source = load(given.dataset, given.data_dir)
    classes, shape = len(source.class_names), source.train_images.shape[1:]
    fitted = fit(source.train_images, statistics=STATISTICS.get(source.name))
    order = np.random.default_rng(0).permutation(len(source.train_images))
    held_out = min(len(order) // 4, 2_000)
    train, test = (
        jax.device_put(
            real_data(
                source.train_images[chosen],
                source.train_labels[chosen],
                classes,
                *fitted.affine(source.train_images.dtype),
                complete=False,
            )
        )
        for chosen in (order[held_out:], order[:held_out])
    )
    options = dict(find(DD, given.dataset, given.ipc).network)
    network = make_network(options.pop("network", "convnet"), shape, classes, **options)
    sets = [SELECTIONS["random"](jax.random.key(i), train, given.ipc) for i in range(given.seeds)]
    print("| step size |" + "".join(f" {epochs} epochs |" for epochs in EPOCHS))
    print("|---" * (len(EPOCHS) + 1) + "|")
    for rate in RATES:
        recipes = (InOrder(epochs, rate) for epochs in EPOCHS)
        found = [evaluate(jax.random.key(0), sets, network, test, recipe, seeds=given.seeds) for recipe in recipes]
        print(f"| {rate} |" + "".join(f" {100 * one.mean:.1f} ± {100 * one.std:.1f} |" for one in found))


if __name__ == "__main__":
    main()
