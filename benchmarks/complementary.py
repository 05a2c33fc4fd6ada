"""The scan engine on all experiments together: is a fit as fast per bin as on xenon's few bins?"""

import time
from typing import Any

import numpy as np

import jcevns as jc
from benchmarks import engine

TARGETS = {
    "ratio_us_per_bin": ("<=", 1.0),
    "fraction_valid_all": (">=", 0.999),
}

EXPERIMENTS = {
    "xenonnt-2024-s2": {},
    "pandax4t-us2": {},
    "coherent-csi-2021": {"shapes": "none"},
    "coherent-lar-2020": {"shapes": "none"},
    "xenonnt-er-2022": {},
    "lz-er-ws2022": {},
    "lz-er-ws2024": {},
    "texono-2010": {},
}
"""The other XENONnT likelihoods hold the same events, and PandaX-4T's electron recoils are incomplete."""

MASSES, COUPLINGS = np.geomspace(0.1, 1e4, 64), np.geomspace(1e-8, 1e-4, 128)


def _timed(likelihood: jc.Likelihood) -> tuple[float, float, float]:
    """Microseconds per fit, seconds of the first call above that, and share of valid fits; scalar grid."""
    signals = engine.signals(likelihood, "scalar", engine.grid_points(mass=MASSES, coupling=COUPLINGS))
    start = time.perf_counter()
    fit = engine.fit(likelihood, signals)
    first = time.perf_counter() - start
    best = np.inf
    for _ in range(3):
        start = time.perf_counter()
        engine.fit(likelihood, signals)
        best = min(best, time.perf_counter() - start)
    return 1e6 * best / signals.shape[1], first - best, float(fit.valid.mean())


def run() -> dict[str, Any]:
    """Scalar mediator, mass x coupling: the two xenon experiments, then all."""
    results: dict[str, Any] = {"points": MASSES.size * COUPLINGS.size}
    for label, names in (("xenon", list(EXPERIMENTS)[:2]), ("all", list(EXPERIMENTS))):
        likelihood = jc.Likelihood([jc.experiment(name, **EXPERIMENTS[name]) for name in names])
        fit, compilation, valid = _timed(likelihood)
        bins = likelihood.model.observed.size
        results |= {
            f"bins_{label}": bins,
            f"nuisances_{label}": len(likelihood.nuisances),
            f"us_per_fit_{label}": fit,
            f"us_per_bin_{label}": fit / bins,
            f"seconds_compile_{label}": compilation,
            f"fraction_valid_{label}": valid,
        }
    results["ratio_us_per_bin"] = results["us_per_bin_all"] / results["us_per_bin_xenon"]
    return results
