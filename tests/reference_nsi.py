"""Non-standard interactions by NumPy: eigenvectors in every shell of the Sun, sums over energies and isotopes."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np

from jcevns import datasets, experiment
from tests import reference

ANGLES = {"theta_12": np.arcsin(0.308**0.5), "theta_13": np.arcsin(0.02215**0.5), "theta_23": np.arcsin(0.47**0.5)}
STANDARD = {**ANGLES, "dm2_21": 7.49e-5, "dm2_31": 2.513e-3, "delta": np.radians(212.0)}
FERMIONS = ("u", "d", "eL", "eR")
PLACES = {"ee": (0, 0), "mumu": (1, 1), "tautau": (2, 2), "emu": (0, 1), "etau": (0, 2), "mutau": (1, 2)}
# sqrt2 G_F n_e in eV for a mole per cm^3
POTENTIAL = np.sqrt(2) * 1.1663787e-23 * 6.02214076e23 * 1.973269804e-5**3


def matrices(**eps: float) -> dict[str, np.ndarray]:
    """Hermitian matrices per fermion from names as eps_u_emu_im."""
    found = {f: np.zeros((3, 3), complex) for f in FERMIONS}
    for name, value in eps.items():
        _, fermion, entry, *part = name.split("_")
        i, k = PLACES[entry]
        found[fermion][i, k] += value * (1j if part else 1)
        if i != k:
            found[fermion][k, i] = np.conj(found[fermion][i, k])
    return found


def mixing(theta_12: float, theta_13: float, theta_23: float, delta: float) -> np.ndarray:
    """Product of three rotations."""
    s, c = np.sin, np.cos
    first = np.array([[1, 0, 0], [0, c(theta_23), s(theta_23)], [0, -s(theta_23), c(theta_23)]])
    out = np.exp(-1j * delta)
    middle = np.array([[c(theta_13), 0, s(theta_13) * out], [0, 1, 0], [-s(theta_13) / out, 0, c(theta_13)]])
    last = np.array([[c(theta_12), s(theta_12), 0], [-s(theta_12), c(theta_12), 0], [0, 0, 1]])
    return first @ middle @ last


def day(energy: np.ndarray, source: str, eps: dict[str, float], **changes: float) -> np.ndarray:
    """Density matrix by day, (energy, 3, 3): adiabatic, averaged over every shell of the model; normal ordering."""
    values = {**STANDARD, **changes}
    table, composition = (datasets.read_table(f"solar_{name}") for name in ("production_b16", "composition_b23"))
    density, share = 10 ** table["log10_electron_density"], table[source] / table[source].sum()
    n = np.interp(table["radius"], composition["radius"], composition["neutrons_per_electron"])[:, None, None]
    own = matrices(**eps)
    charge = np.diag([1.0, 0, 0]) + own["eL"] + own["eR"] + (2 + n) * own["u"] + (1 + 2 * n) * own["d"]
    u = mixing(*(values[k] for k in ("theta_12", "theta_13", "theta_23", "delta")))
    vacuum = (u * [0, values["dm2_21"], values["dm2_31"]]) @ u.conj().T
    found = []
    for one in energy:
        _, states = np.linalg.eigh(vacuum / (2e6 * one) + POTENTIAL * density[:, None, None] * charge)
        fractions = share @ np.abs(states[:, 0, :]) ** 2
        found.append((u * fractions) @ u.conj().T)
    return np.array(found)


ENERGY = np.linspace(2.0, 16.5, 3000)  # MeV: those below make no recoil that is seen


@lru_cache
def kernel() -> np.ndarray:
    """Events of XENONnT's three bins, (energy, bin, 3): per squared charge of protons, both, and neutrons."""
    response = experiment("xenonnt-2024-s2").channels[0].response
    recoil, matrix = (np.asarray(x) for x in (response.recoil_keV, response.matrix))
    few = np.geomspace(recoil[0], recoil[-1], 161)
    onto = np.array([np.interp(recoil, few, row) for row in np.eye(few.size)])  # (few, recoil)
    to_bins = matrix @ onto.T
    flux, xe = datasets.read_table("b8_spectrum_bahcall1996"), datasets.read_table("xenon_isotopes")
    phi = np.interp(ENERGY, flux["energy_MeV"], flux["density_per_MeV"]) * np.gradient(ENERGY)
    molar = np.sum(xe["abundance"] * xe["atomic_mass_u"])
    found = np.zeros((ENERGY.size, matrix.shape[0], 3))
    for Z, A, mass, abundance in zip(xe["Z"], xe["A"], xe["nuclear_mass_MeV"], xe["abundance"], strict=True):
        T = few[:, None] * 1e-3
        form = reference.klein_nystrand(np.sqrt(2 * mass * T) / reference.HBARC, A)
        edge = 1 - mass * T / (2 * ENERGY**2) - T / ENERGY
        value = reference.FERMI**2 * mass / np.pi * form**2 * np.maximum(edge, 0)
        atoms = abundance * 1e6 * reference.MOLE / molar
        rate = reference.FLUX * atoms * value * phi * (reference.HBARC * 1e-13) ** 2 * reference.YEAR * 1e-3
        bins = (to_bins @ rate).T
        for k, charge in enumerate((Z**2, 2 * Z * (A - Z), (A - Z) ** 2)):
            found[:, :, k] += charge * bins
    return found


def counts(
    eps: dict[str, float],
    matter: bool = True,
    sin2w: float = reference.SIN2W,
    rho: Callable[[np.ndarray, dict[str, float]], np.ndarray] = lambda e, eps: day(e, "b8", eps),
) -> np.ndarray:
    """8B events in XENONnT's bins, Tr[rho Q Q^dagger] with Q = Z Q_p + N Q_n."""
    few = np.linspace(2.0, 16.5, 30)
    coarse = rho(few, eps if matter else {})
    shape = np.stack([np.interp(ENERGY, few, coarse[:, i, k].real) for i in range(3) for k in range(3)])
    phase = np.stack([np.interp(ENERGY, few, coarse[:, i, k].imag) for i in range(3) for k in range(3)])
    dense = (shape + 1j * phase).T.reshape(-1, 3, 3)
    own = matrices(**eps)
    proton = (0.5 - 2 * sin2w) * np.eye(3) + 2 * own["u"] + own["d"]
    neutron = -0.5 * np.eye(3) + own["u"] + 2 * own["d"]
    both = (proton @ neutron.conj().T + neutron @ proton.conj().T) / 2
    squares = [proton @ proton.conj().T, both, neutron @ neutron.conj().T]
    weights = np.stack([np.einsum("eab,ba->e", dense, q).real for q in squares], axis=1)
    return np.einsum("ebk,ek->b", kernel(), weights)
