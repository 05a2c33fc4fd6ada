"""Confidence intervals and limits of one parameter: every accepted segment, the others profiled or fixed."""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jcevns.constants import chi2_threshold
from jcevns.fit.curve import EXCLUDED, Segment, Survey, crossings, survey
from jcevns.fit.rounding import percent, segments_text, unit_scale
from jcevns.fit.surface import Surface
from jcevns.fit.validity import profile_problems, require_effect, require_valid
from jcevns.likelihood.likelihood import Experiments, Likelihood, as_likelihood
from jcevns.parameters import Parameter
from jcevns.precision import require_x64

__all__ = ["Interval", "Limit", "Profiles1D", "interval", "limits", "profile_curve"]


_NODES = 60  # of a profile, about


@dataclasses.dataclass(frozen=True)
class Interval:
    """Where Delta chi2 of one parameter stays below a threshold.

    Attributes:
        name: of the parameter.
        unit: of its values.
        cl: confidence level.
        threshold: Delta chi2 for one parameter.
        segments: all accepted ranges in order, more than one if the profile has several dips; an end that is open,
            a bound reached below the threshold or nothing found, is None.
        best_fit: value of the lowest chi2.
        chi2_min: the lowest chi2.
        problems: why it is not valid, with what to do; see `jcevns.fit.validity`.

    Example:
        >>> import jcevns as jc
        >>> sin2w = jc.interval("xenonnt-2024-s2", "sin2w", cl=0.90)
        >>> round(sin2w.threshold, 4), round(sin2w.lower, 3), round(sin2w.upper, 3)
        (2.7055, 0.054, 0.396)
    """

    name: str
    unit: str
    cl: float
    threshold: float
    segments: tuple[Segment, ...]
    best_fit: float
    chi2_min: float
    problems: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the global minimum and every end rest on valid fits."""
        return not self.problems

    @property
    def main(self) -> Segment:
        """The segment that holds the best fit."""
        for low, high in self.segments:
            if (low is None or low <= self.best_fit) and (high is None or self.best_fit <= high):
                return low, high
        return None, None

    @property
    def lower(self) -> float | None:
        """Lower end of the segment with the best fit."""
        return self.main[0]

    @property
    def upper(self) -> float | None:
        """Upper end of the segment with the best fit."""
        return self.main[1]

    def __contains__(self, value: float) -> bool:
        return any((a is None or a <= value) and (b is None or value <= b) for a, b in self.segments)

    def __str__(self) -> str:
        scale, unit = unit_scale(self.unit)
        text = segments_text(self.segments, scale)
        invalid = "" if self.valid else f", NOT VALID: {'; '.join(self.problems)}"
        return f"{self.name}: {text}{unit} ({percent(self.cl)}{invalid})"


@dataclasses.dataclass(frozen=True)
class Limit:
    """Values of a parameter excluded at one place of others.

    Attributes:
        name: of the parameter.
        at: values of the others.
        excluded: ranges [lower, upper]; None for an end where exclusion holds as far as was searched.
        segments: the accepted ranges.
        threshold: Delta chi2.
        chi2_min: the minimum it is counted from.
        best_fit: value of the lowest chi2 at this place.
        problems: why it is not valid, with what to do; see `jcevns.fit.validity`.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2", "vector")
        >>> (limit,) = jc.limits(likelihood, "coupling", over={"mass": [10.0]})
        >>> [f"{end:.2e}" for end in limit.excluded[0]]  # an island; excluded[1] is open above
        ['1.09e-05', '3.13e-05']
    """

    name: str
    at: Mapping[str, float]
    excluded: tuple[Segment, ...]
    segments: tuple[Segment, ...]
    threshold: float
    chi2_min: float
    best_fit: float
    problems: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether every fit that an end or the minimum rests on is, and no other failed that could matter."""
        return not self.problems


