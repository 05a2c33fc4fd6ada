"""Tables of reactor antineutrinos, of germanium, and of what was measured with it: their builders and cards."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from tables import Table, column, digits, read_rows, require_close
from text import FACTS, ISOTOPE_COLUMNS, CardText

REACTOR = "reactor"
QUANTITIES = ("quantity", "value", "error_up", "error_down", "unit", "status", "source")

GERMANIUM = {  # atomic mass in u, abundance, spin
    70: (69.92424854, 0.2052, 0.0), 72: (71.92207583, 0.2745, 0.0), 73: (72.92345896, 0.0776, 4.5),
    74: (73.92117776, 0.3652, 0.0), 76: (75.92140273, 0.0775, 0.0),
}  # fmt: skip
SHELLS = {
    "1s": (11103.0, 2), "2s": (1414.6, 2), "2p1/2": (1248.1, 2), "2p3/2": (1217.0, 4), "3s": (180.1, 2),
    "3p1/2": (124.9, 2), "3p3/2": (120.8, 4), "3d3/2": (29.8, 4), "3d5/2": (29.2, 6), "4s": (5.0, 2),
    "4p": (3.0, 2),
}  # fmt: skip
ISOTOPES = ("U235", "U238", "Pu239", "Pu241")
CODE = "code of others (github.com/LeireLarizgoitia/Reactor_CEnuNS)"
DRESDEN, RECALLED = "arXiv:2202.09672", "from memory, not compared with a source"


def numbers(path: Path) -> dict[str, Any]:
    """A raw JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def listed(rows: list[tuple[Any, ...]]) -> Table:
    """A list of named numbers as a table."""
    return {key: [row[i] for row in rows] for i, key in enumerate(QUANTITIES)}


def germanium_isotopes(inputs: Path) -> Table:
    """Isotopes of natural germanium; four of the abundances are compared with those of the raw inputs."""
    raw = numbers(inputs / REACTOR / "dresden2_model.json")["germanium_isotope_fractions_there"]
    for A in (70, 72, 73, 74):
        require_close(f"abundance of {A}Ge", GERMANIUM[A][1], raw[f"Ge{A}"], rtol=1e-9)
    require_close("germanium abundances", sum(row[1] for row in GERMANIUM.values()), 1.0, rtol=1e-9)
    return {
        "isotope": [f"{A}Ge" for A in GERMANIUM],
        "Z": [32] * len(GERMANIUM),
        "A": list(GERMANIUM),
        "atomic_mass_u": [row[0] for row in GERMANIUM.values()],
        "abundance": [row[1] for row in GERMANIUM.values()],
        "spin": [row[2] for row in GERMANIUM.values()],
        "nuclear_mass_MeV": [round(row[0] * 931.49410242 - 32 * 0.51099895, 3) for row in GERMANIUM.values()],
    }


def germanium_shells(inputs: Path) -> Table:
    """Shells of the germanium atom."""
    del inputs
    require_close("electrons of germanium", sum(n for _, n in SHELLS.values()), 32, rtol=0.0)
    return {
        "shell": list(SHELLS),
        "binding_eV": [energy for energy, _ in SHELLS.values()],
        "electrons": [count for _, count in SHELLS.values()],
    }


def germanium_quenching(inputs: Path) -> Table:
    """Two measured quenching curves."""
    rows = read_rows(inputs / REACTOR / "germanium_quenching.csv")
    return {
        "recoil_keV": column(rows, "E_keVnr"),
        "iron_filter": column(rows, "quenching_iron_filter_Fef"),
        "photoneutron": column(rows, "quenching_photoneutron_YBe"),
    }


def fission_spectra(inputs: Path) -> Table:
    """Antineutrinos per fission, compared above 2 MeV with the published polynomials."""
    rows = read_rows(inputs / REACTOR / "reactor_spectra_per_fission.csv")
    table = {"energy_MeV": column(rows, "E_MeV")}
    table |= {f"{isotope}_per_MeV": column(rows, f"{isotope}_per_MeV_fission") for isotope in ISOTOPES}
    polynomials = numbers(inputs / "electron_recoil" / "texono_reactor_flux.json")["coefficients"]
    energy = np.array(table["energy_MeV"])
    for isotope in ISOTOPES:
        fitted = np.exp(np.polynomial.polynomial.polyval(energy, polynomials[isotope]))
        above = energy >= 2.0
        require_close(
            f"spectrum of {isotope}", np.array(table[f"{isotope}_per_MeV"])[above], fitted[above], rtol=0.15
        )
    return table


