"""Impacts: how far each constrained parameter moves the best fit of another, by refits."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from jcevns.export import Exported, Results
from jcevns.fit.fit import fit
from jcevns.fit.interval import Profiles1D
from jcevns.fit.minimise import Lowest, newton
from jcevns.fit.result import Fit
from jcevns.fit.roots import find_roots
from jcevns.fit.rounding import decimals, number, unit_scale, with_errors
from jcevns.fit.surface import Surface
from jcevns.likelihood.likelihood import Experiments, Likelihood, as_likelihood
from jcevns.parameters import Parameter
from jcevns.precision import require_x64

__all__ = ["Impact", "Impacts", "impacts"]

_DEPTH = 16.0  # Delta chi2 up to which other minima are starts of the refits
_BELOW = 1e-5  # of chi2, that a refit may fall below the minimum
_WIDER = (2.0, 4.0, 8.0, 16.0)  # errors within which a rise by one is looked for
_SMALLEST = 1e-9  # of the default: a factor of zero has no logarithm


@dataclasses.dataclass(frozen=True)
class Impact(Exported):
    """Impact of one constrained parameter.

    Attributes:
        nuisance: its name.
        unit: of its values.
        central: centre of its constraint.
        width: of its constraint.
        value: at the best fit.
        down: its error after the fit, downwards; NaN where there is none, by covariance, as a kink holds it.
        up: the same upwards.
        pull: (value - central)/width.
        pull_down: error of the pull, downwards: 1 where the data say nothing about it.
        pull_up: the same upwards.
        prefit_down: shift of the best fit with the nuisance held at `central - width`.
        prefit_up: the same at `central + width`.
        postfit_down: shift with the nuisance held at `value - down`.
        postfit_up: the same at `value + up`.
        problems: why it is not valid, with what to do.
        note: where a bound of the nuisance is closer than its error, and it was held there; empty elsewhere.
    """

    nuisance: str
    unit: str
    central: float
    width: float
    value: float
    down: float
    up: float
    pull: float
    pull_down: float
    pull_up: float
    prefit_down: float
    prefit_up: float
    postfit_down: float
    postfit_up: float
    problems: tuple[str, ...] = ()
    note: str = ""

    @property
    def valid(self) -> bool:
        """Whether all refits are."""
        return not self.problems

    @property
    def size(self) -> float:
        """The larger of both post-fit shifts, in size; of the pre-fit ones if there are none; NaN without any."""
        post, pre = (self.postfit_down, self.postfit_up), (self.prefit_down, self.prefit_up)
        for pair in (post, pre):
            known = [abs(shift) for shift in pair if math.isfinite(shift)]
            if known:
                return max(known)
        return math.nan

    def to_dict(self) -> dict[str, Any]:
        """Its fields, and whether it is valid."""
        return super().to_dict() | {"valid": self.valid}


@dataclasses.dataclass(frozen=True)
class Impacts(Exported):
    """Impacts on the best fit of one parameter, the largest first.

    Attributes:
        name: of the parameter.
        unit: of its values and of the shifts.
        best_fit: its value at the minimum.
        error: (down, up) of it, Delta chi2 = 1; None for an open side.
        method: of the errors of the nuisances, `covariance` or `profile`.
        ranked: impacts, by the size of the post-fit shift.
        problems: of the fit itself.

    Example:
        >>> import jcevns as jc
        >>> found = jc.impacts("xenonnt-2024-s2", "flux")
        >>> [(one.nuisance.rpartition(".")[2], f"{one.size:.1e}") for one in found.ranked[:2]]  # cm^-2 s^-1
        [('accidental', '5.6e+05'), ('fiducial_volume', '3.0e+05')]
    """

    name: str
    unit: str
    best_fit: float
    error: tuple[float | None, float | None]
    method: str
    ranked: Results[Impact]
    problems: tuple[str, ...] = ()

    @property
    def valid(self) -> bool:
        """Whether the fit and all refits are."""
        return not self.problems and all(one.valid for one in self.ranked)

    def __getitem__(self, nuisance: str) -> Impact:
        """Impact of a nuisance by name; the part after the last dot will do where it is one alone."""
        found = [one for one in self.ranked if nuisance in (one.nuisance, one.nuisance.rpartition(".")[2])]
        if len(found) != 1:
            known = ", ".join(one.nuisance for one in self.ranked) or "none"
            raise ValueError(f"{'several impacts are' if found else 'no impact is'} of {nuisance!r}: {known}")
        return found[0]

    def to_dict(self) -> dict[str, Any]:
        """Its fields, the impacts as a list."""
        found = super().to_dict()
        return found | {"ranked": found["ranked"]["results"], "valid": self.valid}

    def rows(self) -> list[dict[str, Any]]:
        """One row for each nuisance."""
        return [{"parameter": self.name, "shift_unit": self.unit} | row for row in self.ranked.rows()]

    def __str__(self) -> str:
        scale, unit = unit_scale(self.unit)
        down, up = (None if e is None else e / scale for e in self.error)
        sizes = [one.size / scale for one in self.ranked if math.isfinite(one.size)]
        places = decimals(max(sizes)) + 1 if sizes and max(sizes) > 0 else 3

        def shifts(low: float, high: float) -> str:
            texts = [number(v / scale, places) if math.isfinite(v) else "none" for v in (low, high)]
            return " / ".join(t if t.startswith("-") or t == "none" else f"+{t}" for t in texts)

        rows = [("", "pull", "error", "post-fit down / up", "pre-fit down / up", "")]
        for one in self.ranked:
            error = f"{one.pull_up:.2f}"
            if f"{one.pull_down:.2f}" != error:
                error = f"+{error} -{one.pull_down:.2f}"
            post, pre = (
                shifts(one.postfit_down, one.postfit_up),
                shifts(one.prefit_down, one.prefit_up),
            )
            rows.append((one.nuisance, f"{one.pull:+.2f}", error, post, pre, "" if one.valid else "NOT VALID"))
        widths = [max(len(row[i]) for row in rows) for i in range(6)]
        head = f"impacts on {self.name} = {with_errors(self.best_fit / scale, up, down)}{unit}"
        lines = ["  " + "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        faults = [f"  PROBLEM: {p}" for p in self.problems]
        faults += [f"  PROBLEM: {one.nuisance}: {p}" for one in self.ranked for p in one.problems]
        notes = [f"  note: {one.nuisance} {one.note}" for one in self.ranked if one.note]
        return "\n".join([head, *lines, *faults, *notes])


def impacts(
    likelihood: Likelihood | Experiments,
    name: str,
    at: Mapping[str, float] | None = None,
    profiled: str | Sequence[str] = (),
    constrained: str | Sequence[str] = (),
    errors: str = "covariance",
    progress: Callable[[int], Any] = lambda done: None,
) -> Impacts:
    """How far every constrained parameter moves the best fit of another.

    Each constrained parameter in turn is held and everything else is fitted again: at the centre of its constraint
    +- its width (pre-fit impact), and at its best fit +- its error after the fit (post-fit impact). Shifts count from
    the best fit of all together, so that a nuisance that is pulled has pre-fit shifts of different size.

    Args:
        likelihood: experiments, or a likelihood with a theory.
        name: of the parameter that is fitted.
        at: values of parameters that are fixed.
        profiled: parameters without constraint that are profiled.
        constrained: the parameter itself, to keep its constraint.
        errors: of the nuisances: `covariance`, or `profile` for Delta chi2 = 1 on both sides, everything else
            profiled.
        progress: called with the number of nuisances done.

    Raises:
        RuntimeError: in single precision, or no valid fit at all.
        ValueError: unknown parameter or kind of errors, no constrained parameter beside it, chi2 that does not depend
            on `name`.

    Example:
        >>> import jcevns as jc
        >>> accidental = jc.impacts("xenonnt-2024-s2", "flux")["accidental"]
        >>> accidental.postfit_up < 0 < accidental.postfit_down, accidental.valid
        (True, True)
    """
    require_x64("impacts")
    if errors not in ("covariance", "profile"):
        raise ValueError(f"errors {errors!r} must be 'covariance' or 'profile'")
    likelihood = as_likelihood(likelihood)
    surface = Surface(likelihood, name, at, constrained, profiled)
    if len(surface.names) != 1:
        raise ValueError(f"impacts are on one parameter, got {', '.join(surface.names)}")
    best = fit(likelihood, surface.names, at, profiled, constrained)
    (target,) = surface.names
    chosen = [n for n in best.pulls if n != target]
    if not chosen:
        raise ValueError(f"{', '.join(likelihood.names)}: no parameter with a constraint is fitted beside {target}")
    starts = _starts(surface, best)
    asked = likelihood.parameters.full(profiled)
    found = Results[Impact]()
    for nuisance in chosen:
        both = Surface(
            likelihood,
            (target, nuisance),
            surface.at,
            (*surface.constrained, nuisance),
            [n for n in asked if n != nuisance],
        )
        both.start_at(best.full_covariance.values)
        found.append(_impact(both, best, starts, errors))
        progress(1)
    found.sort(key=lambda one: -one.size if math.isfinite(one.size) else math.inf)
    return Impacts(target, best.units[target], best.values[target], best.errors[target], errors, found, best.problems)


def _starts(surface: Surface, best: Fit) -> list[float]:
    """Where refits start: every minimum of the profile that is not far above the lowest, and beside the best fit."""
    (name,), (record,) = surface.names, surface.records
    (one,) = Profiles1D(surface, np.zeros((1, 0)), _DEPTH).surveys
    usable = np.isfinite(one.chi2)
    x, y = one.x[usable], one.chi2[usable]
    lower = np.concatenate([[True], y[1:] <= y[:-1]]) & np.concatenate([y[:-1] <= y[1:], [True]])
    found = [best.values[name], *map(float, x[lower & (y < y.min() + _DEPTH)])]
    # A parameter that enters as a square has no slope at zero: it is asked from beside it too.
    for side, error in zip((-1, 1), best.errors[name], strict=True):
        width = error if error is not None else best.hesse[name]
        if math.isfinite(width):
            found.append(best.values[name] + side * width)
    return list(dict.fromkeys(min(max(v, record.lower), record.upper) for v in found))


def _refit(surface: Surface, values: Float[np.ndarray, " place"], starts: Sequence[float]) -> Lowest:
    """Best fits of the first parameter of a surface at values of the second."""

    def objective(x: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, ...]:
        found = surface.evaluate(np.concatenate([x, values[index][:, None]], axis=1), 2)
        return found.chi2, found.gradient[:, :1], found.hessian[:, :1, :1], found.valid

    begins = np.tile(np.array(starts)[:, None, None], (1, values.size, 1))
    return newton(objective, begins, surface.records[:1])  # pyright: ignore[reportArgumentType]


def _impact(surface: Surface, best: Fit, starts: Sequence[float], errors: str) -> Impact:
    (target, nuisance), record = surface.names, surface.records[1]
    central, width = record.default, record.width
    value, error = best.full_covariance.values[nuisance], best.full_covariance.errors[nuisance]
    problems: list[str] = []
    down = up = error
    if errors == "profile":
        down, up = _rises(surface, best, starts, value, error if math.isfinite(error) else width, record)
        if not (math.isfinite(down) and math.isfinite(up)):
            problems.append("its profile has no valid rise by one: use errors='covariance'")
    elif not math.isfinite(error):
        problems.append("a bound or a kink holds it at the best fit, it has no covariance: use errors='profile'")
    places = np.array([central - width, central + width, value - down, value + up])
    known = np.isfinite(places)
    inside = np.clip(np.where(known, places, value), _lowest(record), record.upper)
    ends = ((_lowest(record), record.lower), (record.upper, record.upper))
    bound = [end for place, end in ends if np.any(known & (np.abs(inside - place) <= 1e-6 * width))]
    note = f"was held at its bound, {' and '.join(f'{end:.4g}' for end in bound)}, which is closer than its error"
    again = _refit(surface, inside, starts)
    shift = np.where(known & again.valid, again.x[:, 0] - best.values[target], np.nan)
    if not np.all(again.valid):
        problems.append("a refit is not valid: fix or leave out what the data cannot tell apart from it")
    elif np.min(again.value) < best.chi2_min - _BELOW * (1 + abs(best.chi2_min)):
        problems.append("a refit lies below the minimum, which is a local one: do not use the fit")
    return Impact(
        nuisance,
        record.unit,
        central,
        width,
        value,
        down,
        up,
        best.pulls[nuisance],
        down / width,
        up / width,
        *map(float, shift),
        problems=tuple(problems),
        note=note if bound else "",
    )


def _lowest(record: Parameter) -> float:
    """Lowest value that a refit is made at."""
    if record.kind not in ("theory", "shape"):  # a factor
        return max(record.lower, _SMALLEST * record.default)
    return record.lower


def _rises(
    surface: Surface, best: Fit, starts: Sequence[float], value: float, error: float, record: Parameter
) -> tuple[float, float]:
    """Distances down and up at which chi2 along a nuisance, all else profiled, has risen by one.

    That to a bound if it has not risen by one there; NaN if fits fail.
    """
    sides, limits = np.array([-1.0, 1.0]), np.array([_lowest(record), record.upper])

    def rise(places: np.ndarray) -> np.ndarray:
        found = _refit(surface, places, starts)
        return np.where(found.valid, found.value - best.chi2_min - 1, np.nan)

    end, height = np.full(2, value), np.full(2, -1.0)
    for wider in _WIDER:
        trial = np.clip(value + sides * wider * error, limits[0], limits[1])
        end = np.where(height > 0, end, trial)
        height = rise(end)
        if np.all((height > 0) | (end == limits)):
            break
    root = find_roots(rise, np.full(2, value), end, np.full(2, -1.0), height, 1e-8)
    distance = np.abs(np.where((end == limits) & (height <= 0), limits, root) - value)
    return float(distance[0]), float(distance[1])
