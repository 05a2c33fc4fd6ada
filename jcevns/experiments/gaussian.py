"""Gaussian measurements as Poisson bins: on a plinth so high that the root of the counts is the published error."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

__all__ = ["PER_ERROR", "EffectiveCounts", "gaussian_counts", "skewed_counts"]

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
