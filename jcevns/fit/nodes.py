"""Where to look at a profile along one parameter: nodes at equal steps of what the signal changes.

chi2 can only dip where the signal changes by about a standard deviation of the counts, and signals cost nothing.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

__all__ = ["CAP", "Range", "Signals", "nodes_of", "ranges_of"]

Signals = Callable[[Int[np.ndarray, " point"], Float[np.ndarray, " point"]], Float[np.ndarray, "point bin"]]
"""Row and position to the signal in every bin."""

CAP = 1e3
"""Ratio of signal to data above which a signal is first taken as excluded."""

_STEP = 0.4  # standard deviations of the counts between nodes
_RELATIVE = 0.03  # of a signal: a change that is taken for a standard deviation where there are more digits than that
_UNEVEN = 4.0  # how much faster the signal may move in a cell than in the next
_HALVINGS = 16
_DENSE, _FEWEST = 1_000_000, 2000  # numbers of signal looked at for one row, and positions
_DECADES = (-14.0, 14.0)  # of distances from a finite end or from the default, in units of the scale
_PER_DECADE = 6


class Range(NamedTuple):
    """Candidates of a row, in order, with the distance of each from the first."""

    x: np.ndarray
    distance: np.ndarray
    height: np.ndarray  # largest ratio of signal to data
    complete: bool  # the signal moves by less than a step between neighbours


def _candidates(lower: float, upper: float, default: float, scale: float) -> np.ndarray:
    """Positions over the whole range, denser towards finite ends and the default."""
    steps = np.logspace(*_DECADES, int((_DECADES[1] - _DECADES[0]) * _PER_DECADE) + 1) * scale
    found = [default + steps, default - steps, [default]]
    for end, sign in ((lower, 1.0), (upper, -1.0)):
        if math.isfinite(end):
            found += [[end], end + sign * steps]
    if math.isfinite(lower) and math.isfinite(upper):
        found.append(np.linspace(lower, upper, 129))
    x = np.unique(np.concatenate(found))
    return x[(x >= lower) & (x <= upper)]


def ranges_of(
    signals: Signals,
    rows: int,
    lower: np.ndarray,
    upper: np.ndarray,
    default: np.ndarray,
    scale: np.ndarray,
    data: np.ndarray,
    most: int,
) -> list[Range]:
    """Candidates of all rows, refined until the signal moves by less than a step between neighbours."""
    x = [_candidates(lower[i], upper[i], default[i], scale[i]) for i in range(rows)]
    counts = _look(signals, x)
    budget = min(max(_DENSE // max(data.shape[-1], 1), _FEWEST), most)

    def wide(i: int) -> tuple[np.ndarray, np.ndarray]:
        """Cells that are too wide, the widest first, and steps across all."""
        noise = data[i % len(data)] + 1.0
        steps = _expected_steps(x[i], counts[i], noise)
        low = np.max(np.abs(counts[i]) / noise, axis=1) < CAP
        cells = np.flatnonzero((steps > _STEP) & (low[:-1] | low[1:]))
        return cells[np.argsort(-steps[cells], kind="stable")], steps

    for _ in range(_HALVINGS):
        new: list[np.ndarray] = []
        for i in range(rows):
            cells, steps = wide(i)
            parts = np.clip(np.ceil(steps[cells] / _STEP), 2, 8).astype(int)
            cells = cells[np.cumsum(parts - 1) <= budget - x[i].size]
            ends = zip(x[i][cells], x[i][cells + 1], parts[: cells.size], strict=True)
            fill = [np.linspace(p, q, n + 1)[1:-1] for p, q, n in ends]
            fresh = np.unique(np.concatenate(fill)) if fill else np.empty(0)
            new.append(np.setdiff1d(fresh, x[i]))
        if not any(n.size for n in new):
            break
        added = _look(signals, new)
        for i in range(rows):
            if new[i].size:
                merged = np.concatenate([x[i], new[i]])
                order = np.argsort(merged, kind="stable")
                x[i], counts[i] = merged[order], np.concatenate([counts[i], added[i]])[order]
    found = []
    for i in range(rows):
        noise = data[i % len(data)] + 1.0
        distance = np.concatenate([[0.0], np.cumsum(_steps(counts[i], noise))])
        height = np.max(np.abs(counts[i]) / noise, axis=1)
        found.append(Range(x[i], distance, height, not wide(i)[0].size))
    return found


def _look(signals: Signals, x: Sequence[np.ndarray]) -> list[np.ndarray]:
    rows = np.repeat(np.arange(len(x)), [v.size for v in x])
    flat = np.concatenate(x) if len(x) else np.empty(0)
    if not flat.size:
        return [np.empty((0, 0)) for _ in x]
    with np.errstate(over="ignore", invalid="ignore"):
        counts = np.nan_to_num(signals(rows, flat), nan=1e30, posinf=1e30, neginf=-1e30)
    counts = np.clip(counts, -1e30, 1e30)
    return np.split(counts, np.cumsum([v.size for v in x])[:-1])


def _steps(counts: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Distance between neighbours in standard deviations; of large signals in relative steps, far above in longer."""
    least = np.minimum(np.abs(counts[1:]), np.abs(counts[:-1]))
    # Of signals far above the data the relative change matters, of all bins together.
    variance = noise + least + (_RELATIVE * least) ** 2 + noise.size * (0.25 * np.maximum(least - noise, 0.0)) ** 2
    return np.sqrt(np.sum(np.diff(counts, axis=0) ** 2 / variance, axis=1))


def _expected_steps(x: np.ndarray, counts: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Steps between neighbours, or what the slope in the cells beside suggests: a signal may go and come back."""
    steps = _steps(counts, noise)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        density = steps / np.diff(x)
        beside = np.maximum(np.append(0.0, density[:-1]), np.append(density[1:], 0.0)) * np.diff(x)
    return np.maximum(steps, np.nan_to_num(beside, nan=0.0, posinf=1e30) / _UNEVEN)


def nodes_of(found: Range, cap: float) -> np.ndarray:
    """Nodes at equal steps of distance where the signal is below a cap, with the borders, and a few elsewhere."""
    x, distance, height, _ = found
    low = height < cap
    near = low | np.append(low[1:], False) | np.append(False, low[:-1])
    cell = np.floor(distance / _STEP)
    chosen = near & np.append(True, cell[1:] != cell[:-1])
    chosen[:: 3 * _PER_DECADE] |= near[:: 3 * _PER_DECADE]
    chosen |= near & ~low  # borders
    for end in (0, -1):
        chosen[end] |= low[end]
    return x[chosen]
