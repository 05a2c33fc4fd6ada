"""XENONnT's own four-dimensional likelihood, from its released templates and response."""

import dataclasses
from typing import Any

import numpy as np

from jcevns import datasets
from jcevns.detectors.response import Response, interpolated_response
from jcevns.experiments.axes import BinAxis
from jcevns.experiments.experiment import SIGNAL, Channel, Experiment, unfitted_counts
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.physics.flux import B8_FLUX, b8
from jcevns.physics.nuclei import xenon
from jcevns.physics.standard_model import StandardModel
from jcevns.spelling import unknown

__all__ = ["xenonnt_2024", "xenonnt_2026"]

ACCIDENTAL = {"sr0": 0.0904, "sr1": 0.0576}
"""Widths of the accidental coincidences per science run (arXiv:2408.02877)."""

ELECTRONIC, NEUTRON = 1.00, 0.58
EFFICIENCY_BOUNDS = (0.5, 1.5)
AXES = {
    "cs2_PE": "cS2 [PE]",
    "time_quantile": "S2pre/dt quantile",
    "s1_bdt": "S1 BDT score",
    "s2_bdt": "S2 BDT score",
}
"""Axes of the release, the last varies fastest; edges of cS2 and of the scores differ a little between runs."""
TEMPLATES = ("folded", "released")
TEMPLATE_FLUX = 5.25e6  # cm^-2 s^-1, the flux of the released 8B templates
SHAPES = ("t_ly", "t_qy")
"""Light and charge yield, in standard deviations of XENONnT's yield model."""


def _response(pack: dict[str, np.ndarray]) -> Response:
    """Response of all science runs side by side, at every anchor: (t_ly, t_qy, run x 81, recoil)."""
    table = np.asarray(pack["response"], float)  # (run, recoil, t_ly, t_qy, 81)
    runs, energies, *grid, bins = table.shape
    rows = np.moveaxis(table, 1, -1).reshape(runs, -1, bins, energies)
    found = [
        [interpolated_response(pack["recoil_keV"], anchor, float(exposure)) for anchor in run]
        for run, exposure in zip(rows, pack["exposure_tonne_year"], strict=True)
    ]
    matrix = np.concatenate([np.stack([np.asarray(r.matrix) for r in run]) for run in found], axis=1)
    return Response(found[0][0].recoil_keV, matrix.reshape(*grid, runs * bins, -1))


def placed(table: np.ndarray, exposure: np.ndarray) -> np.ndarray:
    """Events per tonne-year, (run, *anchor, bin), as events in the bins of all runs, (*anchor, run x bin)."""
    scaled = np.asarray(table, float) * exposure.reshape(-1, *[1] * (table.ndim - 1))
    return np.moveaxis(scaled, 0, -2).reshape(*table.shape[1:-1], -1)


def _experiment(
    name: str, card: str, shape: str, accidental: dict[str, float], efficiency: float, **labels: Any
) -> Experiment:
    pack = datasets.read_arrays(card)
    runs = [str(r) for r in pack["run"]]
    exposure = np.asarray(pack["exposure_tonne_year"], float)
    own = np.diag(exposure)  # the accidentals of each run are a component of their own
    backgrounds = {f"accidental_{run}": placed(pack["accidental"], own[i]) for i, run in enumerate(runs)}
    backgrounds["electronic"] = placed(pack["electronic"], exposure)
    backgrounds["neutron"] = placed(pack["neutron"], exposure)
    return Experiment(
        name=name,
        channels=Channel(b8(shape), xenon(), _response(pack)),
        observed=np.asarray(pack["observed"], float).ravel(),
        backgrounds=backgrounds,
        nuisances=(
            Nuisance("efficiency", efficiency, (SIGNAL,), bounds=EFFICIENCY_BOUNDS),
            *(Nuisance(f"accidental_{run}", accidental[run], (f"accidental_{run}",)) for run in runs),
            Nuisance("neutron", NEUTRON, ("neutron",)),
            Nuisance("electronic", ELECTRONIC, ("electronic",)),
        ),
        shapes=tuple(ShapeNuisance(s, tuple(map(float, pack["t_yield"]))) for s in SHAPES),
        axes=[
            BinAxis(label, tuple(map(float, np.mean(pack[f"edges_{axis}"], axis=0)))) for axis, label in AXES.items()
        ],
        observable="bin of (cS2, S2pre/dt, S1 BDT, S2 BDT), run by run",
        exposure=float(exposure.sum()),
        tables=(card,),
        runs=tuple(f"XENONnT {run.upper()}" for run in runs),
        **labels,
    )


def xenonnt_2024(shape: str = "bahcall1996", template: str = "folded") -> Experiment:
    """XENONnT SR0+SR1 (arXiv:2408.02877, 2409.17868): 81 bins per run, 37 events, XENONnT's nuisances.

    Args:
        shape: 8B spectral shape, see `jcevns.physics.b8`.
        template: `folded` takes any recoil spectrum through the released response; `released` scales its result in
            every bin and at every anchor so that the Standard Model signal is the released 8B template.

    Raises:
        ValueError: unknown option.
    """
    if template not in TEMPLATES:
        raise ValueError(unknown("xenonnt-2024: template", template, TEMPLATES))
    built = _experiment(
        "xenonnt-2024",
        "xenonnt_2024_templates",
        shape,
        ACCIDENTAL,
        0.25,
        status="published",
        notes=("templates, response and widths as released; the fit is ours",),
    )
    if template == "folded":
        return built
    pack = datasets.read_arrays("xenonnt_2024_templates")
    released = placed(pack["b8_at_5p25e6"], np.asarray(pack["exposure_tonne_year"], float))
    expected = released * (B8_FLUX / TEMPLATE_FLUX)
    (channel,) = built.channels
    folded = np.asarray(unfitted_counts(StandardModel(), channel))
    factors = np.divide(expected, folded, out=np.ones_like(expected), where=folded > 0)
    return dataclasses.replace(
        built,
        channels=Channel(channel.flux, channel.target, channel.response.times(factors)),
        notes=(*built.notes, "signal scaled to the released 8B template at the SM point"),
    )


def xenonnt_2026(shape: str = "bahcall1996", accidental_sr2: float = 0.05, efficiency: float = 0.25) -> Experiment:
    """XENONnT SR0+SR1+SR2 from its 2026 release: 81 bins per run, 62 events.

    The release holds templates and response but no statistical model: the widths of SR0 and SR1 are those of 2024,
    and the two arguments are assumptions of ours.

    Args:
        shape: 8B spectral shape, see `jcevns.physics.b8`.
        accidental_sr2: relative width of SR2's accidental coincidences [assumed].
        efficiency: relative width of the signal efficiency [assumed].
    """
    return _experiment(
        "xenonnt-2026",
        "xenonnt_2026_templates",
        shape,
        {**ACCIDENTAL, "sr2": accidental_sr2},
        efficiency,
        status="published",
        notes=(
            "templates and response as released, without a statistical model",
            f"ASSUMED: accidental width of SR2 {accidental_sr2:.1%}, signal efficiency {efficiency:.0%}; "
            "other widths as in 2024",
        ),
    )
