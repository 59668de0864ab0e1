"""How a set is judged: the papers' evaluation recipes as data, each with the training that it stands for."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from jaxdistill.augment.transform import Augmented
from jaxdistill.errors import UsageError
from jaxdistill.evaluation.centred_regression import RFAD_SIZES, CentredRegression
from jaxdistill.evaluation.kernel_ridge import KernelRidge
from jaxdistill.evaluation.neighbours import NearestNeighbours
from jaxdistill.evaluation.network_regression import FeatureRegression, Regression
from jaxdistill.evaluation.recipe import CROP_AND_FLIP, Recipe, function_of
from jaxdistill.evaluation.soft import SoftLabels
from jaxdistill.evaluation.stable_regression import StableRegression
from jaxdistill.training.sgd import by_step, epoch, sgd
from jaxdistill.training.unroll import train_in_order
from jaxdistill.types import Augment, Key, Network, PyTree, SyntheticSet, Variables

__all__ = ["PROTOCOLS", "InOrder", "Protocol", "dsa_recipe", "epochs_for"]

_MANY = 2  # drops that are said one by one
_PASSES = 5  # over sets that carry no step sizes
_EPOCHS = ((1, 3000), (10, 2000), (50, 1500), (200, 1000), (500, 500))  # by images per class
_MORE = 300


@dataclasses.dataclass(frozen=True)
class Protocol(Recipe):
    """Train fresh networks on the set alone with SGD, then test the final weights once on the whole test set.

    Last-iterate accuracy only: nothing is chosen by the test set.
    """

    epochs: int | None  # pyright: ignore[reportGeneralTypeIssues]
    """E of the papers; None goes by the set's images per class (`epochs_for`)."""
    augment: str | Augment = "default"
    """``"default"`` is the data set's DSA strategy, ``"none"`` is none; anything else names an augmentation, or is
    one."""
    selected_augment: str | Augment | None = None
    """Augmentation of images that are selected real ones, where those of the set are known; None is `augment`."""
    cutmix: float = 0.0
    """Probability of mixing a batch."""
    batch: int = 256
    """Batch size; the whole set where it is smaller. The last, smaller batch is kept."""
    learning_rate: float = 0.01
    """Step size; where `learned_rate` is true, only for sets that carry none."""
    learned_rate: bool = False
    """Use the (first) step size that was learned with the set, if there is one."""
    momentum: float = 0.9
    """Heavy-ball momentum."""
    nesterov: bool = False
    """Look ahead by the momentum, as Nesterov's has it."""
    weight_decay: float = 5e-4
    """Coupled L2 penalty on every parameter."""
    drop: float = 0.1
    """Factor of the step size at each drop."""
    drops: tuple[float, ...] = (0.5,)
    """When the step size drops, as fractions of `epochs`."""
    cosine: float | None = None
    """Lower the step size by half a cosine to this share of it, not in drops."""
    each_step: bool = False
    """Lower it so from step to step, not from epoch to epoch."""
    relative_weights: bool = False
    """Divide the loss of a batch by the sum of its images' weights, not by their number."""
    equal_compute: bool = False
    """Divide the epochs by the number of images that each stored one becomes (`on_tiles`), as IDC's code can: then as
    many images are seen as in training on whole ones."""
    many: bool = False
    """Learn more than 100 classes with step size 0.1, weight decay 1e-4 and batches of at least 128, as IDC's code does
    ImageNet's."""
    restart: bool = True
    """As DC's code: the epoch counter runs from 0 to `epochs` inclusive, the drop comes two epochs late (after epoch
    ``epochs // 2 + 1``), and a new optimiser begins there, with empty momentum buffers."""
    draws_windows: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if (self.epochs or 0) < 0 or self.batch < 1 or self.learning_rate <= 0:
            raise UsageError(
                f"an evaluation needs epochs >= 0, batch >= 1 and a positive learning rate, got {self.epochs}, "
                f"{self.batch} and {self.learning_rate}"
            )
        if self.each_step and (self.cosine is None or self.drops):
            raise UsageError("`each_step` is of a step size that a cosine lowers; give `cosine`, and no `drops`")

    @property
    def drop_epochs(self) -> tuple[int, ...]:
        """The first epoch trained at each lower step size; none where that goes by the set."""
        if self.epochs is None:
            return ()
        return tuple(int(fraction * self.epochs + 1e-6) + 2 * self.restart for fraction in self.drops)

    def rate(
        self, base: Float[Array, ""] | float, epoch: Float[Array, ""] | Int[Array, ""] | int
    ) -> Float[Array, ""] | float:
        """Step size of an epoch, or where a share of it is done."""
        if self.cosine is not None:
            done = jnp.minimum(epoch / (self.epochs or 1), 1.0)
            return base * (self.cosine + (1 - self.cosine) * 0.5 * (1 + jnp.cos(jnp.pi * done)))
        return base * self.drop ** sum((epoch >= first) * 1.0 for first in self.drop_epochs)

    @property
    def training(self) -> str:
        """Epochs, step size and when it drops, in words."""
        if self.epochs is None:
            length = "3,000 to 300 epochs, the fewer the more images per class,"
            when = f"after {' and '.join(f'{fraction:.0%}' for fraction in self.drops)} of them"
        else:
            more = ", and the one more that DC's code runs," if self.restart else ""
            length, drops = f"{self.epochs} epochs{more}", self.drop_epochs
            when = f"from epoch {' and '.join(map(str, drops))} on"
            when = f"every {drops[0]} epochs" if len(drops) > _MANY else when
        said = [
            f"{length} of SGD with step size "
            f"{'learned with the set where there is one, else ' if self.learned_rate else ''}{self.learning_rate}",
            f"times {self.drop} {when}" if self.drops else "",
            "" if self.cosine is None else f"lowered by a cosine to {self.cosine} of it",
            "a little at each step" if self.each_step else "",
            "Nesterov's look ahead" if self.nesterov else "",
            "the loss of a batch divided by the sum of its weights" if self.relative_weights else "",
            "epochs divided by the tiles in an image (equal computing)" if self.equal_compute else "",
            "of more than 100 classes step size 0.1, weight decay 0.0001 and batches of 128" if self.many else "",
        ]
        return ", ".join(part for part in said if part)

    def fit(self, key: Key, synthetic: SyntheticSet, network: Network) -> Variables:
        """Train a fresh network, epoch after epoch."""
        key_init, key_epochs = jax.random.split(key)
        variables, state = self.begin(key_init, network)
        passes = jnp.arange(self.passes(*synthetic.labels.shape))
        return self.go_on(key_epochs, variables, state, synthetic, network, passes)[0]

    def on_tiles(self, tiles: int, count: int, classes: int) -> Protocol:
        """See `Recipe.on_tiles`; epochs that go by the number of images go by that of tiles, and are then divided."""
        if not self.equal_compute or tiles == 1:
            return self
        epochs = epochs_for(count, classes) if self.epochs is None else self.epochs
        return dataclasses.replace(self, epochs=max(epochs // tiles, min(epochs, 1)))

    def passes(self, count: int, classes: int) -> int:
        """How often a set is gone through; see `epochs_for`."""
        return (epochs_for(count, classes) if self.epochs is None else self.epochs) + self.restart

    def among(self, classes: int) -> Protocol:
        """The recipe by which so many classes are learned."""
        if not self.many or classes <= 100:
            return self
        return dataclasses.replace(self, learning_rate=0.1, weight_decay=1e-4, batch=max(128, self.batch))

    def begin(self, key: Key, network: Network) -> tuple[Variables, PyTree]:
        """A fresh network, and the state of its optimiser.

        Args:
            key: consumed; of the network's first weights.
            network: what is trained.
        """
        variables = network.init(key)
        return variables, self._optimizer(jnp.float32(self.learning_rate), 0, 1).init(variables.params)

    def go_on(
        self,
        key: Key,
        variables: Variables,
        state: PyTree,
        synthetic: SyntheticSet,
        network: Network,
        passes: Int[Array, " passes"],
    ) -> tuple[Variables, PyTree]:
        """Train a network for some passes over a set, of those that the recipe has; pure, one scan.

        Args:
            key: of all passes, whichever these are.
            variables: where the network stands.
            state: of its optimiser.
            synthetic: the set; from call to call it may be another of as many images.
            network: what is trained.
            passes: by their numbers, from 0.
        """
        if self.epochs is None or self.many:
            epochs = epochs_for(*synthetic.labels.shape) if self.epochs is None else self.epochs
            known = dataclasses.replace(self.among(synthetic.labels.shape[1]), epochs=epochs, many=False)
            return known.go_on(key, variables, state, synthetic, network, passes)
        base = jnp.float32(self.learning_rate)
        if self.learned_rate and synthetic.learning_rate is not None:
            base = synthetic.learning_rate.reshape(-1)[0]
        apart = None if self.selected_augment is None else function_of(self.selected_augment)
        shown = Augmented(function_of(self.augment), apart, self.cutmix, self.relative_weights)
        steps = -(-synthetic.count // self.batch)

        def advance(carry: tuple[Variables, PyTree], i: Int[Array, ""]) -> tuple[tuple[Variables, PyTree], None]:
            variables, velocity = carry
            if self.restart and not self.each_step:
                dropped = jnp.isin(i, jnp.asarray(self.drop_epochs, int))
                velocity = jax.tree.map(lambda v: jnp.where(dropped, 0.0, v), velocity)
            return epoch(
                jax.random.fold_in(key, i), network, variables, velocity, synthetic,
                optimizer=self._optimizer(base, i, steps), batch=self.batch, transform=shown,
            )[:2], None  # fmt: skip

        return jax.lax.scan(advance, (variables, state), passes)[0]

    def _optimizer(
        self, base: Float[Array, ""], epoch: Int[Array, ""] | int, steps: int
    ) -> optax.GradientTransformation:
        """That of an epoch, or where the step size goes by steps, so many in each epoch, that of all of them."""
        make = partial(sgd, momentum=self.momentum, decay=self.weight_decay, nesterov=self.nesterov)
        if self.each_step:
            return by_step(make, lambda step: jnp.asarray(self.rate(base, step / steps)))
        return make(self.rate(base, epoch))


@dataclasses.dataclass(frozen=True)
class InOrder(Recipe):
    """Apply a set's images in stored order, each batch with the step size learned for it (DD, Wang et al. 2018).

    Plain gradient steps, no momentum, no augmentation, no weights of images. A set without such step sizes takes one
    image of each class a step, at `learning_rate`. The code takes more epochs than were learned at a fixed step size
    alone (``test_distill_epochs``); what `rates` has beside that is ours.
    """

    epochs: int | None = None
    """Passes over the set; by default those whose step sizes were learned, and 5 over a set that carries none. After 0
    networks are as they began."""
    learning_rate: float = 0.1
    """Step size of a set that carries none. This and the 5 passes are a compromise for random images between data sets,
    out of the grid that the paper searched for its baselines, found on training images held out."""
    rates: Literal["all", "last", "fixed"] = "all"
    """Step sizes of passes beyond those that were learned: those of all of them in turn, or of the last one. With fixed
    all steps have `learning_rate`, whatever was learned."""
    by_class: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if (self.epochs or 0) < 0 or self.learning_rate <= 0:
            raise UsageError(f"give epochs >= 0 and a positive learning rate, not {self.epochs}, {self.learning_rate}")

    @property
    def training(self) -> str:
        """Whose step sizes, in words."""
        return (
            f"plain gradient steps on the set's batches in stored order, {self._whose}; sets without any: "
            f"{_PASSES if self.epochs is None else self.epochs} epochs of one image of each class at a time, step size "
            f"{self.learning_rate}"
        )

    @property
    def _whose(self) -> str:
        if self.rates == "fixed":
            return f"all with step size {self.learning_rate}"
        said = "each with the step size learned for it"
        if self.epochs is None:
            return said
        again = "the last pass" if self.rates == "last" else "all passes in turn"
        return f"{said}, in {self.epochs} epochs, of which those beyond what was learned take those of {again}"

    def fit(self, key: Key, synthetic: SyntheticSet, network: Network) -> Variables:
        """Train a fresh network, batch after batch."""
        return train_in_order(network, network.init(key), synthetic, self.step_sizes(synthetic))

    def step_sizes(self, synthetic: SyntheticSet) -> Float[Array, "epochs steps"]:
        """Those that a set is applied with."""
        learned, epochs = synthetic.learning_rate, self.epochs
        if learned is None or learned.ndim != 2:
            steps = synthetic.labels.shape[0] // synthetic.labels.shape[1]
            return jnp.full((_PASSES if epochs is None else epochs, steps), self.learning_rate)
        rows = np.arange(len(learned) if epochs is None else epochs)
        if self.rates == "fixed":
            return jnp.full((len(rows), learned.shape[1]), self.learning_rate)
        rows = np.minimum(rows, len(learned) - 1) if self.rates == "last" else rows % len(learned)
        return jnp.asarray(learned)[rows]


def epochs_for(count: int, classes: int) -> int:
    """Epochs on ImageNet's classes, by the code of IDC, which Minimax Diffusion's evaluation took over.

    Two thirds of them, in whole hundreds, for 100 classes, as there.

    Args:
        count: images that are trained on; those of a set with several tiles in each count by their tiles.
        classes: among which they are shared out.
    """
    epochs = next((epochs for most, epochs in _EPOCHS if count <= most * classes), _MORE)
    return epochs * 2 // 3 // 100 * 100 if classes == 100 else epochs


_IDC = Protocol(1000, "all:default-cutout", cutmix=0.5, batch=64, drop=0.2, drops=(2 / 3, 5 / 6), restart=False)
_SELMATCH = Protocol(1000, "each:default", CROP_AND_FLIP, batch=128, learning_rate=0.1, drops=(), cosine=0.01)
_SELMATCH_DSA = dataclasses.replace(_SELMATCH, selected_augment=None)

_DEEPCORE = Protocol(
    200, "reflect:default-color-cutout-scale-rotate", learning_rate=0.1, nesterov=True, drops=(), cosine=0.001,
    each_step=True, relative_weights=True, restart=False,
)  # fmt: skip

_MINIMAX = dataclasses.replace(_IDC, epochs=None, augment="photo:default-cutout-scale-rotate", cutmix=1.0, many=True)

_MINIMAX_100 = dataclasses.replace(_MINIMAX, batch=128, learning_rate=0.1, weight_decay=1e-4)

_EVERY_15TH = tuple(first / 1800 for first in range(15, 1800, 15))

PROTOCOLS: dict[str, Recipe] = {
    "dc300": Protocol(300, augment="none"),
    "dc1000-mnist": Protocol(1000, augment="classic:crop_scale_rotate"),
    "dc1000-bn": Protocol(1000, augment="classic:crop_noise"),
    "dsa1000": Protocol(1000),
    "digits100": Protocol(100, learning_rate=0.03),
    "idc1000": _IDC,
    "idc1000-plain": dataclasses.replace(_IDC, cutmix=0.0),
    "idc1000-cutout": dataclasses.replace(_IDC, augment="all:default", cutmix=0.0),
    "datadam1800": Protocol(1800, batch=64),
    "datadam1800-halved": Protocol(1800, batch=64, drop=0.5, drops=_EVERY_15TH, restart=False),
    "dd": InOrder(),
    "dd-last": InOrder(rates="last"),
    "dd-fixed": InOrder(rates="fixed"),
    "knn": NearestNeighbours(),
    "mtt1000": Protocol(1000, learned_rate=True),
    "datm1000": Protocol(1000, batch=128, learned_rate=True),
    "krr": KernelRidge(),
    "kip-nn": StableRegression(),
    **{f"rfad-nn-{dataset}": CentredRegression(by_size=rows) for dataset, rows in RFAD_SIZES.items()},
    "frepo": Regression(),
    "frepo-krr": FeatureRegression(),
    **{f"selmatch{epochs}": dataclasses.replace(_SELMATCH, epochs=epochs) for epochs in (1000, 500, 250, 167)},
    **{f"selmatch{epochs}-dsa": dataclasses.replace(_SELMATCH_DSA, epochs=epochs) for epochs in (1000, 500, 250, 167)},
    "minimax": _MINIMAX,
    "idc-imagenet100": _MINIMAX_100,
    "deepcore200": _DEEPCORE,
    "rded300": SoftLabels(),
}
"""The papers' recipes by name: DC plain, for MNIST, and for batch-norm networks; DSA, DM and DC-BENCH; IDC with CutMix,
without it, and with cutout instead; DataDAM's code, and its paper's table; DD, the same with other step sizes where
there are more epochs than were learned, and its nearest neighbours; MTT, TESLA and FTD; DATM, which both train a set at
the step size that was learned with it, and random images, which have none, at `learning_rate`; KIP, and the NTK and
NNGP of any set, and KIP's networks of finite width; RFAD's wide networks, whose settings go by data set and size;
FRePo, by networks and by a ridge regression on their features; SelMatch, whose epochs go down as sets grow, so that all
take as many steps, and the same but for selected images, which are augmented as all others, as the paper judges its
windows; Minimax Diffusion with hard labels, which is IDC's on ImageNet, and IDC's for 100 of its classes and more
(Deviation: these report the best of a hundred accuracies on the test images); DeepCore, of core-sets, whose network is
ResNet-18 (Deviation: likewise, of two hundred); RDED, with labels of a teacher. `digits100` is ours for digits
(`dsa_recipe`)."""


def dsa_recipe(dataset: str) -> str:
    """The name of DSA's recipe, which other methods have too, for a data set; ``digits100`` for digits.

    That is DSA's with a tenth of the epochs at three times the step size, which takes seconds a network; on training
    images held out its accuracies are those of twice the epochs at DSA's step size (build notes). Nothing was published
    on digits, so that no number is to be met by the longer one.
    """
    return "digits100" if dataset == "digits" else "dsa1000"
