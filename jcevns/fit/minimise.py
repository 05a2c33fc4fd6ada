"""Minimisation over a few parameters inside bounds, for many problems and starts in step: damped Newton."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jcevns.fit.validity import EDM_GOAL
from jcevns.parameters import Parameter

__all__ = ["Lowest", "Objective", "distance", "held", "newton"]

_STEPS = 40
_NOISE = 1e-11  # of chi2, lost in its sums

Objective = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
"""Positions (row, parameter) and problem of each row to value, gradient, Hessian, validity."""


class Lowest(NamedTuple):
    """Minima of several problems.

    Attributes:
        x: positions.
        value: there.
        gradient: there.
        hessian: there.
        free: parameters that are not held by a bound.
        edm: estimated distance to the minimum; infinite where the Hessian is not positive definite.
        valid: the minimum is reached, and the lowest that any start has found.
        steps: evaluations spent.
    """

    x: Float[np.ndarray, "problem parameter"]
    value: Float[np.ndarray, " problem"]
    gradient: Float[np.ndarray, "problem parameter"]
    hessian: Float[np.ndarray, "problem parameter parameter"]
    free: Bool[np.ndarray, "problem parameter"]
    edm: Float[np.ndarray, " problem"]
    valid: Bool[np.ndarray, " problem"]
    steps: int


def distance(
    gradient: Float[np.ndarray, "row parameter"],
    hessian: Float[np.ndarray, "row parameter parameter"],
    free: Bool[np.ndarray, "row parameter"],
    damping: Float[np.ndarray, " row"] | float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Newton step and g H^-1 g / 2 in the free directions; infinite where H is not positive definite there.

    A negative curvature is replaced by its size, so that the step goes down.
    """
    g = np.where(free, gradient, 0.0)
    both = free[:, :, None] & free[:, None, :]
    h = np.where(both, np.nan_to_num(hessian, nan=0.0, posinf=0.0, neginf=0.0), 0.0)
    size = np.sqrt(np.maximum(np.abs(np.einsum("nii->ni", h)), 1e-300))
    size = np.where(free, size, 1.0)
    scaled = h / size[:, :, None] / size[:, None, :] + np.eye(g.shape[1]) * ~free[:, None, :]
    values, vectors = np.linalg.eigh((scaled + np.swapaxes(scaled, 1, 2)) / 2)
    definite = np.all(values > 1e-10, axis=1)
    used = np.maximum(np.abs(values), 1e-8) + np.reshape(damping, (-1, 1))
    along = np.einsum("nij,ni->nj", vectors, np.nan_to_num(g) / size)
    step = -np.einsum("nij,nj->ni", vectors, along / used) / size
    edm = np.sum(along**2 / used, axis=1) / 2
    return step, np.where(definite, edm, np.inf)


def held(
    x: Float[np.ndarray, "row parameter"],
    gradient: Float[np.ndarray, "row parameter"],
    hessian: Float[np.ndarray, "row parameter parameter"],
    records: Sequence[Parameter],
) -> Bool[np.ndarray, "row parameter"]:
    """Parameters that a bound holds, and those that the value does not depend on here."""
    low, high = (np.array([getattr(r, end) for r in records]) for end in ("lower", "upper"))
    size = np.array([r.sigma or r.scale or abs(r.default) or 1.0 for r in records])
    flat = (np.abs(gradient) * size < 1e-9) & (np.abs(np.einsum("nii->ni", hessian)) * size**2 < 1e-9)
    return ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0)) | flat


def newton(
    objective: Objective, starts: Float[np.ndarray, "start problem parameter"], records: Sequence[Parameter]
) -> Lowest:
    """Minimise from every start; the lowest valid minimum of each problem.

    Args:
        objective: exact value, gradient and Hessian.
        starts: positions, inside the bounds.
        records: bounds and sizes of the parameters.
    """
    count, problems, size = starts.shape
    x = starts.reshape(-1, size).astype(float)
    index = np.tile(np.arange(problems), count)
    low, high = (np.array([getattr(r, end) for r in records]) for end in ("lower", "upper"))
    value, gradient, hessian, fine = (np.array(v) for v in objective(x, index))
    damping, edm = np.zeros(len(x)), np.full(len(x), np.inf)
    done, steps = np.zeros(len(x), bool), len(x)
    largest = np.array([4 * (r.sigma or r.scale or 0.0) for r in records])

    def blocked(rows: np.ndarray) -> np.ndarray:
        return held(x[rows], gradient[rows], hessian[rows], records)

    for _ in range(_STEPS):
        rows = np.flatnonzero(~done & fine)
        if not rows.size:
            break
        free = ~blocked(rows)
        step, dist = distance(gradient[rows], hessian[rows], free, damping[rows])
        exact = damping[rows] == 0
        edm[rows] = np.where(exact, dist, edm[rows])
        reached = exact & (dist < EDM_GOAL * 1e-3)
        done[rows[reached]] = True
        rows, step, dist = rows[~reached], step[~reached], dist[~reached]
        if not rows.size:
            continue
        limit = np.maximum(largest, 2 * np.abs(x[rows]) + np.where(largest > 0, 0.0, 1.0))
        scale = np.min(limit / np.maximum(np.abs(step), limit), axis=1, keepdims=True)
        there = np.clip(x[rows] + scale * step, low, high)
        v, g, h, ok = objective(there, index[rows])
        steps += rows.size
        better = ok & np.isfinite(v) & ((v <= value[rows] + _NOISE * (1 + np.abs(value[rows]))) | (dist < EDM_GOAL))
        taken = rows[better]
        x[taken], value[taken], gradient[taken], hessian[taken] = there[better], v[better], g[better], h[better]
        relaxed = np.where(damping[rows] > 1e-3, damping[rows] / 10, 0.0)
        damping[rows] = np.where(better, relaxed, np.maximum(damping[rows] * 10, 1e-2))
        # Nothing better however short the step: as low as the digits go.
        done[rows[damping[rows] > 1e12]] = True
    rows = np.arange(len(x))
    free = ~blocked(rows)
    _, edm = distance(gradient, hessian, free)
    good = fine & (edm < EDM_GOAL) & np.isfinite(value)
    ranked = np.where(good, value, np.inf).reshape(count, problems)
    anything = np.where(np.isfinite(value) & fine, value, np.inf).reshape(count, problems)
    chosen = np.where(np.any(np.isfinite(ranked), axis=0), np.argmin(ranked, axis=0), np.argmin(anything, axis=0))
    pick = chosen * problems + np.arange(problems)
    # A start that ended lower without a proper minimum says that the minimum found is not the global one.
    lowest = np.min(anything, axis=0)
    valid = good[pick] & (value[pick] <= lowest + 1e-6 * (1 + np.abs(lowest)))
    return Lowest(x[pick], value[pick], gradient[pick], hessian[pick], free[pick], edm[pick], valid, steps)
