"""Differentiable likelihoods for coherent elastic neutrino-nucleus scattering and the probes beside it."""

from importlib.metadata import version as _version

from jcevns import detectors, physics
from jcevns.constants import chi2_threshold
from jcevns.datasets import DataError
from jcevns.experiments.catalogue import EXPERIMENTS, experiment
from jcevns.experiments.experiment import Channel, Experiment, normalised, signal_counts
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.experiments.toml_file import load_experiment
from jcevns.fit.contour import contour
from jcevns.fit.fit import fit
from jcevns.fit.interval import interval, profile_curve
from jcevns.fit.profile import profile
from jcevns.fit.surface import Surface
from jcevns.likelihood.likelihood import Likelihood, chi2, component_counts, signal
from jcevns.likelihood.pyhf_model import to_pyhf
from jcevns.parameters import Parameter, parameter
from jcevns.physics.electromagnetic import ChargeRadius, DipolePortal, MagneticMoment, Millicharge
from jcevns.physics.interaction import Interaction
from jcevns.physics.mediators import AxialVectorMediator, ScalarMediator, TensorMediator, VectorMediator
from jcevns.physics.new_physics import NewPhysics
from jcevns.physics.nsi import NSI
from jcevns.physics.recoil import TabulatedSpectrum
from jcevns.physics.standard_model import StandardModel
from jcevns.physics.theories import THEORIES, theory
from jcevns.statistics.calibration import coverage, discovery, fit_quality, toy_interval
from jcevns.statistics.laplace import laplace
from jcevns.statistics.limits import limits
from jcevns.statistics.priors import Prior
from jcevns.statistics.projections import expected_error, expected_limit, expected_significance, scaled
from jcevns.statistics.sample import sample
from jcevns.statistics.scan import contours, open_scan, scan
from jcevns.statistics.toy_runs import throw
from jcevns.statistics.toys import simulate

__version__ = _version("jcevns")

__all__ = [
    "EXPERIMENTS",
    "NSI",
    "THEORIES",
    "AxialVectorMediator",
    "Channel",
    "ChargeRadius",
    "DataError",
    "DipolePortal",
    "Experiment",
    "Interaction",
    "Likelihood",
    "MagneticMoment",
    "Millicharge",
    "NewPhysics",
    "Nuisance",
    "Parameter",
    "Prior",
    "ScalarMediator",
    "ShapeNuisance",
    "StandardModel",
    "Surface",
    "TabulatedSpectrum",
    "TensorMediator",
    "VectorMediator",
    "__version__",
    "chi2",
    "chi2_threshold",
    "component_counts",
    "contour",
    "contours",
    "coverage",
    "detectors",
    "discovery",
    "expected_error",
    "expected_limit",
    "expected_significance",
    "experiment",
    "fit",
    "fit_quality",
    "interval",
    "laplace",
    "limits",
    "load_experiment",
    "normalised",
    "open_scan",
    "parameter",
    "physics",
    "profile",
    "profile_curve",
    "sample",
    "scaled",
    "scan",
    "signal",
    "signal_counts",
    "simulate",
    "theory",
    "throw",
    "to_pyhf",
    "toy_interval",
]
