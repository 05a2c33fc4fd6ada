"""Upper limits by the test statistic q-tilde: one-sided, CLs and power-constrained, from asymptotic formulae.

q-tilde of a value (eq. 16 of arXiv:1007.1727) is Delta chi2 from the best fit within the bounds, and zero where the
best fit lies above the value. It is defined for a parameter that is bounded below by its value without signal. Asimov
data are those without signal at the nuisances fitted to the data there, auxiliary measurements included.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import log_ndtr, ndtr, ndtri

from jcevns.constants import chi2_threshold
from jcevns.fit.curve import Segment, crossings
from jcevns.fit.roots import find_roots
from jcevns.fit.validity import profile_problems
from jcevns.statistics.hypothesis import Hypothesis
from jcevns.statistics.toy_kernels import Sample
from jcevns.statistics.toy_profiles import ToyProfiles
from jcevns.statistics.toys import expected_sample, fit_observed, observed

__all__ = [
    "BANDS",
    "METHODS",
    "POWER",
    "Asymptotic",
    "Rule",
    "Upper",
    "asymptotic_limit",
    "everything_excluded",
    "require_enough",
    "require_one_sided",
]

METHODS = ("two-sided", "one-sided", "cls", "pcl", "feldman-cousins")
"""Kinds of limits."""

BANDS = (-2, -1, 0, 1, 2)
"""Of expected limits, in standard deviations of data without signal."""

POWER = float(ndtr(-1.0))
"""Smallest power of a power-constrained limit, 16%: the quantile of minus one sigma (arXiv:1105.3166)."""

_ONE_SIDED = ("one-sided", "cls", "pcl")
_EVENTS = 10  # toys beyond the limit that a p-value must rest on
_AT_ONCE = 32  # fits of the general minimiser: one profile asks for few
_NEAR = 1e-6  # q-tilde of Asimov data: what is excluded there is excluded down to the value without signal
_DIGITS = 2e-13  # of the counts: well above what chi2 is rounded to
_HIGHEST = 1e6  # q-tilde, and its root, above which nothing changes


class Rule(NamedTuple):
    """Which values are excluded.

    Attributes:
        method: one of `METHODS`.
        cl: confidence level; a value is excluded where its p-value, or CLs, is below 1 - cl.
        power: smallest power of `pcl`.
    """

    method: str
    cl: float
    power: float = POWER

    def check(self) -> None:
        """Raise ValueError for an unknown method, or a number out of range."""
        if self.method not in METHODS:
            raise ValueError(f"method {self.method!r}: choose {', '.join(METHODS)}")
        chi2_threshold(self.cl)
        if self.method in _ONE_SIDED and self.cl <= 0.5:
            raise ValueError(f"confidence level {self.cl!r}: a {self.method} limit needs more than 0.5")
        if not 0.0 < self.power < 1.0:
            raise ValueError(f"power {self.power!r} is outside (0, 1): give 0.16 for the quantile at -1 sigma")

    def scores(self, bands: Sequence[float] = BANDS) -> Float[np.ndarray, " band"]:
        """Root of q-tilde of Asimov data at the expected limits, eqs. 88-89 of arXiv:1007.1727; not below zero.

        Of `two-sided` that of a best fit that is held at the bound, as in t-tilde.
        """
        sigma = np.asarray(bands, float)
        if self.method == "two-sided":
            threshold = chi2_threshold(self.cl)
            return sigma + np.sqrt(np.where(sigma < 0, sigma**2, 0.0) + threshold)
        part = ndtr(sigma) if self.method == "cls" else 1.0
        found = sigma - ndtri((1 - self.cl) * part)
        if self.method == "pcl":
            found = np.maximum(found, self.least)
        return np.maximum(found, 0.0)

    @property
    def least(self) -> float:
        """The same at the smallest limit that `pcl` quotes; zero for other methods."""
        return 0.0 if self.method != "pcl" else max(float(ndtri(self.power) - ndtri(1 - self.cl)), 0.0)

    def log_p(self, q: Float[np.ndarray, "..."], asimov: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        """Logarithm of the p-value of q-tilde, or of CLs, by eqs. 64-66 of arXiv:1007.1727.

        Args:
            q: q-tilde of the data.
            asimov: that of Asimov data without signal.
        """
        root = np.sqrt(np.minimum(asimov, _HIGHEST**2))
        data = np.sqrt(np.minimum(q, _HIGHEST**2))
        score = np.where(data <= root, data, (data**2 + root**2) / (2 * np.maximum(root, 1e-150)))
        score = np.minimum(score, _HIGHEST)
        found = log_ndtr(-score)
        return found - log_ndtr(root - score) if self.method == "cls" else found


@dataclasses.dataclass(frozen=True)
class Upper:
    """An upper limit.

    Attributes:
        upper: the limit; infinite if nothing is excluded as far as was searched.
        expected: of data without signal, at `BANDS`; infinite likewise.
        q: q-tilde of the data at the limit.
        best: value of the lowest chi2.
        chi2_min: there.
        problems: why it is not valid, with what to do.
        error: of the limit, from the number of toys; None without toys.
        toys: per value tested and hypothesis; none without toys.
        invalid: toys without a valid fit, of all values.
        bare: the limit before a power constraint; `upper` itself where there is none.
        segments: accepted ranges, where they are not all values up to the limit.
    """

    upper: float
    expected: tuple[float, ...]
    q: float
    best: float
    chi2_min: float
    problems: tuple[str, ...] = ()
    error: float | None = None
    toys: int = 0
    invalid: int = 0
    bare: float = math.nan
    segments: tuple[Segment, ...] = ()


def require_one_sided(here: Hypothesis, what: str) -> float:
    """Value without signal; ValueError if the parameter is not bounded below by it.

    Args:
        here: the likelihood and the parameter.
        what: is asked for, as `a cls limit`.
    """
    record = here.record
    remedy = "quote method='two-sided', or declare the parameter with lower=0.0 and null=0.0"
    if record.null is None:
        raise ValueError(f"{what} needs a value without signal, {here.name!r} has none: {remedy}")
    if record.null != record.lower:
        raise ValueError(
            f"{what} needs a parameter that is bounded below by its value without signal; {here.name!r} starts at "
            f"{record.lower:g}, and has no signal at {record.null:g}: {remedy}"
        )
    return float(record.null)


def require_enough(cl: float, toys: int, what: str) -> None:
    """Raise ValueError if too few toys lie beyond a limit.

    Args:
        cl: confidence level.
        toys: number of them.
        what: is asked for, as `a limit`.
    """
    enough = math.ceil(_EVENTS / (1 - cl) * (1 - 1e-9))
    if toys < enough:
        raise ValueError(f"{toys} toys are too few for {what} at {cl:.6g}: ask for {enough} or more")


class Asymptotic:
    """Profiles of the data and of Asimov data without signal, and what follows from them for any rule.

    Args:
        here: the likelihood and the parameter.
        null: value of the parameter without signal.
        depth: Delta chi2 up to which the profiles matter.
    """

    def __init__(self, here: Hypothesis, null: float, depth: float):
        self.here, self.null = here, null
        _, self.truth = fit_observed(here, null)
        data, without = observed(here), expected_sample(here, null, self.truth)
        both = Sample(*(np.concatenate(pair) for pair in zip(data, without, strict=True)))
        self.toys = ToyProfiles(here, both, _AT_ONCE, depth)
        self.data, self.asimov = self.toys.surveys(without.observed[0], null)

    def q(self, values: Float[np.ndarray, " value"]) -> tuple[np.ndarray, np.ndarray]:
        """q-tilde of the data and of Asimov data; NaN where a fit is not valid.

        Args:
            values: of the parameter.
        """
        index = np.repeat([0, 1], values.size)
        found, _ = self.toys.at(index, np.tile(values, 2))
        chi2 = np.where(found.valid, np.minimum(found.chi2, _HIGHEST**2), np.nan).reshape(2, -1)
        lowest = np.array([[self.data.chi2_min], [self.asimov.chi2_min]])
        data, asimov = np.maximum(chi2 - lowest, 0.0)
        return np.where(values < self.data.best, 0.0, data), asimov

    def p_values(
        self, rule: Rule, values: Float[np.ndarray, " value"]
    ) -> tuple[Float[np.ndarray, " value"], Float[np.ndarray, "value band"]]:
        """p-value of each value, CLs for `cls`: observed, and expected without signal at `BANDS`.

        Args:
            rule: which; the power of `pcl` does not matter.
            values: of the parameter.
        """
        q, asimov = self.q(values)
        root = np.sqrt(asimov)[:, None] - np.array(BANDS, float)
        expected = log_ndtr(-root)
        if rule.method == "cls":
            expected = expected - log_ndtr(np.array(BANDS, float))
        return np.exp(rule.log_p(q, asimov)), np.exp(expected)

    def expected(self, scores: Float[np.ndarray, " limit"]) -> tuple[tuple[float, ...], list[str]]:
        """Limits where the root of q-tilde of Asimov data has given values, and their problems.

        They are infinite where nothing is excluded as far as was searched.
        """
        levels = self.asimov.chi2_min + scores**2
        one = [self.asimov] * scores.size

        def curve(index: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            found, _ = self.toys.at(np.ones(x.size, int), x)
            return np.minimum(found.chi2, _HIGHEST**2), found.gradient[:, 0], found.valid

        found = crossings(curve, one, levels)
        limits, problems = [], []
        for (segments, good), level, score in zip(found, levels, scores, strict=True):
            if score == 0.0:
                limits.append(self.null)
                continue
            end = segments[-1][1] if segments else None
            limits.append(math.inf if end is None else float(end))
            problems += profile_problems(self.here.name, self.asimov, float(level), segments, good)
            if len(segments) > 1:
                problems.append(self.several)
            if end is None:
                problems.append(
                    f"an expected limit on {self.here.name} is beyond what was searched: give wider bounds"
                )
        return tuple(limits), problems

    @property
    def several(self) -> str:
        """The problem of values that are accepted in several ranges."""
        return (
            f"{self.here.name} is accepted in several ranges, q-tilde is not defined there: quote "
            "method='two-sided', which gives all of them, or bound the parameter to one"
        )

    def observed(self, rule: Rule) -> tuple[float, float, list[str]]:
        """The limit, before a power constraint, q-tilde there, and problems."""
        alpha = math.log1p(-rule.cl)
        start = max(self.data.best, self.null)
        nodes = np.unique(np.concatenate([self.data.x, self.asimov.x, [start]]))
        nodes = nodes[nodes >= start]

        def excess(x: np.ndarray) -> np.ndarray:
            return rule.log_p(*self.q(x)) - alpha

        q, asimov = self.q(nodes)
        height = rule.log_p(q, asimov) - alpha
        # At the value without signal q-tilde is zero, beside it it is not: the limit towards it decides.
        near = max(_NEAR, _DIGITS * float(np.sum(self.toys.sample.observed[1])))
        usable = np.isfinite(height) & (asimov > near)
        nodes, height = nodes[usable], height[usable]
        if not nodes.size:
            return math.inf, math.nan, [f"no fit along {self.here.name} is valid: check counts and backgrounds"]
        inside = height > 0
        if not np.any(inside):
            return self.null, math.nan, [everything_excluded(self.here, rule)]
        cells = np.flatnonzero(inside[:-1] != inside[1:])
        if not cells.size:
            return math.inf, math.nan, [self._beyond]
        if cells.size > 1 or not inside[0]:
            return math.nan, math.nan, [self.several]
        (cell,) = cells
        low, high = slice(cell, cell + 1), slice(cell + 1, cell + 2)
        upper = find_roots(excess, nodes[low], nodes[high], height[low], height[high])
        q, _ = self.q(upper)
        level = self.data.chi2_min + float(q[0])
        segments = ((None, float(upper[0])),)
        good = bool(np.isfinite(q[0]))
        return float(upper[0]), float(q[0]), profile_problems(self.here.name, self.data, level, segments, good)

    @property
    def _beyond(self) -> str:
        return f"the limit on {self.here.name} is beyond what was searched: give it wider bounds"


def everything_excluded(here: Hypothesis, rule: Rule) -> str:
    """The problem of a limit at the value without signal."""
    return (
        f"every value of {here.name} is excluded at {rule.cl:.6g}: the data lie far below what is expected without "
        "signal; quote method='cls' or 'pcl'"
    )


def asymptotic_limit(here: Hypothesis, rule: Rule) -> Upper:
    """Upper limit by asymptotic formulae.

    Args:
        here: the likelihood and the parameter.
        rule: which limit, not `two-sided`.

    Raises:
        ValueError: a parameter that is not bounded below by its value without signal.
        RuntimeError: no valid fit without signal.
    """
    null = require_one_sided(here, f"a {rule.method} limit")
    profiles = Asymptotic(here, null, float(np.max(rule.scores()) ** 2))
    (least, *expected), problems = profiles.expected(np.append(rule.least, rule.scores()))
    upper, q, more = profiles.observed(rule)
    bare = upper
    if rule.method == "pcl" and upper < least < math.inf:
        upper, more = least, []
        q = float(profiles.q(np.array([upper]))[0][0])
    problems = tuple(dict.fromkeys([*more, *problems]))
    if profiles.several in problems:
        upper, q, expected = math.nan, math.nan, ()
    return Upper(upper, tuple(expected), q, profiles.data.best, profiles.data.chi2_min, problems, bare=bare)
