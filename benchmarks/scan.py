"""The scan engine against other fitters: same process, same likelihood, same points."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

import jcevns as jc
from benchmarks import engine, peers
from benchmarks.batched_numpy import NumpyModel, fit_batched
from jcevns.fit.newton import batch_fit

TARGETS = {
    "ratio_iminuit_numpy": (">=", 2000.0),
    "ratio_optimistix_bfgs": (">=", 20.0),
    "ratio_numpy_batched": (">=", 15.0),
    "max_dchi2_vs_iminuit": ("<", 1e-6),
    "fraction_valid": (">=", 0.999),
    "seconds_50k_cold": ("<", 4.0),
    "seconds_50k_warm": ("<", 1.5),
    "fig4_seconds_cold": ("<", 15.0),
    "fig4_seconds_warm": ("<", 5.0),
    "gigabytes_scan_1e6": ("<", 2.0),
}

_ROOT = Path(__file__).parents[1]
_DEPTH = 25.0  # Delta chi2 of the points that the slow peers fit: far out, some of them fail
_POINTS, _MANY = 200, 2048

_50K = """
import jax
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
from benchmarks import engine
likelihood = engine.combined()
{start}
signals = engine.all_signals(likelihood, 100, 100)
{fit}
assert fit.chi2.size == 50_000 and fit.valid.mean() > 0.99
"""
_FITS = {
    "engine": (
        "from jcevns.fit.batch import prepare\n"
        "from jcevns.likelihood.likelihood import arranged\n"
        "prepare(arranged(likelihood))",
        "fit = engine.fit(likelihood, signals)",
    ),
    "numpy": (
        "from benchmarks.batched_numpy import NumpyModel, fit_batched",
        "fit = fit_batched(NumpyModel(likelihood), signals)",
    ),
}


def _process(command: Sequence[str], cache: str) -> float:
    """Wall time of a whole Python process, start-up included."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache, "PYTHONPATH": path}
    before = time.perf_counter()
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=env, cwd=_ROOT)
    return time.perf_counter() - before


def whole_processes() -> dict[str, Any]:
    """Five interactions x 100 x 100 from nothing to fitted, with an empty and a filled compilation cache."""
    results: dict[str, Any] = {}
    for name, label in (("engine", "seconds_50k"), ("numpy", "seconds_50k_numpy_batched")):
        start, fit = _FITS[name]
        command = ["-c", _50K.format(start=start, fit=fit)]
        with tempfile.TemporaryDirectory() as cache:
            cold = _process(command, cache)
            warm = min(_process(command, cache) for _ in range(3))
        keys = (f"{label}_cold", f"{label}_warm") if name == "engine" else (label, f"{label}_warm")
        results.update(zip(keys, (cold, warm), strict=True))
    return results


def figure() -> dict[str, Any]:
    """`jcevns reproduce --only fig4` as a whole process; None where the step does not exist or fails."""
    from jcevns.paper.steps import STEPS

    results: dict[str, Any] = {"fig4_seconds_cold": None, "fig4_seconds_warm": None}
    if "fig4" not in STEPS:
        return results
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(subprocess.CalledProcessError):
        for kind in ("cold", "warm"):
            # A new output folder each time: a long step would be taken from its cache.
            command = ["-m", "jcevns", "reproduce", "--only", "fig4", "--out", f"{folder}/{kind}"]
            results[f"fig4_seconds_{kind}"] = _process(command, f"{folder}/cache")
    return results


def sample(likelihood: jc.Likelihood, points: int) -> tuple[np.ndarray, list[tuple[str, dict[str, float]]]]:
    """Signals and theories of random grid points with Delta chi2 below the depth, the five interactions mixed."""
    masses, couplings = 50, 80
    signals = engine.all_signals(likelihood, masses, couplings)
    fit = engine.fit(likelihood, signals)
    near = np.flatnonzero(fit.chi2 - fit.chi2.min() < _DEPTH)
    chosen = np.random.default_rng(20241118).permutation(near)[:points]
    axes = engine.axes(masses, couplings)
    where = np.unravel_index(chosen, (len(engine.INTERACTIONS), masses, couplings))
    theories = [
        (engine.INTERACTIONS[k], {"mass": float(axes["mass"][i]), "coupling": float(axes["coupling"][j])})
        for k, i, j in zip(*where, strict=True)
    ]
    return np.ascontiguousarray(signals[:, chosen]), theories


