"""What a selection is, and the kinds of inputs that one can go by.

Everyone who has to do with a selection asks its `needs`: the commands make the inputs with `build`, refuse options that
are not among what it `reads` and show the others. A new kind of input is one more class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxdistill import types
from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.errors import UsageError
from jaxdistill.kernels.regression import LINEAR
from jaxdistill.selection.curve import Searched
from jaxdistill.selection.outputs import Outputs, Tuned, outputs
from jaxdistill.selection.window import Difficulty
from jaxdistill.training.inference import embedding, predict
from jaxdistill.training.proxy import pixels
from jaxdistill.training.sgd import Seen
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = [
    "OF_WINDOW", "ByScore", "Context", "Experts", "Features", "Kernel", "Need", "Nothing", "Parted", "ProxyModel",
    "ProxyOutputs", "RandomSets", "Scores", "Selection", "Teachers", "Trials",
]  # fmt: skip

SEARCH = frozenset({"search", "search_starts", "search_networks", "search_epochs", "search_ratios"})
"""Options of a search for the window."""
OF_WINDOW = SEARCH | {"beta", "window_start"}
"""Options of where a window begins."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """One way to come by a small set without a method; callable as the commands call it.

    Example:
        >>> import jax
        >>> import jaxdistill as jd
        >>> train = jd.load("digits").train
        >>> jd.SELECTIONS["random"](jax.random.key(0), train, 2).images.shape
        (20, 8, 8, 1)
        >>> jd.SELECTIONS["herding"](jax.random.key(0), train, 2, jd.pixels(train)).images.shape
        (20, 8, 8, 1)
    """

    name: str
    needs: Need
    """What it goes by beside the images."""
    select: Callable[..., SyntheticSet]
    """``select(key, data, ipc, inputs)``, without `inputs` where nothing is needed."""
    paper: str = ""
    """Where it is from; empty where it is from nowhere."""
    budgets: Literal["any", "unbalanced", "ipc"] = "any"
    """Beside as many images of each class: any other numbers of them; only one of all classes together, since what it
    takes of a class depends on the others; or nothing else. See `jaxdistill.selection.budgets`."""
    real: bool = True
    """Whether its images are real ones."""

    @standard
    def __call__(self, key: Key, data: RealData, ipc: int, inputs: Any = None) -> SyntheticSet:
        """A set of `ipc` images of each class.

        Args:
            key: consumed.
            data: the split that is selected from.
            ipc: images per class.
            inputs: what the selection goes by, as its `needs` say; nothing for ``random``, ``average`` and ``noise``.

        Raises:
            UsageError: if `inputs` are of another kind, `ipc` is below 1 or, where it is real images that are picked,
                above the size of a class.
        """
        if not self.needs.accepts(inputs):
            asked = self.needs.kind
            called = "row for each image" if asked is jax.Array else f"{asked.__module__}.{asked.__name__}"
            wanted = ")" if asked is type(None) else f", inputs) with a {called}"
            kind = "array" if isinstance(inputs, jax.Array) else type(inputs).__name__
            given = "nothing" if inputs is None else f"this {kind}"
            raise UsageError(
                f"{self.name} goes by {self.needs.words} and was given {given}; call it as (key, data, ipc{wanted}"
            )
        return self.select(key, data, ipc, *(() if inputs is None else (inputs,)))


class ProxyModel(NamedTuple):
    """A network that was trained on the whole training set, and what it said on the way."""

    seen: Seen
    """Of all images in each epoch: arrays ``[epochs, n]``."""
    epoch: int
    """The one that counts as early training, from 0."""
    network: Network
    variables: Variables
    """After that epoch."""
    data: RealData


class Parted(NamedTuple):
    """What networks that were each trained on a part of a split are right about, without augmentation."""

    saw: Bool[np.ndarray, "networks n"]
    """Which images each was trained on."""
    correct: Bool[np.ndarray, "networks n"]


class Teachers(NamedTuple):
    """Trained networks, by number."""

    network: Network
    variables: Callable[[int], Variables]
    """The network as expert number i ended."""
    count: int


class Trials(NamedTuple):
    """How random sets are tried."""

    judge: Callable[[Key, SyntheticSet], float]
    """How good a set is, larger is better: accuracy on training images of a network that was trained on it."""
    count: int
    """How many sets are tried."""


class Context(NamedTuple):
    """What inputs are made of; `jaxdistill.commands.selection_inputs` brings it."""

    options: Any
    """Values of the options that needs read: `jaxdistill.settings.config.BasisConfig`."""
    data: RealData
    """The split that is selected from."""
    on_host: bool
    """Whether it is too large for the device."""
    key: Key
    """Of networks that are trained for it."""
    network: Network
    """What is trained for it, or was."""
    experts: Teachers | None
    """Networks that were trained before."""
    kernel: Callable[[], types.Kernel]
    """The kernel that was asked for, or the usual one."""
    proxy: Callable[[], Variables]
    """Where one trained network stands: the first of the experts at its end, or one that is trained for it."""
    proxies: Callable[[bool], Iterator[ProxyModel]]
    """The experts, or networks that are trained for it, and what they said; only if asked for, where they stand."""
    parted: Callable[[], Parted]
    """Networks that are trained on parts of the split."""
    given_scores: Callable[[], Float[np.ndarray, " n"]]
    """The scores in the file that was given, in the order of the split."""
    judge: Callable[[Key, SyntheticSet], float]
    """Accuracy on training images of a network that is trained on a set."""
    search: Callable[[Float[np.ndarray, " n"], bool], Searched]
    """Where held-out training images say that the window should begin, by the scores of all; thoroughly or not."""
    held_out: RealData | None = None
    """Training images that were set aside, where a selection may go by them."""


class Need:
    """A kind of input. Where methods take `experts`, that is whether there are some."""

    words: ClassVar[str]
    """What a selection goes by."""
    kind: ClassVar[type]
    """Of the inputs."""
    options: ClassVar[frozenset[str]] = frozenset()
    """Fields of `jaxdistill.settings.config.BasisConfig` that it reads, if not always."""
    takes_experts: ClassVar[bool] = False
    """Whether experts have a say where there are some, if not always."""
    requires_experts: ClassVar[bool] = False
    by_kernel: ClassVar[bool] = False
    ordered: ClassVar[bool] = False
    """Whether what is selected by it comes hardest first, class by class."""
    reads_all: ClassVar[bool] = True
    """Whether all images are looked at, if not always."""
    reselects: ClassVar[bool] = False
    """Whether a network says all of it, so that one may be asked again and again while it trains (`of_network`)."""

    def build(self, context: Context) -> Any:
        """Make the inputs."""
        raise NotImplementedError

    def of_network(
        self,
        network: Network,
        variables: Variables,
        data: RealData,
        options: Any = None,
        held_out: RealData | None = None,
    ) -> Any:
        """The inputs by a network as it stands, which is not the one of a `Context`.

        Args:
            network: any.
            variables: where it stands.
            data: the split that is selected from.
            options: values of the options that needs read; by default those that functions have.
            held_out: training images that were set aside, for selections that go by some.
        """
        raise NotImplementedError

    def stand_in(self, context: Context) -> Any:
        """Inputs where only shapes of what is selected matter: no network is trained for them."""
        return self.build(context)

    def accepts(self, inputs: Any) -> bool:
        """Whether these are such inputs."""
        return isinstance(inputs, self.kind)

    def part(self, inputs: Any, labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " classes"]) -> Any:
        """Inputs for some of the images, in other groups than their classes: of their rows, where there are rows.

        Args:
            inputs: of all images.
            labels: the class of each.
            groups: the group of each class, -1 where its images are left out.
        """
        rows = np.flatnonzero(groups[labels] >= 0)
        return jax.tree.map(lambda leaf: leaf[rows] if np.shape(leaf)[:1] == (len(labels),) else leaf, inputs)

    def reads(self, options: Any, experts: bool) -> frozenset[str]:
        """The options that have an effect, the others being as they are."""
        del options, experts
        return self.options

    def uses_experts(self, options: Any) -> bool:
        """Whether it goes by experts, where there are some."""
        del options
        return self.takes_experts

    def whole_split(self, options: Any, experts: bool) -> bool:
        """Whether all images are looked at, which therefore have to be on the device."""
        del options, experts
        return self.reads_all

    def features(self, options: Any, experts: bool) -> str:
        """Which features it goes by, in words for a set's card; empty where it goes by something else."""
        del options, experts
        return ""

    def scores_of(self, inputs: Any) -> np.ndarray | None:
        """The scores among inputs, as files have them, in the order of the split; None where there are none."""
        del inputs

    def search_of(self, inputs: Any) -> Searched | None:
        """What chose the window among inputs; None where there is none, or it was given."""
        del inputs

    def score_in(self, options: Any) -> Scores | None:
        """The score that it goes by; None where it goes by none."""
        del options


