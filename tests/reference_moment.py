"""The expected limit of Borexino's spectrum on the magnetic moment by NumPy: recoils in steps, an Asimov data set."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtr

from jcevns.datasets import read_table
from tests import reference_borexino as rb
from tests import reference_complementary as ref

RECOIL = np.arange(60.25, 3000, 0.5)
SNU = {"pp": 38.1, "pep": 1.5, "be7": 18.6}  # flux, survival and capture in gallium
PER_DAY = {"krypton85": 6.8, "bismuth210": 17.5, "polonium210": 260.0, "external_bismuth214": 1.9}
PER_DAY |= {"external_potassium40": 1.0, "external_thallium208": 3.3}


def recoils(name: str, mu: float = 0.0) -> np.ndarray:
    """Per day, 100 t and 0.5 keV, with a moment in 1e-12 mu_B."""

    def cross(E, T, f):
        return ref.with_mediator("moment", E, T, f, 0.0, mu) if mu else ref.electron(E, T, f)

    if name not in ("pep", "be7"):
        return rb.spectrum(name, RECOIL, cross) * 0.5
    inside = (np.arange(20) + 0.5) / 40 - 0.25
    fine = rb.spectrum(name, (RECOIL[:, None] + inside).ravel(), cross)
    return fine.reshape(-1, 20).mean(axis=1) * 0.5


def seen(mean, variance, events, edges, at) -> np.ndarray:
    """Events in bins; scale, offset and smearing in standard deviations."""
    energy = 1.00629 * mean - 6.41286 + 0.005 * at[0] * (mean - 443) + 5 * at[1]
    width = np.sqrt(variance + (44.7232 + 5 * at[2]) ** 2 * mean / 1000)
    return np.diff(ndtr((edges[:, None] - energy) / width), axis=0) @ events


def expected_limit(low: float) -> float:
    """Fluxes free with their sum in gallium to 3.1 SNU; backgrounds free; 1e-12 mu_B at 90%."""
    edges = np.arange(low, 1971, 5.0)
    names = ("pp", "pep", "be7", "cno", "b8")
    standard = {name: recoils(name) for name in names}
    added = sum(recoils(name, 10.0) - standard[name] for name in names)
    mean = -41.629 + 0.988343 * RECOIL + 3.5212 * np.sqrt(RECOIL)
    variance = -247.7026 + 4.762814 * RECOIL - 4.44503e-4 * RECOIL**2
    table, drawn = read_table("borexino_phase3_shapes"), read_table("borexino_phase3_polonium")
    ends = table["energy_lo_keV"], table["energy_hi_keV"]
    cell = np.arange(ends[0][0], ends[1][-1], 2.0) + 1.0

    def unit(name, at):
        if name == "polonium210":
            return seen(drawn["energy_keV"], 0.0, drawn["density"], edges, at)
        area = 10.0 if name == "bismuth210" else 1.0
        return seen(cell, 0.0, np.interp(cell, (ends[0] + ends[1]) / 2, table[name]) * 2.0 / area, edges, at)

    def parts(at):
        found = [seen(mean, variance, standard[name], edges, at) for name in names]
        return np.array([*found, *(rate * unit(name, at) for name, rate in PER_DAY.items())]), unit("carbon11", at)

    here, carbon = parts((0, 0, 0))
    moved = [[parts(side * np.eye(3)[k]) for side in (0.2, -0.2)] for k in range(3)]
    rows = []
    for share, rate, which in ((0.643, 3.2, 0), (0.357, 69.3, 1)):
        total = here.sum(axis=0) + rate * carbon
        shifts = [(u.sum(0) - d.sum(0) + rate * (cu - cd)) / 0.4 for (u, cu), (d, cd) in moved]
        signal = seen(mean, variance, added, edges, (0, 0, 0))
        block = np.array([signal, *here, *(carbon * (which == k) * rate for k in range(2)), *shifts])
        rows.append(np.sqrt(1291.51 * 0.713 * share / total) * block)
    J = np.concatenate(rows, axis=1)
    H = J @ J.T
    known = {2: 0.01, 4: 1e-6, 5: 0.12} | {-k: 1.0 for k in (1, 2, 3)}  # pep, CNO, 8B, calibration
    for k, width in known.items():
        H[k, k] += 1 / width**2
    v = np.zeros(len(H))
    v[1:4] = list(SNU.values())
    H += np.outer(v, v) / 3.1**2
    return 10 * float(np.sqrt(np.sqrt(2.705543 * np.linalg.inv(H)[0, 0])))
