"""Flux, nuclei, electrons, form factors, cross sections, recoil spectra."""

from jcevns.physics.earth import Earth, Exposure, earth_shells, earth_states, night_exposure, year_average
from jcevns.physics.electrons import (
    Electron,
    ElectronTarget,
    cesium_iodide_electrons,
    electrons_of,
    germanium_electrons,
    xenon_electrons,
)
from jcevns.physics.flux import FLAVOURS, NeutrinoFlux, b8, combine, hep
from jcevns.physics.form_factors import AbstractFormFactor, Helm, KleinNystrand, SymmetrisedFermi
from jcevns.physics.named_fluxes import FLUXES, fluxes
from jcevns.physics.nuclei import Nucleus, Target, argon, cesium_iodide, germanium, xenon
from jcevns.physics.oscillations import (
    MatterNSI,
    OscillationParameters,
    hermitian,
    mixing_matrix,
    nufit60,
    nufit60_errors,
)
from jcevns.physics.propagation import Oscillations
from jcevns.physics.recoil import counts_above, load_spectrum, recoil_spectrum
from jcevns.physics.sources import reactor, solar, solar_component, spallation
from jcevns.physics.sun import ProductionRegion, mass_fractions, production_region, solar_density_matrix

__all__ = [
    "FLAVOURS",
    "FLUXES",
    "AbstractFormFactor",
    "Earth",
    "Electron",
    "ElectronTarget",
    "Exposure",
    "Helm",
    "KleinNystrand",
    "MatterNSI",
    "NeutrinoFlux",
    "Nucleus",
    "OscillationParameters",
    "Oscillations",
    "ProductionRegion",
    "SymmetrisedFermi",
    "Target",
    "argon",
    "b8",
    "cesium_iodide",
    "cesium_iodide_electrons",
    "combine",
    "counts_above",
    "earth_shells",
    "earth_states",
    "electrons_of",
    "fluxes",
    "germanium",
    "germanium_electrons",
    "hep",
    "hermitian",
    "load_spectrum",
    "mass_fractions",
    "mixing_matrix",
    "night_exposure",
    "nufit60",
    "nufit60_errors",
    "production_region",
    "reactor",
    "recoil_spectrum",
    "solar",
    "solar_component",
    "solar_density_matrix",
    "spallation",
    "xenon",
    "xenon_electrons",
    "year_average",
]
