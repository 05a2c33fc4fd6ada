"""The Poisson part of chi2, with as many digits as there are."""

from typing import Any

import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, Bool, Float

__all__ = ["deviance", "log_probability", "negative", "poisson_chi2"]

_NEAR = 0.1  # |N - D|/(N + D), below which the series takes the place of the logarithm
_TERMS = 8  # of it
_LEAST = 1e-20  # events that count as seen


def deviance(expected: Float[Array, "*#shape"], observed: Float[Array, "*#shape"]) -> Float[Array, "*shape"]:
    """2 [N - D + D ln(D/N)] of every bin, infinite for D > 0 and N = 0; 2 N for D = 0.

    Close to the counts the logarithm is its series in s = (N - D)/(N + D), in which the linear part has gone:
    2 [(N - D) s - 2 D s^3 (1/3 + s^2/5 + ...)]. Differences of N ln N would leave a tenth of a unit of a million
    events in single precision.

    Args:
        expected: N.
        observed: D.
    """
    seen = observed > _LEAST
    difference, total = expected - observed, expected + observed
    s = difference / jnp.where(seen & (total > 0), total, 1.0)
    near = seen & (jnp.abs(s) < _NEAR)
    s = jnp.where(near, s, 0.0)
    series = jnp.zeros_like(s)
    for k in reversed(range(_TERMS)):
        series = series * s**2 + 1 / (2 * k + 3)
    close = difference * s - 2 * observed * s**3 * series
    # Else no slope where nothing is expected and nothing was seen.
    ratio = jnp.where(seen & ~near, jnp.maximum(expected, 0.0), 1.0) / jnp.where(seen & ~near, observed, 1.0)
    return 2 * jnp.where(near, close, difference - observed * jnp.log(ratio))


def log_probability(expected: Float[Array, "*#shape"], observed: Float[Array, "*#shape"]) -> Float[Array, "*shape"]:
    """Logarithm of the Poisson probability of counts, factorials included; minus infinity where it has none."""
    possible = (expected > 0) | ((observed == 0) & (expected == 0))
    seen = jnp.where(observed > 0, observed * jnp.log(jnp.where(expected > 0, expected, 1.0)), 0.0)
    return jnp.where(possible, seen - expected - gammaln(observed + 1.0), -jnp.inf)


def poisson_chi2(expected: Float[Array, " bin"], observed: Float[Array, " bin"]) -> Float[Array, ""]:
    """The sum of `deviance`; infinite if a bin expects less than nothing."""
    return jnp.where(jnp.any(negative(expected)), jnp.inf, jnp.sum(deviance(expected, observed)))


def negative(expected: Float[Any, "*shape"]) -> Bool[Any, "*shape"]:
    """Where less than nothing is expected, rounding aside: a Poisson distribution has no such mean."""
    return expected < -(1e-9 if jnp.finfo(expected.dtype).bits == 64 else 1e-5)
