"""The scan engine of jcevns alone: needs no other fitter, and runs on whatever device JAX finds."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jcevns as jc
from benchmarks import machine
from benchmarks.batched_numpy import NumpyModel, newton_steps
from jcevns.compiled import FAST
from jcevns.fit import written_out
from jcevns.fit.batch import Profiles, profile_signals
from jcevns.fit.newton import batch_fit
from jcevns.likelihood.layout import Layout
from jcevns.likelihood.likelihood import arranged

INTERACTIONS = ("scalar", "vector", "b-l", "axial", "tensor")
CHUNK = 2048


def combined() -> jc.Likelihood:
    """XENONnT and PandaX-4T."""
    return jc.Likelihood(["xenonnt-2024-s2", "pandax4t-us2"])


def axes(masses: int, couplings: int) -> dict[str, np.ndarray]:
    """Mass in MeV and coupling of the grids of this benchmark."""
    return {"mass": np.geomspace(1e-3, 1e5, masses), "coupling": np.geomspace(1e-8, 1.0, couplings)}


def all_signals(likelihood: jc.Likelihood, masses: int, couplings: int) -> np.ndarray:
    """Signals of the five interactions, one after the other, shape (bin, point)."""
    points = grid_points(**axes(masses, couplings))
    return np.concatenate([signals(likelihood, name, points) for name in INTERACTIONS], axis=1)


def grid_points(**chosen: np.ndarray) -> np.ndarray:
    """All combinations, the last axis fastest, (point, axis)."""
    return np.stack([grid.ravel() for grid in np.meshgrid(*chosen.values(), indexing="ij")], axis=1)


def signals(likelihood: jc.Likelihood, name: str, points: np.ndarray) -> np.ndarray:
    """Signals of a mediator at masses and couplings, (bin, point)."""
    surface = jc.Surface(likelihood.under(name), ("mass", "coupling"))
    return np.ascontiguousarray(surface.signals(points).T)


def fit(likelihood: jc.Likelihood, counts: np.ndarray, chunk: int = CHUNK) -> Profiles:
    """Profile fits of signals."""
    return profile_signals(arranged(likelihood), counts, chunk=chunk)


def least(call: Callable[[], Any], repeat: int) -> float:
    """Shortest wall time of a call."""
    times = []
    for _ in range(repeat):
        before = time.perf_counter()
        call()
        times.append(time.perf_counter() - before)
    return min(times)


def scan_single(likelihood: jc.Likelihood, signals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """chi2 and validity in float32, in chunks."""
    model = jax.tree.map(lambda x: x.astype(jnp.float32), likelihood.model)
    values, valid = [], []
    for first in range(0, signals.shape[1], CHUNK):
        part = signals[:, first : first + CHUNK]
        padded = np.pad(part, ((0, 0), (0, CHUNK - part.shape[1])), mode="edge")
        found = batch_fit(likelihood.layout, model, jnp.asarray(padded, jnp.float32))
        values.append(np.asarray(found.chi2)[: part.shape[1]])
        valid.append(np.asarray(found.valid)[: part.shape[1]])
    return np.concatenate(values).astype(float), np.concatenate(valid)


def flops_per_step(layout: Layout) -> int:
    """Operations of one Newton step of one point, counted by hand: +, -, *, /, exp and sqrt are one each.

    Derivatives in the space of components, sparse Cholesky and two solves; what the algorithm needs, whatever
    the implementation spends.
    """
    count = 8 * layout.nuisances  # exp and the penalty's value, slope and curvature
    pairs: set[tuple[int, int]] = set()
    for e, (first, stop) in enumerate(layout.bins):
        bins = stop - first
        acting = [c.acting for c in (*layout.signals_of(e), *layout.backgrounds_of(e))]
        backgrounds = len(acting) - 1
        count += sum(max(len(acts) - 1, 0) for acts in acting)
        count += bins * (2 * backgrounds + 2)  # expected counts
        count += 4 * bins  # 1/N, D/N, 1 - D/N, D/N^2
        count += len(acting) * (2 * bins + 1)  # gradients
        count += bins + (backgrounds + 1) * (backgrounds + 2) // 2 * (2 * bins + 1)  # Gram matrix
        for i, one in enumerate(acting):
            for other in acting[: i + 1]:
                pairs |= {(max(j, k), min(j, k)) for j in one for k in other}
                count += len(one) * len(other)
    rows: list[set[int]] = []
    for p, i in enumerate(layout.order):
        row: set[int] = set()
        for q, j in enumerate(layout.order[:p]):
            shared = row & rows[q]
            if shared or (max(i, j), min(i, j)) in pairs:
                count += 2 * len(shared) + 1 + 2 + 2 + 2  # entry, its pivot, and both triangular solves
                row.add(q)
        rows.append(row)
        count += 2 + 2 + 2 + 2  # square root and inverse, two scalings, decrement, update
    return count


def matmul_peak(dtype: Any) -> float:
    """FLOP/s of a square matrix product on the default device."""
    size = 1024 if jax.default_backend() == "cpu" else 8192
    a = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.matmul)
    product(a, a).block_until_ready()
    return 2 * size**3 / least(lambda: product(a, a).block_until_ready(), 8)


def roofline(likelihood: jc.Likelihood, points: int = CHUNK) -> dict[str, float]:
    """Where a Newton step of the written-out kernel spends its time, per point.

    XLA's own count of operations, of exp, sqrt and the like, and of bytes that its kernels read and write, most of
    them in the second-level cache; what a step takes, and what these bytes alone would at the speed of a copy.
    """
    arrangement = arranged(likelihood)
    layout, model = arrangement.layout, arrangement.model

    def step(signal: jax.Array, theta: jax.Array) -> tuple[jax.Array, ...]:
        rows = written_out.derivatives(layout, model, model.observed[:, None], signal, list(theta))
        return written_out.newton(layout, *rows)

    signal = all_signals(likelihood, 4, -(-points // 20))[:, :points]
    given = jnp.asarray(signal), jnp.zeros((layout.nuisances, points))
    compiled = jax.jit(step, compiler_options=FAST).lower(*given).compile()
    cost = compiled.cost_analysis()
    rows = sum(x.size for x in given) // points
    copied = jnp.ones((rows, points))
    copy = jax.jit(lambda x: x * 1.5)
    seconds = least(lambda: jax.block_until_ready(copy(copied)), 200)
    bandwidth = 2 * copied.nbytes / seconds
    return {
        "xla_operations": cost["flops"] / points,
        "transcendentals": cost["transcendentals"] / points,
        "bytes": cost["bytes accessed"] / points,
        "bytes_of_input_and_output": 8.0 * (rows + layout.nuisances + 1),
        "cache_gigabytes_per_second": bandwidth / 1e9,
        "ns": 1e9 * least(lambda: jax.block_until_ready(compiled(*given)), 200) / points,
        "ns_for_the_bytes": 1e9 * cost["bytes accessed"] / points / bandwidth,
    }


def run(likelihood: jc.Likelihood) -> dict[str, Any]:
    """Time the engine at 1e2, 1e4 and 1e6 points in both precisions."""
    results: dict[str, Any] = {}
    small = all_signals(likelihood, 20, 100)
    before = time.perf_counter()
    fit(likelihood, small)
    first = time.perf_counter() - before
    seconds = least(lambda: fit(likelihood, small), 7)
    results["us_per_fit_scan_1e4"] = 1e6 * seconds / small.shape[1]
    results["seconds_compile_scan"] = first - seconds
    tiny = all_signals(likelihood, 4, 5)
    results["us_per_fit_scan_1e2"] = 1e4 * least(lambda: fit(likelihood, tiny), 7)

    flops = flops_per_step(likelihood.layout)
    steps = newton_steps(NumpyModel(likelihood), small)
    results["flops_per_step_hand_count"] = flops
    results["newton_steps_mean"] = float(steps.mean())
    results["newton_steps_largest"] = int(steps.max())
    results["matmul_peak_gflops"] = matmul_peak(jnp.float64) / 1e9
    results["gflops"] = flops * float(steps.sum()) / seconds / 1e9
    results["fraction_of_peak"] = results["gflops"] / results["matmul_peak_gflops"]
    results["step"] = roofline(likelihood)
    print("  1e6 points", flush=True)
    large = all_signals(likelihood, 400, 500)
    before = time.perf_counter()
    whole = fit(likelihood, large)
    results["seconds_scan_1e6"] = time.perf_counter() - before
    results["us_per_fit_scan_1e6"] = 1e6 * results["seconds_scan_1e6"] / large.shape[1]
    results["fraction_valid"] = float(whole.valid.mean())
    results["gigabytes_scan_1e6"] = machine.peak_gigabytes()

    print("  float32", flush=True)
    before = time.perf_counter()
    scan_single(likelihood, small)
    first = time.perf_counter() - before
    seconds = least(lambda: scan_single(likelihood, small), 5)
    results["us_per_fit_scan_1e4_float32"] = 1e6 * seconds / small.shape[1]
    results["seconds_compile_scan_float32"] = first - seconds
    before = time.perf_counter()
    value, valid = scan_single(likelihood, large)
    results["us_per_fit_scan_1e6_float32"] = 1e6 * (time.perf_counter() - before) / large.shape[1]
    results["fraction_valid_float32"] = float(valid.mean())
    near = valid & (whole.chi2 - whole.chi2.min() < 25)
    worst = np.max(np.abs(value - whole.chi2)[near], initial=0.0)
    results["max_dchi2_float32"] = float(worst) if math.isfinite(worst) else None
    return results
