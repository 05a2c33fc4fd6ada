"""Best fit of any parameters: global minimum, covariance, asymmetric errors, and what may be wrong with them."""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.fit.interval import Interval, Profiles1D
from jcevns.fit.minimise import Lowest, distance, held, newton
from jcevns.fit.printing import as_html, as_text, with_unit
from jcevns.fit.rounding import percent
from jcevns.fit.surface import Evaluation, Surface
from jcevns.fit.validity import EDM_GOAL, minimum_problems, require_effect, require_valid
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import Experiments, Likelihood, with_data
from jcevns.physics.interaction import label_of
from jcevns.precision import require_x64

__all__ = ["LEVELS", "MINIMISERS", "Fit", "fit"]

LEVELS = (ONE_SIGMA, 0.90)
"""Levels of the intervals that a fit comes with."""

MINIMISERS = ("newton", "lbfgs", "adam", "bfgs", "gradient-descent")
"""Minimisers by name: ours, two of optax, two of optimistix."""

_STARTS = 24  # of a fit of several parameters
_DEPTH = 30.0  # Delta chi2 within which the minima along each axis are starts


@dataclasses.dataclass(frozen=True)
class Fit:
    """A best fit.

    Attributes:
        names: parameters that were fitted, in full.
        units: of each.
        values: at the minimum.
        errors: (down, up) of each, Delta chi2 = 1 with the others profiled; None for an open side.
        covariance: inverse of half the Hessian of chi2, the nuisances profiled; NaN where there is none.
        chi2_min: at the minimum.
        edm: estimated vertical distance to the minimum.
        edm_goal: what it must be below.
        valid: no problem was found.
        problems: what is wrong, in words with the remedy.
        at_bound: parameters that ended on a bound.
        intervals: of each, by confidence level in the order of `LEVELS`.
        pulls: of the nuisances, in sigmas.
        profiled: parameters of the theory that were profiled, at the minimum.
        fixed: values of what was fixed by the call.
        constraints_off: fitted parameters that have a constraint, which was not used.
        significance: sqrt(Delta chi2) of the value without signal, for a single parameter that has one.
        experiments: names.
        theory: its name.
        minimiser: its name.
        data_status: status, notes and tables of each experiment.
        notes: what the user must know about the parameters.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.fit("xenonnt-2024-s2", "flux")
        >>> f"{flux.values['flux.b8']:.3e} {flux.units['flux.b8']}"
        '5.696e+06 cm^-2 s^-1'
        >>> round(flux.significance, 2), flux.valid
        (2.15, True)
        >>> round(flux.interval(0.90).upper / 1e6, 2)  # 1e6 cm^-2 s^-1
        11.14
    """

    names: tuple[str, ...]
    units: dict[str, str]
    values: dict[str, float]
    errors: dict[str, tuple[float | None, float | None]]
    covariance: Float[np.ndarray, "parameter parameter"]
    chi2_min: float
    edm: float
    edm_goal: float
    valid: bool
    problems: tuple[str, ...]
    at_bound: tuple[str, ...]
    intervals: dict[str, tuple[Interval, ...]]
    pulls: dict[str, float]
    profiled: dict[str, float]
    fixed: dict[str, float]
    constraints_off: tuple[str, ...]
    significance: float | None
    experiments: tuple[str, ...]
    theory: str
    minimiser: str
    data_status: dict[str, dict]
    notes: tuple[str, ...]

    @property
    def correlation(self) -> Float[np.ndarray, "parameter parameter"]:
        """Correlation matrix."""
        width = np.sqrt(np.diagonal(self.covariance))
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.covariance / width[:, None] / width[None, :]

    @property
    def hesse(self) -> dict[str, float]:
        """Symmetric errors from the covariance."""
        with np.errstate(invalid="ignore"):
            return dict(zip(self.names, np.sqrt(np.diagonal(self.covariance)).tolist(), strict=True))

    def interval(self, cl: float = ONE_SIGMA, name: str | None = None) -> Interval:
        """Interval of a parameter at one of `LEVELS`; of the first if no name is given."""
        chosen = self.names[0] if name is None else name
        for one in self.intervals.get(chosen, ()):
            if math.isclose(one.cl, cl, abs_tol=1e-3):
                return one
        raise ValueError(f"the fit has no interval of {chosen!r} at {cl:g}: use jcevns.interval")

    @property
    def summary(self) -> str:
        """One line for each parameter: best fit with its errors."""
        where = f"({percent(ONE_SIGMA)}, {', '.join(self.experiments)}{'' if self.valid else ', NOT VALID'})"
        return "\n".join(f"{name} = {with_unit(self, name)} {where}" for name in self.names)

    def __str__(self) -> str:
        return self.summary

    def __repr__(self) -> str:
        return self.table()

    def table(self) -> str:
        """Everything as text."""
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and lists: intervals as segments [lower, upper], null for an open end."""

        def plain(value: float | None) -> float | None:
            return value if value is not None and math.isfinite(value) else None

        def matrix(values: np.ndarray) -> list[list[float | None]]:
            return [[plain(v) for v in row] for row in values.tolist()]

        return {
            "parameters": list(self.names),
            "units": dict(self.units),
            "experiments": list(self.experiments),
            "theory": self.theory,
            "minimiser": self.minimiser,
            "best_fit": {n: plain(v) for n, v in self.values.items()},
            "errors": {n: list(e) for n, e in self.errors.items()},
            "hesse": {n: plain(v) for n, v in self.hesse.items()},
            "covariance": matrix(self.covariance),
            "correlation": matrix(self.correlation),
            "segments_68": {n: [list(s) for s in i[0].segments] for n, i in self.intervals.items()},
            "segments_90": {n: [list(s) for s in i[1].segments] for n, i in self.intervals.items()},
            "chi2_min": plain(self.chi2_min),
            "edm": plain(self.edm),
            "edm_goal": self.edm_goal,
            "valid": self.valid,
            "problems": list(self.problems),
            "at_bound": list(self.at_bound),
            "pulls": dict(self.pulls),
            "profiled": dict(self.profiled),
            "fixed": dict(self.fixed),
            "constraints_off": list(self.constraints_off),
            "significance": None if self.significance is None else plain(self.significance),
            "data_status": self.data_status,
            "notes": list(self.notes),
        }

    def to_json(self) -> str:
        """As JSON; an absent number is null."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


