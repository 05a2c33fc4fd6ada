"""Neutrinos other than solar 8B: the rest of the sun, pion decay at rest (SNS), nuclear reactors."""

import numpy as np
from jaxtyping import Float

from jcevns import datasets
from jcevns.constants import MUON_MASS, PION_MASS, SECONDS_PER_YEAR
from jcevns.physics.flux import SOLAR_FLAVOURS, NeutrinoFlux, combine, solar_fractions
from jcevns.spelling import unknown

__all__ = [
    "delayed_neutrinos",
    "fission_spectrum",
    "prompt_neutrinos",
    "reactor",
    "solar",
    "solar_component",
    "spallation",
]

LINE_WIDTH = 1e-3
"""Half width in MeV of the triangle that stands for a line; no detector here resolves it."""

SOLAR_SOURCES = ("pp", "pep", "be7", "n13", "o15", "f17")
"""Solar neutrinos below 2 MeV, which make nearly all electron recoils."""

SOLAR_MODELS = ("gs98", "agss09met")

SOLAR_COMPONENTS = {"pp": ("pp",), "pep": ("pep",), "be7": ("be7",), "cno": ("n13", "o15", "f17")}
"""Parts of the solar neutrinos below 2 MeV that a detector with energy resolution tells apart."""

_TABLE_NAMES = {"be7": "7Be", "n13": "13N", "o15": "15O", "f17": "17F"}
_MICHEL_NODES = 1024


SOLAR_ERROR = 0.10
"""Of pp and 7Be neutrinos, one flux for all detectors, as in re-analyses of electron recoils."""

SPECTRA = ("polynomials", "tables")
"""Of a reactor, see `reactor`."""

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
    if len(set(sources)) != len(sources):
        raise ValueError(f"a solar source is named twice among {', '.join(sources)}")
    parts = []
    for source in sources:
        if source not in SOLAR_SOURCES:
            raise ValueError(unknown("solar source", source, SOLAR_SOURCES))
        parts += _solar_source(source, _model_flux(source, model)[0], theta_23, delta)
    return combine("solar", parts, SOLAR_ERROR, relative=True)


def _model_flux(source: str, model: str) -> tuple[float, float]:
    """Flux of a source in cm^-2 s^-1 and its relative error in a B16 standard solar model."""
    if model not in SOLAR_MODELS:
        raise ValueError(unknown("solar model", model, SOLAR_MODELS))
    table = datasets.read_table("solar_fluxes_b16")
    row = list(table["source"]).index(_TABLE_NAMES.get(source, source))
    return float(table[f"{model}_cm2_s"][row]), float(table[f"{model}_relative_error"][row])


def solar_component(
    name: str, model: str = "gs98", theta_23: float | None = None, delta: float | None = None
) -> NeutrinoFlux:
    """One part of the solar neutrinos below 2 MeV as a flux of its own, with the error of the solar model.

    Its parameter is the flux itself, as `flux.be7`, constrained to the model (arXiv:1611.09867). `solar` is the sum
    of the parts as one flux with one error: a detector that tells them apart and one that does not have no
    parameter in common.

    Args:
        name: `pp`, `pep`, `be7` (both lines) or `cno` (13N, 15O and 17F in the ratio of the model, whose errors are
            taken as fully correlated: 15.9% for GS98).
        model: B16 standard solar model, `gs98` or `agss09met`.
        theta_23: rad, with `delta`, what shares nu_mu and nu_tau, see `flux.solar_fractions`; NuFIT 6.0's if absent.
        delta: rad.

    Raises:
        ValueError: unknown name or model.

    Example:
        >>> import jcevns as jc
        >>> record = jc.physics.solar_component("be7").parameter
        >>> record.name, f"{record.default:.3g} +- {record.sigma:.2g} {record.unit}"
        ('flux.be7', '4.93e+09 +- 3e+08 cm^-2 s^-1')
    """
    if name not in SOLAR_COMPONENTS:
        raise ValueError(unknown("part of the solar neutrinos", name, SOLAR_COMPONENTS))
    found = {source: _model_flux(source, model) for source in SOLAR_COMPONENTS[name]}
    error = sum(flux * relative for flux, relative in found.values()) / sum(flux for flux, _ in found.values())
    parts = [part for s, (flux, _) in found.items() for part in _solar_source(s, flux, theta_23, delta)]
    return combine(name, parts, error)


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


_REFINED = 8  # parts of each interval of the tabulated spectra, logarithmic in the spectrum


