"""COHERENT's full CsI[Na] data set (arXiv:2110.07730) in 9 bins of photoelectrons and 11 of time."""

import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jcevns import datasets
from jcevns.detectors.response import Response, legendre_panels, sum_cells
from jcevns.experiments.axes import BinAxis
from jcevns.experiments.experiment import SIGNAL, Channel, Experiment
from jcevns.experiments.nuisances import Nuisance, ShapeNuisance
from jcevns.physics.electrons import cesium_iodide_electrons
from jcevns.physics.flux import NeutrinoFlux
from jcevns.physics.nuclei import Target, cesium_iodide
from jcevns.physics.sources import delayed_neutrinos, prompt_neutrinos
from jcevns.spelling import check_options

__all__ = ["arrival_probability", "coherent_csi_2021", "electron_panels", "end_points", "recoil_panels"]

PROTONS = 3.198e23
NEUTRINOS_PER_PROTON = 0.0848  # of each flavour
DISTANCE = 19.3  # m
MASS = 14.6e-3  # tonne
LIGHT_YIELD = 13.35  # photoelectrons per keV electron equivalent
STEADY_STATE = 1286.0  # events expected in these bins
LIFETIMES = {"pi": 0.026033, "mu": 2.1969811}  # us
OPTIONS = {
    "shapes": ("all", "none"),
    "steady_state": ("product", "counts"),
    "electrons": ("yes", "no"),
    "widths": ("recalled", "released"),
}
WIDTHS = {"recalled": (0.038, 0.041), "released": (0.033, 0.108)}
"""Of quenching and efficiency where they are normalisations. `released`: half the change of the Standard Model's
counts between -1 and +1 standard deviation of the released curves, both modes of the scintillation in quadrature."""

ANCHORS = (-3.0, -1.0, 0.0, 1.0, 3.0)
_PANELS = 32  # of 4 nodes, between no recoil and the end point

_ELECTRON_EDGES = (0.05, 0.1, 0.45, 1.6, 2.4, 3.4, 7.5, 12.0)
"""keV, besides the binding energies: outside is less than 1e-6 of the counts, even for a massless mediator."""

Coefficients = Float[np.ndarray, "4"]
Curve = Callable[[np.ndarray], np.ndarray]


