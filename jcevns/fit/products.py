"""Whether a minimum of templates times products of factors is the global one.

With one factor per component chi2 is convex in the factors: its minimum is the only one. A product of two can be made
small by either, and each way may be a minimum. The Poisson part of chi2 is convex in the *products*, so that it lies
above its tangent at a minimum, and chi2 above

    Q(f) = sum ((f - centre)/sigma)^2 + sum over the components of (slope of chi2 in the product) x product,

plus a constant. If no f has a lower Q than the minimum found, no f has a lower chi2. Where one factor (a flux, say)
is in every product, each with one other, the others are quadratic for a value of it and go, and Q is piecewise
quadratic in what remains: its minimum is a vertex or an end of a piece. Else Q is searched: it is quadratic in every
factor by itself, so that a descent by one factor after the other takes no trial, and starts where one, two or three
of them are zero. Nothing is fitted for this, and the data are not needed.
"""

import itertools
import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

__all__ = ["STEP", "Factors", "Tangent", "doubtful", "global_minimum"]

STEP = 3.0
"""How much further up the second tangent is."""

# A factor, and standard deviations, beyond which there may be another minimum.
_SMALL, _LARGE, _PULLED = 0.5, 2.0, 10.0
_MISSED = 500.0  # Poisson part of chi2 per bin, beyond which nothing is trusted but an exact bound
_TOLERANCE = 1e-7  # of the bound, relative to 1 + chi2
# The same with two tangents, where the factor in the middle is within so much of its value at the minimum: between
# them they lie a little below chi2 and would prove nothing. Other minima have it far away.
_SLACK, _NEAR = 1e-2, 2.0
_FAR = 1e4  # stands for no bound
_FEW_ROWS = 16
_SWEEPS = 20
_STARTS = 128
_UP = 3.0  # standard deviations


class Factors(NamedTuple):
    """Factors at a minimum, points last, if there are several.

    Attributes:
        value: at the minimum.
        centre: where each is constrained to.
        sigma: widths, infinite for a free one.
        lower: bounds.
        upper: bounds.
    """

    value: Float[Array, "nuisance *point"]
    centre: Float[Array, "nuisance *point"]
    sigma: Float[Array, "nuisance *point"]
    lower: Float[Array, "nuisance *point"]
    upper: Float[Array, "nuisance *point"]


class Tangent(NamedTuple):
    """The Poisson part of chi2 at a point.

    Attributes:
        tilt: slope in the product of each component: the sum over bins of 2 (1 - D/N) x template.
        data: its value for each experiment.
        experiment: of each component.
        bins: of each experiment.
    """

    tilt: Float[Array, "component *point"]
    data: Float[Array, "experiment *point"]
    experiment: Int[np.ndarray, " component"]
    bins: Float[Array | np.ndarray, " experiment"]

    @property
    def missed(self) -> Bool[Array, "experiment *point"]:
        """Whether data are so far from what is expected that minima are anywhere."""
        return self.data > _MISSED * _column(self.bins, self.data)


