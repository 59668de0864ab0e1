"""The options of the commands that keep no config.json."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxdistill.common.renamed import renamed
from jaxdistill.errors import UsageError
from jaxdistill.settings.config import DataConfig, NetworkConfig, check_local, check_seed
from jaxdistill.training.experts import ExpertRecipe

__all__ = ["Compare", "Completion", "Convert", "Evaluate", "Experts", "Export", "Join", "List", "Report"]


@renamed(experts_at_once="parallel_experts")
@dataclasses.dataclass(frozen=True)
class Experts:
    """Train experts on the real data and record their trajectories."""

    data: DataConfig
    out: Path
    """Folder of the experts (their bank)."""
    count: int = 10
    """Number of experts in all; the papers have 100. With --resume those that lack are added, by default none."""
    epochs: int = 50
    """Epochs that each expert is trained for; methods read up to the last start and a few more."""
    seed: int = 0
    """Seed from which everything random follows; an expert is the same however many there are."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type in which parameters are stored; bfloat16 is half the size."""
    resume: bool = False
    """Go on with the bank in --out, or add to it; other arguments may be left out."""
    longer: bool = False
    """With --resume: train the experts that are there to the number of --epochs, which is larger than they have. Runs
    that were begun with them cannot be resumed then."""
    quiet: bool = False
    """Print nothing but the folder of the experts."""
    parallel_experts: int | None = None
    """Experts side by side on a device; by default 1 on a CPU, what should fit elsewhere."""
    distributed: str | None = None
    """`auto` on a pod, or `HOST:PORT,COUNT,INDEX`; the same command runs on every host and the first one writes."""
    preset: str = "mtt"
    """Paper whose recipe gives the defaults: mtt (also TESLA's), ftd, datm or selmatch."""
    ipc: int | None = None
    """Images per class of the set that is to be distilled, where whitening and --alpha of the paper go by it."""
    recipe: ExpertRecipe = dataclasses.field(default_factory=ExpertRecipe)
    network: NetworkConfig = dataclasses.field(default_factory=NetworkConfig)

    def __post_init__(self) -> None:
        check_local(self.out)
        check_seed(self.seed)
        if min(self.count, self.epochs, 1 if self.parallel_experts is None else self.parallel_experts) < 1:
            raise UsageError("--count, --epochs and --parallel-experts are at least 1")
        if self.longer and not self.resume:
            raise UsageError("--longer goes on with experts that are there; add --resume")
        if self.ipc is not None and self.ipc < 1:
            raise UsageError(f"--ipc is a number of images per class, at least 1, not {self.ipc}")


@renamed(networks_at_once="parallel_networks")
@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Train fresh networks on finished sets, and on random real images of the same size, under one protocol."""

    sets: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs, or their set/ folders, of one data set."""
    network: str | None = None
    """Networks that are trained on the sets, separated by commas: several give a transfer matrix. pool:dc, pool:dm,
    pool:mtt, pool:idc ... are those of a paper ('jaxdistill list networks'). By default the one that the (first) set
    was made with. The options of networks are as that was made for this one, and as usual for others, unless they are
    given."""
    width: int | None = None
    """Channels of each block of the networks."""
    depth: int | None = None
    """Number of blocks of the networks."""
    norm: str | None = None
    """Normalisation of the networks: instance, batch, layer, group or none."""
    activation: str | None = None
    """Activation of the networks: relu, sigmoid, leakyrelu or swish."""
    pooling: str | None = None
    """Pooling of the networks: avg, max or none."""
    initial: str | None = None
    """Distribution of the initial weights: torch, xavier, lecun or kernel."""
    network_seed: int | None = None
    """Start every network from the weights of this seed."""
    kernel: str | None = None
    """Kernel of the protocol krr: fc1 (or any fcD), convnet, myrtle5 ..., with -nngp after it the NNGP instead of the
    NTK; or rfad, whose networks are drawn."""
    protocol: str | None = None
    """Evaluation recipe, by name ('jaxdistill list protocols'); by default the one that the sets were first judged
    by."""
    teacher: Path | None = None
    """An expert bank, whose first expert labels the images where the recipe asks a teacher (rded300)."""
    experts: Path | None = None
    """An expert bank: networks begin as its experts that the sets were not made with (as all, where they were made with
    all), not afresh. For sets of dd with --pretrained."""
    expert_epoch: int | None = None
    """The epoch after which they begin as the --experts; by default as the sets say, else the last."""
    neighbours: int | None = None
    """How many nearest images vote in the protocol knn; by default 1."""
    power: float | None = None
    """Power of the norm by which the protocol knn measures: 2 (the default), 1, inf or any other."""
    seeds: int = 5
    """Number of independent networks of each kind."""
    epochs: int | None = None
    """Epochs of the recipe, to shorten (or lengthen) it."""
    ridge: float | None = None
    """Penalty of the protocol krr, relative to the mean of the kernel's diagonal; by default what the sets were learned
    with, else 1e-6."""
    factor: float | None = None
    """First step size of the protocol kip-nn, as a share of the largest stable one; by default 1."""
    l2: float | None = None
    """Penalty of the protocol kip-nn on squared parameters; by default 1e-3."""
    labels: Literal["native", "hard"] = "native"
    """Train on the labels as stored, or on their argmax."""
    eval_size: int | None = None
    """Side in pixels that images of the sets and test images are resized to before networks see them; by default that
    at which the sets were first judged."""
    combined: bool = False
    """SelMatch's combined augmentation, in any recipe that augments: crop and flip alone for images that are real ones
    as they were selected, kept or picked."""
    equal_compute: bool = False
    """Divide the epochs by the number of tiles in a stored image (of idc's sets), so that networks see as many images
    as when they train on whole ones."""
    coverage: bool = False
    """Also say which share of the test images has one of a set's nearby, in the features of a trained network, and how
    accurate networks are on the easy and on the hard half of them."""
    coverage_features: str | None = None
    """What --coverage measures distances in, separated by commas: embedding (the default; of the first network, trained
    on all real data), random (of that network as it is initialised) or pixels; embedding:vgg11 names another."""
    coverage_same_class: bool = False
    """Let --coverage count only neighbours of an image's own class, in the radius too."""
    dataset: str | None = None
    """Where the data set of the set's card is now; by default what the card says."""
    other_data: bool = False
    """Judge the sets on other data than they were made for, of as many classes and images of one shape."""
    data_dir: str | None = None
    """Where TFDS keeps its prepared data sets."""
    seed: int = 0
    """Seed from which everything random follows."""
    parallel_networks: int | None = None
    """Networks side by side on a device; by default 1 on a CPU, what should fit on an accelerator."""
    json: bool = False
    """Print every accuracy as JSON instead of a table."""
    out: Path | None = None
    """A file for the table: Markdown (.md), LaTeX (.tex), HTML (.html), or every accuracy as JSON (.json); never
    overwritten. By default the table is only printed."""

    def __post_init__(self) -> None:
        check_local(self.out)
        check_seed(self.seed)
        if not self.sets:
            raise UsageError("give at least one set or run")
        if self.seeds < 1:
            raise UsageError(f"--seeds is at least 1, not {self.seeds}")
        if self.epochs is not None and self.epochs < 0:
            raise UsageError(f"--epochs is a number of epochs, not {self.epochs}")
        if self.eval_size is not None and self.eval_size < 1:
            raise UsageError(f"--eval-size is a number of pixels, at least 1, not {self.eval_size}")
        if self.parallel_networks is not None and self.parallel_networks < 1:
            raise UsageError(f"--parallel-networks is at least 1, not {self.parallel_networks}")