def time_efficiency(time: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """Share of recoils that no earlier afterglow vetoes; time in us."""
    return np.where(time < 0.52, 1.0, np.exp(-0.0494 * (time - 0.52)))


def arrival_probability(
    edges: Float[np.ndarray, " edge"], centre: float, width: float, efficiency: Curve = np.ones_like
) -> Float[np.ndarray, "2 bin"]:
    """Probability of prompt and delayed neutrinos to arrive, and be kept, in bins of time.

    A Gaussian of protons, followed by the decay of the pion, and of the muon.

    Args:
        edges: us.
        centre: of the protons on target, us.
        width: standard deviation, us.
        efficiency: of a time in us.
    """
    from scipy.special import log_ndtr, ndtr

    fine = np.unique(np.concatenate([np.linspace(a, b, 65) for a, b in itertools.pairwise(edges)]))

    def smeared(lifetime: float) -> np.ndarray:
        """Distribution function of a Gaussian plus an exponential."""
        z = (fine - centre) / width
        tail = width / lifetime
        return ndtr(z) - np.exp(tail**2 / 2 - tail * z + log_ndtr(z - tail))

    prompt, slow = smeared(LIFETIMES["pi"]), smeared(LIFETIMES["mu"])
    delayed = (LIFETIMES["mu"] * slow - LIFETIMES["pi"] * prompt) / (LIFETIMES["mu"] - LIFETIMES["pi"])
    middle = (fine[1:] + fine[:-1]) / 2
    kept = np.stack([np.diff(prompt), np.diff(delayed)]) * efficiency(middle)
    return sum_cells(kept, fine, edges)


def end_points(flux: NeutrinoFlux, target: Target) -> list[float]:
    """Highest recoil energies in keV on each isotope, in order; the spectrum is smooth between them."""
    highest = float(flux.energy[-1])
    return sorted(2e3 * highest**2 / (m + 2 * highest) for m in map(float, target.nuclei.mass))


def recoil_panels(edges: list[float], panels: int) -> Float[np.ndarray, " edge"]:
    """Edges of `panels` panels in all between given recoil energies, as even as can be."""
    lengths = np.diff(edges)
    share = np.maximum(np.round(panels * lengths / lengths.sum()).astype(int), 1)
    share[np.argmax(share)] += panels - share.sum()
    fine = np.concatenate([np.linspace(a, b, n + 1)[:-1] for a, b, n in zip(edges, edges[1:], share, strict=False)])
    return np.append(fine, edges[-1])


def electron_panels(binding_keV: np.ndarray) -> Float[np.ndarray, " edge"]:
    """Edges in keV of panels of electron recoil energy, between which no shell opens."""
    inside = (binding_keV > _ELECTRON_EDGES[1]) & (binding_keV < _ELECTRON_EDGES[-1])
    return np.unique(np.append(_ELECTRON_EDGES, binding_keV[inside]))


def _nuclear_light(recoil_keV: np.ndarray, scintillation: Coefficients) -> Float[np.ndarray, " recoil"]:
    """Light of nuclear recoils in keV electron equivalent."""
    light = 1e3 * np.polynomial.polynomial.polyval(recoil_keV * 1e-3, np.append(0.0, scintillation))
    return np.maximum(light, 1e-6)


def _energy_response(
    light: np.ndarray, edges: np.ndarray, efficiency: Coefficients
) -> Float[np.ndarray, "bin recoil"]:
    """Probability to be counted in each bin of photoelectrons; light in keV electron equivalent."""
    from scipy.special import gammainc

    cells = np.linspace(edges[0], edges[-1], 4 * int(edges[-1] - edges[0]) + 1)
    # A gamma distribution of mean LIGHT_YIELD E and shape 1 + 9.56 E.
    rate, shape = 1 / (LIGHT_YIELD * light), 1 + 9.56 * light
    below = gammainc(shape[:, None], rate[:, None] * shape[:, None] * cells)
    middle = (cells[1:] + cells[:-1]) / 2
    a, b, c, d = efficiency
    kept = np.clip(a / (1 + np.exp(-b * (middle - c))) + d, 0.0, 1.0)
    return sum_cells(np.diff(below, axis=1) * kept, cells, edges).T


def _steady_state(table: dict[str, np.ndarray], edges: np.ndarray, how: str) -> Float[np.ndarray, " bin"]:
    """Expected steady-state background: light of the anti-coincidence events; their time, or the time efficiency."""
    counts = table["anticoincidence"].reshape(-1, edges.size - 1)
    if how == "product":
        fine = np.unique(np.concatenate([np.linspace(a, b, 33) for a, b in itertools.pairwise(edges)]))
        middle = (fine[1:] + fine[:-1]) / 2
        in_time = sum_cells(np.diff(fine) * time_efficiency(middle), fine, edges)
        counts = np.outer(counts.sum(axis=1), in_time)
    return (counts * (STEADY_STATE / counts.sum())).ravel()


def coherent_csi_2021(
    shapes: str = "all",
    steady_state: str = "product",
    beam_centre: float = 0.56,
    beam_width: float = 0.15,
    electrons: str = "yes",
    widths: str = "recalled",
) -> Experiment:
    """COHERENT CsI[Na], 14.6 kg at 19.3 m: 1578 events, about 300 of them CEvNS.

    CsI[Na] does not tell recoils of electrons from those of nuclei. In the Standard Model they are 1e-4 events; light
    mediators that couple to leptons make most of theirs there (arXiv:2211.11905).

    Args:
        shapes: `all` has the two modes of the scintillation response and the efficiency as shape nuisances, each
            known from -3 to 3 standard deviations; `none` has normalisations in their place, see `widths`, and is
            much faster in scans.
        steady_state: `product` of the light of the anti-coincidence events and the time efficiency, or their
            `counts`, whose own fluctuations are then in the prediction.
        beam_centre: of the protons on target, in us after the trigger [inferred: the released two-dimensional
            flux was not at hand].
        beam_width: its standard deviation in us [inferred].
        electrons: `yes` has scattering on the electrons of CsI, bound in steps, beside that on nuclei: all their
            energy is light, not quenched, with smearing, efficiency and times of nuclear recoils. `no` leaves it
            out. A normalisation of the quenching (`shapes=none`) acts on both, its shapes on nuclei alone.
        widths: of the normalisations of quenching and efficiency with `shapes=none`: 3.8% and 4.1% (`recalled`), or
            3.3% and 10.8%, computed from the released curves (`released`).

    Raises:
        ValueError: unknown option, or a beam that is none.
    """
    given = {"shapes": shapes, "steady_state": steady_state, "electrons": electrons, "widths": widths}
    check_options("coherent-csi-2021", OPTIONS, **given)
    if not (np.isfinite(beam_centre) and 0 < beam_width < np.inf):
        raise ValueError(
            f"coherent-csi-2021: beam_centre {beam_centre!r} must be finite and beam_width {beam_width!r} positive, "
            "in us"
        )
    table = datasets.read_table("coherent_csi_2021_counts")
    light = np.unique(np.append(table["pe_lo"], table["pe_hi"]))
    time = np.unique(np.append(table["time_lo_us"], table["time_hi_us"]))
    target = cesium_iodide()
    fluxes = tuple(make(PROTONS, NEUTRINOS_PER_PROTON, DISTANCE) for make in (prompt_neutrinos, delayed_neutrinos))
    arrival = arrival_probability(time, beam_centre, beam_width, time_efficiency)
    nominal, moved = _varied_curves()
    every = [c for row in moved.values() for c in row] if shapes == "all" else [nominal]

    def response(edges_keV: np.ndarray, when: np.ndarray, seen: Callable[..., np.ndarray]) -> Response:
        """Recoils in bins of light, times their arrival in bins of time."""
        recoil, weight = (x.ravel() for x in legendre_panels(edges_keV, 4))
        counted = np.stack([_energy_response(seen(recoil, bent), light, kept) for bent, kept in every])
        matrix = ((counted * (weight * MASS))[:, :, None, :] * when[:, None]).reshape(len(every), -1, recoil.size)
        return Response(recoil, matrix if shapes == "all" else matrix[0])

    # Prompt and delayed neutrinos, first on nuclei.
    channels = [
        Channel(f, target, response(recoil_panels([0.0, *end_points(f, target)], _PANELS), when, _nuclear_light))
        for f, when in zip(fluxes, arrival, strict=True)
    ]
    if electrons == "yes":
        bound = cesium_iodide_electrons()
        edges = electron_panels(np.asarray(bound.binding_keV))
        channels += [
            Channel(f, bound, response(edges, when, lambda recoil, _: recoil), faint=True)
            for f, when in zip(fluxes, arrival, strict=True)
        ]

    own: tuple[Nuisance, ...] = ()
    if shapes == "none":
        pairs = zip(("quenching", "efficiency"), WIDTHS[widths], strict=True)
        own = tuple(Nuisance(name, width, (SIGNAL,)) for name, width in pairs)
    notes = [f"beam: Gaussian of {beam_centre} +- {beam_width} us [inferred]; steady state: {steady_state}"]
    if shapes == "none":
        quenching, efficiency = WIDTHS[widths]
        notes.append(
            f"quenching and efficiency are normalisations of {quenching:.1%} and {efficiency:.1%} [{widths}]"
        )
    return Experiment(
        name="coherent-csi-2021",
        channels=channels,
        observed=table["observed"],
        backgrounds={
            "steady_state": _steady_state(table, time, steady_state),
            "beam_neutrons": table["brn"],
            "neutrino_neutrons": table["nin"],
        },
        nuisances=(
            *own,
            Nuisance("steady_state", 0.021, ("steady_state",)),
            Nuisance("beam_neutrons", 0.25, ("beam_neutrons",)),
            Nuisance("neutrino_neutrons", 0.36, ("neutrino_neutrons",)),
        ),
        shapes=tuple(ShapeNuisance(name, ANCHORS) for name in moved) if shapes == "all" else (),
        morphing="sum",
        axes=(BinAxis("photoelectrons", tuple(map(float, light))), BinAxis("time [us]", tuple(map(float, time)))),
        observable="photoelectrons x time, 9 x 11 bins",
        exposure=MASS,
        status="published",
        notes=tuple(notes),
        tables=(
            *("coherent_csi_2021_counts", "coherent_csi_2021_response", "cesium_iodide_isotopes"),
            *(("cesium_iodide_shells",) if electrons == "yes" else ()),
        ),
        runs=("COHERENT CsI[Na]",),
    )


def _varied_curves() -> tuple[tuple[Coefficients, Coefficients], dict[str, list[tuple[Coefficients, Coefficients]]]]:
    """Scintillation and efficiency curves: nominal, and at the anchors of each shape nuisance."""
    table = datasets.read_table("coherent_csi_2021_response")
    numbers = np.stack([table[c] for c in "abcd"], axis=1)
    rows = {(str(c), str(v)): n for c, v, n in zip(table["curve"], table["variation"], numbers, strict=True)}
    light, kept = rows["scintillation", "nominal"], rows["efficiency", "nominal"]

    def along(curve: str, centre: np.ndarray, up: str, down: str) -> list[np.ndarray]:
        ends = {1: rows[curve, up] - centre, -1: centre - rows[curve, down], 0: np.zeros(4)}
        return [centre + t * ends[int(np.sign(t))] for t in ANCHORS]

    moved = {
        f"scintillation_{k}": [(c, kept) for c in along("scintillation", light, f"mode{k}_plus", f"mode{k}_minus")]
        for k in (0, 1)
    }
    moved["efficiency"] = [(light, c) for c in along("efficiency", kept, "plus", "minus")]
    return (light, kept), moved
