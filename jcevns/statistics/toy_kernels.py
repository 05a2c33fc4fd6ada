"""Fits of many toys, each with its own counts and auxiliary measurements: chi2 and its derivatives at given values.

Two ways to the same minimum. Templates times normalisations in few bins go through the batched fit of scans: a toy
whose auxiliary measurement of a factor is 1 + c is fitted as one that measured 1, with templates 1 + c times as large
and a width as many times smaller. Everything else, and what fails there, goes through the general minimiser.
"""

from collections.abc import Iterator
from threading import Lock
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jcevns.compiled import compiled
from jcevns.fit.batch import expand
from jcevns.fit.general import held_model
from jcevns.fit.newton import batch_fit
from jcevns.fit.profile import fit_model
from jcevns.fit.validity import tolerances
from jcevns.likelihood import merging
from jcevns.likelihood import model as models
from jcevns.likelihood.model import Mixture, Model
from jcevns.likelihood.poisson import negative
from jcevns.statistics.hypothesis import Hypothesis

__all__ = ["Found", "Sample", "ToyFits"]

_PLAIN = 2048  # fits at a time by the batched fit
_FEW = 16  # bins of an experiment, up to which the batched fit takes templates of each toy


class Sample(NamedTuple):
    """Toy experiments.

    Attributes:
        observed: counts.
        centre: auxiliary measurements of the nuisances, as pulls: factor - 1, or the position of a shape.
        auxiliary: those of parameters outside the model.
    """

    observed: Float[np.ndarray, "toy bin"]
    centre: Float[np.ndarray, "toy nuisance"]
    auxiliary: Float[np.ndarray, "toy auxiliary"]


class Found(NamedTuple):
    """Profile fits at many points, each of one toy.

    Attributes:
        chi2: minimum over the nuisances; infinite where the toy is impossible: events seen and none expected.
        gradient: in the parameters of the points.
        hessian: in the same; empty unless parameters of the theory are profiled.
        x: parameters of the model at the minima.
        valid: the fit is.
    """

    chi2: Float[np.ndarray, " point"]
    gradient: Float[np.ndarray, "point parameter"]
    hessian: Float[np.ndarray, "point parameter parameter"]
    x: Float[np.ndarray, "point nuisance"]
    valid: Bool[np.ndarray, " point"]


class _Raw(NamedTuple):
    """The same, with the slope in the weights of the signal, then in the parameter held, if there is one."""

    chi2: Any  # (point,)
    slope: Any  # (point, outer)
    x: Any  # (point, nuisance)
    free: Any  # (point, nuisance): neither on a bound nor at a kink
    valid: Any  # (point,)


def _with_data(model: Model, toy: Any) -> Model:
    """The model with the numbers of one toy; what is None is the same for all."""
    parts = [n for n in ("observed", "owner", "background", "moving", "centre") if getattr(toy, n) is not None]
    return eqx.tree_at(lambda m: [getattr(m, n) for n in parts], model, [getattr(toy, n) for n in parts])


@compiled
def _fit_at(model: Model, toys: Any, terms: Array, weights: Array, held: Array, place: int | None) -> _Raw:
    """Fits at given signals; terms are those of all, (term, anchor_bin), or of each toy, (toy, term, anchor_bin)."""
    _, limit = tolerances(model.sigma.dtype)
    places = jnp.array([] if place is None else [place], int)

    def one(toy: Any, own: Array, weights: Array, x: Array) -> _Raw:
        here = held_model(_with_data(model, toy), places, x)
        signal = Mixture(own[None], jnp.zeros((), int), weights)
        found = fit_model(here, signal)
        slope = models.signal_slope(here, signal, found.x, found.cell)
        fine = found.reached(limit)
        # Impossible counts are a result; less than nothing expected is no model.
        broken = jnp.any(negative(models.expected_counts(here, signal, found.x, found.cell)))
        valid = fine | (jnp.isposinf(found.value) & ~broken)
        slope = jnp.concatenate([slope, found.gradient[places]])
        return _Raw(found.value, slope, found.x, found.free, valid)

    return jax.vmap(one, (0, None if terms.ndim == 2 else 0, 0, 0))(toys, terms, weights, held)


