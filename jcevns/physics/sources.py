"""Neutrinos other than solar 8B: the rest of the sun, pion decay at rest (SNS), nuclear reactors."""

import numpy as np

from jcevns import datasets
from jcevns.constants import MUON_MASS, PION_MASS, SECONDS_PER_YEAR
from jcevns.physics.flux import SOLAR_FLAVOURS, NeutrinoFlux, combine, solar_fractions
from jcevns.spelling import unknown

__all__ = ["delayed_neutrinos", "prompt_neutrinos", "reactor", "solar", "spallation"]

LINE_WIDTH = 1e-3
"""Half width in MeV of the triangle that stands for a line; no detector here resolves it."""

SOLAR_SOURCES = ("pp", "pep", "be7", "n13", "o15", "f17")
"""Solar neutrinos below 2 MeV, which make nearly all electron recoils."""

_TABLE_NAMES = {"be7": "7Be", "n13": "13N", "o15": "15O", "f17": "17F"}
_MICHEL_NODES = 1024


SOLAR_ERROR = 0.10
"""Of pp and 7Be neutrinos, one flux for all detectors, as in re-analyses of electron recoils."""

SNS_ERROR = 0.10
"""Of the neutrinos per proton on target, from one simulation for all detectors at the SNS."""


def _line(
    energy: float, name: str, flavours: tuple[str, ...], total: float, fractions=None, error=None, sources=()
) -> NeutrinoFlux:
    nodes = [energy - LINE_WIDTH, energy, energy + LINE_WIDTH]
    return NeutrinoFlux(nodes, [0.0, 1 / LINE_WIDTH, 0.0], total, name, flavours, fractions, error, True, sources)


def _solar_source(source: str, total: float, theta_23: float | None, delta: float | None) -> list[NeutrinoFlux]:
    lines = datasets.read_table("solar_lines")
    mine = lines["source"] == source
    survival = source if source in ("pp", "be7") else "be7"
    if np.any(mine):
        pairs = zip(lines["energy_MeV"][mine], lines["branching"][mine], strict=True)
        return [
            _line(
                float(energy),
                source,
                SOLAR_FLAVOURS,
                total * float(share),
                np.repeat(solar_fractions(survival, np.array([float(energy)]), theta_23, delta), 3, axis=1),
                sources=(source,),
            )
            for energy, share in pairs
        ]
    spectra = datasets.read_table("solar_spectra")
    mine = spectra["source"] == source
    energy, density = spectra["energy_MeV"][mine], spectra["density_per_MeV"][mine]
    shares = solar_fractions(survival, energy, theta_23, delta)
    return [NeutrinoFlux(energy, density, total, source, SOLAR_FLAVOURS, shares, sources=(source,))]


def solar(
    model: str = "gs98",
    sources: tuple[str, ...] = SOLAR_SOURCES,
    theta_23: float | None = None,
    delta: float | None = None,
) -> NeutrinoFlux:
    """Solar neutrinos below 2 MeV as one flux, with flavours by the survival probability of each source.

    Args:
        model: B16 standard solar model (arXiv:1611.09867), `gs98` or `agss09met`.
        sources: of `pp`, `pep`, `be7`, `n13`, `o15`, `f17`. Those without a tabulated survival probability take
            that of 7Be, which is produced at similar radii.
        theta_23: rad, with `delta`, what shares nu_mu and nu_tau, see `flux.solar_fractions`; NuFIT 6.0's if absent.
        delta: rad.

    Raises:
        ValueError: unknown model or source.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.physics.solar()
        >>> flux.name, f"{float(flux.total):.4g}"  # cm^-2 s^-1
        ('solar', '6.536e+10')
    """
    if model not in ("gs98", "agss09met"):
        raise ValueError(unknown("solar model", model, ("gs98", "agss09met")))
    table = datasets.read_table("solar_fluxes_b16")
    if len(set(sources)) != len(sources):
        raise ValueError(f"a solar source is named twice among {', '.join(sources)}")
    parts = []
    for source in sources:
        if source not in SOLAR_SOURCES:
            raise ValueError(unknown("solar source", source, SOLAR_SOURCES))
        row = list(table["source"]).index(_TABLE_NAMES.get(source, source))
        parts += _solar_source(source, float(table[f"{model}_cm2_s"][row]), theta_23, delta)
    return combine("solar", parts, SOLAR_ERROR, relative=True)


