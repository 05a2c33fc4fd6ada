"""Limits of one parameter, at given values of others: by Delta chi2, one-sided, CLs, power-constrained."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jcevns.constants import chi2_threshold
from jcevns.export import Exported, Results
from jcevns.fit.interval import Profiles1D, values_of
from jcevns.fit.rounding import accepted_text, percent
from jcevns.fit.segments import Segment
from jcevns.fit.surface import Surface
from jcevns.fit.validity import require_effect, require_valid
from jcevns.likelihood.likelihood import Experiments, Likelihood, as_likelihood, with_data
from jcevns.parameters import Parameter
from jcevns.precision import require_x64
from jcevns.statistics.feldman_cousins import feldman_cousins
from jcevns.statistics.hypothesis import Hypothesis, hypothesis
from jcevns.statistics.upper import BANDS, POWER, Asymptotic, Rule, Upper, asymptotic_limit, require_one_sided
from jcevns.statistics.upper_toys import toy_limit

__all__ = ["Limit", "limits", "where_low"]

_AT_BOUND = 1e-3  # of the limit, within which the best fit has no signal
_WORDS = {"two-sided": "", "cls": " CLs", "pcl": " power-constrained", "feldman-cousins": " Feldman-Cousins"}


@dataclasses.dataclass(frozen=True)
class Limit(Exported):
    """Values of a parameter excluded at one place of others.

    Attributes:
        name: of the parameter.
        at: values of the others.
        excluded: ranges [lower, upper]; None for an end where exclusion holds as far as was searched.
        segments: the accepted ranges.
        threshold: Delta chi2 at their ends.
        chi2_min: the minimum it is counted from.
        best_fit: value of the lowest chi2 at this place.
        problems: why it is not valid, with what to do; see `jcevns.fit.validity`.
        method: `two-sided`, `one-sided`, `cls`, `pcl` or `feldman-cousins`.
        expected: upper limits of data without signal at -2, -1, 0, 1 and 2 sigma, infinite where nothing is excluded
            as far as was searched; empty if they were not asked for.
        error: of the upper end, from the number of toys; None without toys.
        toys: per value tested and hypothesis; none where formulae are asymptotic.
        invalid: toys without a valid fit.
        bare: the limit before a power constraint, of `pcl`; None for other methods.
        unit: of the values.
        cl: confidence level.

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
    method: str = "two-sided"
    expected: tuple[float, ...] = ()
    error: float | None = None
    toys: int = 0
    invalid: int = 0
    bare: float | None = None
    unit: str = ""
    cl: float = 0.90

    @property
    def valid(self) -> bool:
        """Whether every fit that an end or the minimum rests on is, and no other failed that could matter."""
        return not self.problems

    @property
    def upper(self) -> float | None:
        """The largest value accepted; None if there is none as far as was searched."""
        return self.segments[-1][1] if self.segments else None

    @property
    def alone(self) -> float | None:
        """The limit of the data alone, before a power constraint."""
        return self.upper if self.method != "pcl" else self.bare

    @property
    def constrained(self) -> float | None:
        """The power-constrained limit: not below the -1 sigma expected one (arXiv:1105.3166); None if not known.

        Of `pcl` the limit itself. Of others the constraint is by the limits that the same method expects.
        """
        if self.method == "pcl":
            return self.upper
        if self.upper is None or not self.expected:
            return None
        return max(self.upper, self.expected[BANDS.index(-1)])

    @property
    def runs_low(self) -> bool:
        """Whether the data alone exclude more than the -1 sigma expected limit; False if that is not known.

        They have fewer events than the backgrounds make, and such a limit is stronger than the experiment is.
        """
        here, quoted = self.alone, self.constrained
        return here is not None and quoted is not None and here < quoted

    def to_dict(self) -> dict[str, Any]:
        """Its fields, with the upper end and whether it is valid."""
        return super().to_dict() | {"upper": self.upper, "valid": self.valid}

    def rows(self) -> list[dict[str, Any]]:
        """One row, a column for each of the other parameters."""
        (one,) = super().rows()
        del one["at"]
        return [{**self.at, **one}]

    def __str__(self) -> str:
        invalid = "" if self.valid else f", NOT VALID: {'; '.join(self.problems)}"
        where = "".join(f", {name} = {value:.6g}" for name, value in self.at.items())
        how = _WORDS.get(self.method, f" {self.method}")
        return f"{accepted_text(self.name, self.segments, self.unit)} ({percent(self.cl)}{how}{where}{invalid})"

    @property
    def note(self) -> str:
        """One line about data that run low, with what to quote; empty if they do not."""
        if not self.runs_low:
            return ""
        low, middle, high = (f"{self.expected[BANDS.index(k)]:.4g}" for k in (-1, 0, 1))
        how = f"calibrated by {self.toys} toys" if self.toys else "asymptotic: --method pcl --toys calibrates it"
        return (
            f"the data run low: alone they give {self.name} < {self.alone:.4g}, expected without signal {middle} "
            f"({low} to {high}); power-constrained {self.constrained:.4g}, {how}"
        )


