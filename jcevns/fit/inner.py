"""Minima over parameters of the theory that are profiled, at many values of the others: every branch is followed."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from jcevns.fit.minimise import Lowest, Objective, newton
from jcevns.parameters import Parameter

__all__ = ["InnerMinima"]

_KEPT = 4096  # minima kept
_WAVE = 16  # points looked at together


class InnerMinima:
    """Searches for minima over inner parameters, and remembers them: they are where to start at other points.

    Args:
        names: of the inner parameters.
        records: theirs.
    """

    def __init__(self, names: Sequence[str], records: Sequence[Parameter]):
        self.names, self.records = tuple(names), tuple(records)
        self.start: Mapping[str, float] = {}
        self._known: tuple[np.ndarray, ...] = ()

    def minima(self, points: Float[np.ndarray, "point outer"], objective: Objective) -> Lowest:
        """Minima at many points, from defaults and from the nearest that are known, outwards from the first of them.

        Args:
            points: values of the outer parameters.
            objective: values of the inner ones, and the point of each, to chi2, gradient, Hessian and validity.
        """
        order = np.arange(len(points))
        if len(points) > _WAVE and len(self._known):
            scale = np.maximum(np.ptp(points, axis=0), 1e-300)
            order = np.argsort(np.min(np.abs((points[:, None] - self._known[0][None, :1]) / scale), axis=(1, 2)))
        found: list[Any] = []
        for first in range(0, len(order), _WAVE):
            chosen = order[first : first + _WAVE]
            own = points[chosen]
            starts = self._starts(len(own))
            if len(self._known):
                x, q = self._known
                size = np.maximum(np.abs(own)[:, None], 1e-12 * np.max(np.abs(own), axis=0) + 1e-300)
                with np.errstate(over="ignore"):  # nothing is near zero alone
                    near = np.argsort(np.sum(((own[:, None] - x[None]) / size) ** 2, axis=2), axis=1)
                    close = np.sum(((own - x[near[:, 0]]) / size[:, 0]) ** 2, axis=1) < 1e-2
                starts = (
                    q[near[:, 0]][None] if np.all(close) else np.concatenate([*_nearby(own, x, q, near), starts[:2]])
                )
            best = newton(lambda v, k, chosen=chosen: objective(v, chosen[k]), starts, self.records)
            self._remember(own[best.valid], best.x[best.valid])
            found.append(self._from_neighbours(chosen, own, best, objective))
        back = np.argsort(order)
        merged = [np.concatenate(column)[back] for column in zip(*(b[:7] for b in found), strict=True)]
        return Lowest._make([*merged, 0])

    def _from_neighbours(self, chosen: np.ndarray, own: np.ndarray, best: Lowest, objective: Objective) -> Lowest:
        """Minima again from those of neighbours that lie elsewhere, until no point falls to another branch."""
        size = np.array([r.sigma or r.scale or abs(r.default) or 1.0 for r in self.records])
        pending = np.arange(len(own))
        for _ in range(len(own)):
            if not len(self._known) or not pending.size:
                break
            x, q = self._known
            gap = np.abs(own[pending][:, None] - x[None]) / np.maximum(np.ptp(x, axis=0), 1e-300)
            side = np.sign(own[pending][:, None, 0] - x[None, :, 0])
            starts = []
            for sign in (-1, 1):  # the nearest below and above, along the first parameter
                far = np.where((side == sign) & np.any(gap > 0, axis=2), gap.sum(axis=2), np.inf)
                near = np.argmin(far, axis=1)
                there = np.isfinite(far[np.arange(len(near)), near])[:, None]
                starts.append(np.where(there, q[near], best.x[pending]))
            moved = [np.any(np.abs(s - best.x[pending]) > 0.1 * size + 0.1 * np.abs(s), axis=1) for s in starts]
            asked = moved[0] | moved[1]
            pending = pending[asked]
            if not pending.size:
                break
            again = newton(
                lambda v, k, rows=chosen[pending]: objective(v, rows[k]),
                np.stack([s[asked] for s in starts]),
                self.records,
            )
            lower = again.valid & (
                (again.value < best.value[pending] - 1e-7 * (1 + np.abs(again.value))) | ~best.valid[pending]
            )
            pending = pending[lower]
            for column, new in zip(best[:7], again[:7], strict=True):
                column[pending] = new[lower]
            self._remember(own[pending], best.x[pending])
            pending = np.arange(len(own)) if pending.size else pending
        return Lowest._make(best)

    def _remember(self, x: np.ndarray, q: np.ndarray) -> None:
        if len(self._known) and len(x):
            old, minima = self._known
            other = ~np.any(np.all(old[:, None] == x[None], axis=2), axis=1)  # the latest of a point is its lowest
            x, q = np.concatenate([old[other], x]), np.concatenate([minima[other], q])
        if len(x):
            self._known = (x[-_KEPT:], q[-_KEPT:])

    def _starts(self, count: int) -> np.ndarray:
        """Starts of the inner parameters, (start, point, parameter): defaults, and a step to both sides."""
        centre = np.array([r.default for r in self.records])
        width = np.array([r.sigma or r.scale or abs(r.default) / 4 or 1.0 for r in self.records])
        low, high = (np.array([getattr(r, end) for r in self.records]) for end in ("lower", "upper"))
        found = [centre]
        if any(not r.constrained for r in self.records):
            found += [centre + width, centre - width]
        if self.start:
            found.insert(
                0, np.array([self.start.get(n, r.default) for n, r in zip(self.names, self.records, strict=True)])
            )
        return np.stack([np.tile(np.clip(s, low, high), (count, 1)) for s in found])


def _nearby(own: np.ndarray, x: np.ndarray, q: np.ndarray, near: np.ndarray) -> list[np.ndarray]:
    """Starts from the nearest minimum known, and from a power law through the two nearest in the first parameter."""
    one = q[near[:, 0]]
    if len(x) < 2:
        return [one[None]]
    other = q[near[:, 1]]
    a, b, c = (v[:, :1] for v in (x[near[:, 0]], x[near[:, 1]], own))
    with np.errstate(all="ignore"):
        power = np.log(one / other) / np.log(a / b)
        guess = one * (c / a) ** np.clip(power, -4.0, 4.0)
    return [one[None], np.where(np.isfinite(guess), guess, one)[None]]