def fit(
    likelihood: Likelihood | Experiments,
    free: str | Sequence[str],
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
    constrained: str | Sequence[str] = (),
    minimiser: Any = "newton",
    errors: bool = True,
) -> Fit:
    """Fit any number of theory, flux and nuisance parameters.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        free: parameters to fit. Their own constraints are off: a flux is measured, not assumed.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are minimised over without being reported.
        constrained: those of the fitted ones that keep their constraint.
        minimiser: one of `MINIMISERS`, or an optax transformation or an optimistix minimiser; where it ends is judged
            by the same EDM and Hessian.
        errors: profile every parameter for asymmetric errors and intervals; a fit of many parameters is faster
            without.

    Raises:
        RuntimeError: in single precision, or no valid fit at all.
        ValueError: unknown parameter or minimiser, or chi2 that does not depend on a parameter.

    Example:
        >>> import jcevns as jc
        >>> print(jc.fit("xenonnt-2024-s2", "sin2w"))
        sin2w = 0.25 +0.09 -0.10 (68%, xenonnt-2024-s2)
        >>> both = jc.fit(["xenonnt-2024-s2", "pandax4t-us2"], ("sin2w", "flux"), constrained="flux")
        >>> round(float(both.correlation[0, 1]), 2)
        -0.26
    """
    require_x64("a fit")
    surface = Surface(with_data(likelihood, "a fit"), free, at, constrained, profiled)
    chosen = _minimiser(minimiser)
    if len(surface.names) == 1:
        return _fit_one(surface, chosen, minimiser, errors)
    starts = _starts(surface)
    lowest = newton(_objective(surface), starts[:, None], surface.records)
    if chosen is not None:
        lowest = _judged(surface, chosen(surface, starts))
    intervals: dict[str, tuple[Interval, ...]] = {}
    problems: list[str] = []
    if errors:
        for i, name in enumerate(surface.names):
            along = surface.along(i, lowest.x[0])
            intervals[name] = _intervals(along, float(lowest.x[0, i]), float(lowest.value[0]))
            problems += [problem for one in intervals[name] for problem in one.problems]
    return _result(surface, lowest, intervals, problems, minimiser)


