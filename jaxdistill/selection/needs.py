"""What selections go by beside the images: each kind says how it is made, which options it reads and what it is called.

A selection has one of these for its `needs`, and everyone asks that: the commands make what is needed with `build`,
refuse options that are not among what it `reads`, and show the others. A new kind is one more class.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxdistill import types
from jaxdistill.common.promotion import standard
from jaxdistill.data.feeds import RealData
from jaxdistill.kernels.regression import LINEAR
from jaxdistill.selection.outputs import Outputs, outputs
from jaxdistill.selection.window import Difficulty
from jaxdistill.training import proxy
from jaxdistill.training.sgd import Seen
from jaxdistill.types import Key, Network, SyntheticSet, Variables

__all__ = [
    "Context", "Experts", "Features", "Kernel", "Need", "Nothing", "ProxyModel", "ProxyOutputs", "RandomSets", "Scores",
    "Teachers", "Trials",
]  # fmt: skip


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


@runtime_checkable
class Context(Protocol):
    """What inputs can be made of; `jaxdistill.commands.selection_inputs` brings it."""

    @property
    def options(self) -> Any:
        """Values of the options that needs read: `jaxdistill.settings.config.BasisConfig`."""
        ...

    @property
    def data(self) -> RealData:
        """The split that is selected from."""
        ...

    @property
    def key(self) -> Key:
        """Of networks that are trained for it."""
        ...

    def experts(self) -> Teachers:
        """Networks that were trained before; asked only where there are some."""
        ...

    def kernel(self) -> types.Kernel:
        """The kernel that was asked for, or the usual one."""
        ...

    def proxy(self) -> proxy.Embedding:
        """One trained network: the first of the experts at its end, or one that is trained for it."""
        ...

    def proxies(self, asked: bool) -> Iterator[ProxyModel]:
        """The experts, or networks that are trained for it, and what they said; their variables only if `asked`."""
        ...

    def given_scores(self) -> Float[np.ndarray, " n"]:
        """The scores in the file that was given, in the order of `data`."""
        ...

    def judge(self, key: Key, synthetic: SyntheticSet) -> float:
        """Accuracy on training images of a network that is trained on a set."""
        ...


@dataclasses.dataclass(frozen=True)
class Need:
    """A kind of input."""

    words: ClassVar[str]
    """What a selection goes by, in words."""
    inputs: ClassVar[str | None]
    """What is given to the selection's function, in words; None for nothing."""
    options: ClassVar[frozenset[str]] = frozenset()
    """Options that it reads, if not always: fields of `jaxdistill.settings.config.BasisConfig`."""
    by_kernel: ClassVar[bool] = False
    """Whether it is a kernel."""
    takes_experts: ClassVar[bool] = False
    """Whether experts have a say where there are some, if not always."""
    requires_experts: ClassVar[bool] = False
    """Whether there have to be experts."""

    def build(self, context: Context) -> Any:
        """Make the inputs.

        Raises:
            UsageError: if they cannot be had.
        """
        raise NotImplementedError

    def stand_in(self, context: Context) -> Any:
        """Something in their place where only shapes of what is selected matter: no network is trained for it."""
        return self.build(context)

    def accepts(self, inputs: Any) -> bool:
        """Whether this is such an input."""
        raise NotImplementedError

    def reads(self, options: Any, *, experts: bool) -> frozenset[str]:
        """The options that have an effect, the others being as they are.

        Args:
            options: values of all of them.
            experts: whether there are some.
        """
        del options, experts
        return self.options

    def uses_experts(self, options: Any) -> bool:
        """Whether it goes by experts, where there are some."""
        del options
        return self.takes_experts

    def whole_split(self, options: Any, *, experts: bool) -> bool:
        """Whether all images are looked at, which therefore have to be on the device; see `reads`."""
        del options, experts
        return True

    def features(self, options: Any, *, experts: bool) -> str:
        """Which features it goes by, in words for a set's card; empty where it goes by something else; see `reads`."""
        del options, experts
        return ""

    def scores_of(self, inputs: Any) -> np.ndarray | None:
        """The scores among inputs, as files have them, in the order of the split; None where there are none."""
        del inputs
        return None


class Nothing(Need):
    """Selections that go by the images' labels alone, or that make images of no more than them."""

    words, inputs = "nothing else", None

    def build(self, context: Context) -> None:
        """Nothing."""

    def accepts(self, inputs: Any) -> bool:
        """Whether there is none."""
        return inputs is None

    def whole_split(self, options: Any, *, experts: bool) -> bool:
        """No: images are read a few at a time."""
        return False


class Features(Need):
    """A row of numbers for each image, between which distances are measured."""

    words, inputs = "distances of pixels or features", "an array with a row for each image, as jaxdistill.pixels makes"
    options = frozenset({"features", "feature_epochs"})
    takes_experts = True

    def build(self, context: Context) -> Float[Array, "n d"]:
        """Pixels, or the embedding of one trained network."""
        if context.options.features == "pixels":
            return proxy.pixels(context.data)
        return proxy.embed(context.proxy(), context.data)

    def stand_in(self, context: Context) -> Float[Array, "n d"]:
        """Rows of one number."""
        return jax.random.normal(context.key, (context.data.count, 1))

    def accepts(self, inputs: Any) -> bool:
        """Whether this is a matrix."""
        return isinstance(inputs, jax.Array | np.ndarray) and inputs.ndim == 2

    def reads(self, options: Any, *, experts: bool) -> frozenset[str]:
        """Epochs are those of a network that is trained for it."""
        return self.options if self.uses_experts(options) and not experts else frozenset({"features"})

    def uses_experts(self, options: Any) -> bool:
        """For embeddings."""
        return options.features == "embedding"

    def features(self, options: Any, *, experts: bool) -> str:
        """Pixels, or whose embedding."""
        return _embedding(options, experts) if self.uses_experts(options) else "pixels"


