"""Profile fit: chi2 minimised over the nuisances at one point.

A damped Newton method with exact Hessian. It never trusts its own flag: a point is valid if the estimated
distance to the minimum is small and the Hessian there positive definite. It never raises inside a batch.
"""

import math
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.compiled import compiled
from jcevns.fit.bounded import Minimum, borders, minimise_bounded
from jcevns.fit.newton_step import newton_step, restricted
from jcevns.fit.products import STEP, Factors, Tangent, global_minimum
from jcevns.fit.validity import tolerances
from jcevns.likelihood import model as models
from jcevns.likelihood.likelihood import (
    Experiments,
    Likelihood,
    arranged,
    internal,
    penalty,
    signal,
    with_data,
)
from jcevns.likelihood.model import Mixture, Model
from jcevns.likelihood.starts import along_stars, combined, explored, in_other_cells, in_other_factors, stars, starts

__all__ = ["Profile", "fit_model", "profile", "profile_model"]

_STEPS = 80
_CELLS = 1  # of the rounds of starts of models with shapes, the one that stays in the cells of the shapes


class Profile(eqx.Module):
    """Result of a profile fit; `chi2`, `pulls` and `expected` are differentiable in what the fit was done at.

    Attributes:
        chi2: minimum over the nuisances; infinite where a bin expects less than nothing.
        pulls: (value - default)/sigma of the nuisances at the minimum.
        expected: N_i at the minimum.
        edm: estimated vertical distance to the minimum, g H^-1 g / 2, infinite where H is not positive definite.
        valid: `edm` is below 1e-8 in float64 (1e-4 in float32), the Hessian is positive definite, no bin expects
            less than nothing.
        steps: Newton steps spent.
        factors: factors and positions of the nuisances at the minimum.
        names: of the nuisances.
        at: where the fit was done.

    Example:
        >>> import jcevns as jc
        >>> fit = jc.profile("xenonnt-2024-s2")
        >>> bool(fit.valid), round(float(fit.chi2), 3)
        (True, 3.86)
        >>> [round(n, 2) for n in fit.expected.tolist()]  # events per bin at the minimum
        [11.71, 13.73, 11.91]
    """

    chi2: Float[Array, ""]
    pulls: Float[Array, " nuisance"]
    expected: Float[Array, " bin"]
    edm: Float[Array, ""]
    valid: Bool[Array, ""]
    steps: Array
    factors: Float[Array, " nuisance"]
    names: tuple[str, ...] = eqx.field(static=True)
    defaults: tuple[float, ...] = eqx.field(static=True)
    at: dict[str, Any]

    @property
    def values(self) -> dict[str, Any]:
        """Values of the nuisances at the minimum, and of what was given, by full name."""
        found = {n: f * d for n, f, d in zip(self.names, self.factors, self.defaults, strict=True)}
        return found | self.at


def profile_model(model: Model, signal: Float[Array, " anchor_bin"] | Mixture) -> tuple[Any, ...]:
    """Profile fit for a given signal; the pure core of `profile`, ready for `jax.vmap`.

    Derivatives with respect to the model and the signal follow from the implicit function theorem: first
    and second derivatives of chi2 and first derivatives of the parameters are exact at a valid point.

    Args:
        model: numbers of the likelihood.
        signal: expected signal in all bins, before nuisances; at all anchors of shape nuisances, bins fastest.

    Returns:
        chi2, parameters of the model, expected counts, EDM, validity, steps.
    """
    fixed_model, fixed_signal = jax.lax.stop_gradient((model, signal))
    minimum = jax.lax.stop_gradient(fit_model(fixed_model, fixed_signal))
    x, cell, free = minimum.x, minimum.cell, minimum.free
    here = models.derivatives(model, signal, x, cell)
    hessian = restricted(here.hessian, free)
    # One Newton step, zero at the minimum, with the derivative -H^-1 dg of the implicit function theorem, in the
    # directions that are neither on a bound nor held at a kink.
    gradient = jnp.where(free, here.gradient, 0.0)
    step, edm = newton_step(gradient, jax.lax.stop_gradient(hessian), jnp.zeros((), x.dtype))
    x = jnp.clip(x + jnp.where(jnp.isfinite(edm), step, 0.0), fixed_model.lower, fixed_model.upper)
    x = jnp.where(model.lower == model.upper, model.lower, x)
    value = models.chi2(model, signal, x, cell)
    expected = models.expected_counts(model, signal, x, cell)
    edm = jax.lax.stop_gradient(jnp.maximum(edm, minimum.edm))
    _, limit = tolerances(value.dtype)
    valid = (edm < limit) & jnp.isfinite(value) & minimum.proven
    return value, x, expected, edm, jax.lax.stop_gradient(valid), minimum.steps


