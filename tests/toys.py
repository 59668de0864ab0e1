"""Small problems that tests share."""

import numpy as np

from jaxdistill.data.feeds import real_data

CLASSES, SIDE = 4, 8


def make_toy():
    """A 4-class task of noisy 8x8 patterns, of which a tiny network learns something: (train, test) as RealData."""
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(CLASSES, SIDE, SIDE, 1))

    def split(per_class):
        labels = np.repeat(np.arange(CLASSES), per_class)
        images = (patterns[labels] + 0.7 * rng.normal(size=(len(labels), SIDE, SIDE, 1))).astype(np.float32)
        return real_data(images, labels, CLASSES, np.ones(1), np.zeros(1))

    return split(12), split(25)
