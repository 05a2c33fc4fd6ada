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
from jcevns.experiments.experiment import Experiment, Nuisance, correction_factors, signal_counts
from jcevns.experiments.toml_file import load_experiment
from jcevns.inference.fit import Fit, profile
from jcevns.inference.grid import Grid, coupling_terms, grid, grid_signals
from jcevns.inference.intervals import Estimate, Interval, Parameter, estimate, measure, profile_curve
from jcevns.inference.limits import Limit, limits
from jcevns.inference.scan import Contours, contours, open_scan, scan
from jcevns.likelihood.joint import Likelihood, signal
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
from jcevns.physics.recoil import Theory, counts_above, recoil_spectrum

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
    "Helm",
    "Interval",
    "KleinNystrand",
    "Likelihood",
    "Limit",
    "NestChargeYield",
    "NeutrinoFlux",
    "Nucleus",
    "Nuisance",
    "Parameter",
    "PowerLawChargeYield",
    "Response",
    "ScalarMediator",
    "StandardModel",
    "SymmetrisedFermi",
    "TabulatedChargeYield",
    "Target",
    "TensorMediator",
    "Theory",
    "VectorMediator",
    "__version__",
    "b8",
    "charge_response",
    "chi2_threshold",
    "contours",
    "correction_factors",
    "counts_above",
    "coupling_terms",
    "estimate",
    "experiment",
    "grid",
    "grid_signals",
    "hep",
    "interaction",
    "interpolated_response",
    "limits",
    "load_experiment",
    "measure",
    "open_scan",
    "profile",
    "profile_curve",
    "recoil_spectrum",
    "scan",
    "signal",
    "signal_counts",
    "to_pyhf",
    "xenon",
]