def fit_model(
    model: Model,
    signal: Float[Array, " anchor_bin"] | Mixture,
    start: Float[Array, " nuisance"] | None = None,
) -> Minimum:
    """Minimise over all nuisances.

    Args:
        model: numbers of the likelihood.
        signal: at all anchors, bins fastest.
        start: where to begin, if it is known well; otherwise the lowest of the minima from several starts is taken:
            templates that kink have more than one.
    """
    goal, _ = tolerances(model.sigma.dtype)

    def search(begins: Array, inside: Any = False) -> Minimum:
        """`inside`: of the cells of the shapes that are not smooth, where chi2 has one dip along each."""
        begins = jnp.clip(begins, model.lower, model.upper)
        cells = jnp.stack([models.nearest_cell(model, begin) for begin in begins])
        shapes = np.arange(len(model.anchors))
        kinked = np.concatenate([np.zeros(model.lower.size - shapes.size, bool), ~np.isin(shapes, model.smooth)])
        low, high = borders(model.anchors, model.lower, model.upper, cells[0])
        return minimise_bounded(
            lambda x, cell: models.derivatives(model, signal, x, cell),
            begins,
            cells,
            (jnp.where(kinked & inside, low, model.lower), jnp.where(kinked & inside, high, model.upper)),
            model.anchors,
            model.is_log,
            goal,
            _STEPS,
        )

    if start is not None:
        found = search(jnp.stack([start, model.nominal]))
        return found._replace(proven=_proven(model, signal, found, True))

    first = starts(model, signal)

    def every(x: Array) -> tuple[list[Array], list[Array]]:
        """Starts of all rounds, and whether they are worth a fit where the lowest minimum is at `x`."""
        later = _later_starts(model, signal, x)
        return [first, *(begins for begins, _ in later)], [jnp.ones(len(first), bool), *(ask for _, ask in later)]

    rounds, _ = every(first[0])
    number = np.repeat(np.arange(len(rounds)), [len(begins) for begins in rounds])
    inside = (number == _CELLS) & (len(model.smooth) < len(model.anchors) and combined(model))
    index, total = np.arange(number.size), number.size

    # One start after the other, in one loop: the minimiser is compiled once. Starts of a round are beside the lowest
    # minimum of the rounds before.
    def descend(state: tuple[Array, Minimum, Array]) -> tuple[Array, Minimum, Array]:
        k, best, beside = state
        begins, asked = (jnp.concatenate(part) for part in every(beside))
        found = search(begins[k][None], jnp.asarray(inside)[k])
        found = found._replace(proven=jnp.asarray(True))
        # The last comes from the lowest, out of its cell again.
        final = bool(inside.any()) & (k == total - 1)
        lower = jnp.isfinite(found.edm) & (~jnp.isfinite(best.edm) | (found.value < best.value)) | (k == 0) | final
        best = jax.tree.map(lambda new, old: jnp.where(lower, new, old), found, best)
        here = jnp.asarray(number)[k]
        same = asked & (index > k) & (number == here)
        after = jnp.concatenate(every(best.x)[1]) & (number > here)
        stays = jnp.any(same)
        ahead = jnp.where(stays, same, after)
        following = jnp.where(jnp.any(ahead), jnp.argmax(ahead), total)
        return following, best, jnp.where(stays, beside, best.x)

    size, dtype = first.shape[1], first.dtype
    none = Minimum(
        first[0],
        jnp.full((), jnp.inf, dtype),
        jnp.zeros(size, dtype),
        jnp.eye(size, dtype=dtype),
        models.nearest_cell(model, first[0]),
        jnp.ones(size, bool),
        jnp.full((), jnp.inf, dtype),
        jnp.asarray(0),
        jnp.asarray(True),
    )
    _, found, _ = jax.lax.while_loop(lambda state: state[0] < total, descend, (jnp.asarray(0), none, first[0]))
    return found._replace(proven=_proven(model, signal, found, False))


