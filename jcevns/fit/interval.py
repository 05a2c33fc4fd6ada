"""Confidence intervals of one parameter: every accepted segment, the others profiled or fixed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jcevns.constants import chi2_threshold
from jcevns.fit.curve import EXCLUDED, Survey, crossings, survey
from jcevns.fit.rounding import accepted_text, percent
from jcevns.fit.segments import Accepted, Segment
from jcevns.fit.surface import Surface
from jcevns.fit.validity import profile_problems, require_effect, require_valid
from jcevns.likelihood.likelihood import Experiments, Likelihood, with_data
from jcevns.parameters import Parameter
from jcevns.precision import require_x64

__all__ = ["Interval", "Profiles1D", "interval", "profile_curve", "values_of"]


@dataclasses.dataclass(frozen=True)
class Interval(Accepted):
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

    def to_dict(self) -> dict[str, Any]:
        """Its fields, with `lower` and `upper` of the range that holds the best fit."""
        found = super().to_dict() | {"valid": self.valid}
        order = (
            "name",
            "unit",
            "cl",
            "threshold",
            "best_fit",
            "chi2_min",
            "lower",
            "upper",
            "segments",
            "valid",
            "problems",
        )
        return {key: found[key] for key in order}

    def __contains__(self, value: float) -> bool:
        return any((a is None or a <= value) and (b is None or value <= b) for a, b in self.segments)

    def __str__(self) -> str:
        invalid = "" if self.valid else f", NOT VALID: {'; '.join(self.problems)}"
        return f"{accepted_text(self.name, self.segments, self.unit)} ({percent(self.cl)}{invalid})"


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
    surface = Surface(with_data(likelihood, "an interval"), name, at, constrained, profiled)
    search = Profiles1D(surface, np.zeros((1, 0)), threshold)
    require_effect(search.surveys, surface.likelihood, surface.names[0])
    require_valid(search.surveys, surface.likelihood, surface.names[0])
    (one,) = search.surveys
    ((segments, problems),) = search.segments(np.array([one.chi2_min + threshold]))
    record = surface.records[0]
    return Interval(record.name, record.unit, cl, threshold, segments, one.best, one.chi2_min, problems)


def values_of(record: Parameter, values: Any) -> Float[np.ndarray, " value"]:
    """One or more values of a parameter, checked."""
    found = np.atleast_1d(np.asarray(values, float))
    if found.ndim != 1 or not found.size:
        raise ValueError(f"{record.name}: give at least one value")
    record.check(found)
    return found


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
    surface = Surface(with_data(likelihood, "a profile"), name, at, constrained, profiled)
    points = values_of(surface.records[0], values)
    found = surface.evaluate(points[:, None])
    return np.where(found.valid, found.chi2, np.nan)
