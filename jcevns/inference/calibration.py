"""Statistics by toys: significance, Feldman-Cousins intervals, coverage, goodness of fit."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import chdtrc, ndtri

from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.inference.hypothesis import Hypothesis
from jcevns.inference.toy_runs import throw
from jcevns.inference.toys import CHUNK, Toys, fit_observed

__all__ = [
    "Coverage",
    "Discovery",
    "FitQuality",
    "ToyInterval",
    "as_json",
    "coverage",
    "discovery",
    "fit_quality",
    "toy_interval",
]

_Progress = Callable[[int], None]


@dataclasses.dataclass(frozen=True)
class Discovery:
    """Significance of a signal.

    Attributes:
        q0: Delta chi2 of no signal in the data.
        asymptotic: sqrt(q0), in sigma.
        toys: number of valid background-only toys.
        beyond: how many of them have a q0 at least as large.
        p_value: fraction beyond; None if there are none.
        p_error: its binomial error.
        calibrated: significance of the p-value in sigma, one-sided; None without a toy beyond.
    """

    q0: float
    asymptotic: float
    toys: int
    beyond: int
    p_value: float | None
    p_error: float | None
    calibrated: float | None


@dataclasses.dataclass(frozen=True)
class Coverage:
    """How often the asymptotic interval holds the truth.

    Attributes:
        truth: true value.
        cl: nominal level of Delta chi2 below `threshold`.
        threshold: Delta chi2.
        coverage: fraction of toys whose interval holds the truth.
        error: binomial.
        toys: number of valid toys.
    """

    truth: float
    cl: float
    threshold: float
    coverage: float
    error: float
    toys: int


@dataclasses.dataclass(frozen=True)
class ToyInterval:
    """Neyman interval with the likelihood-ratio ordering of Feldman and Cousins (arXiv:physics/9711021).

    Nuisances are profiled: at each value toys are drawn at the nuisances fitted to the data there.

    Attributes:
        cl: confidence level.
        lower: lower end; None if the lowest value tested is inside.
        upper: upper end; None if the highest value tested is inside.
        best_fit: of the data.
        values: tested.
        q: Delta chi2 of the data at each.
        critical: quantile of the toys' Delta chi2 there.
        asymptotic: Delta chi2 that would be used without toys.
        toys: per value.
    """

    cl: float
    lower: float | None
    upper: float | None
    best_fit: float
    values: tuple[float, ...]
    q: tuple[float, ...]
    critical: tuple[float, ...]
    asymptotic: float
    toys: int


@dataclasses.dataclass(frozen=True)
class FitQuality:
    """Goodness of fit by the saturated deviance.

    Attributes:
        deviance: chi2 of the data at the best fit.
        p_value: fraction of toys drawn at the best fit with at least this chi2.
        error: binomial.
        toys: number of valid toys.
        naive: what a chi2 distribution would say, for comparison: with bins nearly empty it is wrong.
    """

    deviance: float
    p_value: float
    error: float
    toys: int
    naive: float


def _binomial(successes: int, trials: int) -> tuple[float, float]:
    """Fraction and its error; the error of none or all is that of one."""
    fraction = successes / trials
    bounded = min(max(successes, 1), trials - 1) / trials if trials > 1 else 0.5
    return fraction, float(np.sqrt(bounded * (1 - bounded) / trials))


def _valid(toys: Toys) -> Toys:
    """Valid toys alone; refuses a sample that lost more than one in a thousand."""
    kept = toys.valid
    if np.mean(kept) < 0.999:
        raise RuntimeError(
            f"{np.sum(~kept)} of {len(toys)} toys at {toys.truth:.4g} have no valid fit: cannot calibrate"
        )
    return Toys(toys.truth, toys.best[kept], toys.chi2[kept], toys.chi2_truth[kept], toys.valid[kept])


def discovery(
    hypothesis: Hypothesis,
    toys: int = 10_000,
    seed: int = 1,
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: _Progress = lambda done: None,
) -> Discovery:
    """Significance of a signal, from toys without it.

    Args:
        hypothesis: a strength, such as the flux.
        toys: number of toys; drawn at the nuisances fitted to the data without signal.
        seed: of the toys.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> found = jc.discovery(flux, toys=200)
        >>> round(found.asymptotic, 2), round(found.calibrated, 1)  # sigma, without and with toys
        (2.15, 2.2)
    """
    if not hypothesis.is_strength:
        raise ValueError(f"{hypothesis.name!r} has no value without signal: a significance needs a strength")
    data, pulls = fit_observed(hypothesis, 0.0)
    q0 = float(data.q[0])
    thrown = _valid(throw(hypothesis, 0.0, toys, seed, pulls, store, chunk, progress))
    beyond = int(np.sum(thrown.q >= q0))
    p, error = _binomial(beyond, len(thrown))
    calibrated = float(-ndtri(p)) if beyond else None
    found = (p, error) if beyond else (None, None)
    return Discovery(q0, float(np.sqrt(q0)), len(thrown), beyond, *found, calibrated)


def coverage(
    hypothesis: Hypothesis,
    values: Sequence[float] | Float[np.ndarray, " value"],
    levels: Sequence[float] = (ONE_SIGMA, 0.90),
    toys: int = 10_000,
    seed: int = 1,
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: _Progress = lambda done: None,
) -> list[Coverage]:
    """How often the interval Delta chi2 < threshold holds the truth, at nominal nuisances.

    Args:
        hypothesis: the likelihood and the parameter.
        values: true values.
        levels: confidence levels.
        toys: number of toys per value.
        seed: of the toys.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> (row,) = jc.coverage(flux, [5.46e6], levels=[0.90], toys=1000)
        >>> round(row.coverage, 2), round(row.error, 2)
        (0.88, 0.01)
    """
    rows = []
    for value in values:
        thrown = _valid(throw(hypothesis, float(value), toys, seed, None, store, chunk, progress))
        for cl in levels:
            threshold = chi2_threshold(cl)
            fraction, error = _binomial(int(np.sum(thrown.q <= threshold)), len(thrown))
            rows.append(Coverage(float(value), cl, threshold, fraction, error, len(thrown)))
    return rows


def toy_interval(
    hypothesis: Hypothesis,
    values: Sequence[float] | Float[np.ndarray, " value"],
    cl: float = 0.90,
    toys: int = 1000,
    seed: int = 1,
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: _Progress = lambda done: None,
) -> ToyInterval:
    """Feldman-Cousins interval by toys, its ends interpolated between the values tested.

    Args:
        hypothesis: the likelihood and the parameter.
        values: increasing, from below the interval to above it.
        cl: confidence level.
        toys: number of toys per value.
        seed: of the toys.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> found = jc.toy_interval(flux, [5.46e6, 1e7, 1.5e7], toys=200)
        >>> f"{found.upper:.1e} {flux.unit}"
        '1.2e+07 cm^-2 s^-1'
    """
    tested = np.asarray(values, float)
    if tested.ndim != 1 or tested.size < 2 or np.any(np.diff(tested) <= 0):
        raise ValueError("toy_interval: give at least two increasing values")
    if not 0 < cl < 1:
        raise ValueError(f"confidence level {cl} must be between 0 and 1")
    q, critical, best = [], [], float("nan")
    for value in tested:
        data, pulls = fit_observed(hypothesis, float(value))
        best = float(data.best[0])
        thrown = _valid(throw(hypothesis, float(value), toys, seed, pulls, store, chunk, progress))
        q.append(float(data.q[0]))
        critical.append(float(np.quantile(thrown.q, cl)))
    # Zero of q - critical between neighbours: both are smooth, toys only make the second noisy.
    height = np.array(q) - np.array(critical)
    inside = np.flatnonzero(height <= 0)
    if not inside.size:
        raise RuntimeError(f"no value tested is inside the {cl:.0%} interval: test values around {best:.4g}")
    first, last = int(inside[0]), int(inside[-1])

    def crossing(i: int) -> float:
        return float(tested[i] - height[i] * (tested[i + 1] - tested[i]) / (height[i + 1] - height[i]))

    return ToyInterval(
        cl,
        None if first == 0 else crossing(first - 1),
        None if last == tested.size - 1 else crossing(last),
        best,
        tuple(map(float, tested)),
        tuple(q),
        tuple(critical),
        chi2_threshold(cl),
        toys,
    )


def fit_quality(
    hypothesis: Hypothesis,
    toys: int = 10_000,
    seed: int = 1,
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: _Progress = lambda done: None,
) -> FitQuality:
    """p-value of the saturated deviance, from toys at the best fit, nuisances included.

    Args:
        hypothesis: the likelihood and the parameter.
        toys: number of toys.
        seed: of the toys.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> found = jc.fit_quality(flux, toys=200)
        >>> round(found.deviance, 2), round(found.p_value, 2)
        (3.85, 0.19)
    """
    data, _ = fit_observed(hypothesis, hypothesis.lower)
    best = float(data.best[0])
    _, pulls = fit_observed(hypothesis, best)
    thrown = _valid(throw(hypothesis, best, toys, seed, pulls, store, chunk, progress))
    deviance = float(data.chi2[0])
    p, error = _binomial(int(np.sum(thrown.chi2 >= deviance)), len(thrown))
    naive = float(chdtrc(max(hypothesis.model.observed.size - 1, 1), deviance))
    return FitQuality(deviance, p, error, len(thrown), naive)


def as_json(result: Any) -> dict[str, Any]:
    """A result as plain numbers and lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(result).items()}