def _later_starts(
    model: Model, signal: Array | Mixture, x: Array
) -> list[tuple[Float[Array, "start nuisance"], Bool[Array, " start"]]]:
    """Starts beside the lowest minimum yet, for one round after the other, and whether they are worth a fit."""
    if len(model.smooth) < len(model.anchors):
        last = [(x[None], jnp.ones(1, bool))] if combined(model) else []
        return [in_other_cells(model, x), in_other_factors(model, x), *last]
    if not model.anchors and len(stars(model.loading, model.belongs)) > 1:
        return [(begins, jnp.ones(len(begins), bool)) for begins in along_stars(model, signal, x)[1:]]
    return []


def _proven(model: Model, signal: Array | Mixture, found: Minimum, given: bool) -> Bool[Array, ""]:
    """Whether no other way to pull factors of one component is lower; of models with shapes it is not asked.

    There the tangent is that of one position of the shapes, and proves little.
    """
    loading = np.array(model.loading or ((),), float)
    if model.anchors or not np.any(np.sum(loading != 0, axis=-1) > 1):
        return jnp.asarray(True)
    count = model.linear.shape[1]
    log = ~model.is_linear

    def factor(x: Array) -> Array:
        return jnp.where(log, jnp.exp(x[:count]), x[:count])

    sigma, centre = model.sigma[:count], 1 + model.centre[:count]
    factors = Factors(factor(found.x), centre, sigma, factor(model.lower), factor(model.upper))
    owner = np.array(model.belongs, int)

    def tangent(x: Array) -> Tangent:
        return Tangent(*models.tilts(model, signal, x, found.cell), owner, jnp.sum(model.owner, axis=1))

    def elsewhere(place: int) -> Tangent:
        moved = jnp.where(log[place], found.x[place] + math.log(STEP), found.x[place] * STEP)
        return tangent(found.x.at[place].set(moved))

    several = elsewhere if len(set(model.belongs)) > 1 else None
    here = tangent(found.x)
    proven = global_minimum(loading, here, factors, found.value, several)
    if given or not stars(model.loading, model.belongs):
        return proven
    return proven | explored(loading, model.belongs, *factors[:3], here.data / jnp.sum(model.owner, axis=1))


def profile(likelihood: Likelihood | Experiments, at: Mapping[str, Any] | None = None) -> Profile:
    """Minimise chi2 over the nuisances that are not named, at values of any parameters.

    A parameter that is named stands still, without its constraint; what is neither named nor a nuisance has its
    default. Parameters of the theory with a constraint are nuisances too, and are profiled by `fit` and `interval`;
    here they stand still.

    Args:
        likelihood: one or several experiments and a theory.
        at: values by name, full or short.

    Returns:
        Minimum, pulls, expected counts, EDM and validity. Use `jax.grad` or `jax.vmap` on it.

    Example:
        >>> import jax
        >>> import jcevns as jc
        >>> likelihood = jc.Likelihood("xenonnt-2024-s2")
        >>> round(float(jc.profile(likelihood).chi2), 4)
        3.8596
        >>> slope = jax.grad(lambda sin2w: jc.profile(likelihood, {"sin2w": sin2w}).chi2)
        >>> round(float(slope(0.25)), 4)
        0.8943
    """
    likelihood = with_data(likelihood, "a profile")
    given = likelihood.parameters.full_values(at)
    norms = likelihood.normalisations
    absent = tuple(n for n in given if n in norms and norms[n].signal_only)
    standing = {n: v for n, v in given.items() if n in likelihood.nuisances and n not in absent}
    arrangement = arranged(likelihood, absent)
    model = arrangement.model
    if standing:
        x = internal(likelihood, standing, arrangement)
        for name in standing:
            place = arrangement.nuisances.index(name)
            model = eqx.tree_at(
                lambda m: (m.lower, m.upper, m.sigma),
                model,
                (
                    model.lower.at[place].set(x[place]),
                    model.upper.at[place].set(x[place]),
                    model.sigma.at[place].set(jnp.inf),
                ),
            )
    counts = signal(likelihood, {n: v for n, v in given.items() if n not in standing})
    value, x, expected, edm, valid, steps = _profile(model, counts)
    factors = jnp.where(model.is_log, jnp.exp(x), x)
    pulls = models.sigmas(model, models.pulls(model, x))
    records = [likelihood.parameters[n] for n in arrangement.nuisances]
    defaults = tuple(r.reference for r in records)
    value = value + penalty(likelihood, {}, skip=tuple(given))
    return Profile(value, pulls, expected, edm, valid, steps, factors, arrangement.nuisances, defaults, given)


_profile = compiled(profile_model)
