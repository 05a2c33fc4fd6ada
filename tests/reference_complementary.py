"""Electrons, pion decay at rest and COHERENT's CsI[Na] in NumPy and SciPy, sharing no code with jcevns."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
from iminuit import Minuit
from scipy.integrate import quad
from scipy.stats import gamma, norm

from jcevns.datasets import read_table
from jcevns.experiments.experiment import Experiment
from tests.reference import FERMI, HBARC, MOLE, YEAR, dsigma_dT

ME = 0.51099895069  # MeV
MUON, PION = 105.6583755, 139.57039  # MeV
ALPHA = 1 / 137.035999177
RADIATIVE = {"e": (0.9521, 0.4938), "mu": (-0.0397, -0.5062), "tau": (-0.0353, -0.5062)}

# Neutrinos on electrons, in the chiral couplings ----------------------------------------------------------------


def chiral(flavour: str, sin2w: float, tree: bool, vector: float = 0.0, axial: float = 0.0) -> tuple[float, float]:
    """g_L and g_R of what scatters: antineutrinos have them swapped. Shifts of g_V and g_A are a neutrino's."""
    family = flavour.split("-")[-1]
    if tree:
        left, right = sin2w + (0.5 if family == "e" else -0.5), sin2w
    else:
        g_v, g_a = RADIATIVE[family]
        left, right = (g_v + g_a) / 2 + sin2w - 0.23857, (g_v - g_a) / 2 + sin2w - 0.23857
    left, right = left + (vector + axial) / 2, right + (vector - axial) / 2
    return (right, left) if flavour.startswith("anti") else (left, right)


def electron(E, T, flavour, sin2w=0.23857, tree=False, vector=0.0, axial=0.0):
    """dsigma/dT of a free electron in MeV^-3, without the kinematic edge."""
    left, right = chiral(flavour, sin2w, tree, vector, axial)
    return 2 * FERMI**2 * ME / np.pi * (left**2 + right**2 * (1 - T / E) ** 2 - left * right * ME * T / E**2)


def with_mediator(name, E, T, flavour, m, g, tree=False):
    """The whole cross section with a mediator, or with a magnetic moment g in 1e-12 Bohr magnetons."""
    D = m**2 + 2 * ME * T
    standard = electron(E, T, flavour, tree=tree)
    if name in ("vector", "b-l"):
        return electron(E, T, flavour, tree=tree, vector=g**2 / (np.sqrt(2) * FERMI * D))
    if name == "axial":
        return electron(E, T, flavour, tree=tree, axial=g**2 / (np.sqrt(2) * FERMI * D))
    if name == "scalar":
        return standard + g**4 * ME**2 * T / (4 * np.pi * E**2 * D**2) * (1 + T / (2 * ME))
    if name == "tensor":
        y = 1 - T / E
        return standard + g**4 * ME / (np.pi * D**2) * ((1 + y) ** 2 - ME * T / E**2)
    return standard + np.pi * ALPHA**2 / ME**2 * (1 / T - 1 / E) * (1e-12 * g) ** 2


def lowest_energy(T, mass):
    """Of a neutrino that can give the recoil energy T."""
    return T / 2 + np.sqrt(T**2 / 4 + mass * T / 2)


# Pion decay at rest ---------------------------------------------------------------------------------------------

PROMPT = (PION**2 - MUON**2) / (2 * PION)


def michel(E):
    """Unit-area spectra of anti-nu_mu and nu_e."""
    inside = (np.asarray(E) >= 0) & (np.asarray(E) <= MUON / 2)
    anti_mu = 16 / MUON**3 * E**2 * (3 - 4 * E / MUON)
    e = 96 / MUON**3 * E**2 * (1 - 2 * E / MUON)
    return np.where(inside, anti_mu, 0), np.where(inside, e, 0)


def per_tonne_year(flux):
    """Flux in cm^-2 s^-1 to the factor of dsigma/dT per atom and tonne: MeV^-2 to cm^2, per keV."""
    return flux * (HBARC * 1e-13) ** 2 * YEAR * 1e-3


