"""The signal of a likelihood as weights times terms, in chosen parameters.

Terms are folded once for each value of the parameters that they depend on and kept; the weights are functions of the
others. A factor on the signal alone (a flux) is a weight too: where it acts on a part of the signal, the terms are
split into parts. Terms whose weights are proportional whatever varies are added up beforehand.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.compiled import RUN_ONCE, compiled
from jcevns.fit.batch import expand
from jcevns.likelihood.anchors import groups_of, rows_of
from jcevns.likelihood.folding import Folding, folded_parameters
from jcevns.likelihood.likelihood import Likelihood, source_mask
from jcevns.likelihood.model import Mixture
from jcevns.physics.interaction import Interaction, theory_parameters, with_values

__all__ = ["Terms"]

_WEIGHTED = 2048  # points whose weights are computed in one call
_FEW = 16  # the same for few: a contour asks for one or two, and a theory that calculates flavours takes its time
_PROBES = 64  # points at which weights are compared beforehand
_KEPT = 4096  # folded points kept
_PROPORTIONAL = 1e-14


class Terms:
    """Signals in some parameters of a likelihood.

    Args:
        likelihood: the experiments.
        theory: with the values of what does not vary.
        names: parameters that vary, in full; nuisances that do not act on signals alone have no effect here.
        fixed: values of factors on the signal that do not vary.
    """

    def __init__(self, likelihood: Likelihood, theory: Interaction, names: Sequence[str], fixed: Mapping[str, float]):
        self.likelihood, self.theory, self.names = likelihood, theory, tuple(names)
        own, norms = theory_parameters(likelihood.theory), likelihood.normalisations
        self._own = tuple(n for n in names if n in own)
        self.folded = folded_parameters(likelihood, self._own)
        self.absorbed = tuple(n for n in names if n in norms and norms[n].signal_only)
        self._rows = rows_of(groups_of(likelihood.experiments))
        factor = np.ones(likelihood.model.sources * likelihood.model.observed.size)
        for name, value in fixed.items():
            factor *= (value / likelihood.parameters[name].default) ** source_mask(likelihood, name)
        self._factor = np.tile(factor, self._rows)
        masks = [source_mask(likelihood, n) for n in self.absorbed]
        powers = np.stack(masks, axis=1) if masks else np.zeros((factor.size, 0))
        self._powers, place = np.unique(powers, axis=0, return_inverse=True)
        self._masks = [np.tile(place.ravel() == i, self._rows) for i in range(len(self._powers))]
        self._defaults = np.array([likelihood.parameters[n].default for n in self.absorbed])
        self._fold = Folding(likelihood, theory)
        self._tables: dict[tuple[float, ...], np.ndarray] = {}
        self._latest: tuple[np.ndarray, int, list[np.ndarray]] | None = None
        self._seen = self._weights(self._probes())[0]
        self._groups = self._grouped(self._seen)

    def _weights(self, points: np.ndarray, order: int = 0) -> list[np.ndarray]:
        """Weights of all terms, (pattern x term, point), and their derivatives in all parameters up to an order."""
        place = tuple(self.names.index(n) for n in (*self._own, *self.absorbed))
        few = len(points) <= 8 * _PROBES
        if few:
            order = max(order, 1)  # they cost nothing, and one program does
        call = partial(_weights, self.theory, self._powers, self._defaults)
        settings = (self._own, place, len(self.names), order)
        size = _FEW if few else _WEIGHTED  # to compile a theory that calculates flavours takes seconds
        batches = -(-len(points) // size)
        wide = np.resize(points, (batches * size, points.shape[1])).reshape(batches, size, -1)
        parts = [[np.asarray(v) for v in call(batch, *settings)] for batch in wide]
        return [np.concatenate(column, axis=1)[:, : len(points)] for column in zip(*parts, strict=True)]

    def _probes(self) -> Float[np.ndarray, "point parameter"]:
        """Points all over the range of the parameters, some near the defaults."""
        records = [self.likelihood.parameters[n] for n in self.names]
        stream = np.random.default_rng(7)
        low, high = (np.array([getattr(r, end) for r in records]) for end in ("lower", "upper"))
        base = np.array([r.scale or abs(r.default) or 1.0 for r in records])
        shape = _PROBES, len(records)
        decades = 10.0 ** stream.uniform(-3, 3, shape) * stream.choice([-1, 1], shape)
        steps = np.where(np.arange(_PROBES)[:, None] < _PROBES // 4, stream.uniform(-0.7, 0.8, shape), decades)
        points = np.array([r.default for r in records]) + base * steps
        closed = np.isfinite(low) & np.isfinite(high)
        start, width = np.where(closed, low, 0.0), np.where(closed, high, 0.0) - np.where(closed, low, 0.0)
        between = start + width * stream.uniform(size=points.shape)
        points = np.where(points <= low, np.where(closed, between, low + base * np.abs(steps)), points)
        return np.where(points >= high, np.where(closed, between, high - base * np.abs(steps)), points)

    def _grouped(self, weights: np.ndarray) -> list[list[tuple[int, float]]]:
        """Terms with proportional weights, with the factor of each; those without weight are left out."""
        weights = weights.reshape(len(self._powers), -1, weights.shape[1])[0]
        weights = weights[:, np.all(np.isfinite(weights), axis=0)]
        groups: list[list[tuple[int, float]]] = []
        for k, row in enumerate(weights):
            if not np.any(row):
                continue
            for group in groups:
                first = weights[group[0][0]]
                at = np.argmax(np.abs(first))
                ratio = row[at] / first[at]
                if np.all(np.abs(row - ratio * first) <= _PROPORTIONAL * np.abs(row)):
                    group.append((k, float(ratio)))
                    break
            else:
                groups.append([(k, 1.0)])
        return groups

    def _regroup(self, weights: np.ndarray) -> None:
        """Part terms whose weights are not proportional after all, as those of a function with thresholds."""
        own = weights.reshape(len(self._powers), -1, weights.shape[1])[0]
        left_out = np.ones(len(own), bool)
        for group in self._groups:
            first = own[group[0][0]]
            for k, ratio in group:
                left_out[k] = False
                off = np.abs(own[k] - ratio * first) > 100 * _PROPORTIONAL * np.abs(own[k])
                if len(group) > 1 and np.any(off):
                    self._part(weights[:, off])
                    return
        if np.any(own[left_out]):
            self._part(weights[:, np.any(own[left_out] != 0, axis=0)])

    def _part(self, weights: np.ndarray) -> None:
        self._seen = np.concatenate([self._seen, weights[:, :_PROBES]], axis=1)
        self._groups = self._grouped(self._seen)
        self._tables.clear()

    @property
    def _first(self) -> list[int]:
        """The weight that stands for each group, of all patterns."""
        terms = len(self._seen) // len(self._powers)
        return [pattern * terms + group[0][0] for pattern in range(len(self._powers)) for group in self._groups]

    def _table(self, combinations: np.ndarray, order: int) -> np.ndarray:
        """Terms at values of what they depend on, (point, derivative x pattern x group, anchor_bin)."""
        keys = [(order, *map(float, row)) for row in combinations]
        missing = [i for i, key in enumerate(keys) if key not in self._tables]
        fresh: dict[int, np.ndarray] = {}
        if missing:
            values = {n: combinations[missing, i] for i, n in enumerate(self.folded)}
            raw = self._fold(values, order) * self._factor
            grouped = np.stack([sum(ratio * raw[:, :, k] for k, ratio in group) for group in self._groups], axis=2)
            # From (derivative, point, group, anchor_bin) to (point, derivative, pattern, group, anchor_bin).
            split = np.stack([grouped * mask for mask in self._masks] if len(self._masks) > 1 else [grouped], axis=2)
            table = np.moveaxis(split, 0, 1)
            fresh = dict(zip(missing, table.reshape(len(table), -1, table.shape[-1]), strict=True))
            # All or none: what is folded together then does not depend on what was asked for before.
            if len(self._tables) + len(fresh) <= _KEPT:
                self._tables |= {keys[i]: row for i, row in fresh.items()}
        return np.stack([fresh[i] if i in fresh else self._tables[k] for i, k in enumerate(keys)])

    def mixture(self, points: Float[np.ndarray, "point parameter"], order: int = 0) -> Mixture:
        """Terms and their weights at many points; with an order, derivatives of the terms follow, of weight zero."""
        found = self._weights(points, order)
        self._latest = points, order, found  # the slopes at the same points are asked for next
        weights = found[0]
        self._regroup(weights)
        columns = [self.names.index(n) for n in self.folded]
        unique, row = _distinct(points[:, columns])
        table = self._table(unique, order if self.folded else 0)
        weights = weights[self._first]
        padded = np.zeros((table.shape[1], len(points)))
        padded[: len(weights)] = weights
        return Mixture(table, row, padded)

    def slopes(
        self, points: Float[np.ndarray, "point parameter"], mixture: Mixture, order: int
    ) -> tuple[Float[np.ndarray, "weight point parameter"], Float[np.ndarray, "..."]]:
        """First and second derivatives of the weights of a mixture in the parameters; no second ones at order 1."""
        at, known, weights = self._latest or (None, 0, [])
        if at is not points or known < order:
            weights = self._weights(points, order)
        found = [v[self._first] for v in weights[: order + 1]]
        block, n, p = len(found[0]), len(points), len(self.names)
        first = np.zeros((len(mixture.weights), n, p))
        second = np.zeros((len(mixture.weights), n, p, p)) if order > 1 else np.zeros(0)
        first[:block] = found[1]
        if order > 1:
            second[:block] = found[2]
        # What the terms depend on: rows of derivatives follow those of the value.
        m = len(self.folded)
        if m and len(mixture.weights) > block:
            for a, name in enumerate(self.folded):
                i, rows = self.names.index(name), slice(block * (1 + a), block * (2 + a))
                first[rows, :, i] += found[0]
                if order > 1:
                    second[rows, :, i, :] += found[1]
                    second[rows, :, :, i] += found[1]
                    for b, other in enumerate(self.folded):
                        pair = slice(block * (1 + m + a * m + b), block * (2 + m + a * m + b))
                        second[pair, :, i, self.names.index(other)] += found[0]
        return first, second

    def bins(self, points: Float[np.ndarray, "point parameter"]) -> Float[np.ndarray, "point bin"]:
        """Signal in every bin at nominal shapes, all sources together."""
        found, groups = self.mixture(points), groups_of(self.likelihood.experiments)
        terms = found.terms.reshape(*found.terms.shape[:2], self._rows, self.likelihood.model.sources, -1)
        whole = terms[:, :, groups[0].nominal if groups else 0]
        nominal, first = whole, groups[0].rows if groups else 0
        for group in groups[1:]:
            whole = whole + terms[:, :, first + group.nominal] - nominal
            first += group.rows
        return np.asarray(expand(Mixture(whole.sum(axis=2), found.row, found.weights))).T


@compiled(options=RUN_ONCE)
def _weights(
    theory: Interaction,
    powers: Float[Array, "pattern factor"],
    defaults: Float[Array, " factor"],
    points: Float[Array, "point parameter"],
    own: tuple[str, ...],
    place: tuple[int, ...],
    size: int,
    order: int,
) -> list[Array]:
    """Weights of a theory times factors, (pattern x term, point), and derivatives in the parameters, last axes."""

    def one(values: Array) -> Array:
        weights = with_values(theory, {n: values[i] for n, i in zip(own, place, strict=False)}).weights()
        ratio = values[np.array(place[len(own) :], int)] / defaults
        # Powers of 0 and 1 by themselves: those have derivatives at zero too.
        power = jnp.where(ratio > 0, ratio, 1.0) ** powers
        factors = jnp.where(powers == 0, 1.0, jnp.where(powers == 1, ratio, power))
        return (jnp.prod(factors, axis=1)[:, None] * weights).ravel()

    # Each order carries those below along: the function is compiled once, not once for each.
    def kept(values: Array) -> tuple[Array, tuple[Array, ...]]:
        found = one(values)
        return found, (found,)

    call: Callable[[Array], Any] = kept
    for _ in range(order):
        call = _with_slope(call)
    return list(jax.vmap(lambda values: call(values)[1], out_axes=1)(points))


def _with_slope(function: Callable[[Array], tuple[Array, tuple[Array, ...]]]) -> Callable[[Array], Any]:
    """The derivative of a function that gives a value, and values to keep: the derivative is kept too."""

    def both(values: Array) -> tuple[Array, tuple[Array, ...]]:
        slope, kept = jax.jacfwd(function, has_aux=True)(values)
        return slope, (*kept, slope)

    return both


def _distinct(columns: Float[np.ndarray, "point column"]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows in order, and which of them each row is; by columns, many times faster than by rows."""
    code = np.zeros(len(columns), int)
    for column in columns.T:
        values, place = np.unique(column, return_inverse=True)
        _, code = np.unique(code * len(values) + place.ravel(), return_inverse=True)
        code = code.ravel()
    first = np.zeros(code.max(initial=-1) + 1, int)
    first[code[::-1]] = np.arange(len(code))[::-1]
    return columns[first], code
