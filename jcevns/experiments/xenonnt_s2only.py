"""XENONnT's search with ionisation signals alone, from its released templates, response, widths and bounds."""

import dataclasses

import numpy as np

from jcevns import datasets
from jcevns.detectors.response import Response, interpolated_response
from jcevns.experiments.axes import BinAxis
from jcevns.experiments.experiment import Channel, Experiment, unfitted_counts
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.experiments.xenonnt_official import TEMPLATE_FLUX, TEMPLATES
from jcevns.physics.flux import NeutrinoFlux, b8
from jcevns.physics.nuclei import xenon
from jcevns.physics.standard_model import StandardModel
from jcevns.spelling import check_options

__all__ = ["xenonnt_s2only_2026"]

FLUXES = ("b16", "release")
RUNS = ("all", "sr0", "sr1", "sr2")
DISJOINT = ("no", "yes")
BACKGROUNDS = ("cathode", "delayed_electrons", "accidentals")
CARDS = ("xenonnt_s2only_2026_templates", "xenonnt_s2only_2026_widths")
NAME = "xenonnt-s2only-2026"

OVERLAP = (
    "whether they share events is not stated, and shared ones would be counted twice; take one of them, or, if you "
    f"know that no event is in both, say so by {NAME}:disjoint=yes"
)


def _flux(shape: str, flux: str, width: float) -> NeutrinoFlux:
    """The 8B flux with its constraint: of the standard solar model, or as released."""
    if flux == "b16":
        return b8(shape)
    return dataclasses.replace(b8(shape, total=TEMPLATE_FLUX), error=width)


class _Rows:
    """Tables along the anchors of each shape in turn: t_qy, then t_sys of each run (`morphing` is `sum`)."""

    def __init__(self, runs: int, anchors: np.ndarray):
        self.runs, self.size, self.nominal = runs, anchors.size, int(np.flatnonzero(anchors == 0.0)[0])

    def moved(self, table: np.ndarray, shape: int) -> np.ndarray:
        """Tables (anchor, ...) of one shape, nominal along the others."""
        still = np.broadcast_to(table[self.nominal], table.shape)
        return np.concatenate([table if k == shape else still for k in range(1 + self.runs)])

    def placed(self, table: np.ndarray, run: int) -> np.ndarray:
        """Counts (..., bin) of one run, zero in the others, (..., run x bin)."""
        found = np.zeros((*table.shape[:-1], self.runs, table.shape[-1]))
        found[..., run, :] = table
        return found.reshape(*table.shape[:-1], -1)


