"""What a run is, as frozen dataclasses: command line, notebook and the JSON beside a result hold the same thing."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from jaxdistill.common.names import choose
from jaxdistill.common.renamed import renamed
from jaxdistill.data.digest import Digests
from jaxdistill.diffusion import Architecture
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.protocol import PROTOCOLS, Recipe
from jaxdistill.methods.partial_update import kept_count
from jaxdistill.selection.base import Scores
from jaxdistill.settings.starts import STARTS, score_of

__all__ = [
    "OF_RECIPE",
    "BankConfig",
    "BasisConfig",
    "DataConfig",
    "Distill",
    "EvaluationConfig",
    "GeneratorConfig",
    "NetworkConfig",
    "OwnMethod",
    "RunConfig",
    "Select",
    "check_local",
    "check_seed",
]

OF_RECIPE = {f"eval_{name}": name for name in ("ridge", "factor", "l2", "neighbours", "power")}
"""Options that change a setting which some recipes have and others do not, and what it is called there."""
WIDEST, DEEPEST = 2**16, 2**8
"""Of networks: far more than any has, and few enough that their sizes are numbers that JAX can hold."""


@renamed(device_gib="max_device_gib")
@dataclasses.dataclass(frozen=True)
class DataConfig:
    """The real data."""

    dataset: str
    """`digits`, a TFDS name, an .npz with x_train y_train x_test y_test, or a folder with one sub-folder per class."""
    data_dir: str | None = None
    """Where TFDS keeps its prepared data sets."""
    zca: bool = False
    """Whiten images instead of normalising each channel."""
    statistics: str = "default"
    """What channels are normalised by: default (published constants of the data set; of others, its own), fitted (its
    own in any case), or the name of a data set whose constants are taken."""
    hold_out: float = 0.0
    """Share of each class's training images that is set aside for --eval-every, and for choosing by: nothing else sees
    them, but select gradmatch and glister, whose validation images they are. With --eval-every a tenth, unless it is
    said."""
    max_device_gib: float = 4.0
    """Training images above this size, and expert banks, stay on the host (or disk) and are fed from there."""
    classes: str | None = None
    """Which classes of a folder of ImageNet's, by their ids, are the data set: those of imagewoof, imagenette,
    imagenet10 (also called ImageIDC-10) or imagenet100; by default all that are there."""
    phase: int | None = None
    """Twenty of --classes imagenet100 at a time, from 0 (the first of the list) to 4, as papers distil them;
    'jaxdistill join' makes one set of theirs."""
    size: int | None = None
    """Side in pixels that a folder's images are brought to, by their shorter side; a square is cut out of the middle.
    By default they have to be of one size."""
    digests: Annotated[Digests, tyro.conf.Suppress] = dataclasses.field(default_factory=Digests)
    """Which data they are; set when the run begins."""

    def __post_init__(self) -> None:
        if not self.max_device_gib >= 0:
            raise UsageError(f"--max-device-gib is a size, not {self.max_device_gib}")
        if not 0 <= self.hold_out < 1:
            raise UsageError(f"--hold-out is a share from 0 to below 1, not {self.hold_out}")
        if self.size is not None and self.size < 1:
            raise UsageError(f"--size is a number of pixels, at least 1, not {self.size}")

    @property
    def taken(self) -> dict[str, Any]:
        """What is taken of a folder, where that is said, by the names that `jaxdistill.data.source.load` has for it."""
        parts = {name: getattr(self, name) for name in ("classes", "phase", "size")}
        return {name: part for name, part in parts.items() if part is not None}


@dataclasses.dataclass(frozen=True)
class NetworkConfig:
    """The network that is used to distil."""

    network: str = "convnet"
    """Name of the network ('jaxdistill list networks'); with the suffix -bn it has batch normalisation."""
    width: int = 128
    """Channels of each block of the network."""
    depth: int | None = None
    """Number of blocks of the network; by default what reduces the image to 4x4 (3 for 28 and 32 pixels, 4 for 64)."""
    norm: str = "instance"
    """Normalisation of the network: instance, batch, layer, group or none."""
    activation: str = "relu"
    """Activation of the network: relu, sigmoid, leakyrelu or swish."""
    pooling: str = "avg"
    """Pooling of the network: avg, max or none."""
    initial: str = "torch"
    """Distribution of the initial weights: torch (PyTorch's default), xavier or lecun (normal, biases zero), or kernel
    (as infinitely wide networks have them: He's normal, biases of deviation 0.1)."""
    network_seed: int | None = None
    """Start every network, also those that judge the set, from the same weights: those of this seed. Where the recipe
    draws nothing else, as DD's, one --eval-seeds says all."""
    kernel: str | None = None
    """What kip, rfad, label_solve and the protocol krr have instead of a network: fc1 (or any fcD), convnet, convnet3,
    myrtle5, myrtle7, myrtle10 or convD (D convolutions, no pooling), of infinite width; with the suffix -nngp not the
    NTK but the NNGP; or rfad, whose 8 networks of width 256 are drawn anew in each step; rfad4x32 has 4 of width 32."""

    def __post_init__(self) -> None:
        if not 1 <= self.width <= WIDEST:
            raise UsageError(f"--width is a number of channels from 1 to {WIDEST}, not {self.width}")
        if self.depth is not None and not 1 <= self.depth <= DEEPEST:
            raise UsageError(f"--depth is a number of blocks from 1 to {DEEPEST}, not {self.depth}")


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    """How the result is judged."""

    protocol: str = "dsa1000"
    """Evaluation recipe, by name ('jaxdistill list protocols')."""
    eval_network: str | None = None
    """Networks to train on the set, separated by commas; by default the one that distilled it. pool:dc, pool:dm,
    pool:mtt, pool:idc ... are those that a paper judges by ('jaxdistill list networks')."""
    eval_seeds: int = 5
    """Number of independent networks of each kind; 0 skips the evaluation."""
    eval_labels: Literal["native", "hard"] = "native"
    """Train on the labels as stored, or on their argmax."""
    eval_epochs: int | None = None
    """Epochs of the recipe, to shorten (or lengthen) it; the report says so."""
    eval_ridge: float | None = None
    """Penalty of the protocol krr, relative to the mean of the kernel's diagonal; by default what the set was learned
    with (--ridge of kip), else 1e-6."""
    eval_factor: float | None = None
    """First step size of the protocol kip-nn, as a share of the largest stable one; by default 1. The paper searched
    for each set's."""
    eval_l2: float | None = None
    """Penalty of the protocol kip-nn on squared parameters; by default 1e-3. The paper searched for each set's."""
    eval_neighbours: int | None = None
    """How many nearest images vote in the protocol knn; by default 1."""
    eval_power: float | None = None
    """Power of the norm by which the protocol knn measures: 2 (the default), 1, inf or any other."""
    eval_combined: bool = False
    """SelMatch's combined augmentation, in any recipe that augments: crop and flip alone for images of the set that are
    real ones as they were selected, kept or picked."""
    eval_equal_compute: bool = False
    """Divide the epochs by the number of tiles in a stored image (idc), so that networks see as many images as when
    they train on whole ones."""
    coverage: bool = False
    """Also say which share of the test images has one of the set's nearby, in a trained network's features, and how
    accurate networks are on the easy and on the hard half of them. With --eval-every each look tells coverage too: it
    looks at test images, and nothing is chosen by it."""
    coverage_features: str = "embedding"
    """What --coverage measures distances in, separated by commas: embedding (of the network that judges, trained on all
    real data), random (of that network as it is initialised) or pixels; embedding:vgg11 names another network."""
    coverage_same_class: bool = False
    """Let --coverage count only neighbours of an image's own class, in the radius too."""
    eval_every: int | None = None
    """Steps between two looks at the accuracy on training images that are held out (--hold-out) while the run goes on;
    the test images are not looked at. By default there are none."""
    eval_every_seeds: int = 2
    """Independent networks in each look of --eval-every."""
    keep: Literal["last", "best"] = "last"
    """Whether the result is the last set, or the best one at a look of --eval-every."""
    legacy_best: bool = False
    """Look at the test images too, and report the best of all looks at them beside the result: the habit of papers on
    trajectory matching, whose numbers are chosen by the test set."""
    eval_size: int | None = None
    """Side in pixels that images of the set and test images are resized to before networks see them; by default they
    stay as they are."""

    def __post_init__(self) -> None:
        if self.eval_every is not None and self.eval_every < 1:
            raise UsageError(f"--eval-every is a number of steps, at least 1, not {self.eval_every}")
        if self.eval_every_seeds < 1:
            raise UsageError(f"--eval-every-seeds is a number of networks, at least 1, not {self.eval_every_seeds}")
        if self.eval_every is None and (self.keep == "best" or self.legacy_best):
            flag = "--keep best" if self.keep == "best" else "--legacy-best"
            raise UsageError(f"{flag} goes by looks along the run; say with --eval-every how far apart they are")
        if self.eval_seeds < 0:
            raise UsageError(f"--eval-seeds is a number of networks, not {self.eval_seeds}")
        if self.eval_epochs is not None and self.eval_epochs < 0:
            raise UsageError(f"--eval-epochs is a number of epochs, not {self.eval_epochs}")
        if self.eval_size is not None and self.eval_size < 1:
            raise UsageError(f"--eval-size is a number of pixels, at least 1, not {self.eval_size}")

    def resolve(self, kernel: str | None = None, ridge: float | None = None) -> Recipe:
        """The recipe itself.

        Args:
            kernel: its kernel, if it takes one.
            ridge: its penalty, likewise, where `eval_ridge` does not say otherwise.
        """
        recipe = PROTOCOLS[choose(self.protocol, PROTOCOLS, "protocol")]
        said = {name: getattr(self, option) for option, name in OF_RECIPE.items()}
        said |= {"kernel": kernel, "ridge": ridge if self.eval_ridge is None else self.eval_ridge}
        options = {name: value for name, value in said.items() if value is not None and hasattr(recipe, name)}
        if self.eval_epochs is not None:
            options["epochs"] = self.eval_epochs
        recipe = dataclasses.replace(recipe, labels=self.eval_labels, size=self.eval_size, **options)
        recipe = recipe.combined() if self.eval_combined else recipe
        return recipe.equal() if self.eval_equal_compute else recipe


@renamed(chunk="log_every", classes_at_once="parallel_classes", networks_at_once="parallel_networks")
@dataclasses.dataclass(frozen=True)
class RunConfig:
    """How a run behaves and what it may do; nothing here changes its result, rounding apart."""

    out: Path
    """Folder of the run; never overwritten."""
    resume: bool = False
    """Continue the run in --out where its newest checkpoint stands; other arguments may be left out."""
    sets: int = 1
    """Sets to make, of as many seeds from --seed on, each in a folder of its own (01, 02 ...) in --out; accuracies are
    pooled over sets and networks, as the papers do."""
    other_data: bool = False
    """Take what was made for other data than these: a start, experts, a generator, the run that is resumed."""
    quiet: bool = False
    """Print nothing but the result."""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints."""
    log_every: int = 100
    """Most steps between two looks at the loss."""
    parallel_classes: int | None = None
    """Classes, segments or blocks of kernels side by side on a device: less is less memory; by default 1 on a CPU, what
    should fit elsewhere."""
    parallel_networks: int | None = None
    """Networks evaluated side by side on a device; by default 1 on a CPU, what should fit elsewhere."""
    tensorboard: bool = False
    """Write curves for TensorBoard too."""
    wandb: str | None = None
    """Log curves to this project of Weights & Biases too; with WANDB_MODE=offline they stay in --out."""
    distributed: str | None = None
    """`auto` on a pod, or `HOST:PORT,COUNT,INDEX`; the same command runs on every host and the first one writes."""

    def __post_init__(self) -> None:
        check_local(self.out)
        for name in ("sets", "log_every", "parallel_classes", "parallel_networks"):
            value, flag = getattr(self, name), name.replace("_", "-")
            if value is not None and value < 1:
                raise UsageError(f"--{flag} is at least 1, not {value}")
        if not self.checkpoint_seconds >= 0:
            raise UsageError(f"--checkpoint-seconds is a time, not {self.checkpoint_seconds}")


@dataclasses.dataclass(frozen=True)
class BasisConfig:
    """What selections, and starts by one, go by: distances of features, or how hard images are."""

    features: Literal["pixels", "embedding"] = "pixels"
    """What distances are measured in: pixels, or the embedding of the first of the --experts, without which a network
    is trained on the whole training set. craig, gradmatch, glister, facility_location, graph_cut and
    contextual_diversity always look at such a network."""
    feature_epochs: int = 20
    """Epochs that the embedding's network is trained for."""
    beta: float | None = None
    """Share of each class that selections by a score leave out, its hardest images; the next are taken. By default what
    a method's preset has, else what training images that are held out choose."""
    window_start: Literal["class_fraction", "ipc_fraction"] = "class_fraction"
    """Whether --beta is a share of the class (SelMatch's paper) or of the --ipc (its released code)."""
    scores: Path | None = None
    """A file with a score for each training image: an .npy in the data set's original order, or an .npz with scores and
    the labels or ids of their images. C-scores for cscore and consistency (low is hard), else high is hard: for aum,
    the margin's negative. By default from what experts, or networks trained for that, recorded."""
    search: bool = False
    """Let training images that are held out (--hold-out, else a tenth of each class) choose --beta, where a preset has
    one too, by as many windows and networks as select window."""
    search_starts: int | None = None
    """Windows that are tried, from the hardest to the easiest; by default 11 of select window and --search, else 6."""
    search_networks: int | None = None
    """Networks that are trained on each window; by default 3 of select window and --search, else 1."""
    search_epochs: int | None = None
    """Epochs of each; by default those of --protocol for select window and --search, else at most so many that all of
    them see a quarter of the images that networks see in training for scores."""
    search_ratios: tuple[float, ...] = ()
    """Other sizes of windows, as shares of a class, of which the search tells accuracies too."""
    score: str = "forgetting"
    """The selection whose score ccs and window go by: forgetting, el2n, cscore ... With --update-share below 1 the
    images of the start that are hardest by it are kept, unless the start has an order."""
    strata: int = 50
    """Parts of equal width that ccs cuts the range of scores into."""
    glister_eta: float = 0.01
    """Step size of glister on the gradient of each of its picks."""
    gradmatch_lam: float = 0.1
    """Penalty of gradmatch on large weights, as a share of the mean squared gradient length of a class."""
    trials: int = 20
    """Random sets that optimised tries, at least 5."""
    trial_epochs: int = 100
    """Epochs that a network is trained on each random set that optimised tries."""
    score_networks: int = 5
    """Networks that are trained for scores where there are no experts; scores are averaged over them."""
    subset_share: float = 0.7
    """Share of each class that a network sees that is trained for consistency or memorisation; those for other scores
    see all."""
    score_epochs: int = 20
    """Epochs that networks are trained for, for scores; el2n, grand, grand_last, entropy, margin, least_confidence, cal
    and deepfool look at the last of them, of experts too."""

    def __post_init__(self) -> None:
        if not 0 < self.subset_share < 1:
            raise UsageError(f"--subset-share is a share above 0 and below 1, not {self.subset_share}")
        if self.beta is not None and not 0 <= self.beta <= 1:
            raise UsageError(f"--beta is a share from 0 to 1, not {self.beta}")
        if self.search_starts is not None and self.search_starts < 2:
            raise UsageError(f"--search-starts is a number of windows, at least 2, not {self.search_starts}")
        if min(1 if number is None else number for number in (self.search_networks, self.search_epochs)) < 1:
            raise UsageError("--search-networks and --search-epochs are at least 1")
        if not all(0 < ratio <= 1 for ratio in self.search_ratios):
            raise UsageError("--search-ratios are shares of a class, above 0 and up to 1")
        if min(self.score_networks, self.score_epochs, self.feature_epochs, self.trials, self.trial_epochs) < 1:
            raise UsageError(
                "--score-networks, --score-epochs, --feature-epochs, --trials and --trial-epochs are at least 1"
            )
        if self.strata < 1:
            raise UsageError(f"--strata is at least 1, not {self.strata}")
        for name in ("glister_eta", "gradmatch_lam"):
            if not 0 < getattr(self, name) < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} is a number above 0, not {getattr(self, name)}")
        score_of(self.score)

    @property
    def scored(self) -> Scores:
        """The score that --score names."""
        return score_of(self.score)


@dataclasses.dataclass(frozen=True)
class BankConfig:
    """Experts that were trained before."""

    experts: Path | None = None
    """Experts (a folder of 'jaxdistill experts'), for methods that match trajectories or begin networks as experts
    (--pretrained of dd) and selections by what networks say."""
    expert_count: int | None = None
    """Use the first so many experts; by default all that are there when the run begins."""
    digest: Annotated[str | None, tyro.conf.Suppress] = None
    """Which experts they are; set when the run begins."""

    @property
    def given(self) -> bool:
        """Whether there are any, in a folder or in memory."""
        return self.experts is not None or self.digest is not None

    def __post_init__(self) -> None:
        if self.expert_count is not None and self.expert_count < 1:
            raise UsageError(f"--expert-count is at least 1, not {self.expert_count}")


@dataclasses.dataclass(frozen=True)
class GeneratorConfig:
    """The generator that a set is drawn from."""

    generator: Path | None = None
    """A generator that was trained before: a run of dit or minimax, or what 'jaxdistill convert' made. Unless told
    otherwise, sets are drawn from it and judged as they were there."""
    class_ids: tuple[int, ...] = ()
    """What the given generator calls each class of the data set, in its order, where it knows others: ImageNet's
    numbers, say."""
    generator_digest: Annotated[str | None, tyro.conf.Suppress] = None
    """Which generator it is; set when the run begins."""
    architecture: Architecture = dataclasses.field(default_factory=Architecture)

    @property
    def given(self) -> bool:
        """Whether there is one, in a folder or in memory."""
        return self.generator is not None or self.generator_digest is not None


@dataclasses.dataclass(frozen=True)
class OwnMethod:
    """What stands for a method that a caller brings, of which nothing but its name is known."""

    name: str


@dataclasses.dataclass(frozen=True)
class Distill:
    """One distillation; defaults are those of the method's preset for the --dataset and --ipc given."""

    method: Any
    data: DataConfig
    run: RunConfig
    ipc: int
    """Images per class."""
    steps: int
    """Updates of the set, or of its generator (0 with a --generator only draws); by default the paper's."""
    seed: int = 0
    """Seed from which everything random follows."""
    init: str = "real"
    """What the set starts from: real, noise, any selection, or a finished set or run."""
    augment: str = "default"
    """Augmentation while distilling: 'default' is the data set's DSA strategy, none is none."""
    preset: str | None = None
    """Which reading of the paper gives the defaults; 'jaxdistill list' names them."""
    network: NetworkConfig = NetworkConfig()
    bank: BankConfig = dataclasses.field(default_factory=BankConfig)
    basis: BasisConfig = BasisConfig()
    generator: GeneratorConfig = dataclasses.field(default_factory=GeneratorConfig)
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self) -> None:
        _check(self.ipc, self.seed)
        if self.steps < 0:
            raise UsageError(f"--steps is a number of updates, not {self.steps}")

    @property
    def keeps_by(self) -> Scores | None:
        """The score by which images that are not learned are the hardest of the start; None where all are learned, or
        none, or the start has them in an order of its own or has no real ones."""
        some = 0 < kept_count(getattr(self.method, "update_share", 1.0), self.ipc) < self.ipc
        start = STARTS.get(self.init)
        return self.basis.scored if some and start is not None and start.real and not start.needs.ordered else None


