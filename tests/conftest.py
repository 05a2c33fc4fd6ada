"""Double precision, strict promotion and run-time shape checks, set before the package is imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import jax
from jaxtyping import install_import_hook

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_dtype_promotion", "strict")
# Never uninstalled: modules that are imported late (paper, cli) are checked too.
install_import_hook("jcevns", "beartype.beartype")

import pytest  # noqa: E402

from jcevns import Experiment, Likelihood  # noqa: E402
from tests import problems  # noqa: E402

MAPS = Path("/proc/self/maps")


@pytest.fixture(autouse=True, scope="module")
def few_programs() -> Iterator[None]:
    """Compiled programs of past modules go: each holds some twenty memory maps, and Linux allows 65530."""
    yield
    if MAPS.exists() and len(MAPS.read_text(encoding="utf-8").splitlines()) > 15_000:
        jax.clear_caches()
        gc.collect()


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