def _objective(surface: Surface) -> Callable[..., Any]:
    def call(x: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, ...]:
        found = surface.evaluate(x, 2)
        return found.chi2, found.gradient, found.hessian, found.valid

    return call


def _fit_one(surface: Surface, chosen: Any, minimiser: Any, errors: bool) -> Fit:
    """One parameter: the whole profile is known, and with it the global minimum."""
    search = Profiles1D(surface, np.zeros((1, 0)), chi2_threshold(LEVELS[-1]))
    require_effect(search.surveys, surface.likelihood, surface.names[0])
    require_valid(search.surveys, surface.likelihood, surface.names[0])
    (one,) = search.surveys
    place = np.array([[one.best]])
    if chosen is not None:
        lowest = _judged(surface, chosen(surface, place))
    else:
        lowest = _judged(surface, place)
    intervals = _read(search, one.best, one.chi2_min) if errors else ()
    problems = [problem for found in intervals for problem in found.problems]
    if lowest.value[0] > one.chi2_min + 1e-5:
        problems.append(f"the minimiser ended {lowest.value[0] - one.chi2_min:.3g} above the minimum of the profile")
    return _result(surface, lowest, {surface.names[0]: intervals} if errors else {}, problems, minimiser)


def _judged(surface: Surface, x: np.ndarray) -> Lowest:
    """What is known at a position: the same check for every minimiser."""
    found = surface.evaluate(x, 2)
    free = ~held(x, found.gradient, found.hessian, surface.records)
    _, edm = distance(found.gradient, found.hessian, free)
    valid = found.valid & (edm < EDM_GOAL)
    return Lowest(x, found.chi2, found.gradient, found.hessian, free, edm, valid, len(x))


def _read(search: Profiles1D, best: float, chi2_min: float, lowest: float | None = None) -> tuple[Interval, ...]:
    result, record = [], search.record
    for cl in LEVELS:
        threshold = chi2_threshold(cl)
        ((segments, problems),) = search.segments(np.array([chi2_min + threshold]), lowest)
        result.append(Interval(record.name, record.unit, cl, threshold, segments, best, chi2_min, problems))
    return tuple(result)


def _intervals(surface: Surface, best: float, chi2_min: float) -> tuple[Interval, ...]:
    search = Profiles1D(surface, np.zeros((1, 0)), chi2_threshold(LEVELS[-1]))
    (one,) = search.surveys
    found = _read(search, best, min(chi2_min, one.chi2_min), chi2_min)
    return tuple(dataclasses.replace(i, chi2_min=one.chi2_min) for i in found)


def _starts(surface: Surface) -> Float[np.ndarray, "start parameter"]:
    """Defaults, the minima along each axis from there and their combinations, and points spread around them."""
    names, records = surface.names, surface.records
    default = np.array([r.default for r in records])
    places: list[list[float]] = []
    widths = np.ones(len(names))
    for i, record in enumerate(records):
        others = {n: float(d) for k, (n, d) in enumerate(zip(names, default, strict=True)) if k != i}
        along = surface.only(names[i], others)
        search = Profiles1D(along, np.zeros((1, 0)), _DEPTH)
        (one,) = search.surveys
        found, usable = [default[i]], np.isfinite(one.chi2)
        x, y = one.x[usable], one.chi2[usable]
        inner = np.flatnonzero((y[1:-1] <= y[:-2]) & (y[1:-1] <= y[2:])) + 1
        dips = [k for k in [0, *inner, len(x) - 1] if len(x) and y[k] < y.min() + _DEPTH]
        found += [float(x[k]) for k in sorted(dips, key=lambda k: y[k])[:3]]
        near = x[y < y.min() + 9.0] if len(x) else x
        widths[i] = max(float(np.ptp(near)) / 4 if near.size > 1 else 0.0, record.sigma or 0.0, 1e-12)
        if len(x) and widths[i] > 1e6 * (abs(default[i]) + (record.scale or 1.0)):
            widths[i] = record.scale or abs(default[i]) or 1.0
        places.append(list(dict.fromkeys(found)))
    combined = np.array(list(itertools.islice(itertools.product(*places), _STARTS)))
    draws = np.random.default_rng(1).normal(size=(8, len(names)))
    spread = combined[np.arange(8) % len(combined)] + draws * widths
    low, high = (np.array([getattr(r, end) for r in records]) for end in ("lower", "upper"))
    inside = np.clip(np.concatenate([combined, spread]), low, high)
    return inside


