"""One evaluation for every set: protocols as data, accuracies of every seed kept."""

from jaxdistill.evaluate.protocol import PROTOCOLS as PROTOCOLS
from jaxdistill.evaluate.protocol import InOrder as InOrder
from jaxdistill.evaluate.protocol import Protocol as Protocol
from jaxdistill.evaluate.recipe import Recipe as Recipe
from jaxdistill.evaluate.regression import Regression as Regression
from jaxdistill.evaluate.ridge import KernelRidge as KernelRidge
from jaxdistill.evaluate.soft import SoftLabels as SoftLabels
from jaxdistill.evaluate.soft import taught as taught
from jaxdistill.evaluate.train import Evaluation as Evaluation
from jaxdistill.evaluate.train import evaluate as evaluate

__all__ = [
    "PROTOCOLS",
    "Evaluation",
    "InOrder",
    "KernelRidge",
    "Protocol",
    "Recipe",
    "Regression",
    "SoftLabels",
    "evaluate",
    "taught",
]
