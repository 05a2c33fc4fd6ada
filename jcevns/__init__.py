"""Differentiable likelihoods for solar 8B CEvNS in xenon detectors."""

from importlib.metadata import version as _version

from jcevns.constants import chi2_threshold
from jcevns.datasets import DataError
from jcevns.detectors.charge_yield import (
    AbstractChargeYield,
    NestChargeYield,
    PowerLawChargeYield,
    TabulatedChargeYield,
)
from jcevns.detectors.response import Response, charge_response, interpolated_response
from jcevns.experiments.catalogue import EXPERIMENTS, experiment
from jcevns.experiments.experiment import (
    Experiment,
    Nuisance,
    ShapeNuisance,
    b8_as_background,
    correction_factors,
    signal_counts,
)
from jcevns.experiments.toml_file import load_experiment
from jcevns.inference.calibration import coverage, discovery, fit_quality, toy_interval
from jcevns.inference.fit import Fit, profile
from jcevns.inference.grid import Grid, coupling_terms, grid, grid_signals
from jcevns.inference.hypothesis import Hypothesis, coupling_hypothesis, hypothesis
from jcevns.inference.intervals import Estimate, Interval, estimate, interval, measure, profile_curve
from jcevns.inference.laplace import GridPosterior, laplace_grid
from jcevns.inference.limits import Limit, limits
from jcevns.inference.parameters import Parameter, find_parameter, signal_strength
from jcevns.inference.posterior import Posterior, sample
from jcevns.inference.priors import Prior, parse_prior
from jcevns.inference.projections import asimov, expected_error, expected_limit, expected_significance, scaled
from jcevns.inference.scan import Contours, contours, open_scan, scan
from jcevns.inference.toy_runs import throw
from jcevns.inference.toys import Toys, simulate
from jcevns.likelihood.joint import Likelihood, component_counts, signal
from jcevns.likelihood.pyhf_model import to_pyhf
from jcevns.physics.couplings import AbstractMediator
from jcevns.physics.cross_sections import (
    AbstractInteraction,
    AbstractInverseEnergyInteraction,
    StandardModel,
)
from jcevns.physics.electrons import ElectronTarget, electrons_of, xenon_electrons
from jcevns.physics.flux import FLAVOURS, NeutrinoFlux, b8, combine, hep
from jcevns.physics.form_factors import AbstractFormFactor, Helm, KleinNystrand, SymmetrisedFermi
from jcevns.physics.interactions import (
    INTERACTIONS,
    AxialVectorMediator,
    ScalarMediator,
    TensorMediator,
    VectorMediator,
    interaction,
)
from jcevns.physics.magnetic_moment import MagneticMoment
from jcevns.physics.nuclei import Nucleus, Target, argon, cesium_iodide, xenon
from jcevns.physics.recoil import TabulatedSpectrum, Theory, counts_above, load_spectrum, recoil_spectrum
from jcevns.physics.sources import reactor, solar, spallation

__version__ = _version("jcevns")

__all__ = [
    "EXPERIMENTS",
    "FLAVOURS",
    "INTERACTIONS",
    "AbstractChargeYield",
    "AbstractFormFactor",
    "AbstractInteraction",
    "AbstractInverseEnergyInteraction",
    "AbstractMediator",
    "AxialVectorMediator",
    "Contours",
    "DataError",
    "ElectronTarget",
    "Estimate",
    "Experiment",
    "Fit",
    "Grid",
    "GridPosterior",
    "Helm",
    "Hypothesis",
    "Interval",
    "KleinNystrand",
    "Likelihood",
    "Limit",
    "MagneticMoment",
    "NestChargeYield",
    "NeutrinoFlux",
    "Nucleus",
    "Nuisance",
    "Parameter",
    "Posterior",
    "PowerLawChargeYield",
    "Prior",
    "Response",
    "ScalarMediator",
    "ShapeNuisance",
    "StandardModel",
    "SymmetrisedFermi",
    "TabulatedChargeYield",
    "TabulatedSpectrum",
    "Target",
    "TensorMediator",
    "Theory",
    "Toys",
    "VectorMediator",
    "__version__",
    "argon",
    "asimov",
    "b8",
    "b8_as_background",
    "cesium_iodide",
    "charge_response",
    "chi2_threshold",
    "combine",
    "component_counts",
    "contours",
    "correction_factors",
    "counts_above",
    "coupling_hypothesis",
    "coupling_terms",
    "coverage",
    "discovery",
    "electrons_of",
    "estimate",
    "expected_error",
    "expected_limit",
    "expected_significance",
    "experiment",
    "find_parameter",
    "fit_quality",
    "grid",
    "grid_signals",
    "hep",
    "hypothesis",
    "interaction",
    "interpolated_response",
    "interval",
    "laplace_grid",
    "limits",
    "load_experiment",
    "load_spectrum",
    "measure",
    "open_scan",
    "parse_prior",
    "profile",
    "profile_curve",
    "reactor",
    "recoil_spectrum",
    "sample",
    "scaled",
    "scan",
    "signal",
    "signal_counts",
    "signal_strength",
    "simulate",
    "solar",
    "spallation",
    "throw",
    "to_pyhf",
    "toy_interval",
    "xenon",
    "xenon_electrons",
]
