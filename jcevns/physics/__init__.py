"""Flux, nuclei, electrons, form factors, cross sections, recoil spectra."""

from jcevns.physics.electrons import Electron, ElectronTarget, electrons_of, xenon_electrons
from jcevns.physics.flux import FLAVOURS, NeutrinoFlux, b8, combine, hep
from jcevns.physics.form_factors import AbstractFormFactor, Helm, KleinNystrand, SymmetrisedFermi
from jcevns.physics.nuclei import Nucleus, Target, argon, cesium_iodide, xenon
from jcevns.physics.recoil import counts_above, load_spectrum, recoil_spectrum
from jcevns.physics.sources import reactor, solar, spallation

__all__ = [
    "FLAVOURS",
    "AbstractFormFactor",
    "Electron",
    "ElectronTarget",
    "Helm",
    "KleinNystrand",
    "NeutrinoFlux",
    "Nucleus",
    "SymmetrisedFermi",
    "Target",
    "argon",
    "b8",
    "cesium_iodide",
    "combine",
    "counts_above",
    "electrons_of",
    "hep",
    "load_spectrum",
    "reactor",
    "recoil_spectrum",
    "solar",
    "spallation",
    "xenon",
    "xenon_electrons",
]
