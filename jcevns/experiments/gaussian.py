"""Gaussian measurements as Poisson bins: on a plinth so high that the root of the counts is the published error."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from jcevns.experiments.nuisances import Nuisance

__all__ = ["PER_ERROR", "EffectiveCounts", "GaussianBins", "gaussian_bins", "gaussian_counts", "skewed_counts"]

PER_ERROR = 1000.0
"""Counts to a standard deviation. The chi2 of a bin d deviations off is d^2 to a relative d/(3 PER_ERROR)."""


class EffectiveCounts(NamedTuple):
    """A measurement in units of counts.

    Attributes:
        observed: counts of the data.
        scale: counts for a unit of what was measured.
        plinth: counts of a fixed background, so that the measured value is where signals make up the rest.
    """

    observed: Any
    scale: Any
    plinth: Any


def gaussian_counts(
    value: Float[Any, "*bin"] | float, error: Float[Any, "*bin"] | float, per_error: float = PER_ERROR
) -> EffectiveCounts:
    """Poisson counts that stand for Gaussian errors.

    Args:
        value: measured.
        error: its standard deviation.
        per_error: counts to a standard deviation; their square is the counts of a bin.

    Raises:
        ValueError: an error that is not positive, or a value so many errors from zero that no plinth is left.

    Example:
        >>> from jcevns.experiments.gaussian import gaussian_counts
        >>> found = gaussian_counts(20.0, 4.0)
        >>> tuple(map(float, found))
        (1000000.0, 250.0, 995000.0)
    """
    error = np.asarray(error, float)
    if not np.all((error > 0) & np.isfinite(error)):
        raise ValueError(f"an error {error.min()!r} must be positive: it is the root of the counts")
    observed, scale = per_error**2, per_error / error
    plinth = observed - np.asarray(value, float) * scale
    if not np.all(plinth >= 0):
        raise ValueError(f"a value is more than {per_error:g} errors above zero: give the counts themselves")
    return EffectiveCounts(observed + np.zeros_like(plinth), scale, plinth)


def skewed_counts(value: float, up: float, down: float) -> EffectiveCounts:
    """The one Poisson bin, on a plinth, whose Delta chi2 = 1 interval has the published unequal errors.

    Counts n and their scale are the two unknowns of two equations, deviance one at both ends; the plinth brings the
    best value to the published one. A Poisson distribution is skewed upwards, and no more than one without plinth.

    Args:
        value: measured.
        up: upper error.
        down: lower error, positive.

    Raises:
        ValueError: errors that are not skewed upwards, or more than those of counts without background.

    Example:
        >>> from jcevns.experiments.gaussian import skewed_counts
        >>> found = skewed_counts(20.6, 7.1, 6.3)
        >>> round(found.observed, 1), round(found.plinth, 1)
        (31.1, 13.9)
    """
    from scipy.optimize import brentq

    if not 0 < down < up < 3 * down:
        raise ValueError(
            f"errors +{up!r} -{down!r} must be positive and the upper one larger, by less than a factor 3"
        )

    def root(call: Callable[[float], float], low: float, high: float) -> float:
        return float(np.asarray(brentq(call, low, high)))

    def ends(n: float) -> tuple[float, float]:
        """Upper and lower end of the interval around n counts, as distances from it."""

        def excess(x: float) -> float:
            return 2 * (x - n - n * math.log(x / n)) - 1

        return root(excess, n, n + 3 * math.sqrt(n) + 3) - n, n - root(excess, 1e-12 * n, n)

    def skew(log_n: float) -> float:
        high, low = ends(math.exp(log_n))
        return high / low - up / down

    n = math.exp(root(skew, math.log(0.6), math.log(1e9)))
    scale = ends(n)[0] / up
    if value * scale > n:
        raise ValueError(
            f"errors +{up!r} -{down!r} of {value!r} are more skewed than those of counts without background: give "
            "their mean"
        )
    return EffectiveCounts(n, scale, n - value * scale)


ROOT_COUNTS = 1e4
"""Root of the counts of each bin: chi2 is that of the Gaussian to about pull^3/ROOT_COUNTS."""

_LEAST = 1e-12  # share of a variance, below which there is nothing to share


class GaussianBins(NamedTuple):
    """Poisson bins that stand for correlated Gaussian numbers.

    Attributes:
        observed: counts, the same in every bin.
        scale: counts per unit of each number: a response in that unit is multiplied by it.
        backgrounds: by number, counts of its bin alone such that the measured value fills it up to `observed`.
        nuisances: what the numbers have in common.
    """

    observed: Float[np.ndarray, " bin"]
    scale: Float[np.ndarray, " bin"]
    backgrounds: Mapping[str, Float[np.ndarray, " bin"]]
    nuisances: tuple[Nuisance, ...]


def gaussian_bins(
    names: Sequence[str], values: Sequence[float] | np.ndarray, covariance: Float[np.ndarray, "bin bin"]
) -> GaussianBins:
    """Bins and nuisances whose profiled chi2 is (x - values)^T covariance^-1 (x - values).

    The correlation matrix is split into its lowest eigenvalue times the unit matrix, the statistical error of bins
    with very many counts, and what is left, a nuisance for each other eigenvector. Any positive definite covariance
    can be written so.

    Args:
        names: of the numbers, those of the backgrounds.
        values: measured.
        covariance: of them.

    Raises:
        ValueError: shapes that differ, or a covariance that is not symmetric and positive definite.

    Example:
        >>> import numpy as np
        >>> from jcevns.experiments.gaussian import gaussian_bins
        >>> bins = gaussian_bins(("a", "b"), [3.0, 5.0], np.array([[1.0, 0.5], [0.5, 1.0]]))
        >>> [n.name for n in bins.nuisances], bins.observed.tolist()
        (['correlated_1'], [100000000.0, 100000000.0])
    """
    measured, matrix = np.asarray(values, float), np.asarray(covariance, float)
    count = len(names)
    if measured.shape != (count,) or matrix.shape != (count, count):
        raise ValueError(
            f"gaussian bins: {count} names, values of shape {measured.shape}, covariance of shape {matrix.shape}: "
            f"expected {(count,)} and {(count, count)}"
        )
    sigma = np.sqrt(np.diag(matrix)) if np.all(np.diag(matrix) > 0) else np.full(count, np.nan)
    correlation = matrix / np.outer(sigma, sigma)
    good = bool(np.all(np.isfinite(correlation))) and np.allclose(correlation, correlation.T, rtol=0.0, atol=1e-9)
    share, vectors = np.linalg.eigh(correlation) if good else (np.zeros(count), np.eye(count))
    if not share[0] > _LEAST:
        raise ValueError(f"gaussian bins: covariance {matrix.tolist()} is not symmetric and positive definite")
    most = ROOT_COUNTS * np.sqrt(share[0])
    if not np.all(measured < most * sigma):
        raise ValueError(
            f"gaussian bins: a value is {np.max(measured / sigma):g} standard deviations from zero, more than "
            f"{most:g} cannot be held: give fewer numbers, or none that are so precise"
        )
    observed, scale, below = gaussian_counts(measured, sigma * np.sqrt(share[0]), ROOT_COUNTS)
    nuisances = []
    for k in range(1, count):
        if share[k] - share[0] > _LEAST:
            width = np.sqrt(share[k] - share[0]) * vectors[:, k] * sigma * scale / below
            widths = dict(zip(names, map(float, width), strict=True))
            nuisances.append(Nuisance(f"correlated_{k}", float(np.max(np.abs(width))), widths))
    backgrounds = dict(zip(names, np.diag(below), strict=True))
    return GaussianBins(observed, scale, backgrounds, tuple(nuisances))
