"""Electron recoils of solar neutrinos in XENONnT, LZ and PandaX-4T, in bins of reconstructed energy."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jcevns import datasets
from jcevns.detectors.response import Response
from jcevns.detectors.smearing import smeared_probability, smeared_response
from jcevns.experiments.experiment import Channel, Experiment, unfitted_counts
from jcevns.experiments.nuisances import Nuisance
from jcevns.experiments.replacing import own_curve
from jcevns.physics.electrons import xenon_electrons
from jcevns.physics.sources import solar
from jcevns.physics.standard_model import StandardModel

__all__ = ["lz_er_ws2022", "lz_er_ws2024", "pandax4t_er_run1", "xenonnt_er_2022"]

ARGON_EVENTS, ARGON_ENERGY = 52.5, 2.82  # 37Ar in LZ's first run: events, and keV of the line
LZ_RESOLUTION = 0.323  # sigma = LZ_RESOLUTION sqrt(E), keV
_HIGHEST = 45.0  # keV: true energies above do not reach bins below 30 keV

Curve = Callable[[np.ndarray], np.ndarray]


def _panels() -> np.ndarray:
    """Panels of true energy in keV."""
    return np.concatenate([np.linspace(0.1, 1.0, 10), np.arange(1.5, _HIGHEST + 0.1, 0.5)])


def _own(name: str, given: Any) -> Curve | None:
    """An efficiency of the user, zero outside its table; None for the published one."""
    if isinstance(given, str) and given == "published":
        return None
    table = own_curve(name, given, "energy_keV")
    return lambda energy: np.interp(energy, *table, left=0.0, right=0.0)


def _efficiency(card: str) -> Curve:
    table = datasets.read_table(card)
    return lambda energy: np.interp(energy, table["energy_keV"], table["efficiency"], left=0.0)


def _experiment(
    name: str,
    edges: np.ndarray,
    observed: np.ndarray,
    total: np.ndarray,
    exposure: float,
    resolution: dict[str, float],
    efficiency: Curve,
    efficiency_at: str,
    own: Any,
    binding: str,
    backgrounds: dict[str, np.ndarray],
    errors: dict[str, float],
    **labels: Any,
) -> Experiment:
    """An experiment whose published total background contains the Standard Model neutrinos.

    Args:
        name: of the experiment.
        edges: bins of reconstructed energy in keV.
        observed: counts.
        total: published background, solar neutrinos included.
        exposure: tonne-year.
        resolution: coefficients, see `smeared_response`.
        efficiency: published, at an energy in keV.
        efficiency_at: whether that is the `true` or the `reconstructed` one.
        own: efficiency of the user, or `published`.
        binding: see `xenon_electrons`.
        backgrounds: parts of the total with errors of their own.
        errors: relative errors of the backgrounds, `other` is the rest.
        labels: further fields.
    """
    flux, bound = solar(), xenon_electrons()

    def response(kept: Curve) -> Response:
        breaks = np.asarray(bound.binding_keV)
        return smeared_response(edges, exposure, resolution, kept, efficiency_at, panels=_panels(), breaks=breaks)

    published, given = response(efficiency), _own(name, own)
    # The neutrinos inside the published total were computed with the published efficiency.
    neutrinos = np.asarray(unfitted_counts(StandardModel(), Channel(flux, bound, published)))
    if given is not None:
        note = f"efficiency of the user, at the {efficiency_at} energy; data and backgrounds as published"
        labels |= {"status": "user", "notes": (*labels["notes"], note)}
    other = total - neutrinos - sum(backgrounds.values(), np.zeros(()))
    return Experiment(
        name=name,
        channels=Channel(flux, xenon_electrons(binding), published if given is None else response(given)),
        observed=observed,
        backgrounds={**backgrounds, "other": np.maximum(other, 0.0)},
        nuisances=tuple(Nuisance(part, error, (part,)) for part, error in errors.items()),
        observable="energy [keV]",
        bin_edges=tuple(map(float, edges)),
        exposure=exposure,
        **labels,
    )


_SUBTRACTED = "background: published total minus our Standard Model solar neutrinos (bound electrons in steps)"
_DIGITISED = "total background digitised by others from a figure (arXiv:2302.12846)"


def xenonnt_er_2022(
    binding: str = "steps", background_error: float = 0.05, bin_keV: float = 1.0, efficiency: Any = "published"
) -> Experiment:
    """XENONnT's low-energy electron recoils (arXiv:2207.11330): 1.16 tonne-year, 1 to 30 keV, released events.

    Args:
        binding: of the electrons, `steps`, `rrpa` or `free`.
        background_error: relative error of the total background; 1 leaves it practically free.
        bin_keV: width of the bins; 0.1 is as good as unbinned.
        efficiency: `published`, or of your own at the reconstructed energy, see `Experiment.replace`.

    Raises:
        ValueError: an option out of range.
    """
    bins = round(29.0 / bin_keV) if bin_keV > 0 else 0
    if bins < 1 or abs(bins * bin_keV - 29.0) > 1e-6:
        raise ValueError(f"xenonnt-er-2022: bin_keV {bin_keV!r} must divide the 29 keV between 1 and 30 keV")
    edges = np.linspace(1.0, 30.0, bins + 1)
    events = datasets.read_table("xenonnt_er_2022_events")["energy_keV"]
    curve = datasets.read_table("xenonnt_er_2022_background")
    fine = np.linspace(edges[0], edges[-1], 100 * bins + 1)
    rate = np.interp(fine, curve["energy_keV"], curve["rate_per_tonne_year_keV"])
    pieces = (rate[1:] + rate[:-1]) / 2 * np.diff(fine)
    return _experiment(
        "xenonnt-er-2022",
        edges,
        np.histogram(events, edges)[0],
        1.16 * pieces.reshape(bins, -1).sum(axis=1),
        1.16,
        {"sqrt": 0.31, "linear": 0.0037},
        _efficiency("xenonnt_er_2022_efficiency"),
        "reconstructed",
        efficiency,
        binding,
        {},
        {"other": background_error},
        status="published",
        notes=(_SUBTRACTED,),
        tables=("xenonnt_er_2022_events", "xenonnt_er_2022_background", "xenonnt_er_2022_efficiency"),
        runs=("XENONnT SR0 electron recoils",),
    )


def _lz(
    name: str, exposure: float, binding: str, argon: bool, background_error: float, efficiency: Any
) -> Experiment:
    card = name.replace("-", "_")
    table = datasets.read_table(f"{card}_bins")
    edges = np.append(table["energy_lo_keV"], table["energy_hi_keV"][-1])
    width = LZ_RESOLUTION * np.sqrt(ARGON_ENERGY)
    line = smeared_probability(np.array([ARGON_ENERGY]), np.array([width]), edges)[:, 0]
    own = {"argon37": ARGON_EVENTS * line} if argon else {}
    errors = {**({"argon37": 1.00} if argon else {}), "other": background_error}
    return _experiment(
        name,
        edges,
        table["observed"],
        table["background"],
        exposure,
        {"sqrt": LZ_RESOLUTION},
        _efficiency(f"{card}_efficiency"),
        "true",
        efficiency,
        binding,
        own,
        errors,
        status="digitised",
        notes=(_DIGITISED, _SUBTRACTED),
        tables=(f"{card}_bins", f"{card}_efficiency"),
        runs=(name,),
    )


def lz_er_ws2022(binding: str = "steps", background_error: float = 0.13, efficiency: Any = "published") -> Experiment:
    """LZ's electron recoils of its first run (arXiv:2207.03764, 2511.17350): 0.904 tonne-year, 0 to 20 keV.

    Args:
        binding: of the electrons, `steps`, `rrpa` or `free`.
        background_error: relative error of all background but 37Ar, whose error is 100%.
        efficiency: `published`, or of your own at the true energy, see `Experiment.replace`.
    """
    return _lz("lz-er-ws2022", 0.904, binding, argon=True, background_error=background_error, efficiency=efficiency)


def lz_er_ws2024(binding: str = "steps", background_error: float = 0.13, efficiency: Any = "published") -> Experiment:
    """LZ's electron recoils of 2024 (arXiv:2511.17350): 3.3 tonne-year, 0 to 20 keV.

    Args:
        binding: of the electrons, `steps`, `rrpa` or `free`.
        background_error: relative error of the total background [inferred, that of the first run].
        efficiency: `published`, or of your own at the true energy, see `Experiment.replace`.
    """
    return _lz("lz-er-ws2024", 3.3, binding, argon=False, background_error=background_error, efficiency=efficiency)


def pandax4t_er_run1(
    exposure: float = 1.00, binding: str = "steps", background_error: float = 0.13, efficiency: Any = "published"
) -> Experiment:
    """PandaX-4T's electron recoils of Run1 (arXiv:2408.07641), incomplete.

    Args:
        exposure: tonne-year; the search does not publish it, 1.00 is that of the same run in arXiv:2502.07317
            [inferred].
        binding: of the electrons, `steps`, `rrpa` or `free`.
        background_error: relative error of the total background [inferred].
        efficiency: `published`, or of your own at the reconstructed energy, see `Experiment.replace`.
    """
    if not 0 < exposure < np.inf:
        raise ValueError(f"pandax4t-er-run1: exposure {exposure!r} must be positive, in tonne-year")
    table = datasets.read_table("pandax4t_er_run1_bins")
    edges = np.append(table["energy_lo_keV"], table["energy_hi_keV"][-1])

    return _experiment(
        "pandax4t-er-run1",
        edges,
        table["observed"],
        table["background"],
        exposure,
        {"constant": 0.073, "linear": 0.173, "quadratic": -6.5e-3, "cubic": 1.1e-4},
        _efficiency("pandax4t_er_run1_efficiency"),
        "reconstructed",
        efficiency,
        binding,
        {},
        {"other": background_error},
        status="digitised",
        notes=("incomplete: the exposure is not published with the search; Run0 has no efficiency", _DIGITISED),
        tables=("pandax4t_er_run1_bins", "pandax4t_er_run1_efficiency"),
        runs=("PandaX-4T Run1 electron recoils",),
    )
