"""Double precision, strict promotion and run-time shape checks, set before the package is imported."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# One store of compiled programs for this run, its workers and what they start: tests of a module are spread over the
# workers, and each would compile the same.
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jcevns-tests-")
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)
    # What the tests compile themselves runs once; the package's programs say how they are to be optimised.
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0".strip()

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Never uninstalled: modules that are imported late (paper, cli) are checked too.
install_import_hook("jcevns", "beartype.beartype")

import pytest  # noqa: E402

from jcevns import Experiment, Likelihood  # noqa: E402
from jcevns.compiled import forget_compiled  # noqa: E402
from tests import problems  # noqa: E402

MAPS = Path("/proc/self/maps")


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Compiled programs of past modules go: each holds some twenty memory maps, and Linux allows 65530."""
    yield
    forget_compiled()  # a command line in this process keeps them, and none of them goes by itself
    if MAPS.exists() and len(MAPS.read_text(encoding="utf-8").splitlines()) > 15_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture(autouse=True, scope="module")
def loggers() -> None:
    """pyhs3 switches off the loggers of all that was imported before it; tests look at those of JAX."""
    for logger in logging.root.manager.loggerDict.values():
        if isinstance(logger, logging.Logger):
            logger.disabled = False


@pytest.fixture(scope="session")
def xenonnt() -> Experiment:
    return problems.built(problems.XENONNT)


@pytest.fixture(scope="session")
def pandax() -> Experiment:
    return problems.built(problems.PANDAX)


@pytest.fixture(scope="session")
def likelihoods() -> dict[str, Likelihood]:
    """XENONnT, PandaX-4T and their combination."""
    return {
        "xenonnt": problems.joint((problems.XENONNT,)),
        "pandax": problems.joint((problems.PANDAX,)),
        "combined": problems.joint(problems.BOTH),
    }
