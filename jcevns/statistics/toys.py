"""Toy experiments: simulated counts and auxiliary measurements, and their fits, vectorised over toys."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float

from jcevns.fit.curve import EXCLUDED, Survey, crossings
from jcevns.fit.segments import Segment
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import Experiments, Likelihood
from jcevns.likelihood.poisson import negative
from jcevns.precision import check_seed, require_x64
from jcevns.statistics.hypothesis import Hypothesis, Truth, hypothesis
from jcevns.statistics.toy_kernels import Sample
from jcevns.statistics.toy_profiles import ToyProfiles

__all__ = [
    "BLOCK",
    "CHUNK",
    "ToySegments",
    "Toys",
    "draw",
    "expected_sample",
    "fit_curves",
    "fit_observed",
    "fit_segments",
    "fit_toys",
    "observed",
    "simulate",
]

BLOCK = 1000
"""Toys drawn from one random stream, and kept in one file; independent of how many are fitted at a time."""

CHUNK = 256
"""Toys fitted at a time."""

_DEPTH = 4.0  # Delta chi2 up to which a profile is searched for its minimum


@dataclasses.dataclass(frozen=True)
class Toys:
    """Fits of toy experiments, one entry per toy.

    Attributes:
        truth: value of the parameter that the toys were drawn at.
        best: best-fit value.
        chi2: at the best fit; minus twice the log-likelihood ratio to the saturated model.
        chi2_truth: at the true value, everything else fitted; infinite if a toy has events where none are expected.
        valid: both fits are.
        censored: the best fit is a bound of the parameter, or the end of what was searched.

    Example:
        >>> import jcevns as jc
        >>> toys = jc.throw("xenonnt-2024-s2", "flux", value=5.46e6, count=50, seed=1)
        >>> len(toys), bool(toys.valid.all()), round(float(toys.q.mean()), 2)
        (50, True, 1.46)
    """

    truth: float
    best: Float[np.ndarray, " toy"]
    chi2: Float[np.ndarray, " toy"]
    chi2_truth: Float[np.ndarray, " toy"]
    valid: Bool[np.ndarray, " toy"]
    censored: Bool[np.ndarray, " toy"]

    @property
    def q(self) -> Float[np.ndarray, " toy"]:
        """Delta chi2 of the true value."""
        return np.maximum(self.chi2_truth - self.chi2, 0.0)

    @property
    def kept(self) -> "Toys":
        """Valid toys alone."""
        columns = (self.best, self.chi2, self.chi2_truth, self.valid, self.censored)
        return Toys(self.truth, *(column[self.valid] for column in columns))

    def __len__(self) -> int:
        """Number of toys."""
        return self.best.size


@dataclasses.dataclass(frozen=True)
class ToySegments:
    """Accepted ranges of toys, one entry per toy.

    Attributes:
        best: best-fit value.
        chi2: there.
        segments: where Delta chi2 stays below the threshold; None for an end that is open.
        valid: the minimum and all ends rest on valid fits.
    """

    best: Float[np.ndarray, " toy"]
    chi2: Float[np.ndarray, " toy"]
    segments: tuple[tuple[Segment, ...], ...]
    valid: Bool[np.ndarray, " toy"]

    @property
    def upper(self) -> Float[np.ndarray, " toy"]:
        """Largest accepted value; infinite if none is known."""
        return np.array([(s[-1][1] if s and s[-1][1] is not None else np.inf) for s in self.segments])

    def of_best(self, side: int) -> Float[np.ndarray, " toy"]:
        """Lower (0) or upper (1) end of the range with the best fit; NaN if it is open."""
        found = np.full(len(self.best), np.nan)
        for i, (best, segments) in enumerate(zip(self.best, self.segments, strict=True)):
            for ends in segments:
                if (ends[0] is None or ends[0] <= best) and (ends[1] is None or best <= ends[1]):
                    found[i] = np.nan if ends[side] is None else ends[side]
        return found


# Draws.


def draw(
    hypothesis: Hypothesis, value: float, count: int, seed: int, first: int = 0, truth: Truth | None = None
) -> Sample:
    """Toys `first` to `first + count`; a toy's numbers depend on the seed and on its index alone.

    Args:
        hypothesis: the likelihood and the parameter.
        value: true value of the parameter.
        count: number of toys.
        seed: of the random streams.
        first: index of the first toy.
        truth: everything else; nominal if absent.
    """
    if count < 1 or first < 0:
        raise ValueError(f"{count} toys from number {first} on: ask for one or more, from 0 up")
    check_seed(seed)
    hypothesis.record.check(value)
    truth = hypothesis.nominal if truth is None else truth
    width = np.asarray(hypothesis.model.sigma)
    sigma = np.where(np.isfinite(width), width, 0.0)
    point = np.array([[value, *truth.inner]], float)
    expected = hypothesis.expected(point, truth.pulls)[0]
    if not np.all(np.isfinite(expected) & ~negative(expected)):
        raise ValueError(f"{hypothesis.name} = {value:.4g}: no counts can be drawn around {expected.min():.4g}")
    expected = np.maximum(expected, 0.0)
    own = list(hypothesis.auxiliary)
    widths = np.array([hypothesis.records[i].sigma for i in own], float)
    observed, centre, auxiliary = [], [], []
    for block in range(first // BLOCK, -(-(first + count) // BLOCK)):
        stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, block])))
        rows = slice(max(first - block * BLOCK, 0), min(first + count - block * BLOCK, BLOCK))
        observed.append(stream.poisson(expected, (BLOCK, expected.size))[rows])
        centre.append((truth.pulls + sigma * stream.standard_normal((BLOCK, sigma.size)))[rows])
        auxiliary.append((point[0, own] + widths * stream.standard_normal((BLOCK, len(own))))[rows])
    return Sample(np.concatenate(observed).astype(float), np.concatenate(centre), np.concatenate(auxiliary))


def simulate(
    likelihood: Likelihood | Experiments,
    name: str,
    value: float,
    count: int,
    seed: int,
    first: int = 0,
    at: Mapping[str, Any] | None = None,
    nuisances: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
) -> tuple[Float[np.ndarray, "toy bin"], dict[str, Float[np.ndarray, " toy"]]]:
    """Counts and auxiliary measurements of toys `first` to `first + count`.

    Auxiliary measurements are Gaussian around the true nuisances. A toy's numbers depend on the seed and on its
    index alone.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter of interest, which has no auxiliary measurement.
        value: its true value.
        count: number of toys.
        seed: of the random streams.
        first: index of the first toy.
        at: values of parameters that are fixed.
        nuisances: true values of nuisances by name; the others nominal.
        profiled: parameters without constraint that are profiled.

    Returns:
        Counts, and measured values of the nuisances by name.

    Example:
        >>> import jcevns as jc
        >>> counts, measured = jc.simulate("xenonnt-2024-s2", "flux", value=5.46e6, count=1000, seed=1)
        >>> counts.shape, [round(n, 1) for n in counts.mean(axis=0).tolist()]  # events per bin
        ((1000, 3), [11.8, 13.7, 11.9])
    """
    found = hypothesis(likelihood, name, at, profiled)
    sample = draw(found, value, count, seed, first, found.truth(nuisances))
    records = [found.likelihood.parameters[n] for n in found.nuisances]
    measured = {
        r.name: column if r.kind == "shape" else r.default * (1 + column)
        for r, column, sigma in zip(records, sample.centre.T, np.asarray(found.model.sigma), strict=True)
        if np.isfinite(sigma) and r.name not in found.surface.at
    }
    own = [found.records[i].name for i in found.auxiliary]
    return sample.observed, measured | dict(zip(own, sample.auxiliary.T, strict=True))


def observed(hypothesis: Hypothesis) -> Sample:
    """The data as a sample of one toy."""
    defaults = [hypothesis.records[i].default for i in hypothesis.auxiliary]
    counts = np.asarray(hypothesis.model.observed, float)
    return Sample(counts[None], np.asarray(hypothesis.model.centre, float)[None], np.array([defaults]))


def expected_sample(hypothesis: Hypothesis, value: float, truth: Truth) -> Sample:
    """Asimov data as a sample of one toy: counts and auxiliary measurements equal to their expectation.

    Args:
        hypothesis: the likelihood and the parameter.
        value: true value of the parameter.
        truth: everything else.
    """
    counts = hypothesis.expected(np.array([[value, *truth.inner]], float), truth.pulls)
    point = np.array([[value, *truth.inner]], float)
    return Sample(np.maximum(counts, 0.0), truth.pulls[None], point[:, list(hypothesis.auxiliary)])


# Fits.


def _in_chunks(
    hypothesis: Hypothesis,
    sample: Sample,
    chunk: int,
    call: Callable[[ToyProfiles], Sequence[Any]],
    depth: float = _DEPTH,
) -> list[np.ndarray]:
    """Apply to chunks of toys, on all cores; the first alone, so that it is compiled once."""

    def part(first: int) -> Sequence[Any]:
        rows = slice(first, first + chunk)
        return call(ToyProfiles(hypothesis, Sample(*(column[rows] for column in sample)), chunk, depth))

    starts = range(0, len(sample.observed), chunk)
    done = [part(0)]
    if len(starts) > 1:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            done += pool.map(part, starts[1:])
    return [np.concatenate(column) for column in zip(*done, strict=True)]


def _usable(one: Survey, level: float) -> bool:
    return bool(one.chi2_min < EXCLUDED and one.harmless(level))


def fit_toys(
    hypothesis: Hypothesis, value: float, sample: Sample, chunk: int = CHUNK, truth: Truth | None = None
) -> Toys:
    """Two fits of every toy: the parameter free, and held at its true value.

    Args:
        hypothesis: the likelihood and the parameter.
        value: true value.
        sample: counts and auxiliary measurements.
        chunk: toys fitted at a time.
        truth: everything else that the toys were drawn at; says how large counts are.
    """
    return _fit(hypothesis, value, sample, chunk, truth)[0]


def _fit(
    hypothesis: Hypothesis, value: float, sample: Sample, chunk: int, truth: Truth | None = None
) -> tuple[Toys, np.ndarray, np.ndarray]:
    """Toys, with nuisances and profiled parameters fitted at the true value."""
    require_x64("a fit of toys")
    record = hypothesis.record
    record.check(value)
    if truth is None:
        expected = np.mean(sample.observed, axis=0)
    else:
        expected = hypothesis.expected(np.array([[value, *truth.inner]]), truth.pulls)[0]

    def fits(toys: ToyProfiles) -> list[np.ndarray]:
        there, points = toys.at(np.arange(toys.size), np.full(toys.size, float(value)))
        if hypothesis.strength is not None:
            best, chi2, valid = toys.free()
            near = 1e-12 * hypothesis.strength.scale  # the fit comes to a bound exactly, but for a digit
            ends = np.array([(record.lower + near, record.upper - near)])
        else:
            found = toys.surveys(expected, float(value))
            best, chi2 = (np.array([getattr(one, n) for one in found]) for n in ("best", "chi2_min"))
            valid = np.array([_usable(one, one.chi2_min + _DEPTH) for one in found])
            ends = np.array([(one.x[0], one.x[-1]) for one in found])
        # The true value is a point of the profile like any other.
        lower = there.valid & (there.chi2 < chi2)
        best, chi2 = np.where(lower, value, best), np.where(lower, there.chi2, chi2)
        censored = (best <= ends[:, 0]) | (best >= ends[:, 1])
        return [best, chi2, there.chi2, valid & there.valid & np.isfinite(chi2), censored, there.x, points]

    *columns, x, points = _in_chunks(hypothesis, sample, chunk, fits)
    return Toys(float(value), *columns), x, points


def fit_observed(hypothesis: Hypothesis, value: float) -> tuple[Toys, Truth]:
    """The data fitted as a toy is, and everything else fitted at a given value.

    Nuisances are nominal where the data are impossible: events where none are expected.
    """
    toys, x, points = _fit(hypothesis, value, observed(hypothesis), CHUNK)
    if not toys.valid[0]:
        raise RuntimeError(f"the fit of the data at {hypothesis.name} = {value:.4g} is not valid")
    if not np.isfinite(toys.chi2_truth[0]):
        return toys, hypothesis.nominal
    pulls = np.array(models.pulls(hypothesis.model, jax.numpy.asarray(x[0])))
    if hypothesis.place is not None:
        pulls[hypothesis.place] = 0.0  # the value says where it is
    return toys, Truth(pulls, points[0, 1:])


def fit_curves(
    hypothesis: Hypothesis, values: Sequence[float] | Float[np.ndarray, " value"], sample: Sample, chunk: int = CHUNK
) -> Float[np.ndarray, "value toy"]:
    """Profiled chi2 of toys along the parameter, NaN where a fit is not valid.

    Args:
        hypothesis: the likelihood and the parameter.
        values: where.
        sample: counts and auxiliary measurements.
        chunk: toys fitted at a time.
    """
    require_x64("a fit of toys")
    at = np.asarray(values, float)
    hypothesis.record.check(at)

    def curves(toys: ToyProfiles) -> list[np.ndarray]:
        index, x = np.repeat(np.arange(toys.size), at.size), np.tile(at, toys.size)
        found, _ = toys.at(index, x)
        return [np.where(found.valid, found.chi2, np.nan).reshape(toys.size, at.size)]

    return _in_chunks(hypothesis, sample, chunk, curves)[0].T


def fit_segments(
    hypothesis: Hypothesis, around: float, sample: Sample, threshold: float, chunk: int = CHUNK
) -> ToySegments:
    """Where Delta chi2 of every toy stays below a threshold.

    Args:
        hypothesis: the likelihood and the parameter.
        around: a value near which most minima are, as the one that the toys were drawn at.
        sample: counts and auxiliary measurements.
        threshold: Delta chi2 of the ends.
        chunk: toys fitted at a time.
    """
    require_x64("an interval")
    expected = np.mean(sample.observed, axis=0)

    def segments(toys: ToyProfiles) -> list[np.ndarray]:
        surveys = toys.surveys(expected, around)
        levels = np.array([one.chi2_min for one in surveys]) + threshold
        found = crossings(toys.curve, surveys, levels)
        ranges = np.empty(toys.size, object)
        ranges[:] = [segments for segments, _ in found]
        valid = [good and _usable(one, level) for (_, good), one, level in zip(found, surveys, levels, strict=True)]
        columns = (np.array([getattr(one, n) for one in surveys]) for n in ("best", "chi2_min"))
        return [*columns, ranges, np.array(valid)]

    best, chi2, ranges, valid = _in_chunks(hypothesis, sample, chunk, segments, max(threshold, _DEPTH))
    return ToySegments(best, chi2, tuple(ranges), valid)