def xenonnt_s2only_2026(
    shape: str = "bahcall1996", flux: str = "b16", template: str = "folded", run: str = "all", disjoint: str = "no"
) -> Experiment:
    """XENONnT SR0+SR1+SR2, ionisation signals alone (arXiv:2601.11296): 7 bins of S2 per run, 2554 events.

    Templates, widths and bounds are those of the release. There 8B neutrinos are a background of 3.81%; here they are
    the signal of the theory, with the flux as everywhere.

    Args:
        shape: 8B spectral shape, see `jcevns.physics.b8`.
        flux: `b16`, the standard solar model, 5.46e6 cm^-2 s^-1 with 12%; or `release`, 5.25e6 cm^-2 s^-1 with 3.81%.
        template: `folded` takes any recoil spectrum through the released response, which begins at 0.5 keV;
            `released` scales its result in every bin and at every anchor so that the Standard Model signal is the
            released 8B template, which holds recoils below too.
        run: `all`, or one of `sr0`, `sr1` and `sr2` alone.
        disjoint: `no`: whether XENONnT's other searches in these runs hold some of the same events is not stated, and
            a combination with them is refused. `yes`: you know that they do not.

    Raises:
        ValueError: unknown option.
    """
    known = {"flux": FLUXES, "template": TEMPLATES, "run": RUNS, "disjoint": DISJOINT}
    check_options(NAME, known, flux=flux, template=template, run=run, disjoint=disjoint)
    pack = datasets.read_arrays(CARDS[0])
    widths = _widths()
    every = [str(name) for name in pack["run"]]
    runs = [name for name in every if run in ("all", name)]
    chosen = [every.index(name) for name in runs]
    exposure = np.asarray(pack["exposure_tonne_year"], float)[chosen]
    response, released = pack["response"][chosen], pack["b8_at_5p25e6"][chosen]
    tables = {name: pack[name][chosen] for name in BACKGROUNDS}
    rows = _Rows(len(runs), pack["t_qy"])
    energies = interpolated_response(pack["recoil_keV"], response[0, 0].T, 1.0).recoil_keV
    matrices, backgrounds = [], {}
    nuisances = []
    for i, name in enumerate(runs):
        seen = [interpolated_response(pack["recoil_keV"], at.T, float(exposure[i])) for at in response[i]]
        matrices.append(rows.moved(np.stack([np.asarray(r.matrix) for r in seen]), 0))
        nuisances.append(_nuisance(f"signal_efficiency_{name}", (f"signal:{name}",), widths))
        for background, table in tables.items():
            component = f"{background}_{name}"
            counts = rows.moved(table[i], 1 + i) if background == "cathode" else table[i]
            if component in widths:  # no accidentals in SR2
                backgrounds[component] = rows.placed(exposure[i] * counts, i)
                nuisances.append(_nuisance(component, (component,), widths))
    channel = Channel(
        _flux(shape, flux, widths["b8"][0]), xenon(), Response(energies, np.concatenate(matrices, axis=1))
    )
    notes = ["templates, response, widths and bounds as released; the fit is ours"]
    if flux == "release":
        notes.append("8B flux 5.25e6 cm^-2 s^-1 with 3.81%, as the 8B background of the release")
    if template == "released":
        whole = [rows.moved(exposure[i] * released[i], 0) for i in range(len(runs))]
        expected = np.concatenate(whole, axis=1) * (float(channel.flux.total) / TEMPLATE_FLUX)
        folded = np.asarray(unfitted_counts(StandardModel(), channel))
        channel = Channel(channel.flux, channel.target, channel.response.times(expected / folded))
        notes.append("signal scaled to the released 8B template at the SM point")
    if disjoint == "yes":
        notes.append("STATED BY THE USER: no event is shared with other searches in the same runs")
    return Experiment(
        name=NAME,
        channels=channel,
        observed=np.asarray(pack["observed"], float)[chosen].ravel(),
        backgrounds=backgrounds,
        nuisances=nuisances,
        shapes=[
            ShapeNuisance("t_qy", tuple(map(float, pack["t_qy"]))),
            *(ShapeNuisance(f"t_sys_{name}", tuple(map(float, pack["t_sys"]))) for name in runs),
        ],
        morphing="sum",  # no template follows two shapes: the sum is exact
        parts=tuple((name, pack["observed"].shape[1]) for name in runs),
        axes=[BinAxis("S2 [PE]", tuple(map(float, pack["edges_cs2_PE"])))],
        observable="bin of S2 [PE], 80 to 500, corrected but for the electron lifetime, run by run",
        exposure=float(exposure.sum()),
        status="published",
        notes=tuple(notes),
        tables=CARDS,
        runs=tuple(f"XENONnT {name.upper()}{' S2-only' if disjoint == 'yes' else ''}" for name in runs),
        overlap=OVERLAP,
    )


def _widths() -> dict[str, tuple[float, ...]]:
    """Width, lower and upper bound by name."""
    table = datasets.read_table(CARDS[1])
    columns = (table[name] for name in ("width", "lower", "upper"))
    return {str(n): tuple(map(float, row)) for n, *row in zip(table["parameter"], *columns, strict=True)}


def _nuisance(name: str, components: tuple[str, ...], widths: dict[str, tuple[float, ...]]) -> Nuisance:
    width, low, high = widths[name]
    return Nuisance(name, width, components, bounds=(low, high))
