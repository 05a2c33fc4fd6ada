"""Compiled fits of many toys, each with its own counts."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jcevns.inference.fit import fit_shapes
from jcevns.inference.newton_step import restricted
from jcevns.likelihood.merging import Lanes
from jcevns.likelihood.morphing import Mixture, MorphingModel

__all__ = ["Fits", "fit_at", "fit_free", "fit_held"]


class Fits(NamedTuple):
    """Fits of toys.

    Attributes:
        chi2: at the minimum.
        x: parameters.
        edm: estimated distance to the minimum.
        slope: of chi2 along the strength, in this fit.
        curvature: of the profile along the strength.
    """

    chi2: Array
    x: Array
    edm: Array
    slope: Array
    curvature: Array


def _with_data(model: MorphingModel, lane: Lanes) -> MorphingModel:
    parts = lambda m: (m.observed, m.owner, m.background, m.moving, m.centre)  # noqa: E731
    return eqx.tree_at(parts, model, (lane.observed, lane.owner, lane.background, lane.moving, lane.centre))


def _fit(model: MorphingModel, signal: Array | Mixture, start: Array | None, place: int | None) -> Fits:
    """One fit; slope and curvature of the profile along the parameter at `place`."""
    found = fit_shapes(model, signal, start)
    if place is None:
        return Fits(found.value, found.x, found.edm, jnp.zeros(()), jnp.zeros(()))
    # Curvature of the profile by the Schur complement, in the free directions.
    others = found.free & (jnp.arange(found.x.size) != place)
    column = jnp.where(others, found.hessian[:, place], 0.0)
    curvature = found.hessian[place, place] - column @ jnp.linalg.solve(restricted(found.hessian, others), column)
    return Fits(found.value, found.x, found.edm, found.gradient[place], curvature)


@jax.jit
def fit_at(model: MorphingModel, lanes: Lanes, weights: Float[Array, "toy power"]) -> Fits:
    """Fits of toys, each at its own signal."""

    def one(lane: Lanes, own: Array) -> Fits:
        return _fit(_with_data(model, lane), Mixture(lane.terms[None], jnp.zeros((), int), own), None, None)

    return jax.vmap(one)(lanes, weights)


@jax.jit
def fit_free(model: MorphingModel, lanes: Lanes) -> Fits:
    """Fits of toys with a free strength, the last of the normalisations."""
    place = model.linear.shape[1] - 1
    return jax.vmap(lambda lane: _fit(_with_data(model, lane), lane.terms[0], None, place))(lanes)


@jax.jit
def fit_held(model: MorphingModel, lanes: Lanes, start: Float[Array, "toy nuisance"]) -> Fits:
    """The same with the strength held where the start has it."""
    place = model.linear.shape[1] - 1

    def one(lane: Lanes, begin: Array) -> Fits:
        low, high = (limit.at[place].set(begin[place]) for limit in (model.lower, model.upper))
        held = eqx.tree_at(lambda m: (m.lower, m.upper), model, (low, high))
        return _fit(_with_data(held, lane), lane.terms[0], begin, place)

    return jax.vmap(one)(lanes, start)
