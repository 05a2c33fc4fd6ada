"""Best fit and confidence intervals of one parameter, by root finding on the profile likelihood."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.experiments.catalogue import experiment
from jcevns.experiments.experiment import Experiment
from jcevns.inference.batch import Profiles, profile_signals
from jcevns.inference.parameters import FLUX_UNIT, Parameter, find_parameter
from jcevns.inference.roots import find_roots
from jcevns.likelihood import joint
from jcevns.likelihood.joint import FLUX_PULL, Likelihood
from jcevns.physics.recoil import AnyTheory
from jcevns.precision import require_x64

__all__ = [
    "Estimate",
    "Interval",
    "estimate",
    "interval",
    "measure",
    "profile_curve",
]

_LEVELS = (ONE_SIGMA, 0.90)
_GRID = 32  # bracketing only; every number reported is a refined root
_WIDEST = 1e6  # times the scale of a parameter: where the search for an upper end stops
_BATCH = 16  # points are fitted in batches of one size, so that one compilation serves grid and refinement


@dataclasses.dataclass(frozen=True)
class Interval:
    """Where Delta chi2 stays below a threshold.

    Attributes:
        cl: confidence level.
        threshold: Delta chi2 for one parameter.
        lower: lower end; None if open, that is if the physical bound is reached below the threshold.
        upper: upper end; None if none was found.
        disjoint: all accepted segments, more than one if the profile has several dips.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> sin2w = jc.interval(likelihood, "sin2w", cl=0.90)
        >>> round(sin2w.threshold, 4), round(sin2w.lower, 3), round(sin2w.upper, 3)
        (2.7055, 0.054, 0.396)
    """

    cl: float
    threshold: float
    lower: float | None
    upper: float | None
    disjoint: tuple[tuple[float | None, float | None], ...] = ()


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Best fit, intervals and fit quality of one parameter.

    Attributes:
        parameter: name.
        unit: its unit.
        experiments: names.
        best_fit: value at the minimum of the profile.
        interval_68: Delta chi2 = 1.
        interval_90: Delta chi2 = 2.71.
        chi2_min: minimum over the parameter and the nuisances.
        significance: sqrt(Delta chi2) of the hypothesis without signal; None where there is none.
        valid: the fit at the minimum and at every interval end is valid.
        edm: largest estimated distance to the minimum among those fits.
        pulls: relative pulls at the minimum in units of their widths.
        flux_pull: whether the flux nuisance was on.
        data_status: status, notes and tables of each experiment.
        note: what the user must know.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.measure("flux", "xenonnt-2024-s2")
        >>> f"{flux.best_fit:.3e} {flux.unit}"
        '5.696e+06 cm^-2 s^-1'
        >>> round(flux.significance, 2), flux.valid
        (2.15, True)
        >>> round(flux.interval_90.upper / 1e6, 2)  # 1e6 cm^-2 s^-1
        11.14
    """

    parameter: str
    unit: str
    experiments: tuple[str, ...]
    best_fit: float
    interval_68: Interval
    interval_90: Interval
    chi2_min: float
    significance: float | None
    valid: bool
    edm: float
    pulls: dict[str, float]
    flux_pull: bool
    data_status: dict[str, dict]
    note: str

    def __str__(self) -> str:
        """One line: best fit with the errors of the 68% interval."""
        scale, unit = (1e6, f" 1e6 {FLUX_UNIT}") if self.unit == FLUX_UNIT else (1.0, f" {self.unit}".rstrip())
        low, high = self.interval_68.lower, self.interval_68.upper
        largest = max(abs(x) for x in (self.best_fit, low or 0.0, high or 0.0)) / scale
        form = ".3f" if 0.05 < largest < 1e4 or largest == 0 else ".4g"
        up = "open" if high is None else f"+{(high - self.best_fit) / scale:{form}}"
        down = "open" if low is None else f"-{(self.best_fit - low) / scale:{form}}"
        value = f"{self.best_fit / scale:{form}}"
        return f"{self.parameter} = {value} {up} {down}{unit} (68%, {', '.join(self.experiments)})"


@partial(jax.jit, static_argnums=1)
def _signals(
    likelihood: Likelihood, parameter: Callable[[Array], AnyTheory], values: Float[Array, " point"]
) -> tuple[Float[Array, "bin point"], Float[Array, "bin point"]]:
    """Signal along a parameter, and its derivative, points last."""

    def one(value):
        return jax.jvp(lambda x: joint.signal(likelihood, parameter(x)), (value,), (jnp.ones_like(value),))

    return jax.vmap(one, out_axes=1)(values)