def global_minimum(
    loading: Float[np.ndarray, "component nuisance"],
    tangent: Tangent,
    factors: Factors,
    chi2: Float[Array, "*point"],
    elsewhere: Callable[[int], Tangent] | None = None,
) -> Bool[Array, "*point"]:
    """Whether a minimum is proven to be the global one, or there is no reason to doubt it (`doubtful`).

    Of products of three factors, and chains of products, the lower bound of chi2 is searched; else its minimum is
    exact. A search counts only where the data are described.

    Args:
        loading: power of each factor in each component, 0 or 1 but for correlated widths.
        tangent: at the minimum.
        factors: at the minimum; what stands still has equal bounds.
        chi2: at the minimum.
        elsewhere: the tangent with one factor `STEP` times as large; with several experiments it proves more.

    Returns:
        For each point.
    """
    doubts = _doubts(loading, tangent, factors)
    if not doubts:
        return jnp.ones(chi2.shape, bool)
    acting = loading != 0
    together = np.sum(acting, axis=1) > 1
    value, centre, sigma, lower, upper = factors
    free = ~jnp.isfinite(sigma) & (lower < upper)
    # Further away the pull by itself is more than chi2, of which the data have a part that is not negative.
    reach = sigma * jnp.sqrt(jnp.where(jnp.isfinite(chi2), chi2, jnp.inf))
    lower, upper = (
        jnp.minimum(jnp.maximum(lower, centre - reach), value),
        jnp.maximum(jnp.minimum(upper, centre + reach), value),
    )
    # A free factor stays where it is.
    factors = Factors(value, centre, sigma, jnp.where(free, value, lower), jnp.where(free, value, upper))
    product = acting & together[:, None]
    partner = (product.T.astype(int) @ product.astype(int) > 0) & ~np.eye(len(value), dtype=bool)
    count = np.sum(partner, axis=1)
    none = jnp.zeros(chi2.shape, bool)
    stars: dict[int, Array] = {}
    rest, chained = none, np.zeros(len(loading), bool)
    for c, doubt in doubts.items():
        # In the middle of a star: all its partners have no other.
        middle = [int(j) for j in np.flatnonzero(acting[c]) if np.all(count[partner[j]] == 1)]
        if middle:
            stars[middle[0]] = stars.get(middle[0], none) | doubt
        else:
            rest, chained[c] = rest | doubt, True
    bad = none
    single = acting & ~together[:, None]
    # Most batches have nothing that is doubted.
    for hub, doubt in stars.items():
        # One experiment has one tangent, and the bound is exact.
        alone = np.unique(tangent.experiment[product[:, hub]]).size == 1
        second = None if alone else elsewhere
        prove = partial(_proven, product, single, hub, partner[hub], tangent, factors, chi2, second)
        bad = bad | (doubt & ~jax.lax.cond(jnp.any(doubt), prove, lambda: none))
    if rest is not none:
        inside = np.flatnonzero(np.any(product, axis=0))  # the others are at their best whatever these are
        own = Factors(*(part[inside] for part in factors))
        search = partial(_searched, acting[:, inside], tangent.tilt, own, chi2)
        while np.any(more := together & ~chained & np.any(acting[:, np.any(acting[chained], axis=0)], axis=1)):
            chained |= more
        trusted = ~jnp.any(tangent.missed[np.unique(tangent.experiment[chained])], axis=0)
        rest = rest & ~(jax.lax.cond(jnp.any(rest), search, lambda: none) & trusted)
    return ~(bad | rest)


def doubtful(
    loading: Float[np.ndarray, "component nuisance"], tangent: Tangent, factors: Factors
) -> Bool[Array, "*point"]:
    """Whether there may be another way to make a product small.

    A minimum is doubted where a factor of a product is below a half, above two or pulled by ten standard deviations,
    or the product below a half, or the data are far from what is expected; not with a free factor in it, which would
    rather take that itself. Where a factor has powers nothing is doubted.

    Args:
        loading: power of each factor in each component.
        tangent: at the minimum.
        factors: at the minimum.

    Returns:
        For each point.
    """
    doubts = list(_doubts(loading, tangent, factors).values())
    return jnp.any(jnp.stack(doubts), axis=0) if doubts else jnp.zeros(factors.value.shape[1:], bool)


def _doubts(loading: np.ndarray, tangent: Tangent, factors: Factors) -> dict[int, Array]:
    """The same for each component that is a product."""
    acting = loading != 0
    together = np.sum(acting, axis=1) > 1
    if np.any((loading != 0) & (loading != 1)):
        return {}
    value, centre, sigma, lower, upper = factors
    free = ~jnp.isfinite(sigma) & (lower < upper)
    pull = jnp.where(free | (lower == upper), 1.0, value / centre)
    wide = jnp.abs(value - centre) > _PULLED * sigma
    doubts = {}
    for c in np.flatnonzero(together):
        mine = pull[acting[c]]
        far = jnp.any((mine < _SMALL) | (mine > _LARGE) | wide[acting[c]], axis=0) | (jnp.prod(mine, axis=0) < _SMALL)
        far = far | tangent.missed[tangent.experiment[c]]
        doubts[int(c)] = far & ~jnp.any(free[acting[c]], axis=0)
    return doubts