class ProxyOutputs(Need):
    """What one trained network says of each image."""

    words, inputs = "what a trained network says", "jaxdistill.selection.outputs.Outputs"
    options = frozenset({"feature_epochs"})
    takes_experts = True

    def build(self, context: Context) -> Outputs:
        """Embeddings and logits of one trained network."""
        return outputs(*context.proxy(), context.data)

    def stand_in(self, context: Context) -> Outputs:
        """Embeddings of one number, and no logits to speak of."""
        data = context.data
        return Outputs(jax.random.normal(context.key, (data.count, 1)), jnp.zeros((data.count, len(data.counts))))

    def accepts(self, inputs: Any) -> bool:
        """Whether these are outputs."""
        return isinstance(inputs, Outputs)

    def reads(self, options: Any, *, experts: bool) -> frozenset[str]:
        """The epochs of the network, unless there is one."""
        return frozenset() if experts else self.options

    def features(self, options: Any, *, experts: bool) -> str:
        """Whose embedding."""
        return _embedding(options, experts)


@dataclasses.dataclass(frozen=True)
class Scores(Need):
    """How hard each image is: by a file, or the mean over networks of a score."""

    score: Callable[[ProxyModel], Float[Array, " n"]]
    """Of one network; larger is harder."""
    asks_network: bool = False
    """Whether it needs the network itself, and not only what it said while it was trained."""
    high_is_easy: bool = False
    """Whether files have it the other way round, from 0 for what is hardest to 1."""

    words, inputs = "a score for each image", "jaxdistill.selection.window.Difficulty"
    options = frozenset({"beta", "window_start", "scores", "score_networks", "score_epochs"})
    takes_experts = True

    def build(self, context: Context) -> Difficulty:
        """Scores and the window of them."""
        return Difficulty(self.hardness(context), context.options.beta, context.options.window_start)

    def hardness(self, context: Context) -> np.ndarray:
        """How hard each image is, larger is harder, in the order of the split."""
        if context.options.scores is not None:
            return self._turned(context.given_scores())
        return np.mean([np.asarray(self.of(model)) for model in context.proxies(self.asks_network)], axis=0)

    @standard
    def of(self, model: ProxyModel) -> Float[Array, " n"]:
        """The score of one network."""
        return self.score(model)

    def stand_in(self, context: Context) -> Difficulty:
        """All alike."""
        return Difficulty(np.zeros(context.data.count), context.options.beta, context.options.window_start)

    def accepts(self, inputs: Any) -> bool:
        """Whether these are scores, and a window of them."""
        return isinstance(inputs, Difficulty)

    def reads(self, options: Any, *, experts: bool) -> frozenset[str]:
        """What a file, or the experts, leave open."""
        unread = set() if options.beta > 0 else {"window_start"}
        if options.scores is not None:
            unread |= {"score_networks", "score_epochs"}
        elif experts:
            unread.add("score_networks")
        return self.options - unread

    def uses_experts(self, options: Any) -> bool:
        """Unless there is a file."""
        return options.scores is None

    def whole_split(self, options: Any, *, experts: bool) -> bool:
        """Unless a file or the experts' records say it."""
        return options.scores is None and (self.asks_network or not experts)

    def scores_of(self, inputs: Difficulty) -> np.ndarray:
        """C-scores in [0, 1] and low for what is hard, in float64, in which 1 minus one loses nothing; others as they
        are."""
        return self._turned(inputs.scores)

    def _turned(self, scores: np.ndarray) -> np.ndarray:
        """Hardness of what a file says, and the other way round."""
        return 1 - np.asarray(scores, np.float64) if self.high_is_easy else scores


class RandomSets(Need):
    """How good random sets are."""

    words, inputs = "networks trained on random sets", "jaxdistill.selection.needs.Trials"
    options = frozenset({"trials", "trial_epochs"})

    def build(self, context: Context) -> Trials:
        """A judge, and how often it is asked."""
        return Trials(context.judge, context.options.trials)

    def stand_in(self, context: Context) -> Trials:
        """A judge to whom all are alike."""
        return Trials(lambda *_: 0.0, context.options.trials)

    def accepts(self, inputs: Any) -> bool:
        """Whether this is a judge."""
        return isinstance(inputs, Trials)

    def whole_split(self, options: Any, *, experts: bool) -> bool:
        """No: some are drawn."""
        return False


class Experts(Need):
    """Networks that were trained before."""

    words, inputs = "what experts say", "jaxdistill.selection.needs.Teachers"
    takes_experts = requires_experts = True

    def build(self, context: Context) -> Teachers:
        """The experts as they ended."""
        return context.experts()

    def accepts(self, inputs: Any) -> bool:
        """Whether these are networks."""
        return isinstance(inputs, Teachers)

    def whole_split(self, options: Any, *, experts: bool) -> bool:
        """No: images are shown to them a few at a time."""
        return False


class Kernel(Need):
    """A kernel, for labels."""

    words, inputs = "a kernel", "jaxdistill.types.Kernel, as jaxdistill.make_kernel makes"
    by_kernel = True

    def build(self, context: Context) -> types.Kernel:
        """The one that was asked for."""
        return context.kernel()

    def stand_in(self, context: Context) -> types.Kernel:
        """Inner products."""
        return LINEAR

    def accepts(self, inputs: Any) -> bool:
        """Whether this is a kernel."""
        return isinstance(inputs, types.Kernel)


def _embedding(options: Any, experts: bool) -> str:
    whose = "the first expert at its end" if experts else f"a network after {options.feature_epochs} epochs"
    return f"embedding of {whose}"
