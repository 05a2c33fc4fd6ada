"""Toy experiments: simulated counts and auxiliary measurements, and their fits, vectorised over toys."""

import dataclasses
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.inference.fit import fit_shapes, tolerances
from jcevns.inference.hypothesis import Hypothesis
from jcevns.likelihood.morphing import Mixture, MorphingModel, with_strength
from jcevns.likelihood.morphing import pulls as pulls_of
from jcevns.precision import require_x64

__all__ = ["BLOCK", "Toys", "fit_curves", "fit_intervals", "fit_observed", "fit_toys", "simulate"]

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


_Fits = tuple[Array, Array, Array, Array, Array]  # chi2, parameters, EDM, slope and curvature of the last parameter


def _fit(model: MorphingModel, signal: Array | Mixture, start: Array | None, place: int | None) -> _Fits:
    """One fit; slope and curvature of the profile along the parameter at `place`."""
    found = fit_shapes(model, signal, start)
    if place is None:
        return found.value, found.x, found.edm, jnp.zeros(()), jnp.zeros(())
    # Curvature of the profile by the Schur complement, in the free directions.
    others = found.free & (jnp.arange(found.x.size) != place)
    block = jnp.where(others[:, None] & others[None, :], found.hessian, jnp.diag(jnp.where(others, 0.0, 1.0)))
    column = jnp.where(others, found.hessian[:, place], 0.0)
    curvature = found.hessian[place, place] - column @ jnp.linalg.solve(block, column)
    return found.value, found.x, found.edm, found.gradient[place], curvature


@jax.jit
def _at(model: MorphingModel, terms: Array, weights: Array, observed: Array, centre: Array) -> _Fits:
    """Fits of toys, each at its own signal."""

    def one(data: Array, aux: Array, own: Array) -> _Fits:
        signal = Mixture(terms[None], jnp.zeros((), int), own)
        return _fit(eqx.tree_at(lambda m: (m.observed, m.centre), model, (data, aux)), signal, None, None)

    return jax.vmap(one)(observed, centre, weights)


def _fixed(hypothesis: Hypothesis, value: float | np.ndarray, observed: np.ndarray, centre: np.ndarray) -> _Fits:
    """Fits of toys at one value of the parameter, or at one each."""
    weights = hypothesis.weights(np.broadcast_to(np.asarray(value, float), len(observed)))
    return _at(hypothesis.model, hypothesis.terms, weights, observed, centre)


@jax.jit
def _free(model: MorphingModel, signal: Array, observed: Array, centre: Array) -> _Fits:
    """Fits of toys with a free strength, the last of the normalisations."""
    place = model.linear.shape[1] - 1

    def one(data: Array, aux: Array) -> _Fits:
        return _fit(eqx.tree_at(lambda m: (m.observed, m.centre), model, (data, aux)), signal, None, place)

    return jax.vmap(one)(observed, centre)


@jax.jit
def _held(model: MorphingModel, signal: Array, observed: Array, centre: Array, start: Array) -> _Fits:
    """The same with the strength held where the start has it."""
    place = model.linear.shape[1] - 1

    def one(data: Array, aux: Array, begin: Array) -> _Fits:
        low, high = (limit.at[place].set(begin[place]) for limit in (model.lower, model.upper))
        parts = lambda m: (m.observed, m.centre, m.lower, m.upper)  # noqa: E731
        return _fit(eqx.tree_at(parts, model, (data, aux, low, high)), signal, begin, place)

    return jax.vmap(one)(observed, centre, start)


def _aux_with_strength(hypothesis: Hypothesis, centre: np.ndarray) -> np.ndarray:
    return np.insert(centre, hypothesis.model.linear.shape[1], 0.0, axis=1)


def _fit_strength(hypothesis: Hypothesis, value: float, observed: np.ndarray, centre: np.ndarray) -> list[np.ndarray]:
    model, signal = with_strength(hypothesis.model), hypothesis.terms[0]
    best = _free(model, signal, observed, _aux_with_strength(hypothesis, centre))
    place = hypothesis.model.linear.shape[1]
    truth = _fixed(hypothesis, value, observed, centre)
    return [np.asarray(x) for x in (best[1][:, place] * hypothesis.scale, best[0], truth[0], best[2], truth[2])]


