"""Fits by the general minimiser: any likelihood, any parameters that stand still."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jcevns.compiled import compiled
from jcevns.fit.profile import fit_model
from jcevns.fit.validity import tolerances
from jcevns.likelihood import model as models
from jcevns.likelihood.model import Mixture, Model

__all__ = ["FEWEST", "Held", "general_fits", "held_model", "in_turn", "processors", "standing"]

FEWEST = 16
"""Points of the smallest batch."""

_MANY_BINS = 256  # from which points of large batches are fitted in turn too


class Held(NamedTuple):
    """Places of parameters that stand still in a fit, and where."""

    place: Any  # (held,)
    x: Any  # (held, point)


def held_model(model: Model, place: Array, x: Array) -> Model:
    """The model with some parameters kept where they are; nothing is said of their constraints."""
    if place.size == 0:
        return model
    return eqx.tree_at(
        lambda m: (m.lower, m.upper), model, (model.lower.at[place].set(x), model.upper.at[place].set(x))
    )


def _one_fit(
    model: Model, signal: Array | Mixture, place: Array, x: Array, whole: Array | Mixture
) -> tuple[Array, ...]:
    """Of one point, by the general minimiser; what `Profiles` holds. `whole`: the signal to fit, added up or not."""
    _, limit = tolerances(model.sigma.dtype)
    here = held_model(model, place, x)
    found = fit_model(here, whole)
    slope = models.signal_slope(here, signal, found.x, found.cell)
    return found.value, found.x, found.edm, slope, found.gradient, found.reached(limit)


@compiled
def _fit_together(model: Model, signals: Array | Mixture, held: Held) -> tuple[Array, ...]:
    """Many points in step, as long as the slowest takes."""
    axes = Mixture(None, 0, -1) if isinstance(signals, Mixture) else -1
    return jax.vmap(_one_fit, (None, axes, None, -1, axes), -1)(model, signals, held.place, held.x, signals)


@compiled
def _fit_in_turn(model: Model, signals: Array | Mixture, held: Held, count: Array) -> tuple[Array, ...]:
    """The first points, one after the other: with many bins each fills the processor by itself."""

    def one(k: Array) -> tuple[Array, ...]:
        if isinstance(signals, Mixture):
            signal = Mixture(signals.terms, signals.row[k], signals.weights[:, k])
            # Added up once: the steps that follow are many.
            whole = jnp.tensordot(signal.weights, signal.terms[signal.row], 1)
        else:
            signal = whole = signals[:, k]
        return _one_fit(model, signal, held.place, held.x[:, k], whole)

    def put(k: Array, found: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(whole.at[..., k].set(part) for whole, part in zip(found, one(k), strict=True))

    size = held.x.shape[1]
    empty = [jnp.zeros((*part.shape, size), part.dtype) for part in jax.eval_shape(one, count)]
    return jax.lax.fori_loop(0, count, put, tuple(empty))


def general_fits(model: Model, signals: Any, held: Held, count: int) -> tuple[np.ndarray, ...]:
    """Fit the first points of a chunk; what is returned for the others is of no use.

    Args:
        model: numbers of the likelihood.
        signals: one column for each point of the chunk, or a mixture.
        held: what stands still.
        count: points that are asked for.

    Returns:
        What `jcevns.fit.batch.Profiles` holds, points last.
    """
    if in_turn(model, held.x.shape[1]):
        return tuple(map(np.array, _fit_in_turn(model, signals, held, np.asarray(count))))
    return tuple(map(np.array, _fit_together(model, signals, held)))


def in_turn(model: Model, chunk: int) -> bool:
    """Whether one after the other is as fast as in step; it compiles faster, and copies of points cost nothing."""
    return jax.default_backend() == "cpu" and (chunk <= FEWEST or model.observed.size >= _MANY_BINS)


def processors() -> int:
    """How many there are: a fit on its own uses one."""
    return os.cpu_count() or 1


def standing(held: Mapping[int, np.ndarray], points: int) -> Held:
    """Parameters of the model by place, with a value for each point."""
    place = np.array(list(held), int)
    rows = np.stack(list(held.values())) if held else np.zeros((0, points))
    return Held(place, rows)
