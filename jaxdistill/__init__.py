"""Dataset distillation in JAX: methods as pure functions, and one protocol that judges every set.

In a notebook or a script: `load`, `distill`, `select`, `train_experts`, `evaluate`, `open`. What they are made of is
pure and lies in modules by topic: `methods`, `presets`, `selection`, `evaluation`, `networks`, `augment`, `losses`,
`kernels`, `diffusion`.
"""

# isort: skip_file
# fmt: off
from importlib.metadata import version as _version
from types import ModuleType as _ModuleType
from typing import TYPE_CHECKING as _TYPE_CHECKING

from jaxdistill.common.lazy import DOOR as _DOOR, lazily as _lazily

# The door, which is imported when it is asked for (see `jaxdistill.common.lazy`).
if _TYPE_CHECKING:
    from jaxdistill.api.dataset import Dataset as Dataset, load as load
    from jaxdistill.api.door import (
        Experts as Experts, distill as distill, evaluate as evaluate, join as join, open as open,
        select as select, train_experts as train_experts,
    )
    from jaxdistill.api.runs import Run as Run
    from jaxdistill.io.artifact import Stored as Stored
    from jaxdistill.report.tables import Table as Table

# Methods: a configuration and a builder of each.
from jaxdistill import methods as methods, presets as presets
from jaxdistill.methods import METHODS as METHODS
from jaxdistill.methods.catalogue import *  # noqa: F403
from jaxdistill.types import Batch as Batch, Method as Method, SyntheticSet as SyntheticSet, Task as Task

# Data and augmentation.
from jaxdistill import augment as augment
from jaxdistill.augment.formation import decode as decode
from jaxdistill.data.feeds import (
    ClassBalanced as ClassBalanced, RealData as RealData, Uniform as Uniform, real_data as real_data, sample as sample,
)
from jaxdistill.data import preprocess as _preprocess, source as _source
from jaxdistill.data.preprocess import Preprocess as Preprocess

# Selections and evaluation.
from jaxdistill import evaluation as evaluation, selection as selection
from jaxdistill.evaluation import PROTOCOLS as PROTOCOLS, Evaluation as Evaluation, Protocol as Protocol
from jaxdistill.selection import SELECTIONS as SELECTIONS
from jaxdistill.training.proxy import pixels as pixels

# Networks, experts, kernels, losses and generators.
from jaxdistill import diffusion as diffusion, kernels as kernels, losses as losses, networks as networks
from jaxdistill.data.trajectories import Bank as Bank, Segment as Segment, flatten as flatten
from jaxdistill.diffusion import Architecture as Architecture
from jaxdistill.diffusion.sample import Sampling as Sampling
from jaxdistill.kernels.regression import label_solve as label_solve
from jaxdistill.training.experts import ExpertRecipe as ExpertRecipe, expert_epoch as expert_epoch
from jaxdistill.types import Network as Network

# Errors.
from jaxdistill.errors import RunFailedError as RunFailedError, UsageError as UsageError
# fmt: on

make_augment, make_network, make_kernel, make_generator = augment.make, networks.make, kernels.make, diffusion.make
load_data, fit_preprocess = _source.load, _preprocess.fit

__version__ = _version("jaxdistill")

_MODULES = (augment, diffusion, evaluation, kernels, losses, methods, networks, presets, selection)
__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    *_DOOR,
    *(name for name, one in globals().items() if name[0] != "_" and (one in _MODULES or type(one) is not _ModuleType)),
]
__getattr__, __dir__ = _lazily(__name__, _DOOR, globals())
