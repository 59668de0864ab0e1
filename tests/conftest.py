"""The package's annotations are checked while the tests run, and only then."""

import jax
import jaxtyping
import pytest
from annotations import checked

jaxtyping.install_import_hook(checked(), "annotations.check")


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """Equal programs, which the tests build many times, are compiled once a session.

    Not those of the commands that tests run: some are killed, or may not write, and would leave half an entry.
    """
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("compiled")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


@pytest.fixture(scope="session")
def toy():
    from toys import make_toy

    return make_toy()


@pytest.fixture(scope="session")
def bank(tmp_path_factory):
    """Three experts on digits."""
    from banks import three

    return three(tmp_path_factory.mktemp)


@pytest.fixture(scope="session")
def normed(tmp_path_factory):
    """One with batch normalisation, on whitened images."""
    from banks import with_averages

    return with_averages(tmp_path_factory.mktemp)
