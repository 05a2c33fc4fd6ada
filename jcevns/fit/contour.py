"""Contours of two parameters: level curves of chi2, the others profiled or fixed."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jcevns.constants import chi2_threshold
from jcevns.export import Exported, plain
from jcevns.fit.fit import fit
from jcevns.fit.interval import Profiles1D
from jcevns.fit.result import Fit
from jcevns.fit.rounding import percent
from jcevns.fit.surface import Surface
from jcevns.likelihood.likelihood import Experiments, Likelihood, with_data
from jcevns.parameters import LARGEST
from jcevns.precision import require_x64

__all__ = ["Contour", "contour"]

_GRID = 48  # nodes of each axis
_ACROSS, _MOST = 32, 400  # nodes across a narrow region, and of an axis at most
_REFINE = 6  # steps along the gradient onto the level


@dataclasses.dataclass(frozen=True)
class Contour(Exported):
    """Borders of confidence regions of two parameters.

    Attributes:
        names: of the parameters.
        units: of each.
        cl: confidence levels.
        dof: parameters of interest, for the thresholds.
        thresholds: Delta chi2 of each level.
        best_fit: values at the minimum.
        chi2_min: there.
        lines: polylines of each level, each of shape (point, 2); the first and last point of a closed one agree.
        closed: for each of them, whether it is closed; one that is not runs into a bound or the end of what was
            searched.
        window: ranges searched, (parameter, 2).
        problems: why it is not valid, with what to do.

    Example:
        >>> import jcevns as jc
        >>> region = jc.contour("xenonnt-2024-s2", ("sin2w", "flux"), cl=[0.683], constrained=["flux"])
        >>> region.closed[0.683], round(region.thresholds[0], 2)
        ((True,), 2.3)
    """

    names: tuple[str, str]
    units: tuple[str, str]
    labels: tuple[str, str]
    cl: tuple[float, ...]
    dof: int
    thresholds: tuple[float, ...]
    best_fit: tuple[float, float]
    chi2_min: float
    lines: dict[float, tuple[Float[np.ndarray, "_ 2"], ...]]
    closed: dict[float, tuple[bool, ...]]
    window: tuple[tuple[float, float], tuple[float, float]]
    problems: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the best fit and all points of the lines are."""
        return not self.problems

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers and lists; lines and whether they are closed by level."""
        return plain(
            {
                "parameters": self.names,
                "units": self.units,
                "cl": self.cl,
                "dof": self.dof,
                "delta_chi2": self.thresholds,
                "best_fit": dict(zip(self.names, self.best_fit, strict=True)),
                "chi2_min": self.chi2_min,
                "lines": self.lines,
                "closed": self.closed,
                "valid": self.valid,
                "problems": self.problems,
            }
        )

    def rows(self) -> list[dict[str, Any]]:
        """Points of all lines, by level and line."""
        points = [(cl, i, *point) for cl in self.cl for i, line in enumerate(self.lines[cl]) for point in line]
        return [plain(dict(zip(("cl", "line", *self.names), row, strict=True))) for row in points]

    def __str__(self) -> str:
        parts = []
        for cl, threshold in zip(self.cl, self.thresholds, strict=True):
            kinds = ["closed" if c else "open at the border" for c in self.closed[cl]] or ["no line"]
            parts.append(f"{percent(cl)} (Delta chi2 = {threshold:.3f}, dof {self.dof}): {', '.join(kinds)}")
        return f"contour of {' and '.join(self.names)}: " + "; ".join(parts)


def contour(
    likelihood: Likelihood | Experiments,
    names: Sequence[str],
    cl: float | Sequence[float] = (0.683, 0.90),
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
    constrained: str | Sequence[str] = (),
    dof: int = 2,
    window: Mapping[str, tuple[float, float]] | None = None,
    points: int = _GRID,
) -> Contour:
    """Level curves of chi2 in the plane of two parameters.

    The window is where either parameter, the other profiled, is accepted at the highest level, with a margin; islands
    in it are found on a grid, and every point of a line is then brought onto the level along the exact gradient.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        names: the two parameters.
        cl: confidence levels.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        constrained: those of the two that keep their constraint.
        dof: parameters of interest: 2 for a joint region (4.61 at 90%), 1 for the convention of Fig. 4 of
            arXiv:2411.11749 (2.71).
        window: range of a parameter, by name, where the automatic one is not wanted; with positive ends that are more
            than a factor 30 apart its grid is logarithmic.
        points: nodes of the grid along each axis.

    Raises:
        RuntimeError: in single precision, or no valid fit.
        ValueError: not two parameters, a bad level or window.

    Example:
        >>> import jcevns as jc
        >>> print(jc.contour("xenonnt-2024-s2", ("sin2w", "flux"), cl=0.90, constrained="flux"))
        contour of sin2w and flux.b8: 90% (Delta chi2 = 4.605, dof 2): closed
    """
    require_x64("a contour")
    chosen = (cl,) if isinstance(cl, int | float) else tuple(cl)
    surface = Surface(with_data(likelihood, "a contour"), names, at, constrained, profiled)
    if len(surface.names) != 2:
        raise ValueError(f"a contour has two parameters, got {', '.join(surface.names)}")
    if len(set(chosen)) != len(chosen):
        raise ValueError(f"a confidence level is given twice among {', '.join(f'{level:g}' for level in chosen)}")
    thresholds = tuple(chi2_threshold(level, dof) for level in chosen)
    given = {surface.likelihood.parameters[n].name: (float(a), float(b)) for n, (a, b) in (window or {}).items()}
    for name, (low, high) in given.items():
        if not low < high:
            raise ValueError(f"window of {name}: {low:g} must be below {high:g}")
        if name not in surface.names:
            raise ValueError(f"window of {name!r}, which is not one of {', '.join(surface.names)}")
        if max(abs(low), abs(high)) > LARGEST:
            raise ValueError(f"window of {name}: {low:g} to {high:g} is too large to compute with")
    best = fit(surface.likelihood, surface.names, at, profiled, constrained, errors=False)
    centre = np.array([best.values[n] for n in surface.names])
    points = _fine_enough(best, points)
    axes = [_axis(surface, i, centre, thresholds[-1] if thresholds else 1.0, given, points) for i in range(2)]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    found = surface.evaluate(mesh.reshape(-1, 2))
    height = np.where(found.valid, found.chi2, np.nan).reshape(mesh.shape[:2])
    if not np.any(np.isfinite(height)):
        raise RuntimeError(f"no valid fit in the window of {' and '.join(surface.names)}")
    lowest = min(best.chi2_min, float(np.nanmin(height)))
    if np.nanmax(height) - lowest <= 1e-9 * max(1.0, abs(lowest)):
        experiments = ", ".join(surface.likelihood.names)
        raise ValueError(f"{experiments}: chi2 does not depend on {' and '.join(surface.names)}, nothing to fit")
    logs = [_logarithmic(axis) for axis in axes]
    lines: dict[float, tuple[np.ndarray, ...]] = {}
    closed: dict[float, tuple[bool, ...]] = {}
    problems = list(best.problems)
    for level, threshold in zip(chosen, thresholds, strict=True):
        traced = _trace(axes, logs, height - lowest - threshold)
        refined = [_onto(surface, line, lowest + threshold, axes) for line, _ in traced]
        lines[level] = tuple(line for line, _ in refined)
        closed[level] = tuple(is_closed for _, is_closed in traced)
        if not all(ok for _, ok in refined):
            problems.append(f"points of the line of {percent(level)} rest on fits that are not valid: give a window")
    if best.chi2_min > lowest + 1e-4:
        problems.append(f"the grid goes {best.chi2_min - lowest:.3g} below the fit, a local minimum: give a window")
    return Contour(
        (surface.names[0], surface.names[1]),
        (surface.records[0].unit, surface.records[1].unit),
        (surface.records[0].label, surface.records[1].label),
        chosen,
        dof,
        thresholds,
        (float(centre[0]), float(centre[1])),
        lowest,
        lines,
        closed,
        ((float(axes[0][0]), float(axes[0][-1])), (float(axes[1][0]), float(axes[1][-1]))),
        tuple(problems),
    )


def _fine_enough(best: Fit, points: int) -> int:
    """Nodes along each axis so that a region as narrow as the correlation makes it is several cells wide."""
    correlation = abs(best.correlation[0, 1])
    width = math.sqrt(max(1 - correlation**2, 0.0)) if math.isfinite(correlation) else 1.0
    return min(max(points, math.ceil(_ACROSS / max(width, 1e-3))), max(points, _MOST))


def _logarithmic(axis: np.ndarray) -> bool:
    return bool(axis[0] > 0 and np.allclose(np.diff(np.log(axis)), np.log(axis[1] / axis[0]), rtol=1e-6))


def _axis(
    surface: Surface,
    place: int,
    centre: np.ndarray,
    threshold: float,
    given: Mapping[str, tuple[float, float]],
    points: int,
) -> np.ndarray:
    """Nodes of one axis: over the accepted range of its profile, the other parameter profiled."""
    name, record = surface.names[place], surface.records[place]
    if name in given:
        low, high = given[name]
    else:
        along = surface.along(place, centre)
        search = Profiles1D(along, np.zeros((1, 0)), threshold)
        (one,) = search.surveys
        usable = np.isfinite(one.chi2)
        x, y = one.x[usable], one.chi2[usable]
        accepted = np.flatnonzero(y <= np.min(y) + threshold)
        first, last = max(accepted[0] - 1, 0), min(accepted[-1] + 1, x.size - 1)
        ((segments, _),) = search.segments(np.array([one.chi2_min + threshold]))
        ends = [end for pair in segments for end in pair if end is not None]
        low = segments[0][0] if segments and segments[0][0] is not None else float(x[first])
        high = segments[-1][1] if segments and segments[-1][1] is not None else float(x[last])
        size = max([abs(e) for e in ends] or [abs(record.default), record.scale or 1.0])
        if segments and segments[-1][1] is None and not math.isfinite(record.upper):
            high = max(3 * size, centre[place])
        if segments and segments[0][0] is None and not math.isfinite(record.lower):
            low = min(-3 * size, centre[place])
        margin = 0.15 * (high - low) or 0.5 * size
        low, high = max(low - margin, record.lower), min(high + margin, record.upper)
    if low > 0 and high / low > 30:
        return np.geomspace(low, high, points)
    return np.linspace(low, high, points)


def _trace(axes: Sequence[np.ndarray], logs: Sequence[bool], height: np.ndarray) -> list[tuple[np.ndarray, bool]]:
    """Lines of height zero on the grid, and whether each is closed."""
    import contourpy

    x, y = (np.log(a) if log else a for a, log in zip(axes, logs, strict=True))
    generator = contourpy.contour_generator(x, y, np.ma.masked_invalid(height.T))
    found = []
    for line in generator.lines(0.0):
        points = np.asarray(line)
        columns = [np.exp(c) if log else c for c, log in zip(points.T, logs, strict=True)]
        found.append((np.stack(columns, axis=1), bool(np.allclose(points[0], points[-1]))))
    return found


def _onto(surface: Surface, line: np.ndarray, level: float, axes: Sequence[np.ndarray]) -> tuple[np.ndarray, bool]:
    """Bring the points of a line onto a level along the gradient, inside the window."""
    low, high = (np.array([axis[end] for axis in axes]) for end in (0, -1))
    size, x = high - low, line.copy()
    good = False
    limit = 1.5 * np.array([np.max(np.diff(axis)) for axis in axes])
    for _ in range(_REFINE):
        found = surface.evaluate(x, 1)
        miss = level - found.chi2
        good = bool(np.all(found.valid & (np.abs(miss) < 1e-3)))
        if np.all(np.abs(miss) < 1e-6):
            break
        slope = found.gradient * size
        # On the border of the window only the other coordinate may move.
        pinned = (line <= low) | (line >= high)
        slope = np.where(pinned, 0.0, slope)
        square = np.sum(slope**2, axis=1, keepdims=True)
        step = np.where(square > 0, miss[:, None] * slope / np.where(square > 0, square, 1.0), 0.0) * size
        step = np.clip(np.nan_to_num(step), -limit, limit)
        x = np.clip(np.clip(x + step, line - limit, line + limit), low, high)
    return x, good