def _fluence_rate(protons: float, per_proton: float, distance_m: float) -> float:
    """cm^-2 s^-1 of one flavour, as if the exposure had been spread over a year."""
    area = 4 * np.pi * (100 * distance_m) ** 2
    if not area > 0:
        raise ValueError(f"distance {distance_m!r} m must be positive")
    return protons * per_proton / (area * SECONDS_PER_YEAR)


def prompt_neutrinos(protons: float, per_proton: float, distance_m: float) -> NeutrinoFlux:
    """nu_mu of pi+ decay at rest, a line at 29.79 MeV.

    Args:
        protons: on target.
        per_proton: neutrinos of each flavour per proton.
        distance_m: from the target, in metres.

    Returns:
        Flux named `sns`, in cm^-2 s^-1 as if all had come within one year: with an exposure of mass times one
        year the counts are those of the run.
    """
    energy = (PION_MASS**2 - MUON_MASS**2) / (2 * PION_MASS)
    total = _fluence_rate(protons, per_proton, distance_m)
    return _line(energy, "sns", ("mu",), total, error=SNS_ERROR)


def delayed_neutrinos(protons: float, per_proton: float, distance_m: float) -> NeutrinoFlux:
    """anti-nu_mu and nu_e of mu+ decay at rest, with the Michel spectra; arguments as for `prompt_neutrinos`."""
    energy = np.linspace(0.0, MUON_MASS / 2, _MICHEL_NODES)
    x = energy / MUON_MASS
    anti_mu, e = 64 * x**2 * (0.75 - x) / MUON_MASS, 192 * x**2 * (0.5 - x) / MUON_MASS
    both = (anti_mu + e) / 2
    share = np.where(both > 0, anti_mu / np.where(both > 0, 2 * both, 1.0), 0.5)
    total = 2 * _fluence_rate(protons, per_proton, distance_m)
    shares = np.stack([share, 1 - share])
    return NeutrinoFlux(energy, both, total, "sns", ("anti-mu", "e"), shares, SNS_ERROR, True)


def spallation(protons: float, per_proton: float, distance_m: float) -> NeutrinoFlux:
    """All neutrinos of a spallation source as one flux, for detectors that do not tell prompt from delayed.

    Args:
        protons: on target.
        per_proton: neutrinos of each flavour per proton.
        distance_m: from the target, in metres.

    Example:
        >>> import jcevns as jc
        >>> flux = jc.physics.spallation(protons=3.198e23, per_proton=0.0848, distance_m=19.3)
        >>> flux.flavours, f"{float(flux.total):.3g}"  # cm^-2 s^-1, averaged over a year
        (('e', 'mu', 'anti-mu'), '5.51e+07')
    """
    parts = [source(protons, per_proton, distance_m) for source in (prompt_neutrinos, delayed_neutrinos)]
    return combine("sns", parts, SNS_ERROR, relative=True)


def reactor(
    total: float = 6.4e12, per_fission: float = 7.2, fractions: dict[str, float] | None = None
) -> NeutrinoFlux:
    """Antineutrinos of a reactor between 2 and 8 MeV (Huber, PRC 84, 024617; Mueller et al., PRC 83, 054615).

    Args:
        total: flux of all energies, cm^-2 s^-1.
        per_fission: antineutrinos of all energies per fission, which sets how many are above 2 MeV.
        fractions: fission fractions of U235, U238, Pu239, Pu241; by default those of Kuo-Sheng (arXiv:0911.1597).

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> flux = jc.physics.reactor()
        >>> round(float(jnp.trapezoid(flux.shape, flux.energy)), 3)  # share of the flux above 2 MeV
        0.22
    """
    table = datasets.read_table("reactor_spectra")
    numbers = datasets.read_table("texono_2010")
    if fractions is not None and not abs(sum(fractions.values()) - 1) < 0.02:
        raise ValueError(f"fission fractions add up to {sum(fractions.values()):g}, not to one")
    if fractions is None:
        values = dict(zip(map(str, numbers["quantity"]), map(float, numbers["value"]), strict=True))
        fractions = {isotope: values[f"fission_fraction_{isotope}"] for isotope in map(str, table["isotope"])}
    energy = np.linspace(2.0, 8.0, 601)
    spectrum = np.zeros_like(energy)
    for row, isotope in enumerate(map(str, table["isotope"])):
        powers = [table[f"c{k}"][row] for k in range(6)]
        spectrum += fractions[isotope] * np.exp(np.polynomial.polynomial.polyval(energy, powers))
    return NeutrinoFlux(energy, spectrum / per_fission, total, "reactor", ("anti-e",), relative=True)
