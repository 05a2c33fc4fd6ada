"""Profile fits of many signals: fixed-size chunks through the batched Newton fit, failures tried again."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.compiled import compiled
from jcevns.fit.general import FEWEST, Held, general_fits, in_turn, processors, standing
from jcevns.fit.newton import BatchFit, batch_fit, deviances, reach
from jcevns.fit.validity import tolerances
from jcevns.likelihood.arrangement import Arrangement
from jcevns.likelihood.layout import Layout
from jcevns.likelihood.merging import merge
from jcevns.likelihood.model import Mixture, Model
from jcevns.likelihood.starts import along_stars, explored, stars

__all__ = [
    "CHUNK",
    "CHUNK_SHAPES",
    "Profiles",
    "batch_size",
    "expand",
    "logarithmic",
    "prepare",
    "profile_signals",
    "relative_pulls",
]

CHUNK = 2048
"""Points of a large scan fitted at a time; `batch_size` says how many elsewhere."""

CHUNK_SHAPES = 256
"""The same for likelihoods that the batched fit is not written for."""


class Profiles(NamedTuple):
    """Profile fits of many points, as NumPy arrays with one entry per point.

    Attributes:
        chi2: minimum over the nuisances.
        x: parameters of the model at the minimum.
        edm: estimated distance to the minimum.
        slope: of chi2 in every entry of the signal, or in the weights of a mixture.
        held: slope in every parameter of the model, not zero only where it is held.
        valid: the fit is.
    """

    chi2: Float[np.ndarray, " point"]
    x: Float[np.ndarray, "nuisance point"]
    edm: Float[np.ndarray, " point"]
    slope: Float[np.ndarray, "bin point"]
    held: Float[np.ndarray, "nuisance point"]
    valid: Bool[np.ndarray, " point"]


def logarithmic(model: Model) -> Bool[np.ndarray, " nuisance"]:
    """`Model.is_log` by NumPy, without a compiled operation."""
    return np.concatenate([~np.any(np.asarray(model.linear) > 0, axis=0), np.zeros(len(model.anchors), bool)])


def relative_pulls(model: Model, x: Float[np.ndarray, "nuisance point"]) -> Float[np.ndarray, "nuisance point"]:
    """Factor - 1 of the normalisations, and positions of the shapes, at parameters of the model."""
    log = logarithmic(model)[:, None]
    unit = (np.arange(len(x)) < len(x) - len(model.anchors))[:, None]
    return np.where(log, np.expm1(np.where(log, x, 0.0)), x - unit)


_LAST_DIGITS = 1e-11  # of chi2, lost in its sums
_SAME = 1e-6  # of 1 + chi2: the same minimum again
_CACHED = 2**18  # numbers in one table of a chunk
_NUMBERS, _FEW = 4096, 256  # in a small batch that takes hardly longer than one point; its points
_MANY = 500_000  # points from which the large batch, three times as fast and slower to compile, is worth it
_SHAPES_MANY = 512  # the same where there are shapes
_RESTART = FEWEST  # failures are repeated in batches of one size, so that the slow path is compiled once


def _fit(layout: Layout, model: Model, signals: Any, held: Held, count: int) -> Profiles:
    """Fits of one chunk, points last, of which the first are asked for."""
    if not layout.plain or held.place.size:
        return Profiles(*general_fits(model, signals, held, count))
    return _profiles(model, batch_fit(layout, model, signals))


def _profiles(model: Model, found: BatchFit) -> Profiles:
    chi2, theta, edm, slope, valid = map(np.array, found)
    x = np.where(logarithmic(model)[:, None], theta, np.exp(theta)) if len(theta) else theta
    return Profiles(chi2, x, edm, slope, np.zeros_like(x), valid)


_first_calls: dict[tuple[Layout, int, Any], Future] = {}


def batch_size(layout: Layout, points: int = 1, held: bool = False) -> int:
    """Points to fit at a time, of few sizes, so that one compilation serves fits, intervals, limits and small scans.

    Args:
        layout: structure of the likelihood.
        points: to be fitted in all.
        held: whether parameters stand still.
    """
    if not layout.plain or held:
        return CHUNK_SHAPES if points > _SHAPES_MANY else FEWEST
    room = max(_NUMBERS // max(stop for _, stop in layout.bins), 1)
    return CHUNK if points >= _MANY else min(max(FEWEST, 2 ** (room.bit_length() - 1)), _FEW)


def prepare(arrangement: Arrangement, chunk: int | None = None) -> Future | None:
    """Start compiling the batched fit in the background, while signals are computed.

    Args:
        arrangement: numbers and structure of the likelihood.
        chunk: points fitted at a time; `batch_size` of a few if absent.

    Returns:
        Done when the fit is compiled; `profile_signals` waits for it by itself. None where nothing is to be done.
    """
    layout, model = arrangement.layout, arrangement.model
    if not layout.plain:
        return None
    chunk = _fitting(chunk or batch_size(layout), model.observed.size)
    key = (layout, chunk, model.observed.dtype)
    if key not in _first_calls:
        counts = np.ones((model.sources * model.observed.size, chunk), model.observed.dtype)
        _first_calls[key] = ThreadPoolExecutor(1).submit(_fit, layout, model, counts, standing({}, chunk), chunk)
    return _first_calls[key]


def _fitting(chunk: int, bins: int) -> int:
    """Fewer points at a time where they have many bins: they are to stay in the processor's cache."""
    return min(chunk, max(CHUNK_SHAPES, 2 ** int(np.log2(_CACHED / bins))))