def limits(
    likelihood: Likelihood | Experiments,
    name: str,
    over: Mapping[str, Sequence[float] | np.ndarray] | None = None,
    cl: float = 0.90,
    dof: int = 1,
    minimum: str = "each",
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
    method: str = "two-sided",
    expected: bool = False,
    power: float = POWER,
    toys: int | None = None,
    seed: int = 1,
    store: str | Path | None = None,
    progress: Callable[[int], Any] = lambda done: None,
) -> Results[Limit]:
    """Excluded values of a parameter, at every combination of values of others.

    `two-sided` excludes what has Delta chi2 above the threshold, below the best fit too, and gives every range. The
    others are upper limits, by q-tilde (arXiv:1007.1727), of a parameter that is bounded below by its value without
    signal: `one-sided` excludes p < 1 - cl, `cls` CLs < 1 - cl; `pcl` is the one-sided limit, but not below the
    quantile `power` of the limits that are expected without signal (arXiv:1105.3166). `feldman-cousins` gives the
    interval whose thresholds are quantiles of toys (arXiv:physics/9711021): one end or two, as the data decide.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter.
        over: others to their values; the first varies slowest.
        cl: confidence level.
        dof: parameters of interest, for the threshold of `two-sided`.
        minimum: `each` counts from the minimum at each place (a one-dimensional limit), `all` from the lowest
            over all places given (a contour in the plane, as in Fig. 4 of arXiv:2411.11749).
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        method: which limit.
        expected: give the expected limits of `two-sided` too, from asymptotic formulae; other methods have them.
        power: smallest power of `pcl`, 0.16.
        toys: number of toys per value and hypothesis, in place of asymptotic formulae; not for `two-sided`, and
            needed by `feldman-cousins`.
        seed: of the toys.
        store: folder in which toys with signal are kept, most of the work: what was stopped goes on from there.
        progress: called with the number of places done.

    Raises:
        RuntimeError: in single precision; more toys without a valid fit than one in a thousand.
        ValueError: unknown parameter or method, a value beyond its bounds, a bad confidence level, an option that
            the method does not have, a parameter that is not bounded below by its value without signal.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2", "scalar")
        >>> (limit,) = jc.limits(likelihood, "coupling", over={"mass": [10.0]})
        >>> f"g > {limit.excluded[0][0]:.2e} excluded at 90%"
        'g > 8.27e-06 excluded at 90%'
        >>> (limit,) = jc.limits(likelihood, "coupling", over={"mass": [10.0]}, method="cls")
        >>> f"g < {limit.upper:.2e} at 90% CLs, expected {limit.expected[2]:.2e}"
        'g < 8.24e-06 at 90% CLs, expected 8.18e-06'
    """
    require_x64("an exclusion limit")
    if minimum not in ("each", "all"):
        raise ValueError(f"minimum {minimum!r} must be 'each' (place) or 'all'")
    rule = Rule(method, cl, power)
    rule.check()
    _check_options(rule, dof, minimum, expected, toys, store)
    likelihood = with_data(likelihood, "a limit")
    over = dict(over or {})
    axes = [values_of(likelihood.parameters[other], values) for other, values in over.items()]
    combinations = list(itertools.product(*axes))
    places = np.array(combinations, float).reshape(len(combinations), len(axes))
    full = likelihood.parameters.full(tuple(over))

    where = [dict(zip(full, map(float, place), strict=True)) for place in places]
    hypotheses = (hypothesis(likelihood, name, {**(at or {}), **others}, profiled) for others in where)
    two_sided = Results[Limit]()
    if method in ("two-sided", "feldman-cousins"):
        two_sided = _two_sided(likelihood, name, full, places, cl, chi2_threshold(cl, dof), minimum, at, profiled)
    if method == "two-sided":
        if not expected:
            progress(len(places))
            return two_sided
        for i, here in enumerate(hypotheses):
            profiles = Asymptotic(
                here, require_one_sided(here, "an expected limit"), float(np.max(rule.scores()) ** 2)
            )
            ends, problems = profiles.expected(rule.scores())
            problems = *two_sided[i].problems, *problems
            two_sided[i] = dataclasses.replace(two_sided[i], expected=ends, problems=problems)
            progress(1)
        return two_sided
    results = Results[Limit]()
    for i, here in enumerate(hypotheses):
        if method == "feldman-cousins":
            limit = feldman_cousins(here, two_sided[i].segments, cl, toys or 0, seed, store)
        else:
            limit = asymptotic_limit(here, rule) if toys is None else toy_limit(here, rule, toys, seed, store)
        results.append(_as_limit(here, rule, limit, where[i]))
        progress(1)
    return results


