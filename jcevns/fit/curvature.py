"""Second derivatives of chi2 at minima over the nuisances: in everything together, and of the profile."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from jcevns.compiled import RUN_ONCE, compiled
from jcevns.likelihood import model as models
from jcevns.likelihood.model import Mixture, Model

__all__ = ["Curvature", "curvature"]

_BATCH = 16
_BORDER = 1e-9  # a nuisance closer to a bound or a kink than this is held there


class Curvature(NamedTuple):
    """Derivatives of chi2 in outer parameters (weights of the signal, nuisances that stand still) and the others.

    Attributes:
        gradient: in the outer ones.
        outer: second derivatives among the outer ones.
        cross: between outer ones and nuisances; zero where a nuisance does not move.
        inner: among the nuisances; of those that do not move that of the unit matrix.
        moving: nuisances that are neither held by the fit nor by a bound or a kink.
    """

    gradient: Float[np.ndarray, "point outer"]
    outer: Float[np.ndarray, "point outer outer"]
    cross: Float[np.ndarray, "point outer nuisance"]
    inner: Float[np.ndarray, "point nuisance nuisance"]
    moving: Bool[np.ndarray, "point nuisance"]

    @property
    def profiled(self) -> Float[np.ndarray, "point outer outer"]:
        """Second derivatives of the profile in the outer parameters; NaN where there are none."""
        result = self.outer
        if self.moving.shape[1]:
            inner = self.inner.copy()
            broken = ~np.all(np.isfinite(inner), axis=(1, 2)) | (np.abs(np.linalg.det(inner)) == 0)
            inner[broken] = np.eye(inner.shape[1])
            result = result - self.cross @ np.linalg.solve(inner, np.swapaxes(self.cross, 1, 2))
            result[broken] = np.nan
        return result


@compiled(options=RUN_ONCE)
def _curvatures(model: Model, signals: Mixture, x: Array) -> tuple[Array, Array]:
    def one(signal: Mixture, x: Array) -> tuple[Array, Array]:
        return models.joint_derivatives(model, signal, x, models.nearest_cell(model, x))

    return jax.vmap(one, (Mixture(0, None, -1), -1))(signals, x)


def curvature(
    model: Model, mixture: Mixture, x: Float[np.ndarray, "nuisance point"], held: Sequence[int]
) -> Curvature:
    """Derivatives at minima.

    Args:
        model: numbers of the likelihood.
        mixture: signals, one weight column per point.
        x: parameters of the model at the minima.
        held: places of the nuisances that stand still; they are outer parameters.
    """
    size, n = len(mixture.weights), mixture.weights.shape[1]
    batch = _BATCH if n <= _BATCH else 8 * _BATCH
    parts = []
    for first in range(0, n, batch):
        rows = np.minimum(np.arange(first, first + batch), n - 1)
        # Each point with terms of its own: the size of the table must not be compiled in.
        part = Mixture(mixture.terms[mixture.row[rows], None], np.zeros((), int), mixture.weights[:, rows])
        parts.append([np.asarray(v)[: min(batch, n - first)] for v in _curvatures(model, part, x[:, rows])])
    gradient, hessian = (np.concatenate(v) for v in zip(*parts, strict=True))
    outer = [*range(size), *(size + place for place in held)]
    lower, upper = (np.asarray(v)[:, None] for v in (model.lower, model.upper))
    moving = (x > lower + _BORDER) & (x < upper - _BORDER)
    for s, anchor in enumerate(model.anchors):
        place = lower.size - len(model.anchors) + s
        moving[place] &= np.min(np.abs(np.asarray(anchor)[:, None] - x[place]), axis=0) > _BORDER
    moving[list(held)] = False
    free = moving.T
    inner = np.where(free[:, :, None] & free[:, None, :], hessian[:, size:, size:], 0.0)
    inner = inner + np.eye(free.shape[1]) * ~free[:, None, :]
    cross = np.where(free[:, None, :], hessian[:, outer, size:], 0.0)
    return Curvature(gradient[:, outer], hessian[:, outer][:, :, outer], cross, inner, free)
