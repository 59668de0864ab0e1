"""Dataset distillation in JAX: methods as pure functions, and one protocol that judges every set.

In a notebook or a script: `load`, `distill`, `select`, `train_experts`, `evaluate`, `open`. What they are made of is
pure and lies in modules by topic: `methods`, `selection`, `evaluation`, `networks`, `augment`, `losses`, `kernels`,
`diffusion`.
"""

from importlib.metadata import version as _version
from typing import TYPE_CHECKING as _TYPE_CHECKING

from jaxdistill import augment as augment
from jaxdistill import diffusion as diffusion
from jaxdistill import evaluation as evaluation
from jaxdistill import kernels as kernels
from jaxdistill import losses as losses
from jaxdistill import methods as methods
from jaxdistill import networks as networks
from jaxdistill import selection as selection
from jaxdistill.augment import make as make_augment
from jaxdistill.augment.formation import decode as decode
from jaxdistill.common.lazy import DOOR as _DOOR
from jaxdistill.common.lazy import lazily as _lazily
from jaxdistill.data.feeds import ClassBalanced as ClassBalanced
from jaxdistill.data.feeds import RealData as RealData
from jaxdistill.data.feeds import Uniform as Uniform
from jaxdistill.data.feeds import real_data as real_data
from jaxdistill.data.feeds import sample as sample
from jaxdistill.data.preprocess import Preprocess as Preprocess
from jaxdistill.data.preprocess import fit as fit_preprocess
from jaxdistill.data.source import load as load_data
from jaxdistill.data.trajectories import Bank as Bank
from jaxdistill.data.trajectories import Segment as Segment
from jaxdistill.data.trajectories import flatten as flatten
from jaxdistill.diffusion import Architecture as Architecture
from jaxdistill.diffusion import make as make_generator
from jaxdistill.diffusion.sample import Sampling as Sampling
from jaxdistill.errors import RunFailedError as RunFailedError
from jaxdistill.errors import UsageError as UsageError
from jaxdistill.evaluation import PROTOCOLS as PROTOCOLS
from jaxdistill.evaluation import Evaluation as Evaluation
from jaxdistill.evaluation import Protocol as Protocol
from jaxdistill.kernels import make as make_kernel
from jaxdistill.kernels.regression import label_solve as label_solve
from jaxdistill.methods import METHODS as METHODS
from jaxdistill.methods.datadam import DataDAM as DataDAM
from jaxdistill.methods.datadam import datadam as datadam
from jaxdistill.methods.datm import DATM as DATM
from jaxdistill.methods.datm import datm as datm
from jaxdistill.methods.dc import DC as DC
from jaxdistill.methods.dc import dc as dc
from jaxdistill.methods.dd import DD as DD
from jaxdistill.methods.dd import dd as dd
from jaxdistill.methods.dit import DiT as DiT
from jaxdistill.methods.dit import dit as dit
from jaxdistill.methods.dm import DM as DM
from jaxdistill.methods.dm import dm as dm
from jaxdistill.methods.dsa import DSA as DSA
from jaxdistill.methods.dsa import dsa as dsa
from jaxdistill.methods.frepo import FRePo as FRePo
from jaxdistill.methods.frepo import frepo as frepo
from jaxdistill.methods.ftd import FTD as FTD
from jaxdistill.methods.ftd import ftd as ftd
from jaxdistill.methods.idc import IDC as IDC
from jaxdistill.methods.idc import idc as idc
from jaxdistill.methods.kip import KIP as KIP
from jaxdistill.methods.kip import kip as kip
from jaxdistill.methods.minimax import Minimax as Minimax
from jaxdistill.methods.minimax import minimax as minimax
from jaxdistill.methods.mtt import MTT as MTT
from jaxdistill.methods.mtt import mtt as mtt
from jaxdistill.methods.selmatch import SelMatch as SelMatch
from jaxdistill.methods.selmatch import selmatch as selmatch
from jaxdistill.methods.tesla import TESLA as TESLA
from jaxdistill.methods.tesla import tesla as tesla
from jaxdistill.networks import make as make_network
from jaxdistill.selection import SELECTIONS as SELECTIONS
from jaxdistill.training.experts import ExpertRecipe as ExpertRecipe
from jaxdistill.training.experts import expert_epoch as expert_epoch
from jaxdistill.training.proxy import pixels as pixels
from jaxdistill.types import Batch as Batch
from jaxdistill.types import Method as Method
from jaxdistill.types import Network as Network
from jaxdistill.types import SyntheticSet as SyntheticSet
from jaxdistill.types import Task as Task

if _TYPE_CHECKING:
    from jaxdistill.api.dataset import Dataset as Dataset
    from jaxdistill.api.dataset import load as load
    from jaxdistill.api.door import Experts as Experts
    from jaxdistill.api.door import distill as distill
    from jaxdistill.api.door import evaluate as evaluate
    from jaxdistill.api.door import open as open
    from jaxdistill.api.door import select as select
    from jaxdistill.api.door import train_experts as train_experts
    from jaxdistill.api.runs import Run as Run
    from jaxdistill.io.artifact import Stored as Stored
    from jaxdistill.report.tables import Table as Table

__version__ = _version("jaxdistill")

__all__ = [
    "DATM", "DC", "DD", "DM", "DSA", "FTD", "IDC", "KIP", "METHODS", "MTT", "PROTOCOLS", "SELECTIONS", "TESLA",
    "Architecture", "Bank", "Batch", "ClassBalanced", "DataDAM", "Dataset", "DiT", "Evaluation", "ExpertRecipe",
    "Experts", "FRePo", "Method", "Minimax", "Network", "Preprocess", "Protocol", "RealData", "Run", "RunFailedError",
    "Sampling", "Segment", "SelMatch", "Stored", "SyntheticSet", "Table", "Task", "Uniform", "UsageError", "augment",
    "datadam",
    "datm", "dc", "dd", "decode", "diffusion", "distill", "dit", "dm", "dsa", "evaluate", "evaluation", "expert_epoch",
    "fit_preprocess", "flatten", "frepo", "ftd", "idc", "kernels", "kip", "label_solve", "load", "load_data", "losses",
    "make_augment", "make_generator", "make_kernel", "make_network", "methods", "minimax", "mtt", "networks", "open",
    "pixels", "real_data", "sample", "select", "selection", "selmatch", "tesla", "train_experts",
]  # fmt: skip

__getattr__, __dir__ = _lazily(__name__, _DOOR, [*globals(), *__all__])