class Profiles1D:
    """Profiles along one parameter at several places of others, searched in step.

    Args:
        surface: chi2, its first parameter the one that is searched.
        places: values of the other parameters of the surface, one row per profile.
        depth: Delta chi2 up to which the profiles matter.
    """

    def __init__(self, surface: Surface, places: Float[np.ndarray, "row other"], depth: float):
        self.surface, self.places, self.depth = surface, places, depth
        self.record = surface.records[0]
        rows = len(places)
        one = np.ones(rows)
        record = self.record
        self.surveys: list[Survey] = survey(
            self.curve,
            lambda index, x: surface.signals(self._points(index, x)),
            surface.data[None],
            rows,
            record.lower * one,
            record.upper * one,
            record.default * one,
            (record.scale or abs(record.default) or 1.0) * one,
            depth,
        )

    def _points(self, index: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.concatenate([x[:, None], self.places[index]], axis=1)

    def curve(self, index: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """chi2, slope and validity; what is impossible is known."""
        points = self._points(index, x)
        found = self.surface.evaluate(points, 1, along=self.surface.names[:1])
        never = ~found.valid
        if np.any(never):
            never &= self.surface.impossible(points)
        chi2 = np.where(never, EXCLUDED, found.chi2)
        return chi2, np.where(never, np.nan, found.gradient[:, 0]), found.valid | never

    def segments(
        self, levels: Float[np.ndarray, " row"], lowest: float | None = None
    ) -> list[tuple[tuple[Segment, ...], tuple[str, ...]]]:
        """Accepted ranges below a chi2 for each row, and their problems; `lowest` is that of `profile_problems`."""
        found = crossings(self.curve, self.surveys, levels)
        return [
            (segments, tuple(profile_problems(self.record.name, one, level, segments, good, lowest)))
            for (segments, good), one, level in zip(found, self.surveys, levels, strict=True)
        ]


def interval(
    likelihood: Likelihood | Experiments,
    name: str,
    cl: float = 0.90,
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
    constrained: str | Sequence[str] = (),
) -> Interval:
    """Where Delta chi2 of one parameter stays below its threshold: what is outside is excluded.

    The whole range of the parameter is searched, infinite bounds included; see `jcevns.fit.curve`.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter; its own constraint is off unless it is named in `constrained`.
        cl: confidence level.
        at: values of parameters that are fixed; the others that have no constraint are fixed at their defaults.
        profiled: parameters without constraint that are profiled.
        constrained: the parameter itself, to keep its constraint.

    Raises:
        RuntimeError: in single precision, or no valid fit at all.
        ValueError: unknown parameter, a confidence level outside (0, 1), chi2 that does not depend on it.

    Example:
        >>> import jcevns as jc
        >>> print(jc.interval("xenonnt-2024-s2", "sin2w", cl=0.683))
        sin2w: [0.142, 0.338] (68%)
    """
    require_x64("a confidence interval")
    threshold = chi2_threshold(cl)
    surface = Surface(likelihood, name, at, constrained, profiled)
    search = Profiles1D(surface, np.zeros((1, 0)), threshold)
    require_effect(search.surveys, surface.likelihood, surface.names[0])
    require_valid(search.surveys, surface.likelihood, surface.names[0])
    (one,) = search.surveys
    ((segments, problems),) = search.segments(np.array([one.chi2_min + threshold]))
    record = surface.records[0]
    return Interval(record.name, record.unit, cl, threshold, segments, one.best, one.chi2_min, problems)


def limits(
    likelihood: Likelihood | Experiments,
    name: str,
    over: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    cl: float = 0.90,
    dof: int = 1,
    minimum: str = "each",
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
) -> list[Limit]:
    """Excluded values of a parameter, at every combination of values of others.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter.
        over: others to their values; the first varies slowest.
        cl: confidence level.
        dof: parameters of interest, for the threshold.
        minimum: `each` counts from the minimum at each place (a one-dimensional limit), `all` from the lowest
            over all places given (a contour in the plane, as in Fig. 4 of arXiv:2411.11749).
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.

    Raises:
        RuntimeError: in single precision.
        ValueError: unknown parameter, a value beyond its bounds, a bad confidence level.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2", "scalar")
        >>> (limit,) = jc.limits(likelihood, "coupling", over={"mass": [10.0]})
        >>> f"g > {limit.excluded[0][0]:.2e} excluded at 90%"
        'g > 8.27e-06 excluded at 90%'
    """
    require_x64("an exclusion limit")
    if minimum not in ("each", "all"):
        raise ValueError(f"minimum {minimum!r} must be 'each' (place) or 'all'")
    threshold = chi2_threshold(cl, dof)
    likelihood = as_likelihood(likelihood)
    over = dict(over or {})
    axes = [_values(likelihood.parameters[other], values) for other, values in over.items()]
    surface = Surface(likelihood, (name, *over), at, (), profiled)
    combinations = list(itertools.product(*axes))
    surface.prepare(_NODES * len(combinations))
    places = np.array(combinations, float).reshape(len(combinations), len(axes))
    search = Profiles1D(surface, places, threshold)
    require_valid(search.surveys, surface.likelihood, surface.names[0])
    require_effect(search.surveys, surface.likelihood, surface.names[0])
    minima = np.array([one.chi2_min for one in search.surveys])
    if minimum == "all":
        minima = np.where(np.isfinite(minima), np.nanmin(minima), np.nan)
    found = search.segments(minima + threshold)
    record = surface.records[0]
    return [
        Limit(
            record.name,
            dict(zip(surface.names[1:], map(float, place), strict=True)),
            outside(segments, record) if math.isfinite(low) else (),
            segments,
            threshold,
            float(low),
            one.best,
            problems,
        )
        for (segments, problems), one, low, place in zip(found, search.surveys, minima, places, strict=True)
    ]


def _values(record: Parameter, values: Any) -> np.ndarray:
    found = np.atleast_1d(np.asarray(values, float))
    if found.ndim != 1 or not found.size:
        raise ValueError(f"{record.name}: give at least one value")
    record.check(found)
    return found


def outside(segments: Sequence[Segment], record: Parameter) -> tuple[Segment, ...]:
    """What is not accepted, within the bounds of the parameter; None where it goes on as far as was searched."""
    excluded: list[Segment] = []
    begin: float | None = record.lower if math.isfinite(record.lower) else None
    closed = False  # whether all below `begin` is dealt with
    for low, high in segments:
        if low is not None:
            excluded.append((begin, low))
        if high is None:
            closed = True
            break
        begin = high
    if not closed:
        end = record.upper if math.isfinite(record.upper) else None
        excluded.append((begin, end))
    return tuple(excluded)


def profile_curve(
    likelihood: Likelihood | Experiments,
    name: str,
    values: float | Sequence[float] | np.ndarray,
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
    constrained: str | Sequence[str] = (),
) -> Float[np.ndarray, " point"]:
    """Profiled chi2 along a parameter, for figures; NaN where the fit is not valid.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter.
        values: where, shape (point,).
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        constrained: the parameter itself, to keep its constraint.

    Example:
        >>> import jcevns as jc
        >>> chi2 = jc.profile_curve("xenonnt-2024-s2", "flux", [0.0, 5.46e6, 1e7])
        >>> [round(x, 2) for x in chi2.tolist()]
        [8.47, 3.86, 5.61]
    """
    surface = Surface(likelihood, name, at, constrained, profiled)
    points = _values(surface.records[0], values)
    found = surface.evaluate(points[:, None])
    return np.where(found.valid, found.chi2, np.nan)
