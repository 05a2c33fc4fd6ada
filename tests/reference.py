"""Independent calculations in NumPy, SciPy and iminuit, written from the formulas and sharing no code with jcevns."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import chain, combinations
from pathlib import Path

import numpy as np
from iminuit import Minuit
from scipy.optimize import brentq
from scipy.special import spherical_jn

from jcevns.datasets import read_table
from jcevns.experiments.experiment import Experiment

ROOT = Path(__file__).resolve().parents[1]

FERMI = 1.1663787e-11  # MeV^-2
HBARC = 197.3269804  # MeV fm
MOLE = 6.02214076e23
YEAR = 365.25 * 86400  # s
SIN2W = 0.23857
FLUX = 5.46e6  # cm^-2 s^-1

# Form factors of q in 1/fm and A -------------------------------------------------------------------------------


def hard_sphere(x):
    return np.where(x > 0, 3 * spherical_jn(1, x) / np.where(x > 0, x, 1), 1.0)


def klein_nystrand(q, A, a_k=0.7, r0=1.23):
    return hard_sphere(q * r0 * A ** (1 / 3)) / (1 + (q * a_k) ** 2)


def helm(q, A, s=0.9, a=0.52):
    c = 1.23 * A ** (1 / 3) - 0.60
    return hard_sphere(q * np.sqrt(c**2 + 7 / 3 * np.pi**2 * a**2 - 5 * s**2)) * np.exp(-((q * s) ** 2) / 2)


def symmetrised_fermi(q, A, a=0.52, c0=0.60):
    c = 1.23 * A ** (1 / 3) - c0
    t, u = q * c, np.pi * q * a
    return 3 * u / np.sinh(u) / (t * (t**2 + u**2)) * (u / np.tanh(u) * np.sin(t) - t * np.cos(t))


# Recoil spectrum ----------------------------------------------------------------------------------------------


def dsigma_dT(E, T, Z, A, mass, sin2w=SIN2W, form_factor=klein_nystrand):
    """Standard Model CEvNS in MeV^-3, zero beyond the kinematic edge; energies in MeV."""
    charge = Z * (1 - 4 * sin2w) / 2 - (A - Z) / 2
    F = form_factor(np.sqrt(2 * mass * T) / HBARC, A)
    value = FERMI**2 * mass / np.pi * charge**2 * F**2 * (1 - mass * T / (2 * E**2) - T / E)
    return np.where(2 * E**2 / (mass + 2 * E) >= T, np.maximum(value, 0), 0)


def spectrum(
    recoil_keV: Sequence[float] | np.ndarray,
    table="b8_spectrum_bahcall1996",
    total=FLUX,
    cross_section=dsigma_dT,
    **kw,
) -> np.ndarray:
    """dR/dT in events/(tonne year keV): direct quadrature over the neutrino energy, isotope by isotope."""
    flux, xe = read_table(table), read_table("xenon_isotopes")
    nodes, density = flux["energy_MeV"], flux["density_per_MeV"]
    molar = np.sum(xe["abundance"] * xe["atomic_mass_u"])
    x, w = np.polynomial.legendre.leggauss(7)
    rate = np.zeros(len(recoil_keV))
    for Z, A, mass, abundance in zip(xe["Z"], xe["A"], xe["nuclear_mass_MeV"], xe["abundance"], strict=True):
        atoms = abundance * 1e6 * MOLE / molar
        for i, T in enumerate(np.asarray(recoil_keV) * 1e-3):
            start = max((T + np.sqrt(T * (T + 2 * mass))) / 2, 1e-3)
            cuts = np.concatenate([[start], nodes[nodes > start]])
            half = np.diff(cuts)[:, None] / 2
            E = cuts[:-1, None] + half * (1 + x)
            phi = np.interp(E, nodes, density, left=0, right=0)
            integral = np.sum(half * w * phi * cross_section(E, T, Z, A, mass, **kw))
            rate[i] += total * atoms * integral * (HBARC * 1e-13) ** 2 * YEAR * 1e-3
    return rate


def integrate(function: Callable[[np.ndarray], np.ndarray], cuts: Sequence[float], order: int = 10) -> float:
    """Gauss-Legendre integral of `function`, panel by panel."""
    x, w = np.polynomial.legendre.leggauss(order)
    half = np.diff(cuts)[:, None] / 2
    nodes = np.asarray(cuts)[:-1, None] + half * (1 + x)
    return float(np.sum((half * w).ravel() * function(nodes.ravel())))


# Charge yields ------------------------------------------------------------------------------------------------


def nest_electrons(T, field=88.0, density=2.862):
    v = 0.048 * field**-0.0533 * (density / 2.9) ** 0.3
    return T * (1 - 1 / (1 + (T / 0.3) ** 2)) / (v * np.sqrt(T + 12.6))


def power_law_electrons(T, low=(0.97, 120 / 16.9), high=(5.10, 500 / 16.9)):
    """A power law in N_e as well, through (T, N_e) at both ends."""
    slope = np.log(high[1] / low[1]) / np.log(high[0] / low[0])
    return low[1] * (T / low[0]) ** slope


def recoil_energy(electrons: Callable[[float], float], number: float) -> float:
    return brentq(lambda T: electrons(T) - number, 1e-3, 1e3, xtol=1e-14, rtol=1e-14)


# Likelihood and fit -------------------------------------------------------------------------------------------


class Chi2:
    """Eq. 17 of arXiv:2411.11749 in the log-factors, in plain NumPy loops over components.

    The fluxes with an error are nuisances, unless `flux` is false. `scale_signal` adds one more parameter at the end,
    an unconstrained factor on every signal.
    """

    def __init__(
        self,
        experiments: Sequence[Experiment],
        signals: Sequence[np.ndarray],
        flux: bool = True,
        scale_signal: bool = False,
    ):
        self.labels: list[str] = []
        widths: list[float] = []
        self.parts: list[tuple[slice, np.ndarray, list[int]]] = []
        self.signal_labels: set[int] = set()
        start, observed = 0, []
        for experiment, signal in zip(experiments, signals, strict=True):
            acting: dict[str, list[int]] = {"signal": [], **{b: [] for b in experiment.backgrounds}}
            entries = [
                (f"flux.{channel.flux.name}", channel.flux.error, ("signal",))
                for channel in experiment.channels
                if flux and channel.flux.error is not None
            ]
            for nuisance in experiment.nuisances:
                label = nuisance.name if nuisance.shared else f"{experiment.name}.{nuisance.name}"
                entries.append((label, nuisance.sigma, nuisance.components))
            for label, sigma, components in entries:
                if label not in self.labels:
                    self.labels.append(label)
                    widths.append(sigma)
                for component in components:
                    acting[component].append(self.labels.index(label))
            bins = slice(start, start + len(experiment.observed))
            start = bins.stop
            observed.append(np.asarray(experiment.observed))
            self.signal_labels |= set(acting["signal"])
            for name, counts in {"signal": signal, **experiment.backgrounds}.items():
                self.parts.append((bins, np.asarray(counts), acting[name]))
        self.observed = np.concatenate(observed)
        self.sigma = np.array(widths)
        self.size = len(widths) + scale_signal
        if scale_signal:
            signal_parts = np.cumsum([0, *(1 + len(e.backgrounds) for e in experiments)])[:-1]
            for k in signal_parts:
                self.parts[k][2].append(self.size - 1)

    def _scaled(self, theta: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
        expected, scaled = np.zeros(len(self.observed)), []
        for bins, counts, acting in self.parts:
            scaled.append(counts * np.exp(sum(theta[k] for k in acting)))
            expected[bins] += scaled[-1]
        return expected, scaled

    def expected(self, theta: np.ndarray) -> np.ndarray:
        return self._scaled(theta)[0]

    def __call__(self, theta: np.ndarray) -> float:
        N, D = self.expected(theta), self.observed
        poisson = N - D
        poisson[D > 0] += D[D > 0] * np.log(D[D > 0] / N[D > 0])
        pull = np.expm1(theta[: len(self.sigma)])
        return float(2 * poisson.sum() + np.sum((pull / self.sigma) ** 2))

    def gradient(self, theta: np.ndarray) -> np.ndarray:
        N, scaled = self._scaled(theta)
        slope = 2 * (1 - self.observed / N)
        total = np.zeros(self.size)
        for (bins, _, acting), part in zip(self.parts, scaled, strict=True):
            for k in acting:
                total[k] += slope[bins] @ part
        own = theta[: len(self.sigma)]
        total[: len(own)] += 2 * np.expm1(own) * np.exp(own) / self.sigma**2
        return total

    def starts(self) -> list[np.ndarray]:
        """No pull, and every subset of the signal's pulls taking the whole way from the signal to the data."""
        N = self.expected(np.zeros(self.size))
        way = min(np.log((self.observed.sum() + 1) / (N.sum() + 1)), 0.0)
        labels = sorted(self.signal_labels)
        subsets = chain.from_iterable(combinations(labels, n) for n in range(1, len(labels) + 1))
        found = [np.zeros(self.size)]
        if way < -1:
            for subset in subsets:
                found.append(np.zeros(self.size))
                found[-1][list(subset)] = way
        return found


