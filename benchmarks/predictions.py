"""Standard Model numbers that no fit gives: `python -m benchmarks.predictions {events,cross-section} EXPERIMENT`.

`events` are the expected counts of the signal. `cross-section` is that of the first channel in 1e-40 cm^2 per target
particle, averaged over its flux, recoils of all energies.
"""

import json
import sys

import numpy as np

import jcevns as jc
from jcevns.constants import SECONDS_PER_YEAR
from jcevns.detectors.response import Response, legendre_panels
from jcevns.experiments.experiment import Channel, unfitted_counts

__all__ = ["cross_section", "events"]


def events(name: str) -> float:
    """Expected counts in all bins."""
    return float(np.sum(jc.signal_counts(jc.experiment(name), jc.StandardModel())))


def cross_section(name: str) -> float:
    """Averaged over the flux, 1e-40 cm^2."""
    channel = jc.experiment(name).channels[0]
    flux, target = channel.flux, channel.target
    recoil, weight = (x.ravel() for x in legendre_panels(np.geomspace(1e-4, 1e3, 401), 4))
    per_year = unfitted_counts(jc.StandardModel(), Channel(flux, target, Response(recoil, weight[None])))
    neutrinos = float(flux.total) * float(np.trapezoid(np.asarray(flux.shape), np.asarray(flux.energy)))
    atoms = float(np.sum(target.atoms_per_tonne))
    return float(np.sum(per_year)) / (neutrinos * atoms * SECONDS_PER_YEAR) * 1e40


def main(arguments: list[str]) -> str:
    """One number as JSON."""
    what, name = arguments
    return json.dumps({"value": {"events": events, "cross-section": cross_section}[what](name)})


if __name__ == "__main__":
    from jax import config

    config.update("jax_enable_x64", True)
    print(main(sys.argv[1:]))
