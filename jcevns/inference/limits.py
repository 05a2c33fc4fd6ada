"""Excluded couplings at given mediator masses, by root finding on the profile likelihood."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.constants import chi2_threshold
from jcevns.inference.batch import prepare, profile_signals
from jcevns.inference.grid import Grid, coupling_is_axis, grid, mediator_terms, natural_coupling
from jcevns.inference.roots import find_roots
from jcevns.likelihood import joint
from jcevns.likelihood.joint import Likelihood
from jcevns.likelihood.morphing import Mixture
from jcevns.likelihood.poisson import TemplateModel
from jcevns.physics.cross_sections import AbstractInteraction
from jcevns.physics.recoil import Theory
from jcevns.precision import require_x64

__all__ = ["Limit", "limits"]

_PER_DECADE = 64
_BELOW, _ABOVE = 2.5, 3.0  # decades around the coupling at which the new signal equals the Standard Model's
_GENERIC, _GENERIC_PER_DECADE = (1e-12, 1e2), 24  # where an interaction does not tell its scale
_GENERIC_POINTS = 32
_DEEP = 100.0  # Delta chi2 above the threshold
_BLOCK_NUMBERS = 16_000_000  # of signals in memory at a time


@dataclasses.dataclass(frozen=True)
class Limit:
    """Couplings excluded at one mass.

    Attributes:
        mass: MeV.
        excluded: intervals [lower, upper]; upper None if exclusion holds to the largest coupling searched.
        threshold: Delta chi2.
        chi2_min: the minimum it is counted from.
        best_fit: coupling of the lowest chi2 at this mass.
        valid: every fit that an interval end or the minimum rests on is valid, and no fit failed but where
            chi2 is far above the threshold on both sides.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> (limit,) = jc.limits(likelihood, "vector", masses=[10.0])
        >>> [f"{end:.2e}" for end in limit.excluded[0]]  # an island; excluded[1] is open above
        ['1.09e-05', '3.13e-05']
    """

    mass: float
    excluded: tuple[tuple[float, float | None], ...]
    threshold: float
    chi2_min: float
    best_fit: float
    valid: bool


@partial(jax.jit, static_argnums=1)
def _generic(
    likelihood: Likelihood, make: Callable, masses: Float[Array, " point"], couplings: Float[Array, " point"]
) -> tuple[Float[Array, "bin point"], Float[Array, "bin point"]]:
    def one(point):
        mass, coupling = point
        call = lambda g: joint.signal(likelihood, make(mass=mass, coupling=g))  # noqa: E731
        return jax.jvp(call, (coupling,), (jnp.ones_like(coupling),))

    # A few at a time: the energy integral of an unknown interaction takes megabytes a point.
    counts, change = jax.lax.map(one, (masses, couplings), batch_size=4)
    return counts.T, change.T


class _Curves:
    """chi2, its slope and validity at (mass index, coupling), for many pairs at once."""

    def __init__(self, likelihood: Likelihood, theories: Grid):
        self.likelihood, self.make = likelihood, theories.make
        self.masses = theories.axes["mass"]
        self.terms = None
        self.block = max(_GENERIC_POINTS, _BLOCK_NUMBERS // likelihood.signal_size)
        if coupling_is_axis(self.make, {"mass": float(self.masses[0])}):
            terms = mediator_terms(likelihood, self.make, {"mass": self.masses})
            self.terms = np.ascontiguousarray(np.moveaxis(terms, 2, 0))

    def grid(self) -> Float[np.ndarray, "mass node"]:
        """Couplings to bracket on, the first of them 0."""
        if self.terms is None:
            scale, below, above, per_decade = self._departure(), 1.0, 4.0, _GENERIC_PER_DECADE
        else:
            scale = natural_coupling(np.moveaxis(self.terms, 0, 2))
            below, above, per_decade = _BELOW, _ABOVE, _PER_DECADE
        decades = np.linspace(-below, above, int(per_decade * (below + above)) + 1)
        return np.concatenate([np.zeros((scale.size, 1)), scale[:, None] * 10**decades], axis=1)

    def _departure(self) -> Float[np.ndarray, " mass"]:
        """Coupling at which an interaction that does not tell its scale changes the signal by 1%."""
        coarse = np.geomspace(*_GENERIC, 3 * int(np.log10(_GENERIC[1] / _GENERIC[0])) + 1)
        index = np.repeat(np.arange(self.masses.size), coarse.size)
        total = self.signal(index, np.tile(coarse, self.masses.size))[0].sum(axis=0).reshape(-1, coarse.size)
        changed = ~(np.abs(total / total[:, :1] - 1) < 0.01)
        changed[:, -1] = True
        return coarse[np.argmax(changed, axis=1)]

    def signal(self, index: np.ndarray, coupling: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Signal and its derivative in the coupling, of an interaction whose coupling does not factor out."""
        parts = []
        for first in range(0, index.size, _GENERIC_POINTS):
            chosen = slice(first, first + _GENERIC_POINTS)
            mass, g = (np.resize(x[chosen], _GENERIC_POINTS) for x in (self.masses[index], coupling))
            parts.append(_generic(self.likelihood.unlabelled, self.make, jnp.asarray(mass), jnp.asarray(g)))
        counts, change = (np.concatenate(x, axis=1)[:, : index.size] for x in zip(*parts, strict=True))
        return counts, change

    def __call__(self, index: np.ndarray, coupling: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        chi2, slope, valid = np.empty(index.size), np.empty(index.size), np.empty(index.size, bool)
        for first in range(0, index.size, self.block):
            part = slice(first, first + self.block)
            row, g = index[part], coupling[part]
            if self.terms is not None:
                fit = profile_signals(self.likelihood, Mixture(self.terms, row, np.stack([g**0, g**2, g**4])))
                slope[part] = 2 * g * fit.slope[1] + 4 * g**3 * fit.slope[2]
            else:
                counts, change = self.signal(row, g)
                fit = profile_signals(self.likelihood, counts)
                slope[part] = np.sum(fit.slope * change, axis=0)
            chi2[part] = np.where(fit.valid, fit.chi2, np.nan)
            valid[part] = fit.valid
        return chi2, slope, valid


def _extrema(curves: _Curves, nodes: np.ndarray, chi2: np.ndarray, slope: np.ndarray) -> tuple[np.ndarray, ...]:
    """All stationary points between nodes: mass index, coupling, chi2."""
    low, high = slope[:, 1:-1], slope[:, 2:]
    row, cell = np.nonzero(np.isfinite(low) & np.isfinite(high) & (np.sign(low) * np.sign(high) < 0))
    if not row.size:
        return row, np.empty(0), np.empty(0)
    cell = cell + 1
    place = find_roots(
        lambda g: curves(row, g)[1],
        nodes[row, cell],
        nodes[row, cell + 1],
        slope[row, cell],
        slope[row, cell + 1],
        relative=1e-8,
    )
    return row, place, curves(row, place)[0]


def limits(
    likelihood: Likelihood,
    theory: str | Callable[..., Theory | AbstractInteraction],
    masses: Sequence[float] | np.ndarray,
    cl: float = 0.90,
    dof: int = 1,
    minimum: str = "each",
) -> list[Limit]:
    """Excluded couplings of a mediator at each mass.

    Delta chi2 is counted from the minimum over the coupling g >= 0 at that mass. All excluded intervals are
    found: stationary points of the profile are located between the nodes of a fine grid, so that neither a thin
    allowed band nor a thin excluded island is missed, and ends are roots of the profile.

    Args:
        likelihood: the experiments.
        theory: name of an interaction, or a class or function with the arguments `mass` and `coupling`.
        masses: MeV.
        cl: confidence level.
        dof: parameters of interest, for the threshold.
        minimum: `each` counts from the minimum at each mass (a one-dimensional limit), `all` from the lowest
            over all masses given (a contour in the plane, as in Fig. 4 of arXiv:2411.11749).

    Raises:
        RuntimeError: in single precision.
        ValueError: unknown interaction, bad masses, bad confidence level.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> (limit,) = jc.limits(likelihood, "scalar", masses=[10.0])
        >>> f"g > {limit.excluded[0][0]:.2e} excluded at 90%"
        'g > 8.27e-06 excluded at 90%'
    """
    require_x64("an exclusion limit")
    if minimum not in ("each", "all"):
        raise ValueError(f"minimum {minimum!r} must be 'each' (mass) or 'all'")
    threshold = chi2_threshold(cl, dof)
    theories = grid(theory, mass=masses, coupling=[0.0])
    if isinstance(likelihood.model, TemplateModel):
        prepare(likelihood)
    curves = _Curves(likelihood, theories)
    nodes = curves.grid()
    count, size = nodes.shape
    index = np.repeat(np.arange(count), size)
    flat_chi2, flat_slope, _ = curves(index, nodes.ravel())
    chi2, slope = flat_chi2.reshape(nodes.shape), flat_slope.reshape(nodes.shape)
    row, place, value = _extrema(curves, nodes, chi2, slope)

    profiles = []
    for i in range(count):
        g = np.concatenate([nodes[i], place[row == i]])
        y = np.concatenate([chi2[i], value[row == i]])
        order = np.argsort(g, kind="stable")
        profiles.append((g[order], y[order]))
    minima = np.array([np.nanmin(y) if np.any(np.isfinite(y)) else np.nan for _, y in profiles])
    if minimum == "all":
        minima = np.where(np.isfinite(minima), np.nanmin(minima), np.nan)
    owner, low, high, at_low, at_high = [], [], [], [], []
    for i, (g, y) in enumerate(profiles):
        usable = np.isfinite(y)
        g, above = g[usable], y[usable] - minima[i] - threshold
        cells = np.flatnonzero((above[1:] > 0) != (above[:-1] > 0))
        owner += [i] * cells.size
        low += list(g[cells])
        high += list(g[cells + 1])
        at_low += list(above[cells])
        at_high += list(above[cells + 1])
    owners = np.array(owner, int)
    ends, good = np.empty(0), np.ones(0, bool)
    if owners.size:
        level = minima[owners] + threshold
        a, b, at_a, at_b = (np.array(x) for x in (low, high, at_low, at_high))
        ends = find_roots(lambda g: curves(owners, g)[0] - level, a, b, at_a, at_b)
        good = curves(owners, ends)[2]
    results = []
    for i, (g, y) in enumerate(profiles):
        mine = owners == i
        if not np.isfinite(minima[i]):
            results.append(Limit(float(curves.masses[i]), (), threshold, np.nan, np.nan, False))
            continue
        starts_excluded = bool(y[np.isfinite(y)][0] > minima[i] + threshold)
        excluded = _excluded(ends[mine], starts_excluded)
        best = float(g[np.nanargmin(y)])
        valid = bool(np.all(good[mine]) and _harmless(y - minima[i] - threshold))
        results.append(Limit(float(curves.masses[i]), excluded, threshold, float(minima[i]), best, valid))
    return results


def _harmless(above: np.ndarray) -> bool:
    """Whether fits failed only where all is excluded: between nodes, or beyond the last, far above the threshold.

    Signals of a billion events in bins that no nuisance covers leave too few digits for a valid fit.
    """
    failed = np.flatnonzero(~np.isfinite(above))
    deep = np.flatnonzero(above > _DEEP)
    shallow = np.flatnonzero(above <= _DEEP)
    place = np.searchsorted(shallow, failed)
    after = np.append(shallow, above.size)[place]  # the next node that is not far above, if any
    before = np.append(-1, shallow)[place]
    separated = [np.any((deep > b) & (deep < f)) for b, f in zip(before, failed, strict=True)]
    closed = [a == above.size or np.any((deep > f) & (deep < a)) for a, f in zip(after, failed, strict=True)]
    return bool(np.all(separated) and np.all(closed))


def _excluded(ends: np.ndarray, starts_excluded: bool) -> tuple[tuple[float, float | None], ...]:
    """Intervals from the ordered ends at which exclusion switches on and off."""
    points: list[float | None] = [*([0.0] if starts_excluded else []), *map(float, ends)]
    if len(points) % 2:
        points.append(None)
    pairs = zip(points[::2], points[1::2], strict=True)
    return tuple((lower, upper) for lower, upper in pairs if lower is not None)
