"""What a run is, as frozen dataclasses: command line, notebook and the JSON beside a result hold the same thing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxdistill.evaluate.protocol import PROTOCOLS, Recipe
from jaxdistill.methods import METHODS

__all__ = [
    "METHOD_NAMES",
    "DataConfig",
    "Distill",
    "EvaluationConfig",
    "NetworkConfig",
    "RunConfig",
    "Select",
    "from_json",
    "method_config",
    "to_json",
]  # fmt: skip


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The real data."""

    dataset: str
    """`digits`, a TFDS name, an .npz with x_train y_train x_test y_test, or a folder with one sub-folder per class."""
    data_dir: str | None = None
    """Where TFDS keeps its prepared data sets."""
    zca: bool = False
    """Whiten images instead of normalising each channel."""
    device_gib: float = 4.0
    """Training images above this size stay on the host and are fed from there."""

    def __post_init__(self) -> None:
        if not self.device_gib >= 0:
            raise ValueError(f"--device-gib is a size, not {self.device_gib}")


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The network that is used to distil."""

    network: str = "convnet"
    """Its name; with the suffix -bn it has batch normalisation."""
    width: int = 128
    """Channels of each block."""
    depth: int | None = None
    """Number of blocks; by default what reduces the image to 4x4 (3 for 28 and 32 pixels, 4 for 64)."""
    norm: str = "instance"
    """instance, batch, layer, group or none."""
    activation: str = "relu"
    """relu, sigmoid, leakyrelu or swish."""
    pooling: str = "avg"
    """avg, max or none."""
    initial: str = "torch"
    """Distribution of the initial weights: torch (PyTorch's default) or xavier (normal, biases zero)."""
    network_seed: int | None = None
    """Start every network, also those that judge the set, from the same weights: those of this seed. Where the recipe
    draws nothing else, as DD's, one --eval-seeds says all."""


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How the result is judged."""

    protocol: str = "dsa1000"
    """Whose evaluation recipe."""
    eval_network: str | None = None
    """Networks to train on the set, separated by commas; by default the one that distilled it."""
    eval_seeds: int = 5
    """Independent networks of each kind; 0 skips the evaluation."""
    eval_labels: Literal["native", "hard"] = "native"
    """Train on the labels as stored, or on their argmax."""
    eval_epochs: int | None = None
    """Shorten (or lengthen) the recipe; the report says so."""

    def resolve(self) -> Recipe:
        """The recipe itself."""
        if self.protocol not in PROTOCOLS:
            raise ValueError(f"unknown protocol '{self.protocol}'; choose one of {', '.join(PROTOCOLS)}")
        if self.eval_seeds < 0:
            raise ValueError(f"--eval-seeds is a number of networks, not {self.eval_seeds}")
        protocol = dataclasses.replace(PROTOCOLS[self.protocol], labels=self.eval_labels)
        return protocol if self.eval_epochs is None else dataclasses.replace(protocol, epochs=self.eval_epochs)


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How a run behaves; nothing here changes its result, rounding apart."""

    out: Path
    """Folder of the run; never overwritten."""
    resume: bool = False
    """Continue the run in --out where its newest checkpoint stands; other arguments may be left out."""
    quiet: bool = False
    """Print nothing but the result."""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints."""
    chunk: int = 100
    """Most steps between two looks at the loss."""
    classes_at_once: int | None = None
    """Classes side by side on a device: less is less memory; by default 1 on a CPU, what should fit elsewhere."""
    networks_at_once: int | None = None
    """Networks evaluated side by side on a device; by default 1 on a CPU, what should fit elsewhere."""
    tensorboard: bool = False
    """Write curves for TensorBoard too."""
    distributed: str | None = None
    """`auto` on a pod, or `HOST:PORT,COUNT,INDEX`; the same command runs on every host and the first one writes."""

    def __post_init__(self) -> None:
        for flag, value in (("chunk", self.chunk), ("classes-at-once", self.classes_at_once),
                            ("networks-at-once", self.networks_at_once)):  # fmt: skip
            if value is not None and value < 1:
                raise ValueError(f"--{flag} is at least 1, not {value}")
        if not self.checkpoint_seconds >= 0:
            raise ValueError(f"--checkpoint-seconds is a time, not {self.checkpoint_seconds}")


@dataclasses.dataclass(frozen=True)
class Distill:
    """One distillation; defaults are those of the method's preset for the --dataset and --ipc given."""

    method: Any
    data: DataConfig
    run: RunConfig
    ipc: int
    """Images per class."""
    steps: int
    """Updates of the set; by default the paper's."""
    seed: int = 0
    """Everything random follows from it."""
    init: str = "real"
    """What the set starts from: real, noise, any selection, or a finished set or run."""
    augment: str = "default"
    """Augmentation while distilling: 'default' is the data set's DSA strategy, none is none."""
    preset: str | None = None
    """Which reading of the paper gives the defaults; 'jaxdistill list' names them."""
    network: NetworkConfig = NetworkConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self) -> None:
        _check(self.ipc, self.seed)
        if self.steps < 0:
            raise ValueError(f"--steps is a number of updates, not {self.steps}")


@dataclasses.dataclass(frozen=True)
class Select:
    """One core-set selection."""

    strategy: Annotated[str, tyro.conf.Suppress]
    data: DataConfig
    run: RunConfig
    ipc: int
    """Images per class."""
    seed: int = 0
    """Everything random follows from it."""
    features: str = "pixels"
    """What distances are measured in: pixels, or embedding (of a network trained on the whole training set)."""
    feature_epochs: int = 20
    """Epochs that the embedding's network is trained for."""
    network: NetworkConfig = NetworkConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self) -> None:
        _check(self.ipc, self.seed)


def _check(ipc: int, seed: int) -> None:
    if ipc < 1:
        raise ValueError(f"--ipc is a number of images per class, at least 1, not {ipc}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"--seed is a number from 0 to 2**32 - 1, not {seed}")


METHOD_NAMES: dict[str, type] = {builder.__name__: config for config, builder in METHODS.items()}
"""Name on the command line -> configuration class."""


def method_config(name: str) -> type:
    """The configuration class of a method's name.

    Raises:
        ValueError: if there is no such method.
    """
    if name not in METHOD_NAMES:
        raise ValueError(f"unknown method '{name}'; choose one of {', '.join(METHOD_NAMES)}")
    return METHOD_NAMES[name]


def to_json(config: Distill | Select) -> dict[str, Any]:
    """A plain nested dictionary; how the run behaves is left out, since it does not change the result."""
    plain = dataclasses.asdict(config)
    del plain["run"]
    plain["command"] = type(config).__name__.lower()
    if isinstance(config, Distill):
        plain["method"] = {"name": METHODS[type(config.method)].__name__, **plain["method"]}
    return plain


def from_json(plain: dict[str, Any], run: RunConfig) -> Distill | Select:
    """The configuration that `to_json` wrote.

    Raises:
        ValueError: if it is not one.
    """
    try:
        fields = {name: value for name, value in plain.items() if name != "command"}
        for name, kind in (("data", DataConfig), ("network", NetworkConfig), ("evaluation", EvaluationConfig)):
            fields[name] = kind(**fields[name])
        if plain["command"] == "select":
            return Select(run=run, **fields)
        method = dict(fields["method"])
        fields["method"] = method_config(method.pop("name"))(**{k: _tuples(v) for k, v in method.items()})
        return Distill(run=run, **fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"config.json was not written by this version of jaxdistill ({error})") from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