class Nothing(Need):
    """Nothing beside the images and their labels."""

    words, kind, reads_all = "nothing else", type(None), False

    def build(self, context: Context) -> None:
        """Nothing."""


class Features(Need):
    """A row of numbers for each image, between which distances are measured."""

    words, kind = "distances of pixels or features", jax.Array
    options, takes_experts = frozenset({"features", "feature_epochs"}), True

    def build(self, context: Context) -> Float[Array, "n d"]:
        """Pixels, or the embedding of one trained network."""
        if context.options.features == "pixels":
            return pixels(context.data)
        return predict(context.network, context.proxy(), context.data, embedding)

    def stand_in(self, context: Context) -> Float[Array, "n d"]:
        """Rows of one number."""
        return jax.random.normal(context.key, (context.data.count, 1))

    def accepts(self, inputs: Any) -> bool:
        """Whether this is a matrix."""
        return isinstance(inputs, jax.Array | np.ndarray) and inputs.ndim == 2

    def reads(self, options: Any, experts: bool) -> frozenset[str]:
        """Epochs are those of a network that is trained for it."""
        return self.options if self.uses_experts(options) and not experts else frozenset({"features"})

    def uses_experts(self, options: Any) -> bool:
        """For embeddings."""
        return options.features == "embedding"

    def features(self, options: Any, experts: bool) -> str:
        """Pixels, or whose embedding."""
        return _embedding(options, experts) if self.uses_experts(options) else "pixels"


