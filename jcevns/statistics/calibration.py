"""Statistics by toys: significance, Feldman-Cousins intervals, coverage, goodness of fit."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import chdtrc, ndtri

from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.export import Results
from jcevns.likelihood.likelihood import Experiments, Likelihood, with_data
from jcevns.statistics.feldman_cousins import Construction
from jcevns.statistics.hypothesis import Hypothesis, hypothesis
from jcevns.statistics.results import Coverage, Discovery, FitQuality, ToyInterval
from jcevns.statistics.toy_runs import run_toys, valid_toys
from jcevns.statistics.toys import CHUNK, Toys, fit_observed
from jcevns.statistics.upper import Rule, require_one_sided

__all__ = [
    "Coverage",
    "Discovery",
    "FitQuality",
    "ToyInterval",
    "coverage",
    "discovery",
    "fit_quality",
    "null_value",
    "toy_interval",
]

_TIE = 1e-6  # fits of the same counts differ by less

_Progress = Callable[[int], Any]


def _binomial(successes: int, trials: int) -> tuple[float, float]:
    """Fraction and its error; the error of none or all is that of one."""
    fraction = successes / trials
    bounded = min(max(successes, 1), trials - 1) / trials if trials > 1 else 0.5
    return fraction, float(np.sqrt(bounded * (1 - bounded) / trials))


def null_value(found: Hypothesis) -> float:
    """Value without signal; ValueError if the parameter has none."""
    if found.record.null is None:
        raise ValueError(
            f"parameter {found.name!r} has no value without signal: a significance needs one, as in "
            "jcevns.parameter(..., null=0.0) where it is declared"
        )
    return found.record.null


def discovery(
    likelihood: Likelihood | Experiments,
    name: str,
    toys: int = 10_000,
    seed: int = 1,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: _Progress = lambda done: None,
) -> Discovery:
    """Significance of a signal, from toys without it.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of a parameter with a value without signal, such as a flux or a coupling.
        toys: number of toys; drawn at the nuisances fitted to the data without signal.
        seed: of the toys.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Raises:
        ValueError: a parameter without such a value.

    Example:
        >>> import jcevns as jc
        >>> found = jc.discovery("xenonnt-2024-s2", "flux", toys=200)
        >>> round(found.asymptotic, 2), round(found.calibrated, 1)  # sigma, without and with toys
        (2.15, 2.2)
    """
    here = hypothesis(with_data(likelihood, "a discovery"), name, at, profiled)
    null = null_value(here)
    data, truth = fit_observed(here, null)
    q0 = float(data.q[0])
    thrown, invalid = valid_toys(run_toys(here, null, toys, seed, truth, store, chunk, progress))
    beyond = int(np.sum(thrown.q >= q0))
    p, error = _binomial(beyond, len(thrown))
    sides = 1 if null in (here.record.lower, here.record.upper) else 2
    calibrated = max(float(-ndtri(p / sides)), 0.0) if beyond else None
    probability = (p, error) if beyond else (None, None)
    if math.isinf(q0) and not beyond:  # known without toys: none of them can be as impossible
        probability, calibrated = (0.0, 0.0), math.inf
    return Discovery(here.name, null, q0, math.sqrt(q0), len(thrown), invalid, beyond, *probability, calibrated)


def coverage(
    likelihood: Likelihood | Experiments,
    name: str,
    values: Sequence[float] | Float[np.ndarray, " value"],
    levels: Sequence[float] = (ONE_SIGMA, 0.90),
    toys: int = 10_000,
    seed: int = 1,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: _Progress = lambda done: None,
    calibrated: bool = False,
    upper: bool = False,
) -> Results[Coverage]:
    """How often the interval Delta chi2 < threshold holds the truth, at nominal nuisances.

    What is calibrated by toys has their quantile as its threshold, as `toy_interval` and limits with toys do. These
    toys are drawn at the nuisances fitted to the data, those that are counted at nominal ones: what is tested is that
    the threshold does not depend on nuisances that nobody knows.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter.
        values: true values.
        levels: confidence levels.
        toys: number of toys per value.
        seed: of the toys.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.
        calibrated: thresholds from as many toys more, in place of asymptotic ones; the error has theirs in it.
        upper: of one-sided upper limits, by q-tilde (`limits` with `one-sided`), in place of intervals.

    Raises:
        ValueError: an upper limit at 50% or less, or of a parameter that is not bounded below by its value without
            signal.

    Example:
        >>> import jcevns as jc
        >>> (row,) = jc.coverage("xenonnt-2024-s2", "flux", [5.46e6], levels=[0.90], toys=1000)
        >>> round(row.coverage, 2), round(row.error, 2)
        (0.88, 0.01)
        >>> (row,) = jc.coverage("xenonnt-2024-s2", "flux", [5.46e6], [0.90], 1000, calibrated=True, upper=True)
        >>> round(row.coverage, 2), round(row.error, 2)
        (0.89, 0.01)
    """
    here = hypothesis(likelihood, name, at, profiled)
    if upper:
        require_one_sided(here, "coverage of an upper limit")
        for cl in levels:
            Rule("one-sided", cl).check()

    def statistic(of: Toys) -> Float[np.ndarray, " toy"]:
        return np.where(of.best > of.truth, 0.0, of.q) if upper else of.q

    rows = Results[Coverage]()
    for value in map(float, values):
        thrown, invalid = valid_toys(run_toys(here, value, toys, seed, None, store, chunk, progress))
        q, known = statistic(thrown), np.zeros(0)
        if calibrated:
            _, truth = fit_observed(here, value)
            more, lost = valid_toys(run_toys(here, value, toys, seed + 1, truth, store, chunk, progress))
            known, invalid = statistic(more), invalid + lost
        for cl in levels:
            threshold = chi2_threshold(2 * cl - 1 if upper else cl)
            if calibrated:
                threshold = float(np.quantile(known, cl))
            fraction, error = _binomial(int(np.sum(q <= threshold * (1 + _TIE) + _TIE)), len(thrown))
            if calibrated:  # the quantile's own error, as coverage
                error = math.hypot(error, math.sqrt(cl * (1 - cl) / known.size))
            censored = int(np.sum(thrown.censored))
            rows.append(Coverage(value, cl, threshold, fraction, error, len(thrown), invalid, censored))
    return rows


def toy_interval(
    likelihood: Likelihood | Experiments,
    name: str,
    values: Sequence[float] | Float[np.ndarray, " value"],
    cl: float = 0.90,
    toys: int = 1000,
    seed: int = 1,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: _Progress = lambda done: None,
) -> ToyInterval:
    """Feldman-Cousins interval by toys: every accepted range, its ends interpolated between the values tested.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter.
        values: increasing, from below the interval to above it; what lies between two of them is not tested.
        cl: confidence level.
        toys: number of toys per value.
        seed: of the toys.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Raises:
        RuntimeError: the best fit lies beyond the values tested, and none of them is accepted.

    Example:
        >>> import jcevns as jc
        >>> found = jc.toy_interval("xenonnt-2024-s2", "flux", [5.46e6, 1e7, 1.5e7], toys=200)
        >>> f"{found.upper:.1e} {found.unit}"
        '1.2e+07 cm^-2 s^-1'
    """
    tested = np.asarray(values, float)
    if tested.ndim != 1 or tested.size < 2 or np.any(np.diff(tested) <= 0):
        raise ValueError("toy_interval: give at least two increasing values")
    here = hypothesis(with_data(likelihood, "an interval"), name, at, profiled)
    here.record.check(tested)
    found = Construction(here, cl, toys, seed, store, chunk, progress)
    for value in tested:
        found.test(float(value))
    segments = found.segments()
    if not segments:
        raise RuntimeError(
            f"no value tested is inside the {cl:.0%} interval of {here.name}: test values around {found.best:.4g}"
        )
    return ToyInterval(
        here.name,
        here.unit,
        cl,
        segments,
        found.best,
        tuple(map(float, tested)),
        tuple(one.q for one in found.tested),
        tuple(one.critical for one in found.tested),
        chi2_threshold(cl),
        toys,
        found.invalid,
        tuple(one.censored for one in found.tested),
    )


def fit_quality(
    likelihood: Likelihood | Experiments,
    name: str,
    toys: int = 10_000,
    seed: int = 1,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: _Progress = lambda done: None,
) -> FitQuality:
    """p-value of the saturated deviance, from toys at the best fit, nuisances included.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter that is fitted, besides the nuisances.
        toys: number of toys.
        seed: of the toys.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Example:
        >>> import jcevns as jc
        >>> found = jc.fit_quality("xenonnt-2024-s2", "flux", toys=200)
        >>> round(found.deviance, 2), round(found.p_value, 2)
        (3.85, 0.19)
    """
    here = hypothesis(with_data(likelihood, "a goodness of fit"), name, at, profiled)
    data, _ = fit_observed(here, here.record.default)
    best = float(data.best[0])
    _, truth = fit_observed(here, best)
    thrown, invalid = valid_toys(run_toys(here, best, toys, seed, truth, store, chunk, progress))
    deviance = float(data.chi2[0])
    p, error = _binomial(int(np.sum(thrown.chi2 >= deviance)), len(thrown))
    naive = float(chdtrc(max(here.model.observed.size - 1, 1), deviance))
    return FitQuality(deviance, p, error, len(thrown), invalid, naive)
