"""Profile fit: chi2 minimised over the nuisances at one theory point.

A damped Newton method with exact Hessian. It never trusts its own flag: a point is valid if the estimated
distance to the minimum is small and the Hessian there positive definite. It never raises inside a batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jcevns.likelihood import joint, nuisances, poisson
from jcevns.likelihood.joint import Likelihood
from jcevns.likelihood.poisson import TemplateModel
from jcevns.physics.cross_sections import AbstractInteraction
from jcevns.physics.recoil import Theory

__all__ = ["Fit", "minimise", "profile", "profile_signal"]

_STEPS_PER_START = 60
_LARGEST_STEP = 3.0  # in log-factors: the quadratic model says nothing about a factor 20 away


class Fit(eqx.Module):
    """Result of a profile fit; `chi2`, `pulls` and `expected` are differentiable in the theory.

    Attributes:
        chi2: minimum over the nuisances.
        pulls: relative pulls (factor - 1) at the minimum.
        expected: N_i at the minimum.
        edm: estimated vertical distance to the minimum, g H^-1 g / 2, infinite where H is not positive definite.
        valid: `edm` is below 1e-8 in float64 (1e-4 in float32) and the Hessian is positive definite.
        steps: Newton steps spent, restarts included.
    """

    chi2: Float[Array, ""]
    pulls: Float[Array, " nuisance"]
    expected: Float[Array, " bin"]
    edm: Float[Array, ""]
    valid: Bool[Array, ""]
    steps: Array


class _State(NamedTuple):
    theta: Array
    damping: Array
    value: Array
    gradient: Array
    hessian: Array
    edm: Array
    step: Array
    attempt: Array


def _newton(gradient: Array, hessian: Array, damping: Array) -> tuple[Array, Array]:
    """Step -(H + damping |diag H|)^-1 g and g^T (...)^-1 g / 2; infinite decrement where not positive definite."""
    diagonal = jnp.abs(jnp.diagonal(hessian))
    floor = jnp.finfo(hessian.dtype).tiny ** 0.5
    scale = jax.lax.rsqrt(jnp.maximum(diagonal, floor))
    # Unit diagonal first: widths of 5% and 100% put a factor 400 between the entries.
    scaled = hessian * scale[:, None] * scale[None, :] + damping * jnp.eye(hessian.shape[0], dtype=hessian.dtype)
    factor = jax.scipy.linalg.cholesky(scaled, lower=True)
    white = jax.scipy.linalg.solve_triangular(factor, gradient * scale, lower=True)
    step = -scale * jax.scipy.linalg.solve_triangular(factor.T, white, lower=False)
    decrement = jnp.sum(white**2) / 2
    return step, jnp.where(jnp.isfinite(decrement), decrement, jnp.inf)


def _tolerances(dtype: jnp.dtype) -> tuple[float, float]:
    """Goal and validity limit for the EDM."""
    return (1e-18, 1e-8) if jnp.finfo(dtype).bits == 64 else (1e-9, 1e-4)


def minimise(
    derivatives: Callable[[Array], tuple[Array, Array, Array]], starts: Float[Array, "start nuisance"]
) -> tuple[Float[Array, " nuisance"], Float[Array, ""], Array]:
    """Minimise a smooth function by damped Newton steps, restarting from the next start where one fails.

    Args:
        derivatives: theta to value, gradient, Hessian.
        starts: starting points in the order they are tried, shape (start, nuisance).

    Returns:
        theta, its EDM and the number of steps.
    """
    goal, limit = _tolerances(starts.dtype)
    noise = 8 * jnp.finfo(starts.dtype).eps

    def begin(attempt: Array, step: Array) -> _State:
        theta = starts[jnp.minimum(attempt, len(starts) - 1)]
        value, gradient, hessian = derivatives(theta)
        _, edm = _newton(gradient, hessian, jnp.zeros_like(value))
        return _State(theta, jnp.full_like(value, 1e-3), value, gradient, hessian, edm, step, attempt)

    def advance(state: _State) -> _State:
        direction, _ = _newton(state.gradient, state.hessian, state.damping)
        direction = jnp.where(jnp.isfinite(direction), direction, 0.0)
        size = jnp.max(jnp.abs(direction), initial=0.0)
        direction = direction * jnp.minimum(1.0, _LARGEST_STEP / jnp.maximum(size, 1e-30))
        theta = state.theta + direction
        value, gradient, hessian = derivatives(theta)
        better = (value <= state.value + noise * jnp.abs(state.value)) & (size > 0)
        _, edm = _newton(gradient, hessian, jnp.zeros_like(value))
        damping = jnp.where(better, state.damping / 10, jnp.maximum(state.damping, 1e-4) * 10)
        damping = jnp.where(damping < 1e-7, 0.0, damping)
        keep = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        return _State(
            keep(theta, state.theta),
            damping,
            keep(value, state.value),
            keep(gradient, state.gradient),
            keep(hessian, state.hessian),
            keep(edm, state.edm),
            state.step + 1,
            state.attempt,
        )

    def body(state: _State) -> _State:
        state = advance(state)
        spent = state.step >= (state.attempt + 1) * _STEPS_PER_START
        failed = spent & ~(state.edm < limit) & (state.attempt + 1 < len(starts))
        return jax.lax.cond(failed, lambda: begin(state.attempt + 1, state.step), lambda: state)

    def running(state: _State) -> Array:
        return ~(state.edm < goal) & (state.step < (state.attempt + 1) * _STEPS_PER_START)

    zero = jnp.asarray(0)
    final = jax.lax.while_loop(running, body, begin(zero, zero))
    return final.theta, final.edm, final.step


def _starts(model: TemplateModel, signal: Float[Array, " bin"]) -> Float[Array, "start nuisance"]:
    first = poisson.start(model, signal)
    return jnp.stack([first, jnp.zeros_like(first), first - 0.5, first / 2])


def profile_signal(model: TemplateModel, signal: Float[Array, " bin"]) -> Fit:
    """Profile fit for a given signal; the pure core of `profile`, ready for `jax.vmap`.

    Derivatives with respect to the model and the signal follow from the implicit function theorem: first
    and second derivatives of `chi2` and first derivatives of `pulls` are exact at a valid point.

    Args:
        model: numbers of the likelihood.
        signal: expected signal in all bins, before nuisances.
    """
    fixed_model, fixed_signal = jax.lax.stop_gradient((model, signal))
    theta, edm, steps = minimise(
        lambda t: poisson.chi2_derivatives(fixed_model, fixed_signal, t), _starts(fixed_model, fixed_signal)
    )
    theta = jax.lax.stop_gradient(theta)
    _, gradient, hessian = poisson.chi2_derivatives(model, signal, theta)
    # One Newton step, zero at the minimum, with the derivative -H^-1 dg of the implicit function theorem.
    step, _ = _newton(gradient, jax.lax.stop_gradient(hessian), jnp.zeros_like(edm))
    theta = theta + jnp.where(jnp.isfinite(edm), step, 0.0)
    value = poisson.chi2(model, signal, theta)
    _, limit = _tolerances(theta.dtype)
    return Fit(
        chi2=value,
        pulls=nuisances.pulls(theta),
        expected=poisson.expected_counts(model, signal, theta),
        edm=jax.lax.stop_gradient(edm),
        valid=jax.lax.stop_gradient((edm < limit) & jnp.isfinite(value)),
        steps=steps,
    )


@eqx.filter_jit
def profile(likelihood: Likelihood, theory: Theory | AbstractInteraction) -> Fit:
    """Minimise chi2 over the nuisances at one theory point.

    Args:
        likelihood: one or several experiments.
        theory: a theory, or an interaction at the nominal 8B flux.

    Returns:
        Minimum, pulls, expected counts, EDM and validity. Use `jax.grad` or `jax.vmap` on it.
    """
    return profile_signal(likelihood.model, joint.signal(likelihood, theory))
