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
from jcevns.inference.intervals import Estimate, Interval, Parameter, estimate, measure, profile_curve
from jcevns.likelihood.joint import Likelihood, signal
from jcevns.physics.cross_sections import (
    AbstractInteraction,
    AbstractInverseEnergyInteraction,
    StandardModel,
)
from jcevns.physics.flux import NeutrinoFlux, b8, hep
from jcevns.physics.form_factors import AbstractFormFactor, Helm, KleinNystrand, SymmetrisedFermi
from jcevns.physics.nuclei import Nucleus, Target, xenon
from jcevns.physics.recoil import Theory, counts_above, recoil_spectrum

__version__ = _version("jcevns")

__all__ = [
    "EXPERIMENTS",
    "AbstractChargeYield",
    "AbstractFormFactor",
    "AbstractInteraction",
    "AbstractInverseEnergyInteraction",
    "DataError",
    "Estimate",
    "Experiment",
    "Fit",
    "Helm",
    "Interval",
    "KleinNystrand",
    "Likelihood",
    "NestChargeYield",
    "NeutrinoFlux",
    "Nucleus",
    "Nuisance",
    "Parameter",
    "PowerLawChargeYield",
    "Response",
    "StandardModel",
    "SymmetrisedFermi",
    "TabulatedChargeYield",
    "Target",
    "Theory",
    "__version__",
    "b8",
    "charge_response",
    "chi2_threshold",
    "correction_factors",
    "counts_above",
    "estimate",
    "experiment",
    "hep",
    "interpolated_response",
    "load_experiment",
    "measure",
    "profile",
    "profile_curve",
    "recoil_spectrum",
    "signal",
    "signal_counts",
    "xenon",
]
