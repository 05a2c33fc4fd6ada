"""Start-up, reproduction, one profile fit, one interval."""

import os
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax

import jcevns as jc
from benchmarks.machine import median_seconds

TARGETS = {
    "seconds_import": 1.5,
    "seconds_reproduce_cold": 60.0,
    "seconds_profile_fit": 1e-3,
    "seconds_interval": 20e-3,
}


def _process_seconds(*command: str, env: dict[str, str] | None = None) -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env={**os.environ, **(env or {})})
    return time.perf_counter() - before


def run() -> dict[str, Any]:
    """Time the foundation; keys as in `TARGETS`."""
    bare = min(_process_seconds("-c", "pass") for _ in range(5))
    imported = sorted(_process_seconds("-c", "import jcevns") for _ in range(5))[2]
    with tempfile.TemporaryDirectory() as folder:
        cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"}
        cold = _process_seconds("-m", "jcevns", "reproduce", "--out", f"{folder}/a", env=cache)
        warm = _process_seconds("-m", "jcevns", "reproduce", "--out", f"{folder}/b", env=cache)

    likelihood = jc.Likelihood(["xenonnt-2024-s2", "pandax4t-us2"])
    theories = iter(range(10**9))

    def fit():
        jax.block_until_ready(jc.profile(likelihood, {"sin2w": 0.2 + 1e-4 * (next(theories) % 1000)}).chi2)

    return {
        "seconds_import": imported - bare,
        "seconds_reproduce_cold": cold,
        "seconds_reproduce_warm": warm,
        "seconds_profile_fit": median_seconds(fit, 200),
        # Best fit and both intervals, 68% and 90%: more than the target asks for.
        "seconds_interval": median_seconds(lambda: jc.fit(likelihood, "sin2w"), 40),
    }
