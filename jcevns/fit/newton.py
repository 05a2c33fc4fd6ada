"""Batched profile fit for templates times normalisations, the batch axis last.

The same minimum as `jcevns.fit.profile`, found for thousands of signals at once. Derivatives are exact and
closed: in the space of components the Hessian is a Gram matrix plus a diagonal, and the nuisances only add its
entries up. What depends on the structure of the likelihood is a few matrices of zeros and ones, so that the program
is short, and compiled in a second. Large batches with few bins take the derivatives and the step that
`jcevns.fit.written_out` writes out, which run several times as fast and take longer to compile.
"""

import math
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.compiled import RUN_ONCE, compiled
from jcevns.fit import written_out
from jcevns.fit.products import STEP, Factors, Tangent, doubtful, global_minimum
from jcevns.fit.validity import tolerances
from jcevns.likelihood.layout import Layout
from jcevns.likelihood.model import Model
from jcevns.likelihood.poisson import deviance, negative

__all__ = ["BatchFit", "batch_fit", "deviances", "reach"]

_STEPS = 40
_LARGEST_STEP = 2.0  # in log-factors
_WRITTEN_OUT = 16  # bins of an experiment, up to which large batches are written out: more take minutes to compile
_PROVEN = 64  # points in a batch that is proven, unless most are doubted
_LARGE, _LARGE_STEP = 512, 256  # points in a batch, from which it pays; from which the step alone does


class BatchFit(NamedTuple):
    """Profile fits of a batch, batch axis last.

    Attributes:
        chi2: minimum over the nuisances.
        theta: log-factors at the minimum.
        edm: g H^-1 g / 2 before the last step, an upper bound; infinite where H was not positive definite.
        slope: d chi2/d signal at the minimum (envelope theorem).
        valid: EDM below the limit, chi2 finite, no lower minimum to be feared (`jcevns.fit.products`).
    """

    chi2: Float[Array, " batch"]
    theta: Float[Array, "nuisance batch"]
    edm: Float[Array, " batch"]
    slope: Float[Array, "bin batch"]
    valid: Bool[Array, " batch"]


def _product(rows: Any, values: Array) -> Array:
    """Sums of rows times values; rows are (row, i), or of each point (row, i, batch)."""
    if rows.ndim > 2:
        return jnp.sum(rows * values, axis=1)
    return jnp.matmul(rows, values, precision="highest")


class _Structure:
    """A layout as matrices of zeros and ones."""

    def __init__(self, layout: Layout, dtype: Any):
        own = [*layout.signals, *layout.backgrounds]
        loading = np.zeros((len(own), layout.nuisances))
        for c, component in enumerate(own):
            loading[c, list(component.acting)] = 1.0
        self.loading = loading.astype(dtype)
        self.owner = np.array([component.experiment for component in own])
        self.bins = np.array([stop - first for first, stop in layout.bins], float)
        self.acting = np.zeros((len(layout.bins), layout.nuisances), bool)  # on the signal of an experiment
        for c in layout.signals:
            self.acting[c.experiment, list(c.acting)] = True
        self.sources = 1 + max((c.place for c in layout.signals), default=0)
        self.experiments = [
            _Experiment(
                slice(*ends),
                [k for k, c in enumerate(own[: len(layout.signals)]) if c.experiment == e],
                [len(layout.signals) + k for k, c in enumerate(layout.backgrounds) if c.experiment == e],
                [c.place for c in layout.signals_of(e)],
                [c.place for c in layout.backgrounds_of(e)],
            )
            for e, ends in enumerate(layout.bins)
        ]
        one, other = np.array([pair for e in self.experiments for pair in e.pairs], int).reshape(-1, 2).T
        self.one, self.other = one, other
        outer = loading[one][:, :, None] * loading[other][:, None, :]
        outer = outer + np.where((one != other)[:, None, None], np.swapaxes(outer, 1, 2), 0.0)
        # What a pair, and a component by itself, add to the entries of the Hessian.
        self.by_pair = outer.reshape(len(outer), -1).T.astype(dtype)
        alone = np.einsum("cj,ck->jkc", loading, loading)
        self.by_component = alone.reshape(-1, len(own)).astype(dtype)
        # Entries of the Hessian that are not zero by structure, the lower triangle.
        beside = np.any(alone > 0, axis=2) | np.any(outer > 0, axis=0) | np.eye(layout.nuisances, dtype=bool)
        self.entries = [(int(j), int(k)) for j, k in np.argwhere(np.tril(beside))]
        self.order = np.argsort([c for e in self.experiments for c in (*e.signals, *e.backgrounds)])


