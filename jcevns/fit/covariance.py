"""Covariance of everything that moves in a fit: fitted and profiled parameters and nuisances together."""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.compiled import compiled
from jcevns.export import Exported, plain
from jcevns.fit.batch import logarithmic
from jcevns.fit.minimise import held
from jcevns.fit.surface import Evaluation, Surface
from jcevns.likelihood import model as models
from jcevns.likelihood.model import Mixture, Model

__all__ = ["CovarianceMatrix", "JointMinimum", "inverse", "joint_minimum"]

_POINTS = 16  # as in the fit before: nothing new to compile


@dataclasses.dataclass(frozen=True)
class CovarianceMatrix(Exported):
    """Covariance of all parameters that move in a fit.

    Attributes:
        names: fitted parameters, then profiled ones of the theory, then nuisances.
        units: of each.
        values: at the minimum.
        matrix: covariance, in the units of the values; NaN in rows of what a bound or a kink holds.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.fit("xenonnt-2024-s2", "flux")
        >>> both = flux.full_covariance
        >>> both.names[0], round(both["flux.b8", "xenonnt-2024-s2.accidental"], -2)
        ('flux.b8', -26600.0)
    """

    names: tuple[str, ...]
    units: dict[str, str]
    values: dict[str, float]
    matrix: Float[np.ndarray, "parameter parameter"]

    def __getitem__(self, pair: tuple[str, str]) -> float:
        """Covariance of two parameters by full name."""
        try:
            first, second = (self.names.index(name) for name in pair)
        except ValueError:
            raise ValueError(f"{pair!r}: the covariance is of {', '.join(self.names)}") from None
        return float(self.matrix[first, second])

    @property
    def correlation(self) -> Float[np.ndarray, "parameter parameter"]:
        """Correlation matrix."""
        return correlation_of(self.matrix)

    @property
    def errors(self) -> dict[str, float]:
        """Standard deviation of each parameter."""
        with np.errstate(invalid="ignore"):
            return dict(zip(self.names, np.sqrt(np.diagonal(self.matrix)).tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Names, units, values, and both matrices as lists of rows."""
        found = {"parameters": self.names, "units": self.units, "values": self.values}
        return plain(found | {"covariance": self.matrix, "correlation": self.correlation})

    def rows(self) -> list[dict[str, Any]]:
        """One row for each parameter, with its covariance with all others by name."""
        return [
            {"parameter": name, "unit": self.units[name], "value": self.values[name], "error": self.errors[name]}
            | dict(zip(self.names, plain(row), strict=True))
            for name, row in zip(self.names, self.matrix, strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class JointMinimum:
    """What is known at the minimum of a fit.

    Attributes:
        covariance: of everything that moves.
        pulls: (value - default)/width of everything that keeps its constraint.
        pull_errors: their standard deviation; NaN where a bound or a kink holds.
        loose: values of what was profiled without a constraint.
        expected: counts in every bin.
        observed: data in every bin.
    """

    covariance: CovarianceMatrix
    pulls: dict[str, float]
    pull_errors: dict[str, float]
    loose: dict[str, float]
    expected: Float[np.ndarray, " bin"]
    observed: Float[np.ndarray, " bin"]


def correlation_of(covariance: Float[np.ndarray, "parameter parameter"]) -> Float[np.ndarray, "parameter parameter"]:
    """Correlation matrix of a covariance."""
    with np.errstate(divide="ignore", invalid="ignore"):
        width = np.sqrt(np.diagonal(covariance))
        return covariance / width[:, None] / width[None, :]


def inverse(
    hessian: Float[np.ndarray, "parameter parameter"], free: Bool[np.ndarray, " parameter"]
) -> Float[np.ndarray, "parameter parameter"]:
    """Inverse of half a Hessian of chi2 in the free directions; NaN elsewhere, and if it is not positive definite."""
    result = np.full(hessian.shape, np.nan)
    moving = np.flatnonzero(free)
    block = hessian[np.ix_(moving, moving)]
    if moving.size and np.all(np.isfinite(block)):
        scale = np.sqrt(np.maximum(np.abs(np.diagonal(block)), 1e-300))
        scaled = block / scale[:, None] / scale[None, :]
        if np.linalg.eigvalsh(scaled)[0] > 1e-10:
            result[np.ix_(moving, moving)] = 2 * np.linalg.inv(scaled) / scale[:, None] / scale[None, :]
    return result


@compiled
def _expected(model: Model, mixture: Mixture, x: Array) -> Array:
    return models.expected_counts(model, mixture, x)


def joint_minimum(surface: Surface, x: Float[np.ndarray, " parameter"], there: Evaluation) -> JointMinimum:
    """Covariance, pulls and counts at a minimum.

    The Hessian is that of the whole chi2, without approximation, in all parameters together.

    Args:
        surface: what was minimised.
        x: position in its parameters.
        there: its evaluation at this one position.
    """
    whole, parameters = surface.whole, surface.likelihood.parameters
    model, nuisances = whole.arrangement.model, whole.arrangement.nuisances
    point = np.concatenate([x, there.profiled[0]])
    points = np.tile(point, (_POINTS, 1))
    mixture = whole.mixture(points, 2)
    first, second = (slope[:, 0] for slope in whole.slopes(points, mixture, 2))
    here = whole.curvature(mixture, np.tile(there.x[:, :1], _POINTS))
    gradient = here.gradient[0] @ first
    among = first.T @ here.outer[0] @ first + np.einsum("u,upq->pq", here.gradient[0], second)
    for i, (name, record) in enumerate(zip(whole.names, whole.records, strict=True)):
        if name in whole.constrained and name not in nuisances:
            gradient[i] += 2 * (point[i] - record.default) / record.width**2
            among[i, i] += 2 / record.width**2
    standing = [n in whole.names or n in whole.at for n in nuisances]
    moved = [k for k, stands in enumerate(standing) if not stands]
    cross = (first.T @ here.cross[0])[:, moved]
    hessian = np.block([[among, cross], [cross.T, here.inner[0][np.ix_(moved, moved)]]])
    free = ~held(point[None], gradient[None], among[None], whole.records)[0]
    spread = inverse(hessian, np.concatenate([free, here.moving[0][moved]]))
    internal = there.x[moved, 0]
    log = logarithmic(model)[moved]
    factor = np.where(log, np.exp(np.where(log, internal, 0.0)), internal)
    records = [parameters[nuisances[k]] for k in moved]
    reference = np.array([r.reference for r in records])
    scale = np.concatenate([np.ones(point.size), np.where(log, factor, 1.0) * reference])
    names = (*whole.names, *(r.name for r in records))
    values = dict(zip(names, map(float, np.concatenate([point, factor * reference])), strict=True))
    covariance = CovarianceMatrix(
        names, {n: parameters[n].unit for n in names}, values, spread * scale[:, None] * scale[None, :]
    )
    sigma = np.asarray(model.sigma)[moved]
    kept = [r.name for r, s in zip(records, sigma, strict=True) if math.isfinite(s)]
    kept += [n for n in whole.names if n in whole.constrained]
    defaults = {n: parameters[n].default for n in kept}
    pulls = {n: (values[n] - defaults[n]) / parameters[n].width for n in kept}
    errors = {n: covariance.errors[n] / parameters[n].width for n in kept}
    loose = {n: values[n] for n in names if n not in surface.names and n not in kept}
    loose |= {n: values[n] for n in surface.inner}
    one = Mixture(np.asarray(mixture.terms)[mixture.row[:1]], np.zeros((), int), mixture.weights[:, 0])
    expected = np.asarray(_expected(model, one, there.x[:, 0]))
    return JointMinimum(covariance, pulls, errors, loose, expected, np.asarray(model.observed))
