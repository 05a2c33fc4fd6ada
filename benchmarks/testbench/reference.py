"""chi2 of templates times factors in NumPy, and its minimum from several starts; shares no code with the package.

Many models of one structure side by side, models first. Parameters are logarithms of the factors, so that every point
is inside the bounds and whatever chi2 is found there is a proof: no minimum lies above it.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize

__all__ = [
    "Models",
    "Point",
    "descend",
    "evaluate",
    "lowest",
    "newton_decrement",
    "scipy_minimum",
    "starts",
]

_NEGATIVE = -1e-9  # expected counts below are no Poisson mean
_STEPS, _LARGEST_STEP = 60, 3.0


class Models(NamedTuple):
    """Models of one structure.

    Attributes:
        observed: counts, (model, bin).
        templates: expected counts of each component, signals first, at factors of one; (model, component, bin).
        loading: 1 where a nuisance scales a component, (component, nuisance).
        sigma: relative widths, (model, nuisance); infinite for a free factor.
        signals: how many of the components are signals.
    """

    observed: np.ndarray
    templates: np.ndarray
    loading: np.ndarray
    sigma: np.ndarray
    signals: int

    def take(self, rows: np.ndarray) -> "Models":
        """Some of the models."""
        return self._replace(observed=self.observed[rows], templates=self.templates[rows], sigma=self.sigma[rows])


class Point(NamedTuple):
    """chi2 with gradient and Hessian in the log-factors, models first."""

    chi2: np.ndarray
    gradient: np.ndarray
    hessian: np.ndarray


def evaluate(models: Models, theta: np.ndarray) -> Point:
    """chi2 of eq. 17 of arXiv:2411.11749 and its derivatives; infinite where less than nothing is expected."""
    D, L, sigma = models.observed, models.loading, models.sigma
    with np.errstate(all="ignore"):
        scaled = np.exp(theta @ L.T)[:, :, None] * models.templates
        N = scaled.sum(axis=1)
        seen, mean = D > 0, np.maximum(N, 0.0)
        # D (x - ln(1 + x)) keeps the digits that N - D + D ln(D/N) loses.
        x = np.where(seen, (mean - D) / np.where(seen, D, 1.0), 0.0)
        value = 2 * np.sum(np.where(seen, D * (x - np.log1p(x)), mean), axis=1)
        value = np.where(np.any(N < _NEGATIVE, axis=1), np.inf, value)
        pull, factor = np.expm1(theta), np.exp(theta)
        value = value + np.sum((pull / sigma) ** 2, axis=1)
        ratio = np.where(seen, D / N, 0.0)
        jacobian = L.T @ scaled
        strength = np.matmul(scaled, (1 - ratio)[:, :, None])[:, :, 0]
        weight = 2 / sigma**2
        gradient = 2 * strength @ L + weight * pull * factor
        curved = jacobian * np.where(seen, ratio / N, 0.0)[:, None, :]
        pairs = (L[:, :, None] * L[:, None, :]).reshape(len(L), -1)
        size = L.shape[1]
        hessian = 2 * np.matmul(curved, np.swapaxes(jacobian, 1, 2)) + 2 * (strength @ pairs).reshape(
            len(theta), size, size
        )
        diagonal = np.arange(size)
        hessian[:, diagonal, diagonal] += weight * factor * (2 * factor - 1)
    return Point(value, gradient, hessian)


def _scaled(hessian: np.ndarray, floor: float = 1e-290) -> tuple[np.ndarray, np.ndarray]:
    """Hessian with ones on its diagonal, and what each parameter was multiplied by."""
    with np.errstate(all="ignore"):
        size = np.abs(np.einsum("mjj->mj", hessian))
        scale = 1 / np.sqrt(np.maximum(size, floor))
        return np.nan_to_num(hessian * scale[:, :, None] * scale[:, None, :]), scale


def newton_decrement(point: Point) -> tuple[np.ndarray, np.ndarray]:
    """g H^-1 g / 2, and the lowest eigenvalue of the Hessian with ones on its diagonal."""
    if not point.gradient.shape[1]:
        return np.zeros(len(point.chi2)), np.ones(len(point.chi2))
    # A factor that has gone to zero has no curvature left to speak of.
    matrix, scale = _scaled(point.hessian, 1e-6)
    values, vectors = np.linalg.eigh(matrix)
    with np.errstate(all="ignore"):
        along = np.einsum("mjk,mj->mk", vectors, np.nan_to_num(point.gradient * scale))
        # Directions that the last digits decide are no part of the norm.
        usable = values > 1e-13
        return np.sum(np.where(usable, along**2 / np.where(usable, values, 1.0), 0.0), axis=1) / 2, values[:, 0]


def descend(models: Models, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest chi2 on the way down from a start by damped Newton steps, and where."""
    best_x = theta.copy()
    here = evaluate(models, best_x)
    best = here.chi2.copy()
    if not theta.shape[1]:
        return best, best_x
    active = np.flatnonzero(np.isfinite(best))
    damping = np.full(len(theta), 1.37e-3)  # never cancels a diagonal of -1
    gradient, hessian = here.gradient.copy(), here.hessian.copy()
    eye = np.eye(theta.shape[1])
    for _ in range(_STEPS):
        if not active.size:
            break
        matrix, scale = _scaled(hessian[active])
        slope = np.nan_to_num(gradient[active] * scale)
        step = -scale * np.linalg.solve(matrix + damping[active, None, None] * eye, slope[:, :, None])[:, :, 0]
        step = np.nan_to_num(step)
        step *= np.minimum(1.0, _LARGEST_STEP / np.maximum(np.abs(step).max(axis=1), 1e-30))[:, None]
        gain = -np.einsum("mj,mj->m", step, gradient[active])
        x = best_x[active] + step
        there = evaluate(models.take(active), x)
        good = there.chi2 < best[active]
        rows = active[good]
        before = best[rows]
        best[rows], best_x[rows] = there.chi2[good], x[good]
        gradient[rows], hessian[rows] = there.gradient[good], there.hessian[good]
        relaxed = np.where(damping[active] > 1e-6, damping[active] / 10, 1.37e-12)
        damping[active] = np.where(good, relaxed, np.maximum(7 * damping[active], 1.37e-3))
        done = np.zeros(active.size, bool)
        done[good] = (before - best[rows] < 1e-9 * (1 + np.abs(best[rows]))) & (damping[rows] < 1e-4)
        done |= ~good & ((np.abs(gain) < 1e-10 * (1 + np.abs(best[active]))) | (damping[active] > 1e8))
        active = active[~done]
    return best, best_x


