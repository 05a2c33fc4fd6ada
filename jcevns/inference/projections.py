"""Expected sensitivity of an experiment scaled to another exposure: Asimov data and the spread of toys."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import numpy as np
from jaxtyping import Float
from scipy.special import ndtr

from jcevns.constants import chi2_threshold
from jcevns.detectors.response import Response
from jcevns.experiments.experiment import Experiment
from jcevns.inference.hypothesis import Hypothesis
from jcevns.inference.toy_runs import throw
from jcevns.inference.toys import CHUNK, fit_curves, observed_curve

__all__ = ["Projection", "asimov", "expected_error", "expected_limit", "expected_significance", "scaled"]

_WIDEST = 1e6  # times the scale: where the search for an upper end stops
_SECTIONS = 4  # each a hundred times narrower
_QUANTILES = ndtr(np.arange(-2.0, 3.0))  # of an expected result, in sigma of a normal distribution


@dataclasses.dataclass(frozen=True)
class Projection:
    """An expected result and its spread over toy experiments.

    Attributes:
        quantity: what it is.
        unit: of the numbers.
        truth: true value of the parameter.
        asimov: result for data equal to their expectation.
        bands: quantiles of the toys at -2, -1, 0, 1 and 2 sigma.
        toys: number of valid toys.
    """

    quantity: str
    unit: str
    truth: float
    asimov: float
    bands: tuple[float, ...]
    toys: int


def scaled(experiment: Experiment, exposure: float, background: float = 1.0, sigma: float = 1.0) -> Experiment:
    """The experiment with another exposure: signal and backgrounds per tonne-year as they are.

    Its data are those observed times the same factor, to be replaced by `asimov` or toys.

    Args:
        experiment: the one to scale.
        exposure: tonne-year.
        background: factor on the background rates.
        sigma: factor on the widths of all normalisation nuisances but the shared ones.

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
    if not np.isfinite(experiment.exposure):
        raise ValueError(f"experiment {experiment.name!r} does not state its exposure: it cannot be scaled")
    factor = exposure / experiment.exposure
    nuisances = [n if n.shared else dataclasses.replace(n, sigma=n.sigma * sigma) for n in experiment.nuisances]
    return dataclasses.replace(
        experiment,
        name=f"{experiment.name}@{exposure:g}ty",
        response=Response(experiment.response.recoil_keV, factor * experiment.response.matrix),
        backgrounds={k: factor * background * v for k, v in experiment.backgrounds.items()},
        observed=factor * experiment.observed,
        nuisances=tuple(nuisances),
        exposure=float(exposure),
        status="user",
        runs=(),  # not data: it may stand beside what it was scaled from
        notes=(*experiment.notes, f"PROJECTION: {experiment.name} scaled to {exposure:g} tonne-year"),
    )


def asimov(hypothesis: Hypothesis, value: float) -> Hypothesis:
    """The hypothesis with data equal to their expectation at a value and nominal nuisances.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> data = jc.asimov(flux, 5.46e6)
        >>> [round(n, 2) for n in data.model.observed.tolist()]  # events per bin
        [11.71, 13.74, 12.07]
    """
    expected = hypothesis.expected(value, np.zeros(hypothesis.model.sigma.size))
    return dataclasses.replace(hypothesis, model=eqx.tree_at(lambda m: m.observed, hypothesis.model, expected))


def _bands(values: Float[np.ndarray, " toy"]) -> tuple[float, ...]:
    return tuple(map(float, np.quantile(values, _QUANTILES)))


def expected_significance(
    hypothesis: Hypothesis, value: float, toys: int = 1000, seed: int = 1, store: str | Path | None = None
) -> Projection:
    """Expected significance sqrt(q0) of a strength.

    Args:
        hypothesis: a strength, such as the flux, whose data do not matter.
        value: true value.
        toys: number of toys for the bands.
        seed: of the toys.
        store: folder to resume from.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> found = jc.expected_significance(flux, 5.46e6, toys=50)
        >>> round(found.asimov, 2)  # sigma
        2.04
    """
    if not hypothesis.is_strength:
        raise ValueError(f"{hypothesis.name!r} has no value without signal: a significance needs a strength")
    data = observed_curve(asimov(hypothesis, value), np.array([0.0, value]))
    thrown = throw(hypothesis, value, toys, seed, None, store)
    null = fit_curves(hypothesis, [0.0], value, toys, seed)[0]
    kept = thrown.valid & np.isfinite(null)
    q0 = np.maximum(null - thrown.chi2, 0.0)[kept]
    asimov_z = float(np.sqrt(max(data[0] - data[1], 0.0)))
    return Projection(
        f"significance of {hypothesis.name}", "sigma", value, asimov_z, _bands(np.sqrt(q0)), int(kept.sum())
    )


