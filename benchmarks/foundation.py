"""From the prompt to the answer, in units of J, the time of `python -c "import jax"`; one profile fit, one interval.

Each command runs with an empty cache of compiled code, then with the one it left.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

import jax

import jcevns as jc
from benchmarks.machine import median_seconds

COMMANDS = {
    "fit": "fit flux --experiments xenonnt-2024-s2",
    "official": "fit flux --experiments xenonnt-2024",
    "coherent": "fit sin2w --experiments coherent-csi-2021",
    "scan": "scan vector --mass 1e-2:1e4:200 --coupling 1e-7:1e-2:200 --experiments xenonnt-2024-s2 --out {}/v.zarr",
    "posterior": "posterior --parameters flux,sin2w --experiments xenonnt-2024-s2 --out {}/p",
    "independence": "posterior --parameters flux,sin2w --method independence --experiments xenonnt-2024-s2",
    "reproduce": "reproduce --out {}/r",
}
"""Commands by the name of their result; the place of a folder for what they write."""

TARGETS = {
    "jax_help": 0.3,
    "jax_import": 0.3,
    "jax_fit_cold": 3.0,
    "jax_fit_warm": 1.8,
    "jax_official_cold": 5.0,
    "jax_official_warm": 2.5,
    "jax_coherent_cold": 5.0,
    "jax_coherent_warm": 2.5,
    "jax_scan_cold": 3.0,
    "jax_scan_warm": 2.0,
    "jax_posterior_cold": 12.0,
    "jax_posterior_warm": 5.0,
    "jax_reproduce_cold": 35.0,
    "jax_reproduce_warm": 15.0,
    "seconds_profile_fit": 1e-3,
    "seconds_interval": 20e-3,
}


def _process_seconds(*command: str, env: dict[str, str] | None = None) -> float:
    before = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env={**os.environ, **(env or {})})
    return time.perf_counter() - before


def _best(*command: str, env: dict[str, str] | None = None, times: int = 5) -> float:
    return min(_process_seconds(*command, env=env) for _ in range(times))


def run() -> dict[str, Any]:
    """Time the foundation; keys as in `TARGETS`."""
    unit = _best("-c", "import jax")
    results: dict[str, Any] = {
        "seconds_import_jax": unit,
        "jax_help": _best("-m", "jcevns", "--help") / unit,
        "jax_import": _best("-c", "import jcevns") / unit,
    }
    for name, command in COMMANDS.items():
        with tempfile.TemporaryDirectory() as folder:
            cache = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/cache"}
            for key in ("cold", "warm", "warm"):
                out = f"{folder}/out"
                seconds = _process_seconds("-m", "jcevns", *command.format(out).split(), env=cache) / unit
                shutil.rmtree(out, ignore_errors=True)
                label = f"jax_{name}_{key}"
                results[label] = min(seconds, results.get(label, seconds))
                if name == "reproduce" and key == "warm":
                    break  # minutes
    likelihood = jc.Likelihood(["xenonnt-2024-s2", "pandax4t-us2"])
    theories = iter(range(10**9))

    def fit():
        jax.block_until_ready(jc.profile(likelihood, {"sin2w": 0.2 + 1e-4 * (next(theories) % 1000)}).chi2)

    return results | {
        "seconds_profile_fit": median_seconds(fit, 200),
        # Best fit and both intervals, 68% and 90%: more than the target asks for.
        "seconds_interval": median_seconds(lambda: jc.fit(likelihood, "sin2w"), 40),
    }