def _result(
    surface: Surface,
    lowest: Lowest,
    intervals: dict[str, tuple[Interval, ...]],
    problems: list[str],
    minimiser: Any,
) -> Fit:
    likelihood, names, records = surface.likelihood, surface.names, surface.records
    x, free = lowest.x[0], lowest.free[0]
    there: Evaluation = surface.evaluate(lowest.x, 0)
    covariance = np.full((len(names), len(names)), np.nan)
    moving = np.flatnonzero(free)
    block = lowest.hessian[0][np.ix_(moving, moving)]
    if moving.size and np.all(np.isfinite(block)):
        scale = np.sqrt(np.maximum(np.abs(np.diagonal(block)), 1e-300))
        values = np.linalg.eigvalsh(block / scale[:, None] / scale[None, :])
        if values[0] > 1e-10:
            inverse = np.linalg.inv(block / scale[:, None] / scale[None, :]) / scale[:, None] / scale[None, :]
            covariance[np.ix_(moving, moving)] = 2 * inverse
    edm = float(lowest.edm[0])
    reached = minimum_problems(edm, [names[i] for i in moving], bool(lowest.valid[0]))
    problems = list(dict.fromkeys([*reached, *problems]))
    at_bound = tuple(n for n, r, v in zip(names, records, x, strict=True) if v <= r.lower or v >= r.upper)
    errors: dict[str, tuple[float | None, float | None]] = {}
    for name, found in intervals.items():
        low, high = found[0].main
        value = float(x[names.index(name)])
        errors[name] = (None if low is None else value - low, None if high is None else high - value)
    model = surface.arrangement.model
    pulls = models.sigmas(model, np.asarray(models.pulls(model, jnp.asarray(there.x[:, 0]))))
    chi2_min = float(there.chi2[0])
    significance = None
    if len(names) == 1 and records[0].null is not None:
        null = surface.evaluate(np.array([[records[0].null]]), 0)
        rise = float(null.chi2[0]) - chi2_min
        significance = math.inf if math.isinf(rise) else math.sqrt(max(rise, 0.0)) if null.valid[0] else None
    off = tuple(n for n, r in zip(names, records, strict=True) if r.constrained and n not in surface.constrained)
    notes = [r.note for r in records if r.note]
    notes += [f"{n} is fitted without its constraint, +- {likelihood.parameters[n].sigma:.3g}" for n in off]
    for name, found in intervals.items():
        if found and len(found[-1].segments) > 1:
            notes.append(f"{name}: the accepted set has {len(found[-1].segments)} parts")
    notes += [f"{n} ended on a bound" for n in at_bound]
    named = zip(surface.arrangement.nuisances, pulls, strict=True)
    notes += [f"{n} is pulled by {p:+.1f} sigma" for n, p in named if abs(p) > 5]
    return Fit(
        names,
        {n: r.unit for n, r in zip(names, records, strict=True)},
        dict(zip(names, map(float, x), strict=True)),
        errors,
        covariance,
        chi2_min,
        edm,
        EDM_GOAL,
        not problems,
        tuple(problems),
        at_bound,
        intervals,
        dict(zip(surface.arrangement.nuisances, map(float, pulls), strict=True)),
        dict(zip(surface.inner, map(float, there.profiled[0]), strict=True)),
        dict(surface.at),
        off,
        significance,
        likelihood.names,
        label_of(likelihood.theory),
        minimiser if isinstance(minimiser, str) else type(minimiser).__name__,
        dict(likelihood.data_status()),
        tuple(notes),
    )


def _minimiser(given: Any) -> Callable[[Surface, np.ndarray], np.ndarray] | None:
    """A function from surface and starts to a position; None for our own."""
    if isinstance(given, str) and given == "newton":
        return None
    from jcevns.fit.solvers import solver

    return solver(given)
