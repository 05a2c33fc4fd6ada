"""Posterior on a grid with the nuisances integrated by Laplace's method: an instant look, and a check of samplers."""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.inference.batch import profile_signals
from jcevns.inference.fit import fit_shapes, tolerances
from jcevns.inference.newton_step import restricted
from jcevns.inference.posterior import check_names, signal_function
from jcevns.inference.priors import Prior, choose_priors
from jcevns.likelihood import poisson
from jcevns.likelihood.joint import FLUX_PULL, Likelihood, as_morphing
from jcevns.likelihood.morphing import MorphingModel
from jcevns.likelihood.poisson import TemplateModel
from jcevns.precision import require_x64

__all__ = ["GridPosterior", "laplace_grid"]

_BATCH = 64


@dataclasses.dataclass(frozen=True)
class GridPosterior:
    """A posterior on a grid, normalised by the trapezoidal rule.

    Attributes:
        axes: parameter to its values.
        density: posterior density in the parameters themselves.
        valid: where the fit of the nuisances is.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> posterior = jc.laplace_grid(likelihood, {"sin2w": np.linspace(-0.1, 1.2, 66)})
        >>> posterior.marginal("sin2w").shape, bool(posterior.valid.all())
        ((66,), True)
        >>> round(posterior.quantile("sin2w", 0.5), 3)
        0.228
    """

    axes: dict[str, np.ndarray]
    density: Float[np.ndarray, "..."]
    valid: Bool[np.ndarray, "..."]

    def marginal(self, name: str) -> Float[np.ndarray, " value"]:
        """Density of one parameter, the others integrated."""
        density = self.density
        for i, other in reversed(list(enumerate(self.axes))):
            if other != name:
                density = np.trapezoid(density, self.axes[other], axis=i)
        return density

    def quantile(self, name: str, probability: float) -> float:
        """Value below which the marginal has a probability."""
        x, density = self.axes[name], self.marginal(name)
        cells = np.diff(x) * (density[1:] + density[:-1]) / 2
        total = np.concatenate([[0.0], np.cumsum(cells)])
        return float(np.interp(probability, total / total[-1], x))


def _log_integral(model: MorphingModel, signal: Array) -> tuple[Array, Array]:
    """Log of the likelihood times the nuisances' densities, integrated over the factors by Laplace's method."""
    found = fit_shapes(model, signal)
    # Curvature in the factors: at the minimum that in the logarithm divided by the factors.
    scale = jnp.where(model.is_log, jnp.exp(-found.x), 1.0)
    hessian = found.hessian * scale[:, None] * scale[None, :] / 2
    _, log_determinant = jnp.linalg.slogdet(restricted(hessian, found.free))
    _, limit = tolerances(found.x.dtype)
    return -found.value / 2 - log_determinant / 2, found.edm < limit


@jax.jit
def _shapes(model: MorphingModel, signals: Array) -> tuple[Array, Array]:
    return jax.vmap(_log_integral, (None, 0))(model, signals)


@jax.jit
def _widths(model: TemplateModel, signals: Array, factors: Array) -> Array:
    """Log of the determinant of the curvature in the factors, halved, at the minima."""

    def one(signal: Array, factor: Array) -> Array:
        _, _, hessian = poisson.chi2_derivatives(model, signal, jnp.log(factor))
        return jnp.linalg.slogdet(hessian / (2 * factor[:, None] * factor[None, :]))[1] / 2

    return jax.vmap(one)(signals, factors)


def _integrals(likelihood: Likelihood, counts: Float[np.ndarray, "point signal"]) -> tuple[np.ndarray, np.ndarray]:
    """Log of the integral over the nuisances at every point, and its validity."""
    if isinstance(likelihood.model, TemplateModel):
        fit = profile_signals(likelihood, counts.T)
        width = _widths(likelihood.model, jnp.asarray(counts), jnp.asarray(1 + fit.pulls.T))
        return -fit.chi2 / 2 - np.asarray(width), fit.valid
    model, parts = as_morphing(likelihood), []
    for rows in _batches(len(counts)):
        parts.append([np.asarray(x) for x in _shapes(model, jnp.asarray(counts[rows]))])
    log, valid = (np.concatenate(x)[: len(counts)] for x in zip(*parts, strict=True))
    return log, valid


def _batches(total: int) -> Iterator[np.ndarray]:
    """Indices in batches of one size, the last repeated to fill it, so that one compilation serves all."""
    for first in range(0, total, _BATCH):
        yield np.minimum(np.arange(first, first + _BATCH), total - 1)


def laplace_grid(
    likelihood: Likelihood,
    axes: Mapping[str, np.ndarray],
    priors: Mapping[str, Prior] | None = None,
    interaction: str | None = None,
    mass: float | None = None,
) -> GridPosterior:
    """Posterior of one parameter or two on a grid.

    Exact in the limit of Gaussian nuisances; a nuisance on a bound or at a kink is held there.

    Args:
        likelihood: the experiments; `flux_pull=False` if the flux is an axis.
        axes: parameter (`flux`, `sin2w`, `mass`, `coupling`) to increasing values.
        priors: as in `sample`.
        interaction: name of the mediator, for a coupling.
        mass: of the mediator in MeV, if it is not an axis.

    Example:
        >>> import numpy as np
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"), flux_pull=False)
        >>> posterior = jc.laplace_grid(likelihood, {"flux": np.linspace(0.0, 4e7, 81)})
        >>> round(posterior.quantile("flux", 0.5) / 1e6, 2)  # 1e6 cm^-2 s^-1
        6.11
    """
    require_x64("a posterior")
    names = list(axes)
    check_names(names, interaction, mass)
    if "flux" in names and FLUX_PULL in likelihood.nuisances:
        raise ValueError("the flux is an axis and its pull is on: build Likelihood(..., flux_pull=False)")
    values = {name: np.asarray(v, float) for name, v in axes.items()}
    if any(v.ndim != 1 or v.size < 2 or np.any(np.diff(v) <= 0) for v in values.values()):
        raise ValueError("axes must increase and hold at least two values each")
    chosen = choose_priors(names, priors)
    mesh = np.meshgrid(*values.values(), indexing="ij")
    points = {name: column.ravel() for name, column in zip(names, mesh, strict=True)}
    signal = jax.jit(jax.vmap(signal_function(likelihood, names, interaction, mass)))
    total = mesh[0].size
    counts = [np.asarray(signal({k: jnp.asarray(v[rows]) for k, v in points.items()})) for rows in _batches(total)]
    height, valid = _integrals(likelihood, np.concatenate(counts)[:total])
    for name, prior in chosen.items():
        height = height + prior.log_density(points[name])
    density = np.exp(height - np.nanmax(height)).reshape(mesh[0].shape)
    norm = density
    for axis in reversed(values.values()):
        norm = np.trapezoid(norm, axis)
    return GridPosterior(values, density / norm, valid.reshape(mesh[0].shape))
