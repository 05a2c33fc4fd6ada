"""XENONnT's likelihood in NumPy and iminuit, from the raw arrays; shares no code with jcevns' likelihood or fits.

chi2 = 2 sum [N - D + D ln(D/N)] + sum ((factor - 1 - centre)/sigma)^2 + sum (t - centre)^2, templates bilinear
between the 7x7 anchors. It kinks at the anchors, and need not be convex across them: each of the 36 cells is
minimised apart.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy.optimize
from iminuit import Minuit

from jcevns import Experiment
from jcevns.datasets import read_arrays

WIDTH = {"sr0": 0.0904, "sr1": 0.0576, "sr2": 0.05}  # accidentals
FLUX_WIDTH, EFFICIENCY, NEUTRON, ELECTRONIC = 0.12, 0.25, 0.58, 1.00
NOMINAL_FLUX, TEMPLATE_FLUX = 5.46e6, 5.25e6
CARD = {"xenonnt-2024": "xenonnt_2024_templates", "xenonnt-2026": "xenonnt_2026_templates"}


def fold(name: str, rate: Callable[[np.ndarray], np.ndarray], order: int = 2) -> np.ndarray:
    """Counts (t_ly, t_qy, run x bin) of dR/dT in events/(tonne year keV): response linear between nodes."""
    pack = read_arrays(CARD[name])
    nodes, response = pack["recoil_keV"], pack["response"].astype(float)
    x, w = np.polynomial.legendre.leggauss(order)
    total = 0.0
    energies = nodes[:-1, None] + np.diff(nodes)[:, None] * (1 + x) / 2
    rates = rate(energies.ravel()).reshape(energies.shape)
    for i in range(len(nodes) - 1):
        for k in range(order):
            u = (1 + x[k]) / 2
            at = (1 - u) * response[:, i] + u * response[:, i + 1]
            total = total + at * rates[i, k] * w[k] * (nodes[i + 1] - nodes[i]) / 2
    return side_by_side(total, pack)


def side_by_side(per_exposure: np.ndarray, pack: Mapping[str, np.ndarray]) -> np.ndarray:
    """(run, ..., bin) per tonne-year to (..., run x bin) in events."""
    runs = [e * np.asarray(t, float) for e, t in zip(pack["exposure_tonne_year"], per_exposure, strict=True)]
    return np.concatenate(runs, axis=-1)


def released_signal(flux: float) -> np.ndarray:
    """The released 8B templates at a flux."""
    pack = read_arrays(CARD["xenonnt-2024"])
    return side_by_side(pack["b8_at_5p25e6"], pack) * flux / TEMPLATE_FLUX


@dataclasses.dataclass
class Part:
    """A component: counts per bin, at the anchors or everywhere the same, and the factors that scale it."""

    counts: np.ndarray
    factors: list[int]


@dataclasses.dataclass
class Minimum:
    """Lowest minimum: chi2, pulls (factor - 1, then t) by name, fitted strength, and the cell it was found in."""

    chi2: float
    pulls: dict[str, float]
    strength: float
    cell: tuple[int, int]


class Official:
    """The likelihood of one release, with other experiments (and their signals) beside it."""

    def __init__(
        self,
        name: str,
        signal: np.ndarray,
        flux: bool = True,
        others: Sequence[tuple[Experiment, np.ndarray]] = (),
        observed: np.ndarray | None = None,
        centre: Mapping[str, float] | None = None,
        widths: Mapping[str, float] | None = None,
        free_strength: bool = False,
    ):
        pack = read_arrays(CARD[name])
        runs = [str(run) for run in pack["run"]]
        self.names: list[str] = []
        self.limits: list[tuple[float, float]] = []
        self.sigma: list[float] = []
        self.anchors = np.asarray(pack["t_yield"], float)
        widths = dict(widths or {})

        def nuisance(label: str, sigma: float, low: float = 0.0, high: float = np.inf) -> int:
            if label not in self.names:
                self.names.append(label)
                self.sigma.append(widths.get(label, sigma))
                self.limits.append((low, high))
            return self.names.index(label)

        on_all = [nuisance("flux.b8", FLUX_WIDTH)] if flux else []
        size = [np.asarray(pack["observed"]).size, *(e.observed.size for e, _ in others)]
        place = np.concatenate([[0], np.cumsum(size)])
        self.parts: list[Part] = []

        def add(counts: np.ndarray, block: int, factors: list[int]) -> None:
            before, after = place[block], place[-1] - place[block + 1]
            padding = [(0, 0)] * (np.ndim(counts) - 1) + [(before, after)]
            self.parts.append(Part(np.pad(np.asarray(counts, float), padding), factors))

        add(signal, 0, [*on_all, nuisance(f"{name}.efficiency", EFFICIENCY, 0.5, 1.5)])
        for i, run in enumerate(runs):
            own = np.zeros_like(pack["accidental"], float)
            own[i] = pack["accidental"][i]
            add(side_by_side(own, pack), 0, [nuisance(f"{name}.accidental_{run}", WIDTH[run])])
        add(side_by_side(pack["neutron"], pack), 0, [nuisance(f"{name}.neutron", NEUTRON)])
        add(side_by_side(pack["electronic"], pack), 0, [nuisance(f"{name}.electronic", ELECTRONIC)])
        for block, (other, counts) in enumerate(others, 1):
            acting: dict[str, list[int]] = {"signal": list(on_all), **{b: [] for b in other.backgrounds}}
            for n in other.nuisances:
                index = nuisance(f"{other.name}.{n.name}", n.sigma)
                for component in n.components:
                    acting[component].append(index)
            for component, table in {"signal": counts, **other.backgrounds}.items():
                add(np.asarray(table), block, acting[component])
        self.free_strength = free_strength
        if free_strength:  # a factor on all signals, without a constraint
            index = nuisance("strength", np.inf)
            for k in (0, *(k for k in range(1, len(self.parts)) if on_all and on_all[0] in self.parts[k].factors)):
                self.parts[k].factors.append(index)
        data = [pack["observed"].ravel() if observed is None else observed, *(e.observed for e, _ in others)]
        self.observed = np.concatenate([np.asarray(d, float) for d in data])
        self.normalisations = len(self.names)
        self.names += [f"{name}.t_ly", f"{name}.t_qy"]
        self.sigma += [1.0, 1.0]
        self.limits += [(self.anchors[0], self.anchors[-1])] * 2
        nominal = [1.0] * self.normalisations + [0.0, 0.0]
        self.wanted = np.array([n + (centre or {}).get(k, 0.0) for k, n in zip(self.names, nominal, strict=True)])
        self.nominal = np.array(nominal)

    def expected(self, x: np.ndarray, cell: tuple[int, int] | None = None) -> np.ndarray:
        return self._expected(np.asarray(x, float), cell)[0]

    def _expected(self, x: np.ndarray, cell: tuple[int, int] | None) -> tuple[np.ndarray, np.ndarray]:
        """Counts, and their derivatives in all parameters."""
        t = x[-2:]
        if cell is None:
            cell = tuple(int(np.clip(np.searchsorted(self.anchors, v) - 1, 0, self.anchors.size - 2)) for v in t)
        i, j = cell
        width = self.anchors[i + 1] - self.anchors[i], self.anchors[j + 1] - self.anchors[j]
        u, v = (t[0] - self.anchors[i]) / width[0], (t[1] - self.anchors[j]) / width[1]
        counts, change = np.zeros(self.observed.size), np.zeros((x.size, self.observed.size))
        for part in self.parts:
            factor = np.prod(x[part.factors])
            if part.counts.ndim == 1:
                here = part.counts
            else:
                a, b = part.counts[i, j], part.counts[i + 1, j]
                c, d = part.counts[i, j + 1], part.counts[i + 1, j + 1]
                here = (1 - u) * (1 - v) * a + u * (1 - v) * b + (1 - u) * v * c + u * v * d
                change[-2] += factor * ((1 - v) * (b - a) + v * (d - c)) / width[0]
                change[-1] += factor * ((1 - u) * (c - a) + u * (d - b)) / width[1]
            counts += factor * here
            for k in part.factors:
                change[k] += np.prod([x[m] for m in part.factors if m != k]) * here
        return counts, change

    def chi2(self, x: np.ndarray, cell: tuple[int, int] | None = None) -> float:
        N, D = np.maximum(self.expected(x, cell), 1e-300), self.observed
        poisson = N - D
        poisson[D > 0] += D[D > 0] * np.log(D[D > 0] / N[D > 0])
        return float(2 * poisson.sum() + np.sum(((x - self.wanted) / self.sigma) ** 2))

    def gradient(self, x: np.ndarray, cell: tuple[int, int] | None = None) -> np.ndarray:
        counts, change = self._expected(np.asarray(x, float), cell)
        pull = 2 * (x - self.wanted) / np.square(self.sigma)
        return 2 * change @ (1 - self.observed / np.maximum(counts, 1e-300)) + pull

    def _box(self, cell: tuple[int, int]) -> list[tuple[float, float]]:
        return [*self.limits[:-2], *((self.anchors[k], self.anchors[k + 1]) for k in cell)]

    def _in_cell(self, cell: tuple[int, int]) -> tuple[float, np.ndarray]:
        """Minimum in one cell, bounds included, from its middle."""
        middle = [(self.anchors[k] + self.anchors[k + 1]) / 2 for k in cell]
        scale = np.where(np.isfinite(self.sigma), self.sigma, 1.0)
        found = scipy.optimize.minimize(
            lambda y: (self.chi2(y * scale, cell), self.gradient(y * scale, cell) * scale),
            np.array([*self.nominal[:-2], *middle]) / scale,
            jac=True,
            bounds=np.array(self._box(cell)) / scale[:, None],
            method="L-BFGS-B",
            options={"ftol": 1e-11, "gtol": 1e-5, "maxiter": 500},
        )
        return float(found.fun), found.x * scale

    def _polished(self, cell: tuple[int, int], x: np.ndarray) -> tuple[float, np.ndarray]:
        """The same by iminuit, from there; what lies on a limit and is drawn across it stays there."""
        low, high = np.array(self._box(cell)).T
        slope = self.gradient(x, cell)
        held = ((x <= low) & (slope > 0)) | ((x >= high) & (slope < 0))
        minuit = Minuit(lambda y: self.chi2(y, cell), x, grad=lambda y: self.gradient(y, cell))
        minuit.errordef, minuit.strategy = 1, 2
        minuit.limits = [(a, b if np.isfinite(b) else None) for a, b in zip(low, high, strict=True)]
        minuit.errors = [0.1 if np.isinf(s) else 0.1 * s for s in self.sigma]
        minuit.fixed = list(held)
        for tolerance in (1e-1, 1e-4, 1e-7):
            minuit.tol = tolerance
            minuit.migrad(ncall=5000)
        return float(minuit.fval), np.array(minuit.values)

    def minimum(self, margin: float = 0.1) -> Minimum:
        """Lowest of the minima of all cells: in each, then once more in those within `margin` of the lowest."""
        cells = itertools.product(range(self.anchors.size - 1), repeat=2)
        first = {cell: self._in_cell(cell) for cell in cells}
        floor = min(value for value, _ in first.values())
        fits = {
            c: min(fit, self._polished(c, fit[1]), key=lambda f: f[0])
            for c, fit in first.items()
            if fit[0] < floor + margin
        }
        cell = min(fits, key=lambda c: fits[c][0])
        value, x = fits[cell]
        pulls = {k: float(a - n) for k, a, n in zip(self.names, x, self.nominal, strict=True) if k != "strength"}
        strength = float(x[self.names.index("strength")]) if self.free_strength else 1.0
        return Minimum(value, pulls, strength, cell)
