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
from jcevns.physics.cross_sections import (
    AbstractInteraction,
    AbstractInverseEnergyInteraction,
    StandardModel,
)
from jcevns.physics.flux import NeutrinoFlux, b8, hep
from jcevns.physics.form_factors import AbstractFormFactor, Helm, KleinNystrand, SymmetrisedFermi
from jcevns.physics.interactions import (
    INTERACTIONS,
    AbstractMediator,
    AxialVectorMediator,
    ScalarMediator,
    TensorMediator,
    VectorMediator,
    interaction,
)
from jcevns.physics.nuclei import Nucleus, Target, xenon
from jcevns.physics.recoil import TabulatedSpectrum, Theory, counts_above, load_spectrum, recoil_spectrum

__version__ = _version("jcevns")

__all__ = [
    "EXPERIMENTS",
    "INTERACTIONS",
    "AbstractChargeYield",
    "AbstractFormFactor",
    "AbstractInteraction",
    "AbstractInverseEnergyInteraction",
    "AbstractMediator",
    "AxialVectorMediator",
    "Contours",
    "DataError",
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
    "asimov",
    "b8",
    "b8_as_background",
    "charge_response",
    "chi2_threshold",
    "component_counts",
    "contours",
    "correction_factors",
    "counts_above",
    "coupling_hypothesis",
    "coupling_terms",
    "coverage",
    "discovery",
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
    "recoil_spectrum",
    "sample",
    "scaled",
    "scan",
    "signal",
    "signal_counts",
    "signal_strength",
    "simulate",
    "throw",
    "to_pyhf",
    "toy_interval",
    "xenon",
]