def profile_curve(
    likelihood: Likelihood, parameter: str | Parameter, values: float | Sequence[float] | np.ndarray
) -> tuple[np.ndarray, np.ndarray, Profiles]:
    """Profiled chi2 along a parameter.

    Args:
        likelihood: the experiments.
        parameter: what is varied: `flux`, `sin2w` or a `Parameter` of your own.
        values: where, shape (point,).

    Returns:
        chi2 and its slope, shape (point,), NaN where the fit is not valid, and the fits themselves.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False)
        >>> flux = jc.Parameter("flux", "cm^-2 s^-1", lambda value: jc.Theory(b8_flux=value), lower=0.0, scale=2e7)
        >>> chi2, slope, fits = jc.profile_curve(likelihood, flux, [0.0, 5.46e6, 1e7])
        >>> [round(x, 2) for x in chi2.tolist()]
        [8.47, 3.86, 5.61]
    """
    quantity = find_parameter(parameter) if isinstance(parameter, str) else parameter
    values = np.atleast_1d(np.asarray(values, float))
    padded = np.resize(values, (-(-values.size // _BATCH), _BATCH))
    pairs = [_signals(likelihood.unlabelled, quantity.theory, batch) for batch in padded]
    counts, change = (np.concatenate(x, axis=1)[:, : values.size] for x in zip(*pairs, strict=True))
    fit = profile_signals(likelihood, counts, chunk=_BATCH)
    slope = np.sum(fit.slope * change, axis=0)
    return np.where(fit.valid, fit.chi2, np.nan), np.where(fit.valid, slope, np.nan), fit


def _search_grid(curve: Callable, parameter: Parameter, depth: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid from the lower bound to where chi2 has risen by more than `depth` above its minimum."""
    span = parameter.scale
    while True:
        grid = parameter.lower + span * np.linspace(0.0, 1.0, _GRID) ** 2
        chi2, slope = curve(grid)
        if not np.any(np.isfinite(chi2)):
            where = f"{parameter.name} in [{grid[0]:.4g}, {grid[-1]:.4g}]"
            raise RuntimeError(f"no valid fit on {where}: check the experiment's counts and backgrounds")
        # Far above the needed depth, so that the minimum is well inside the grid. A profile that is flat
        # (an experiment without sensitivity) never rises: its interval is open, and said to be.
        if chi2[-1] > np.nanmin(chi2) + 1.5 * depth or span > _WIDEST * parameter.scale:
            return grid, chi2, slope
        span *= 4.0


def _minimum(curve: Callable, grid: np.ndarray, chi2: np.ndarray, slope: np.ndarray) -> float:
    """Position of the lowest minimum, as the root of the slope between the neighbours of the lowest node."""
    best = int(np.nanargmin(chi2))
    if best == 0 and slope[0] >= 0:
        return float(grid[0])
    for left, right in ((best - 1, best), (best, best + 1)):
        if left >= 0 and right < grid.size and slope[left] < 0 <= slope[right]:
            low, high = slice(left, left + 1), slice(right, right + 1)
            root = find_roots(lambda x: curve(x)[1], grid[low], grid[high], slope[low], slope[high])
            return float(root[0])
    return float(grid[best])


def _crossings(
    curve: Callable, grid: np.ndarray, chi2: np.ndarray, levels: Sequence[float]
) -> list[list[tuple[float, bool]]]:
    """Roots of chi2 = level for every level, each with whether chi2 falls there (a lower end)."""
    height = np.asarray(levels)[:, None]
    below = chi2[None, :] <= height
    row, cell = np.nonzero(below[:, 1:] != below[:, :-1])
    wanted = np.asarray(levels)[row]
    roots = np.empty(0)
    if row.size:
        at_left, at_right = chi2[cell] - wanted, chi2[cell + 1] - wanted
        roots = find_roots(lambda x: curve(x)[0] - wanted, grid[cell], grid[cell + 1], at_left, at_right)
    found: list[list[tuple[float, bool]]] = [[] for _ in levels]
    for x, c, r in zip(roots, cell, row, strict=True):
        found[r].append((float(x), bool(below[r, c + 1])))
    return found


def _segments(crossings: list[tuple[float, bool]]) -> tuple[tuple[float | None, float | None], ...]:
    """Accepted segments from the sorted ends of a level; None for an end that was not found."""
    segments, lower = [], None
    for position, enters in crossings:
        if enters:
            lower = position
        else:
            segments.append((lower, position))
            lower = None
    if lower is not None or not crossings:
        segments.append((lower, None))
    return tuple(segments)


def _locate(
    likelihood: Likelihood, quantity: Parameter, levels: Sequence[float]
) -> tuple[float, list[Interval], list[float]]:
    """Best fit, intervals, and all ends of their segments."""

    def curve(values):
        chi2, slope, _ = profile_curve(likelihood, quantity, values)
        return chi2, slope

    depths = [chi2_threshold(cl) for cl in levels]
    grid, chi2, slope = _search_grid(curve, quantity, max(depths))
    if np.ptp(chi2) <= 1e-12 * np.abs(chi2[0]) and not np.any(slope):
        raise ValueError(f"{', '.join(likelihood.names)}: chi2 does not depend on {quantity.name}, nothing to fit")
    best = _minimum(curve, grid, chi2, slope)
    chi2_min = float(curve(best)[0][0])
    place = int(np.searchsorted(grid, best))
    if place >= grid.size or grid[place] != best:
        grid, chi2 = np.insert(grid, place, best), np.insert(chi2, place, chi2_min)
    # An invalid node is a gap, not a wall: crossings are looked for between valid neighbours.
    usable = np.isfinite(chi2)
    found = _crossings(curve, grid[usable], chi2[usable], [chi2_min + d for d in depths])
    intervals = []
    for cl, depth, roots in zip(levels, depths, found, strict=True):
        segments = _segments(roots)
        holding = [s for s in segments if (s[0] is None or s[0] <= best) and (s[1] is None or best <= s[1])]
        lower, upper = holding[0] if holding else (None, None)
        intervals.append(Interval(cl, depth, lower, upper, segments))
    return best, intervals, [x for level in found for x, _ in level]


def estimate(likelihood: Likelihood, parameter: str | Parameter) -> Estimate:
    """Best fit and confidence intervals of one parameter.

    `measure` builds the likelihood as well.

    Args:
        likelihood: the experiments.
        parameter: `flux`, `sin2w` or a `Parameter` of your own.

    Raises:
        RuntimeError: in single precision: roots of a profile need more digits.
        ValueError: unknown parameter.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> print(jc.estimate(likelihood, "sin2w"))
        sin2w = 0.246 +0.092 -0.104 (68%, xenonnt-2024-s2)
    """
    require_x64("a confidence interval")
    if isinstance(parameter, str):
        parameter = find_parameter(parameter)
    quantity = parameter

    best, intervals, ends_at = _locate(likelihood, quantity, _LEVELS)
    # Best fit, ends of the intervals, and the null hypothesis if there is one.
    nulls = [] if quantity.null is None else [quantity.null]
    chi2, _, fits = profile_curve(likelihood, quantity, [best, *ends_at, *nulls])
    chi2_min = float(chi2[0])
    impossible = np.isposinf(fits.chi2)  # events seen where none is expected
    at_null = np.inf if impossible[-1] else chi2[-1]
    significance = float(np.sqrt(max(at_null - chi2_min, 0.0))) if nulls else None
    sigma = np.asarray(likelihood.model.sigma)
    return Estimate(
        parameter=quantity.name,
        unit=quantity.unit,
        experiments=likelihood.names,
        best_fit=best,
        interval_68=intervals[0],
        interval_90=intervals[1],
        chi2_min=chi2_min,
        significance=significance,
        valid=bool(np.all(fits.valid | impossible)),
        edm=float(np.max(fits.edm[~impossible])),
        pulls=dict(zip(likelihood.nuisances, map(float, fits.pulls[:, 0] / sigma), strict=True)),
        flux_pull=FLUX_PULL in likelihood.nuisances,
        data_status=dict(likelihood.data_status()),
        note=quantity.note,
    )


def interval(likelihood: Likelihood, parameter: str | Parameter, cl: float = 0.90) -> Interval:
    """Where Delta chi2 of one parameter stays below its threshold: what is outside is excluded.

    Args:
        likelihood: the experiments.
        parameter: `flux`, `sin2w` or a `Parameter` of your own.
        cl: confidence level.

    Raises:
        RuntimeError: in single precision.
        ValueError: unknown parameter, or a confidence level outside (0, 1).

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> sin2w = jc.interval(likelihood, "sin2w", cl=0.68)
        >>> round(sin2w.lower, 3), round(sin2w.upper, 3)
        (0.142, 0.338)
    """
    require_x64("a confidence interval")
    quantity = find_parameter(parameter) if isinstance(parameter, str) else parameter
    return _locate(likelihood, quantity, (cl,))[1][0]


def measure(
    parameter: str | Parameter,
    experiments: Experiment | str | Iterable[Experiment | str],
    flux_pull: bool | None = None,
) -> Estimate:
    """Measure a parameter with some experiments, the flux nuisance set as the parameter wants it.

    Args:
        parameter: `flux`, `sin2w` or a `Parameter` of your own.
        experiments: experiments or their names.
        flux_pull: keep the 12% nuisance on the 8B flux; None for the parameter's default (off for the flux).

    Example:
        >>> import jcevns as jc
        >>> print(jc.measure("flux", "xenonnt-2024-s2"))
        flux = 5.696 +3.188 -2.835 1e6 cm^-2 s^-1 (68%, xenonnt-2024-s2)
    """
    quantity = find_parameter(parameter) if isinstance(parameter, str) else parameter
    chosen = [experiments] if isinstance(experiments, Experiment | str) else list(experiments)
    built = [experiment(e) if isinstance(e, str) else e for e in chosen]
    return estimate(Likelihood(built, quantity.flux_pull if flux_pull is None else flux_pull), quantity)
