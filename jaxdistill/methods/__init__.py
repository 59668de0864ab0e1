"""The methods: one file each, and one line in `jaxdistill.methods.catalogue`."""

from jaxdistill.methods.registry import CHECKED as CHECKED
from jaxdistill.methods.registry import METHOD_NAMES as METHOD_NAMES
from jaxdistill.methods.registry import METHODS as METHODS
from jaxdistill.methods.registry import method_config as method_config
