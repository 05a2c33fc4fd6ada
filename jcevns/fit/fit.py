"""Best fit of any parameters: global minimum, covariance, asymmetric errors, and what may be wrong with them."""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jcevns.constants import chi2_threshold
from jcevns.fit.interval import Interval, Profiles1D
from jcevns.fit.minimise import Lowest, distance, held, newton
from jcevns.fit.result import LEVELS, Fit, fit_result
from jcevns.fit.surface import Surface
from jcevns.fit.validity import EDM_GOAL, require_effect, require_valid
from jcevns.likelihood.likelihood import Experiments, Likelihood, with_data
from jcevns.precision import require_x64

__all__ = ["MINIMISERS", "fit"]

MINIMISERS = ("newton", "lbfgs", "adam", "bfgs", "gradient-descent")
"""Minimisers by name: ours, two of optax, two of optimistix."""

_STARTS = 24  # of a fit of several parameters
_DEPTH = 30.0  # Delta chi2 within which the minima along each axis are starts


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
    return fit_result(surface, lowest, intervals, problems, minimiser)


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
    return fit_result(surface, lowest, {surface.names[0]: intervals} if errors else {}, problems, minimiser)


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


def _minimiser(given: Any) -> Callable[[Surface, np.ndarray], np.ndarray] | None:
    """A function from surface and starts to a position; None for our own."""
    if isinstance(given, str) and given == "newton":
        return None
    from jcevns.fit.solvers import solver

    return solver(given)
