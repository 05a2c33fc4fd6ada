"""Posterior on a grid with the nuisances integrated by Laplace's method: an instant look, and a check of samplers."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.compiled import compiled
from jcevns.export import Exported, plain
from jcevns.fit.newton_step import restricted
from jcevns.fit.surface import Evaluation, Surface
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import Experiments, Likelihood, with_data
from jcevns.likelihood.model import Mixture, Model
from jcevns.parameters import Parameters
from jcevns.precision import require_x64
from jcevns.statistics.priors import Prior, choose_priors

__all__ = ["GridPosterior", "laplace"]

_BATCH = 64
_BORDER = 1e-9  # a nuisance closer to a bound or a kink than this is held there


@dataclasses.dataclass(frozen=True)
class GridPosterior(Exported):
    """A posterior on a grid, normalised by the trapezoidal rule.

    Attributes:
        axes: values of each parameter, by full name.
        density: posterior density in the parameters themselves.
        valid: where the fit of the nuisances is.
        parameters: records of the axes.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> posterior = jc.laplace("xenonnt-2024-s2", {"sin2w": np.linspace(-0.1, 1.2, 66)})
        >>> posterior.marginal("sin2w").shape, bool(posterior.valid.all())
        ((66,), True)
        >>> round(posterior.quantile("sin2w", 0.5), 3)
        0.228
    """

    axes: dict[str, np.ndarray]
    density: Float[np.ndarray, "..."]
    valid: Bool[np.ndarray, "..."]
    parameters: Parameters = dataclasses.field(repr=False)

    def rows(self) -> list[dict[str, Any]]:
        """One row for each point of the grid."""
        mesh = np.meshgrid(*self.axes.values(), indexing="ij")
        columns = [*(axis.ravel() for axis in mesh), self.density.ravel(), self.valid.ravel()]
        names = (*self.axes, "density", "valid")
        return [plain(dict(zip(names, row, strict=True))) for row in zip(*columns, strict=True)]

    def marginal(self, name: str) -> Float[np.ndarray, " value"]:
        """Density of one parameter, the others integrated."""
        density, chosen = self.density, self.parameters[name].name
        for i, other in reversed(list(enumerate(self.axes))):
            if other != chosen:
                density = np.trapezoid(density, self.axes[other], axis=i)
        return density

    def quantile(self, name: str, probability: float) -> float:
        """Value below which the marginal has a probability."""
        x, density = self.axes[self.parameters[name].name], self.marginal(name)
        cells = np.diff(x) * (density[1:] + density[:-1]) / 2
        total = np.concatenate([[0.0], np.cumsum(cells)])
        return float(np.interp(probability, total / total[-1], x))


@compiled
def _widths(model: Model, signals: Mixture, x: Array, free: Array) -> Array:
    """Half the log of the determinant of the curvature in the factors, at minima."""

    def one(signal: Mixture, x: Array, free: Array) -> Array:
        hessian = models.derivatives(model, signal, x, models.nearest_cell(model, x)).hessian
        # At the minimum the curvature in a factor is that in its logarithm divided by the factor, twice.
        scale = jnp.where(model.is_log, jnp.exp(-x), 1.0)
        hessian = hessian * scale[:, None] * scale[None, :] / 2
        return jnp.linalg.slogdet(restricted(hessian, free))[1] / 2

    return jax.vmap(one, (Mixture(None, 0, -1), -1, -1))(signals, x, free)


def _moving(surface: Surface, x: Float[np.ndarray, "nuisance point"]) -> Bool[np.ndarray, "nuisance point"]:
    """Nuisances that are integrated: not those that stand still, or sit on a bound or at a kink."""
    model, names = surface.arrangement.model, surface.arrangement.nuisances
    lower, upper = np.asarray(model.lower)[:, None], np.asarray(model.upper)[:, None]
    moving = (x > lower + _BORDER) & (x < upper - _BORDER)
    for place, anchors in zip(range(len(names) - len(model.anchors), len(names)), model.anchors, strict=True):
        moving[place] &= np.min(np.abs(np.asarray(anchors)[:, None] - x[place]), axis=0) > _BORDER
    for place, name in enumerate(names):
        if name in surface.names or name in surface.at:
            moving[place] = False
    return moving


def _width(surface: Surface, points: np.ndarray, found: Evaluation) -> Float[np.ndarray, " point"]:
    """Half the log of the determinant of the curvature in all that is integrated."""
    moving, mixture, parts = _moving(surface, found.x), surface.mixture(points), []
    terms = jnp.asarray(mixture.terms)
    for first in range(0, len(points), _BATCH):
        rows = np.minimum(np.arange(first, first + _BATCH), len(points) - 1)
        signals = Mixture(terms, mixture.row[rows], mixture.weights[:, rows])
        parts.append(np.asarray(_widths(surface.arrangement.model, signals, found.x[:, rows], moving[:, rows])))
    return np.concatenate(parts)[: len(points)]


def _log_integrals(
    likelihood: Likelihood | Experiments, surface: Surface, points: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Log of the likelihood times the densities of the nuisances, integrated, and its validity."""
    found = surface.evaluate(points)
    if not surface.inner:
        return -found.chi2 / 2 - _width(surface, points, found), found.valid
    # Parameters of the theory with a constraint: the determinant is that of the nuisances, times that of the profile.
    whole = Surface(likelihood, (*surface.names, *surface.inner), surface.at, surface.inner)
    points = np.concatenate([points, found.profiled], axis=1)
    found = whole.evaluate(points, 2)
    here = slice(len(surface.names), None)
    _, outer = np.linalg.slogdet(found.hessian[:, here, here] / 2)
    return -found.chi2 / 2 - _width(whole, points, found) - outer / 2, found.valid & np.isfinite(outer)


