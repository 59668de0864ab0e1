"""The package's annotations are checked while the tests run, and only then; programs compile fast, and once."""

import ctypes
import gc
import os
import re
from pathlib import Path

# Most of the suite's time is compilation; processes that tests start inherit this. It is read when JAX is imported.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"

import jax
import jaxtyping
import pytest
from annotations import checked
from xdist.scheduler import LoadScopeScheduling

try:
    from jax._src.lru_cache import LRUCache
except ImportError:  # it is no public part of JAX; without it each worker has a cache of its own
    LRUCache = None

jaxtyping.install_import_hook(checked(), "annotations.check")


class Groups(LoadScopeScheduling):
    """The tests of a file run in one process, for the sake of its fixtures; of the contract, those of a method."""

    def _split_scope(self, nodeid):
        path, _, test = nodeid.partition("::")
        method = re.search(r"\[(\w+)", test)
        return f"{path}::{method[1]}" if method and path.endswith("test_contract.py") else path


def pytest_xdist_make_scheduler(config, log):
    return Groups(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(scope="session", autouse=True)
def compile_once(tmp_path_factory):
    """Equal programs, which the tests build many times, are compiled once a session, whichever worker is first.

    Commands that tests run in processes of their own read what is there, and write nothing: some are killed, and would
    leave half an entry.
    """
    base = tmp_path_factory.getbasetemp()
    shared = LRUCache is not None and "PYTEST_XDIST_WORKER" in os.environ
    kept = str((base.parent if shared else base) / "compiled")
    jax.config.update("jax_compilation_cache_dir", kept)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

    def put(self, key, value):
        """In one move, since another process may be reading."""
        whole = self.path / f"{key}-cache"
        part = whole.with_name(f"{key}.{os.getpid()}")
        part.write_bytes(value)
        part.replace(whole)

    with pytest.MonkeyPatch.context() as patch:
        if LRUCache is not None:
            patch.setattr(LRUCache, "put", put)
        patch.setenv("JAX_COMPILATION_CACHE_DIR", kept)
        patch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1e9")
        yield


@pytest.fixture(scope="module", autouse=True)
def memory_is_given_back():
    """A worker that has grown beyond 2 GiB drops its compiled programs after a file; most of its memory is theirs."""
    yield
    statm = Path("/proc/self/statm")
    if statm.exists() and int(statm.read_text().split()[1]) * os.sysconf("SC_PAGESIZE") > 2 << 30:
        jax.clear_caches()
        gc.collect()
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)  # of glibc


@pytest.fixture
def compiled_well():
    """Programs are compiled as users' are."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


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
