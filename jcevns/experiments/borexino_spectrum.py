"""Borexino phase III: spectrum of electron recoils from 0.32 to 2.64 MeV (arXiv:2205.15975).

Two steps lead from a recoil to a channel. The first, in the simulated energy of the shapes of arXiv:2005.12829, is
inferred: with it the recoil spectra of the Standard Model become the simulated shapes of pp, 7Be, pep and CNO. The
second is the calibration of the simulated energy to the data: a scale, an offset and a further smearing, nuisances
that move neutrinos and backgrounds together.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jcevns import datasets
from jcevns.detectors.response import Response, legendre_panels
from jcevns.experiments.borexino import recoil_ends, scintillator_electrons
from jcevns.experiments.experiment import Channel, Experiment
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.physics.flux import NeutrinoFlux, b8
from jcevns.physics.sources import solar_component
from jcevns.spelling import unknown

__all__ = ["Calibration", "borexino_phase3", "calibrated", "simulated_energy"]

ENERGY = (-41.629, 0.988343, 3.521200)
"""Mean simulated energy in keV of a recoil T in keV: a + b T + c sqrt(T) [inferred from the shapes]."""

VARIANCE = (-247.7026, 4.762814, -4.44503e-4)
"""Its variance in keV^2: a + b T + c T^2 [inferred from the shapes]."""

SCALE, OFFSET, SMEARING = 1.00629, -6.41286, 44.7232
"""Data over simulation: E -> SCALE E + OFFSET keV, smeared by SMEARING sqrt(E/MeV) keV [inferred by the authors of
Newtrinos.jl: fitted to the published fit curve]."""

PIVOT = 443.0
"""keV, at the peak of 210Po, about which the nuisance of the scale turns, so that the offset is another direction."""

BETWEEN = 1.0 + 1e-9
"""Upper bound of a free factor that may only lower a component."""

BISMUTH = ("limit", "free")
FREE = 100.0  # relative width of a rate that the data alone determine
MOST_MERGED = 43
CELLS = 4  # of each bin of the shapes, linear between the middles of the bins
LOWEST, ANCHORS = 150.0, (-3.0, -1.0, 0.0, 1.0, 3.0)
_PANELS = {  # keV: largest recoil and width of the panels
    "pp": (270.0, 20.0),
    "be7": (670.0, 40.0),
    "pep": (1230.0, 40.0),
    "cno": (1520.0, 40.0),
    "b8": (3000.0, 60.0),
}


class Calibration(NamedTuple):
    """Nuisances of the calibration, in standard deviations.

    Attributes:
        scale: of the energy about `PIVOT`.
        offset: of the energy.
        smearing: further resolution.
    """

    scale: float = 0.0
    offset: float = 0.0
    smearing: float = 0.0


def simulated_energy(
    recoil_keV: Float[np.ndarray, " recoil"],
) -> tuple[Float[np.ndarray, " recoil"], Float[np.ndarray, " recoil"]]:
    """Mean and variance (keV, keV^2) of the simulated energy of recoils above 150 keV [inferred].

    Six coefficients, fitted to the simulated shapes of pp, 7Be, pep and CNO above 250 keV with the rates of the
    shapes as they are; the difference is 3.1 in chi2 for all four with the statistics of the whole exposure.
    """
    a, b, c = ENERGY
    u, v, w = VARIANCE
    return a + b * recoil_keV + c * np.sqrt(recoil_keV), u + v * recoil_keV + w * recoil_keV**2


def calibrated(
    mean_keV: Float[np.ndarray, " x"],
    variance: Float[np.ndarray, " x"] | float,
    edges: Float[np.ndarray, " edge"],
    errors: Calibration,
    at: Calibration,
) -> Float[np.ndarray, "bin x"]:
    """Probability to be in each bin of the data.

    Args:
        mean_keV: simulated energies.
        variance: of them, keV^2.
        edges: of the bins, keV.
        errors: one standard deviation of each nuisance: relative, keV, keV/MeV^0.5.
        at: where the nuisances are.
    """
    from scipy.special import ndtr

    energy = SCALE * mean_keV + OFFSET + errors.scale * at.scale * (mean_keV - PIVOT) + errors.offset * at.offset
    wider = (SMEARING + errors.smearing * at.smearing) ** 2 * mean_keV / 1e3
    return np.diff(ndtr((edges[:, None] - energy) / np.sqrt(variance + wider)), axis=0)


def _positions() -> Iterator[Calibration]:
    """Anchors of one nuisance after the other."""
    for name in Calibration._fields:
        for anchor in ANCHORS:
            yield Calibration(**{name: anchor})


class _Phase3(NamedTuple):
    """What the tables hold: edges in keV, counts, numbers by name, errors of the calibration, days times 100 t."""

    edges: np.ndarray
    observed: np.ndarray
    number: dict[str, float]
    errors: Calibration
    exposure: float


def _tables(merge: int) -> _Phase3:
    """Tables for bins of so many channels each; the last has what is left."""
    table = datasets.read_table("borexino_phase3_spectrum")
    low, high = (table["energy_keV"] + side * table["width_keV"] / 2 for side in (-1, 1))
    number = datasets.read_numbers("borexino_phase3_numbers")
    errors = Calibration(*(number[f"{name}_error"] for name in ("energy_scale", "energy_offset", "smearing")))
    exposure = number["exposure"] * number["exposure_kept"] * number["fiducial_mass"] / 100.0
    starts = np.arange(0, low.size, merge)
    observed = np.add.reduceat(table["observed"], starts)
    return _Phase3(np.append(low[starts], high[-1]), observed, number, errors, exposure)


def _response(flux: NeutrinoFlux, tables: _Phase3) -> Response:
    """Response for the recoils of one flux at every anchor, shape (anchor, bin, recoil)."""
    top, width = _PANELS[flux.name]
    panels = np.unique(np.concatenate([np.arange(LOWEST, top, width), [top], recoil_ends(flux)]))
    recoil, weight = (x.ravel() for x in legendre_panels(panels, 4))
    mean, variance = simulated_energy(recoil)
    tonne_year = tables.exposure * 100.0 / 365.25
    rows = [calibrated(mean, variance, tables.edges, tables.errors, at) for at in _positions()]
    return Response(recoil, np.stack(rows) * (tonne_year * weight))


def _backgrounds(tables: _Phase3) -> dict[str, np.ndarray]:
    """Counts of the backgrounds at every anchor, shape (anchor, bin)."""
    shapes, drawn = (datasets.read_table(f"borexino_phase3_{name}") for name in ("shapes", "polonium"))
    low, high = shapes["energy_lo_keV"], shapes["energy_hi_keV"]
    inside = (np.arange(CELLS) + 0.5) / CELLS
    energy = (low[:, None] + (high - low)[:, None] * inside).ravel()
    width = np.repeat((high - low) / CELLS, CELLS)
    events: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in shapes:
        if f"start_rate_{name}" in tables.number and name not in _PANELS and name != "polonium210":
            density = np.interp(energy, (low + high) / 2, shapes[name]) * width
            events[name] = energy, density / tables.number.get(f"shape_rate_{name}", 1.0)
    events["polonium210"] = drawn["energy_keV"], drawn["density"]
    found = {}
    for name, (at, density) in events.items():
        rate = tables.number["bismuth210_limit" if name == "bismuth210" else f"start_rate_{name}"]
        rows = [calibrated(at, 0.0, tables.edges, tables.errors, place) @ density for place in _positions()]
        found[name] = tables.exposure * rate * np.stack(rows)
    return found


def borexino_phase3(
    bismuth210: str = "limit", background_error: float = 0.03, merge: float = 8.0, solar_model: str = "gs98"
) -> Experiment:
    """Spectrum of Borexino's phase III after the subtraction of 11C by the threefold coincidence.

    Recoils of pp, 7Be, pep, CNO and 8B neutrinos, each flux a parameter, go through a response that is inferred from
    simulated shapes; the shapes themselves are used for backgrounds alone. 210Po and 85Kr are free. The limit on
    210Bi, a half-Gaussian, is exact: a free factor that can only lower the limit's rate, times one with the limit's
    error.

    Args:
        bismuth210: `limit` (rate below 10.8 +- 1.0 per day and 100 t, as published) or `free`.
        background_error: relative error of 11C and of the three external backgrounds, in place of the spectrum of
            11C and the radial distribution, which are not public [inferred, that of the card].
        merge: channels in a bin, of 817; 8 make bins of 19 to 26 keV, less than half of the resolution.
        solar_model: B16 model of the fluxes and their errors, see `solar_component`.

    Raises:
        ValueError: unknown option.
    """
    if bismuth210 not in BISMUTH:
        raise ValueError(unknown("borexino-phase3: bismuth210", bismuth210, BISMUTH))
    if not (1 <= merge <= MOST_MERGED and merge == int(merge)):
        raise ValueError(f"borexino-phase3: merge {merge!r} must be a whole number of channels, 1 to {MOST_MERGED}")
    tables = _tables(int(merge))
    target = scintillator_electrons()
    fluxes: list[NeutrinoFlux] = [solar_component(name, solar_model) for name in ("pp", "be7", "pep", "cno")]
    backgrounds = _backgrounds(tables)
    bismuth = (
        Nuisance("bismuth210", FREE, ("bismuth210",), bounds=(0.0, BETWEEN)),
        Nuisance("bismuth210_limit", 1.0 / tables.number["bismuth210_limit"], ("bismuth210",)),
    )
    known = [name for name in backgrounds if name == "carbon11" or name.startswith("external")]
    return Experiment(
        name="borexino-phase3",
        channels=tuple(Channel(f, target, _response(f, tables)) for f in [*fluxes, b8()]),
        observed=tables.observed,
        backgrounds=backgrounds,
        nuisances=(
            *(bismuth if bismuth210 == "limit" else (Nuisance("bismuth210", FREE, ("bismuth210",)),)),
            *(Nuisance(name, FREE, (name,)) for name in ("krypton85", "polonium210")),
            *(Nuisance(name, background_error, (name,)) for name in known),
        ),
        shapes=tuple(ShapeNuisance(name, ANCHORS) for name in Calibration._fields),
        morphing="sum",
        observable="reconstructed energy [keV]",
        bin_edges=tuple(map(float, tables.edges)),
        exposure=tables.exposure * 100.0 / 365.25,
        status="digitised",
        notes=(
            "spectrum and simulated shapes transcribed, 210Po digitised; response inferred from the shapes",
            "calibration, its widths and those of 11C and external backgrounds are choices of others",
            "cross-check: rates must agree with borexino-phase2, which is to be preferred where they do not",
            "recoils that rise at low energies trade with free 85Kr: magnetic moments from here alone mean little",
        ),
        tables=tuple(f"borexino_phase3_{name}" for name in ("spectrum", "shapes", "polonium", "numbers")),
        runs=("Borexino phase III",),
    )