@dataclasses.dataclass(frozen=True, eq=False)
class ProxyOutputs(Need):
    """The embedding and the logits that one trained network has of each image."""

    tuning: tuple[str, str] | None = None
    """One more option that is read, and the name that the selection's function has for it."""
    validated: bool = False
    """Whether the function's ``validation`` is what the network says of held-out images, where there are some."""

    words, kind, takes_experts, reselects = "what a trained network says", Outputs, True, True

    @property
    def options(self) -> frozenset[str]:
        """The epochs of the network, and the option of the selection."""
        return frozenset({"feature_epochs"} | {*(self.tuning or ())[:1]})

    def build(self, context: Context) -> Outputs | Tuned:
        """Of one trained network."""
        return self.of_network(context.network, context.proxy(), context.data, context.options, context.held_out)

    def of_network(
        self,
        network: Network,
        variables: Variables,
        data: RealData,
        options: Any = None,
        held_out: RealData | None = None,
    ) -> Outputs | Tuned:
        """Its embedding and logits, with what the selection's function has options for."""
        said, tuned = outputs(network, variables, data), {}
        if self.tuning is not None and options is not None:
            tuned[self.tuning[1]] = getattr(options, self.tuning[0])
        if self.validated and held_out is not None:
            tuned["validation"] = outputs(network, variables, held_out), jnp.asarray(held_out.labels)
        return Tuned(said, tuned) if tuned else said

    def stand_in(self, context: Context) -> Outputs:
        """Embeddings of one number, and equal logits."""
        data = context.data
        return Outputs(jax.random.normal(context.key, (data.count, 1)), jnp.zeros((data.count, len(data.counts))))

    def accepts(self, inputs: Any) -> bool:
        """With options too, where the function has some."""
        return isinstance(inputs, Outputs) or (self.tuning is not None and isinstance(inputs, Tuned))

    def part(
        self, inputs: Outputs | Tuned, labels: Int[np.ndarray, " n"], groups: Int[np.ndarray, " classes"]
    ) -> Outputs | Tuned:
        """With the classes of the images, of which their gradients are; validation images go by the same groups."""

        def some(said: Outputs, labels: Int[np.ndarray, " n"]) -> Outputs:
            return super(ProxyOutputs, self).part(said._replace(classes=labels), labels, groups)

        if isinstance(inputs, Outputs):
            return some(inputs, labels)
        options = inputs.options
        if "validation" in options:
            held_out, of = options["validation"][0], np.asarray(options["validation"][1])
            options = {**options, "validation": (some(held_out, of), groups[of][groups[of] >= 0])}
        return Tuned(some(inputs.outputs, labels), options)

    def reads(self, options: Any, experts: bool) -> frozenset[str]:
        """Not the epochs of the network, if there is one."""
        return self.options - {"feature_epochs"} if experts else self.options

    def features(self, options: Any, experts: bool) -> str:
        """Whose embedding."""
        return _embedding(options, experts)


