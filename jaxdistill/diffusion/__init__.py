"""Diffusion models that draw images of a class: architecture, noise schedule, training and sampling."""

from jaxdistill.diffusion.generator import Architecture as Architecture
from jaxdistill.diffusion.generator import make as make