def capture_spectrum(inputs: Path) -> Table:
    """Antineutrinos after capture on 238U: unit area, and energies that increase where the drawn line is vertical."""
    rows = read_rows(inputs / REACTOR / "u238_capture_digitised.csv")
    energy = np.maximum.accumulate(np.array(column(rows, "E_MeV")))
    value = np.array(column(rows, "spectrum_per_MeV_arbitrary"))
    energy = energy + 1e-7 * np.arange(energy.size)
    area = np.trapezoid(value, energy)
    return {"energy_MeV": digits(energy), "density_per_MeV": digits(value / area, 6)}


def dresden_spectrum(inputs: Path) -> Table:
    """Spectra with the reactor on and off."""
    rows = read_rows(inputs / REACTOR / "dresden2_spectrum.csv")
    names = {"E_keVee": "energy_keV"}
    for state in ("on", "off"):
        names |= {f"{state}_counts_per_10eV_3kg_day": f"{state}_per_day"}
        names |= {f"{state}_error_per_10eV_3kg_day": f"{state}_error_per_day"}
    table = {new: column(rows, old) for old, new in names.items()}
    require_close("Dresden-II bins", table["energy_keV"], 0.205 + 0.01 * np.arange(130), rtol=1e-4)
    return table


def dresden_numbers(inputs: Path) -> Table:
    """Masses, times, flux, resolution and widths, with the status of each."""
    raw = numbers(inputs / REACTOR / "dresden2_model.json")
    quoted = f"{DRESDEN}, as quoted by the {CODE}"
    rows = [
        ("mass", raw["detector_mass_kg"]["value"], "kg", "published", quoted),
        ("days_on", raw["reactor_on_days"]["value"], "day", "published", quoted),
        ("days_off", raw["reactor_off_days"]["value"], "day", "published", quoted),
        ("flux", raw["antineutrino_flux_cm2_s"]["value"], "cm^-2 s^-1", "published", quoted),
        ("distance", raw["distance_m"]["value"], "m", "recalled", RECALLED),
        ("thermal_power", raw["thermal_power_GW"]["value"], "GW", "recalled", RECALLED),
        ("noise_on", raw["noise_sigma_eV_on"]["value"], "eV", "published", quoted),
        ("noise_off", raw["noise_sigma_eV_off"]["value"], "eV", "recalled", RECALLED),
        ("fano_factor", raw["fano_factor"]["value"], "1", "others", CODE),
        ("energy_per_pair", raw["energy_per_pair_eV"]["value"], "eV", "others", CODE),
        ("flux_relative_error", raw["widths"]["flux_normalisation"], "1", "others", CODE),
        ("resolution_relative_error", raw["widths"]["resolution_scale"], "1", "others", CODE),
        ("quenching_relative_error", raw["widths"]["quenching_scale"], "1", "others", CODE),
        ("m_ratio_relative_error", raw["widths"]["M_to_L1_ratio"], "1", "others", CODE),
        ("m_over_l1_area", raw["background"]["M_over_L1_area"], "1", "others", CODE),
        ("m_centre", raw["background"]["M_centre_keV"], "keV", "others", CODE),
        ("l1_centre_start", raw["background"]["L1_centre_keV_start"], "keV", "others", CODE),
        ("l2_centre", raw["background"]["L2_centre_keV"], "keV", "others", CODE),
        ("l2_over_l1_height", raw["background"]["L2_height_over_L1"], "1", "others", CODE),
        ("captures_at_unit_area", raw["u238_captures_per_fission"]["value"], "1", "others", CODE),
        *((f"fission_fraction_{i}", raw["fission_fractions"][i], "1", "others", CODE) for i in ISOTOPES),
    ]
    require_close("Dresden-II fractions", sum(r[1] for r in rows if r[0].startswith("fission")), 1.0, rtol=1e-9)
    return listed([(name, float(value), 0.0, 0.0, *rest) for name, value, *rest in rows])