def expand(signals: Mixture) -> Float[np.ndarray, "bin point"]:
    """The signals of a mixture of many points, written out."""
    terms = np.asarray(signals.terms)
    if len(terms) == 1:
        return terms[0].T @ signals.weights
    return sum((w * terms[signals.row, k].T for k, w in enumerate(signals.weights)), np.zeros(()))


def profile_signals(
    arrangement: Arrangement,
    signals: Float[np.ndarray, "bin point"] | Mixture,
    held: Mapping[int, Float[np.ndarray, " point"]] | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], None] = lambda points: None,
) -> Profiles:
    """Minimise chi2 over the nuisances for every signal.

    Points that the batched Newton fit does not bring to a valid minimum are fitted again by the robust
    minimiser, from several starts; what is still not valid is marked so.

    Args:
        arrangement: numbers and structure of the likelihood.
        signals: expected signal before nuisances, one column per point; or a mixture with one row number and one
            column of weights per point, and then `slope` is with respect to the weights.
        held: parameters of the model, by place, that stand still at a value for each point.
        chunk: points fitted at a time; the last chunk is padded.
        progress: called with the number of points done after each chunk.

    Returns:
        One entry per point.
    """
    layout, model = arrangement.layout, arrangement.model
    if not layout.plain or held:
        return _general(layout, model, signals, held or {}, chunk, progress)
    if isinstance(signals, Mixture):
        fit = profile_signals(arrangement, expand(signals), None, chunk, progress)
        terms = np.asarray(signals.terms)
        if len(terms) == 1:
            return fit._replace(slope=terms[0] @ fit.slope)
        slope = [np.sum(fit.slope * terms[signals.row, k].T, axis=0) for k in range(terms.shape[1])]
        return fit._replace(slope=np.stack(slope))
    first = prepare(arrangement, chunk)
    if first is not None:
        first.result()
    chunk = _fitting(chunk, model.observed.size)
    heights, counts = np.sum(signals, axis=0), signals

    def columns(chosen: np.ndarray) -> np.ndarray:
        return np.asarray(counts[:, chosen], model.observed.dtype)

    return _in_chunks(layout, model, heights, columns, {}, chunk, progress)


def _general(
    layout: Layout,
    model: Model,
    signals: Any,
    held: Mapping[int, np.ndarray],
    chunk: int,
    progress: Callable[[int], None],
) -> Profiles:
    """The same by the general minimiser, on the bins that hold events."""
    merged, chunk = merge(model), min(chunk, CHUNK_SHAPES)
    if isinstance(signals, Mixture):
        table = merged.signals(np.asarray(signals.terms))
        heights = np.sum(signals.weights * np.sum(table, axis=2)[signals.row].T, axis=0)
        # Few sizes of the table, so that one compilation serves many.
        size = 2 ** int(np.ceil(np.log2(len(table))))
        terms = table[np.minimum(np.arange(size), len(table) - 1)]
        row, weights = np.asarray(signals.row), signals.weights

        def mixture(chosen: np.ndarray) -> Mixture:
            return Mixture(terms, row[chosen], weights[:, chosen])

        return _in_chunks(layout, merged.model, heights, mixture, held, chunk, progress)

    counts = merged.signals(np.asarray(signals).T).T

    def columns(chosen: np.ndarray) -> np.ndarray:
        return np.asarray(counts[:, chosen], model.observed.dtype)

    fit = _in_chunks(layout, merged.model, np.sum(counts, axis=0), columns, held, chunk, progress)
    return fit._replace(slope=merged.unmerged(fit.slope))


