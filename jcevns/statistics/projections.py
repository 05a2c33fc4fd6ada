"""Expected sensitivity of an experiment scaled to another exposure: Asimov data and the spread of toys."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from jcevns.constants import ONE_SIGMA, chi2_threshold
from jcevns.experiments.experiment import Experiment
from jcevns.export import Exported
from jcevns.fit.interval import interval
from jcevns.fit.rounding import percent
from jcevns.fit.validity import require_toys
from jcevns.likelihood.likelihood import Experiments, Likelihood
from jcevns.statistics.calibration import null_value
from jcevns.statistics.hypothesis import Hypothesis, hypothesis
from jcevns.statistics.toy_kernels import Sample
from jcevns.statistics.toy_runs import run_toys, valid_toys
from jcevns.statistics.toys import CHUNK, draw, fit_curves, fit_segments

__all__ = [
    "SCALES",
    "Projection",
    "asimov",
    "asimov_significance",
    "expected_error",
    "expected_limit",
    "expected_significance",
    "scaled",
]

SCALES = (1e-6, 1e6)
"""Exposures in tonne-year, and factors, that an experiment may be scaled to."""

_QUANTILES = ndtr(np.arange(-2.0, 3.0))  # of an expected result, in sigma of a normal distribution


@dataclasses.dataclass(frozen=True)
class Projection(Exported):
    """An expected result and its spread over toy experiments.

    Attributes:
        quantity: what it is.
        unit: of the numbers.
        truth: true value of the parameter.
        asimov: result for data equal to their expectation; infinite if there is none below infinity.
        bands: quantiles of the toys at -2, -1, 0, 1 and 2 sigma, infinite results included.
        toys: number of valid toys.
        invalid: number of the others, one in a thousand at most.
        censored: valid toys whose result is a bound of the parameter, or beyond what can be found.
    """

    quantity: str
    unit: str
    truth: float
    asimov: float
    bands: tuple[float, ...]
    toys: int
    invalid: int
    censored: int


def scaled(experiment: Experiment, exposure: float, background: float = 1.0, sigma: float = 1.0) -> Experiment:
    """The experiment with another exposure: signal and backgrounds per tonne-year as they are.

    Its data are those observed times the same factor, to be replaced by `asimov` or toys.

    Args:
        experiment: the one to scale.
        exposure: tonne-year.
        background: factor on the background rates.
        sigma: factor on the widths of all normalisation nuisances but the shared ones; fluxes keep theirs.

    Raises:
        ValueError: a factor or the exposure is not positive, or the experiment does not know its own.

    Example:
        >>> import jcevns as jc
        >>> future = jc.scaled(jc.experiment("xenonnt-2024-s2"), exposure=100.0)
        >>> round(float(jc.signal_counts(future, jc.StandardModel()).sum()), 1)  # events in 100 tonne-year
        316.4
    """
    if not (np.isfinite(exposure) and exposure > 0 and background >= 0 and sigma > 0):
        raise ValueError(f"exposure {exposure!r} t y, background {background!r} and sigma {sigma!r} must be positive")
    for what, value in (("exposure", exposure), ("background", background), ("sigma", sigma)):
        if value and not SCALES[0] <= value <= SCALES[1]:
            raise ValueError(f"{what} {value:g} must be from 1e-6 to 1e6")
    if not np.isfinite(experiment.exposure):
        raise ValueError(f"experiment {experiment.name!r} does not state its exposure: it cannot be scaled")
    factor = exposure / experiment.exposure

    def wider(nuisance: Any) -> Any:
        if nuisance.shared:
            return nuisance
        # Widths of single components are what their factor is raised to: they grow along.
        widths = tuple(w * sigma for w in nuisance.widths)
        return dataclasses.replace(nuisance, sigma=nuisance.sigma * sigma, widths=widths)

    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}@{exposure:g}ty".replace(".", "p"),
        channels=tuple(dataclasses.replace(c, response=c.response.times(factor)) for c in experiment.channels),
        backgrounds={k: factor * background * v for k, v in experiment.backgrounds.items()},
        observed=factor * experiment.observed,
        nuisances=tuple(map(wider, experiment.nuisances)),
        exposure=float(exposure),
        status="user",
        runs=(),  # not data: it may stand beside what it was scaled from
        notes=(*experiment.notes, f"PROJECTION: {experiment.name} scaled to {exposure:g} tonne-year"),
    )


def asimov(
    likelihood: Likelihood | Experiments,
    name: str,
    value: float,
    at: Mapping[str, Any] | None = None,
) -> Likelihood:
    """The likelihood with data equal to their expectation at a value and nominal nuisances.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter.
        value: its true value.
        at: values of parameters that are fixed.

    Example:
        >>> from jcevns.statistics.projections import asimov
        >>> data = asimov("xenonnt-2024-s2", "flux", 5.46e6)
        >>> [round(n, 2) for n in data.model.observed.tolist()]  # events per bin
        [11.71, 13.74, 12.07]
    """
    return _asimov(hypothesis(likelihood, name, at), value).likelihood


def _asimov(here: Hypothesis, value: float) -> Hypothesis:
    here.record.check(value)
    return here.with_data(here.expected(here.points(value))[0])


def _bands(values: Float[np.ndarray, " toy"]) -> tuple[float, ...]:
    """Quantiles; infinite where a neighbour is."""
    if not values.size:
        return (math.nan,) * len(_QUANTILES)
    highest = np.quantile(values, _QUANTILES, method="higher")
    finite = np.where(np.isfinite(values), values, 0.0)
    finite = np.where(np.isfinite(values), values, np.max(finite))
    return tuple(map(float, np.where(np.isfinite(highest), np.quantile(finite, _QUANTILES), highest)))


def asimov_significance(here: Hypothesis, values: Float[np.ndarray, " value"]) -> Float[np.ndarray, " value"]:
    """Median significance sqrt(q0) of signals: that of Asimov data, arXiv:1007.1727, at nominal nuisances.

    Args:
        here: the likelihood and a parameter that has a value without signal.
        values: of the parameter.

    Returns:
        In sigma; NaN where the fit without signal is not valid, infinite where data are impossible without signal.
    """
    points = here.points(values)
    counts = np.maximum(here.expected(points), 0.0)
    pulls = np.tile(here.nominal.pulls, (len(points), 1))
    without = fit_curves(here, [null_value(here)], Sample(counts, pulls, points[:, list(here.auxiliary)]))[0]
    return np.sqrt(np.maximum(without, 0.0))  # Asimov data fit themselves: their chi2 is zero


def expected_significance(
    likelihood: Likelihood | Experiments,
    name: str,
    value: float,
    toys: int = 1000,
    seed: int = 1,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], Any] = lambda done: None,
) -> Projection:
    """Expected significance sqrt(q0) of a signal.

    Args:
        likelihood: experiments, or a likelihood with a theory; the data do not matter.
        name: of a parameter with a value without signal, such as a flux.
        value: true value.
        toys: number of toys for the bands.
        seed: of the toys.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Raises:
        ValueError: a parameter without such a value.
        RuntimeError: more toys without a valid fit than one in a thousand.

    Example:
        >>> import jcevns as jc
        >>> found = jc.expected_significance("xenonnt-2024-s2", "flux", 5.46e6, toys=50)
        >>> round(found.asimov, 2)  # sigma
        2.04
    """
    here = hypothesis(likelihood, name, at, profiled)
    null = null_value(here)
    (median,) = asimov_significance(here, np.array([value]))
    if np.isnan(median):
        raise RuntimeError(f"the fit without signal to Asimov data at {here.name} = {value:.4g} is not valid")
    thrown = run_toys(here, value, toys, seed, None, store, chunk, progress)
    without = fit_curves(here, [null], draw(here, value, toys, seed), chunk)[0]
    kept = thrown.valid & ~np.isnan(without)
    require_toys(int(np.sum(~kept)), toys, f"{here.name} = {value:.4g}")
    q0 = np.maximum(without - thrown.chi2, 0.0)[kept]
    return Projection(
        f"significance of {here.name}",
        "sigma",
        value,
        float(median),
        _bands(np.sqrt(q0)),
        int(kept.sum()),
        int(np.sum(~kept)),
        int(np.sum(thrown.censored[kept])),
    )


def expected_error(
    likelihood: Likelihood | Experiments,
    name: str,
    value: float,
    toys: int = 1000,
    seed: int = 1,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    store: str | Path | None = None,
    chunk: int = CHUNK,
    progress: Callable[[int], Any] = lambda done: None,
) -> Projection:
    """Expected best fit: the bands hold 68% and 95% of experiments; `asimov` is half the interval of Delta chi2 = 1.

    Where that interval reaches a bound of the parameter, the bound is its end.

    Args:
        likelihood: experiments, or a likelihood with a theory; the data do not matter.
        name: of the parameter.
        value: true value.
        toys: number of toys for the bands.
        seed: of the toys.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        store: folder to resume from.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Raises:
        RuntimeError: more toys without a valid fit than one in a thousand.

    Example:
        >>> import jcevns as jc
        >>> found = jc.expected_error("xenonnt-2024-s2", "flux", 5.46e6, toys=50)
        >>> f"{found.asimov:.2e} {found.unit}"
        '3.02e+06 cm^-2 s^-1'
    """
    here = hypothesis(likelihood, name, at, profiled)
    low, high = _around(_asimov(here, value), value, at, profiled)
    kept, invalid = valid_toys(run_toys(here, value, toys, seed, None, store, chunk, progress))
    return Projection(
        f"best fit of {here.name}",
        here.unit,
        value,
        (high - low) / 2,
        _bands(kept.best),
        len(kept),
        invalid,
        int(np.sum(kept.censored)),
    )


def _around(
    data: Hypothesis, value: float, at: Mapping[str, Any] | None, profiled: str | Sequence[str]
) -> tuple[float, float]:
    """68% interval around the truth of Asimov data; its bound where it is open."""
    found = interval(data.likelihood, data.name, ONE_SIGMA, at, profiled)
    if not found.valid:
        raise RuntimeError(f"the interval of Asimov data at {data.name} = {value:.4g} is not valid")
    for low, high in found.segments:
        if (low is None or low <= value) and (high is None or value <= high):
            return data.record.lower if low is None else low, data.record.upper if high is None else high
    raise RuntimeError(f"Asimov data at {data.name} = {value:.4g} exclude their truth")


def expected_limit(
    likelihood: Likelihood | Experiments,
    name: str,
    cl: float = 0.90,
    value: float | None = None,
    toys: int = 1000,
    seed: int = 1,
    at: Mapping[str, Any] | None = None,
    profiled: str | Sequence[str] = (),
    chunk: int = CHUNK,
    progress: Callable[[int], Any] = lambda done: None,
) -> Projection:
    """Expected upper limit: the largest value with Delta chi2 below the threshold, infinite where there is none.

    No toy is left out: one that accepts the bound of the parameter has an infinite limit, and `censored` counts it.

    Args:
        likelihood: experiments, or a likelihood with a theory; the data do not matter.
        name: of the parameter.
        cl: confidence level.
        value: true value; that without signal if absent.
        toys: number of toys for the bands.
        seed: of the toys.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Raises:
        ValueError: no value given for a parameter without one where there is no signal.
        RuntimeError: more toys without a valid fit than one in a thousand.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2", "scalar")
        >>> found = jc.expected_limit(likelihood, "coupling", at={"mass": 10.0}, toys=50)
        >>> f"coupling < {found.asimov:.2e} at 90%"
        'coupling < 8.19e-06 at 90%'
    """
    threshold = chi2_threshold(cl)
    here = hypothesis(likelihood, name, at, profiled)
    truth = null_value(here) if value is None else float(value)
    alone = interval(_asimov(here, truth).likelihood, here.name, cl, at, profiled)
    if not alone.valid:
        raise RuntimeError(f"the interval of Asimov data at {here.name} = {truth:.4g} is not valid")
    last = alone.segments[-1][1]
    found = fit_segments(here, truth, draw(here, truth, toys, seed), threshold, chunk)
    require_toys(int(np.sum(~found.valid)), toys, f"{here.name} = {truth:.4g}")
    progress(toys)
    upper = found.upper[found.valid]
    return Projection(
        f"upper limit ({percent(cl)} CL) on {here.name}",
        here.unit,
        truth,
        math.inf if last is None else last,
        _bands(upper),
        upper.size,
        int(np.sum(~found.valid)),
        int(np.sum(np.isinf(upper))),
    )
