"""Upper limits by toys: p-values of q-tilde from toys with and without signal, at values that follow the limits.

At each value tested toys are drawn at the nuisances fitted to the data there, those without signal at the nuisances
fitted without. What one value of q-tilde excludes is counted, not assumed; between values the normal score of the
p-value, which is a straight line where formulae are asymptotic, is interpolated.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr, ndtri

from jcevns.fit.validity import require_toys
from jcevns.statistics.hypothesis import Hypothesis
from jcevns.statistics.toy_kernels import Sample
from jcevns.statistics.toy_runs import run_toys
from jcevns.statistics.toys import Toys, draw, fit_curves, fit_observed, fit_toys
from jcevns.statistics.upper import (
    BANDS,
    Rule,
    Upper,
    asymptotic_limit,
    everything_excluded,
    require_enough,
    require_one_sided,
)

__all__ = ["Tested", "ToyTests", "toy_limit"]

_TIE = 1e-6  # of q-tilde, and of one: fits of the same counts differ by less
_CLOSE = 0.02  # of the value, within which a limit was tested
_ROUNDS = 2  # of testing the limits themselves
_STEPS = 12  # of looking for a value that is excluded in all columns
_SMALLEST = 0.02  # of the median expected limit, below which no accepted value is looked for


class Tested(NamedTuple):
    """One value tested, with p-values (CLs for `cls`), their errors from the number of toys.

    Attributes:
        value: of the parameter.
        q: q-tilde of the data, and of toys without signal at the smallest power and at `BANDS`.
        p: fraction of toys with signal that have a q-tilde at least as large, for `cls` over that without.
        error: of `p`.
    """

    value: float
    q: Float[np.ndarray, " column"]
    p: Float[np.ndarray, " column"]
    error: Float[np.ndarray, " column"]


class ToyTests:
    """Tests of values of a parameter by toys, those without signal drawn and fitted once.

    Args:
        here: the likelihood and the parameter.
        rule: which values are excluded.
        toys: number of toys, with signal and without.
        seed: of the toys.
        store: folder in which toys with signal are kept.
    """

    def __init__(self, here: Hypothesis, rule: Rule, toys: int, seed: int, store: str | Path | None = None):
        self.here, self.rule, self.toys, self.seed, self.store = here, rule, toys, seed, store
        self.null = require_one_sided(here, f"a {rule.method} limit")
        data, truth = fit_observed(here, self.null)
        self.best, self.chi2_min = float(data.best[0]), float(data.chi2[0])
        sample = draw(here, self.null, toys, seed, truth=truth)
        found = fit_toys(here, self.null, sample, truth=truth)
        self.invalid = self._lost(~found.valid, self.null)
        self.sample = Sample(*(column[found.valid] for column in sample))
        self.without = found.kept
        self.tested: list[Tested] = []

    def _lost(self, failed: np.ndarray, value: float) -> int:
        count = int(np.sum(failed))
        require_toys(count, failed.size, f"{self.here.name} = {value:.4g}")
        return count

    def test(self, value: float) -> Tested:
        """Draw and fit toys with signal at a value, and compare."""
        data, truth = fit_observed(self.here, value)
        if data.chi2[0] < self.chi2_min:
            self.best, self.chi2_min = float(data.best[0]), float(data.chi2[0])
        thrown = run_toys(self.here, value, self.toys, self.seed, truth, self.store)
        self.invalid += self._lost(~thrown.valid, value)
        signal = np.sort(_one_sided(thrown.kept, thrown.kept.chi2_truth, value))
        there = fit_curves(self.here, [value], self.sample)[0]
        self.invalid += self._lost(np.isnan(there), value)
        without = np.sort(_one_sided(self.without, there, value)[~np.isnan(there)])
        (observed,) = _one_sided(data, data.chi2_truth, value)
        parts = ndtr(-np.array([ndtri(self.rule.power), *BANDS]))
        q = np.append(observed, np.quantile(without, parts, method="inverted_cdf"))
        found = Tested(value, q, *self._p(q, signal, without))
        self.tested = sorted([*self.tested, found], key=lambda one: one.value)
        return found

    def _p(self, q: np.ndarray, signal: np.ndarray, without: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """p-values of sorted toys, and their errors; that of none or all is that of one."""

        def beyond(toys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            with np.errstate(invalid="ignore"):
                least = np.where(np.isinf(q), q, q - _TIE * (1 + q))
            part = 1 - np.searchsorted(toys, least) / toys.size
            bounded = np.clip(part, 1 / toys.size, 1 - 1 / toys.size)
            return part, np.sqrt((1 - bounded) / (bounded * toys.size))

        p, error = beyond(signal)
        size = np.maximum(p, 1 / signal.size)
        if self.rule.method == "cls":
            under, more = beyond(without)
            under = np.maximum(under, 0.5 / without.size)
            p, size, error = np.minimum(p / under, 1.0), size / under, np.hypot(error, more)
        return p, size * error

    # Limits from what was tested.

    @property
    def values(self) -> Float[np.ndarray, " tested"]:
        """Tested, in order."""
        return np.array([one.value for one in self.tested])

    def scores(self) -> Float[np.ndarray, "tested column"]:
        """Normal score of the p-values above that of the confidence level: what is positive is excluded."""
        least = 0.5 / self.toys
        p = np.clip([one.p for one in self.tested], least, 1 - least)
        return ndtri(1 - self.rule.cl) - ndtri(p)

    def limits(self) -> Float[np.ndarray, " column"]:
        """Where each column begins to be excluded; the value without signal, or infinity, if not seen."""
        x, height = self.values, self.scores()
        found = []
        for column in height.T:
            (inside,) = np.nonzero(column <= 0)
            if not inside.size:
                found.append(self.null)
            elif inside[-1] == x.size - 1:
                found.append(math.inf)
            else:
                i = inside[-1]
                found.append(x[i] - column[i] * (x[i + 1] - x[i]) / (column[i + 1] - column[i]))
        return np.array(found)

    def error(self, limit: float) -> float:
        """Of the limit of the data, from the number of toys: that of the p-value over its slope."""
        x, height = self.values, self.scores()[:, 0]
        nearest = int(np.argmin(np.abs(x - limit)))
        near = np.abs(height) <= max(1.0, np.sort(np.abs(height))[min(3, x.size - 1)])
        slope = np.polyfit(x[near], height[near], 1)[0] if np.sum(near) > 1 else 0.0
        density = math.exp(-(ndtri(1 - self.rule.cl) ** 2) / 2) / math.sqrt(2 * math.pi)
        return float(self.tested[nearest].error[0] / density / slope) if slope > 0 else math.inf

    def search(self, start: Float[np.ndarray, " value"]) -> None:
        """Test values until every limit lies between two of them, then the limits themselves.

        Args:
            start: tested first.
        """
        for value in start:
            self.test(float(value))
        middle = float(np.median(start)) - self.null
        for _ in range(_STEPS):
            if not np.any(np.isinf(self.limits())):
                break
            value = self.null + 1.5 * (self.values[-1] - self.null)
            if value > self.here.record.upper:
                break
            self.test(value)
        while np.any(self.limits() == self.null) and self.values[0] - self.null > _SMALLEST * middle:
            self.test(self.null + (self.values[0] - self.null) / 3)
        for _ in range(_ROUNDS):
            found = self.limits()
            for value in np.unique(found[np.isfinite(found) & (found > self.null)]):
                if np.min(np.abs(self.values - value)) > _CLOSE * (value - self.null):
                    self.test(float(value))


def _one_sided(toys: Toys, there: np.ndarray, value: float) -> np.ndarray:
    """q-tilde of a value, from chi2 there and at the best fit."""
    return np.where(toys.best > value, 0.0, np.maximum(there - toys.chi2, 0.0))


def toy_limit(here: Hypothesis, rule: Rule, toys: int, seed: int, store: str | Path | None = None) -> Upper:
    """Upper limit by toys.

    Args:
        here: the likelihood and the parameter.
        rule: which limit, not `two-sided`.
        toys: number of toys per value, with signal and without.
        seed: of the toys.
        store: folder in which toys with signal are kept: a limit that was stopped goes on from there.

    Raises:
        ValueError: too few toys; a parameter that is not bounded below by its value without signal.
        RuntimeError: more toys without a valid fit than one in a thousand.
    """
    require_enough(rule.cl, toys, "a limit")
    guess = asymptotic_limit(here, rule)
    if math.isnan(guess.upper):
        return guess
    tests = ToyTests(here, rule, toys, seed, store)
    start = np.unique([v for v in (guess.upper, *guess.expected) if math.isfinite(v) and v > tests.null])
    if not start.size:
        return guess
    tests.search(start[np.append(True, np.diff(start) > _CLOSE * (start[1:] - tests.null))])
    bare, least, *expected = map(float, tests.limits())
    upper, problems = bare, []
    if rule.method == "pcl":
        upper, expected = max(upper, least), [max(one, least) for one in expected]
    elif upper == tests.null:
        problems.append(everything_excluded(here, rule))
    if math.isinf(upper):
        problems.append(f"the limit on {here.name} is beyond {tests.values[-1]:.4g}, the largest value tested")
    if np.any(np.isinf(expected)):
        problems.append(
            f"an expected limit on {here.name} is beyond {tests.values[-1]:.4g}, the largest value tested"
        )
    known = math.isfinite(upper) and upper > tests.null
    q = float(np.interp(upper, tests.values, [min(one.q[0], 1e30) for one in tests.tested])) if known else math.nan
    error = tests.error(upper) if known else None
    return Upper(
        upper, tuple(expected), q, tests.best, tests.chi2_min, tuple(problems), error, toys, tests.invalid, bare
    )
