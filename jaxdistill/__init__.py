"""Dataset distillation in JAX: methods as pure functions, and one protocol that judges every set."""

from importlib.metadata import version as _version

from jaxdistill.augment import make as make_augment
from jaxdistill.augment.formation import decode as decode
from jaxdistill.data.bank import Bank as Bank
from jaxdistill.data.bank import Segment as Segment
from jaxdistill.data.feeds import RealData as RealData
from jaxdistill.data.feeds import real_data as real_data
from jaxdistill.data.feeds import sample as sample
from jaxdistill.data.preprocess import Preprocess as Preprocess
from jaxdistill.data.preprocess import fit as fit_preprocess
from jaxdistill.data.source import load as load_data
from jaxdistill.diffusion import Architecture as Architecture
from jaxdistill.diffusion import make as make_generator
from jaxdistill.diffusion.sample import Sampling as Sampling
from jaxdistill.evaluation import PROTOCOLS as PROTOCOLS
from jaxdistill.evaluation import Evaluation as Evaluation
from jaxdistill.evaluation import Protocol as Protocol
from jaxdistill.evaluation import evaluate as evaluate
from jaxdistill.experts import ExpertRecipe as ExpertRecipe
from jaxdistill.experts import expert_epoch as expert_epoch
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
from jaxdistill.selection.features import pixels as pixels
from jaxdistill.trajectories import flatten as flatten
from jaxdistill.types import Batch as Batch
from jaxdistill.types import Method as Method
from jaxdistill.types import Network as Network
from jaxdistill.types import SyntheticSet as SyntheticSet
from jaxdistill.types import Task as Task

__version__ = _version("jaxdistill")

__all__ = [
    "DATM", "DC", "DD", "DM", "DSA", "FTD", "IDC", "KIP", "METHODS", "MTT", "PROTOCOLS", "SELECTIONS", "TESLA",
    "Architecture", "Bank", "Batch", "DataDAM", "DiT", "Evaluation", "ExpertRecipe", "FRePo", "Method", "Minimax",
    "Network", "Preprocess", "Protocol", "RealData", "Sampling", "Segment", "SelMatch", "SyntheticSet", "Task",
    "datadam", "datm", "dc", "dd", "decode", "dit", "dm", "dsa", "evaluate", "expert_epoch", "fit_preprocess",
    "flatten", "frepo", "ftd", "idc", "kip", "label_solve", "load_data", "make_augment", "make_generator",
    "make_kernel", "make_network", "minimax", "mtt", "pixels", "real_data", "sample", "selmatch", "tesla",
]  # fmt: skip