def _searched(acting: np.ndarray, tilt: Array, factors: Factors, chi2: Array) -> Bool[Array, "*point"]:
    """Whether a descent from where some of the factors are zero finds no lower Q."""
    value, centre, sigma, lower, upper = factors
    size = acting.shape[1]
    weight = jnp.where(jnp.isfinite(sigma), 1 / sigma**2, 0.0)
    curved = 2 * jnp.where(weight > 0, weight, 1.0)
    moves = lower < upper
    mask, index = jnp.asarray(acting), jnp.arange(size)

    def scaled(f: Array) -> Array:
        """Tilt times product of the components."""
        return jnp.stack([tilt[c] * jnp.prod(jnp.where(_column(mask[c], f), f, 1.0), 0) for c in range(len(mask))])

    def q(f: Array) -> Array:
        return jnp.sum(weight * (f - centre) ** 2, axis=0) + jnp.sum(scaled(f), axis=0)

    def sweep(_: Any, f: Array) -> Array:
        def one(j: Array, f: Array) -> Array:
            here = _column(index == j, f)
            alone = scaled(jnp.where(here, 1.0, f))
            slope = jnp.sum(jnp.where(_column(mask[:, j], alone), alone, 0.0), axis=0)
            # No scatter: XLA has made wrong code of one in such loops.
            return jnp.where(here, jnp.clip(centre - slope / curved, lower, upper), f)

        return jax.lax.fori_loop(0, size, one, f)

    def lowest(begin: tuple[Array, Array]) -> Array:
        zero, up = begin
        high = jnp.where(jnp.isfinite(sigma), centre + up * sigma, centre)
        start = jnp.where(_column(zero, value), jnp.maximum(lower, 0.0), jnp.clip(high, lower, upper))
        return q(jax.lax.fori_loop(0, _SWEEPS, sweep, jnp.where(moves, start, value)))

    zero = _corners(size)
    # Factors far wider than themselves may be far up.
    up = np.repeat([0.0, _UP], len(zero))
    there = jax.lax.map(lowest, (jnp.asarray(np.tile(zero, (2, 1))), jnp.asarray(up, value.dtype)))
    # What is no number has run away to where Q has no bound.
    lower = jnp.min(jnp.where(jnp.isnan(there), -jnp.inf, there), axis=0)
    return q(value) - lower <= _TOLERANCE * (1 + chi2)


def _corners(size: int) -> Bool[np.ndarray, "start nuisance"]:
    """Which factors start at zero: none, one, two or three of them, up to a number of starts; all, or all but one."""
    few = [s for k in range(4) for s in itertools.combinations(range(size), k)][:_STARTS]
    many = [s for k in (size - 1, size) for s in itertools.combinations(range(size), k)]
    chosen = list(dict.fromkeys(few + many))
    found = np.zeros((len(chosen), size), bool)
    for row, places in zip(found, chosen, strict=True):
        row[list(places)] = True
    return found


def _column(row: Any, like: Array) -> Array:
    return jnp.reshape(jnp.asarray(row), (*np.shape(row), *(1,) * (like.ndim - 1)))


class _Star(NamedTuple):
    """Products of a factor in the middle with others, as a function of the one in the middle."""

    hub: int
    others: np.ndarray  # places of the others that move
    factors: Factors
    alone: Array  # slope of the linear part of Q in each factor, by itself
    joint: Array  # and per unit of the one in the middle

    @property
    def weight(self) -> Array:
        sigma = self.factors.sigma[self.others]
        return jnp.where(jnp.isfinite(sigma), 1 / sigma**2, 0.0)

    @property
    def curved(self) -> Array:
        return jnp.where(self.weight > 0, self.weight, 1.0)

    def at_best(self, p: Array) -> Array:
        """The other factors at values of the one in the middle, values first."""
        _, centre, _, lower, upper = (part[self.others] for part in self.factors)
        slope = self.alone[self.others] + self.joint[self.others] * p[:, None]
        return jnp.clip(centre - slope / (2 * self.curved), lower, upper)

    def q(self, p: Array, f: Array) -> Array:
        """Q at values of the one in the middle and the others, but for the pull of the former."""
        slope = self.alone[self.others] + self.joint[self.others] * p[:, None]
        terms = self.weight * (f - self.factors.centre[self.others]) ** 2 + slope * f
        return jnp.sum(terms, axis=1) + self.alone[self.hub] * p

    def above(self, p: Array) -> Array:
        """How far Q, the others at their best, lies above that at the point, but for the pull of the middle."""
        value = self.factors.value
        there = self.q(p, self.at_best(p)) - self.q(value[self.hub][None], value[self.others][None])
        # What is no number has run away to where Q has no bound.
        return jnp.where(jnp.isnan(there), -jnp.inf, there)

    def gained(self, lonely: np.ndarray) -> Array:
        """How far Q at the best of factors that are in no product lies above that at the point."""
        return self._replace(others=lonely).above(self.factors.value[self.hub][None])[0]

    def lowest(self) -> Array:
        """Values of the one in the middle, among which Q is lowest: ends and vertices of its pieces."""
        _, centre, _, lower, upper = (part[self.others] for part in self.factors)
        alone, joint, weight = self.alone[self.others], self.joint[self.others], self.weight
        here, middle, sigma, low, high = (part[self.hub] for part in self.factors)
        # Pieces end where another factor meets a bound of its own.
        slope = jnp.where(joint == 0, 1.0, joint)
        bounds = [jnp.where(jnp.isfinite(end), end, centre) for end in (lower, upper)]
        turns = [(2 * weight * (centre - end) - alone) / slope for end in bounds]
        turns = jnp.concatenate([jnp.where(joint != 0, t, here) for t in turns])
        far = jnp.where(jnp.isfinite(high), high, _FAR * (1 + jnp.max(jnp.abs(turns), axis=0)))
        ends = _sorted(jnp.clip(jnp.concatenate([turns, low[None], far[None], here[None]]), low, far))
        # A vertex of each piece, from one place inside it.
        inside = (ends[1:] + ends[:-1]) / 2
        f = self.at_best(inside)
        inner = (f > lower) & (f < upper)
        stiff = jnp.where(jnp.isfinite(sigma), 1 / sigma**2, 0.0)
        bend = stiff - jnp.sum(jnp.where(inner, joint**2 / (4 * self.curved), 0.0), axis=1)
        linear = jnp.sum(jnp.where(inner, centre - alone / (2 * self.curved), f) * joint, axis=1)
        linear = linear + self.alone[self.hub] - 2 * stiff * middle
        vertex = jnp.where(bend > 0, -linear / (2 * jnp.where(bend > 0, bend, 1.0)), here)
        return jnp.concatenate([ends, jnp.clip(vertex, low, far)])