def starts(models: Models, theta: np.ndarray, rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Starts: nominal, beside a claimed minimum, and signals brought down by one nuisance of theirs."""
    n = len(theta)
    found = [np.zeros_like(theta), np.nan_to_num(theta) + rng.normal(0, 0.5, theta.shape)]
    D = models.observed.sum(axis=1)
    own = models.loading[: models.signals]
    heights = np.maximum(models.templates[:, : models.signals].sum(axis=2), 0.0)
    acting = np.flatnonzero(own.any(axis=0))
    for k in range(count - 2):
        start = rng.normal(0, 1, theta.shape) * np.minimum(models.sigma, 1.0) * (0.2 if k % 2 == 0 else 1.0)
        if acting.size:
            chosen = rng.choice(acting, n)
            have = np.max(heights * own[:, chosen].T, axis=1)
            start[np.arange(n), chosen] = np.minimum(np.log((D + 1) / (have + 1)), 0.0)
        found.append(np.clip(start, -40, 5))
    return found[:count]


def lowest(models: Models, begins: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest chi2 from several starts, and where."""
    best, place = descend(models, begins[0])
    for begin in begins[1:]:
        chi2, x = descend(models, begin)
        lower = chi2 < best
        best, place = np.where(lower, chi2, best), np.where(lower[:, None], x, place)
    return best, place


def scipy_minimum(one: Models, begins: list[np.ndarray]) -> tuple[float, np.ndarray]:
    """The lowest chi2 of a single model by SciPy's trust region from several starts, and where."""
    last: dict[bytes, Point] = {}

    def at(x: np.ndarray) -> Point:
        key = x.tobytes()
        if key not in last:
            last.clear()
            last[key] = evaluate(one, x[None])
        return last[key]

    best, place = np.inf, np.zeros(one.sigma.shape[1])
    for begin in begins:
        x = begin.ravel()
        value = float(at(x).chi2[0])
        if not np.isfinite(value) or not x.size:
            best = min(best, value)
            continue
        scale = max(1.0, abs(value))
        with np.errstate(all="ignore"):
            found = minimize(
                lambda y, s=scale: min(float(at(y).chi2[0]) / s, 1e280),
                x,
                jac=lambda y, s=scale: np.nan_to_num(at(y).gradient[0]) / s,
                hess=lambda y, s=scale: np.nan_to_num(at(y).hessian[0]) / s,
                method="trust-exact",
                options={"gtol": 1e-12, "maxiter": 100, "max_trust_radius": 100.0},
            )
        value = float(at(np.asarray(found.x)).chi2[0])
        if value < best:
            best, place = value, np.asarray(found.x)
    return best, place