@dataclasses.dataclass(frozen=True)
class Convert:
    """Make a generator of pre-trained weights: DiT (its authors' names, or diffusers'), and Stable Diffusion's
    autoencoder (diffusers' names)."""

    weights: Annotated[Path, tyro.conf.Positional]
    """The transformer's .safetensors file."""
    out: Path
    """Folder of the generator; never overwritten."""
    autoencoder: Path | None = None
    """The autoencoder's .safetensors file; without one, pixels are diffused."""
    decoder: Path | None = None
    """Another autoencoder's file, whose decoder is taken: Minimax Diffusion encodes with ft-EMA and decodes with
    ft-MSE."""
    image_size: int = 256
    """Side of the images that the generator draws, in pixels."""
    heads: int | None = None
    """Attention heads, which the weights do not tell; by default what the published sizes have."""
    groups: int = 32
    """Groups of the autoencoder's normalisation, which its weights do not tell either."""

    def __post_init__(self) -> None:
        check_local(self.out)
        for flag, value in (("image-size", self.image_size), ("heads", self.heads), ("groups", self.groups)):
            if value is not None and value < 1:
                raise UsageError(f"--{flag} is at least 1, not {value}")
        if self.autoencoder is None and self.decoder is not None:
            raise UsageError("--decoder takes the place of an autoencoder's; give --autoencoder too")
        if self.autoencoder is None and self.groups != Convert.groups:
            raise UsageError("there is no --autoencoder whose groups --groups would be; leave it out")


@dataclasses.dataclass(frozen=True)
class Export:
    """Write a set for use elsewhere."""

    set: Annotated[Path, tyro.conf.Positional]
    """A run, or its set/ folder."""
    out: Path
    """File or folder that is written; never overwritten."""
    format: Literal["npz", "torch", "folder", "tfds"] = "npz"
    """Format: npz (NumPy), torch (safetensors, channels first), folder (a PNG for each image), or tfds."""
    decoded: bool = False
    """Cut out the tiles of a set that has some (IDC), and enlarge them; folder and tfds always do."""

    def __post_init__(self) -> None:
        check_local(self.out)


@dataclasses.dataclass(frozen=True)
class Join:
    """Make one set of several that have different classes, as those of a data set that was distilled in phases."""

    sets: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs, or their set/ folders."""
    out: Path
    """Folder of the set that is made; never overwritten."""

    def __post_init__(self) -> None:
        check_local(self.out)


@dataclasses.dataclass(frozen=True)
class Report:
    """Write a run's report.html again from its files."""

    run: Annotated[Path, tyro.conf.Positional]
    """The folder of the run."""
    open: bool = False
    """Show it in the browser."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Put runs beside each other: their accuracies in one table, and all there is of them on one page."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Runs of one data set."""
    out: Path | None = None
    """A page (.html), or the table alone as Markdown (.md) or LaTeX (.tex); never overwritten. By default the table is
    only printed."""

    def __post_init__(self) -> None:
        check_local(self.out)
        if not self.runs:
            raise UsageError("give at least one run")


@dataclasses.dataclass(frozen=True)
class List:
    """What there is to choose from: methods, selections, networks, protocols and data sets, and published cells."""

    kind: Annotated[str | None, tyro.conf.Positional] = None
    """One kind alone: methods, selections, networks, protocols, datasets or cells; by default all but cells."""
    method: Annotated[str | None, tyro.conf.Positional] = None
    """Whose published cells, after the word cells; by default those of all methods."""
    json: bool = False
    """Print JSON instead of tables."""


@dataclasses.dataclass(frozen=True)
class Completion:
    """Print a script that completes commands, methods and options: source <(jaxdistill completion bash), or zsh; in
    fish jaxdistill completion fish | source."""

    shell: Annotated[Literal["bash", "zsh", "fish"], tyro.conf.Positional]
    """The shell that the script is for."""