def _sorted(rows: Float[Array, "row *point"]) -> Float[Array, "row *point"]:
    """Rows in order, for each point; of a few rows by comparing neighbours, eight times as fast on a CPU."""
    if len(rows) > _FEW_ROWS:
        return jnp.sort(rows, axis=0)
    found = list(rows)
    for turn in range(len(found)):
        for j in range(turn % 2, len(found) - 1, 2):
            found[j], found[j + 1] = jnp.minimum(found[j], found[j + 1]), jnp.maximum(found[j], found[j + 1])
    return jnp.stack(found)


def _proven(
    product: np.ndarray,
    single: np.ndarray,
    hub: int,
    partner: np.ndarray,
    here: Tangent,
    factors: Factors,
    chi2: Array,
    elsewhere: Callable[[int], Tangent] | None,
) -> Bool[Array, "*point"]:
    """Whether no value of the factor in the middle of a star, the others at their best, has a lower bound of chi2."""

    def star(tilt: Array, others: np.ndarray, rows: np.ndarray) -> _Star:
        parts = (np.where(rows[:, None], acting, False).T for acting in (single, product))
        alone, joint = (jnp.tensordot(jnp.asarray(part, tilt.dtype), tilt, 1) for part in parts)
        return _Star(hub, np.flatnonzero(others), factors, alone, joint)

    value, centre, sigma, low, far = (part[hub] for part in factors)
    stiff = jnp.where(jnp.isfinite(sigma), 1 / sigma**2, 0.0)

    def pull(p: Array) -> Array:
        return stiff * ((p - centre) ** 2 - (value - centre) ** 2)

    whole = star(here.tilt, partner, np.ones(len(product), bool))
    p = whole.lowest()
    if elsewhere is None:
        return jnp.min(whole.above(p) + pull(p), axis=0) >= -_TOLERANCE * (1 + chi2)
    # The tangent of an experiment that asks for more falls without end above the minimum. Further up it asks for
    # less: a second tangent there, in which the factors that are in no product are at their best too. Below the
    # minimum nothing is gained but by what asks for less, and its own way down is as long as its pull.
    small = jnp.min(jnp.where(_column(partner, factors.value), factors.value / factors.centre, 1.0), axis=0)
    low = jnp.maximum(low, value * jnp.minimum(small, 1.0))
    far = jnp.where(jnp.isfinite(far), far, _FAR)
    ratio = jnp.maximum(centre / value, 1.0)
    up = itertools.accumulate([ratio ** (1 / 6)] * 5, operator.mul)
    steps = [*(value * STEP ** (k / 2) for k in range(1, 5)), *(value * far_up for far_up in up)]
    steps += [centre * k for k in (0.7, 0.8, 0.9, 0.95, 1.0)]
    p = jnp.clip(jnp.concatenate([p, jnp.stack(steps)]), low, far)
    there = elsewhere(hub)
    moved = factors._replace(value=factors.value.at[hub].multiply(STEP))
    alone = np.any(single, axis=0) & ~np.any(product, axis=0)
    total = pull(p)
    for e in np.unique(here.experiment):
        rows = here.experiment == e
        own = np.any((single | product) & rows[:, None], axis=0)
        first = star(here.tilt, partner & own, rows)
        second = star(there.tilt, partner & own, rows)._replace(factors=moved)
        lower = second.gained(np.flatnonzero(alone & own)) + there.data[e] - here.data[e]
        total = total + jnp.maximum(first.above(p), second.above(p) + lower)
    near = (p > value / _NEAR) & (p < value * _NEAR)
    return jnp.all(total >= -jnp.where(near, _SLACK, _TOLERANCE) * (1 + chi2), axis=0)
