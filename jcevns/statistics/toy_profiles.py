"""Profiles of many toys along one parameter, as the search along a curve takes them."""

import numpy as np

from jcevns.fit.curve import EXCLUDED, Survey, survey
from jcevns.fit.minimise import newton
from jcevns.statistics.hypothesis import Hypothesis
from jcevns.statistics.toy_kernels import Found, Sample, ToyFits

__all__ = ["ToyProfiles"]

_MANY = 24  # nodes for all toys, above which those that cannot be low are left out
_EVERY = 5  # of them are fitted first
_MARGIN = 4.0  # chi2 above the depth, up to which what lies between is fitted
_ABOVE = 1.0  # chi2 above the depth, up to which neighbours may have something between them
_STILL = 2e-9  # of the value: a step that changes nothing


class ToyProfiles(ToyFits):
    """Some toys, and their profiles along the parameter.

    Args:
        hypothesis: the likelihood and the parameter.
        sample: counts and auxiliary measurements.
        chunk: toys fitted at a time by the general minimiser.
        depth: Delta chi2 up to which profiles matter.
    """

    def __init__(self, hypothesis: Hypothesis, sample: Sample, chunk: int, depth: float):
        super().__init__(hypothesis, sample, chunk)
        self.depth = depth
        self._last: tuple[np.ndarray, ...] | None = None
        self._nodes: tuple[np.ndarray, ...] | None = None  # shared by all toys, with chi2 and slopes there

    def points(self, index: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points with the profiled parameters at their best, and whether that was found."""
        h = self.hypothesis
        points = h.points(values)
        if not h.inner:
            return points, np.ones(len(points), bool)
        size = np.array([r.sigma or r.scale or abs(r.default) / 4 or 1.0 for r in h.inner])
        low, high = (np.array([getattr(r, end) for r in h.inner]) for end in ("lower", "upper"))
        sides = (0.0,) if all(i + 1 in h.auxiliary for i in range(len(h.inner))) else (0.0, 1.0, -1.0)
        starts = np.stack([np.clip(points[:, 1:] + side * size, low, high) for side in sides])

        def objective(q: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
            found = self.evaluate(index[rows], np.concatenate([points[rows, :1], q], axis=1))
            return found.chi2, found.gradient[:, 1:], found.hessian[:, 1:, 1:], found.valid & np.isfinite(found.chi2)

        with np.errstate(over="ignore"):  # where chi2 hardly depends on one of them
            lowest = newton(objective, starts, h.inner)
        points[:, 1:] = lowest.x
        return points, lowest.valid

    def at(self, index: np.ndarray, values: np.ndarray) -> tuple[Found, np.ndarray]:
        """Profile fits at values of the parameter, and the points they were done at."""
        points, valid = self.points(index, values)
        found = self.evaluate(index, points)
        return found._replace(valid=found.valid & valid), points

    def surveys(self, expected: np.ndarray, around: float) -> list[Survey]:
        """The shape of all profiles.

        Args:
            expected: counts that the toys scatter around.
            around: a value near which most minima are.
        """
        record, one = self.hypothesis.record, np.ones(self.size)
        self._nodes = self._last = None
        background = np.asarray(self.hypothesis.model.background).sum(axis=0)
        return survey(
            self.curve,
            lambda index, x: self.hypothesis.looks(x),
            np.maximum(expected, background)[None],
            self.size,
            record.lower * one,
            record.upper * one,
            around * one,
            (record.scale or abs(record.default) or 1.0) * one,
            self.depth,
            shared=True,
            check=False,
        )

    def curve(self, index: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Profile of each toy along the parameter: chi2, slope and validity, as `survey` takes it."""
        count = index.size // self.size
        if self._nodes is None or (self.size > 1 and np.array_equal(values, np.tile(values[:count], self.size))):
            return self._at_nodes(values[:count])
        before = self._last
        if before is None or not np.array_equal(before[0], index):
            found = self._values(index, values)
            self._last = (index, values, *found)
            return found
        # A root is sought for all toys until the last is found: those that stand still are not fitted again.
        position, chi2, slope, valid = (column.copy() for column in before[1:])
        moved = np.flatnonzero(~(np.abs(values - position) <= _STILL * np.abs(values)))
        if moved.size:
            position[moved] = values[moved]
            chi2[moved], slope[moved], valid[moved] = self._values(index[moved], values[moved])
        self._last = (index, position, chi2, slope, valid)
        return chi2, slope, valid

    def _values(self, index: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        found, _ = self.at(index, values)
        finite = np.isfinite(found.chi2)
        slope = np.where(finite, found.gradient[:, 0], np.nan)
        return np.where(finite, found.chi2, EXCLUDED), slope, found.valid

    def _at_nodes(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same at nodes that all toys share.

        Between neighbours above the level there is nothing to find: fits that fail there do no harm, and slopes,
        which may be all rounding, are not looked at.
        """
        fresh = nodes.size
        chi2, slope = self._near_minimum(nodes)
        if self._nodes is not None:
            pairs = zip(self._nodes, (nodes, chi2, slope), strict=True)
            nodes, chi2, slope = (np.concatenate(pair, axis=-1) for pair in pairs)
        order = np.argsort(nodes, kind="stable")
        nodes, chi2, slope = nodes[order], chi2[:, order], slope[:, order]
        level = np.min(np.where(np.isfinite(chi2), chi2, EXCLUDED), axis=1) + self.depth + _ABOVE
        for toy in np.flatnonzero(~np.all(np.isfinite(chi2), axis=1)):
            good, bad = np.flatnonzero(np.isfinite(chi2[toy])), np.flatnonzero(np.isnan(chi2[toy]))
            if not good.size:
                continue
            place = np.searchsorted(good, bad)
            beside = good[np.maximum(place - 1, 0)], good[np.minimum(place, good.size - 1)]
            sides = np.minimum(*(chi2[toy, k] for k in beside))
            chi2[toy, bad] = np.where(sides > level[toy], sides, np.nan)
        high = np.pad(chi2 > level[:, None], ((0, 0), (1, 1)), constant_values=True)
        slope[high[:, :-2] & high[:, 1:-1] & high[:, 2:]] = np.nan
        self._nodes = (nodes, chi2, slope)
        asked = np.flatnonzero(order >= order.size - fresh)
        chi2, slope = chi2[:, asked].ravel(), slope[:, asked].ravel()
        return chi2, slope, np.isfinite(chi2)

    def _near_minimum(self, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """chi2 and slope at nodes, NaN where a fit fails: some first, then what lies between where it may be low.

        Of many nodes those far above the minimum are not fitted: they get a chi2 from their neighbours, and no slope.
        """
        step = _EVERY if nodes.size >= _MANY else 1
        first = np.unique(np.append(np.arange(0, nodes.size, step), nodes.size - 1))
        chi2, slope = (np.full((self.size, nodes.size), np.nan) for _ in range(2))

        def fill(toy: np.ndarray, node: np.ndarray) -> None:
            value, along, valid = self._values(toy, nodes[node])
            chi2[toy, node], slope[toy, node] = np.where(valid, value, np.nan), np.where(valid, along, np.nan)

        fill(np.repeat(np.arange(self.size), first.size), np.tile(first, self.size))
        if first.size == nodes.size:
            return chi2, slope
        known, along = chi2[:, first], slope[:, first]
        # What lies between two of them may be low: by its ends, or by the tangents there.
        fall = np.maximum(np.maximum(-along[:, :-1], along[:, 1:]), 0.0) * np.diff(nodes[first]) / 4
        lowest = np.min(np.where(np.isfinite(known), known, EXCLUDED), axis=1, keepdims=True)
        ends = known[:, :-1], known[:, 1:]
        maybe = ~(np.minimum(*ends) - fall > lowest + self.depth + _MARGIN)  # also where it is not known
        inner = np.setdiff1d(np.arange(nodes.size), first)
        gap = np.searchsorted(first, inner) - 1
        toy, place = np.nonzero(maybe[:, gap])
        if toy.size:
            fill(toy, inner[place])
        toy, place = np.nonzero(~maybe[:, gap])
        chi2[toy, inner[place]] = np.maximum(*ends)[toy, gap[place]]
        return chi2, slope
