"""Measured numbers with a Gaussian covariance, as Poisson bins: what a likelihood of counts can hold."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jcevns.experiments.nuisances import Nuisance

__all__ = ["GaussianBins", "gaussian_bins"]

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
    scale = ROOT_COUNTS / (sigma * np.sqrt(share[0]))
    below = ROOT_COUNTS**2 - scale * measured
    if not np.all(below > 0):
        raise ValueError(
            f"gaussian bins: a value is {np.max(measured / sigma):g} standard deviations from zero, more than "
            f"{ROOT_COUNTS * np.sqrt(share[0]):g} cannot be held: give fewer numbers, or none that are so precise"
        )
    nuisances = []
    for k in range(1, count):
        if share[k] - share[0] > _LEAST:
            width = np.sqrt(share[k] - share[0]) * vectors[:, k] * sigma * scale / below
            widths = dict(zip(names, map(float, width), strict=True))
            nuisances.append(Nuisance(f"correlated_{k}", float(np.max(np.abs(width))), widths))
    backgrounds = dict(zip(names, np.diag(below), strict=True))
    return GaussianBins(np.full(count, ROOT_COUNTS**2), scale, backgrounds, tuple(nuisances))