def _fit_curve(hypothesis: Hypothesis, value: float, observed: np.ndarray, centre: np.ndarray) -> list[np.ndarray]:
    """Best fit on the grid, refined by parabolas; the true value is a node."""
    nodes = np.unique(np.append(hypothesis.grid, value))
    fits = [_fixed(hypothesis, v, observed, centre) for v in nodes]
    chi2, edm = np.array([f[0] for f in fits]), np.array([f[2] for f in fits])
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
        found = _fixed(hypothesis, vertex, observed, centre)
        value_there, edm_there = np.asarray(found[0]), np.asarray(found[2])
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
    return [best, least, chi2[here], worst, edm[here]]


def _chunks(
    call: Callable[[np.ndarray, np.ndarray], list[np.ndarray]], observed: np.ndarray, centre: np.ndarray, chunk: int
) -> list[np.ndarray]:
    """Apply to chunks of one size, the last padded, on all cores."""
    count = len(observed)
    starts = range(0, count, chunk)

    def part(first: int) -> list[np.ndarray]:
        rows = np.minimum(np.arange(first, first + chunk), count - 1)
        return [x[: min(chunk, count - first)] for x in call(observed[rows], centre[rows])]

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
    best, chi2, at_truth, edm, edm_truth = _chunks(lambda d, a: fit(hypothesis, value, d, a), observed, centre, chunk)
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

    def curves(observed: np.ndarray, centre: np.ndarray) -> list[np.ndarray]:
        fits = [_fixed(hypothesis, float(v), observed, centre) for v in values]
        return [np.stack([np.where(f[2] < limit, f[0], np.nan) for f in fits], axis=1)]

    return _chunks(curves, *simulate(hypothesis, truth, count, seed), chunk)[0].T


def fit_observed(hypothesis: Hypothesis, value: float) -> tuple[Toys, Float[np.ndarray, " nuisance"]]:
    """The data fitted as a toy is, and the nuisances (as pulls) fitted at a given value."""
    require_x64("a fit of toys")
    model = hypothesis.model
    observed, centre = (np.asarray(x, float)[None, :] for x in (model.observed, model.centre))
    fit = _fit_strength if hypothesis.is_strength else _fit_curve
    best, chi2, at_value, edm, edm_value = fit(hypothesis, value, observed, centre)
    _, x, *_ = _fixed(hypothesis, value, observed, centre)
    _, limit = tolerances(jnp.dtype(float))
    if not (edm[0] < limit and edm_value[0] < limit):
        raise RuntimeError(f"the fit of the data at {hypothesis.name} = {value:.4g} is not valid")
    return Toys(float(value), best, chi2, at_value, np.array([True])), np.asarray(pulls_of(model, x[0]))


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
    model, signal = with_strength(hypothesis.model), jnp.asarray(hypothesis.terms[0])
    place = hypothesis.model.linear.shape[1]
    _, limit = tolerances(jnp.dtype(float))

    def ends(data: np.ndarray, aux: np.ndarray) -> list[np.ndarray]:
        aux = _aux_with_strength(hypothesis, aux)
        chi2, x, edm, _, curvature = (np.asarray(v) for v in _free(model, signal, data, aux))
        best, width = x[:, place], np.sqrt(2 * threshold / np.maximum(curvature, 1e-12))
        found = []
        for side in (-1.0, 1.0):
            inner, outer = best.copy(), np.where(side < 0, 0.0, np.inf) * np.ones_like(best)
            v = np.maximum(best + side * width, 0.0 if side > 0 else best / 8)
            start, worst, done = x.copy(), edm, np.zeros(best.shape, bool)
            for _ in range(_NEWTON):
                start[:, place] = v
                value, at, worst, slope, _ = (np.asarray(w) for w in _held(model, signal, data, aux, start))
                rise = np.maximum(value - chi2, 0.0)
                inner, outer = np.where(rise < threshold, v, inner), np.where(rise < threshold, outer, v)
                start = at.copy()
                done = (np.abs(rise - threshold) < 1e-9 * threshold) | (np.abs(outer - inner) < 1e-10 * v)
                if np.all(done):
                    break
                # Newton for sqrt(rise), which is nearly straight; inside the bracket.
                with np.errstate(divide="ignore", invalid="ignore"):
                    new = v - 2 * (rise - np.sqrt(threshold * rise)) / slope
                low, high = np.minimum(inner, outer), np.maximum(inner, outer)
                middle = np.where(np.isfinite(high), (low + high) / 2, 2 * low + width)
                v = np.where(done, v, np.where(np.isfinite(new) & (new > low) & (new < high), new, middle))
            found.append(np.where((worst < limit) & (edm < limit) & done, v, np.nan))
        return [hypothesis.scale * np.where(edm < limit, best, np.nan), *(hypothesis.scale * f for f in found)]

    best, low, high = _chunks(ends, observed, centre, chunk)
    return best, low, high
