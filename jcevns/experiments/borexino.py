"""Borexino phase II: rates of pp, pep and 7Be neutrinos on electrons (arXiv:1707.09279)."""

import numpy as np

from jcevns import datasets
from jcevns.constants import ELECTRON_MASS, KEV
from jcevns.detectors.response import Response, legendre_panels
from jcevns.experiments.experiment import Channel, Experiment, unfitted_counts
from jcevns.experiments.gaussian import gaussian_bins
from jcevns.physics.electrons import ElectronTarget
from jcevns.physics.flux import NeutrinoFlux
from jcevns.physics.interaction import maximum_recoil
from jcevns.physics.sources import solar_component
from jcevns.physics.standard_model import StandardModel
from jcevns.precision import as_float_array

__all__ = ["LOWEST", "borexino_phase2", "recoil_ends", "scintillator_electrons"]

ELECTRONS = 3.307e31
"""Electrons in 100 t of pseudocumene (arXiv:1707.09279)."""

PER_DAY_100T = 100.0 / 365.25
"""One event per tonne-year in events per day and 100 t."""

LOWEST = 1.0
"""keV: the lowest energy that counts may be compared from; 0.8% of the pp rate is below, 0.2% of the others'."""

_HIGHEST = {"pp": 270.0, "pep": 1300.0, "be7": 670.0}  # keV, above the largest recoil of each


def scintillator_electrons() -> ElectronTarget:
    """Electrons of Borexino's scintillator, free: those of carbon are bound by 0.28 keV at most."""
    return ElectronTarget([0.0], [1.0], ELECTRONS / 100.0)


def recoil_ends(flux: NeutrinoFlux) -> np.ndarray:
    """Recoil energies in keV at which the spectrum of lines steps, to end panels there; none of other spectra."""
    if flux.name not in ("pep", "be7"):
        return np.zeros(0)
    return np.asarray(maximum_recoil(flux.energy, as_float_array(ELECTRON_MASS))) / KEV


def _above(low: float, flux: NeutrinoFlux, width: float = 10.0) -> Response:
    """Integral over recoil energy from `low` keV up, in counts per day and 100 t."""
    high = _HIGHEST[flux.name]
    wide = np.arange(width * np.ceil(low / width + 1e-9), high, width)
    fine = np.geomspace(max(low, LOWEST), wide[0], 8)
    ends = recoil_ends(flux)
    edges = np.unique(np.concatenate([[low], fine, wide, ends[ends > low], [high]]))
    recoil, weight = (x.ravel() for x in legendre_panels(edges, 4))
    return Response(recoil, PER_DAY_100T * weight[None])


def borexino_phase2(above_keV: float = 190.0, solar_model: str = "gs98") -> Experiment:
    """Rates of pp, pep and 7Be neutrinos in Borexino's phase II, with their covariance: three Gaussian numbers.

    The publication gives rates from zero energy up: the amplitudes of Standard Model shapes, fitted to recoils above
    0.19 MeV. A theory with another shape is therefore compared in its counts above `above_keV`, scaled from there to
    zero as those of the Standard Model are, whose rates do not depend on the choice. At 1 keV the integrals
    themselves are compared; for a magnetic moment, whose integral diverges at zero energy, they are events that
    nobody looked for.

    The bins stand for a Gaussian (see `gaussian_bins`); no spectrum is used.

    Args:
        above_keV: recoil energy from which on counts are compared [inferred: the lowest energy of the fit].
        solar_model: B16 model of the fluxes and their errors, see `solar_component`.

    Raises:
        ValueError: an option out of range.
    """
    if not LOWEST <= above_keV <= 230.0:
        raise ValueError(f"borexino-phase2: above_keV {above_keV!r} must be from {LOWEST:g} to 230 keV")
    table = datasets.read_table("borexino_phase2_rates")
    names = [str(name) for name in table["component"]]
    inverse = np.stack([table[f"inverse_{name}"] for name in names], axis=1)
    bins = gaussian_bins(names, table["rate"], np.linalg.inv(inverse))
    target, channels = scintillator_electrons(), []
    for k, name in enumerate(names):
        flux = solar_component(name, solar_model)
        above, whole = (Channel(flux, target, _above(low, flux)) for low in (above_keV, 0.0))
        counts, every = (float(unfitted_counts(StandardModel(), one)[0]) for one in (above, whole))
        row = np.asarray(above.response.matrix)[0] * (every / counts) * bins.scale[k]
        matrix = np.zeros((len(names), row.size))
        matrix[k] = row
        channels.append(Channel(flux, target, Response(above.response.recoil_keV, matrix)))
    return Experiment(
        name="borexino-phase2",
        channels=tuple(channels),
        observed=bins.observed,
        backgrounds=dict(bins.backgrounds),
        nuisances=bins.nuisances,
        observable="rate of pp, pep, 7Be, in units of its error",
        status="published",
        notes=(
            "rates only: Poisson bins stand for three Gaussian numbers; covariance of arXiv:2312.12907",
            f"counts above {above_keV:g} keV, scaled to zero energy as the Standard Model",
        ),
        tables=("borexino_phase2_rates", "solar_fluxes_b16", "solar_survival"),
        runs=("Borexino phase II",),
    )
