"""Where fits start: signals far above the data are scaled down to them."""

import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.likelihood.model import Mixture, Model, parts

__all__ = ["Star", "along_stars", "combined", "explored", "in_other_cells", "in_other_factors", "stars", "starts"]

_ALONG = 8  # starts along the factor that several products have in common
_ENDS = 0.1, 0.9  # where in a cell: of several shapes it may have a minimum in each corner
_COMBINED = 36  # combinations of such places, up to which all are tried
_SMALL, _LEAST = 0.5, 0.05  # a factor that others may take the place of, and the smallest that fits start with
_NARROW, _DESCRIBED = 0.35, 100.0  # width of a factor and misfit of a bin, up to which starts along stars are trusted


class Star(NamedTuple):
    """Products of two groups of factors each, of which one is in all of them.

    Attributes:
        middle: factors in the group that all products have.
        leaves: factors of each other group.
    """

    middle: tuple[int, ...]
    leaves: tuple[tuple[int, ...], ...]


def stars(loading: tuple[tuple[float, ...], ...], belongs: tuple[int, ...]) -> tuple[Star, ...]:
    """The products of a model, if they are stars of which no two meet in an experiment; else none.

    Args:
        loading: powers of the factors in the components; factors that act on the same components are a group.
        belongs: experiment of each component.
    """
    powers = np.array(loading or ((),), float)
    together = np.sum(powers != 0, axis=1) > 1
    if not np.all((powers == 0) | (powers == 1)):
        return ()
    left, found, seen = set(map(int, np.flatnonzero(together))), [], set[int]()
    while left:
        # Products that hang together by what they have in common.
        mine, more = set[int](), {min(left)}
        while more:
            mine |= more
            factors = np.any(powers[sorted(mine)] != 0, axis=0)
            more = {c for c in left - mine if np.any(powers[c, factors] != 0)}
        left -= mine
        one = _star(powers, np.isin(np.arange(len(powers)), sorted(mine)))
        experiments = {belongs[c] for c in mine}
        if one is None or experiments & seen:
            return ()
        seen |= experiments
        found.append(one)
    return tuple(found)


def _star(powers: np.ndarray, together: np.ndarray) -> Star | None:
    """Of products that hang together."""
    groups: dict[tuple[float, ...], list[int]] = {}
    for j in np.flatnonzero(np.any(powers[together] != 0, axis=0)):
        groups.setdefault(tuple(powers[:, j]), []).append(int(j))
    members = {tuple(own): np.array(column) != 0 for column, own in groups.items()}
    for middle, column in members.items():
        others = {own: rows for own, rows in members.items() if own != middle}
        pairs = all(sum(bool(rows[c]) for rows in others.values()) <= 1 for c in np.flatnonzero(together))
        if pairs and all(np.all(column[together & rows]) for rows in others.values()):
            return Star(middle, tuple(others))
    return None


def explored(
    loading: Float[np.ndarray, "component nuisance"],
    belongs: tuple[int, ...],
    factor: Float[Array, "nuisance *point"],
    centre: Float[Array, "nuisance *#point"],
    sigma: Float[Array, "nuisance *#point"],
    misfit: Float[Array, "experiment *point"],
) -> Bool[Array, "*point"]:
    """Whether starts all along stars miss nothing near a minimum, as the test-bench finds of models like experiments.

    They look on the way down, so that no factor of a product may be far up; with wide factors, and where the data are
    far from anything that is expected, minima lie elsewhere too.

    Args:
        loading: powers of the factors in the components.
        belongs: experiment of each component.
        factor: at the minimum.
        centre: defaults.
        sigma: widths, infinite for a free factor.
        misfit: Poisson part of chi2 at the minimum, per bin of each experiment.
    """
    together = np.sum(loading != 0, axis=1) > 1
    inside = np.any(loading[together] != 0, axis=0)
    known = (factor <= 2 * centre) & ((sigma <= _NARROW) | ~jnp.isfinite(sigma))
    seen = misfit[np.unique(np.array(belongs, int)[together])] <= _DESCRIBED
    return jnp.all(known[inside], axis=0) & jnp.all(seen, axis=0)


