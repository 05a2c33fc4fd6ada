"""What `import jcevns` offers; each name is imported when it is first used."""

from . import detectors, physics
from .compiled import keep_compiled
from .constants import chi2_threshold
from .datasets import DataError
from .experiments.catalogue import EXPERIMENTS, experiment
from .experiments.experiment import Channel, Experiment, normalised, signal_counts
from .experiments.nuisances import Nuisance, ShapeNuisance
from .experiments.toml_file import load_experiment
from .fit.contour import contour
from .fit.fit import fit
from .fit.interval import interval, profile_curve
from .fit.profile import profile
from .fit.surface import Surface
from .likelihood.binned import histograms
from .likelihood.hs3_model import to_hs3
from .likelihood.likelihood import Likelihood, chi2, component_counts, signal
from .likelihood.pyhf_model import to_pyhf
from .parameters import Parameter, parameter
from .physics.electromagnetic import ChargeRadius, DipolePortal, MagneticMoment, Millicharge
from .physics.interaction import Interaction
from .physics.mediators import AxialVectorMediator, ScalarMediator, TensorMediator, VectorMediator
from .physics.new_physics import NewPhysics
from .physics.nsi import NSI
from .physics.recoil import TabulatedSpectrum
from .physics.standard_model import StandardModel
from .physics.theories import THEORIES, theory
from .statistics.band import band
from .statistics.calibration import coverage, discovery, fit_quality, toy_interval
from .statistics.discovery_limits import discovery_limits
from .statistics.evidence import evidence
from .statistics.hepdata import to_hepdata
from .statistics.impacts import impacts
from .statistics.laplace import laplace
from .statistics.limits import limits
from .statistics.priors import Prior
from .statistics.projections import expected_error, expected_limit, expected_significance, scaled
from .statistics.sample import sample
from .statistics.scan import contours, scan
from .statistics.store import open_scan
from .statistics.toy_runs import throw
from .statistics.toys import simulate

__version__: str

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
    "band",
    "chi2",
    "chi2_threshold",
    "component_counts",
    "contour",
    "contours",
    "coverage",
    "detectors",
    "discovery",
    "discovery_limits",
    "evidence",
    "expected_error",
    "expected_limit",
    "expected_significance",
    "experiment",
    "fit",
    "fit_quality",
    "histograms",
    "impacts",
    "interval",
    "keep_compiled",
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
    "to_hepdata",
    "to_hs3",
    "to_pyhf",
    "toy_interval",
]
