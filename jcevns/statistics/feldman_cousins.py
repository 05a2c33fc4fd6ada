"""Feldman-Cousins intervals by toys: a Neyman construction with likelihood-ratio ordering (arXiv:physics/9711021).

At each value tested toys are drawn at the nuisances fitted to the data there, and the quantile of their Delta chi2 is
the critical value. Both are smooth, toys only make the second noisy: the ends lie where the difference, interpolated
between the values tested, is zero.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from jcevns.constants import chi2_threshold
from jcevns.fit.curve import Segment
from jcevns.fit.roots import find_roots
from jcevns.fit.validity import require_toys
from jcevns.statistics.hypothesis import Hypothesis
from jcevns.statistics.toy_runs import run_toys, valid_toys
from jcevns.statistics.toys import CHUNK, draw, fit_curves, fit_observed, fit_toys, observed
from jcevns.statistics.upper import BANDS, Asymptotic, Rule, Upper, require_enough

__all__ = ["Construction", "Ordered", "feldman_cousins"]

_STRAIGHT = 10.0  # Delta chi2 above the critical value, up to which it is interpolated
_HIGH = 1e30  # stands for infinity where differences are taken
_BESIDE = (0.25, 0.5)  # of the asymptotic interval, tested beyond its ends
_INSIDE = 5  # values tested from end to end of it
_BEYOND = 1.3  # of the largest asymptotic expected limit, tested too
_CLOSE = 0.02  # of the interval, within which an end was tested
_ROUNDS = 2  # of testing the ends themselves
_HALVINGS = 6  # of the distance to a value that is far outside
_STEPS = 12  # of going on where the last value tested is accepted


class Ordered(NamedTuple):
    """One value tested.

    Attributes:
        value: of the parameter.
        q: Delta chi2 of the data.
        critical: quantile of the toys' Delta chi2.
        error: of the critical value, from the number of toys.
        censored: toys whose best fit is a bound of the parameter, or the end of what was searched.
    """

    value: float
    q: float
    critical: float
    error: float
    censored: int


class Construction:
    """Values of a parameter tested by toys, and what is accepted.

    Args:
        here: the likelihood and the parameter.
        cl: confidence level.
        toys: number of toys per value.
        seed: of the toys.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.
    """

    def __init__(
        self,
        here: Hypothesis,
        cl: float,
        toys: int,
        seed: int,
        store: str | Path | None = None,
        chunk: int = CHUNK,
        progress: Callable[[int], Any] = lambda done: None,
    ):
        chi2_threshold(cl)
        self.here, self.cl, self.toys, self.seed = here, cl, toys, seed
        self.store, self.chunk, self.progress = store, chunk, progress
        self.best, self.lowest, self.invalid = math.nan, math.inf, 0
        self._chi2: dict[float, float] = {}
        self._toys: dict[float, tuple[float, float, int]] = {}

    def test(self, value: float) -> None:
        """Draw and fit toys at a value.

        Args:
            value: of the parameter.

        Raises:
            RuntimeError: more toys without a valid fit than one in a thousand.
        """
        data, truth = fit_observed(self.here, value)
        if data.chi2[0] < self.lowest:
            self.best, self.lowest = float(data.best[0]), float(data.chi2[0])
        run = run_toys(self.here, value, self.toys, self.seed, truth, self.store, self.chunk, self.progress)
        thrown, lost = valid_toys(run)
        self.invalid += lost
        width = math.sqrt(self.cl * (1 - self.cl) / len(thrown))
        parts = np.clip([self.cl - width, self.cl, self.cl + width], 0.0, 1.0)
        below, critical, above = map(float, np.quantile(thrown.q, parts))
        self._chi2[value] = float(data.chi2_truth[0])
        self._toys[value] = (critical, (above - below) / 2, int(np.sum(thrown.censored)))

    @property
    def tested(self) -> list[Ordered]:
        """All values tested, in order."""
        return [
            Ordered(value, max(self._chi2[value] - self.lowest, 0.0), *self._toys[value])
            for value in sorted(self._toys)
        ]

    def segments(self) -> tuple[Segment, ...]:
        """Ranges in which Delta chi2 is below its critical value; None for an end beyond what was tested."""
        x, q, critical = (np.array([one[i] for one in self.tested]) for i in range(3))
        height = q - critical
        found = self._ranges(x, height)
        held = any((a is None or a <= self.best) and (b is None or self.best <= b) for a, b in found)
        if held or not x[0] < self.best < x[-1]:
            return found
        # The best fit is inside by definition, though what was tested beside it is not.
        place = int(np.searchsorted(x, self.best))
        height = np.insert(height, place, -np.interp(self.best, x, critical))
        return self._ranges(np.insert(x, place, self.best), height)

    def _excess(self, x: np.ndarray) -> np.ndarray:
        """Delta chi2 of the data less the critical value, which is interpolated."""
        chi2 = fit_curves(self.here, x, observed(self.here))[:, 0]
        return np.minimum(chi2 - self.lowest, _HIGH) - self.critical(x)

    def critical(self, x: Float[np.ndarray, " value"]) -> Float[np.ndarray, " value"]:
        """Critical values, interpolated between those tested."""
        return np.interp(x, [one.value for one in self.tested], [one.critical for one in self.tested])

    def _ranges(self, x: np.ndarray, height: np.ndarray) -> tuple[Segment, ...]:
        inside = height <= 0

        def crossing(i: int) -> float:
            ends = np.minimum(height[i : i + 2], _HIGH)
            if np.max(ends) <= _STRAIGHT:
                return float(x[i] - ends[0] * (x[i + 1] - x[i]) / (ends[1] - ends[0]))
            return float(find_roots(self._excess, x[i : i + 1], x[i + 1 : i + 2], ends[:1], ends[1:], 1e-8)[0])

        segments: list[Segment] = []
        start: float | None = None
        for i, accepted in enumerate(inside):
            if accepted and i and not inside[i - 1]:
                start = crossing(i - 1)
            if accepted and (i == inside.size - 1 or not inside[i + 1]):
                segments.append((start, None if i == inside.size - 1 else crossing(i)))
        return tuple(segments)

    def search(self, ranges: tuple[Segment, ...], more: Sequence[float] = ()) -> None:
        """Test values until the ends lie between two of them, then the ends themselves.

        Args:
            ranges: where to begin: the asymptotic interval.
            more: values that are tested anyway.
        """
        record = self.here.record
        data, _ = fit_observed(self.here, record.default)
        self.best, self.lowest = float(data.best[0]), float(data.chi2[0])
        ends = [end for pair in ranges for end in pair if end is not None]
        low, high = min([*ends, self.best]), max([*ends, self.best])
        low = record.lower if ranges[0][0] is None and math.isfinite(record.lower) else low
        width = (high - low) or record.scale or abs(record.default) or 1.0
        start = [*np.linspace(low, high, _INSIDE), *ends, *more]
        start += [self._beside(end, step * width) for end in ends for part in _BESIDE for step in (-part, part)]
        start += [(a[1] + b[0]) / 2 for a, b in itertools.pairwise(ranges) if a[1] and b[0]]
        for value in np.unique(np.clip(start, record.lower, record.upper)):
            self.test(float(value))
        for _ in range(_STEPS):
            found, tested = self.segments(), self.tested
            beyond = []
            if found and found[-1][1] is None:
                beyond.append(min(tested[-1].value + width, record.upper))
            if found and found[0][0] is None:
                beyond.append(max(tested[0].value - width, record.lower))
            beyond = [value for value in beyond if value not in self._toys]
            if not beyond:
                break
            for value in beyond:
                self.test(value)
            width *= 1.5
        for _ in range(_ROUNDS):
            for end in [end for pair in self.segments() for end in pair if end is not None]:
                if min(abs(end - one.value) for one in self.tested) > _CLOSE * width:
                    self.test(end)

    def _beside(self, end: float, step: float) -> float:
        """A value beside an end of the asymptotic interval, not so far that nobody asks whether it is excluded."""
        level = self.lowest + chi2_threshold(self.cl) + _STRAIGHT
        low, high = self.here.record.lower, self.here.record.upper
        values = np.clip(end + step * 0.5 ** np.arange(_HALVINGS), low, high)
        near = fit_curves(self.here, values, observed(self.here))[:, 0] <= level
        return float(values[np.argmax(near)] if np.any(near) else values[-1])

    def error(self, end: float) -> float:
        """Of an end, from the number of toys: that of the critical value over the slope of the difference.

        Args:
            end: between two values tested.
        """
        x = np.array([one.value for one in self.tested])
        height = np.array([min(one.q, _HIGH) - one.critical for one in self.tested])
        i = int(np.clip(np.searchsorted(x, end), 1, x.size - 1))
        slope = abs(height[i] - height[i - 1]) / (x[i] - x[i - 1])
        error = np.interp(end, x, [one.error for one in self.tested])
        return float(error / slope) if slope > 0 else math.inf

    def expected(self, null: float) -> tuple[float, ...]:
        """Upper ends of data without signal, at `BANDS`: of toys, with the critical values of the data.

        Between values tested the root of Delta chi2, signed by the side of the best fit, is interpolated.

        Args:
            null: value without signal, one of those tested.
        """
        _, truth = fit_observed(self.here, null)
        sample = draw(self.here, null, self.toys, self.seed, truth=truth)
        thrown = fit_toys(self.here, null, sample, self.chunk, truth)
        x = np.array([one.value for one in self.tested])
        limit = np.sqrt([one.critical for one in self.tested])[:, None]
        chi2 = fit_curves(self.here, x, sample, self.chunk)
        failed = ~thrown.valid | np.any(np.isnan(chi2), axis=0)
        require_toys(int(np.sum(failed)), self.toys, f"{self.here.name} = {null:.4g}")
        self.invalid += int(np.sum(failed))
        chi2, best, least = chi2[:, ~failed], thrown.best[~failed], thrown.chi2[~failed]
        least = np.minimum(least, np.min(chi2, axis=0))
        root = np.sqrt(np.clip(chi2 - least, 0.0, _HIGH))
        height = np.where(x[:, None] < best, -root, root) - limit
        accepted = (np.abs(height + limit) <= limit) | (x[:, None] <= best)
        last = x.size - 1 - np.argmax(accepted[::-1], axis=0)
        toy, closed = np.arange(best.size), last < x.size - 1
        i = np.where(closed, last, x.size - 2)
        low, high = height[i, toy], height[i + 1, toy]
        with np.errstate(divide="ignore", invalid="ignore"):
            ends = np.where(closed, x[i] + np.clip(-low / (high - low), 0.0, 1.0) * (x[i + 1] - x[i]), math.inf)
        return tuple(map(float, np.quantile(ends, ndtr(np.array(BANDS, float)), method="inverted_cdf")))


def feldman_cousins(
    here: Hypothesis,
    guess: tuple[Segment, ...],
    cl: float,
    toys: int,
    seed: int,
    store: str | Path | None = None,
) -> Upper:
    """Feldman-Cousins interval at values that follow its ends; where it is expected to end without signal.

    The expected ends are given for a parameter that is bounded below by its value without signal.

    Args:
        here: the likelihood and the parameter.
        guess: ranges accepted by asymptotic formulae.
        cl: confidence level.
        toys: number of toys per value.
        seed: of the toys.
        store: folder in which toys are kept: an interval that was stopped goes on from there.

    Raises:
        ValueError: too few toys.
        RuntimeError: more toys without a valid fit than one in a thousand.
    """
    require_enough(cl, toys, "a Feldman-Cousins interval")
    found = Construction(here, cl, toys, seed, store)
    record = here.record
    bounded = record.null is not None and record.null == record.lower
    more: list[float] = []
    if bounded:
        scores = Rule("two-sided", cl).scores()
        profiles = Asymptotic(here, record.lower, float(np.max(scores) ** 2))
        ends, problems = profiles.expected(scores)
        bounded = profiles.several not in problems
        known = [end - record.lower for end in ends if math.isfinite(end)]
        more = [record.lower, *(record.lower + part for part in known)]
        more += [record.lower + min(_BEYOND * max(known), record.upper - record.lower)] if known else []
    found.search(guess, more if bounded else ())
    segments = found.segments()
    expected = found.expected(record.lower) if bounded else ()
    problems: list[str] = []
    if not segments:
        problems.append(f"no value of {here.name} that was tested is accepted: give it closer bounds")
    last = segments[-1][1] if segments else None
    if segments and last is None and found.tested[-1].value < record.upper:
        problems.append(f"the interval of {here.name} goes on beyond {found.tested[-1].value:.4g}: give it bounds")
    return Upper(
        last if last is not None else math.inf if segments else math.nan,
        expected,
        float(found.critical(np.array([last]))[0]) if last is not None else math.nan,
        found.best,
        found.lowest,
        tuple(problems),
        found.error(last) if last is not None else None,
        toys,
        found.invalid,
        segments=segments,
    )