@dataclasses.dataclass(frozen=True)
class Select:
    """One core-set selection."""

    strategy: Annotated[str, tyro.conf.Suppress]
    data: DataConfig
    run: RunConfig
    ipc: int | None = None
    """Images per class, unless --share says how many."""
    share: float | None = None
    """Share of each class that is selected, rounded, at least one image, in the place of --ipc; 0.1 is a tenth."""
    unbalanced: bool = False
    """Select from all images together, whatever class they are of: --ipc is then a mean, and --share one of all. What
    compares each pair of a class (craig, facility_location) then compares all pairs, in memory too."""
    seed: int = 0
    """Seed from which everything random follows."""
    reselect_every: int | None = None
    """Also train networks on images that are selected anew, and weighed anew, after so many epochs of the evaluation,
    each from the network as it stands: the papers' way. They are judged in a row of their own; the set that is kept is
    the one that is selected once."""
    reselect_after: int | None = None
    """Epochs on random images before the first of the selections of --reselect-every; by default as many as between
    two, as in the authors' code. 0 asks the network as it starts."""
    network: NetworkConfig = NetworkConfig()
    bank: BankConfig = dataclasses.field(default_factory=BankConfig)
    basis: BasisConfig = BasisConfig()
    evaluation: EvaluationConfig = EvaluationConfig()

    def __post_init__(self) -> None:
        if self.share is None and self.ipc is None:
            raise UsageError("say how many images are selected: give --ipc (of each class) or --share (of them)")
        if self.share is not None and not 0 < self.share <= 1:
            raise UsageError(f"--share is a share of the images, above 0 and at most 1, not {self.share}")
        _check(1 if self.ipc is None else self.ipc, self.seed)
        if self.reselect_every is not None and self.reselect_every < 1:
            raise UsageError(f"--reselect-every is a number of epochs, at least 1, not {self.reselect_every}")
        if self.reselect_after is not None and self.reselect_after < 0:
            raise UsageError(f"--reselect-after is a number of epochs, not {self.reselect_after}")
        if self.reselect_every is None and self.reselect_after is not None:
            raise UsageError("--reselect-after is of --reselect-every; say with that how far apart selections are")


def _check(ipc: int, seed: int) -> None:
    if ipc < 1:
        raise UsageError(f"--ipc is a number of images per class, at least 1, not {ipc}")
    check_seed(seed)


def check_local(out: Any) -> None:
    """Raise a UsageError for a bucket or another address: what is written there would be in a folder of that name."""
    if isinstance(out, Path) and re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(out)):
        raise UsageError(f"--out is a folder of this machine, not {out}; copy it there afterwards")


def check_seed(seed: int) -> None:
    """Raise a UsageError for what cannot be a seed."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed is a number from 0 to 2**32 - 1, not {seed}")
