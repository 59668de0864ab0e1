"""Presets are found by a data set's name in any spelling, from Python as on the command line."""

import pytest

from jaxdistill.errors import UsageError
from jaxdistill.methods import METHODS


@pytest.mark.parametrize("config", METHODS, ids=lambda config: config.__name__)
def test_a_preset_takes_names_in_any_spelling(config):
    for name in ("CIFAR10", "cifar-10", "Cifar_10"):
        assert config.preset(name, 10) == config.preset("cifar10", 10)
    assert config.preset("FashionMNIST", 1) == config.preset("fashion_mnist", 1)
    for reading in config.PRESETS:
        assert config.preset("cifar10", 10, reading.upper()) == config.preset("cifar10", 10, reading)
    with pytest.raises(UsageError, match="preset of"):
        config.preset("cifar10", 10, "nobody's")
