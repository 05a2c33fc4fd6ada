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
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

__all__ = ["Factors", "global_minimum"]

_SMALL, _LARGE, _PULLED = (
    0.5,
    2.0,
    10.0,
)  # a factor, or standard deviations, beyond which there may be another minimum
_TOLERANCE = 1e-7  # relative to 1 + chi2
_FAR = 1e4  # stands for no bound
_SWEEPS = 20
_STARTS = 128


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


def global_minimum(
    loading: Float[np.ndarray, "component nuisance"],
    tilt: Float[Array, "component *point"],
    factors: Factors,
    chi2: Float[Array, "*point"],
) -> Bool[Array, "*point"]:
    """Whether a minimum is proven to be the global one, or there is no reason to doubt it.

    A minimum is doubted where a factor of a product is below a half, above two or pulled by ten standard deviations,
    or the product below a half; not with a free factor in it, which would rather take that itself. Of products of
    three factors, and chains of products, the lower bound of chi2 is searched; else its minimum is exact. With powers
    of a factor it is not known.

    Args:
        loading: power of each factor in each component, 0 or 1 but for correlated widths.
        tilt: slope of chi2 in the product of each component at the minimum: the sum over bins of
            2 (1 - D/N) x template.
        factors: at the minimum; what stands still has equal bounds.
        chi2: at the minimum.

    Returns:
        For each point.
    """
    acting = loading != 0
    together = np.sum(acting, axis=1) > 1
    if not np.any(together):
        return jnp.ones(chi2.shape, bool)
    inside = np.any(acting[together], axis=0)  # the others are at their best whatever these are
    acting, power = acting[:, inside], np.any((loading != 0) & (loading != 1), axis=1)
    value, centre, sigma, lower, upper = (part[inside] for part in factors)
    free = ~jnp.isfinite(sigma) & (lower < upper)
    pull = jnp.where(free | (lower == upper), 1.0, value / centre)
    # Further away the pull by itself is more than chi2, of which the data have a part that is not negative.
    reach = sigma * jnp.sqrt(jnp.where(jnp.isfinite(chi2), chi2, jnp.inf))
    lower, upper = (
        jnp.minimum(jnp.maximum(lower, centre - reach), value),
        jnp.maximum(jnp.minimum(upper, centre + reach), value),
    )
    # A free factor stays where it is.
    factors = Factors(value, centre, sigma, jnp.where(free, value, lower), jnp.where(free, value, upper))
    wide = jnp.abs(value - centre) > _PULLED * sigma
    doubts = {}
    for c in np.flatnonzero(together):
        mine = pull[acting[c]]
        far = jnp.any((mine < _SMALL) | (mine > _LARGE) | wide[acting[c]], axis=0) | (jnp.prod(mine, axis=0) < _SMALL)
        doubts[c] = far & ~jnp.any(free[acting[c]], axis=0)

    product = acting & together[:, None]
    partner = (product.T.astype(int) @ product.astype(int) > 0) & ~np.eye(len(value), dtype=bool)
    count = np.sum(partner, axis=1)
    searched = []
    proven: dict[int, Array] = {}
    for c in doubts:
        # In the middle of a star: all its partners have no other.
        middle = [j for j in np.flatnonzero(acting[c]) if np.all(count[partner[j]] == 1)]
        if not middle or np.any(power):
            searched.append(c)
            continue
        hub = int(middle[0])
        if hub not in proven:
            proven[hub] = _proven(product, acting & ~together[:, None], hub, partner[hub], tilt, factors, chi2)
        doubts[c] = doubts[c] & ~proven[hub]
    bad = jnp.any(jnp.stack([d for c, d in doubts.items() if c not in searched]), axis=0) if proven else False
    if not searched:
        return ~bad
    doubted = jnp.any(jnp.stack([doubts[c] for c in searched]), axis=0)
    if not np.any(power):
        found = jax.lax.cond(
            jnp.any(doubted), lambda: _searched(acting, tilt, factors, chi2), lambda: jnp.zeros(chi2.shape, bool)
        )
        doubted = doubted & ~found
    return ~(doubted | bad)


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

    def lowest(zero: Array) -> Array:
        start = jnp.where(moves, jnp.where(_column(zero, value), jnp.maximum(lower, 0.0), centre), value)
        return q(jax.lax.fori_loop(0, _SWEEPS, sweep, start))

    return _nowhere_lower(q(value), jax.lax.map(lowest, jnp.asarray(_corners(size))), chi2)