def _in_chunks(
    layout: Layout,
    model: Model,
    heights: Float[np.ndarray, " point"],
    columns: Callable[[np.ndarray], Any],
    held: Mapping[int, np.ndarray],
    chunk: int,
    progress: Callable[[int], None],
) -> Profiles:
    """Fit points in chunks; `columns` gives the signals of some of them."""
    points = heights.size
    # Points of like difficulty together: a chunk takes as many steps as its slowest point.
    order = np.argsort(heights, kind="stable")
    plain = layout.plain and not held
    together = chunk
    if not plain and in_turn(model, chunk):
        together = max(1, min(chunk, -(-points // processors())))  # each fills the processor by itself
    count = -(-points // together)
    # Chunks are independent: they go to the devices in turn, and the result is the same on one as on many.
    devices = jax.local_devices()[:count]
    alone = len(devices) == 1
    placed = [model if alone else jax.device_put(model, device) for device in devices]

    def fit(number: int) -> tuple[np.ndarray, Profiles]:
        chosen = order[number * together : (number + 1) * together]
        padded = np.pad(chosen, (0, chunk - chosen.size), mode="edge")
        signals, place = columns(padded), number % len(devices)
        still = standing({k: v[padded] for k, v in held.items()}, chunk)
        there = signals if alone else jax.device_put(signals, devices[place])
        found = _fit(layout, placed[place], there, still, chosen.size)
        result = Profiles(*(x[..., : chosen.size] for x in found))
        if plain:
            _restart(layout, model, signals[:, : chosen.size], result)
        return chosen, result

    # A compiled chunk runs on one core and without the interpreter's lock: threads use the others.
    workers = min(count, max(len(devices), processors() if devices[0].platform == "cpu" else 2))
    total: Profiles | None = None
    with ThreadPoolExecutor(workers) if count > 1 else nullcontext() as pool:
        # The hardest first: the last to run, beside idle cores, is an easy one.
        for chosen, part in (map if pool is None else pool.map)(fit, reversed(range(count))):
            if total is None:
                total = Profiles(*(np.empty((*x.shape[:-1], points), x.dtype) for x in part))
            for whole, piece in zip(total, part, strict=True):
                whole[..., chosen] = piece
            progress(chosen.size)
    if total is None:
        raise ValueError("no points to fit: the grid is empty")
    return total


@compiled
def _explore(layout: Layout, model: Model, signals: Array, x: Array, place: Array) -> BatchFit:
    """The lowest of fits that start all along one star, from a minimum: `jcevns.likelihood.starts`."""
    along = jax.vmap(lambda signal, x: jnp.stack(along_stars(model, signal, x)), -1, -1)(signals, x)
    begins = along[place]
    theta = jnp.where(model.is_log[:, None], begins, jnp.log(jnp.where(begins > 0, begins, 1.0)))
    many, points = len(begins), signals.shape[-1]
    starts = jnp.moveaxis(theta, 0, 1).reshape(layout.nuisances, many * points)
    every, _ = reach(layout, model, jnp.tile(signals, (1, many)), None, starts)
    lowest = jnp.argmin(jnp.where(every.valid, every.chi2, jnp.inf).reshape(many, points), axis=0)
    found = BatchFit(*(x[..., lowest * points + jnp.arange(points)] for x in every))
    widths = model.sigma[: layout.nuisances, None]
    misfit = deviances(layout, model, signals, found.theta) / jnp.sum(model.owner, axis=1)[:, None]
    factors = jnp.exp(found.theta), jnp.ones_like(widths), widths
    return found._replace(valid=found.valid & explored(np.array(model.loading), model.belongs, *factors, misfit))


def _restart(layout: Layout, model: Model, signals: np.ndarray, fit: Profiles) -> None:
    """Fit the points that are not valid again, in place, where the signal itself is finite and digits are left.

    Minima that are doubted are compared with others along what products have in common, one star after the other;
    what is left goes to the robust minimiser. A chi2 of 1e12 has no digits below 1e-4: where the distance to the
    minimum is that small, no fit would do better.
    """
    spent = fit.edm < _LAST_DIGITS * fit.chi2
    dtype = model.observed.dtype
    _, limit = tolerances(dtype)
    doubted = fit.edm < limit
    failed = ~fit.valid & (doubted | ~spent)
    if not np.any(failed):
        return
    failed &= np.all(np.isfinite(signals), axis=0)
    several = len(stars(model.loading, model.belongs)) if layout.nuisances else 0

    def again(chosen: np.ndarray, call: Callable[[Any, Profiles, int], Sequence[Any]]) -> None:
        for first in range(0, chosen.size, _RESTART):
            index = chosen[first : first + _RESTART]
            same_size = np.resize(index, _RESTART)
            before = Profiles(*(x[..., same_size] for x in fit))
            found = Profiles(*map(np.asarray, call(np.asarray(signals[:, same_size], dtype), before, index.size)))
            good = found.valid[: index.size]
            for whole, piece in zip(fit, found, strict=True):
                whole[..., index[good]] = piece[..., : index.size][..., good]

    def compared(counts: Any, lowest: Profiles, _: int) -> Profiles:
        good = np.ones(_RESTART, bool)
        for place in range(several):
            found = _profiles(model, _explore(layout, model, counts, lowest.x, np.asarray(place)))
            # Starts that do not even find what is known have not looked everywhere.
            same = (found.edm < limit) & (found.chi2 <= lowest.chi2 + _SAME * (1 + np.abs(lowest.chi2)))
            good &= found.valid & same
            lowest = Profiles(*(np.where(same, new, old) for new, old in zip(found, lowest, strict=True)))
        return lowest._replace(valid=good)

    if several:
        again(np.flatnonzero(failed & doubted), compared)
        failed &= ~fit.valid
    again(np.flatnonzero(failed), lambda s, _, count: general_fits(model, s, standing({}, _RESTART), count))
