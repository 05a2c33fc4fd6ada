"""Where to look at a profile along one parameter: nodes at equal steps of what the signal changes.

chi2 can only dip where the signal changes by about a standard deviation of the counts, and signals cost nothing.
"""

import math
from collections.abc import Callable
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
_TOGETHER = 20_000_000  # numbers of signal held at a time
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
    bins = max(data.shape[-1], 1)
    budget = min(max(_DENSE // bins, _FEWEST), most)
    block = max(_TOGETHER // (budget * bins), 1)
    found: list[Range] = []
    for first in range(0, rows, block):
        these = range(first, min(first + block, rows))
        x = [_candidates(lower[i], upper[i], default[i], scale[i]) for i in these]
        row = np.repeat(np.array(these), [v.size for v in x])
        found += _refined(signals, row, np.concatenate(x), data, budget)
    return found


def _refined(signals: Signals, row: np.ndarray, x: np.ndarray, data: np.ndarray, budget: int) -> list[Range]:
    """Some rows, one after the other in arrays."""
    counts = _look(signals, row, x)
    for _ in range(_HALVINGS):
        cells, steps = _wide(row, x, counts, data)
        parts = np.clip(np.ceil(steps[cells] / _STEP), 2, 8).astype(int)
        # The widest first, as many as a row has room for.
        size, begin = np.bincount(row), np.searchsorted(row[cells], row[cells])
        added = np.cumsum(parts - 1)
        kept = added - (added - parts + 1)[begin] <= budget - size[row[cells]]
        cells, parts = cells[kept], parts[kept]
        fresh, own = _inside(x[cells], x[cells + 1], parts), np.repeat(cells, parts - 1)
        new = (fresh > x[own]) & (fresh < x[own + 1])
        new[1:] &= (fresh[1:] > fresh[:-1]) | (own[1:] != own[:-1])
        fresh, own = fresh[new], row[own[new]]
        if not fresh.size:
            break
        x, row, looked = np.append(x, fresh), np.append(row, own), _look(signals, own, fresh)
        order = np.lexsort((x, row))
        x, row, counts = x[order], row[order], np.concatenate([counts, looked])[order]
    cells, _ = _wide(row, x, counts, data)
    steps = _steps(row, counts, data)
    height = np.max(np.abs(counts) / (_data(row, data) + 1.0), axis=1)
    wide, ends = np.unique(row[cells]), np.flatnonzero(np.diff(row)) + 1
    found = []
    for piece in np.split(np.arange(x.size), ends):
        distance = np.concatenate([[0.0], np.cumsum(steps[piece[:-1]])])
        found.append(Range(x[piece], distance, height[piece], row[piece[0]] not in wide))
    return found


def _inside(low: np.ndarray, high: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Positions that part cells in equal parts."""
    own = np.repeat(np.arange(parts.size), parts - 1)
    number = np.arange(own.size) - np.repeat(np.cumsum(parts - 1) - (parts - 1), parts - 1) + 1
    return low[own] + number * ((high - low) / parts)[own]


def _look(signals: Signals, row: np.ndarray, x: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        counts = np.nan_to_num(signals(row, x), nan=1e30, posinf=1e30, neginf=-1e30)
    return np.clip(counts, -1e30, 1e30)


def _data(row: np.ndarray, data: np.ndarray) -> np.ndarray:
    return data if len(data) == 1 else data[row % len(data)]


def _steps(row: np.ndarray, counts: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Distance between neighbours in standard deviations; of large signals in relative steps, far above in longer."""
    noise = _data(row[:-1], data) + 1.0
    size = np.abs(counts)
    least = np.minimum(size[1:], size[:-1])
    # Of signals far above the data the relative change matters, of all bins together.
    variance = noise + least + (_RELATIVE * least) ** 2
    variance = variance + noise.shape[-1] * (0.25 * np.maximum(least - noise, 0.0)) ** 2
    return np.sqrt(np.sum(np.diff(counts, axis=0) ** 2 / variance, axis=1))


def _wide(row: np.ndarray, x: np.ndarray, counts: np.ndarray, data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cells that are too wide, by row and the widest first, and steps across all.

    A step is that between neighbours, or what the slope in the cells beside suggests: a signal may go and come back.
    """
    steps, width, inside = _steps(row, counts, data), np.diff(x), row[1:] == row[:-1]
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        density = np.where(inside, steps / width, 0.0)
        beside = np.maximum(np.append(0.0, density[:-1]), np.append(density[1:], 0.0)) * width
    steps = np.maximum(steps, np.nan_to_num(beside, nan=0.0, posinf=1e30) / _UNEVEN)
    low = np.max(np.abs(counts) / (_data(row, data) + 1.0), axis=1) < CAP
    cells = np.flatnonzero(inside & (steps > _STEP) & (low[:-1] | low[1:]))
    return cells[np.lexsort((-steps[cells], row[cells]))], steps


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
