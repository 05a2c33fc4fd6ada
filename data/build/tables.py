"""Reading of raw inputs and the checks that all builders share."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Rows = list[dict[str, str]]
Table = Mapping[str, Sequence[object]]


def read_rows(path: Path) -> Rows:
    """Reads a raw CSV file whose header may be preceded by '#' lines."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def column(rows: Rows, name: str) -> list[float]:
    """Returns one numeric column."""
    return [float(row[name]) for row in rows]


def require_close(what: str, left: Any, right: Any, rtol: float, atol: float = 0.0) -> None:
    """Stops the build when two quantities that describe the same thing differ."""
    a, b = np.asarray(left, dtype=float), np.asarray(right, dtype=float)
    if a.shape != b.shape or not np.allclose(a, b, rtol=rtol, atol=atol):
        raise SystemExit(f"{what}: the inputs disagree\n  {a}\n  {b}")


def digits(values: Any, count: int = 8) -> list[float]:
    """Rounds computed numbers to significant digits, so that a rebuild gives the same bytes."""
    return [float(f"{float(value):.{count}g}") for value in np.asarray(values).ravel()]


def thin(x: Any, curves: Sequence[Any], tolerance: float, limit: int | None = None) -> np.ndarray:
    """Picks the points from which linear interpolation reproduces all curves.

    Args:
        x: Increasing abscissae.
        curves: Ordinates, one array per curve.
        tolerance: Largest difference that is left.
        limit: Largest number of points, where the tolerance would ask for more.

    Returns:
        Sorted indices; both ends are always among them.
    """
    x = np.asarray(x, dtype=float)
    stack = np.array(curves, dtype=float)
    kept = [0, len(x) - 1]
    while limit is None or len(kept) < limit:
        kept.sort()
        error = np.max([np.abs(np.interp(x, x[kept], c[kept]) - c) for c in stack], axis=0)
        worst = int(np.argmax(error))
        if error[worst] <= tolerance:
            break
        kept.append(worst)
    return np.array(sorted(set(kept)))
