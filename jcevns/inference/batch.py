"""Profile fits of many signals: fixed-size chunks through the batched Newton fit, failures tried again."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.inference.fit import fit_shapes, profile_signal, tolerances
from jcevns.inference.newton import batch_fit
from jcevns.likelihood import morphing
from jcevns.likelihood.joint import Likelihood
from jcevns.likelihood.layout import Layout
from jcevns.likelihood.merging import merge
from jcevns.likelihood.morphing import Mixture, MorphingModel
from jcevns.likelihood.poisson import TemplateModel

__all__ = ["CHUNK", "CHUNK_SHAPES", "Profiles", "expand", "prepare", "profile_signals"]

CHUNK = 2048
"""Points of a scan fitted at a time; limits use the same, so that nothing new is compiled."""

CHUNK_SHAPES = 256
"""The same for likelihoods with shape nuisances."""


class Profiles(NamedTuple):
    """Profile fits of many points, as NumPy arrays with one entry per point; fields as in `Fit`."""

    chi2: Float[np.ndarray, " point"]
    pulls: Float[np.ndarray, "nuisance point"]
    edm: Float[np.ndarray, " point"]
    slope: Float[np.ndarray, "bin point"]
    valid: Bool[np.ndarray, " point"]


_LAST_DIGITS = 1e-11  # of chi2, lost in its sums
_CACHED = 2**18  # numbers in one table of a chunk
_RESTART = 16  # failures are repeated in batches of one size, so that the slow path is compiled once

_robust = jax.jit(jax.vmap(profile_signal, in_axes=(None, 0)))


@jax.jit
def _fit_shapes(model: MorphingModel, signals: Array | Mixture) -> tuple[Array, ...]:
    axes = Mixture(None, 0, -1) if isinstance(signals, Mixture) else -1
    _, limit = tolerances(model.sigma.dtype)

    def one(model: MorphingModel, signal: Array | Mixture) -> tuple[Array, ...]:
        found = fit_shapes(model, signal)
        slope = morphing.signal_slope(model, signal, found.x, found.cell)
        valid = (found.edm < limit) & jnp.isfinite(found.value)
        return found.value, morphing.pulls(model, found.x), found.edm, slope, valid

    return jax.vmap(one, (None, axes), -1)(model, signals)


def _fit(layout: Layout, model: TemplateModel | MorphingModel, signals: Any) -> Profiles:
    """Fits of one chunk, points last."""
    if isinstance(model, MorphingModel):
        return Profiles(*map(np.array, _fit_shapes(model, signals)))
    chi2, theta, edm, slope, valid = map(np.array, batch_fit(layout, model, signals))
    return Profiles(chi2, np.expm1(theta), edm, slope, valid)


_first_calls: dict[tuple[Layout, int, Any], Future] = {}


def prepare(likelihood: Likelihood, chunk: int = CHUNK) -> Future:
    """Start compiling the fit of a likelihood without shape nuisances in the background, while signals are computed.

    Args:
        likelihood: the experiments.
        chunk: points fitted at a time.

    Returns:
        Done when the fit is compiled; `profile_signals` waits for it by itself.
    """
    layout, model = likelihood.layout, likelihood.model
    chunk = _fitting(chunk, model.observed.size)
    key = (layout, chunk, model.observed.dtype)
    if key not in _first_calls:
        counts = np.ones((model.observed.size, chunk), model.observed.dtype)
        _first_calls[key] = ThreadPoolExecutor(1).submit(_fit, layout, model, counts)
    return _first_calls[key]


def _fitting(chunk: int, bins: int) -> int:
    """Fewer points at a time where they have many bins: they are to stay in the processor's cache."""
    return min(chunk, max(CHUNK_SHAPES, 2 ** int(np.log2(_CACHED / bins))))


def expand(signals: Mixture) -> Float[np.ndarray, "bin point"]:
    """The signals of a mixture of many points, written out."""
    terms = np.asarray(signals.terms)
    return sum((w * terms[signals.row, k].T for k, w in enumerate(signals.weights)), np.zeros(()))


def profile_signals(
    likelihood: Likelihood,
    signals: Float[np.ndarray, "bin point"] | Mixture,
    chunk: int = CHUNK,
    progress: Callable[[int], None] = lambda points: None,
) -> Profiles:
    """Minimise chi2 over the nuisances for every signal.

    Points that the batched Newton fit does not bring to a valid minimum are fitted again by the robust
    minimiser, from several starts; what is still not valid is marked so.

    Args:
        likelihood: the experiments.
        signals: expected signal before nuisances, one column per point; or a mixture with one row number and one
            column of weights per point, and then `slope` is with respect to the weights.
        chunk: points fitted at a time; the last chunk is padded.
        progress: called with the number of points done after each chunk.

    Returns:
        One entry per point.
    """
    layout, model = likelihood.layout, likelihood.model
    if isinstance(model, MorphingModel):
        return _profile_shapes(layout, model, signals, chunk, progress)
    if isinstance(signals, Mixture):
        fit = profile_signals(likelihood, expand(signals), chunk, progress)
        terms = np.asarray(signals.terms)
        slope = [np.sum(fit.slope * terms[signals.row, k].T, axis=0) for k in range(terms.shape[1])]
        return fit._replace(slope=np.stack(slope))
    prepare(likelihood, chunk).result()
    chunk = _fitting(chunk, model.observed.size)
    heights, counts = np.sum(signals, axis=0), signals

    def columns(chosen: np.ndarray) -> np.ndarray:
        return np.asarray(counts[:, chosen], model.observed.dtype)

    return _in_chunks(layout, model, heights, columns, chunk, progress)


