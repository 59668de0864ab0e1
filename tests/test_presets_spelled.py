"""Presets are found by a data set's name in any spelling, from Python as on the command line."""

import pytest

from jaxdistill.errors import UsageError
from jaxdistill.methods import METHODS
from jaxdistill.presets import find, readings


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.__name__)
def test_a_preset_takes_names_in_any_spelling(config):
    for name in ("CIFAR10", "cifar-10", "Cifar_10"):
        assert find(config, name, 10) == find(config, "cifar10", 10)
    assert find(config, "FashionMNIST", 1) == find(config, "fashion_mnist", 1)
    for reading in readings(config):
        assert find(config, "cifar10", 10, reading.upper()) == find(config, "cifar10", 10, reading)
    with pytest.raises(UsageError, match="unknown preset"):
        find(config, "cifar10", 10, "nobody's")
