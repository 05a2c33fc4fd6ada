"""COHERENT's full CsI[Na] data set (arXiv:2110.07730) in 9 bins of photoelectrons and 11 of time."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jcevns import datasets
from jcevns.detectors.response import Response
from jcevns.experiments.experiment import SIGNAL, Experiment, Nuisance
from jcevns.physics.nuclei import cesium_iodide
from jcevns.physics.sources import delayed_neutrinos, prompt_neutrinos

__all__ = ["SNS_FLUX", "arrival_probability", "coherent_csi_2021"]

SNS_FLUX = Nuisance("sns_flux", 0.10, (SIGNAL,), shared=True)
"""Neutrinos per proton on target, from one simulation for all detectors at the SNS."""

PROTONS = 3.198e23
NEUTRINOS_PER_PROTON = 0.0848  # of each flavour
DISTANCE = 19.3  # m
MASS = 14.6e-3  # tonne
LIGHT_YIELD = 13.35  # photoelectrons per keV electron equivalent
STEADY_STATE = 1286.0  # events expected in these bins
BEAM_CENTRE, BEAM_WIDTH = 0.56, 0.15  # us, of the protons on target, a Gaussian
LIFETIMES = {"pi": 0.026033, "mu": 2.1969811}  # us
SHAPES = ("all", "none")

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

    fine = np.unique(np.concatenate([np.linspace(a, b, 65) for a, b in zip(edges, edges[1:], strict=False)]))

    def smeared(lifetime: float) -> np.ndarray:
        """Distribution function of a Gaussian plus an exponential."""
        z = (fine - centre) / width
        tail = width / lifetime
        return ndtr(z) - np.exp(tail**2 / 2 - tail * z + log_ndtr(z - tail))

    prompt, slow = smeared(LIFETIMES["pi"]), smeared(LIFETIMES["mu"])
    delayed = (LIFETIMES["mu"] * slow - LIFETIMES["pi"] * prompt) / (LIFETIMES["mu"] - LIFETIMES["pi"])
    middle = (fine[1:] + fine[:-1]) / 2
    kept = np.stack([np.diff(prompt), np.diff(delayed)]) * efficiency(middle)
    owner = np.searchsorted(edges, middle) - 1
    return kept @ (owner[:, None] == np.arange(len(edges) - 1))


def recoil_nodes(edges: list[float], panels: int, order: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre nodes and weights between given recoil energies, in all `panels` panels of `order` nodes."""
    lengths = np.diff(edges)
    share = np.maximum(np.round(panels * lengths / lengths.sum()).astype(int), 1)
    share[np.argmax(share)] += panels - share.sum()
    fine = np.concatenate([np.linspace(a, b, n + 1)[:-1] for a, b, n in zip(edges, edges[1:], share, strict=False)])
    fine = np.append(fine, edges[-1])
    x, w = np.polynomial.legendre.leggauss(order)
    half = np.diff(fine)[:, None] / 2
    return (fine[:-1, None] + half * (1 + x)).ravel(), (half * w).ravel()


def _curves() -> dict[tuple[str, str], tuple[float, ...]]:
    table = datasets.read_table("coherent_csi_2021_response")
    rows = zip(*(table[c] for c in ("curve", "variation", "a", "b", "c", "d")), strict=True)
    return {(str(curve), str(variation)): tuple(map(float, numbers)) for curve, variation, *numbers in rows}


def _energy_response(
    recoil_keV: np.ndarray, edges: np.ndarray, scintillation: tuple[float, ...], efficiency: tuple[float, ...]
) -> Float[np.ndarray, "bin recoil"]:
    """Probability of a recoil to be counted in each bin of photoelectrons."""
    from scipy.special import gammainc

    T = recoil_keV * 1e-3
    light = 1e3 * np.polynomial.polynomial.polyval(T, (0.0, *scintillation))  # keV electron equivalent
    light = np.maximum(light, 1e-6)
    cells = np.linspace(edges[0], edges[-1], 4 * int(edges[-1] - edges[0]) + 1)
    # A gamma distribution of mean LIGHT_YIELD E and shape 1 + 9.56 E.
    rate, shape = 1 / (LIGHT_YIELD * light), 1 + 9.56 * light
    below = gammainc(shape[:, None], rate[:, None] * shape[:, None] * cells)
    middle = (cells[1:] + cells[:-1]) / 2
    a, b, c, d = efficiency
    kept = np.clip(a / (1 + np.exp(-b * (middle - c))) + d, 0.0, 1.0)
    owner = np.searchsorted(edges, middle) - 1
    return ((np.diff(below, axis=1) * kept) @ (owner[:, None] == np.arange(edges.size - 1))).T


def _edges(lo: np.ndarray, hi: np.ndarray) -> np.ndarray:
    return np.unique(np.append(lo, hi))


def coherent_csi_2021(steady_state: str = "product") -> Experiment:
    """COHERENT CsI[Na], 14.6 kg at 19.3 m, 1578 events of which about 300 are CEvNS."""
    table = datasets.read_table("coherent_csi_2021_counts")
    pe, time = _edges(table["pe_lo"], table["pe_hi"]), _edges(table["time_lo_us"], table["time_hi_us"])
    curves = _curves()
    target = cesium_iodide()
    fluxes = tuple(s(PROTONS, NEUTRINOS_PER_PROTON, DISTANCE) for s in (prompt_neutrinos, delayed_neutrinos))
    arrival = arrival_probability(time, BEAM_CENTRE, BEAM_WIDTH, time_efficiency)
    masses = np.asarray(target.nuclei.mass)
    recoil, matrix = [], []
    for k, flux in enumerate(fluxes):
        E = float(flux.energy[-1])
        ends = sorted(2e3 * E**2 / (m + 2 * E) for m in masses)
        nodes, weights = recoil_nodes([0.0, *map(float, ends)], 32)
        probability = _energy_response(nodes, pe, curves["scintillation", "nominal"], curves["efficiency", "nominal"])
        both = probability[:, None, :] * arrival[k][None, :, None] * weights * MASS
        matrix.append(both.reshape(-1, nodes.size))
        recoil.append(nodes)
    ac = table["anticoincidence"].reshape(pe.size - 1, -1)
    if steady_state == "product":
        fine = np.linspace(0, 6, 6001)
        mid = (fine[1:] + fine[:-1]) / 2
        t = np.array([time_efficiency(mid[(mid > a) & (mid < b)]).sum() for a, b in zip(time, time[1:])])
        ssb = np.outer(ac.sum(axis=1), t / t.sum())
    else:
        ssb = ac
    ssb = ssb / ssb.sum() * STEADY_STATE
    return Experiment(
        name="coherent-csi-2021",
        flux=fluxes,
        target=target,
        response=Response(np.concatenate(recoil), np.concatenate(matrix, axis=1)),
        observed=table["observed"],
        backgrounds={"steady_state": ssb.ravel(), "brn": table["brn"], "nin": table["nin"]},
        nuisances=(
            SNS_FLUX,
            Nuisance("steady_state", 0.021, ("steady_state",)),
            Nuisance("brn", 0.25, ("brn",)),
            Nuisance("nin", 0.36, ("nin",)),
            Nuisance("detection", 0.065, (SIGNAL,)),
        ),
        status="published",
    )