def _profile_shapes(
    layout: Layout, model: MorphingModel, signals: Any, chunk: int, progress: Callable[[int], None]
) -> Profiles:
    """The same with shape nuisances, on the bins that hold events."""
    merged, chunk = merge(model), min(chunk, CHUNK_SHAPES)
    if isinstance(signals, Mixture):
        table = merged.signals(np.asarray(signals.terms))
        heights = np.sum(signals.weights * np.sum(table, axis=2)[signals.row].T, axis=0)
        terms, row, weights = jnp.asarray(table), signals.row, signals.weights

        def mixture(chosen: np.ndarray) -> Mixture:
            return Mixture(terms, row[chosen], weights[:, chosen])

        return _in_chunks(layout, merged.model, heights, mixture, chunk, progress)

    counts = merged.signals(np.asarray(signals).T).T

    def columns(chosen: np.ndarray) -> np.ndarray:
        return np.asarray(counts[:, chosen], model.observed.dtype)

    fit = _in_chunks(layout, merged.model, np.sum(counts, axis=0), columns, chunk, progress)
    return fit._replace(slope=merged.unmerged(fit.slope))


def _in_chunks(
    layout: Layout,
    model: TemplateModel | MorphingModel,
    heights: Float[np.ndarray, " point"],
    columns: Callable[[np.ndarray], Any],
    chunk: int,
    progress: Callable[[int], None],
) -> Profiles:
    """Fit points in chunks; `columns` gives the signals of some of them."""
    points = heights.size
    # Points of like difficulty together: a chunk takes as many steps as its slowest point.
    order = np.argsort(heights, kind="stable")
    count = -(-points // chunk)
    # Chunks are independent: they go to the devices in turn, and the result is the same on one as on many.
    devices = jax.local_devices()[:count]
    alone = len(devices) == 1
    models = [model if alone else jax.device_put(model, device) for device in devices]

    def fit(number: int) -> tuple[np.ndarray, Profiles]:
        chosen = order[number * chunk : (number + 1) * chunk]
        padded = columns(np.pad(chosen, (0, chunk - chosen.size), mode="edge"))
        place = number % len(devices)
        found = _fit(layout, models[place], padded if alone else jax.device_put(padded, devices[place]))
        result = Profiles(*(x[..., : chosen.size] for x in found))
        if isinstance(model, TemplateModel):
            _restart(model, padded[:, : chosen.size], result)
        return chosen, result

    # A compiled chunk runs on one core and without the interpreter's lock: threads use the others.
    workers = min(count, max(len(devices), (os.cpu_count() or 1) if devices[0].platform == "cpu" else 2))
    total: Profiles | None = None
    with ThreadPoolExecutor(workers) if count > 1 else nullcontext() as pool:
        for chosen, part in (map if pool is None else pool.map)(fit, range(count)):
            if total is None:
                total = Profiles(*(np.empty((*x.shape[:-1], points), x.dtype) for x in part))
            for whole, piece in zip(total, part, strict=True):
                whole[..., chosen] = piece
            progress(chosen.size)
    if total is None:
        raise ValueError("no points to fit: the grid is empty")
    return total


def _restart(model: TemplateModel, signals: np.ndarray, fit: Profiles) -> None:
    """Fit the points that are not valid again, in place, where the signal itself is finite and digits are left.

    A chi2 of 1e12 has none below 1e-4: where the distance to the minimum is that small, no fit would do better.
    """
    spent = fit.edm < _LAST_DIGITS * fit.chi2
    failed = np.flatnonzero(~fit.valid & ~spent & np.all(np.isfinite(signals), axis=0))
    dtype = model.observed.dtype
    for first in range(0, failed.size, _RESTART):
        index = failed[first : first + _RESTART]
        padded = np.resize(index, _RESTART)
        again = _robust(model, jnp.asarray(signals[:, padded].T, dtype))
        for place, point in enumerate(index):
            if not again.valid[place]:
                continue
            fit.chi2[point] = again.chi2[place]
            fit.pulls[:, point] = again.pulls[place]
            fit.edm[point] = again.edm[place]
            fit.slope[:, point] = again.slope[place]
            fit.valid[point] = True
