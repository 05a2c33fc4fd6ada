"""Toy experiments: simulated counts and auxiliary measurements, and their fits, vectorised over toys."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from jcevns.inference.fit import tolerances
from jcevns.inference.hypothesis import Hypothesis
from jcevns.inference.toy_kernels import Fits, fit_at, fit_free, fit_held
from jcevns.likelihood.merging import Lanes, gather
from jcevns.likelihood.morphing import MorphingModel, with_strength
from jcevns.likelihood.morphing import pulls as pulls_of
from jcevns.precision import require_x64

__all__ = ["BLOCK", "Toys", "fit_curves", "fit_intervals", "fit_observed", "fit_toys", "observed_curve", "simulate"]

BLOCK = 1000
"""Toys drawn from one random stream, and kept in one file; independent of how many are fitted at a time."""

CHUNK = 256
_PARABOLAS = 4  # steps from the lowest node of the grid of a parameter that is not a strength
_NEWTON = 20  # rounds for the ends of an interval


@dataclasses.dataclass(frozen=True)
class Toys:
    """Fits of toy experiments, one entry per toy.

    Attributes:
        truth: value of the parameter that the toys were drawn at.
        best: best-fit value.
        chi2: at the best fit; minus twice the log-likelihood ratio to the saturated model.
        chi2_truth: at the true value, nuisances fitted.
        valid: both fits are.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> toys = jc.throw(flux, value=5.46e6, count=50, seed=1)
        >>> len(toys), bool(toys.valid.all()), round(float(toys.q.mean()), 2)
        (50, True, 1.46)
    """

    truth: float
    best: Float[np.ndarray, " toy"]
    chi2: Float[np.ndarray, " toy"]
    chi2_truth: Float[np.ndarray, " toy"]
    valid: Bool[np.ndarray, " toy"]

    @property
    def q(self) -> Float[np.ndarray, " toy"]:
        """Delta chi2 of the true value."""
        return np.maximum(self.chi2_truth - self.chi2, 0.0)

    def __len__(self) -> int:
        """Number of toys."""
        return self.best.size


def simulate(
    hypothesis: Hypothesis,
    value: float,
    count: int,
    seed: int,
    first: int = 0,
    pulls: Float[np.ndarray, " nuisance"] | None = None,
) -> tuple[Float[np.ndarray, "toy bin"], Float[np.ndarray, "toy nuisance"]]:
    """Counts and auxiliary measurements of toys `first` to `first + count`.

    Auxiliary measurements are Gaussian around the true nuisances. A toy's numbers depend on the seed and on its
    index alone.

    Args:
        hypothesis: the likelihood and the parameter.
        value: true value of the parameter.
        count: number of toys.
        seed: of the random streams.
        first: index of the first toy.
        pulls: true nuisances; nominal if absent.

    Returns:
        Counts, and centres of the constraints as pulls.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> counts, centres = jc.simulate(flux, value=5.46e6, count=1000, seed=1)
        >>> counts.shape, [round(n, 1) for n in counts.mean(axis=0).tolist()]  # events per bin
        ((1000, 3), [11.8, 13.7, 11.9])
    """
    if count < 1 or first < 0:
        raise ValueError(f"{count} toys from number {first} on: ask for one or more, from 0 up")
    sigma = np.asarray(hypothesis.model.sigma)
    truth = np.zeros(sigma.size) if pulls is None else np.asarray(pulls, float)
    expected = np.asarray(hypothesis.expected(value, truth))
    observed, centre = [], []
    for block in range(first // BLOCK, -(-(first + count) // BLOCK)):
        stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, block])))
        rows = slice(max(first - block * BLOCK, 0), min(first + count - block * BLOCK, BLOCK))
        observed.append(stream.poisson(expected, (BLOCK, expected.size))[rows])
        centre.append((truth + sigma * stream.standard_normal((BLOCK, sigma.size)))[rows])
    return np.concatenate(observed).astype(float), np.concatenate(centre)


def _fixed(hypothesis: Hypothesis, value: float | np.ndarray, lanes: Lanes) -> Fits:
    """Fits of toys at one value of the parameter, or at one each."""
    weights = hypothesis.weights(np.broadcast_to(np.asarray(value, float), len(lanes.observed)))
    return fit_at(hypothesis.model, lanes, weights)


def _with_free(hypothesis: Hypothesis, lanes: Lanes) -> tuple[MorphingModel, Lanes, int]:
    """Model and toys with a free strength, and its place among the parameters."""
    place = hypothesis.model.linear.shape[1]
    centre = np.insert(np.asarray(lanes.centre), place, 0.0, axis=1)
    return with_strength(hypothesis.model), lanes._replace(centre=centre), place


def _fit_strength(hypothesis: Hypothesis, value: float, lanes: Lanes) -> list[np.ndarray]:
    model, free, place = _with_free(hypothesis, lanes)
    best, truth = fit_free(model, free), _fixed(hypothesis, value, lanes)
    found = (best.x[:, place] * hypothesis.scale, best.chi2, truth.chi2, best.edm, truth.edm, truth.x)
    return [np.asarray(x) for x in found]


def _fit_curve(hypothesis: Hypothesis, value: float, lanes: Lanes) -> list[np.ndarray]:
    """Best fit on the grid, refined by parabolas; the true value is a node."""
    nodes = np.unique(np.append(hypothesis.grid, value))
    fits = [_fixed(hypothesis, v, lanes) for v in nodes]
    chi2, edm = np.array([f.chi2 for f in fits]), np.array([f.edm for f in fits])
    every, here = np.arange(chi2.shape[1]), int(np.searchsorted(nodes, value))
    lowest = np.argmin(np.where(np.isfinite(chi2), chi2, np.inf), axis=0)
    middle = np.clip(lowest, 1, nodes.size - 2)
    x = np.stack([nodes[middle + k] for k in (-1, 0, 1)])
    y = np.stack([chi2[middle + k, every] for k in (-1, 0, 1)])
    best, least, worst = nodes[lowest], chi2[lowest, every], edm[lowest, every]
    for _ in range(_PARABOLAS):
        a, b = (y[1] - y[0]) / (x[1] - x[0]), (y[2] - y[1]) / (x[2] - x[1])
        with np.errstate(divide="ignore", invalid="ignore"):
            vertex = (x[0] + x[1]) / 2 - a * (x[2] - x[0]) / 2 / (b - a)
        vertex = np.where(np.isfinite(vertex) & (vertex > x[0]) & (vertex < x[2]), vertex, best)
        found = _fixed(hypothesis, vertex, lanes)
        value_there, edm_there = np.asarray(found.chi2), np.asarray(found.edm)
        better = value_there < least
        best, least = np.where(better, vertex, best), np.where(better, value_there, least)
        worst = np.where(better, edm_there, worst)
        x4, y4 = np.vstack([x, vertex]), np.vstack([y, value_there])
        order = np.argsort(x4, axis=0)
        x4, y4 = np.take_along_axis(x4, order, 0), np.take_along_axis(y4, order, 0)
        inner = 1 + (y4[2] < y4[1])  # keep the lowest with its neighbours
        x = np.stack([x4[inner + k, every] for k in (-1, 0, 1)])
        y = np.stack([y4[inner + k, every] for k in (-1, 0, 1)])
        x[1] = np.where((x[1] > x[0]) & (x[1] < x[2]), x[1], (x[0] + x[2]) / 2)
    return [best, least, chi2[here], worst, edm[here], np.asarray(fits[here].x)]


def _chunks(
    hypothesis: Hypothesis,
    call: Callable[[Lanes], list[np.ndarray]],
    observed: np.ndarray,
    centre: np.ndarray,
    chunk: int,
) -> list[np.ndarray]:
    """Apply to chunks of one size, the last padded, on all cores."""
    count = len(observed)
    starts = range(0, count, chunk)

    def part(first: int) -> list[np.ndarray]:
        rows = np.minimum(np.arange(first, first + chunk), count - 1)
        lanes = gather(hypothesis.model, hypothesis.terms, observed[rows], centre[rows])
        return [x[: min(chunk, count - first)] for x in call(lanes)]

    done = [part(0)]  # alone, so that it is compiled once
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        done += pool.map(part, starts[1:])
    return [np.concatenate(column) for column in zip(*done, strict=True)]


def fit_toys(
    hypothesis: Hypothesis,
    value: float,
    observed: Float[np.ndarray, "toy bin"],
    centre: Float[np.ndarray, "toy nuisance"],
    chunk: int = CHUNK,
) -> Toys:
    """Two fits of every toy: the parameter free, and held at its true value.

    Args:
        hypothesis: the likelihood and the parameter.
        value: true value.
        observed: counts.
        centre: auxiliary measurements, as pulls.
        chunk: toys fitted at a time.
    """
    require_x64("a fit of toys")
    fit = _fit_strength if hypothesis.is_strength else _fit_curve
    parts = _chunks(hypothesis, lambda lanes: fit(hypothesis, value, lanes), observed, centre, chunk)
    best, chi2, at_truth, edm, edm_truth, _ = parts
    _, limit = tolerances(jnp.dtype(float))
    valid = (np.maximum(edm, edm_truth) < limit) & np.isfinite(chi2) & np.isfinite(at_truth)
    return Toys(float(value), best, chi2, at_truth, valid)


def fit_curves(
    hypothesis: Hypothesis,
    values: Sequence[float] | Float[np.ndarray, " value"],
    truth: float,
    count: int,
    seed: int = 1,
    chunk: int = CHUNK,
) -> Float[np.ndarray, "value toy"]:
    """Profiled chi2 of toys along the parameter, NaN where a fit is not valid.

    Args:
        hypothesis: the likelihood and the parameter.
        values: where.
        truth: value that the toys are drawn at, with nominal nuisances.
        count: number of toys.
        seed: of the toys; they are those of `throw`.
        chunk: toys fitted at a time.
    """
    require_x64("a fit of toys")
    _, limit = tolerances(jnp.dtype(float))

    def curves(lanes: Lanes) -> list[np.ndarray]:
        fits = [_fixed(hypothesis, float(v), lanes) for v in values]
        return [np.stack([np.where(f.edm < limit, f.chi2, np.nan) for f in fits], axis=1)]

    return _chunks(hypothesis, curves, *simulate(hypothesis, truth, count, seed), chunk)[0].T


def _copies(hypothesis: Hypothesis) -> Lanes:
    """The data, as many times as toys are fitted at a time: cheaper than another compilation."""
    model = hypothesis.model
    observed, centre = (np.tile(np.asarray(x, float), (CHUNK, 1)) for x in (model.observed, model.centre))
    return gather(model, hypothesis.terms, observed, centre)


def fit_observed(hypothesis: Hypothesis, value: float) -> tuple[Toys, Float[np.ndarray, " nuisance"]]:
    """The data fitted as a toy is, and the nuisances (as pulls) fitted at a given value."""
    require_x64("a fit of toys")
    fit = _fit_strength if hypothesis.is_strength else _fit_curve
    best, chi2, at_value, edm, edm_value, x = fit(hypothesis, value, _copies(hypothesis))
    _, limit = tolerances(jnp.dtype(float))
    if not (edm[0] < limit and edm_value[0] < limit):
        raise RuntimeError(f"the fit of the data at {hypothesis.name} = {value:.4g} is not valid")
    data = Toys(float(value), best[:1], chi2[:1], at_value[:1], np.array([True]))
    return data, np.asarray(pulls_of(hypothesis.model, jnp.asarray(x[0])))


def observed_curve(hypothesis: Hypothesis, values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " value"]:
    """Profiled chi2 of the data along the parameter, NaN where a fit is not valid."""
    require_x64("a profile")
    lanes, (_, limit) = _copies(hypothesis), tolerances(jnp.dtype(float))
    chi2 = []
    for first in range(0, len(values), CHUNK):
        part = values[first : first + CHUNK]
        found = _fixed(hypothesis, np.append(part, np.full(CHUNK - len(part), part[-1])), lanes)
        chi2.append(np.where(found.edm < limit, found.chi2, np.nan)[: len(part)])
    return np.concatenate(chi2)


def fit_intervals(
    hypothesis: Hypothesis,
    observed: Float[np.ndarray, "toy bin"],
    centre: Float[np.ndarray, "toy nuisance"],
    threshold: float = 1.0,
    chunk: int = CHUNK,
) -> tuple[Float[np.ndarray, " toy"], Float[np.ndarray, " toy"], Float[np.ndarray, " toy"]]:
    """Best fit and interval of a strength for every toy.

    Args:
        hypothesis: the likelihood and a strength, such as the flux.
        observed: counts.
        centre: auxiliary measurements, as pulls.
        threshold: Delta chi2 of the ends.
        chunk: toys fitted at a time.

    Returns:
        Best fit, lower end (NaN where 0 is inside) and upper end; NaN where a fit is not valid.
    """
    require_x64("an interval")
    if not hypothesis.is_strength:
        raise ValueError(f"{hypothesis.name!r} is not a strength: use fit_toys at several true values")
    _, limit = tolerances(jnp.dtype(float))

    def ends(toys: Lanes) -> list[np.ndarray]:
        model, lanes, place = _with_free(hypothesis, toys)
        lanes = jax.device_put(lanes)
        chi2, x, edm, _, curvature = (np.asarray(v) for v in fit_free(model, lanes))
        best, width = x[:, place], np.sqrt(2 * threshold / np.maximum(curvature, 1e-12))
        found, opened = [], np.zeros(best.shape, bool)
        for side in (-1.0, 1.0):
            inner, outer = best.copy(), np.where(side < 0, 0.0, np.inf) * np.ones_like(best)
            v = np.maximum(best + side * width, 0.0 if side > 0 else best / 8)
            start, worst, done = x.copy(), edm, np.zeros(best.shape, bool)
            if side < 0:  # 0 first: where it is inside, there is no end to look for
                start[:, place] = 0.0
                done = np.asarray(fit_held(model, lanes, start).chi2) - chi2 < threshold
                start, opened = x.copy(), done.copy()
            for _ in range(_NEWTON):
                start[:, place] = v
                value, at, worst, slope, _ = (np.asarray(w) for w in fit_held(model, lanes, start))
                rise = np.maximum(value - chi2, 0.0)
                inner, outer = np.where(rise < threshold, v, inner), np.where(rise < threshold, outer, v)
                start = at.copy()
                done |= (np.abs(rise - threshold) < 1e-7 * threshold) | (np.abs(outer - inner) < 1e-10 * v)
                if np.all(done):
                    break
                # Newton for sqrt(rise), which is nearly straight; inside the bracket.
                with np.errstate(divide="ignore", invalid="ignore"):
                    new = v - 2 * (rise - np.sqrt(threshold * rise)) / slope
                low, high = np.minimum(inner, outer), np.maximum(inner, outer)
                middle = np.where(np.isfinite(high), (low + high) / 2, 2 * low + width)
                v = np.where(done, v, np.where(np.isfinite(new) & (new > low) & (new < high), new, middle))
            known = (worst < limit) & (edm < limit) & done & ~(opened & (side < 0))
            found.append(np.where(known, v, np.nan))
        return [hypothesis.scale * np.where(edm < limit, best, np.nan), *(hypothesis.scale * f for f in found)]

    best, low, high = _chunks(hypothesis, ends, observed, centre, chunk)
    return best, low, high
