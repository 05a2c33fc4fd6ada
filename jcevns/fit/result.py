"""A fit as a result: its class, and how it is made from a minimum."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import chdtrc

from jcevns.constants import ONE_SIGMA
from jcevns.export import Exported, cell, plain
from jcevns.fit.covariance import CovarianceMatrix, correlation_of, inverse, joint_minimum
from jcevns.fit.interval import Interval
from jcevns.fit.minimise import Lowest
from jcevns.fit.printing import as_html, as_text, with_unit
from jcevns.fit.rounding import percent, segments_text, unit_scale
from jcevns.fit.surface import Evaluation, Surface
from jcevns.fit.validity import EDM_GOAL, minimum_problems
from jcevns.parameters import Parameter
from jcevns.physics.interaction import label_of

__all__ = ["LEVELS", "Fit", "Goodness", "fit_result"]

LEVELS = (ONE_SIGMA, 0.90)
"""Levels of the intervals that a fit comes with."""

_LOW, _FEW = 5.0, 0.2  # Cochran, Biometrics 10 (1954) 417: expected counts, and the part of bins that may have fewer
_AT_BOUND = 1e-2  # of the error of a parameter
_PULLED = 5.0  # standard deviations, from which a pull is said
_POOR = 1e-3  # p-value, below which a fit is said not to describe the data


@dataclasses.dataclass(frozen=True)
class Goodness(Exported):
    """Goodness of a fit by chi2 against the saturated model, constraints included.

    Attributes:
        chi2: at the minimum.
        bins: number of bins.
        degrees: bins less parameters without a constraint; a constraint counts as a bin and its parameter against it.
        p_value: of a chi2 distribution (Wilks); None without a degree of freedom.
        low: bins in which fewer than 5 counts are expected.
        trusted: whether the counts are high enough for `p_value`, by the rule of Cochran: no bin expects fewer than
            one, and at most a fifth fewer than 5. `jcevns.fit_quality` has it from toys.
    """

    chi2: float
    bins: int
    degrees: int
    p_value: float | None
    low: int
    trusted: bool

    def __str__(self) -> str:
        head = f"chi2 {self.chi2:.2f} of {self.bins} bins"
        if self.p_value is None:
            return f"{head}, no degree of freedom"
        text = f"{head}, {self.degrees} degrees of freedom: p = {self.p_value:.2g} (asymptotic"
        if self.trusted:
            return f"{text})"
        return f"{text}, NOT to be trusted: {self.low} bins expect fewer than 5 counts; jcevns.fit_quality has toys)"


@dataclasses.dataclass(frozen=True)
class Fit(Exported):
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
        pulls: of everything that keeps its constraint, in sigmas: nuisances, and parameters of the theory and fluxes.
        pull_errors: their standard deviations after the fit, from the covariance: 1 where the data say nothing; NaN
            where a bound or a kink holds the parameter.
        full_covariance: of everything that moves, nuisances too.
        goodness: chi2 against the number of bins.
        profiled: parameters of the theory, and others without constraint, that were profiled, at the minimum.
        fixed: values of what was fixed by the call.
        constraints_off: fitted parameters that have a constraint, which was not used.
        significance: sqrt(Delta chi2) of the value without signal, for a single parameter that has one.
        p_value: of no signal, by that number of sigma: one-sided where the value without signal is a bound of the
            parameter (eq. 52 of arXiv:1007.1727), else two-sided.
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
    pull_errors: dict[str, float]
    full_covariance: CovarianceMatrix
    goodness: Goodness
    profiled: dict[str, float]
    fixed: dict[str, float]
    constraints_off: tuple[str, ...]
    significance: float | None
    p_value: float | None
    experiments: tuple[str, ...]
    theory: str
    minimiser: str
    data_status: dict[str, dict]
    notes: tuple[str, ...]

    @property
    def correlation(self) -> Float[np.ndarray, "parameter parameter"]:
        """Correlation matrix."""
        return correlation_of(self.covariance)

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
        return plain(
            {
                "parameters": self.names,
                "units": self.units,
                "experiments": self.experiments,
                "theory": self.theory,
                "minimiser": self.minimiser,
                "best_fit": self.values,
                "errors": self.errors,
                "hesse": self.hesse,
                "covariance": self.covariance,
                "correlation": self.correlation,
                "segments_68": {n: i[0].segments for n, i in self.intervals.items()},
                "segments_90": {n: i[1].segments for n, i in self.intervals.items()},
                "chi2_min": self.chi2_min,
                "goodness": self.goodness,
                "edm": self.edm,
                "edm_goal": self.edm_goal,
                "valid": self.valid,
                "problems": self.problems,
                "at_bound": self.at_bound,
                "pulls": self.pulls,
                "pull_errors": self.pull_errors,
                "full_covariance": self.full_covariance,
                "profiled": self.profiled,
                "fixed": self.fixed,
                "constraints_off": self.constraints_off,
                "significance": self.significance,
                "p_value": self.p_value,
                "data_status": self.data_status,
                "notes": self.notes,
            }
        )

    def rows(self) -> list[dict[str, Any]]:
        """One row for each parameter: fitted, profiled, fixed, nuisances with their pulls."""

        def row(kind: str, name: str, value: float | None, **more: Any) -> dict[str, Any]:
            return {
                "kind": kind,
                "parameter": name,
                "unit": self.full_covariance.units.get(name, ""),
                "value": value,
            } | more

        found, errors = [], self.full_covariance.errors
        for name in self.names:
            down, up = self.errors.get(name, (None, None))
            more: dict[str, Any] = {"error_down": down, "error_up": up, "hesse": self.hesse[name]}
            for level, one in zip(("68", "90"), self.intervals.get(name, ()), strict=False):
                more[f"segments_{level}"] = one.segments
            found.append(row("fitted", name, self.values[name], **more))
        for name in dict.fromkeys([*self.profiled, *self.pulls]):
            if name not in self.names:
                found.append(row("profiled", name, self.full_covariance.values[name], hesse=errors[name]))
        for one in found:
            if one["parameter"] in self.pulls:
                one |= {"pull": self.pulls[one["parameter"]], "pull_error": self.pull_errors[one["parameter"]]}
        found += [row("fixed", name, value) for name, value in self.fixed.items()]
        return [{key: cell(value) for key, value in one.items()} for one in found]


def goodness(chi2: float, expected: np.ndarray, loose: int) -> Goodness:
    """chi2 against the number of bins.

    Args:
        chi2: at the minimum, against the saturated model.
        expected: counts in each bin there.
        loose: parameters that moved without a constraint.
    """
    bins = int(expected.size)
    degrees = bins - loose
    p = float(chdtrc(degrees, chi2)) if degrees > 0 and math.isfinite(chi2) else None
    low = int(np.sum(expected < _LOW))
    return Goodness(chi2, bins, degrees, p, low, p is not None and low <= _FEW * bins and bool(np.all(expected >= 1)))


def fit_result(
    surface: Surface,
    lowest: Lowest,
    intervals: dict[str, tuple[Interval, ...]],
    problems: list[str],
    minimiser: Any,
) -> Fit:
    """What is known at a minimum.

    Args:
        surface: what was minimised.
        lowest: the minimum, one problem.
        intervals: of each parameter, in the order of `LEVELS`; empty if they were not asked for.
        problems: found so far.
        minimiser: its name, or the solver.
    """
    likelihood, names, records = surface.likelihood, surface.names, surface.records
    x, free = lowest.x[0], lowest.free[0]
    there: Evaluation = surface.evaluate(lowest.x, 0)
    edm, chi2_min = float(lowest.edm[0]), float(there.chi2[0])
    reached = minimum_problems(edm, [n for n, f in zip(names, free, strict=True) if f], bool(lowest.valid[0]))
    problems = list(dict.fromkeys([*reached, *problems]))
    errors: dict[str, tuple[float | None, float | None]] = {}
    for name, found in intervals.items():
        low, high = found[0].main
        value = float(x[names.index(name)])
        errors[name] = (None if low is None else value - low, None if high is None else high - value)
    minimum = joint_minimum(surface, x, there)
    significance = None
    if len(names) == 1 and records[0].null is not None:
        null = surface.evaluate(np.array([[records[0].null]]), 0)
        rise = float(null.chi2[0]) - chi2_min
        significance = math.inf if math.isinf(rise) else math.sqrt(max(rise, 0.0)) if null.valid[0] else None
    p_value = None
    if significance is not None:
        one_sided = records[0].null in (records[0].lower, records[0].upper)
        p_value = math.erfc(significance / math.sqrt(2)) / (2 if one_sided else 1)
    loose = [
        n for n in (*(n for n, f in zip(names, free, strict=True) if f), *minimum.loose) if n not in minimum.pulls
    ]
    quality = goodness(chi2_min, minimum.expected, len(loose))
    off = tuple(n for n, r in zip(names, records, strict=True) if r.constrained and n not in surface.constrained)
    every = minimum.covariance.values
    widths = minimum.covariance.errors
    at_bound = tuple(n for n, v in every.items() if _at_bound(likelihood.parameters[n], v, widths[n]))
    notes = [r.note for r in records if r.note]
    notes += [f"{n} is fitted without its constraint, +- {likelihood.parameters[n].sigma:.3g}" for n in off]
    for name, found in intervals.items():
        notes += _segment_notes(likelihood.parameters[name], found)
    notes += [f"{n} ended on a bound" for n in at_bound]
    notes += [f"{n} is pulled by {p:+.1f} sigma" for n, p in minimum.pulls.items() if abs(p) > _PULLED]
    if quality.p_value is not None and quality.p_value < _POOR:
        notes.append(f"the model does not describe the data: {quality}")
    return Fit(
        names=names,
        units={n: r.unit for n, r in zip(names, records, strict=True)},
        values=dict(zip(names, map(float, x), strict=True)),
        errors=errors,
        covariance=inverse(lowest.hessian[0], free),
        chi2_min=chi2_min,
        edm=edm,
        edm_goal=EDM_GOAL,
        valid=not problems,
        problems=tuple(problems),
        at_bound=at_bound,
        intervals=intervals,
        pulls=minimum.pulls,
        pull_errors=minimum.pull_errors,
        full_covariance=minimum.covariance,
        goodness=quality,
        profiled=minimum.loose,
        fixed=dict(surface.at),
        constraints_off=off,
        significance=significance,
        p_value=p_value,
        experiments=likelihood.names,
        theory=label_of(likelihood.theory),
        minimiser=minimiser if isinstance(minimiser, str) else type(minimiser).__name__,
        data_status=dict(likelihood.data_status()),
        notes=tuple(notes),
    )


def _at_bound(record: Parameter, value: float, error: float) -> bool:
    size = _AT_BOUND * error if math.isfinite(error) else 0.0
    return value <= record.lower + size or value >= record.upper - size


def _segment_notes(record: Parameter, found: Sequence[Interval]) -> list[str]:
    """That the accepted set has several parts, and what the part with the best fit does not hold but another does."""
    for one in reversed(found):
        if len(one.segments) < 2:
            continue
        scale, unit = unit_scale(record.unit)
        notes = [
            f"{record.name}: the accepted set has {len(one.segments)} parts at {percent(one.cl)}, "
            f"{segments_text(one.segments, scale)}{unit}; the errors are those of the part with the best fit"
        ]
        low, high = one.main
        special = {"the default value": record.default}
        if record.null is not None:
            if record.null == record.default:  # of a new interaction: nothing beyond the Standard Model
                special = {}
            special["the value without signal"] = record.null
        for what, value in special.items():
            if value in one and not ((low is None or low <= value) and (high is None or value <= high)):
                notes.append(
                    f"another part at {percent(one.cl)} holds {what}, {record.name} = {value / scale:.6g}{unit}"
                )
        return notes
    return []
