"""Sentences of the paper about which limit is the strongest, checked on curves."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

__all__ = ["STATEMENTS", "TOLERANCE", "VERDICTS", "Curve", "Statement", "advantage", "leading", "spell", "verdict"]

Curve = tuple[np.ndarray, np.ndarray]
"""Masses in MeV, increasing, and the smallest excluded coupling at each; NaN where nothing is excluded."""

TOLERANCE = 1.5
"""An end of a mass range agrees within this factor: the paper gives one digit, read off logarithmic axes."""

VERDICTS = ("agrees", "differs", "not comparable")
"""How a verdict begins. What is not comparable follows from a limit that is none of our curves, whatever they say."""

_FINE = 200  # points per decade on which curves are compared


@dataclasses.dataclass(frozen=True)
class Statement:
    """One sentence: in this panel our curve is below the others between two masses.

    Attributes:
        panel: interaction.
        text: what the paper says, shortened.
        others: curves compared with.
        low: lower end in MeV.
        high: upper end in MeV.
        low_from: what the lower end follows from, where that is no limit among `others`.
    """

    panel: str
    text: str
    others: tuple[str, ...]
    low: float
    high: float
    low_from: str = ""


_N_EFF = "6 MeV is no crossing of CEvNS or electron recoils; probably N_eff, of which we have no curve"

STATEMENTS = (
    Statement(
        "scalar", "8B leads for 6 < m < 150 MeV", ("COHERENT", "electron recoils", "TEXONO"), 6.0, 150.0, _N_EFF
    ),
    Statement("axial", "8B leads among CEvNS for 6 < m < 80 MeV", ("COHERENT",), 6.0, 80.0, _N_EFF),
    Statement("b-l", "8B slightly better than COHERENT for 0.1 < m < 30 MeV", ("COHERENT",), 0.1, 30.0),
    Statement("vector", "8B slightly better than COHERENT for 0.3 < m < 40 MeV", ("COHERENT",), 0.3, 40.0),
)
"""arXiv:2411.11749, on its Fig. 5."""


def advantage(ours: Curve, others: Sequence[Curve]) -> tuple[np.ndarray, np.ndarray]:
    """Mass, and by what factor our limit is below the best of the others, log-log interpolated where all have masses.

    Raises:
        ValueError: no masses in common.
    """
    curves = [ours, *others]
    low, high = max(float(m[0]) for m, _ in curves), min(float(m[-1]) for m, _ in curves)
    if not low < high:
        raise ValueError(f"curves have no masses in common: {low:g} to {high:g} MeV")
    mass = np.geomspace(low, high, max(2, math.ceil(_FINE * math.log10(high / low)) + 1))

    def at(curve: Curve) -> np.ndarray:
        excluded = np.isfinite(curve[1])  # where nothing is excluded a curve has no limit: infinitely weak
        inside = np.interp(np.log(mass), np.log(curve[0]), excluded.astype(float)) > 0.5
        if not excluded.any():
            return np.full(mass.size, np.inf)
        values = np.interp(np.log(mass), np.log(curve[0][excluded]), np.log(curve[1][excluded]))
        return np.where(inside, np.exp(values), np.inf)

    mine, best = at(ours), np.min([at(other) for other in others], axis=0)
    with np.errstate(invalid="ignore"):
        factor = best / mine
    return mass, np.where(np.isinf(mine), 0.0, factor)


def leading(ours: Curve, others: Sequence[Curve]) -> list[tuple[float, float]]:
    """Ranges of mass in which our limit is the strongest, ends interpolated in the logarithm of the mass."""
    mass, factor = advantage(ours, others)
    height = np.log(np.clip(factor, 1e-9, 1e9))
    ahead, x = height > 0, np.log(mass)
    found, start = [], float(mass[0]) if ahead[0] else math.nan
    for i in np.flatnonzero(ahead[1:] != ahead[:-1]):
        crossing = math.exp(x[i] - height[i] * (x[i + 1] - x[i]) / (height[i + 1] - height[i]))
        if ahead[i]:
            found.append((start, crossing))
        start = crossing
    if ahead[-1]:
        found.append((start, float(mass[-1])))
    return found


def spell(ranges: Sequence[tuple[float, float]], edges: tuple[float, float]) -> str:
    """Ranges in words; `edges` are the ends of the masses looked at, where a range has no end of its own."""
    words = []
    for low, high in ranges:
        open_below, open_above = low <= edges[0] * (1 + 1e-9), high >= edges[1] * (1 - 1e-9)
        if open_below and open_above:
            words.append("all masses")
        elif open_below:
            words.append(f"m < {high:.2g} MeV" if high < 99.5 else f"m < {high:.0f} MeV")
        elif open_above:
            words.append(f"m > {low:.2g} MeV" if low < 99.5 else f"m > {low:.0f} MeV")
        else:
            ends = [f"{end:.2g}" if end < 99.5 else f"{end:.0f}" for end in (low, high)]
            words.append(f"{ends[0]} < m < {ends[1]} MeV")
    return " and ".join(words) or "no mass"


def verdict(
    statement: Statement, curves: Mapping[str, Curve], ours: str = "8B"
) -> tuple[str, list[tuple[float, float]]]:
    """Whether our curves say the same, in one of `VERDICTS` and what it is about, and where ours leads."""
    others = [curves[name] for name in statement.others]
    ranges = leading(curves[ours], others)
    mass, _ = advantage(curves[ours], others)
    where = f"{ours} leads for {spell(ranges, (float(mass[0]), float(mass[-1])))}"
    if len(ranges) != 1:
        return f"differs: {where}", ranges
    pairs = zip(("lower end", "upper end"), ranges[0], (statement.low, statement.high), strict=True)
    off = [name for name, found, said in pairs if abs(math.log(found / said)) > math.log(TOLERANCE)]
    if statement.low_from:
        off = [name for name in off if name != "lower end"]
    if off:
        return f"differs in {' and '.join(off)}: {where}", ranges
    if statement.low_from:
        return f"not comparable in lower end ({statement.low_from}): {where}", ranges
    return f"agrees: {where}", ranges
