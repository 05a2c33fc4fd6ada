"""Solar neutrinos on the electrons of Borexino by NumPy: rates, spectra, correlated numbers, channels."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy.optimize import least_squares
from scipy.special import ndtr

from jcevns.datasets import read_table
from tests.reference import HBARC
from tests.reference_complementary import ME, electron, lowest_energy

Cross = Callable[..., np.ndarray]
SOURCES = {"pp": ("pp",), "pep": ("pep",), "be7": ("be7",), "cno": ("n13", "o15", "f17"), "b8": ("b8",)}
IN_TABLE = {"be7": "7Be", "n13": "13N", "o15": "15O", "f17": "17F", "b8": "8B"}
FLUXES = {"pp": (5.98e10, 0.006), "pep": (1.44e8, 0.01), "be7": (4.93e9, 0.06), "b8": (5.46e6, 0.12)}
ELECTRONS = 3.307e31  # in 100 t
PER_DAY_100T_KEV = ELECTRONS * 86400 * (HBARC * 1e-13) ** 2 * 1e-3  # cm^-2 s^-1 and MeV^-3 to 1/(day 100 t keV)
MEASURED = np.array([134.0, 2.43, 48.3])  # pp, pep, 7Be per day and 100 t
INVERSE = np.array([[0.00647, -0.0126, -0.017], [-0.0126, 6.36, -0.501], [-0.017, -0.501, 0.784]])
EXPOSURE = 1431.6 * 0.6397 * 71.3 / 100  # day and 100 t


def survival(source: str, energy: np.ndarray) -> np.ndarray:
    table = read_table("solar_survival")
    column = source if source in ("pp", "b8") else "be7"
    return np.interp(energy, table["energy_MeV"], table[column])


def _one(source: str, T: np.ndarray, cross: Cross, probabilities: Callable) -> np.ndarray:
    """dR/dT per neutrino: lines as lines, spectra by Gauss-Legendre above the lowest energy."""
    T = T[:, None]
    low = lowest_energy(T, ME)
    lines = read_table("solar_lines")
    if source in lines["source"]:
        mine = lines["source"] == source
        E, weight = lines["energy_MeV"][mine][None], lines["branching"][mine] * (low <= lines["energy_MeV"][mine])
    else:
        if source == "b8":
            table = read_table("b8_spectrum_bahcall1996")
            energy, density = table["energy_MeV"], table["density_per_MeV"]
        else:
            table = read_table("solar_spectra")
            mine = table["source"] == source
            energy, density = table["energy_MeV"][mine], table["density_per_MeV"][mine]
        x, w = np.polynomial.legendre.leggauss(80)
        half = np.maximum(energy[-1] - low, 0) / 2
        E = low + half * (1 + x)
        weight = half * w * np.interp(E, energy, density, right=0.0)
    E = np.broadcast_to(E, weight.shape)
    shares = probabilities(source, E)
    return np.sum(weight * sum(p * cross(E, T, f) for f, p in shares.items()), axis=1)


def tabulated(source: str, E: np.ndarray) -> dict[str, np.ndarray]:
    p = survival(source, E)
    return {"e": p, "mu": (1 - p) / 2, "tau": (1 - p) / 2}


def spectrum(
    name: str, T_keV: np.ndarray, cross: Cross = electron, probabilities: Callable = tabulated
) -> np.ndarray:
    """Recoils per day, 100 t and keV of a flux of the GS98 model."""
    table = read_table("solar_fluxes_b16")
    total = np.zeros(T_keV.size)
    for source in SOURCES[name]:
        (row,) = np.flatnonzero(table["source"] == IN_TABLE.get(source, source))
        total += table["gs98_cm2_s"][row] * _one(source, T_keV * 1e-3, cross, probabilities)
    return total * PER_DAY_100T_KEV


def largest(E: float) -> float:
    """Recoil energy in keV, of a neutrino energy in MeV."""
    return 2e3 * E**2 / (2 * E + ME)


ENDS = {
    "pp": [largest(0.42341)], "pep": [largest(1.442)], "be7": [largest(0.3843), largest(0.8613)],
    "cno": [largest(1.1982), largest(1.7317), largest(1.7364)],
}  # fmt: skip


def rate(name: str, low: float = 0.0, cross: Cross = electron, probabilities: Callable = tabulated) -> float:
    """Per day and 100 t above a recoil energy in keV: panels that end where the lines of 7Be end."""
    cuts = np.array([low, *(e for e in ENDS[name] if e > low)])
    spaced = np.geomspace if low > 0 else np.linspace
    cuts = np.unique(np.concatenate([spaced(a, b, 11) for a, b in itertools.pairwise(cuts)]))
    x, w = np.polynomial.legendre.leggauss(6)
    half = np.diff(cuts)[:, None] / 2
    T = cuts[:-1, None] + half * (1 + x)
    return float(np.sum(half * w * spectrum(name, T.ravel(), cross, probabilities).reshape(T.shape)))


@lru_cache
def _to_zero(name: str, above: float) -> float:
    """Standard Model counts from zero energy over those above an energy."""
    return rate(name) / rate(name, above)


def rates(cross: Cross = electron, above: float = 190.0, probabilities: Callable = tabulated) -> np.ndarray:
    """pp, pep, 7Be as phase II would publish them: counts above an energy, scaled to zero as the Standard Model."""
    names = ("pp", "pep", "be7")
    scale = [_to_zero(n, above) for n in names]
    return np.array([s * rate(n, above, cross, probabilities) for n, s in zip(names, scale, strict=True)])


def phase2_chi2(predicted: np.ndarray) -> float:
    """Least chi2 over the fluxes: the Gaussian, its covariance widened by the errors of the solar model."""
    errors = predicted * [FLUXES[n][1] for n in ("pp", "pep", "be7")]
    difference = predicted - MEASURED
    return float(difference @ np.linalg.solve(np.linalg.inv(INVERSE) + np.diag(errors**2), difference))


# Phase III ------------------------------------------------------------------------------------------------------

BACKGROUNDS = {
    "bismuth210": 10.8, "carbon11": 1.45697, "krypton85": 10.7763, "external_bismuth214": 1.31557,
    "external_potassium40": 0.320863, "external_thallium208": 2.33853, "polonium210": 40.276,
}  # fmt: skip


@lru_cache
def channels(merge: int) -> tuple[np.ndarray, np.ndarray]:
    """Edges in keV, counts, of so many channels in a bin."""
    table = read_table("borexino_phase3_spectrum")
    low, high = (table["energy_keV"] + s * table["width_keV"] / 2 for s in (-1, 1))
    starts = np.arange(0, low.size, merge)
    return np.append(low[starts], high[-1]), np.add.reduceat(table["observed"], starts)


def in_channels(mean, variance, events, scale=0.0, offset=0.0, smearing=0.0, merge=1) -> np.ndarray:
    """Events at simulated energies, calibrated and smeared into the channels; nuisances in standard deviations."""
    edges, _ = channels(merge)
    energy = 1.00629 * mean - 6.41286 + 0.005 * scale * (mean - 443) + 5 * offset
    width = np.sqrt(variance + (44.7232 + 5 * smearing) ** 2 * mean / 1000)
    return np.diff(ndtr((edges[:, None] - energy) / width), axis=0) @ events


RECOIL = np.arange(150.25, 3000, 0.5)


@lru_cache
def recoils(name: str) -> np.ndarray:
    """Standard Model recoils per day and 100 t in steps of 0.5 keV, around `RECOIL`."""
    if name not in ("pep", "be7"):
        return spectrum(name, RECOIL) * 0.5
    inside = (np.arange(20) + 0.5) / 40 - 0.25  # lines step within a cell
    return spectrum(name, (RECOIL[:, None] + inside).ravel()).reshape(-1, 20).mean(axis=1) * 0.5


def seen(name: str, *calibration: float, merge: int = 1) -> np.ndarray:
    """Counts of a flux in the channels."""
    mean = -41.629 + 0.988343 * RECOIL + 3.5212 * np.sqrt(RECOIL)
    variance = -247.7026 + 4.762814 * RECOIL - 4.44503e-4 * RECOIL**2
    top = np.searchsorted(RECOIL, max(ENDS.get(name, [np.inf])))
    few = slice(0, top + 1)
    return EXPOSURE * in_channels(mean[few], variance[few], recoils(name)[few], *calibration, merge=merge)


def backgrounds(*calibration: float, merge: int = 1) -> dict[str, np.ndarray]:
    """Counts of the backgrounds in the channels, at nominal rates; shapes as histograms of narrow cells."""
    table, drawn = read_table("borexino_phase3_shapes"), read_table("borexino_phase3_polonium")
    low, high = table["energy_lo_keV"], table["energy_hi_keV"]
    cells = np.arange(low[0], high[-1], 2.0) + 1.0
    found = {}
    for name, nominal in BACKGROUNDS.items():
        if name == "polonium210":
            found[name] = (
                EXPOSURE
                * nominal
                * in_channels(drawn["energy_keV"], 0.0, drawn["density"], *calibration, merge=merge)
            )
            continue
        density = np.interp(cells, (low + high) / 2, table[name]) * 2.0
        rate = nominal / (10.0 if name == "bismuth210" else 1.0)
        found[name] = EXPOSURE * rate * in_channels(cells, 0.0, density, *calibration, merge=merge)
    return found


NAMES = ("pp", "be7", "pep", "cno", "b8", *BACKGROUNDS)
WIDTHS = {"pp": 0.006, "pep": 0.01, "b8": 0.12, **dict.fromkeys([n for n in BACKGROUNDS if "al" in n], 0.03)}
WIDTHS["carbon11"] = 0.03


def phase3_fit(merge: int = 8, **fixed: float) -> tuple[float, dict[str, float]]:
    """Least chi2, exact in the calibration: 7Be and CNO free where they are not fixed; chi2 and factors."""
    _, n = channels(merge)
    free = [name for name in NAMES if name not in fixed]

    def residuals(x: np.ndarray) -> np.ndarray:
        factor = dict(zip(free, x[3:], strict=True)) | fixed
        parts = {name: seen(name, *x[:3], merge=merge) for name in NAMES[:5]} | backgrounds(*x[:3], merge=merge)
        mu = np.maximum(sum(factor[k] * parts[k] for k in NAMES), 1e-9)
        deviance = 2 * (mu - n + np.where(n > 0, n * np.log(np.maximum(n, 1) / mu), 0))
        pulls = [(factor[k] - 1) / s for k, s in WIDTHS.items()]
        half = 10.8 * max(factor["bismuth210"] - 1, 0)  # the limit: 10.8 +- 1.0, of one side
        return np.concatenate([np.sign(mu - n) * np.sqrt(np.maximum(deviance, 0)), x[:3], pulls, [half]])

    low = np.array([-3.0] * 3 + [0.0] * len(free))
    start = [0.5, -0.15, -0.15, *(0.95 if name == "bismuth210" else 1.01 for name in free)]
    found = least_squares(residuals, start, bounds=(low, np.inf), x_scale=[1.0] * 3 + [0.05] * len(free), xtol=1e-6)
    return 2 * found.cost, dict(zip(["scale", "offset", "smearing", *free], found.x, strict=True))
