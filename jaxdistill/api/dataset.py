"""A data set as notebooks hold it: read once, preprocessed as each method wants it."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxdistill.api.given import in_python
from jaxdistill.commands.workspace import Bench, open_bench, task
from jaxdistill.common import names
from jaxdistill.data.check import Source, checked, from_arrays, hold_out
from jaxdistill.data.digest import digests_of
from jaxdistill.data.feeds import RealData
from jaxdistill.data.preprocess import Preprocess
from jaxdistill.data.source import load as read
from jaxdistill.errors import UsageError
from jaxdistill.io.artifact import Stored
from jaxdistill.io.pictures import grid, img, png
from jaxdistill.settings.cell import named
from jaxdistill.settings.config import DataConfig, NetworkConfig, RunConfig
from jaxdistill.settings.paths import place
from jaxdistill.settings.spelling import known_name
from jaxdistill.settings.unread import check_networks_read
from jaxdistill.types import SyntheticSet, Task

__all__ = ["NOWHERE", "Dataset", "load"]

NOWHERE = RunConfig(Path("unsaved"))
"""Of what has no folder."""
_SHOWN = 10


class Dataset:
    """Training and test images with their labels, and what jaxdistill's functions take of them.

    Make one with `load` (by name) or `Dataset.from_arrays`. Nothing here is preprocessed: each run does that by its
    method's published settings.

    Attributes:
        source: the arrays: ``train_images [n, h, w, c]`` (uint8, or float32 in [0, 1]), ``train_labels [n]``, and
            ``test_images`` and ``test_labels`` likewise.
        config: its name, by which published statistics and settings are found, and where it lies.
    """

    def __init__(self, source: Source, config: DataConfig):
        self.source, self.config = source, config

    @classmethod
    @in_python
    def from_arrays(
        cls,
        x_train: Any,
        y_train: Any,
        x_test: Any = None,
        y_test: Any = None,
        *,
        class_names: Sequence[str] | None = None,
        name: str = "arrays",
    ) -> Dataset:
        """A data set of arrays.

        Args:
            x_train: images ``[n, h, w]`` or ``[n, h, w, c]``: integers in 0..255, or floats in [0, 1].
            y_train: classes from 0 on, without gaps.
            x_test: test images, likewise; without any, every fifth image of each class is for testing.
            y_test: their classes.
            class_names: what the classes are called; by default their numbers.
            name: what the data set is called. A known one (``cifar10``) has published statistics and settings.

        Raises:
            UsageError: for arrays that cannot be used.
        """
        name = names.dataset(name)
        try:
            arrays: list[Any] = [None if one is None else np.asarray(one) for one in (x_train, y_train, x_test, y_test)]
        except ValueError as error:  # NumPy's, of what is no array
            raise UsageError(" ".join(str(error).split())) from None
        source = checked(from_arrays(name, *arrays))
        if x_test is not None and np.array_equal(source.train_images, source.test_images):
            raise UsageError("the test images are the training images; give others, or none: then some are set aside")
        if class_names is not None:
            if len(class_names) != len(source.class_names):
                raise UsageError(f"{len(class_names)} class names were given for {len(source.class_names)} classes")
            if len({*map(str, class_names)}) < len(class_names):
                raise UsageError("two classes have one name; give each its own")
            source = source._replace(class_names=tuple(map(str, class_names)))
        return cls(source, DataConfig(name))

    @property
    def name(self) -> str:
        """What it is called."""
        return self.source.name

    @property
    def known_as(self) -> str:
        """The name by which published statistics and settings are found."""
        return named(self.config.dataset, self.config.classes)

    def located(self, config: DataConfig) -> DataConfig:
        """A configuration of data whose source is this one's."""
        where = {name: getattr(self.config, name) for name in ("data_dir", "classes", "phase", "size")}
        return dataclasses.replace(config, **where)

    @property
    def class_names(self) -> tuple[str, ...]:
        """What the classes are called, in the order of their numbers."""
        return self.source.class_names

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.source.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        h, w, c = self.source.train_images.shape[1:]
        return h, w, c

    @cached_property
    def bench(self) -> Bench:
        """The data on the devices, normalised by the data set's published statistics, or else by its own."""
        return open_bench(self.config, None, self.source)

    @property
    def train(self) -> RealData:
        """The training split on the devices, as the pure functions of jaxdistill take it."""
        return self.bench.train

    @property
    def test(self) -> RealData:
        """The test split on the devices, as `jaxdistill.evaluation.evaluate` takes it."""
        return self.bench.test

    @property
    def preprocess(self) -> Preprocess:
        """What the images of `train` and `test` went through."""
        return self.bench.preprocess

    @in_python
    def task(self, network: str = "convnet", *, augment: str = "default", **options: Any) -> Task:
        """What a method is told of this data set: network, augmentation, shapes.

        Args:
            network: its name.
            augment: what images are augmented by; ``"default"`` is the data set's DSA strategy, ``"none"`` is none.
            options: of the network: ``width depth norm activation pooling initial kernel``.

        Raises:
            UsageError: for a name or an option that there is not.
        """
        known = [field.name for field in dataclasses.fields(NetworkConfig)]
        if unknown := next((name for name in options if name not in known), None):
            raise UsageError(f"a network has no option '{unknown}'; it has {', '.join(known)}")
        check_networks_read(network, options)
        told = task(NetworkConfig(network, **options), augment, self.bench, NOWHERE, 0)
        return dataclasses.replace(told, steps=None)

    @in_python
    def hold_out(self, share: float = 0.1) -> Dataset:
        """A data set whose test images are a share of this one's training images, for choosing settings.

        The test images of this one are not in it at all.

        Args:
            share: of each class, spread evenly over its images; the others are for training.

        Raises:
            UsageError: for a share that leaves a class without images.
        """
        if not 0 < share < 1:
            raise UsageError(f"hold out a share between 0 and 1, not {share}")
        kept, aside = hold_out(self.source, share)
        source = kept._replace(test_images=aside.train_images, test_labels=aside.train_labels)
        return Dataset(source, self.config)

    @in_python
    def wrap(self, synthetic: SyntheticSet, method: str = "mine") -> Stored:
        """A set of one's own with all that belongs to it, so that it can be shown, saved and evaluated.

        Args:
            synthetic: images in the space of `train`, class by class.
            method: what made it, in a word.

        Raises:
            UsageError: if it is not of this data set's shape.
        """
        (h, w, c), classes = synthetic.images.shape[1:], synthetic.labels.shape[-1]
        shape = (h // synthetic.canvas, w // synthetic.canvas, c)
        if (shape, classes) != (self.image_shape, self.num_classes) or synthetic.count % classes:
            raise UsageError(
                f"a set of {self.name} has as many images of shape {self.image_shape} for each of {self.num_classes} "
                f"classes; this one has {synthetic.count} of shape {shape} and {classes} classes"
            )
        card = {
            "method": method,
            "dataset": self.config.dataset,
            "class_names": list(self.class_names),
            "digests": dataclasses.asdict(digests_of(self.source)),
            **self.config.taken,
            "ipc": synthetic.count // classes,
            "num_classes": classes,
            "image_shape": list(shape),
        }
        made = Stored(synthetic, self.preprocess, card)
        if problem := made.problem():
            raise UsageError(f"this set cannot be used: {problem}")
        return made

    def show(self) -> Image.Image:
        """The first training images of each class as one picture; a notebook draws it."""
        images, labels = self.source.train_images, self.source.train_labels
        rows = np.stack([np.resize(np.flatnonzero(labels == label), _SHOWN) for label in range(self.num_classes)])
        shown = images[rows.ravel()].astype(np.float32)
        return Image.fromarray(grid(shown / 255 if images.dtype == np.uint8 else shown, self.num_classes))

    def __repr__(self) -> str:
        h, w, c = self.image_shape
        counts = f"{len(self.source.train_labels):,} training and {len(self.source.test_labels):,} test images"
        return f"<{self.name}: {counts} of {h}x{w}x{c}, {self.num_classes} classes>"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self)[1:-1])}</p>{img(png(np.asarray(self.show())), 'images of each class')}"