def germanium_rates(inputs: Path) -> Table:
    """What CONUS+ and COHERENT publish as totals."""
    raw = numbers(inputs / "coherent" / "germanium_totals.json")
    first, second = raw["2024"], raw["2026"]
    conus, early, late = "arXiv:2501.05206", f"arXiv:{first['arxiv']}", f"arXiv:{second['arxiv']}"
    split = f"{late}; which error is statistical is inferred"
    return listed([
        ("conus_observed", 395.0, 106.0, 106.0, "events", "published", conus),
        ("conus_predicted", 347.0, 59.0, 59.0, "events", "published", conus),
        ("conus_threshold", 0.16, 0.0, 0.0, "keV", "published", f"{conus}; 160 to 180 eV by detector"),
        ("conus_window_end", 0.8, 0.0, 0.0, "keV", "assumed", RECALLED),
        ("conus_lindhard_k", 0.162, 0.004, 0.004, "1", "recalled", RECALLED),
        ("conus_noise", 20.0, 0.0, 0.0, "eV", "recalled", RECALLED),
        ("conus_distance", 20.7, 0.0, 0.0, "m", "published", "arXiv:2407.11912"),
        ("conus_thermal_power", 3.6, 0.0, 0.0, "GW", "published", "arXiv:2407.11912"),
        ("ge_2024_observed", first["counts"], first["plus"], first["minus"], "events", "published", early),
        ("ge_2024_predicted", 35.1, 3.6, 3.6, "events", "recalled", RECALLED),
        ("ge_2024_exposure", first["exposure_GWh_kg"], 0.0, 0.0, "GWh kg", "published", early),
        ("ge_threshold", first["threshold_keVee"], 0.0, 0.0, "keV", "published", early),
        ("ge_window_end", 8.5, 0.0, 0.0, "keV", "assumed", RECALLED),
        ("ge_distance", 19.2, 0.0, 0.0, "m", "recalled", RECALLED),
        ("ge_protons_per_GWh", 3.198e23 / 13.99, 0.0, 0.0, "1", "inferred", "3.198e23 / 13.99, arXiv:2110.07730"),
        ("ge_2026_observed", float(second["counts"]), float(second["plus"]), float(second["minus"]), "events",
         "published", late),
        ("ge_2026_ratio", second["sigma_over_SM"], 0.0, 0.0, "1", "published", late),
        ("ge_2026_ratio_statistical", second["sigma_over_SM_stat"], 0.0, 0.0, "1", "published", split),
        ("ge_2026_ratio_systematic", second["sigma_over_SM_syst"], 0.0, 0.0, "1", "published", split),
        ("ge_2026_cross_section", second["sigma_SM_cm2"], 0.0, 0.0, "cm^2", "published", late),
    ])  # fmt: skip


REACTORS: dict[str, Callable[[Path], Table]] = {
    "germanium_isotopes": germanium_isotopes,
    "germanium_shells": germanium_shells,
    "germanium_quenching": germanium_quenching,
    "reactor_spectra_tables": fission_spectra,
    "reactor_capture_spectrum": capture_spectrum,
    "dresden_ii_spectra": dresden_spectrum,
    "dresden_ii_numbers": dresden_numbers,
    "germanium_rates": germanium_rates,
}

COLLARESI = (
    "J. Colaresi et al., Measurement of Coherent Elastic Neutrino-Nucleus Scattering from Reactor Antineutrinos, "
    "Phys. Rev. Lett. 129, 211802 (2022)"
)
DOI_DRESDEN = "10.1103/PhysRevLett.129.211802"
COPY = (
    " The files are a copy kept by others (github.com/LeireLarizgoitia/Reactor_CEnuNS), not compared with the "
    "original."
)
NO_LICENCE = "none stated; facts from the cited publication"
_PER_DAY = "1/(10 eV 3 kg day)"


def _quantities(statuses: str) -> dict[str, tuple[str, str]]:
    return {
        "quantity": ("text", "what the row holds"),
        "value": ("see unit", "value"),
        "error_up": ("see unit", "upper error, 0 where none is stated"),
        "error_down": ("see unit", "lower error, positive"),
        "unit": ("text", "unit of the three numbers"),
        "status": ("text", statuses),
        "source": ("text", "where the number stands"),
    }