def expected_error(
    hypothesis: Hypothesis, value: float, toys: int = 1000, seed: int = 1, store: str | Path | None = None
) -> Projection:
    """Expected best fit: the bands hold 68% and 95% of experiments; `asimov` is half the interval of Delta chi2 = 1.

    Args:
        hypothesis: the likelihood and the parameter, whose data do not matter.
        value: true value.
        toys: number of toys for the bands.
        seed: of the toys.
        store: folder to resume from.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.hypothesis(jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False), "flux")
        >>> found = jc.expected_error(flux, 5.46e6, toys=50)
        >>> f"{found.asimov:.2e} {found.unit}"
        '3.02e+06 cm^-2 s^-1'
    """
    thrown = throw(hypothesis, value, toys, seed, None, store)
    ends = _crossings(asimov(hypothesis, value), value, 1.0)
    error = float((ends[1] - ends[0]) / 2)
    return Projection(
        f"best fit of {hypothesis.name}",
        hypothesis.unit,
        value,
        error,
        _bands(thrown.best[thrown.valid]),
        int(thrown.valid.sum()),
    )


def _crossings(data: Hypothesis, best: float, threshold: float) -> tuple[float, float]:
    """Ends of the interval of Asimov data, whose best fit is their truth; the physical bound where it is inside.

    Every call fits as many values as toys at a time: half of them cut the bracket of each end.
    """
    low = np.linspace(data.lower, best, CHUNK // 2)
    high = best + data.scale * np.concatenate([[0.0], np.geomspace(1e-3, _WIDEST, CHUNK // 2 - 1)])
    least = observed_curve(data, np.array([best]))[0]
    for _ in range(_SECTIONS):
        below, above = np.split(observed_curve(data, np.concatenate([low, high])) - least < threshold, 2)
        if above[-1]:
            raise RuntimeError(f"chi2 does not rise above {data.name} = {best:.4g}: no sensitivity to project")
        first, last = int(np.argmax(below)), int(np.argmin(above))
        low = np.linspace(low[max(first - 1, 0)], low[first], low.size)
        high = np.linspace(high[last - 1], high[last], high.size)
    return float(low[-1]), float(high[-1])


def expected_limit(
    hypothesis: Hypothesis,
    cl: float = 0.90,
    toys: int = 1000,
    seed: int = 1,
    chunk: int = CHUNK,
    progress: Callable[[int], None] = lambda done: None,
) -> Projection:
    """Expected upper limit of a coupling if there is none: the largest value with Delta chi2 below the threshold.

    Interpolated between the nodes of the hypothesis's grid, in the logarithm of the value.

    Args:
        hypothesis: from `coupling_hypothesis`, whose data do not matter.
        cl: confidence level.
        toys: number of toys for the bands.
        seed: of the toys.
        chunk: toys fitted at a time.
        progress: called with the number of toys done.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> found = jc.expected_limit(jc.coupling_hypothesis(likelihood, "scalar", mass=10.0), toys=50)
        >>> f"coupling < {found.asimov:.2e} at 90%"
        'coupling < 8.16e-06 at 90%'
    """
    threshold = chi2_threshold(cl)
    chi2 = fit_curves(hypothesis, hypothesis.grid, 0.0, toys, seed, chunk)
    limits = _limit(hypothesis.grid, chi2, threshold)
    progress(toys)
    data = asimov(hypothesis, 0.0)
    alone = observed_curve(data, hypothesis.grid)[:, None]
    kept = np.isfinite(limits)
    label = f"upper limit ({cl:.0%} CL) on {hypothesis.name}"
    return Projection(
        label,
        hypothesis.unit,
        0.0,
        float(_limit(hypothesis.grid, alone, threshold)[0]),
        _bands(limits[kept]),
        int(kept.sum()),
    )


def _limit(grid: np.ndarray, chi2: Float[np.ndarray, "node toy"], threshold: float) -> Float[np.ndarray, " toy"]:
    """Last upward crossing of the threshold, NaN where the grid ends below it."""
    height = chi2 - np.min(chi2, axis=0) - threshold
    every = np.arange(chi2.shape[1])
    below = height <= 0
    last = grid.size - 1 - np.argmax(below[::-1], axis=0)
    inside = last < grid.size - 1
    at = np.minimum(last, grid.size - 2)
    low, high = height[at, every], height[at + 1, every]
    x = np.log(np.maximum(grid, grid[1] / 10))
    # chi2 rises like a power of the coupling: its square root is straighter.
    a, b = (np.sqrt(np.maximum(h + threshold, 0)) - np.sqrt(threshold) for h in (low, high))
    return np.where(inside, np.exp(x[at] - a * (x[at + 1] - x[at]) / (b - a)), np.nan)