@compiled
def _bends(model: Model, toys: Any, terms: Array, weights: Array, x: Array, free: Array, place: int | None) -> Array:
    """Second derivatives in weights and parameters of the model; ones on the diagonal for what is not free."""

    def one(toy: Any, own: Array, weights: Array, x: Array, free: Array) -> Array:
        here, size = _with_data(model, toy), weights.size
        signal = Mixture(own[None], jnp.zeros((), int), weights)
        _, bend = models.joint_derivatives(here, signal, x, models.nearest_cell(here, x))
        moves = free if place is None else free.at[place].set(True)
        moves = jnp.concatenate([jnp.ones(size, bool), moves])
        return jnp.where(moves[:, None] & moves[None, :], bend, jnp.diag(jnp.where(moves, 0.0, 1.0)))

    return jax.vmap(one, (0, None if terms.ndim == 2 else 0, 0, 0, 0))(toys, terms, weights, x, free)


@compiled
def _fit_free(model: Model, toys: Any, terms: Array, weights: Array) -> tuple[Array, Array, Array]:
    """chi2, parameters and validity of fits with a strength, the last of the normalisations of the model."""
    _, limit = tolerances(model.sigma.dtype)

    def one(toy: Any, own: Array) -> tuple[Array, Array, Array]:
        found = fit_model(_with_data(model, toy), weights @ own)
        return found.value, found.x, found.reached(limit)

    return jax.vmap(one, (0, None if terms.ndim == 2 else 0))(toys, terms)


_take = jax.jit(lambda toys, rows: jax.tree.map(lambda v: v[rows], toys))


def _turns(index: Int[np.ndarray, " point"]) -> Int[np.ndarray, " point"]:
    """How often the same toy came before."""
    order = np.argsort(index, kind="stable")
    same = index[order]
    first = np.searchsorted(same, same, side="left")
    turn = np.empty(index.size, int)
    turn[order] = np.arange(index.size) - first
    return turn