def _check_options(
    rule: Rule, dof: int, minimum: str, expected: bool, toys: int | None, store: str | Path | None
) -> None:
    """Refuse what a method does not use."""
    if toys is None and store is not None:
        raise ValueError("store keeps toys: give toys, or leave it")
    if toys is not None and (isinstance(toys, bool) or not isinstance(toys, int | np.integer)):
        raise ValueError(f"toys {toys!r} must be a whole number, or None for asymptotic formulae")
    if rule.method == "two-sided":
        if toys is not None:
            raise ValueError("toys calibrate one-sided, cls, pcl and feldman-cousins, not two-sided")
    elif dof != 1 or minimum != "each":
        raise ValueError(
            f"a {rule.method} limit is of one parameter, from the minimum of each place: leave dof, minimum"
        )
    elif rule.method == "feldman-cousins" and toys is None:
        raise ValueError("a feldman-cousins limit is by toys: give their number, as toys=1000")
    elif expected:
        raise ValueError(f"a {rule.method} limit has its expected ones anyway: leave expected")
    if rule.method != "pcl" and rule.power != POWER:
        raise ValueError(f"power belongs to method='pcl', not to {rule.method!r}")


def _as_limit(here: Hypothesis, rule: Rule, found: Upper, at: Mapping[str, float]) -> Limit:
    """An upper limit as ranges that are accepted and excluded; none if it is not known."""
    known = not math.isnan(found.upper)
    end = float(found.upper) if math.isfinite(found.upper) else None
    segments: tuple[Segment, ...] = found.segments or (((None, end),) if known else ())
    return Limit(
        here.name,
        at,
        outside(segments, here.record) if known else (),
        segments,
        found.q,
        found.chi2_min,
        found.best,
        found.problems,
        rule.method,
        found.expected,
        found.error,
        found.toys,
        found.invalid,
        found.bare if rule.method == "pcl" else None,
        here.unit,
        rule.cl,
    )


def where_low(
    likelihood: Likelihood | Experiments,
    found: Limit,
    cl: float = 0.90,
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
) -> Limit:
    """A two-sided limit with its expected ones if the data run low, else as it is.

    It is asked only where the best fit has no signal: elsewhere the data do not run low.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        found: of `limits`.
        cl: its confidence level.
        at: values of parameters that were fixed.
        profiled: parameters without constraint that were profiled.

    Example:
        >>> import jcevns as jc
        >>> from jcevns.statistics.limits import where_low
        >>> few = jc.Experiment(
        ...     "few",
        ...     jc.experiment("xenonnt-2024-s2").channels,
        ...     observed=[2, 1, 1],
        ...     backgrounds={"accidental": [6.0, 4.0, 3.0]},
        ...     nuisances=[jc.Nuisance("accidental", 0.05, ("accidental",))],
        ... )
        >>> limit = where_low(few, *jc.limits(few, "flux"))
        >>> limit.runs_low, f"{limit.alone:.2e} alone, {limit.constrained:.2e} power-constrained"
        (True, '9.22e+05 alone, 1.69e+06 power-constrained')
    """
    record = (likelihood := as_likelihood(likelihood)).parameters[found.name]
    null, upper = record.null, found.upper
    if found.method != "two-sided" or found.expected or null is None or null != record.lower or upper is None:
        return found
    if found.best_fit - null > _AT_BOUND * (upper - null):
        return found
    (asked,) = limits(
        likelihood,
        found.name,
        {name: [value] for name, value in found.at.items()},
        cl,
        at=at,
        profiled=profiled,
        expected=True,
    )
    return asked if asked.runs_low else found


def _two_sided(
    likelihood: Likelihood,
    name: str,
    others: Sequence[str],
    places: np.ndarray,
    cl: float,
    threshold: float,
    minimum: str,
    at: Mapping[str, float] | None,
    profiled: str | Sequence[str],
) -> Results[Limit]:
    """Delta chi2 above the threshold, all places in step."""
    surface = Surface(likelihood, (name, *others), at, (), profiled)
    surface.prepare()
    search = Profiles1D(surface, places, threshold)
    require_valid(search.surveys, surface.likelihood, surface.names[0])
    require_effect(search.surveys, surface.likelihood, surface.names[0])
    minima = np.array([one.chi2_min for one in search.surveys])
    if minimum == "all":
        minima = np.where(np.isfinite(minima), np.nanmin(minima), np.nan)
    found = search.segments(minima + threshold)
    record = surface.records[0]
    return Results(
        Limit(
            record.name,
            dict(zip(surface.names[1:], map(float, place), strict=True)),
            outside(segments, record) if math.isfinite(low) else (),
            segments,
            threshold,
            float(low),
            one.best,
            problems,
            unit=record.unit,
            cl=cl,
        )
        for (segments, problems), one, low, place in zip(found, search.surveys, minima, places, strict=True)
    )


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