def starts(model: Model, signal: Float[Array, " anchor_bin"] | Mixture) -> Float[Array, "start nuisance"]:
    """Where to start fits: signals far above the data scaled down to them.

    One on each side of the nominal shapes, where a kink may be a ridge; one with all bounded ones at their low end;
    some along the first star.
    """
    shapes, nominal = len(model.anchors), model.nominal
    if not shapes:
        first_star = along_stars(model, signal, nominal)[:1]
        along = [start for part in first_star for start in part]
        found = [_scaled(model, signal, nominal)[0], *_by_experiment(model, signal), nominal, *along]
        return jnp.clip(jnp.stack(found), model.lower, model.upper)
    size = model.linear.shape[1]
    ends = jnp.where(jnp.isfinite(model.lower) & jnp.isfinite(model.upper), model.lower, nominal)

    # From the nominal shapes, from their low ends, and there a look at what is expected: compiled once.
    def look(before: Array, number: Array) -> tuple[Array, tuple[Array, Array]]:
        base = jnp.where(number == 0, nominal, jnp.where(number == 1, ends, before))
        scaled, expected = _scaled(model, signal, base)
        return jnp.concatenate([scaled, ends[size:]]), (scaled, jnp.all((expected > 0) | (model.observed == 0)))

    _, ((scaled, to_ends, _), (_, _, possible)) = jax.lax.scan(look, nominal, jnp.arange(3))
    low = jnp.concatenate([to_ends, ends[size:]])
    # The last only where the nuisances have to go far: elsewhere it is a long way to the same minimum; and changes
    # that add up may take more than there is when all are at their ends.
    far = jnp.any(jnp.abs(scaled - nominal[:size]) > 0.3) & possible
    far = far & ~jnp.any(~jnp.isfinite(model.sigma) & (model.lower < model.upper))
    sides = [jnp.concatenate([scaled, jnp.full(shapes, side, scaled.dtype)]) for side in (0.5, -0.5)]
    return jnp.clip(jnp.stack([*sides, jnp.where(far, low, sides[0])]), model.lower, model.upper)


def combined(model: Model) -> bool:
    """Whether starts are in all combinations of cells of the shapes, and searches stay there; else one at a time."""
    sizes = [len(_ENDS) * (a.size - 1) for j, a in enumerate(model.anchors) if j not in model.smooth]
    return math.prod(sizes) <= _COMBINED


def in_other_cells(
    model: Model, x: Float[Array, " nuisance"]
) -> tuple[Float[Array, "start nuisance"], Bool[Array, " start"]]:
    """Starts in each cell between anchors of the shapes that are not smooth, beside a minimum and afresh.

    Inside a cell templates are linear in the shapes, so that chi2 has one dip along each; any combination of cells
    may have its own. Where there are many (`combined`), the cells of one shape after the other.

    Args:
        model: with shapes.
        x: a minimum.

    Returns:
        Starts, and whether they are worth a fit: afresh if a factor of the minimum is so small that chi2 no longer
        tells how it should move.
    """
    together = combined(model)
    parts, first = jnp.asarray(_ENDS if together else (0.5,)), x.size - len(model.anchors)
    kinked = [(j, a) for j, a in enumerate(model.anchors) if j not in model.smooth]
    middles = [jnp.ravel(a[:-1] + parts[:, None] * jnp.diff(a)) for _, a in kinked]
    numbers = np.split(np.arange(sum(m.size for m in middles)), np.cumsum([m.size for m in middles])[:-1])
    # Which of the middles a parameter of a start is at; -1 where it stays.
    if together:
        cells = np.full((math.prod(map(len, numbers)), x.size), -1)
        cells[:, [first + j for j, _ in kinked]] = list(itertools.product(*numbers))
    else:
        cells = np.full((sum(map(len, numbers)), x.size), -1)
        for (j, _), mine in zip(kinked, numbers, strict=True):
            cells[mine, first + j] = mine
    moved = jnp.concatenate(middles)[np.maximum(cells, 0)]
    dead = model.is_log & (x - model.nominal < math.log(_LEAST))
    found = [jnp.where(cells < 0, begin, moved) for begin in (x, jnp.where(dead, model.nominal, x))]
    asked = jnp.concatenate([jnp.ones(len(cells), bool), jnp.broadcast_to(jnp.any(dead), len(cells))])
    return jnp.clip(jnp.concatenate(found), model.lower, model.upper), asked