class ToyFits:
    """Some toys, ready to be fitted at any values of the parameter.

    Args:
        hypothesis: the likelihood and the parameter.
        sample: counts and auxiliary measurements.
        chunk: toys fitted at a time by the general minimiser.
    """

    _folding = Lock()  # terms that are folded are kept in one table

    def __init__(self, hypothesis: Hypothesis, sample: Sample, chunk: int):
        self.hypothesis, self.sample, self.chunk = hypothesis, sample, chunk
        self.size = len(sample.observed)
        model, table = hypothesis.model, hypothesis.table
        terms = np.zeros((1, hypothesis.likelihood.signal_size)) if table is None else table
        toys = merging.gather(model, terms, sample.observed, sample.centre)
        self.merged = toys.observed.shape[1] < sample.observed.shape[1]
        self._terms = None
        if not self.merged:
            toys = toys._replace(owner=None, background=None, moving=None)
            self._terms = None if table is None else jnp.asarray(table)
        if table is None or not self.merged:
            toys = toys._replace(terms=None)
        # As many as are fitted at a time: those beyond the last are copies of it.
        rows = np.minimum(np.arange(chunk), self.size - 1) if self.size < chunk else np.arange(self.size)
        self._toys = jax.device_put(jax.tree.map(lambda v: np.asarray(v, float)[rows], toys))
        bins = np.diff(np.array(hypothesis.layout.bins), axis=1)
        few = not self.merged and bool(np.all(bins <= _FEW)) and hypothesis.layout.plain
        self._plain = few and hypothesis.place is None

    # Fits at given values.

    def evaluate(self, index: Int[np.ndarray, " point"], points: Float[np.ndarray, "point parameter"]) -> Found:
        """Fits of toys at values of the parameter and of those that are profiled.

        Args:
            index: toy of each point.
            points: values.
        """
        h = self.hypothesis
        with self._folding:
            mixture = h.mixture(points)
            first, *second = h.slopes(points, mixture)
        held = h.standing(points[:, 0])
        if self._plain:
            raw = self._by_batch(index, mixture)
            failed = np.flatnonzero(~raw.valid)
            if failed.size:
                again = self._in_general(index[failed], _chosen(mixture, failed), held[failed])
                for whole, part in zip(raw, again, strict=True):
                    whole[failed] = part
        else:
            raw = self._in_general(index, mixture, held)
        chi2, valid = raw.chi2.copy(), raw.valid
        first = first[: raw.slope.shape[1]]
        gradient = np.einsum("nu,unp->np", raw.slope, first)
        hessian = np.zeros((len(points), 0, 0))
        if h.order > 1:
            hessian = np.einsum("nuv,unp,vnq->npq", self._bend(index, mixture, raw), first, first)
            hessian += np.einsum("nu,unpq->npq", raw.slope, second[0][: raw.slope.shape[1]])
        for k, i in enumerate(h.auxiliary):
            sigma = h.records[i].width
            pull = (points[:, i] - self.sample.auxiliary[index, k]) / sigma
            chi2 += pull**2
            gradient[:, i] += 2 * pull / sigma
            if h.order > 1:
                hessian[:, i, i] += 2 / sigma**2
        valid = valid & np.all(np.isfinite(hessian), axis=(1, 2))
        failed = np.flatnonzero(~valid)
        if failed.size:
            never = failed[h.surface.impossible(points[failed], self.sample.observed[index[failed]])]
            chi2[never], valid[never] = np.inf, True
        return Found(chi2, gradient, hessian, raw.x, valid)

    def _by_batch(self, index: np.ndarray, mixture: Mixture) -> _Raw:
        """By the batched fit; impossible counts are known beforehand."""
        h = self.hypothesis
        model, layout = h.model, h.layout
        signals, count = expand(mixture), index.size
        observed, factor = self.sample.observed[index].T, 1 + self.sample.centre[index].T
        loading = np.asarray(model.linear) + np.asarray(model.logarithmic)
        with np.errstate(invalid="ignore", divide="ignore"):
            scale = np.exp(loading @ np.log(np.maximum(factor, 1e-300)))  # (component, point)
        inside = np.zeros((len(model.signals), model.sources, model.observed.size))
        for k, (owner, source) in enumerate(model.signals):
            inside[k, source, slice(*layout.bins[owner])] = 1.0
        inside = inside.reshape(len(inside), -1)
        grown = inside.T @ scale[: len(inside)]
        background = np.asarray(model.background)[:, :, None] * scale[len(inside) :, None, :]
        sigma = np.asarray(model.sigma)[:, None] / factor
        signal = signals * grown
        total = signal.reshape(model.sources, -1, count).sum(axis=0) + background.sum(axis=0)
        impossible = np.any((total == 0) & (observed > 0), axis=0)
        chi2, x = np.full(count, np.inf), np.zeros((count, sigma.shape[0]))
        slope, valid = np.zeros((count, len(mixture.weights))), impossible.copy()
        usable = np.flatnonzero(~impossible & np.all(factor > 1e-3, axis=0) & np.all(np.isfinite(signal), axis=0))
        terms, log = np.asarray(mixture.terms), np.asarray(model.is_log)[:, None]
        for first in range(0, usable.size, _PLAIN):
            part = usable[first : first + _PLAIN]
            rows = np.pad(part, (0, _PLAIN - part.size), mode="edge")
            own = eqx.tree_at(lambda m: (m.sigma, m.background), model, (sigma[:, rows], background[:, :, rows]))
            fit = batch_fit(layout, own, jnp.asarray(signal[:, rows]), jnp.asarray(observed[:, rows]))
            value, theta, _, along, fine = (np.asarray(v)[..., : part.size] for v in fit)
            chi2[part], valid[part] = value, fine
            moved = theta + np.log(factor[:, part])
            x[part] = np.where(log, moved, np.exp(moved)).T
            table = terms[mixture.row[part]] if len(terms) > 1 else terms
            slope[part] = np.sum(table * (along * grown[:, part]).T[:, None], axis=2)
        return _Raw(chi2, slope, x, np.ones(x.shape, bool), valid)

    def _in_general(self, index: np.ndarray, mixture: Mixture, held: np.ndarray) -> _Raw:
        """By the general minimiser, one chunk at a time."""
        h = self.hypothesis
        found: Any = None
        for rows, padded, toys, terms in self._chunks(index, mixture):
            part = _fit_at(h.model, toys, terms, mixture.weights[:, padded].T, held[padded], h.place)
            columns = [np.asarray(v)[: rows.size] for v in part]
            if found is None:
                found = _Raw(*(np.empty((index.size, *v.shape[1:]), v.dtype) for v in columns))
            for whole, column in zip(found, columns, strict=True):
                whole[rows] = column
        return found

    def _bend(self, index: np.ndarray, mixture: Mixture, raw: _Raw) -> Float[np.ndarray, "point outer outer"]:
        """Second derivatives of the profile over the nuisances: the Schur complement in the free ones."""
        h, outer = self.hypothesis, raw.slope.shape[1]
        size = len(mixture.weights)
        bend = np.empty((index.size, size + raw.x.shape[1], size + raw.x.shape[1]))
        for rows, padded, toys, terms in self._chunks(index, mixture):
            weights = mixture.weights[:, padded].T
            part = _bends(h.model, toys, terms, weights, raw.x[padded], raw.free[padded], h.place)
            bend[rows] = np.asarray(part)[: rows.size]
        kept = np.array([*range(size), *([] if h.place is None else [size + h.place])])
        rest = np.setdiff1d(np.arange(bend.shape[1]), kept)
        cross, block = bend[:, kept][:, :, rest], bend[:, rest][:, :, rest]
        with np.errstate(all="ignore"):
            try:
                shift = np.linalg.solve(block, np.swapaxes(cross, 1, 2))
            except np.linalg.LinAlgError:
                shift = np.full((index.size, rest.size, outer), np.nan)
        return bend[:, kept][:, :, kept] - cross @ shift

    def _chunks(self, index: np.ndarray, mixture: Mixture) -> Iterator[tuple[np.ndarray, np.ndarray, Any, Any]]:
        """Points, padded to a chunk, their toys and terms; where all toys are in it once, nothing is copied."""
        order = np.lexsort((index, _turns(index)))
        everyone = np.arange(self.chunk)
        for first in range(0, index.size, self.chunk):
            rows = order[first : first + self.chunk]
            padded = np.pad(rows, (0, self.chunk - rows.size), mode="edge")
            own = index[padded]
            whole = self.size == self.chunk and np.array_equal(own, everyone)
            toys, terms = self._toys if whole else _take(self._toys, own), self._terms
            if self.hypothesis.table is None:
                terms = self._folded(own, mixture, padded)
            elif terms is None:
                terms = toys.terms
            yield rows, padded, toys._replace(terms=None), terms

    def _folded(self, own: np.ndarray, mixture: Mixture, points: np.ndarray) -> np.ndarray:
        """Terms of each point where they depend on the parameters, on the bins of its toy."""
        terms = np.asarray(mixture.terms)
        if not self.merged:
            return terms[mixture.row[points]]
        # The bins of a toy are as many as those of the one with the most: it is always there.
        busiest = int(np.argmax(np.sum(self.sample.observed > 0, axis=1)))
        bare = eqx.tree_at(lambda m: (m.background, m.moving), self.hypothesis.model, replace_fn=lambda v: v[:0])
        found: Any = None
        for row in np.unique(mixture.row[points]):
            mine = np.flatnonzero(mixture.row[points] == row)
            toys = np.append(own[mine], busiest)
            part = merging.gather(bare, terms[row], self.sample.observed[toys], self.sample.centre[toys]).terms
            found = np.empty((points.size, *part.shape[1:])) if found is None else found
            found[mine] = part[:-1]
        return found

    # Fits with the parameter free.

    def free(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Best fit, chi2 and validity of every toy, where the parameter is a strength."""
        strength: Any = self.hypothesis.strength
        toys, model = self._toys, strength.model
        terms = toys.terms if self.merged else self._terms
        centre = jnp.insert(toys.centre, strength.place, 0.0, axis=1)
        weights = jnp.ones(len(strength.terms))
        chi2, x, valid = _fit_free(model, toys._replace(terms=None, centre=centre), terms, weights)
        kept = slice(self.size)
        return np.asarray(x)[kept, strength.place] * strength.scale, np.asarray(chi2)[kept], np.asarray(valid)[kept]


def _chosen(mixture: Mixture, rows: np.ndarray) -> Mixture:
    return Mixture(mixture.terms, mixture.row[rows], mixture.weights[:, rows])
