"""Profiles along one parameter: all stationary points, the global minimum, and where a level is crossed.

One algorithm for intervals, limits, toys and projections, for many profiles ("rows") in step. Where to look is not
guessed from the profile but read off the signal, which costs nothing: chi2 can only dip where the signal changes by
about a standard deviation of the counts, so nodes are set at equal steps of that distance over the whole range of the
parameter, infinite bounds included. Between nodes every stationary point is a root of the exact slope, and midpoints
are compared with the cubic through values and slopes of the nodes: where they disagree, nodes are added, and where
they go on disagreeing the profile is not called valid.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from jcevns.fit.nodes import CAP, Signals, nodes_of, ranges_of
from jcevns.fit.roots import find_roots
from jcevns.fit.segments import Segment

__all__ = ["EXCLUDED", "Survey", "crossings", "survey"]

Curve = Callable[
    [Int[np.ndarray, " point"], Float[np.ndarray, " point"]],
    tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"], Bool[np.ndarray, " point"]],
]
"""Row and position to chi2, its slope and validity; `EXCLUDED` without a slope where the data are impossible."""

EXCLUDED = 1e30
"""chi2 that stands for infinity, a valid result: events where none can be expected, or less than none expected."""

_MOST = 4000  # nodes of one row
_ROUNDS = 7  # of halving cells where the cubic does not hold
_AGREES = 0.05  # of chi2, or of its change over a cell
_EQUAL = 1e-10  # of 1 + chi2, within which two minima are the same
_BISECTIONS = 40
_HALVINGS = 12  # of cells that may hide a minimum
_SHALLOW = 1e-6  # of chi2: a dip that does not matter
_DEEP = 100.0  # chi2 above the level, where a failed fit does no harm


@dataclasses.dataclass
class Survey:
    """A profile as it was found.

    Attributes:
        x: positions in order, stationary points among them.
        chi2: there; NaN where the fit failed.
        lower: end of the range.
        upper: end of the range.
        resolved: the cubic holds between the nodes that matter.
        default: a value inside.
    """

    x: Float[np.ndarray, " node"]
    chi2: Float[np.ndarray, " node"]
    lower: float
    upper: float
    resolved: bool
    default: float = 0.0

    @property
    def best(self) -> float:
        """Position of the lowest chi2, of minima that are equal but for rounding the nearest to the default.

        NaN if no fit is valid.
        """
        if not np.any(np.isfinite(self.chi2)):
            return math.nan
        equal = np.flatnonzero(self.chi2 <= self.chi2_min + _EQUAL * (1 + abs(self.chi2_min)))
        nearest = equal[np.argmin(np.abs(self.x[equal] - self.default))]
        dips = np.split(equal, np.flatnonzero(np.diff(equal) > 1) + 1)
        mine = next(dip for dip in dips if nearest in dip)
        return float(self.x[mine[np.argmin(self.chi2[mine])]])

    @property
    def chi2_min(self) -> float:
        """The lowest chi2."""
        usable = np.isfinite(self.chi2)
        return float(np.nanmin(self.chi2)) if np.any(usable) else math.nan

    @property
    def moves(self) -> bool:
        """Whether chi2 changes at all."""
        found = self.chi2[np.isfinite(self.chi2)]
        return found.size > 0 and bool(np.ptp(found) > 1e-9 * max(1.0, abs(found[0])))

    def harmless(self, level: float) -> bool:
        """Whether fits failed only where all is excluded: beyond points far above a level, on both sides.

        Signals of a billion events in bins that no nuisance covers leave too few digits for a valid fit.
        """
        above = self.chi2 - level
        failed = np.flatnonzero(~np.isfinite(above))
        deep, shallow = np.flatnonzero(above > _DEEP), np.flatnonzero(above <= _DEEP)
        place = np.searchsorted(shallow, failed)
        after = np.append(shallow, above.size)[place]  # the next node that is not far above, if any
        before = np.append(-1, shallow)[place]
        separated = [np.any((deep > b) & (deep < f)) or b < 0 for b, f in zip(before, failed, strict=True)]
        closed = [a == above.size or np.any((deep > f) & (deep < a)) for a, f in zip(after, failed, strict=True)]
        return bool(np.all(separated) and np.all(closed))


class _Row:
    """What is known of one profile while it is searched."""

    def __init__(self) -> None:
        self.x = self.chi2 = self.slope = np.empty(0)
        self.smooth = np.zeros(0, bool)  # whether the cell above a node has been compared with the cubic

    def add(self, x: np.ndarray, chi2: np.ndarray, slope: np.ndarray) -> None:
        merged = np.concatenate([self.x, x])
        order = np.argsort(merged, kind="stable")
        self.x = merged[order]
        self.chi2 = np.concatenate([self.chi2, chi2])[order]
        self.slope = np.concatenate([self.slope, slope])[order]
        self.smooth = np.concatenate([self.smooth, np.zeros(x.size, bool)])[order]

    def matters(self, depth: float) -> np.ndarray:
        """Cells that may hold a part below the level: by their ends, or by the tangents at them."""
        a, b, da, db = self.chi2[:-1], self.chi2[1:], self.slope[:-1], self.slope[1:]
        reach = np.minimum(a, b) - np.maximum(np.maximum(-da, 0), np.maximum(db, 0)) * np.diff(self.x) / 4
        lowest = np.min(self.chi2, where=np.isfinite(self.chi2), initial=np.inf)
        return np.isfinite(a) & np.isfinite(b) & (reach < lowest + 2 * depth + 1)


def survey(
    curve: Curve,
    signals: Signals,
    data: Float[np.ndarray, "#row bin"],
    rows: int,
    lower: Float[np.ndarray, " row"],
    upper: Float[np.ndarray, " row"],
    default: Float[np.ndarray, " row"],
    scale: Float[np.ndarray, " row"],
    depth: float,
    shared: bool = False,
    check: bool = True,
) -> list[Survey]:
    """Find the shape of profiles along one parameter.

    Args:
        curve: the profile.
        signals: what it depends on, cheap.
        data: counts, or expected ones, for the size of a standard deviation.
        rows: number of profiles.
        lower: ends of the ranges, possibly infinite.
        upper: the others.
        default: a value inside.
        scale: typical size.
        depth: Delta chi2 up to which the profile matters.
        shared: all rows have the same signals and range (toys): look at them once.
        check: compare midpoints with the cubic.
    """
    most = _MOST if rows < 50 else _MOST // 2
    looked = 1 if shared else rows
    ranges = ranges_of(signals, looked, lower, upper, default, scale, data, most)
    cap = CAP
    known = [_Row() for _ in range(rows)]

    def evaluate(wanted: list[np.ndarray]) -> None:
        index = np.repeat(np.arange(rows), [w.size for w in wanted])
        if not index.size:
            return
        flat = np.concatenate(wanted)
        chi2, slope, valid = curve(index, flat)
        chi2, slope = np.where(valid, chi2, np.nan), np.where(valid, slope, np.nan)
        for i, part in enumerate(np.split(np.arange(index.size), np.cumsum([w.size for w in wanted])[:-1])):
            if part.size:
                known[i].add(flat[part], chi2[part], slope[part])

    while True:
        nodes = [nodes_of(r, cap) for r in ranges]
        wanted = [np.setdiff1d(nodes[0 if shared else i], known[i].x) for i in range(rows)]
        evaluate(wanted)
        # Where the profile is still low at the border of what was looked at, signals must be larger to be excluded:
        # beyond, data that are not described may be described better, by as much as chi2.
        low = False
        for i, row in enumerate(known):
            r = ranges[0 if shared else i]
            border = r.x[(r.height >= cap) & (r.height < 1e20)]
            here = np.isin(row.x, border)
            if np.any(np.isfinite(row.chi2)):
                low |= bool(np.any(row.chi2[here] < 2 * np.nanmin(row.chi2) + 3 * depth))
        if not low or cap > 1e15:
            break
        cap *= 1e3
    resolved = np.array([ranges[0 if shared else i].complete for i in range(rows)])
    if check:
        resolved = _refine(known, evaluate, depth, resolved)
    _between(known, evaluate, depth)
    _walls(curve, known)
    _stationary(curve, known, depth)
    for row in known:
        if not np.any(row.chi2 < EXCLUDED):
            row.chi2 = np.full(row.x.size, np.nan)
    return [
        Survey(k.x, k.chi2, float(lower[i]), float(upper[i]), bool(resolved[i]), float(default[i]))
        for i, k in enumerate(known)
    ]


def _refine(
    known: list[_Row], evaluate: Callable[[list[np.ndarray]], None], depth: float, complete: np.ndarray
) -> np.ndarray:
    """Halve cells of complete rows until the cubic through their ends holds at the middle; whether it does in all."""
    resolved = complete.copy()
    for attempt in range(_ROUNDS):
        wanted, expected = [], []
        for row, usable in zip(known, complete, strict=True):
            if not (usable and np.any(np.isfinite(row.chi2))):
                wanted.append(np.empty(0))
                expected.append(np.empty(0))
                continue
            h = np.diff(row.x)
            a, b, da, db = row.chi2[:-1], row.chi2[1:], row.slope[:-1], row.slope[1:]
            wide = h > 1e-9 * (np.abs(row.x[:-1]) + np.abs(row.x[1:]))
            cells = np.flatnonzero(row.matters(depth) & ~row.smooth[:-1] & wide)
            row.smooth[cells] = True
            wanted.append(row.x[cells] + h[cells] / 2)
            expected.append(((a + b) / 2 + h * (da - db) / 8)[cells])
        if not any(w.size for w in wanted):
            break
        evaluate(wanted)
        for i, (row, x, guess) in enumerate(zip(known, wanted, expected, strict=True)):
            if not x.size:
                continue
            place = np.searchsorted(row.x, x)
            found = row.chi2[place]
            change = np.maximum(np.abs(row.chi2[place + 1] - row.chi2[place - 1]), 1.0)
            level = np.nanmin(row.chi2)
            good = (np.abs(found - guess) < _AGREES * change) | (found > level + 10 * depth + 50)
            # Both halves of a good cell are good too.
            row.smooth[place[good]] = row.smooth[place[good] - 1] = True
            row.smooth[place[~good]] = row.smooth[place[~good] - 1] = False
            if attempt == _ROUNDS - 1:
                # A kink is known by values that agree to the width of the cell, whatever the slopes.
                a, b = row.chi2[place - 1], row.chi2[place + 1]
                resolved[i] = bool(np.all(good | (np.abs(a - b) + np.abs(found - a) < 0.1)))
    return resolved


def _between(known: list[_Row], evaluate: Callable[[list[np.ndarray]], None], depth: float) -> None:
    """Add points inside minima between nodes whose slopes have one sign, or none: beside a maximum or a bound.

    They are looked for where the cubic through values and slopes has a minimum, until its slope there is known.
    A parameter that enters as a square has no slope at zero, and its minimum may be as close as it likes.
    """
    for _ in range(_HALVINGS):
        wanted = []
        for row in known:
            width, usable = np.diff(row.x), np.isfinite(row.chi2) & np.isfinite(row.slope) & (row.chi2 < EXCLUDED)
            low, high = row.chi2[:-1], row.chi2[1:]
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                p, q, rise = row.slope[:-1] * width, row.slope[1:] * width, high - low
                # Slope of the cubic: p + bend t + twist t^2.
                bend, twist = 6 * rise - 4 * p - 2 * q, 3 * (p + q) - 6 * rise
                root = np.sqrt(bend**2 - 4 * p * twist)
                bottom, top = (-bend + root) / (2 * twist), (-bend - root) / (2 * twist)
                gain = np.minimum(low, high) - (low + bottom * (p + bottom * (bend / 2 + bottom * twist / 3)))
            inside = (bottom > 0) & (bottom < 1) & (top >= 0) & (top <= 1)
            level = np.min(row.chi2, where=usable, initial=np.inf)
            matters = usable[:-1] & usable[1:] & (np.minimum(low, high) < level + depth) & (gain > _SHALLOW)
            cells = np.flatnonzero(matters & inside & (p * q >= 0))
            wanted.append(row.x[cells] + (bottom + top)[cells] / 2 * width[cells])
        if not any(w.size for w in wanted):
            return
        evaluate(wanted)


def _stationary(curve: Curve, known: list[_Row], depth: float) -> None:
    """Add roots of the slope between nodes, where chi2 may be low."""
    owner, cell = [], []
    for i, row in enumerate(known):
        low, high = row.slope[:-1], row.slope[1:]
        turning = np.isfinite(low) & np.isfinite(high) & (np.sign(low) * np.sign(high) < 0)
        found = np.flatnonzero(turning & row.matters(depth))
        owner.append(np.full(found.size, i))
        cell.append(found)
    index, place = np.concatenate(owner), np.concatenate(cell)
    if not index.size:
        return

    def pick(name: str, shift: int) -> np.ndarray:
        return np.array([getattr(known[i], name)[c + shift] for i, c in zip(index, place, strict=True)])

    root = find_roots(
        lambda x: curve(index, x)[1], pick("x", 0), pick("x", 1), pick("slope", 0), pick("slope", 1), relative=1e-9
    )
    chi2, slope, valid = curve(index, root)
    for i, row in enumerate(known):
        mine = (index == i) & np.isfinite(root)
        fresh = mine & ~np.isin(root, row.x)
        row.add(root[fresh], np.where(valid, chi2, np.nan)[fresh], np.where(valid, slope, np.nan)[fresh])


def _walls(curve: Curve, known: list[_Row]) -> None:
    """Add the last possible points beside impossible ones where chi2 goes down to them: the minimum may be there."""
    found: list[tuple[int, float, float]] = []
    for i, row in enumerate(known):
        possible, beyond = row.chi2 < EXCLUDED, row.chi2 >= EXCLUDED
        down, up = possible & (row.slope > 0), possible & (row.slope < 0)
        found += [(i, row.x[k + 1], row.x[k]) for k in np.flatnonzero(beyond[:-1] & down[1:])]
        found += [(i, row.x[k], row.x[k + 1]) for k in np.flatnonzero(up[:-1] & beyond[1:])]
    if not found:
        return
    index, inside, outside = np.array([i for i, *_ in found]), *np.array([ends for _, *ends in found]).T
    chi2, slope = np.full(index.size, np.nan), np.full(index.size, np.nan)
    for _ in range(_BISECTIONS):
        middle = (inside + outside) / 2
        value, along, valid = curve(index, middle)
        good = valid & (value < EXCLUDED)
        inside, outside = np.where(good, middle, inside), np.where(good, outside, middle)
        chi2, slope = np.where(good, value, chi2), np.where(good, along, slope)
    for i, x, value, along in zip(index, inside, chi2, slope, strict=True):
        if np.isfinite(value):
            known[i].add(np.array([x]), np.array([value]), np.array([along]))


def crossings(
    curve: Curve, surveys: Sequence[Survey], levels: Float[np.ndarray, " row"]
) -> list[tuple[tuple[Segment, ...], bool]]:
    """Accepted segments of every profile below its level, and whether the fits at their ends are valid.

    Args:
        curve: the profile.
        surveys: of all rows.
        levels: chi2 of each row; NaN for a row without a valid fit.
    """
    owner, low, high, at_low, at_high = [], [], [], [], []
    for i, (one, level) in enumerate(zip(surveys, levels, strict=True)):
        usable = np.isfinite(one.chi2)
        x, above = one.x[usable], one.chi2[usable] - level
        cells = np.flatnonzero((above[1:] > 0) != (above[:-1] > 0))
        owner += [i] * cells.size
        low += list(x[cells])
        high += list(x[cells + 1])
        at_low += list(above[cells])
        at_high += list(above[cells + 1])
    owners = np.array(owner, int)
    ends, good = np.empty(0), np.ones(0, bool)
    if owners.size:
        wanted = np.asarray(levels)[owners]
        a, b, at_a, at_b = (np.array(v) for v in (low, high, at_low, at_high))
        ends = find_roots(lambda x: curve(owners, x)[0] - wanted, a, b, at_a, at_b)
        good = curve(owners, ends)[2]
    results: list[tuple[tuple[Segment, ...], bool]] = []
    for i, (one, level) in enumerate(zip(surveys, levels, strict=True)):
        mine = owners == i
        usable = np.isfinite(one.chi2)
        if not np.isfinite(level) or not np.any(usable):
            results.append(((), False))
            continue
        points = list(map(float, ends[mine]))
        inside = bool(one.chi2[usable][0] <= level)
        segments: list[Segment] = []
        start: float | None = None
        is_open = inside
        for point in points:
            if inside:
                segments.append((None if is_open else start, point))
                is_open = False
            else:
                start = point
            inside = not inside
        if inside:
            segments.append((None if is_open else start, None))
        results.append((tuple(segments), bool(np.all(good[mine]))))
    return results
