"""Poisson chi2 of templates times normalisation factors (eq. 17 of arXiv:2411.11749), with closed derivatives."""

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.special import xlogy
from jaxtyping import Array, Float

from jcevns.likelihood.nuisances import penalty

__all__ = [
    "TemplateModel",
    "chi2",
    "chi2_derivatives",
    "expected_counts",
    "poisson_chi2",
    "signal_slope",
    "starts",
]


class TemplateModel(eqx.Module):
    """Numbers of a binned likelihood, and nothing else: no name in it, so one compilation serves all data.

    Attributes:
        observed: counts.
        owner: 1 where a bin belongs to an experiment, else 0.
        background: templates, zero outside their experiment's bins.
        signal_loading: which nuisance scales the signal of which experiment.
        background_loading: which nuisance scales which background.
        sigma: relative widths of the nuisances.
    """

    observed: Float[Array, " bin"]
    owner: Float[Array, "experiment bin"]
    background: Float[Array, "background bin"]
    signal_loading: Float[Array, "experiment nuisance"]
    background_loading: Float[Array, "background nuisance"]
    sigma: Float[Array, " nuisance"]


def poisson_chi2(expected: Float[Array, " bin"], observed: Float[Array, " bin"]) -> Float[Array, ""]:
    """2 sum [N - D + D ln(D/N)]; a bin with D = 0 contributes 2 N."""
    return 2 * jnp.sum(expected - observed + xlogy(observed, observed) - xlogy(observed, expected))


def _ratio(observed: Array, expected: Array) -> Array:
    """D/N, 0 where D = 0 even if nothing is expected there."""
    empty = observed == 0
    return jnp.where(empty, 0.0, observed / jnp.where(empty, 1.0, expected))


def _components(
    model: TemplateModel, signal: Float[Array, " bin"], theta: Float[Array, " nuisance"]
) -> tuple[Float[Array, "component bin"], Float[Array, "component nuisance"]]:
    """Scaled templates and the loading of each, signals first."""
    loading = jnp.concatenate([model.signal_loading, model.background_loading])
    templates = jnp.concatenate([model.owner * signal, model.background])
    return templates * jnp.exp(loading @ theta)[:, None], loading


def expected_counts(
    model: TemplateModel, signal: Float[Array, " bin"], theta: Float[Array, " nuisance"]
) -> Float[Array, " bin"]:
    """N_i of eq. 16 of arXiv:2411.11749 at log-factors `theta`."""
    return jnp.sum(_components(model, signal, theta)[0], axis=0)


def chi2(model: TemplateModel, signal: Float[Array, " bin"], theta: Float[Array, " nuisance"]) -> Float[Array, ""]:
    """Eq. 17 of arXiv:2411.11749 at log-factors `theta`, before minimisation."""
    return chi2_derivatives(model, signal, theta)[0]


def chi2_derivatives(
    model: TemplateModel, signal: Float[Array, " bin"], theta: Float[Array, " nuisance"]
) -> tuple[Float[Array, ""], Float[Array, " nuisance"], Float[Array, "nuisance nuisance"]]:
    """Value, gradient and Hessian of chi2 in the log-factors, in closed form."""
    parts, loading = _components(model, signal, theta)
    expected = jnp.sum(parts, axis=0)
    jacobian = loading.T @ parts  # dN/dtheta, (nuisance, bin)
    ratio = _ratio(model.observed, expected)
    per_count = _ratio(ratio, expected)
    # The second derivative of N is the jacobian's own: d2N/dtheta_j dtheta_k = sum_c loading_cj loading_ck part_c.
    strength = parts @ (1 - ratio)
    value, slope, curvature = penalty(theta, model.sigma)
    value = value + poisson_chi2(expected, model.observed)
    gradient = 2 * jacobian @ (1 - ratio) + slope
    hessian = 2 * (jacobian * per_count) @ jacobian.T
    hessian = hessian + 2 * (loading.T * strength) @ loading + jnp.diag(curvature)
    return value, gradient, hessian


def signal_slope(
    model: TemplateModel, expected: Float[Array, " bin"], theta: Float[Array, " nuisance"]
) -> Float[Array, " bin"]:
    """Partial derivative of chi2 with respect to the signal, at fixed log-factors."""
    factor = jnp.exp(model.signal_loading @ theta) @ model.owner
    return 2 * (1 - _ratio(model.observed, expected)) * factor


def starts(model: TemplateModel, signal: Float[Array, " bin"]) -> Float[Array, "start nuisance"]:
    """Log-factors to start a fit from, in the order to try: signals far above the data are scaled down to them.

    1. Every nuisance of a signal takes its share by variance, the widest nearly all if the way is long;
       a shared one takes the mean over its experiments.
    2. The nuisance that most signals share takes it all.
    3. Halfway. 4. No pull.
    """
    wanted = jnp.log((model.owner @ model.observed + 1) / (model.owner @ signal + 1))
    down = jnp.minimum(wanted, 0.0)
    power = (1 - down)[:, None] * jnp.log(model.sigma**2)
    used = model.signal_loading > 0
    largest = jnp.max(jnp.where(used, power, -jnp.inf), axis=1, keepdims=True, initial=-jnp.inf)
    share = jnp.where(used, jnp.exp(power - largest), 0.0)
    share = share / jnp.maximum(jnp.sum(share, axis=1, keepdims=True), 1e-30)
    users = jnp.sum(model.signal_loading, axis=0)
    first = down @ share / jnp.maximum(users, 1.0)
    widest = jnp.argmax(users + model.sigma / (1 + jnp.max(model.sigma, initial=0.0))) if users.size else 0
    second = jnp.where((jnp.arange(users.size) == widest) & (users > 0), jnp.min(down), 0.0)
    return jnp.stack([first, second, first / 2, jnp.zeros_like(first)])