@dataclasses.dataclass(frozen=True)
class Scores(Need):
    """How hard each image is: by a file, or the mean over networks of a score."""

    score: Callable[[Any], Float[Array | np.ndarray, " n"]]
    """Of one network, a `ProxyModel`; larger is harder."""
    asks_network: bool = False
    """Whether it needs the network itself, and not only what it said while it was trained."""
    high_is_easy: bool = False
    """Whether files have it the other way round, from 0 for what is hardest to 1."""

    thorough: bool = False
    """Whether a search for the window is one of many windows and networks, if it is not asked to be."""

    words, kind, ordered = "a score for each image", Difficulty, True
    options = OF_WINDOW | {"scores", "score_networks", "score_epochs"}
    takes_experts = True

    def build(self, context: Context) -> Difficulty:
        """Scores and the window of them, which is searched for where nothing says where it begins."""
        options, scores = context.options, self.hardness(context)
        if options.beta is not None and not options.search:
            return Difficulty(scores, options.beta, options.window_start)
        found = context.search(scores, self.thorough or options.search)
        return Difficulty(scores, found.beta, search=found)

    def stand_in(self, context: Context) -> Difficulty:
        """All alike."""
        return Difficulty(np.zeros(context.data.count))

    def hardness(self, context: Context) -> np.ndarray:
        """How hard each image is, larger is harder, in the order of the split."""
        if context.options.scores is not None:
            return self.turned(context.given_scores())
        return self.own(context)

    def own(self, context: Context) -> np.ndarray:
        """The same where no file says it."""
        return np.mean([np.asarray(self.of(model)) for model in context.proxies(self.asks_network)], axis=0)

    @standard
    def of(self, model: Any) -> Float[Array | np.ndarray, " n"]:
        """The score of one network."""
        return self.score(model)

    def made(self, options: Any, experts: int) -> str:
        """How scores came about, in words, for a file of them.

        Args:
            options: those that it reads.
            experts: how many there are; 0 where there are none.
        """
        if options.scores is not None:
            return f"read from {options.scores.name}"
        if experts:
            return f"mean over {experts} experts, with {options.score_epochs} score epochs"
        return f"mean over {options.score_networks} networks of {options.score_epochs} epochs"

    def reads(self, options: Any, experts: bool) -> frozenset[str]:
        """What a file, or the experts, leave open."""
        given = options.beta is not None and not options.search
        unread = {*SEARCH} - {"search"} if given else {"window_start"}
        unread |= set() if options.beta else {"window_start"}
        unread |= {"score_networks"} if experts or options.scores is not None else set()
        unread |= {"score_epochs"} if options.scores is not None else set()
        return self.options - unread

    def uses_experts(self, options: Any) -> bool:
        """Unless there is a file."""
        return options.scores is None

    def whole_split(self, options: Any, experts: bool) -> bool:
        """Unless a file or the experts' records say it."""
        return options.scores is None and (self.asks_network or not experts)

    def scores_of(self, inputs: Difficulty) -> np.ndarray:
        """C-scores in [0, 1] and low for what is hard, in float64, in which 1 minus it loses nothing; others as is."""
        return self.turned(inputs.scores)

    def search_of(self, inputs: Difficulty) -> Searched | None:
        """What chose the window."""
        return inputs.search

    def score_in(self, options: Any) -> Scores:
        """Its own."""
        del options
        return self

    def turned(self, scores: np.ndarray) -> np.ndarray:
        """Hardness of what a file says, and the other way round."""
        return 1 - np.asarray(scores, np.float64) if self.high_is_easy else scores


class ByScore(Need):
    """The score of another selection, which an option names; what is done with it is for the selection to say."""

    words = "the score of another selection"
    options, takes_experts = Scores.options | {"score", "subset_share"}, True

    def reads(self, options: Any, experts: bool) -> frozenset[str]:
        """Which score, and what that reads."""
        return options.scored.reads(options, experts) | {"score"}

    def uses_experts(self, options: Any) -> bool:
        """Where that score does."""
        return options.scored.uses_experts(options)

    def whole_split(self, options: Any, experts: bool) -> bool:
        """Where that score does."""
        return options.scored.whole_split(options, experts)

    def score_in(self, options: Any) -> Scores:
        """The one that is named."""
        return options.scored


class RandomSets(Need):
    """How good random sets are."""

    words, kind, reads_all = "networks trained on random sets", Trials, False
    options = frozenset({"trials", "trial_epochs"})

    def build(self, context: Context) -> Trials:
        """A judge, and how often it is asked."""
        return Trials(context.judge, context.options.trials)

    def stand_in(self, context: Context) -> Trials:
        """A judge to whom all are alike."""
        return Trials(lambda *_: 0.0, context.options.trials)


class Experts(Need):
    """Networks that were trained before."""

    words, kind, reads_all = "what experts say", Teachers, False
    takes_experts = requires_experts = True

    def build(self, context: Context) -> Teachers:
        """The experts as they ended."""
        assert context.experts is not None  # see `requires_experts`
        return context.experts


class Kernel(Need):
    """A kernel, for labels."""

    words, kind, by_kernel = "a kernel", types.Kernel, True

    def build(self, context: Context) -> types.Kernel:
        """The one that was asked for."""
        return context.kernel()

    def stand_in(self, context: Context) -> types.Kernel:
        """Inner products."""
        return LINEAR


def _embedding(options: Any, experts: bool) -> str:
    whose = "the first expert at its end" if experts else f"a network after {options.feature_epochs} epochs"
    return f"embedding of {whose}"
