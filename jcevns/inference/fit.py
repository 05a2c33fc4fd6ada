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

from jcevns.inference.bounded import Minimum, minimise_bounded
from jcevns.inference.newton_step import newton_step, restricted
from jcevns.likelihood import joint, morphing, nuisances, poisson
from jcevns.likelihood.joint import Likelihood
from jcevns.likelihood.morphing import Mixture, MorphingModel
from jcevns.likelihood.poisson import TemplateModel
from jcevns.physics.recoil import AnyTheory, as_theory

__all__ = ["Fit", "fit_shapes", "minimise", "profile", "profile_signal", "tolerances"]

_STEPS_PER_START = 60
_LARGEST_STEP = 3.0  # in log-factors: the quadratic model says nothing about a factor 20 away


class Fit(eqx.Module):
    """Result of a profile fit; `chi2`, `pulls` and `expected` are differentiable in the theory.

    Attributes:
        chi2: minimum over the nuisances.
        pulls: relative pulls (factor - 1) at the minimum.
        expected: N_i at the minimum.
        slope: d chi2/d signal at the minimum (envelope theorem): chain it with d signal/d theory.
        edm: estimated vertical distance to the minimum, g H^-1 g / 2, infinite where H is not positive definite.
        valid: `edm` is below 1e-8 in float64 (1e-4 in float32) and the Hessian is positive definite.
        steps: Newton steps spent, restarts included.

    Example:
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> fit = jc.profile(likelihood, jc.StandardModel())
        >>> bool(fit.valid), round(float(fit.chi2), 3)
        (True, 3.86)
        >>> [round(n, 2) for n in fit.expected.tolist()]  # events per bin at the minimum
        [11.71, 13.73, 11.91]
    """

    chi2: Float[Array, ""]
    pulls: Float[Array, " nuisance"]
    expected: Float[Array, " bin"]
    slope: Float[Array, " slope"]
    edm: Float[Array, ""]
    valid: Bool[Array, ""]
    steps: Array


class _State(NamedTuple):
    theta: Array
    value: Array
    gradient: Array
    hessian: Array
    damping: Array
    decrement: Array  # of the last undamped step, infinite until there was one
    step: Array
    attempt: Array


def tolerances(dtype: jnp.dtype) -> tuple[float, float]:
    """EDM at which the last step is taken (it squares the error), and limit of validity."""
    return (1e-9, 1e-8) if jnp.finfo(dtype).bits == 64 else (1e-6, 1e-4)


