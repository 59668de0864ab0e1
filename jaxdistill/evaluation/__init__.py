"""One evaluation for every set: protocols as data, accuracies of every seed kept."""

from jaxdistill.evaluation.centred_regression import CentredRegression as CentredRegression
from jaxdistill.evaluation.kernel_ridge import KernelRidge as KernelRidge
from jaxdistill.evaluation.neighbours import NearestNeighbours as NearestNeighbours
from jaxdistill.evaluation.network_regression import FeatureRegression as FeatureRegression
from jaxdistill.evaluation.network_regression import Regression as Regression
from jaxdistill.evaluation.protocol import PROTOCOLS as PROTOCOLS
from jaxdistill.evaluation.protocol import InOrder as InOrder
from jaxdistill.evaluation.protocol import Protocol as Protocol
from jaxdistill.evaluation.protocol import dsa_recipe as dsa_recipe
from jaxdistill.evaluation.recipe import Recipe as Recipe
from jaxdistill.evaluation.soft import SoftLabels as SoftLabels
from jaxdistill.evaluation.soft import taught as taught
from jaxdistill.evaluation.stable_regression import StableRegression as StableRegression
from jaxdistill.evaluation.train import Evaluation as Evaluation
from jaxdistill.evaluation.train import evaluate as evaluate

__all__ = [
    "PROTOCOLS",
    "CentredRegression",
    "Evaluation",
    "FeatureRegression",
    "InOrder",
    "KernelRidge",
    "NearestNeighbours",
    "Protocol",
    "Recipe",
    "Regression",
    "SoftLabels",
    "StableRegression",
    "dsa_recipe",
    "evaluate",
    "taught",
]