def fission_spectrum(
    fractions: dict[str, float], spectra: str = "polynomials"
) -> tuple[Float[np.ndarray, " energy"], Float[np.ndarray, " energy"]]:
    """Antineutrinos per fission of a mixture of isotopes.

    Args:
        fractions: fission fractions of U235, U238, Pu239, Pu241.
        spectra: as for `reactor`.

    Returns:
        Energies in MeV and antineutrinos per MeV and fission.

    Raises:
        ValueError: fractions that do not add up to one, or lack an isotope; unknown spectra.
    """
    if spectra not in SPECTRA:
        raise ValueError(unknown("reactor spectra", spectra, SPECTRA))
    table = datasets.read_table("reactor_spectra")
    isotopes = tuple(map(str, table["isotope"]))
    for isotope in {*isotopes, *fractions}:
        if isotope not in isotopes or isotope not in fractions or not fractions[isotope] >= 0:
            raise ValueError(
                f"fission fractions {fractions} must be those of {', '.join(isotopes)}, none of them negative"
            )
    if not abs(sum(fractions.values()) - 1) < 0.02:
        raise ValueError(f"fission fractions add up to {sum(fractions.values()):g}, not to one")
    if spectra == "polynomials":
        energy = np.linspace(2.0, 8.0, 601)
        rows = {
            isotope: np.exp(np.polynomial.polynomial.polyval(energy, [table[f"c{k}"][row] for k in range(6)]))
            for row, isotope in enumerate(isotopes)
        }
    else:
        table = datasets.read_table("reactor_spectra_tables")
        nodes = table["energy_MeV"]
        energy = np.interp(np.arange(_REFINED * (nodes.size - 1) + 1) / _REFINED, np.arange(nodes.size), nodes)
        rows = {i: np.exp(np.interp(energy, nodes, np.log(table[f"{i}_per_MeV"]))) for i in isotopes}
    return energy, sum((fractions[i] * row for i, row in rows.items()), np.zeros_like(energy))


def reactor(
    total: float = 6.4e12,
    per_fission: float | None = 7.2,
    fractions: dict[str, float] | None = None,
    spectra: str = "polynomials",
    captures: float = 0.0,
    name: str = "reactor",
    error: float | None = None,
) -> NeutrinoFlux:
    """Antineutrinos of a reactor, up to 8 MeV.

    Args:
        total: flux of all energies, cm^-2 s^-1.
        per_fission: antineutrinos of all energies per fission that `total` counts, which sets how many are at the
            energies of the spectra. About 7.2 with two decays after each of 0.6 captures on 238U, 6 without; None for
            those of the spectra themselves, captures left out, so that `total` is theirs.
        fractions: fission fractions of U235, U238, Pu239, Pu241; by default those of Kuo-Sheng (arXiv:0911.1597).
        spectra: `polynomials` from 2 MeV (Huber, PRC 84, 024617; Mueller et al., PRC 83, 054615), or `tables` from
            8 keV (card `reactor_spectra_tables`), logarithmic in between.
        captures: antineutrinos of captures on 238U per fission, beside those of the spectra (card
            `reactor_capture_spectrum`).
        name: of the flux, whose parameter is `flux.NAME`, a factor on the total; another for each reactor.
        error: relative error of the total; without one the flux is fixed by default.

    Raises:
        ValueError: fractions, a number of antineutrinos or spectra that are none.

    Example:
        >>> import jax.numpy as jnp
        >>> import jcevns as jc
        >>> flux = jc.physics.reactor()
        >>> round(float(jnp.trapezoid(flux.shape, flux.energy)), 3)  # share of the flux above 2 MeV
        0.22
    """
    if fractions is None:
        values = datasets.read_numbers("texono_2010")
        fractions = {i: values[f"fission_fraction_{i}"] for i in ("U235", "Pu239", "Pu241", "U238")}
    energy, spectrum = fission_spectrum(fractions, spectra)
    if per_fission is None:
        per_fission = float(np.trapezoid(spectrum, energy))
    if not (0 < per_fission < np.inf and 0 <= captures < np.inf):
        raise ValueError(
            f"antineutrinos per fission {per_fission!r} must be positive, as 7.2, and those of captures {captures!r} "
            "not negative, as 1.2"
        )
    if captures:
        table = datasets.read_table("reactor_capture_spectrum")
        nodes = table["energy_MeV"]
        whole = np.unique(np.concatenate([nodes, energy]))
        spectrum = np.interp(whole, energy, spectrum, left=0.0, right=0.0)
        spectrum = spectrum + captures * np.interp(whole, nodes, table["density_per_MeV"], left=0.0, right=0.0)
        energy = whole
    density = spectrum / per_fission
    share = float(np.trapezoid(density, energy))
    return NeutrinoFlux(energy, density, total, name, ("anti-e",), error=error, relative=True, share=share)