def in_other_factors(
    model: Model, x: Float[Array, " nuisance"]
) -> tuple[Float[Array, "start nuisance"], Bool[Array, " start"]]:
    """Starts where a product of factors is made small by each of its factors alone.

    Returns:
        Starts, and whether they are worth a fit: where a factor of the product is small at the minimum `x`.
    """
    products = np.array(model.loading or ((),)) != 0
    products = products[np.sum(products, axis=-1) > 1]
    if not len(products):
        return x[None], jnp.zeros(1, bool)
    of, alone = np.nonzero(products)  # a start for each factor of each product
    members = np.pad(products, ((0, 0), (0, x.size - products.shape[1])))
    pulls = jnp.where(members, x - model.nominal, 0.0)
    together = jnp.maximum(jnp.sum(pulls, axis=1), math.log(_LEAST))
    small = jnp.any(pulls < math.log(_SMALL), axis=1)
    added = jnp.where(np.arange(x.size) == alone[:, None], together[of, None], 0.0)
    found = jnp.where(members[of], model.nominal, x) + added
    return jnp.clip(found, model.lower, model.upper), small[of]


def _by_experiment(model: Model, signal: Array | Mixture) -> list[Array]:
    """Starts at which the signal of each experiment by itself comes down to its data.

    In the first every nuisance of a signal takes its share by variance, the widest nearly all if the way is long, a
    shared one the mean over its experiments; in the second the nuisance that most signals share takes it all.
    """
    value = parts(model, signal, model.nominal)[: len(model.signals)]
    owners = np.array([owner for owner, _ in model.signals])
    have = jnp.stack([jnp.sum(value[owners == i]) for i in range(model.owner.shape[0])])
    loading = jnp.stack(
        [jnp.max(model.logarithmic[: owners.size][owners == i], axis=0) for i in range(model.owner.shape[0])]
    )
    down = jnp.minimum(jnp.log((model.owner @ model.observed + 1) / (jnp.maximum(have, 0.0) + 1)), 0.0)
    used = loading > 0
    width = jnp.where(jnp.isfinite(model.sigma), model.sigma, 1.0)
    power = (1 - down)[:, None] * jnp.log(width**2)
    largest = jnp.max(jnp.where(used, power, -jnp.inf), axis=1, keepdims=True, initial=-jnp.inf)
    share = jnp.where(used, jnp.exp(power - jnp.where(jnp.isfinite(largest), largest, 0.0)), 0.0)
    share = share / jnp.maximum(jnp.sum(share, axis=1, keepdims=True), 1e-30)
    users = jnp.sum(used.astype(width.dtype), axis=0)
    first = down @ share / jnp.maximum(users, 1)
    widest = jnp.argmax(users + width / (1 + jnp.max(width, initial=0.0))) if users.size else 0
    second = jnp.where((jnp.arange(users.size) == widest) & (users > 0), jnp.min(down), 0.0)
    return [jnp.where(model.is_linear, model.nominal, x) for x in (first, second)]


