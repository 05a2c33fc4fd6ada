"""TEXONO's antineutrino-electron scattering in CsI(Tl) at a reactor (arXiv:0911.1597), by its rate alone."""

import numpy as np

from jcevns import datasets
from jcevns.detectors.response import Response, legendre_panels
from jcevns.experiments.experiment import Channel, Experiment, unfitted_counts
from jcevns.experiments.gaussian import gaussian_counts
from jcevns.experiments.nuisances import Nuisance
from jcevns.physics.electrons import electrons_of
from jcevns.physics.sources import reactor
from jcevns.physics.standard_model import StandardModel
from jcevns.precision import as_float_array

__all__ = ["texono_2010"]

REFERENCE_SIN2W = 0.2387
"""Of the tree-level prediction that the measured ratio divides by: 1.08 is then sin2w = 0.251, as published."""


def texono_2010() -> Experiment:
    """TEXONO, 187 kg of CsI(Tl), recoils of 3 to 8 MeV: R/R_SM = 1.08 +- 0.21 +- 0.16, the one number there is.

    One Poisson bin stands for the Gaussian: on a background so large that the root of the counts is the
    statistical error and a fraction of it, as a nuisance, the systematic one. The tree-level prediction at
    sin2w = 0.2387 is a ratio of one.
    """
    number = datasets.read_numbers("texono_2010")
    edges = np.linspace(1e3 * number["recoil_min"], 1e3 * number["recoil_max"], 26)
    recoil, weight = (x.ravel() for x in legendre_panels(edges, 4))
    channel = Channel(reactor(), electrons_of(108.0, 132.905 + 126.904), Response(recoil, weight[None]))
    standard = StandardModel(as_float_array(REFERENCE_SIN2W), electron_couplings="tree")
    expected = np.asarray(unfitted_counts(standard, channel))
    # In units in which the statistical error is the root of the counts.
    counts, scale, background = map(float, gaussian_counts(number["ratio"], number["ratio_statistical_error"]))
    systematic = number["ratio_systematic_error"] * scale / background
    return Experiment(
        name="texono-2010",
        channels=Channel(channel.flux, channel.target, channel.response.times(scale / expected)),
        observed=[counts],
        backgrounds={"background": [background]},
        nuisances=(Nuisance("systematic", systematic, ("background",)),),
        observable="rate, in units of the statistical error",
        status="published",
        notes=("rate only: one Poisson bin stands for 1.08 +- 0.21 +- 0.16; no spectrum is public",),
        tables=("texono_2010", "reactor_spectra"),
        runs=("TEXONO CsI(Tl)",),
    )