def _corners(size: int) -> Bool[np.ndarray, "start nuisance"]:
    """Which factors start at zero: none, one, two or three of them, up to a number of starts."""
    chosen = [s for k in range(4) for s in itertools.combinations(range(size), k)][:_STARTS]
    found = np.zeros((len(chosen), size), bool)
    for row, places in zip(found, chosen, strict=True):
        row[list(places)] = True
    return found


def _column(row: Any, like: Array) -> Array:
    return jnp.reshape(jnp.asarray(row), (*np.shape(row), *(1,) * (like.ndim - 1)))


def _proven(
    product: np.ndarray, single: np.ndarray, hub: int, partner: np.ndarray, tilt: Array, factors: Factors, chi2: Array
) -> Bool[Array, "*point"]:
    """Whether no value of the factor in the middle of a star, the others at their best, has a lower Q."""
    value, centre, sigma, lower, upper = factors
    weight = jnp.where(jnp.isfinite(sigma), 1 / sigma**2, 0.0)
    curved = jnp.where(weight > 0, weight, 1.0)
    others = _column(partner, value)
    # Slope of the linear part of each factor: by itself, and per unit of the one in the middle.
    alone = jnp.tensordot(jnp.asarray(single.T, tilt.dtype), tilt, 1)
    joint = jnp.tensordot(jnp.asarray(product.T, tilt.dtype), tilt, 1)
    low, high, here = lower[hub], upper[hub], value[hub]

    def at_best(p: Array) -> Array:
        """The other factors at values of the one in the middle, values first."""
        return jnp.clip(centre - (alone + joint * p[:, None]) / (2 * curved), lower, upper)

    def q(p: Array, f: Array) -> Array:
        terms = weight * (f - centre) ** 2 + (alone + joint * p[:, None]) * f
        return jnp.sum(jnp.where(others, terms, 0.0), 1) + weight[hub] * (p - centre[hub]) ** 2 + alone[hub] * p

    # Pieces end where another factor meets a bound of its own.
    slope = jnp.where(joint == 0, 1.0, joint)
    turns = [(2 * weight * (centre - jnp.where(jnp.isfinite(e), e, centre)) - alone) / slope for e in (lower, upper)]
    turns = jnp.concatenate([jnp.where(others & (joint != 0), t, here) for t in turns])
    far = jnp.where(jnp.isfinite(high), high, _FAR * (1 + jnp.max(jnp.abs(turns), axis=0)))
    ends = jnp.sort(jnp.clip(jnp.concatenate([turns, low[None], far[None], here[None]]), low, far), axis=0)
    # A vertex of each piece, from one place inside it.
    inside = (ends[1:] + ends[:-1]) / 2
    f = at_best(inside)
    inner = others & (f > lower) & (f < upper)
    bend = weight[hub] - jnp.sum(jnp.where(inner, joint**2 / (4 * curved), 0.0), axis=1)
    linear = jnp.where(inner, centre - alone / (2 * curved), f) * joint
    linear = jnp.sum(jnp.where(others, linear, 0.0), axis=1) + alone[hub] - 2 * weight[hub] * centre[hub]
    vertex = jnp.where(bend > 0, -linear / (2 * jnp.where(bend > 0, bend, 1.0)), here)
    candidates = jnp.concatenate([ends, jnp.clip(vertex, low, far)])
    return _nowhere_lower(q(here[None], value[None])[0], q(candidates, at_best(candidates)), chi2)


def _nowhere_lower(here: Array, there: Array, chi2: Array) -> Bool[Array, "*point"]:
    """Whether Q is nowhere lower; what is no number has run away to where it has no bound."""
    lowest = jnp.min(jnp.where(jnp.isnan(there), -jnp.inf, there), axis=0)
    return here - lowest <= _TOLERANCE * (1 + chi2)
