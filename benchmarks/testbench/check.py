"""Judgement of claimed minima: independent values at the point, and lower ones from elsewhere."""

from typing import Any, NamedTuple

import numpy as np

from benchmarks.testbench.reference import (
    Models,
    evaluate,
    lowest,
    newton_decrement,
    scipy_minimum,
    starts,
)

__all__ = ["DOUBLE", "SINGLE", "Claims", "Tolerance", "best_strength", "judge", "merge", "plain"]

_STARTS, _SCIPY_STARTS, _FEW = 4, 6, 3
_NEAR = 25.0  # Delta chi2 from the best strength, inside which a point matters
_INDEFINITE = -1e-6  # lowest eigenvalue that is no rounding


class Tolerance(NamedTuple):
    """What a valid fit promises.

    Attributes:
        chi2: relative to 1 + |chi2|.
        edm: g H^-1 g / 2.
        digits: of chi2, which an EDM cannot be below.
    """

    chi2: float = 1e-6
    edm: float = 1e-8
    digits: float = 1e-13


DOUBLE, SINGLE = Tolerance(), Tolerance(1e-3, 1e-3, 1e-6)
"""In single precision ten times the limit of the EDM."""


class Claims(NamedTuple):
    """Results of the package, models first: chi2, log-factors at the minimum, EDM, validity."""

    chi2: np.ndarray
    theta: np.ndarray
    edm: np.ndarray
    valid: np.ndarray


def plain(value: Any) -> float | None:
    """A number for JSON, which has none that is not finite; seven digits."""
    return float(f"{value:.7g}") if np.isfinite(value) else None


def _relative(value: np.ndarray, reference: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return (value - reference) / (1 + np.abs(reference))


def best_strength(models: Models, place: np.ndarray) -> np.ndarray:
    """chi2 with a free factor on all signals."""
    loading = np.zeros((models.loading.shape[0], models.loading.shape[1] + 1))
    loading[:, :-1] = models.loading
    loading[: models.signals, -1] = 1
    free = np.full((len(place), 1), np.inf)
    freed = models._replace(loading=loading, sigma=np.concatenate([models.sigma, free], axis=1))
    have = np.maximum(models.templates[:, : models.signals].sum(axis=(1, 2)), 1e-30)
    down = np.minimum(np.log((models.observed.sum(axis=1) + 1) / have), 0.0)
    begins = []
    for x, strength in ((place, 0.0), (0 * place, down), (0 * place, -40.0)):
        last = np.broadcast_to(strength, len(place))[:, None]
        begins.append(np.concatenate([x, last], axis=1))
    return lowest(freed, begins)[0]


def judge(
    models: Models, claims: Claims, rng: np.random.Generator, sample: int = 2, tolerance: Tolerance = DOUBLE
) -> dict[str, Any]:
    """What is wrong with the claims.

    Args:
        models: as they were given to the package.
        claims: what it said.
        rng: for starts and the sample.
        sample: models that SciPy fits too, besides all that is suspicious.
        tolerance: what valid means.

    Returns:
        Counts, the worst differences, and every false valid by column.
    """
    point = evaluate(models, claims.theta)
    decrement, eigenvalue = newton_decrement(point)
    begins = starts(models, claims.theta, rng, _STARTS)
    reference, place = lowest(models, begins)
    own = _relative(claims.chi2, point.chi2)
    with np.errstate(all="ignore"):
        wrong = claims.valid & ~(np.abs(own) <= tolerance.chi2)
        steep = claims.valid & ~(decrement <= tolerance.edm + tolerance.digits * np.abs(point.chi2))
        odd = claims.valid & (eigenvalue < _INDEFINITE)
        lower = claims.valid & (_relative(claims.chi2, reference) > tolerance.chi2)
    # What is proven needs no second opinion; what else looks odd gets one, and so does a sample.
    doubtful = (odd | steep) & ~lower & np.isfinite(reference)
    failed = np.flatnonzero(~claims.valid & np.isfinite(reference))
    doubtful[rng.permutation(failed)[: sample // 2]] = True
    chosen = np.union1d(np.flatnonzero(doubtful), rng.choice(claims.chi2.size, min(sample, claims.chi2.size), False))
    more = [np.nan_to_num(claims.theta), *starts(models, claims.theta, rng, _SCIPY_STARTS), place]
    for row in chosen:
        value, x = scipy_minimum(
            models.take(np.array([row])), [b[row] for b in (more if doubtful[row] else more[:_FEW])]
        )
        if value < reference[row]:
            reference[row], place[row] = value, x
    with np.errstate(all="ignore"):
        difference = _relative(claims.chi2, reference)
    lower = claims.valid & (difference > tolerance.chi2)
    false = wrong | steep | lower
    lost = ~claims.valid & np.isfinite(reference)
    near = np.zeros(false.size, bool)
    asked = np.flatnonzero(false | lost)
    if asked.size:
        part, x = models.take(asked), place[asked]
        at = np.minimum(np.where(claims.valid[asked], claims.chi2[asked], np.inf), reference[asked])
        best = np.minimum(best_strength(part, x), at)
        near[asked] = at - best < _NEAR
    rows = [
        {
            "column": int(i),
            "why": [n for n, flag in (("lower", lower), ("chi2", wrong), ("gradient", steep)) if flag[i]],
            "chi2": plain(claims.chi2[i]),
            "reference": plain(reference[i]),
            "edm": plain(claims.edm[i]),
            "near": bool(near[i]),
        }
        for i in np.flatnonzero(false)
    ]
    kept = claims.valid & ~false
    return {
        "models": int(false.size),
        "valid": int(claims.valid.sum()),
        "false": rows,
        "lost": int(lost.sum()),
        "lost_near": int((lost & near).sum()),
        "impossible": int((~claims.valid & ~np.isfinite(reference)).sum()),
        "by_scipy": int(chosen.size),
        "worst": plain(np.max(difference[kept & np.isfinite(difference)], initial=0.0)),
        "worst_value": plain(np.max(np.abs(own[kept]), initial=0.0)),
        "worst_decrement": plain(np.max(decrement[kept], initial=0.0)),
    }


def merge(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Counts added up, the worst of the worst, all false valids."""
    total: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            if key.startswith("worst"):
                total[key] = max(total.get(key, 0.0), value)
            else:
                total[key] = total[key] + value if key in total else value
    return total