@in_python
def load(
    name: str | Path,
    data_dir: str | Path | None = None,
    *,
    classes: str | None = None,
    phase: int | None = None,
    size: int | None = None,
) -> Dataset:
    """Read a data set.

    Args:
        name: ``digits`` (built in), an image data set of TFDS, an ``.npz`` with ``x_train y_train x_test y_test``, or a
            folder with one sub-folder of images for each class, or with such folders in ``train`` and ``test``. Where
            there is no test split, every fifth image of each class is for testing.
        data_dir: where TFDS keeps its data sets.
        classes: which of a folder of ImageNet's classes, called by their ids: ``"imagewoof"``, ``"imagenette"``,
            ``"imagenet10"`` or ``"imagenet100"``.
        phase: twenty of ``"imagenet100"`` at a time, from 0 to 4; see `jaxdistill.join`.
        size: side that a folder's images are brought to, cut out of their middle.

    Raises:
        UsageError: if it cannot be found, read or used.

    Example:
        >>> load("digits")
        <digits: 1,442 training and 355 test images of 8x8x1, 10 classes>
    """
    config = DataConfig(
        place(str(name)), None if data_dir is None else str(data_dir),
        classes=classes if classes is None else known_name("classes", classes), phase=phase, size=size,
    )  # fmt: skip
    return Dataset(read(config.dataset, config.data_dir, **config.taken), config)