def _rows(likelihood: jc.Likelihood) -> dict[str, Any]:
    """Every peer on the sample."""
    many, theories = sample(likelihood, _MANY)
    few = np.ascontiguousarray(many[:, :_POINTS])
    results: dict[str, Any] = {"sample_points": _POINTS, "sample_points_vmapped": many.shape[1]}

    def say(row: str) -> None:
        print(f"  {row}", flush=True)

    say("iminuit, tight (reference)")
    reference = peers.iminuit_numpy(likelihood, few, tight=True, grad=True)
    ours = engine.fit(likelihood, many)
    results["max_dchi2_vs_iminuit"] = float(np.max(np.abs(ours.chi2[:_POINTS] - reference.chi2)))
    rows = {"iminuit_tight": reference}
    say("iminuit, NumPy")
    rows["iminuit_numpy"] = peers.iminuit_numpy(likelihood, few)
    say("iminuit, NumPy with gradient")
    rows["iminuit_numpy_gradient"] = peers.iminuit_numpy(likelihood, few, grad=True)
    say("iminuit, compiled value and gradient")
    rows["iminuit_jax"] = peers.iminuit_jax(likelihood, few)
    for backend, points in (("numpy", 10), ("jax", 3)):
        if importlib.util.find_spec("pyhf"):
            say(f"pyhf, {backend}")
            rows[f"pyhf_{backend}"] = peers.pyhf_fits(likelihood, theories[:points], backend)
    say("optimistix BFGS")
    rows["optimistix_bfgs"] = peers.optimistix_bfgs(likelihood, many)
    say("optax L-BFGS")
    rows["optax_lbfgs"] = peers.optax_lbfgs(likelihood, many)
    for name, row in rows.items():
        against = ours.chi2[: row.chi2.size]
        results[f"us_per_fit_{name}"] = 1e6 * row.seconds
        results[f"fraction_valid_{name}"] = row.valid
        with np.errstate(invalid="ignore"):
            error = np.nanmax(np.abs(row.chi2 - against))
        results[f"max_dchi2_{name}"] = float(error)
        if row.compile:
            results[f"seconds_compile_{name}"] = row.compile

    # The vmapped peers hand one compiled call the same batch: so does this row.
    batch = jnp.asarray(many)
    seconds = engine.least(lambda: batch_fit(likelihood.layout, likelihood.model, batch).chi2.block_until_ready(), 7)
    results["us_per_fit_engine_sample"] = 1e6 * seconds / many.shape[1]
    return results


def _numpy_batched(likelihood: jc.Likelihood) -> dict[str, Any]:
    """The batched NumPy Newton on the grid of 1e4 points that the engine is timed on."""
    signals = engine.all_signals(likelihood, 20, 100)
    model = NumpyModel(likelihood)
    fit, ours = fit_batched(model, signals), engine.fit(likelihood, signals)
    seconds = engine.least(lambda: fit_batched(model, signals), 5)
    return {
        "us_per_fit_numpy_batched": 1e6 * seconds / signals.shape[1],
        "fraction_valid_numpy_batched": float(fit.valid.mean()),
        "max_relative_dchi2_numpy_batched": float(np.max(np.abs(fit.chi2 / ours.chi2 - 1))),
    }


def run() -> dict[str, Any]:
    """All rows; keys as in `TARGETS`, and more."""
    likelihood = engine.combined()
    print("engine", flush=True)
    results = engine.run(likelihood)
    print("batched NumPy", flush=True)
    results |= _numpy_batched(likelihood)
    print("other fitters", flush=True)
    results |= _rows(likelihood)
    for name in ("iminuit_numpy", "iminuit_tight", "iminuit_jax", "pyhf_jax", "numpy_batched", "optimistix_bfgs"):
        if f"us_per_fit_{name}" in results:
            results[f"ratio_{name}"] = results[f"us_per_fit_{name}"] / results["us_per_fit_scan_1e4"]
    print("whole processes", flush=True)
    results |= whole_processes()
    print("fig4", flush=True)
    return results | figure()