def stopped_pion_rate(recoil_keV, table, flux, order=200):
    """dR/dT of prompt and of delayed neutrinos on a mixture of isotopes, `flux` of each flavour."""
    iso = read_table(table)
    molar = np.sum(iso["abundance"] * iso["atomic_mass_u"])
    T = np.asarray(recoil_keV)[:, None] * 1e-3
    x, w = np.polynomial.legendre.leggauss(order)
    prompt, delayed = np.zeros(T.size), np.zeros(T.size)
    for Z, A, mass, share in zip(iso["Z"], iso["A"], iso["nuclear_mass_MeV"], iso["abundance"], strict=True):
        atoms = share * 1e6 * MOLE / molar
        prompt += atoms * dsigma_dT(PROMPT, T, Z, A, mass)[:, 0]
        low = np.minimum(lowest_energy(T, mass), MUON / 2)
        half = (MUON / 2 - low) / 2
        E = low + half * (1 + x)
        delayed += atoms * np.sum(half * w * sum(michel(E)) * dsigma_dT(E, T, Z, A, mass), axis=1)
    return prompt * per_tonne_year(flux), delayed * per_tonne_year(flux)


def arrival(low, high, delayed: bool, centre=0.56, width=0.15, efficiency=None):
    """Probability to arrive between two times, by convolving the protons' Gaussian with the decays."""
    fast, slow = 0.026033, 2.1969811
    x, w = np.polynomial.legendre.leggauss(64)
    cuts = np.unique(np.clip([low, 0.52, high], low, high))
    half = np.diff(cuts)[:, None] / 2
    t, weight = (cuts[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()
    weight = weight if efficiency is None else weight * efficiency(t)

    def integrand(s):
        decay = (np.exp(-s / slow) - np.exp(-s / fast)) / (slow - fast) if delayed else np.exp(-s / fast) / fast
        return decay * np.sum(weight * norm.pdf(t, centre + s, width))

    ends = [0.0, 0.05, 0.3, 1.0, 2.0, 4.0, 8.0]  # protons come within 1 us, the last bin ends at 6
    return sum(quad(integrand, a, b, epsabs=1e-10, limit=200)[0] for a, b in itertools.pairwise(ends))


def csi_kept(t):
    return np.where(t < 0.52, 1.0, np.exp(-0.0494 * (t - 0.52)))


def csi_counts(pe_edges, time_edges):
    """COHERENT CsI[Na] Standard Model counts in (photoelectrons, time): a sum over recoil energy and PE."""
    rows = read_table("coherent_csi_2021_response")
    nominal = {
        c: [rows[k][i] for k in "abcd"] for i, c in enumerate(rows["curve"]) if rows["variation"][i] == "nominal"
    }
    T = np.arange(0.05, 60.0, 0.1)  # keV, midpoints
    flux = 3.198e23 * 0.0848 / (4 * np.pi * 1930.0**2 * YEAR)
    a, b, c, d = nominal["scintillation"]
    light = 1e3 * (a * (T / 1e3) + b * (T / 1e3) ** 2 + c * (T / 1e3) ** 3 + d * (T / 1e3) ** 4)  # keVee
    pe = np.arange(pe_edges[0] + 0.05, pe_edges[-1], 0.1)
    density = gamma.pdf(pe[:, None], 1 + 9.56 * light, scale=13.35 * light / (1 + 9.56 * light)) * 0.1
    a, b, c, d = nominal["efficiency"]
    kept = np.clip(a / (1 + np.exp(-b * (pe - c))) + d, 0, None)
    owner = np.digitize(pe, pe_edges) - 1
    total = np.zeros((len(pe_edges) - 1, len(time_edges) - 1))
    for which, rate in enumerate(stopped_pion_rate(T, "cesium_iodide_isotopes", flux)):
        seen = np.bincount(owner, weights=kept * (density @ (rate * 0.1)) * 14.6e-3)
        when = [arrival(u, v, bool(which), efficiency=csi_kept) for u, v in itertools.pairwise(time_edges)]
        total += np.outer(seen, when)
    return total


def csi_electron_counts(pe_edges, time_edges, cross_section, efficiency="nominal"):
    """Recoils of electrons of CsI in (photoelectrons, time): `cross_section(E, T, flavour)` in MeV^-3.

    A sum over shells, recoil energy, neutrino energy and photoelectrons; all of the energy is light.
    """
    rows, shells = read_table("coherent_csi_2021_response"), read_table("cesium_iodide_shells")
    (place,) = np.flatnonzero((rows["curve"] == "efficiency") & (rows["variation"] == efficiency))
    a, b, c, d = (rows[k][place] for k in "abcd")
    cuts = np.unique(np.concatenate([np.geomspace(0.01, 20.0, 150), shells["binding_eV"] / 1e3]))
    cuts = cuts[(cuts >= 0.01) & (cuts <= 20.0)]
    x, w = np.polynomial.legendre.leggauss(3)
    T = (cuts[:-1, None] + np.diff(cuts)[:, None] * (1 + x) / 2).ravel()  # keV
    weight = (np.diff(cuts)[:, None] * w / 2).ravel()
    bound = np.sum(np.where(T[:, None] * 1e3 > shells["binding_eV"], shells["electrons"], 0), axis=1)
    # Per neutrino of each flavour: a line, and Michel spectra.
    prompt = cross_section(PROMPT, T / 1e3, "mu")
    x, w = np.polynomial.legendre.leggauss(60)
    low = lowest_energy(T / 1e3, ME)[:, None]
    E = low + (MUON / 2 - low) * (1 + x) / 2
    anti_mu, e = michel(E)
    at = [cross_section(E, T[:, None] / 1e3, flavour) for flavour in ("anti-mu", "e")]
    delayed = np.sum((MUON / 2 - low) / 2 * w * (anti_mu * at[0] + e * at[1]), axis=1)
    pe = np.arange(pe_edges[0] + 0.01, pe_edges[-1], 0.02)
    density = gamma.pdf(pe[:, None], 1 + 9.56 * T, scale=13.35 * T / (1 + 9.56 * T)) * 0.02
    kept = np.clip(a / (1 + np.exp(-b * (pe - c))) + d, 0, 1)
    owner = np.digitize(pe, pe_edges) - 1
    units = 14.6e-3 * 1e6 * MOLE / (132.905451959 + 126.904473)
    units = units * per_tonne_year(3.198e23 * 0.0848 / (4 * np.pi * 1930.0**2 * YEAR))
    total = np.zeros((len(pe_edges) - 1, len(time_edges) - 1))
    for which, rate in enumerate((prompt, delayed)):
        seen = np.bincount(owner, weights=kept * (density @ (rate * bound * weight))) * units
        when = [arrival(u, v, bool(which), efficiency=csi_kept) for u, v in itertools.pairwise(time_edges)]
        total += np.outer(seen, when)
    return total


# Likelihood with shapes whose changes add up --------------------------------------------------------------------


def additive_minimum(experiment: Experiment, signal: np.ndarray) -> float:
    """Lowest chi2, octant by octant of the shapes so that no kink is inside; signal (anchor row, bin)."""
    anchors = [np.array(s.anchors) for s in experiment.shapes]
    starts = np.cumsum([0, *(a.size for a in anchors)])
    tables = [signal[i:j] for i, j in itertools.pairwise(starts)]
    nominal = tables[0][list(anchors[0]).index(0.0)]
    observed = np.asarray(experiment.observed)
    count = len(experiment.nuisances)

    def morphed(position):
        total = nominal.copy()
        for a, table, t in zip(anchors, tables, position, strict=True):
            i = min(int(np.searchsorted(a, t, side="right")) - 1, a.size - 2)
            f = (t - a[i]) / (a[i + 1] - a[i])
            total += (1 - f) * table[i] + f * table[i + 1] - nominal
        return total

    def chi2(x):
        factors, position = x[:count], x[count:]
        expected = np.zeros_like(observed)
        for part, counts in {"signal": morphed(position), **experiment.backgrounds}.items():
            acting = [f for f, n in zip(factors, experiment.nuisances, strict=True) if part in n.components]
            expected += np.asarray(counts) * np.prod(acting)
        some = observed > 0
        poisson = np.sum(expected - observed)
        poisson += np.sum(observed[some] * np.log(observed[some] / expected[some]))
        pull = (factors - 1) / [n.sigma for n in experiment.nuisances]
        return float(2 * poisson + pull @ pull + position @ position)

    return _lowest_octant(chi2, count, anchors)


def _lowest_octant(chi2: Callable, count: int, anchors: list[np.ndarray]) -> float:
    best = np.inf
    for side in itertools.product((-1, 1), repeat=len(anchors)):
        minuit = Minuit(chi2, np.array([1.0] * count + [0.2 * s for s in side]))
        minuit.errordef = 1
        minuit.limits = [(0.0, 10.0)] * count + [tuple(sorted((0.0, float(s)))) for s in side]
        minuit.tol = 1e-4
        minuit.migrad()
        best = min(best, minuit.fval)
    return best
