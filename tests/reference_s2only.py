"""XENONnT's S2-only likelihood in NumPy and iminuit, from the shipped arrays; shares no code with jcevns.

chi2 = 2 sum [N - D + D ln(D/N)] + sum ((factor - 1 - centre)/width)^2 + sum (t - centre)^2. Signals follow t_qy, the
cathode of each run its own t_sys; both are linear between anchors. The minimum is found from many cells.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.optimize
from iminuit import Minuit

from jcevns.datasets import read_arrays, read_table

RUNS = ("sr0", "sr1", "sr2")
NAME = "xenonnt-s2only-2026"
TEMPLATE_FLUX = 5.25e6


def pack() -> dict[str, np.ndarray]:
    return read_arrays("xenonnt_s2only_2026_templates")


def widths() -> dict[str, tuple[float, float, float]]:
    """Width, lower and upper bound by name."""
    table = read_table("xenonnt_s2only_2026_widths")
    columns = (table[c] for c in ("width", "lower", "upper"))
    return {str(n): tuple(map(float, v)) for n, *v in zip(table["parameter"], *columns, strict=True)}


def at_exposure(per_exposure: np.ndarray) -> np.ndarray:
    """(run, t_qy, bin) in events per tonne-year to events."""
    return per_exposure * pack()["exposure_tonne_year"][:, None, None]


def fold(rate: Callable[[np.ndarray], np.ndarray], order: int = 2) -> np.ndarray:
    """Events (run, t_qy, bin) of dR/dT in events/(tonne year keV): response linear between nodes."""
    nodes, response = pack()["recoil_keV"], pack()["response"]
    x, w = np.polynomial.legendre.leggauss(order)
    at, step = (1 + x) / 2, np.diff(nodes)
    rates = rate((nodes[:-1, None] + at * step[:, None]).ravel()).reshape(step.size, order)
    total = 0.0
    for i, k in itertools.product(range(step.size), range(order)):
        seen = (1 - at[k]) * response[:, :, i] + at[k] * response[:, :, i + 1]
        total = total + w[k] / 2 * step[i] * rates[i, k] * seen
    return at_exposure(total)


class S2Only:
    """The likelihood: 8B neutrinos and a signal of any strength.

    Args:
        b8: events of 8B (run, t_qy, bin), multiplied by the parameter `b8`.
        signal: events of another signal, multiplied by the parameter `mu`; None for none.
        b8_width: relative constraint of `b8`, infinite for a free one.
        runs: those that are counted.
        observed: other data, (run, bin).
        centre: auxiliary measurements, as pulls by name.
    """

    def __init__(
        self,
        b8: np.ndarray,
        signal: np.ndarray | None = None,
        b8_width: float = 0.0381,
        runs: Sequence[str] = RUNS,
        observed: np.ndarray | None = None,
        centre: Mapping[str, float] | None = None,
    ):
        arrays, table = pack(), widths()
        self.b8, self.signal, self.runs = b8, signal, runs
        self.cathode = arrays["cathode"] * arrays["exposure_tonne_year"][:, None, None]
        self.delayed = arrays["delayed_electrons"] * arrays["exposure_tonne_year"][:, None]
        self.accidental = arrays["accidentals"] * arrays["exposure_tonne_year"][:, None]
        self.anchors = arrays["t_qy"]
        self.observed = np.asarray(arrays["observed"] if observed is None else observed, float)
        own = [n for n in table if n in ("b8", "t_qy") or n.endswith(tuple(runs))]
        self.names = ["mu", *own]
        self.width = np.array([np.inf, *(table[n][0] for n in own)])
        self.width[self.names.index("b8")] = b8_width
        self.bounds = [(0.0, np.inf), *(table[n][1:] for n in own)]
        self.nominal = np.array([0.0 if n == "mu" or n.startswith("t_") else 1.0 for n in self.names])
        self.centre = self.nominal + [(centre or {}).get(n, 0.0) for n in self.names]

    def _morph(self, table: np.ndarray, t: float, cell: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Value and slope of (anchor, bin) at t."""
        i = int(np.clip(np.searchsorted(self.anchors, t, side="right") - 1, 0, 5)) if cell is None else cell
        slope = (table[i + 1] - table[i]) / (self.anchors[i + 1] - self.anchors[i])
        return table[i] + (t - self.anchors[i]) * slope, slope

    def expected(
        self, x: np.ndarray, cells: Mapping[str, int] | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Counts of the runs side by side, their derivatives in the parameters, the data."""
        value = dict(zip(self.names, x, strict=True))
        cells = cells or {}
        counts, change, data = [], [], []
        for run in self.runs:
            r, slope = RUNS.index(run), {}
            efficiency = value[f"signal_efficiency_{run}"]
            b8, b8_slope = self._morph(self.b8[r], value["t_qy"], cells.get("t_qy"))
            signal, signal_slope = value["b8"] * b8, value["b8"] * b8_slope
            slope["b8"] = efficiency * b8
            if self.signal is not None:
                new, new_slope = self._morph(self.signal[r], value["t_qy"], cells.get("t_qy"))
                signal, signal_slope = signal + value["mu"] * new, signal_slope + value["mu"] * new_slope
                slope["mu"] = efficiency * new
            slope[f"signal_efficiency_{run}"], slope["t_qy"] = signal, efficiency * signal_slope
            cathode, bend = self._morph(self.cathode[r], value[f"t_sys_{run}"], cells.get(f"t_sys_{run}"))
            slope[f"cathode_{run}"], slope[f"t_sys_{run}"] = cathode, value[f"cathode_{run}"] * bend
            slope[f"delayed_electrons_{run}"] = self.delayed[r]
            total = efficiency * signal + value[f"cathode_{run}"] * cathode
            total = total + value[f"delayed_electrons_{run}"] * self.delayed[r]
            if f"accidentals_{run}" in value:  # not in SR2
                slope[f"accidentals_{run}"] = self.accidental[r]
                total = total + value[f"accidentals_{run}"] * self.accidental[r]
            counts.append(total)
            change.append(np.array([slope.get(n, np.zeros(7)) for n in self.names]))
            data.append(self.observed[r])
        return np.concatenate(counts), np.concatenate(change, axis=1), np.concatenate(data)

    def chi2(self, x: np.ndarray, cells: Mapping[str, int] | None = None) -> float:
        return self._chi2(x, cells)[0]

    def _chi2(self, x: np.ndarray, cells: Mapping[str, int] | None = None) -> tuple[float, np.ndarray]:
        N, change, D = self.expected(x, cells)
        pull = (x - self.centre) / self.width
        value = 2 * np.sum(N - D + np.where(D > 0, D * np.log(np.maximum(D, 1) / N), 0.0)) + np.sum(pull**2)
        return float(value), 2 * change @ (1 - D / N) + 2 * pull / self.width

    def minimum(self, **fixed: float) -> tuple[float, dict[str, float]]:
        """Lowest minimum, some parameters fixed: L-BFGS-B from cell to cell, then iminuit in the best one."""
        fixed = {"mu": 0.0, **fixed} if self.signal is None else fixed
        shapes = [n for n in self.names if n.startswith("t_") and n not in fixed]
        free = np.array([n not in fixed for n in self.names])
        base = np.array([fixed.get(n, v) for n, v in zip(self.names, self.nominal, strict=True)])
        scale = np.where(np.isfinite(self.width), self.width, 1.0)

        def in_cells(cells: Mapping[str, int], start: np.ndarray) -> tuple[float, np.ndarray]:
            box = self._box(cells)
            held = np.clip(start, *np.array(box).T)

            def function(y: np.ndarray) -> tuple[float, np.ndarray]:
                x = held.copy()
                x[free] = y * scale[free]
                value, gradient = self._chi2(x, cells)
                return value, gradient[free] * scale[free]

            limits = [(a / s, b / s) for (a, b), s, f in zip(box, scale, free, strict=True) if f]
            found = scipy.optimize.minimize(
                function, held[free] / scale[free], jac=True, bounds=limits, method="L-BFGS-B",
                options={"ftol": 1e-14, "gtol": 1e-8, "maxiter": 2000},
            )  # fmt: skip
            x = held.copy()
            x[free] = found.x * scale[free]
            return float(found.fun), x

        best: tuple[float, np.ndarray, dict[str, int]] = (np.inf, base, {})
        for start in ((2,) * len(shapes), (3,) * len(shapes)):
            cells = dict(zip(shapes, start, strict=True))
            value, x = in_cells(cells, base)
            moved = True
            while moved:  # to a neighbour, while that is lower
                moved = False
                for name, step in itertools.product(shapes, (-1, 1)):
                    if not 0 <= cells[name] + step <= 5:
                        continue
                    other = {**cells, name: cells[name] + step}
                    there, at = in_cells(other, x)
                    if there < value - 1e-9:
                        value, x, cells, moved = there, at, other, True
            if value < best[0]:
                best = value, x, cells
        value, x, cells = best
        box = self._box(cells)
        slope = self._chi2(x, cells)[1]
        low, high = np.array(box).T
        stuck = ((x <= low) & (slope > 0)) | ((x >= high) & (slope < 0))
        minuit = Minuit(lambda y: self._chi2(y, cells)[0], x, grad=lambda y: self._chi2(y, cells)[1])
        minuit.errordef, minuit.strategy, minuit.tol = 1, 2, 1e-6
        minuit.limits = [(a, b if np.isfinite(b) else None) for a, b in box]
        minuit.errors, minuit.fixed = list(0.1 * scale), list(stuck | ~free)
        minuit.migrad(ncall=20000)
        if minuit.fval < value:
            value, x = float(minuit.fval), np.array(minuit.values)
        return value, dict(zip(self.names, map(float, x), strict=True))

    def _box(self, cells: Mapping[str, int]) -> list[tuple[float, float]]:
        return [
            (float(self.anchors[cells[n]]), float(self.anchors[cells[n] + 1])) if n in cells else self.bounds[i]
            for i, n in enumerate(self.names)
        ]

    def limit(self, name: str, rise: float = 2.705543454095404) -> tuple[float, float, float]:
        """Upper end of Delta chi2 = rise, the best value and the lowest chi2."""
        lowest, at = self.minimum()
        best = at[name]
        low, high = best, max(2 * best, 1.0)
        while self.minimum(**{name: high})[0] - lowest < rise:
            low, high = high, 2 * high
        root = scipy.optimize.brentq(
            lambda v: self.minimum(**{name: v})[0] - lowest - rise, low, high, xtol=1e-4 * high
        )
        return float(root), best, lowest


# WIMPs in the halo that experiments agreed on (arXiv:2105.00599), spin-independent.

_NUCLEON, _GEV_FM, _LIGHT = 0.938272, 5.0677307, 299792.458  # GeV, 1/(GeV fm), km/s
_V0, _ESCAPE, _LAB, _DENSITY = 238.0, 544.0, 250.5, 0.3  # km/s (the last that of the Sun), GeV/cm^3
_XENON = {124: 0.00095, 126: 0.00089, 128: 0.0191, 129: 0.26401, 130: 0.04071, 131: 0.21232, 132: 0.26909,
          134: 0.10436, 136: 0.08857}  # fmt: skip


def _mean_inverse_speed(v: np.ndarray) -> np.ndarray:
    """Integral of f(v)/v above v in s/km, of a Maxwellian cut at the escape velocity; by quadrature."""
    speed = np.linspace(0.0, _ESCAPE + _LAB, 20001)
    middle, step = (speed[1:] + speed[:-1]) / 2, speed[1]
    # The angle is integrated in closed form, from the one at which the galactic speed is that of escape.
    largest = np.clip((_ESCAPE**2 - middle**2 - _LAB**2) / (2 * middle * _LAB), -1.0, 1.0)
    high = np.exp(-((middle - _LAB) ** 2) / _V0**2) - np.exp(
        -(middle**2 + _LAB**2 + 2 * middle * _LAB * largest) / _V0**2
    )
    density = middle**2 * high * _V0**2 / (2 * middle * _LAB)
    density = density / np.sum(density) / step
    above = np.concatenate([np.cumsum((density / middle * step)[::-1])[::-1], [0.0]])
    return np.interp(v, speed, above, right=0.0)


def wimp_rate(recoil_keV: np.ndarray, mass: float, cross_section: float) -> np.ndarray:
    """dR/dT in events/(tonne year keV) of a WIMP of a mass in GeV and a cross section on nucleons in cm^2."""
    total = 0.0
    for a, abundance in _XENON.items():
        nucleus = a * 0.9315
        reduced = mass * nucleus / (mass + nucleus)
        on_nucleon = mass * _NUCLEON / (mass + _NUCLEON)
        energy = recoil_keV * 1e-6  # GeV
        v = _LIGHT * np.sqrt(nucleus * energy / (2 * reduced**2))
        q = np.sqrt(2 * nucleus * energy) * _GEV_FM  # 1/fm
        c = 1.23 * a ** (1 / 3) - 0.60
        radius = np.sqrt(c**2 + 7 / 3 * np.pi**2 * 0.52**2 - 5 * 0.9**2)
        x = q * radius
        form = 3 * (np.sin(x) - x * np.cos(x)) / x**3 * np.exp(-((q * 0.9) ** 2) / 2)
        # rho sigma A^2/(2 m mu_p^2) F^2 eta, per gram: density in GeV/cm^3, velocities in km/s.
        rate = _DENSITY * cross_section * a**2 / (2 * mass * on_nucleon**2) * form**2 * _mean_inverse_speed(v)
        per_kg_day_keV = rate * (_LIGHT * 1e5) ** 2 / 1e5 * 86400 * 1e-6 / 1.78266192e-27
        total = total + abundance * per_kg_day_keV * 365.25 * 1000
    return total