def migrad(chi2: Chi2, start: np.ndarray) -> Minuit:
    """Minimum by MIGRAD with a tight EDM, restarted, and its own verdict checked."""
    minuit = Minuit(chi2, np.array(start), grad=chi2.gradient)
    minuit.errordef = 1
    minuit.strategy = 2
    minuit.limits = [(-20, 8)] * chi2.size  # keeps exp(theta) finite in the line searches
    for tolerance in (1e-1, 1e-5, 1e-9):
        minuit.tol = tolerance
        minuit.migrad(ncall=20000)
    return minuit


def minimum(chi2: Chi2) -> tuple[float, np.ndarray]:
    """Lowest of the minima from several starts: value and log-factors."""
    if chi2.size == 0:
        return chi2(np.zeros(0)), np.zeros(0)
    fits = [migrad(chi2, start) for start in chi2.starts()]
    best = min(fits, key=lambda m: m.fval)
    if not best.valid:
        raise AssertionError(f"iminuit did not converge: {best.fmin}")
    return float(best.fval), np.array(best.values)


# Derivatives and processes ------------------------------------------------------------------------------------


def slope(function: Callable[[float], np.ndarray], x: float, step: float) -> np.ndarray:
    """First derivative by the five-point rule."""
    f = [np.asarray(function(x + k * step)) for k in (-2, -1, 1, 2)]
    return (f[0] - 8 * f[1] + 8 * f[2] - f[3]) / (12 * step)


def run_python(script: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter whose environment says nothing about JAX."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("JAX", "XLA", "PYTHON", "JCEVNS"))}
    return subprocess.run(
        [sys.executable, *options, "-c", script],
        cwd=ROOT,
        env={**kept, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
