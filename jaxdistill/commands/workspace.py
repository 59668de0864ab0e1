"""Where names become things: data on devices, networks, augmentations, starting sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxdistill import augment
from jaxdistill.data import preprocess as preprocessing
from jaxdistill.data.check import hold_out
from jaxdistill.data.digest import Digests, digests_of, mismatch
from jaxdistill.data.feeds import RealData, real_data
from jaxdistill.data.imagenet import by_ids
from jaxdistill.data.preprocess import Preprocess
from jaxdistill.data.source import Source, load
from jaxdistill.diffusion import make
from jaxdistill.engine.devices import make_mesh, replicate, spread
from jaxdistill.engine.host_batches import require_grain
from jaxdistill.errors import UsageError
from jaxdistill.io import artifact
from jaxdistill.io.generators import GeneratorError, StoredGenerator
from jaxdistill.kernels import make as make_kernel
from jaxdistill.networks import full_name, members
from jaxdistill.networks import make as make_network
from jaxdistill.settings.config import DataConfig, GeneratorConfig, NetworkConfig, RunConfig
from jaxdistill.settings.starts import STARTS
from jaxdistill.types import Augment, Generator, Key, Network, SyntheticSet, Task

__all__ = [
    "Bench",
    "at_once",
    "augmentation",
    "class_ids_of",
    "generator_of",
    "keys",
    "networks",
    "only_network",
    "open_bench",
    "start",
    "start_from",
    "task",
]


PURPOSES = ("start", "method", "loop", "evaluation")


class Bench(NamedTuple):
    """The data of a run, where they are used, and the devices."""

    source: Source
    preprocess: Preprocess
    train: RealData
    """On the devices, or on the host if `on_host`."""
    test: RealData
    mesh: Mesh
    on_host: bool
    digests: Digests
    """Which data they are."""
    held_out: RealData | None = None
    """Training images that are set aside, on the devices."""
    whole: Source | None = None
    """The data with what is set aside, where something is."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Height, width, channels."""
        return tuple(self.source.train_images.shape[1:])

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.source.class_names)

    @property
    def pixel_range(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """Black and white in preprocessed space, by channel; None for whitened images."""
        if self.preprocess.whiten is not None:
            return None
        black, white = (np.asarray(end, np.float64).tolist() for end in self.train.pixel_range)
        return tuple(black), tuple(white)


def open_bench(data: DataConfig, stored: Preprocess | None = None, source: Source | None = None) -> Bench:
    """Read the data, fit (or take over) the preprocessing, and place both splits.

    Args:
        data: which data.
        stored: preprocessing of a finished set, which then applies to the data too.
        source: the data, where they have been read.
    """
    source = source or load(data.dataset, data.data_dir, **data.taken)
    whole, aside = (source, None) if data.hold_out else (None, None)
    if whole is not None:
        source, aside = hold_out(whole, data.hold_out)
    wanted = stored.center.size if stored is not None and stored.center is not None else source.train_images[0].size
    if wanted != source.train_images[0].size:
        raise UsageError(f"the whitening is of images of {wanted} numbers, and those of {source.name} have others")
    constants, channels = preprocessing.constants(data.statistics, source.name), source.train_images.shape[-1]
    if constants is not None and data.statistics != "default" and len(constants[0]) != channels:
        raise UsageError(
            f"the statistics of {data.statistics} are of {len(constants[0])} channels, and the images of {source.name} "
            f"have {channels}; choose others"
        )
    fitted = stored or preprocessing.fit(source.train_images, statistics=constants, zca=data.zca)
    mesh = make_mesh()
    train = _split(source.train_images, source.train_labels, source, fitted)
    test = _split(source.test_images, source.test_labels, source, fitted, complete=False)
    on_host = train.images.nbytes > data.max_device_gib * 2**30
    if on_host:
        require_grain()
    placed = (train if on_host else replicate(train, mesh), replicate(test, mesh))
    held_out = None
    if aside is not None:
        held_out = replicate(_split(aside.train_images, aside.train_labels, source, fitted), mesh)
    return Bench(source, fitted, *placed, mesh, on_host, digests_of(source), held_out, whole)


def _split(
    images: np.ndarray, labels: np.ndarray, source: Source, fitted: Preprocess, *, complete: bool = True
) -> RealData:
    if fitted.whiten is None:
        scale, shift = fitted.affine(images.dtype)
    else:
        images = np.asarray(fitted.apply(images))
        scale, shift = np.ones(images.shape[-1]), np.zeros(images.shape[-1])
    return real_data(images, labels, len(source.class_names), scale, shift, complete=complete)


def keys(seed: int) -> dict[str, Key]:
    """An independent key for each purpose of a run."""
    return dict(zip(PURPOSES, jax.random.split(jax.random.key(seed), len(PURPOSES)), strict=True))


def on_cpu(mesh: Mesh) -> bool:
    """Whether entries side by side gain nothing."""
    return mesh.devices.flat[0].platform == "cpu"


def at_once(wanted: int | None, count: int, image_shape: tuple[int, int, int], width: int, mesh: Mesh) -> int:
    """How many classes (or networks) run side by side on a device: what was asked for, or what should fit.

    On an accelerator all of them, as far as three maps of the first layer for 256 images of each take under 8 GiB.

    Args:
        wanted: what was asked for; None leaves it to the device.
        count: how many there are.
        image_shape: ``(h, w, c)``.
        width: channels of the network's first layer.
        mesh: the devices that share them.
    """
    if wanted is not None or on_cpu(mesh):
        return wanted or 1
    taken = 3 * 256 * image_shape[0] * image_shape[1] * width * 4
    return max(1, min(count, 8 * 2**30 // taken))


def networks(
    spec: str, config: NetworkConfig, bench: Bench, shape: tuple[int, int, int] | None = None
) -> dict[str, Network]:
    """The networks of a comma-separated list, by name, all with the options of `config`.

    Args:
        spec: names, separated by commas, of pools too.
        config: the options.
        bench: the data, for shapes.
        shape: of the images that they see, where that is not the data's.
    """
    options = dataclasses.asdict(config)
    del options["network"], options["kernel"]
    names = [full_name(name) for name in members(spec)]
    if not names:
        raise UsageError("name at least one network; 'jaxdistill list' names them all")
    return {name: make_network(name, shape or bench.image_shape, bench.num_classes, **options) for name in names}


def only_network(config: NetworkConfig, bench: Bench) -> Network:
    """The one network of `config`."""
    found = list(networks(config.network, config, bench).values())
    if len(found) > 1:
        raise UsageError("give --network one network; several to judge the result go to --eval-network")
    return found[0]


def augmentation(name: str, bench: Bench) -> Augment:
    """An augmentation by name; ``default`` is the data set's DSA strategy. Some are told black and white, or all that
    the images went through."""
    found = augment.make(augment.for_dataset(name, bench.source.name))
    if isinstance(found, augment.Pixels):
        return dataclasses.replace(found, preprocess=bench.preprocess)
    if not isinstance(found, augment.Photo):
        return found
    if bench.pixel_range is None:
        raise UsageError(f"{name} changes colours between black and white, which whitening leaves; leave --zca out")
    return dataclasses.replace(found, pixel_range=bench.pixel_range)


def task(
    network: NetworkConfig,
    augment_name: str,
    bench: Bench,
    run: RunConfig,
    steps: int,
    generator: Callable[[], Generator] | None = None,
) -> Task:
    """What a method is told.

    Args:
        network: the network's options.
        augment_name: the augmentation's name.
        bench: the data.
        run: how many run side by side.
        steps: of the whole run, for schedules.
        generator: makes one, for methods that train it.
    """
    size = at_once(run.parallel_classes, bench.num_classes, bench.image_shape, network.width, bench.mesh)
    return Task(
        network=only_network(network, bench),
        augment=augmentation(augment_name, bench),
        image_shape=bench.image_shape,
        num_classes=bench.num_classes,
        map_classes=spread(bench.mesh, size),
        kernel=None if network.kernel is None else make_kernel(network.kernel, bench.image_shape),
        generator=generator,
        steps=steps,
        pixel_range=bench.pixel_range,
        map_blocks=spread(bench.mesh, 1),
    )


def start(
    key: Key,
    init: str,
    bench: Bench,
    ipc: int,
    per_start: int,
    inputs: Callable[[str], Any],
    *,
    other_data: bool = False,
) -> SyntheticSet:
    """What a method starts from: a selection by name (of `per_start` images for each one that is to be), or a finished
    set, brought into this run's preprocessed space; `other_data` takes one that was made for other data, too.

    Args:
        key: of the draw.
        init: a selection's name, or where a set lies.
        bench: the data.
        ipc: images per class of the set that is to be.
        per_start: `Method.images_per_start`.
        inputs: gives what a selection goes by, by name.
        other_data: take a set of other data.
    """
    if init in STARTS or not Path(init).exists():
        smallest = int(np.asarray(bench.train.counts).min())
        if per_start > 1 and ipc * per_start > smallest:
            raise UsageError(
                f"each of {ipc} images per class is begun with {per_start}, but the smallest class has {smallest}; "
                f"take an --ipc of at most {smallest // per_start} or a smaller --factor (or --texture-canvas), "
                "whichever goes"
            )
        given = inputs(init)  # which knows whether there is such a selection
        return STARTS[init](key, bench.train, ipc * per_start, given)
    return start_from(artifact.load_set(Path(init)), f"the set in {init}", bench, ipc, per_start, other_data=other_data)


def start_from(
    stored: artifact.Stored, called: str, bench: Bench, ipc: int, per_start: int, *, other_data: bool = False
) -> SyntheticSet:
    """A finished set as what a method starts from, in this run's preprocessed space.

    Args:
        stored: the set.
        called: what messages call it.
        bench: data.
        ipc: images per class of the run.
        per_start: whole images for each one that is to be; see `jaxdistill.types.Method`.
        other_data: take one that was made for other data, too.

    Raises:
        UsageError: if it does not fit.
    """
    images = stored.synthetic.images
    if len({*stored.counts}) > 1:
        raise UsageError(
            f"{called} has {min(stored.counts)} to {max(stored.counts)} images of a class, and methods need as many of "
            "each; start from a set that was made with --ipc"
        )
    canvas, (h, w, c) = stored.synthetic.canvas, bench.image_shape
    if canvas > 1 and per_start != canvas**2:
        raise UsageError(
            f"{called} has canvases of {canvas}x{canvas} images; start a method that learns textures from it, with "
            f"--texture-canvas {canvas}"
        )
    tiles = per_start if stored.synthetic.tiles == 1 else 1
    expected = (bench.num_classes * ipc * tiles, h * canvas, w * canvas, c)
    if images.shape != expected or stored.synthetic.labels.shape[1] != bench.num_classes:
        raise UsageError(
            f"{called} has images of shape {tuple(images.shape)}, but this run needs {expected}; "
            f"start from a set of the same data set and ipc{f', or {tiles} times the ipc' if tiles > 1 else ''}"
        )
    if not other_data and (problem := mismatch(stored.card, bench.digests, bench.source.class_names)):
        aside = "" if bench.held_out is None else " with as much held out (--hold-out)"
        raise UsageError(
            f"{called} was made for other data ({problem}); start from one of this data set{aside}, or add "
            "--other-data if that is meant"
        )
    images = bench.preprocess.apply(stored.preprocess.invert(images))
    return dataclasses.replace(stored.synthetic, images=jnp.asarray(images))


def class_ids_of(config: GeneratorConfig, stored: StoredGenerator, bench: Bench) -> tuple[int, ...]:
    """What a generator calls each class of the data: what `class_ids` says, or where classes and labels both are called
    by ImageNet's ids, what these say, whatever the order of either; empty where neither does.

    Args:
        config: its options.
        stored: the generator.
        bench: the data.

    Raises:
        GeneratorError: if `class_ids` say otherwise, or the generator does not know a class.
    """
    names, labels = bench.source.class_names, stored.label_names
    if labels is None or not by_ids(names) or not by_ids(labels):
        return config.class_ids
    if lacking := next((name for name in names if name not in labels), None):
        raise GeneratorError(
            f"the generator in {stored.folder} knows no class {lacking}; choose another, or other classes"
        )
    found = tuple(labels.index(name) for name in names)
    for name, given, right in zip(names, config.class_ids, found, strict=False):
        if given != right:
            raise GeneratorError(
                f"--class-ids calls {name} {given}, and the generator in {stored.folder} calls it {right}; leave "
                "--class-ids out, since both go by ImageNet's ids"
            )
    return found


def generator_of(
    config: GeneratorConfig, stored: StoredGenerator | None, bench: Bench, *, other_data: bool = False
) -> Generator:
    """The generator of a run; `other_data` takes one that was trained on other images, too.

    Args:
        config: its options.
        stored: one that was trained before; None makes a fresh one.
        bench: the data.
        other_data: take one that was trained on other images.

    Raises:
        UsageError: if it does not fit the data.
    """
    if stored is None:
        if config.class_ids:
            raise GeneratorError("--class-ids names classes of a generator that is there; give --generator too")
        return make(config.architecture, bench.image_shape, bench.pixel_range, bench.num_classes)
    if stored.architecture != config.architecture:
        raise GeneratorError(f"the generator in {stored.folder} has another architecture; leave its options out")
    if stored.image_shape != bench.image_shape:
        ours, theirs = ("x".join(map(str, shape)) for shape in (bench.image_shape, stored.image_shape))
        raise GeneratorError(f"the generator in {stored.folder} draws images of {theirs}, the data set has {ours}")
    class_ids = class_ids_of(config, stored, bench)
    if len(class_ids or range(stored.classes)) != bench.num_classes:
        raise GeneratorError(
            f"the data set has {bench.num_classes} classes, the generator in {stored.folder} has {stored.classes}; say "
            "with --class-ids which of them each is"
        )
    if not set(class_ids) <= set(range(stored.classes)) or len(set(class_ids)) < len(class_ids):
        raise GeneratorError(f"--class-ids are numbers from 0 to {stored.classes - 1}, a different one for each class")
    problem = mismatch(stored.card, bench.digests, bench.source.class_names)
    if problem and not class_ids and not other_data:
        raise GeneratorError(
            f"the generator in {stored.folder} was trained on other data ({problem}); say with --class-ids which of "
            "its classes each one is, or add --other-data if they are meant to be alike"
        )
    return make(
        stored.architecture, bench.image_shape, bench.pixel_range, stored.classes,
        params=stored.params, labels=class_ids or None,
    )  # fmt: skip