REACTOR_CARDS: dict[str, CardText] = {
    "germanium_isotopes": CardText(
        "Isotopes of natural germanium", "published",
        "Masses, mole fractions and ground-state spins. The nuclear mass is the atomic mass less the electron "
        "masses. There are no spin multipoles of 73Ge here: its axial part is left out, below 1e-3 of the rate.",
        "AME2020 atomic masses (Chinese Phys. C 45, 030003); CIAAW isotopic abundances", "",
        "10.1088/1674-1137/abddaf", FACTS,
        ISOTOPE_COLUMNS,
    ),
    "germanium_shells": CardText(
        "Shells of the germanium atom", "published",
        "Binding energies and electrons per shell, as for caesium iodide. Shells bound by less than 50 eV are of no "
        "consequence above 0.1 keV.",
        "W. T. Elam et al., Radiat. Phys. Chem. 63, 121 (2002); G. P. Williams, X-Ray Data Booklet", "",
        "10.1016/S0969-806X(01)00227-4", FACTS,
        {
            "shell": ("text", "shell"),
            "binding_eV": ("eV", "binding energy"),
            "electrons": ("1", "electrons"),
        },
    ),
    "germanium_quenching": CardText(
        "Quenching of nuclear recoils in germanium, two measurements", "published",
        "Ionisation energy over recoil energy. Contested: both curves lie above the Lindhard model and rise towards "
        "low energies, others measure about Lindhard's." + COPY,
        COLLARESI + "; curves from J. I. Collar et al., Phys. Rev. D 103, 122003 (2021)",
        "2202.09672", DOI_DRESDEN, NO_LICENCE,
        {
            "recoil_keV": ("keV", "nuclear recoil energy"),
            "iron_filter": ("1", "quenching factor, iron-filtered neutrons (Fef)"),
            "photoneutron": ("1", "quenching factor, 88Y/Be photoneutrons (YBe)"),
        },
    ),
    "reactor_spectra_tables": CardText(
        "Reactor antineutrino spectra per fission, below 2 MeV too", "transcribed",
        "Antineutrinos per MeV and fission at 35 energies, tabulated by others, who name Mueller, Huber, Vogel and "
        "Engel as sources. Above 2 MeV within 13% of the polynomials of the card reactor_spectra, typically 2%. In "
        "one of two copies of Pu239 the value at 7.75 MeV is ten times lower; the one kept lies on the curve.",
        "P. Vogel and J. Engel, Phys. Rev. D 39, 3378 (1989); P. Huber, Phys. Rev. C 84, 024617 (2011); T. A. "
        "Mueller et al., Phys. Rev. C 83, 054615 (2011)", "", "10.1103/PhysRevD.39.3378", NO_LICENCE,
        {
            "energy_MeV": ("MeV", "antineutrino energy"),
            **{f"{isotope}_per_MeV": ("1/MeV", f"antineutrinos per fission of {isotope}") for isotope in ISOTOPES},
        },
    ),
    "reactor_capture_spectrum": CardText(
        "Antineutrinos after neutron capture on 238U", "digitised",
        "Shape of the decays of 239U and 239Np, scaled to unit area; energies were made to increase where the drawn "
        "curve is vertical. Below 1.3 MeV: no nuclear recoil from it is seen, electron recoils are.",
        "digitised by others (github.com/LeireLarizgoitia/Reactor_CEnuNS), who do not name the figure", "", "",
        "none stated",
        {
            "energy_MeV": ("MeV", "antineutrino energy"),
            "density_per_MeV": ("1/MeV", "probability density, unit area"),
        },
    ),
    "dresden_ii_spectra": CardText(
        "Dresden-II: ionisation spectra with the reactor on and off", "published",
        "130 bins of 10 eV, named by their centres. Rates are corrected for the signal acceptance; errors combine "
        "statistics and signal acceptance." + COPY,
        COLLARESI, "2202.09672", DOI_DRESDEN, NO_LICENCE,
        {
            "energy_keV": ("keV", "bin centre, ionisation energy"),
            "on_per_day": (_PER_DAY, "rate, reactor on"),
            "on_error_per_day": (_PER_DAY, "its standard deviation"),
            "off_per_day": (_PER_DAY, "rate, reactor off"),
            "off_error_per_day": (_PER_DAY, "its standard deviation"),
        },
    ),
    "dresden_ii_numbers": CardText(
        "Dresden-II: detector, reactor and background", "transcribed",
        "Numbers that a fit needs. The status column tells what the publication says (published, as others quote "
        "it), what stands in the code of others alone (others), and what is from memory (recalled).",
        COLLARESI, "2202.09672", DOI_DRESDEN, NO_LICENCE, _quantities("published, others or recalled"),
    ),
    "germanium_rates": CardText(
        "CEvNS on germanium by totals: CONUS+ and COHERENT", "transcribed",
        "Totals of the abstracts, and the windows in which the Standard Model is folded. The status column tells "
        "published numbers from inferred, assumed and recalled ones: predictions are normalised to the published "
        "ones where there are any, so that these set the shape of the dependence on a theory alone.",
        "CONUS+ Collaboration, Nature 643, 1229 (2025); COHERENT Collaboration, Phys. Rev. Lett. 134, 231801 (2025), "
        "arXiv:2603.17951", "2501.05206", "10.1038/s41586-025-09322-2", FACTS,
        _quantities("published, inferred, assumed or recalled"),
    ),
}  # fmt: skip