def along_stars(
    model: Model, signal: Float[Array, " anchor_bin"] | Mixture, x: Float[Array, " nuisance"]
) -> list[Float[Array, "start nuisance"]]:
    """Starts beside a minimum, for each star all along its middle, the rest of the way left to its other factors.

    For a value of the middle chi2 is convex in the others, so that no minimum is far from one of these.
    """
    found = stars(model.loading, model.belongs)
    if not found:
        return []
    value = parts(model, signal, model.nominal)[: len(model.signals)]
    owners = np.array([owner for owner, _ in model.signals])
    have = jnp.maximum(jnp.stack([jnp.sum(value[owners == owner]) for owner in owners]), 0.0)
    seen = (model.owner @ model.observed)[owners]
    down = jnp.minimum(jnp.log((seen + 1) / (have + 1)), 0.0)  # of each signal
    loading = np.array(model.loading)[: owners.size] != 0
    count = model.linear.shape[1]
    width = jnp.where(jnp.isfinite(model.sigma), model.sigma, 1.0)[:count]

    def taken(own: tuple[int, ...], amount: Array) -> Array:
        """By the widest of a group."""
        mine = np.isin(np.arange(count), own)
        widest = jnp.argmax(jnp.where(mine, width, -1.0))
        return jnp.where(jnp.arange(count) == widest, amount, 0.0)

    def start(star: Star, share: float) -> Array:
        shared = loading[:, star.middle[0]]
        lowest = jnp.min(jnp.where(shared, down, 0.0), initial=0.0)
        middle = share * lowest
        begin = taken(star.middle, middle)
        for own in star.leaves:
            rows = loading[:, own[0]]
            rest = jnp.where(rows, jnp.minimum(down - np.where(shared, 1.0, 0.0) * middle, 0.0), 0.0)
            begin = begin + taken(own, jnp.min(rest, initial=0.0))
        moved = np.isin(np.arange(x.size), [*star.middle, *sum(star.leaves, ())])
        return jnp.where(moved & model.is_log, jnp.pad(begin, (0, x.size - count)), x)

    every = [jnp.stack([start(star, k / (_ALONG - 1)) for k in range(_ALONG)]) for star in found]
    return [jnp.clip(begins, model.lower, model.upper) for begins in every]


def _scaled(model: Model, signal: Array | Mixture, base: Array) -> tuple[Array, Array]:
    """Normalisations at which a signal above the data comes down to them, from `base`; counts expected there."""
    normalisation, counts = base[: model.linear.shape[1]], parts(model, signal, base)
    signals = len(model.signals)
    have = jnp.maximum(jnp.sum(counts[:signals]), 0.0)
    want = jnp.maximum(jnp.sum(model.observed) - jnp.sum(counts[signals:]), 1.0)
    down = jnp.minimum(jnp.log((want + 1) / (have + 1)), 0.0)
    # The widest nuisances of the signal take the way, by variance, of those that can go it; a free strength alone.
    size = normalisation.size
    width = jnp.where(jnp.isfinite(model.sigma), model.sigma, 1.0)[:size]
    acting = jnp.any(model.logarithmic[:signals] > 0, axis=0)
    unbounded = acting & jnp.isneginf(model.lower[:size])
    acting = jnp.where(jnp.any(unbounded), unbounded, acting)
    free = ~jnp.isfinite(model.sigma[:size]) & (model.lower < model.upper)[:size]
    power = jnp.where(acting, (1 - down) * jnp.log(width**2), -jnp.inf)
    share = jnp.where(acting, jnp.exp(power - jnp.max(power, initial=-1e30)), 0.0)
    share = share / jnp.maximum(jnp.sum(share), 1e-30)
    amount = jnp.where(free, jnp.clip(want / jnp.maximum(have, 1e-30), 0.1, 1e6), normalisation)
    logs = jnp.where(jnp.any(free & model.is_linear), normalisation, normalisation + down * share)
    return jnp.where(model.is_linear, amount, logs), jnp.sum(counts, axis=0)