def laplace(
    likelihood: Likelihood | Experiments,
    axes: Mapping[str, Any],
    priors: Mapping[str, Prior | str | Any] | None = None,
    at: Mapping[str, Any] | None = None,
) -> GridPosterior:
    """Posterior of any parameters on a grid.

    Exact in the limit of Gaussian nuisances; a nuisance on a bound or at a kink is held there.

    Args:
        likelihood: the experiments and the theory.
        axes: name of a parameter to increasing values; its constraint is replaced by its prior.
        priors: as in `sample`.
        at: values of other parameters, fixed.

    Raises:
        ValueError: an unknown parameter, axes that do not increase, a parameter without a prior.
        RuntimeError: in single precision.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> posterior = jc.laplace("xenonnt-2024-s2", {"flux": np.linspace(0.0, 4e7, 81)})
        >>> round(posterior.quantile("flux", 0.5) / 1e6, 2)  # 1e6 cm^-2 s^-1
        6.11
    """
    require_x64("a posterior")
    surface = Surface(with_data(likelihood, "a posterior"), tuple(axes), at)
    values = {name: np.asarray(v, float) for name, v in zip(surface.names, axes.values(), strict=True)}
    for name, v in values.items():
        if v.ndim != 1 or v.size < 2 or np.any(np.diff(v) <= 0):
            raise ValueError(f"axis {name!r} must increase and hold at least two values")
        for end in (v[0], v[-1]):
            surface.likelihood.parameters[name].check(end)
    chosen = choose_priors(surface.records, priors)
    mesh = np.meshgrid(*values.values(), indexing="ij")
    points = np.stack([column.ravel() for column in mesh], axis=1)
    height, valid = _log_integrals(surface.likelihood, surface, points)
    for prior, column in zip(chosen.values(), points.T, strict=True):
        height = height + prior.log_density(column)
    density = np.exp(height - np.nanmax(height)).reshape(mesh[0].shape)
    norm: Any = density
    for axis in reversed(values.values()):
        norm = np.trapezoid(norm, axis)
    return GridPosterior(values, density / norm, valid.reshape(mesh[0].shape), Parameters(surface.records))