class _Experiment(NamedTuple):
    """Components of one experiment."""

    bins: slice
    signals: list[int]  # among all components
    backgrounds: list[int]
    places: list[int]  # of the signals, among the sources
    rows: list[int]  # of the backgrounds, among the templates

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Pairs of components, in the order of `_sums`."""
        signals, backgrounds = self.signals, self.backgrounds
        found = [(c, d) for k, c in enumerate(signals) for d in (*signals[: k + 1], *backgrounds)]
        return found + [(c, d) for k, c in enumerate(backgrounds) for d in backgrounds[: k + 1]]

    def templates(self, structure: _Structure, model: Model, signal: Array) -> tuple[list[Array], Array]:
        """Of each signal, and of all backgrounds."""
        parts = signal.reshape(structure.sources, -1, signal.shape[-1])
        return [parts[place, self.bins] for place in self.places], model.background[
            np.array(self.rows, int), self.bins
        ]

    def expected(self, signals: list[Array], background: Array, factor: Array) -> Array:
        """Counts, the bins first."""
        total = _product(jnp.swapaxes(background, 0, 1), factor[np.array(self.backgrounds, int)])
        for row, c in zip(signals, self.signals, strict=True):
            total = total + row * factor[c]
        return total


def _widths(model: Model) -> Array:
    """Widths of the nuisances, (nuisance, 1) or of each point (nuisance, batch)."""
    return model.sigma if model.sigma.ndim > 1 else model.sigma[:, None]


def _chi2(
    structure: _Structure, model: Model, observed: Array, signal: Array, theta: Array
) -> tuple[Array, Array, Tangent]:
    """chi2, infinite where less than nothing is expected, its slope in the signal, its tangent in the products."""
    factor = jnp.exp(_product(structure.loading, theta))
    value = jnp.sum(((jnp.exp(theta) - 1) / _widths(model)) ** 2, axis=0)
    broken = jnp.zeros(value.shape, bool)
    slopes: list[list[Array]] = [[] for _ in range(structure.sources)]
    tilts, data = [], []
    for e in structure.experiments:
        signals, background = e.templates(structure, model, signal)
        expected, count = e.expected(signals, background, factor), observed[e.bins]
        broken = broken | jnp.any(negative(expected), axis=0)
        data.append(jnp.sum(deviance(expected, count), axis=0))
        slope = 2 * (1 - count / jnp.where(expected > 0, expected, 1))
        tilts += [*(jnp.sum(row * slope, axis=0)[None] for row in signals), _product(background, slope)]
        scales = dict(zip(e.places, e.signals, strict=True))
        for place, source in enumerate(slopes):
            source.append(slope * factor[scales[place]] if place in scales else jnp.zeros_like(slope))
    along = jnp.concatenate([row for source in slopes for row in source])
    value = jnp.where(broken, jnp.inf, value + sum(data))
    return (
        value,
        along,
        Tangent(jnp.concatenate(tilts)[structure.order], jnp.stack(data), structure.owner, structure.bins),
    )


def deviances(layout: Layout, model: Model, signal: Array, theta: Array) -> Float[Array, "experiment batch"]:
    """Poisson part of chi2 of each experiment."""
    structure = _Structure(layout, signal.dtype)
    return _chi2(structure, model, model.observed[:, None], signal, theta)[2].data


def _factors(model: Model, theta: Array) -> Factors:
    value = jnp.exp(theta)
    ones = jnp.ones_like(value)
    return Factors(value, ones, jnp.broadcast_to(_widths(model), value.shape), 0 * ones, jnp.inf * ones)


def _proven(
    layout: Layout, model: Model, signal: Array, observed: Array | None, fit: BatchFit
) -> Bool[Array, " batch"]:
    """Whether fits are valid, and no other way to pull factors of one component is lower."""
    structure = _Structure(layout, signal.dtype)
    counts = model.observed[:, None] if observed is None else observed

    theta = fit.theta

    def tangent(theta: Array) -> Tangent:
        return _chi2(structure, model, counts, signal, theta)[2]

    def elsewhere(place: int) -> Tangent:
        return tangent(theta.at[place].add(math.log(STEP)))

    several = elsewhere if len(structure.experiments) > 1 else None
    return fit.valid & global_minimum(structure.loading, tangent(theta), _factors(model, theta), fit.chi2, several)


_proven_few = compiled(_proven, options=RUN_ONCE)
_proven_many = compiled(_proven)


def _sums(count: Array, expected: Array, signals: list[Array], background: Array) -> tuple[list[Array], list[Array]]:
    """Sums over the bins of an experiment: of (1 - D/N) a and of D/N^2 a b, for components a and pairs a, b."""
    # A bin in which nothing is expected is harmless if nothing was seen there; else chi2 says infinite.
    inverse = 1 / jnp.where(expected > 0, expected, 1)
    ratio = count * inverse
    excess, weight = 1 - ratio, ratio * inverse
    strength = [*(jnp.sum(row * excess, axis=0)[None] for row in signals), _product(background, excess)]
    gram = []
    for k, row in enumerate(signals):
        weighted = weight * row
        gram += [jnp.sum(other * weighted, axis=0)[None] for other in signals[: k + 1]]
        gram.append(_product(background, weighted))
    if len(background):
        one, other = np.tril_indices(len(background))
        gram.append(_product(background[one] * background[other], weight))
    return strength, gram


def _derivatives(
    structure: _Structure, model: Model, observed: Array, signal: Array, theta: Array
) -> tuple[Float[Array, "nuisance batch"], Float[Array, "nuisance nuisance batch"]]:
    """Gradient and Hessian of chi2."""
    scale = jnp.exp(_product(structure.loading, theta))
    strengths, grams = [], []
    for e in structure.experiments:
        signals, background = e.templates(structure, model, signal)
        expected = e.expected(signals, background, scale)
        one, two = _sums(observed[e.bins], expected, signals, background)
        strengths += one
        grams += two
    strength = scale * jnp.concatenate(strengths)[structure.order]
    gram = jnp.concatenate(grams) * scale[structure.one] * scale[structure.other]
    factor = jnp.exp(theta)
    size = len(factor)
    prior = 2 / _widths(model) ** 2 * factor
    gradient = 2 * _product(structure.loading.T, strength) + prior * (factor - 1)
    hessian = 2 * (_product(structure.by_pair, gram) + _product(structure.by_component, strength))
    diagonal = jnp.eye(size, dtype=factor.dtype)[:, :, None] * (prior * (2 * factor - 1))
    return gradient, hessian.reshape(size, size, -1) + diagonal


def _newton(
    gradient: Float[Array, "nuisance batch"], hessian: Float[Array, "nuisance nuisance batch"]
) -> tuple[Float[Array, "nuisance batch"], Float[Array, " batch"], Bool[Array, " batch"]]:
    """Step, decrement g H^-1 g / 2, and whether H is positive definite.

    A pivot that is not clearly positive is replaced by the size of its diagonal, so that the step goes down
    whatever the curvature. No LAPACK: called by two threads at once, it may wait for ever.
    """
    size = len(gradient)
    index = jnp.arange(size)[:, None]
    whole = jnp.abs(jnp.diagonal(hessian).T)
    tiny = jnp.finfo(gradient.dtype).tiny ** 0.5

    def eliminate(k: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        rows, right, pivots, definite = state
        good = rows[k, k] > 1e-6 * whole[k]
        pivot = jnp.where(good, rows[k, k], whole[k] + tiny)
        column = jnp.where(index > k, rows[:, k] / pivot, 0.0)
        rows, right = rows - column[:, None] * rows[k], right - column * right[k]
        return rows, right, pivots.at[k].set(pivot), definite & good

    def substitute(step: Array, solution: Array) -> Array:
        k = size - 1 - step
        known = jnp.sum(jnp.where(index > k, rows[k] * solution, 0.0), axis=0)
        return solution.at[k].set((right[k] - known) / pivots[k])

    start = (hessian, gradient, jnp.ones_like(gradient), jnp.ones(gradient.shape[1], bool))
    rows, right, pivots, definite = jax.lax.fori_loop(0, size, eliminate, start)
    solution = jax.lax.fori_loop(0, size, substitute, jnp.zeros_like(gradient))
    return -solution, jnp.sum(right**2 / pivots, axis=0) / 2, definite


def _starts(structure: _Structure, model: Model, observed: Array, signal: Array) -> Float[Array, "2 nuisance batch"]:
    """Candidate starts, those of `jcevns.likelihood.starts.starts`."""
    total = jnp.sum(signal.reshape(structure.sources, -1, signal.shape[-1]), axis=0)
    have, want = (
        jnp.stack([jnp.sum(counts[e.bins], axis=0) for e in structure.experiments]) for counts in (total, observed)
    )
    down = jnp.minimum(jnp.log((want + 1) / (jnp.maximum(have, 0.0) + 1)), 0.0)  # (experiment, batch)
    used = structure.acting[:, :, None]
    power = (1 - down)[:, None] * jnp.log(_widths(model) ** 2)
    share = jax.nn.softmax(jnp.where(used, power, -jnp.inf), axis=1, where=used)
    users = np.sum(structure.acting, axis=0)
    mean = down[:, None] / np.maximum(users, 1).astype(down.dtype)[:, None]
    first = jnp.sum(jnp.where(used, mean * share, 0.0), axis=0)
    shared = ((users == users.max()) & (users > 0))[:, None]
    widest = jnp.argmax(jnp.where(shared, _widths(model), -1.0), axis=0)
    taker = (jnp.arange(users.size)[:, None] == widest) & shared
    second = jnp.where(taker, jnp.min(down, axis=0), 0.0)
    return jnp.stack([first, second])


def batch_fit(
    layout: Layout,
    model: Model,
    signal: Float[Array | np.ndarray, "source_bin batch"],
    observed: Float[Array | np.ndarray, "bin #batch"] | None = None,
) -> BatchFit:
    """Profile fits for a batch of signals; where there may be a lower minimum they are valid only with a proof.

    Args:
        layout: structure of the likelihood.
        model: its numbers.
        signal: expected signal before nuisances, sources one after the other, batch axis last.
        observed: counts per bin if they differ from the model's, one column or one per batch entry.
    """
    fit, doubted = reach(layout, model, signal, observed)
    # The proof takes as long to compile as the fit: where nothing is doubted there is none, and few are taken out.
    place = np.flatnonzero(np.asarray(doubted))
    if not place.size:
        return fit
    size = fit.valid.shape[0]
    if place.size > 4 * _PROVEN or size <= _PROVEN:
        prove = _proven_many if size >= _LARGE else _proven_few
        proven = prove(layout, model, signal, observed, fit)
        return fit._replace(valid=np.where(np.asarray(doubted), proven, fit.valid))
    valid = np.array(fit.valid)
    for first in range(0, place.size, _PROVEN):
        rows = np.resize(place[first : first + _PROVEN], _PROVEN)
        columns: Any = [np.asarray(v)[..., rows] for v in fit]
        own = [np.asarray(v)[..., rows] if v.ndim > n else v for v, n in ((model.sigma, 1), (model.background, 2))]
        chosen = eqx.tree_at(lambda m: (m.sigma, m.background), model, own)
        shared = observed is None or observed.shape[1] == 1
        counts = observed if shared else np.asarray(observed)[:, rows]
        valid[rows] = _proven_few(layout, chosen, np.asarray(signal)[:, rows], counts, BatchFit(*columns))
    return fit._replace(valid=valid)


@compiled
def reach(
    layout: Layout,
    model: Model,
    signal: Float[Array, "source_bin batch"],
    observed: Float[Array, "bin #batch"] | None = None,
    begin: Float[Array, "nuisance batch"] | None = None,
) -> tuple[BatchFit, Bool[Array, " batch"]]:
    """Minima for a batch of signals, and where there may be lower ones, of which nothing is asked here.

    Args:
        layout: structure of the likelihood.
        model: its numbers.
        signal: expected signal before nuisances, sources one after the other, batch axis last.
        observed: counts per bin if they differ from the model's, one column or one per batch entry.
        begin: log-factors to start from, otherwise where signals far above the data come down to them.
    """
    structure = _Structure(layout, signal.dtype)
    counts = model.observed[:, None] if observed is None else observed
    if layout.nuisances == 0:
        none = jnp.zeros((0, signal.shape[-1]), signal.dtype)
        value, slope, _ = _chi2(structure, model, counts, signal, none)
        valid = jnp.isfinite(value)
        return BatchFit(value, none, jnp.zeros_like(value), slope, valid), ~jnp.ones_like(valid)
    goal, limit = tolerances(signal.dtype)
    few = all(stop - first <= _WRITTEN_OUT for first, stop in layout.bins)

    def step(theta: Array) -> tuple[Array, Array, Array]:
        if signal.shape[-1] < (_LARGE if few else _LARGE_STEP):
            return _newton(*_derivatives(structure, model, counts, signal, theta))
        if few:
            gradient, hessian = written_out.derivatives(layout, model, counts, signal, list(theta))
        else:
            gradient, whole = _derivatives(structure, model, counts, signal, theta)
            hessian = {(j, k): whole[j, k] for j, k in structure.entries}
        return written_out.newton(layout, list(gradient), hessian)

    if begin is None:
        candidates = _starts(structure, model, counts, signal)
        values = jax.lax.map(lambda theta: _chi2(structure, model, counts, signal, theta)[0], candidates)
        begin = jnp.where(values[1] / values[0] < 1, candidates[1], candidates[0])

    def running(state: tuple[Array, Array, Array]) -> Array:
        count, edm, _ = state
        # A NaN is not above the goal: a broken point does not keep the others waiting.
        return (count < _STEPS) & jnp.any(edm > goal)

    def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        count, before, theta = state
        direction, decrement, definite = step(theta)
        length = jnp.max(jnp.abs(direction), axis=0)
        # A point that has arrived stays where it is: its result does not depend on the company it keeps.
        scale = jnp.where(before > goal, _LARGEST_STEP / jnp.maximum(length, _LARGEST_STEP), 0.0)
        known = definite | jnp.isnan(decrement)
        edm = jnp.where(before > goal, jnp.where(known, decrement, jnp.inf), before)
        return count + 1, edm, theta + scale * direction

    state = (jnp.asarray(0), jnp.full(signal.shape[-1:], jnp.inf, signal.dtype), begin)
    _, edm, theta = jax.lax.while_loop(running, advance, state)
    value, slope, tangent = _chi2(structure, model, counts, signal, theta)
    valid = (edm < limit) & jnp.isfinite(value)
    return BatchFit(value, theta, edm, slope, valid), valid & doubtful(
        structure.loading, tangent, _factors(model, theta)
    )
