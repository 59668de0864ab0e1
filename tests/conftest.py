"""Array annotations of the pure core are checked while the tests run, and only then."""

import jaxtyping
import pytest

CHECKED = [f"jaxdistill.{part}" for part in ("augment", "inner", "losses", "methods", "networks", "selection")]
jaxtyping.install_import_hook(CHECKED, "beartype.beartype")


@pytest.fixture(scope="session")
def toy():
    from toys import make_toy

    return make_toy()