def minimise(
    derivatives: Callable[[Array], tuple[Array, Array, Array]], starts: Float[Array, "start nuisance"]
) -> tuple[Float[Array, " nuisance"], Array]:
    """Minimise a smooth function by damped Newton steps, restarting from the next start where one fails.

    A step is taken if it lowers the function, else the damping grows tenfold. The method stops one full
    Newton step after the decrement has fallen below its goal.

    Args:
        derivatives: theta to value, gradient, Hessian.
        starts: starting points in the order they are tried, shape (start, nuisance).

    Returns:
        theta and the number of steps, restarts included.
    """
    goal, _ = tolerances(starts.dtype)
    noise = 8 * jnp.finfo(starts.dtype).eps
    attempts, size = starts.shape
    one = jnp.ones((), starts.dtype)

    def running(state: _State) -> Array:
        return ~(state.decrement < goal) & (state.step < attempts * _STEPS_PER_START)

    def body(state: _State) -> _State:
        begin = state.step == state.attempt * _STEPS_PER_START
        direction, decrement = newton_step(state.gradient, state.hessian, state.damping)
        usable = jnp.isfinite(decrement)
        length = jnp.max(jnp.abs(direction), initial=0.0)
        direction = jnp.where(usable, direction * jnp.minimum(1.0, _LARGEST_STEP / jnp.maximum(length, 1e-30)), 0.0)
        fresh = starts[jnp.minimum(state.attempt, attempts - 1)]
        theta = jnp.where(begin, fresh, state.theta + direction)
        value, gradient, hessian = derivatives(theta)
        # Close to the minimum the value no longer changes in its last digits, but the step is still good.
        lower = (value <= state.value + noise * jnp.abs(state.value)) | (decrement < goal)
        accept = begin | (usable & lower & jnp.isfinite(value))
        relaxed = jnp.where(state.damping > 1e-3, state.damping / 10, 0.0)
        damping = jnp.where(accept, relaxed, jnp.maximum(state.damping * 10, 1e-2))
        exact = accept & ~begin & (state.damping == 0)
        step = state.step + 1
        new = _State(
            theta,
            value,
            gradient,
            hessian,
            jnp.where(begin, 0.0, damping),
            jnp.where(exact, decrement, jnp.inf),
            step,
            step // _STEPS_PER_START,
        )
        old = state._replace(damping=damping, step=step, attempt=step // _STEPS_PER_START)
        return jax.tree.map(lambda a, b: jnp.where(accept, a, b), new, old)

    zero = jnp.asarray(0)
    empty = jnp.zeros(size, starts.dtype)
    first = _State(
        starts[0], jnp.inf * one, empty, jnp.eye(size, dtype=starts.dtype), 0 * one, jnp.inf * one, zero, zero
    )
    final = jax.lax.while_loop(running, body, first)
    return final.theta, final.step


def profile_signal(model: TemplateModel | MorphingModel, signal: Float[Array, " bin"] | Mixture) -> Fit:
    """Profile fit for a given signal; the pure core of `profile`, ready for `jax.vmap`.

    Derivatives with respect to the model and the signal follow from the implicit function theorem: first
    and second derivatives of `chi2` and first derivatives of `pulls` are exact at a valid point.

    Args:
        model: numbers of the likelihood.
        signal: expected signal in all bins, before nuisances; at all anchors of shape nuisances, bins fastest. With
            shape nuisances also a `Mixture`; `slope` is then with respect to its weights.
    """
    if isinstance(model, MorphingModel):
        return _profile_shapes(model, signal)
    if isinstance(signal, Mixture):
        raise TypeError("a mixture needs a likelihood with shape nuisances")
    return _profile_templates(model, signal)


def _profile_templates(model: TemplateModel, signal: Array) -> Fit:
    fixed_model, fixed_signal = jax.lax.stop_gradient((model, signal))
    theta, steps = minimise(
        lambda t: poisson.chi2_derivatives(fixed_model, fixed_signal, t),
        poisson.starts(fixed_model, fixed_signal),
    )
    theta = jax.lax.stop_gradient(theta)
    _, gradient, hessian = poisson.chi2_derivatives(model, signal, theta)
    # One Newton step, zero at the minimum, with the derivative -H^-1 dg of the implicit function theorem.
    step, edm = newton_step(gradient, jax.lax.stop_gradient(hessian), jnp.zeros((), theta.dtype))
    theta = theta + jnp.where(jnp.isfinite(edm), step, 0.0)
    value = poisson.chi2(model, signal, theta)
    expected = poisson.expected_counts(model, signal, theta)
    slope = poisson.signal_slope(model, expected, theta)
    return _result(value, nuisances.pulls(theta), expected, slope, edm, steps)


def _profile_shapes(model: MorphingModel, signal: Array | Mixture) -> Fit:
    fixed_model, fixed_signal = jax.lax.stop_gradient((model, signal))
    minimum = jax.lax.stop_gradient(fit_shapes(fixed_model, fixed_signal))
    x, cell, free = minimum.x, minimum.cell, minimum.free
    here = morphing.derivatives(model, signal, x, cell)
    hessian = restricted(here.hessian, free)
    # As above, in the directions that are neither on a bound nor held at a kink.
    gradient = jnp.where(free, here.gradient, 0.0)
    step, edm = newton_step(gradient, jax.lax.stop_gradient(hessian), jnp.zeros((), x.dtype))
    x = jnp.clip(x + jnp.where(jnp.isfinite(edm), step, 0.0), model.lower, model.upper)
    value = morphing.chi2(model, signal, x, cell)
    slope = morphing.signal_slope(model, signal, x, cell)
    expected = morphing.expected_counts(model, signal, x, cell)
    edm = jnp.maximum(edm, minimum.edm)
    return _result(value, morphing.pulls(model, x), expected, slope, edm, minimum.steps)


def fit_shapes(
    model: MorphingModel,
    signal: Float[Array, " anchor_bin"] | Mixture,
    start: Float[Array, " nuisance"] | None = None,
) -> Minimum:
    """Minimise over all nuisances of a likelihood with shapes.

    Args:
        model: numbers of the likelihood.
        signal: at all anchors, bins fastest.
        start: where to begin, if it is known well; otherwise the lowest of the minima from several starts is taken:
            templates that kink have more than one.
    """
    goal, _ = tolerances(model.sigma.dtype)

    def search(starts: Array) -> Minimum:
        return minimise_bounded(
            lambda x, cell: morphing.derivatives(model, signal, x, cell),
            starts,
            jnp.stack([morphing.nearest_cell(model, begin) for begin in starts]),
            (model.lower, model.upper),
            model.anchors,
            model.is_log,
            goal,
        )

    if start is not None:
        return search(jnp.clip(jnp.stack([start, model.nominal]), model.lower, model.upper))
    found = jax.vmap(lambda begin: search(begin[None]))(morphing.starts(model, signal))
    lowest = jnp.argmin(jnp.where(jnp.isfinite(found.edm), found.value, jnp.inf))
    return jax.tree.map(lambda column: column[lowest], found)


def _result(value: Array, pulls: Array, expected: Array, slope: Array, edm: Array, steps: Array) -> Fit:
    _, limit = tolerances(value.dtype)
    return Fit(
        chi2=value,
        pulls=pulls,
        expected=expected,
        slope=jax.lax.stop_gradient(slope),
        edm=jax.lax.stop_gradient(edm),
        valid=jax.lax.stop_gradient((edm < limit) & jnp.isfinite(value)),
        steps=steps,
    )


def profile(likelihood: Likelihood, theory: AnyTheory) -> Fit:
    """Minimise chi2 over the nuisances at one theory point.

    Args:
        likelihood: one or several experiments.
        theory: a theory, or an interaction at the nominal 8B flux.

    Returns:
        Minimum, pulls, expected counts, EDM and validity. Use `jax.grad` or `jax.vmap` on it.

    Example:
        >>> import jax
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood(jc.experiment("xenonnt-2024-s2"))
        >>> round(float(jc.profile(likelihood, jc.StandardModel()).chi2), 4)
        3.8596
        >>> slope = jax.grad(lambda sin2w: jc.profile(likelihood, jc.StandardModel(sin2w)).chi2)
        >>> round(float(slope(0.25)), 4)
        0.8943
    """
    return _profile(likelihood.unlabelled, as_theory(theory))


@eqx.filter_jit
def _profile(likelihood: Likelihood, theory: AnyTheory) -> Fit:
    return profile_signal(likelihood.model, joint.signal(likelihood, theory))
