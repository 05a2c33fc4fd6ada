"""COHERENT's first liquid-argon data, analysis A (arXiv:2003.10630, release 2006.12659): energy x F90 x time."""

import numpy as np
from jaxtyping import Float

from jcevns import datasets
from jcevns.detectors.response import Response
from jcevns.detectors.smearing import smeared_response
from jcevns.experiments.axes import BinAxis
from jcevns.experiments.coherent_csi import end_points, recoil_panels
from jcevns.experiments.experiment import SIGNAL, Channel, Experiment, unfitted_counts
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.physics.nuclei import argon
from jcevns.physics.sources import SNS_ERROR, spallation
from jcevns.physics.standard_model import StandardModel
from jcevns.spelling import check_options

__all__ = ["coherent_lar_2020"]

PROTONS = 13.8e22
NEUTRINOS_PER_PROTON = 0.09  # of each flavour
DISTANCE = 27.5  # m
MASS = 24.4e-3  # tonne
BINS = (12, 8, 10)  # energy, F90, time
AXES = {"energy_keVee": "energy [keVee]", "f90": "F90", "time_us": "time [us]"}
EDGES = np.arange(0.0, 121.0, 10.0)  # keV electron equivalent
QUENCHING = (0.246, 0.00078)  # constant, and per keV of recoil
RESOLUTION = 0.58  # sigma/E = RESOLUTION/sqrt(E), E in keV electron equivalent
ANCHORS = (-3.0, -1.0, 0.0, 1.0, 3.0)
OPTIONS = {"shapes": ("all", "none"), "correction": ("release", "none")}
LEAST_EVENTS = 1.0  # in a bin of energy, for its factor to be taken from the release
_PANELS = 16  # of 4 nodes, between no recoil and the end point

VARIED = {
    "cevns_f90": ("cevns", "cevns_f90_plus", "cevns_f90_minus"),
    "cevns_time": ("cevns", "cevns_time", None),
    "neutron_energy": ("prompt_brn", "brn_energy_plus", "brn_energy_minus"),
    "neutron_time": ("prompt_brn", "brn_time_plus", "brn_time_minus"),
    "neutron_width": ("prompt_brn", "brn_time_width", None),
}
"""Shape systematics: the component, and its alternative distributions at +1 and -1 standard deviation."""


def _energy_response(panels: np.ndarray) -> Response:
    """Response in bins of energy, before the cuts on F90 and time."""
    table = datasets.read_table("coherent_lar_2020_efficiency")
    return smeared_response(
        EDGES,
        MASS,
        resolution={"sqrt": RESOLUTION},
        efficiency=lambda seen: np.interp(seen, table["energy_keVee"], table["efficiency"], left=0.0),
        efficiency_at="reconstructed",
        quenching=lambda recoil: QUENCHING[0] + QUENCHING[1] * recoil,
        panels=panels,
        cells=40,
    )


def _shares(counts: np.ndarray) -> Float[np.ndarray, "energy cell"]:
    """Distribution over F90 and time in each bin of energy; where the release has none, that of the bin below."""
    table = counts.reshape(BINS[0], -1).copy()
    for row in range(1, BINS[0]):
        if table[row].sum() <= 0:
            table[row] = table[row - 1]
    return table / table.sum(axis=1, keepdims=True)


def _axis(label: str, centres: np.ndarray) -> BinAxis:
    """Bins of equal width from their centres."""
    middle = np.unique(centres)
    half = (middle[1] - middle[0]) / 2
    return BinAxis(label, tuple(map(float, np.append(middle - half, middle[-1] + half))))


def _varied(table: dict[str, np.ndarray], name: str, anchor: float) -> tuple[str, np.ndarray]:
    """A component at one anchor of a shape nuisance: linear in its alternatives, never negative, of the same size."""
    component, plus, minus = VARIED[name]
    nominal = table[component]
    if anchor >= 0 or minus is None:
        change = anchor * (table[plus] * (nominal.sum() / table[plus].sum()) - nominal)
    else:
        change = -anchor * (table[minus] * (nominal.sum() / table[minus].sum()) - nominal)
    moved = np.maximum(nominal + change, 0.0)
    return component, moved * (nominal.sum() / moved.sum())


def coherent_lar_2020(shapes: str = "all", correction: str = "release") -> Experiment:
    """COHERENT liquid argon, 24.4 kg at 27.5 m: 3752 events, mostly steady-state background.

    Args:
        shapes: `all` has the five released alternative distributions as shape nuisances, linear up to 3 standard
            deviations (those with one alternative only are taken as symmetric); `none` has none and is faster.
        correction: `release` scales each bin of energy so that the Standard Model has the released CEvNS
            distribution (128 events); `none` keeps the computed spectrum.

    Raises:
        ValueError: unknown option.
    """
    check_options("coherent-lar-2020", OPTIONS, shapes=shapes, correction=correction)
    table = datasets.read_table("coherent_lar_2020_bins")
    flux, target = spallation(PROTONS, NEUTRINOS_PER_PROTON, DISTANCE), argon()
    energies = _energy_response(recoil_panels([0.0, *end_points(flux, target)], _PANELS))
    recoil, counted = np.asarray(energies.recoil_keV), np.asarray(energies.matrix)

    every = [(name, anchor) for name in VARIED for anchor in ANCHORS] if shapes == "all" else []
    moved = [_varied(table, name, anchor) for name, anchor in every]

    def rows(component: str) -> list[np.ndarray]:
        """A component at all anchors."""
        return [counts if which == component else table[component] for which, counts in moved] or [table[component]]

    matrices = [
        (_shares(counts)[:, :, None] * counted[:, None, :]).reshape(-1, recoil.size) for counts in rows("cevns")
    ]
    factors = np.ones(BINS[0])
    if correction == "release":
        released = table["cevns"].reshape(BINS[0], -1).sum(axis=1)
        computed = np.asarray(unfitted_counts(StandardModel(), Channel(flux, target, energies)))
        known = released > LEAST_EVENTS
        factors = np.full(BINS[0], released.sum() / computed.sum())
        factors[known] = released[known] / computed[known]
    response = Response(recoil, np.stack(matrices) if moved else matrices[0])
    prompt = np.stack(rows("prompt_brn"))
    return Experiment(
        name="coherent-lar-2020",
        channels=Channel(flux, target, response.times(np.repeat(factors, BINS[1] * BINS[2]))),
        observed=table["observed"],
        backgrounds={
            "steady_state": table["steady_state"],
            "prompt_neutrons": prompt if moved else prompt[0],
            "delayed_neutrons": table["delayed_brn"],
        },
        nuisances=(
            Nuisance("detection", (0.13**2 - SNS_ERROR**2) ** 0.5, (SIGNAL,)),
            Nuisance("steady_state", 0.008, ("steady_state",)),
            Nuisance("prompt_neutrons", 0.32, ("prompt_neutrons",)),
            Nuisance("delayed_neutrons", 1.00, ("delayed_neutrons",)),
        ),
        shapes=tuple(ShapeNuisance(name, ANCHORS) for name in VARIED) if moved else (),
        morphing="sum",
        axes=[_axis(label, table[column]) for column, label in AXES.items()],
        observable="energy x F90 x time, 12 x 8 x 10 bins",
        exposure=MASS,
        status="published",
        notes=(
            "F90 and time of a signal are those of the released CEvNS distribution in each bin of energy",
            "detection: what the quoted 13% on the CEvNS events leaves beside the 10% of the flux",
        ),
        tables=("coherent_lar_2020_bins", "coherent_lar_2020_efficiency", "argon_isotopes"),
        runs=("COHERENT CENNS-10",),
    )
